import { parseArgs } from 'node:util'
import { doctor } from './doctor.ts'
import { followEvents } from './events.ts'
import {
  type AnalysisName,
  ApiError,
  type Client,
  createClient,
  type FailureCode,
  type Image,
  type ListedImage,
  type Status,
} from './index.ts'
import { forgetfulJournal, type Journal, journalPath, openJournal } from './journal.ts'
import {
  COMMAND,
  createOutput,
  type Format,
  inBytes,
  type Output,
  paint,
  plain,
  type Result,
} from './output.ts'
import { apiGatewayRegion, claims, type Signing, signerOf, signing, signingFetch } from './sign.ts'
import { CLOUDWATCH_DAYS, inCloudWatch, inFile, printStory } from './story.ts'
import { explain, STDIN, upload } from './upload.ts'

const HELP = `${COMMAND} <command> [options]

  upload <files, folders or patterns …>   sends images; resumes where it left off; files of the same bytes
                               are one image, by the name of the first
      - --filename NAME        standard input, under this name
      --wait                   until each is analysed
      --concurrency N          at once (8)
      --analyses a,b           of labels, faces, moderation, text, faces-when-person, metadata, gps
      --journal FILE           what was sent (in your state folder)
  status <id …>                records; --wait until they are finished
  list                         newest first; --limit N (20) or --all; which fit all of these:
      --status S, --failure C  the state of an image, the code of its failure
      --label L                has this label; several times: has all; --min-confidence N
      --faces true|false       has a face, or was analysed and has none; --emotion HAPPY: a face shows it
      --name PART              a part of its file's name
      --from DAY --to DAY      accepted then: 2026-01-31 (UTC), or a time with its offset
  labels [beginning]           the names of labels that images have
  retry <id … | --failed>      analyses failed images again
  delete <id …>                records and all that is stored of them
  events                       one line for each image as it finishes; --every SECONDS (2)
  story <id>                   what a log has of an image, line by line:
      --log FILE               of a file, such as log.jsonl in DATA_DIR
      --log-groups a,b         of CloudWatch Logs, by your AWS credentials
  doctor                       what is wrong with a set-up, and how to mend it; --no-upload sends nothing

  --endpoint URL   or IMAGE_ANALYZER_ENDPOINT (http://127.0.0.1:3000)
  --token TOKEN    or IMAGE_ANALYZER_TOKEN; other users of the machine can see an option, not a variable
  --sign           by your AWS credentials, as API Gateway wants with auth = "iam" (the default at *.amazonaws.com)
  --json, --csv    one object or row for each result; --json is the default where no terminal reads it
  --quiet          results only
  -h, --help, --version

Exit codes: 0 all well, 1 something failed, 2 wrong usage, 3 the API cannot be reached, 130 stopped by Ctrl-C,
141 the reader of the results has gone.
A file whose name begins with a dash: ./-name.jpg
`

const OPTIONS = {
  endpoint: { type: 'string' },
  token: { type: 'string' },
  sign: { type: 'boolean' },
  json: { type: 'boolean' },
  csv: { type: 'boolean' },
  quiet: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
  wait: { type: 'boolean' },
  concurrency: { type: 'string' },
  analyses: { type: 'string' },
  journal: { type: 'string' },
  filename: { type: 'string' },
  status: { type: 'string' },
  label: { type: 'string', multiple: true },
  faces: { type: 'string' },
  emotion: { type: 'string' },
  failure: { type: 'string' },
  name: { type: 'string' },
  from: { type: 'string' },
  to: { type: 'string' },
  'min-confidence': { type: 'string' },
  limit: { type: 'string' },
  all: { type: 'boolean' },
  failed: { type: 'boolean' },
  every: { type: 'string' },
  'no-upload': { type: 'boolean' },
  log: { type: 'string' },
  'log-groups': { type: 'string' },
} as const
const GLOBAL = ['endpoint', 'token', 'sign', 'json', 'csv', 'quiet', 'help']

/** What a command is given. */
interface Call {
  command: string
  /** What follows the command, without the options. */
  names: string[]
  values: ReturnType<typeof parse>['values']
  env: NodeJS.ProcessEnv
  output: Output
  endpoint: string
  token: string | undefined
  signer: Signing | undefined
  client: Client
}

/** The options of each command, and what does it and returns the exit code. */
const COMMANDS: Record<string, { options: string[]; run: (call: Call) => Promise<number> }> = {
  upload: { options: ['wait', 'concurrency', 'analyses', 'journal', 'filename'], run: sendFiles },
  status: { options: ['wait'], run: showStatus },
  list: {
    options: [
      'status',
      'failure',
      'label',
      'min-confidence',
      'faces',
      'emotion',
      'name',
      'from',
      'to',
      'limit',
      'all',
    ],
    run: listImages,
  },
  labels: { options: [], run: listLabels },
  retry: { options: ['failed'], run: retryImages },
  delete: { options: [], run: deleteImages },
  events: { options: ['every'], run: showEvents },
  story: { options: ['log', 'log-groups'], run: tellStory },
  doctor: { options: ['no-upload'], run: examine },
}

const DEFAULT_ENDPOINT = 'http://127.0.0.1:3000'
const DEFAULT_CONCURRENCY = 8
/** Each holds a file of up to 4.5 MB in memory. */
const MAX_CONCURRENCY = 64
const DEFAULT_LIMIT = 20
const EVENTS_EVERY_SECONDS = 2
/** Milliseconds that uploads under way get at Ctrl-C before they are broken off. */
const GRACE_MS = 1_500
/** One Ctrl-C can arrive twice: from the terminal, and passed on by the process that started this one. */
const SAME_CTRL_C_MS = 500

const STATUSES: readonly Status[] = ['pending', 'processing', 'completed', 'failed', 'awaiting_upload']
const ANALYSES: readonly AnalysisName[] = [
  'labels',
  'faces',
  'moderation',
  'text',
  'faces-when-person',
  'metadata',
  'gps',
]

const FAILURES: readonly FailureCode[] = [
  'CORRUPT_IMAGE',
  'UNSUPPORTED_FORMAT',
  'IMAGE_TOO_SMALL',
  'TOO_MANY_PIXELS',
  'ORIGINAL_MISSING',
  'ANALYSIS_REFUSED',
  'EXHAUSTED',
]
const YES_OR_NO = ['true', 'false'] as const

/** A row of CSV with nothing in it yet. */
const columns = (...names: string[]): Result['csv'] =>
  Object.fromEntries(names.map((name) => [name, undefined]))
const RECORD_COLUMNS = columns(
  'imageId',
  'status',
  'createdAt',
  'completedAt',
  'file',
  'bytes',
  'width',
  'height',
  'labels',
  'code',
  'detail',
)
const CHANGE_COLUMNS = columns('imageId', 'status', 'code', 'detail')

class UsageError extends Error {}

/** Ctrl-C: the first asks, the second insists. */
const stop = new AbortController()
const { signal } = stop
const abort = new AbortController()
let stoppedAt = 0
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  process.on(name, () => {
    if (stoppedAt > 0 && performance.now() - stoppedAt < SAME_CTRL_C_MS) return
    if (stoppedAt > 0) process.exit(130)
    stoppedAt = performance.now()
    stop.abort()
    setTimeout(() => abort.abort(), GRACE_MS).unref()
    setTimeout(() => process.exit(130), GRACE_MS + 1_000).unref()
  })
}
process.stdout.on('error', ({ code, message }: NodeJS.ErrnoException) => {
  // The reader of the results has gone (image-analyzer list | head): 128 and the number of SIGPIPE, as shells have it.
  if (code === 'EPIPE') process.exit(141)
  process.stderr.write(`The results cannot be written: ${message}\n`)
  process.exit(1)
})
// Remarks that have no reader are no reason to stop sending.
process.stderr.on('error', () => {})

process.exitCode = await main(process.argv.slice(2), process.env).catch((error: unknown) => {
  if (signal.aborted) return 130
  if (error instanceof UsageError) {
    process.stderr.write(`${error.message}\n${COMMAND} --help lists the commands and options.\n`)
    return 2
  }
  if (error instanceof ApiError) {
    process.stderr.write(`${explain(error)}\n`)
    return error.code === 'UNREACHABLE' ? 3 : 1
  }
  process.stderr.write(`${(error as Error).stack ?? error}\n`)
  return 1
})

async function main(args: string[], env: NodeJS.ProcessEnv): Promise<number> {
  const { values, positionals } = parse(args)
  const [command, ...names] = positionals
  if (values.help === true || (command === undefined && args.length === 0)) {
    process.stdout.write(HELP)
    return values.help === true ? 0 : 2
  }
  const known = Object.hasOwn(COMMANDS, command ?? '') ? COMMANDS[command ?? ''] : undefined
  if (command === undefined || known === undefined) {
    throw new UsageError(command === undefined ? 'No command is given.' : `There is no command "${command}".`)
  }
  const foreign = Object.keys(values).find((name) => !GLOBAL.includes(name) && !known.options.includes(name))
  if (foreign !== undefined) throw new UsageError(`"${command}" has no option --${foreign}.`)
  if (values.json && values.csv) throw new UsageError('--json and --csv exclude each other.')

  const format: Format = values.csv ? 'csv' : values.json || process.stdout.isTTY !== true ? 'json' : 'text'
  const output = createOutput(format, { quiet: values.quiet === true })
  return known.run({ command, names, values, env, output, ...(await connect(values, env)) })
}

/** Where the API is, and who asks it. */
async function connect(
  values: Call['values'],
  env: NodeJS.ProcessEnv,
): Promise<Pick<Call, 'endpoint' | 'token' | 'signer' | 'client'>> {
  const endpoint = readEndpoint(values.endpoint ?? (env['IMAGE_ANALYZER_ENDPOINT'] || DEFAULT_ENDPOINT))
  const token = (values.token ?? env['IMAGE_ANALYZER_TOKEN'])?.trim() || undefined
  if (token !== undefined && !/^[\x21-\x7e]+$/.test(token))
    throw new UsageError('The token has characters that a token cannot have.')
  const sign = values.sign === true || (token === undefined && apiGatewayRegion(endpoint) !== undefined)
  const signer = sign ? await signing(endpoint) : undefined
  const client = createClient({
    endpoint,
    ...(token === undefined ? {} : { token }),
    ...(signer === undefined ? {} : { fetch: await signingFetch(endpoint, signer) }),
  })
  return { endpoint, token, signer, client }
}

async function sendFiles({ names, values, env, output, endpoint, token, signer, client }: Call) {
  if (names.length === 0) throw new UsageError('"upload" needs files, folders or patterns.')
  const inputs = names.filter((name) => name === STDIN).length
  if (inputs > 1) throw new UsageError('There is one standard input: give "-" once.')
  if (inputs === 1 && process.stdin.isTTY) {
    throw new UsageError(`"-" is standard input: pipe an image into it (… | ${COMMAND} upload -).`)
  }
  if (values.filename !== undefined && inputs === 0) {
    throw new UsageError('--filename is the name of standard input: give "-" with it.')
  }
  const concurrency = readNumber('concurrency', values.concurrency, DEFAULT_CONCURRENCY, MAX_CONCURRENCY)
  const analyses = values.analyses?.split(',').map((name) => oneOf('analyses', ANALYSES, name.trim()))
  const journal = chooseJournal(values.journal, env, output)
  const who = signer === undefined ? ownerOfToken(token) : signerOf(await signer.credentials(), env)
  try {
    return await upload({
      client,
      output,
      journal,
      names,
      concurrency,
      analyses,
      filename: values.filename,
      scope: [endpoint, who],
      wait: values.wait === true,
      stop: signal,
      abort: abort.signal,
    })
  } finally {
    journal.close()
  }
}

async function showStatus(call: Call): Promise<number> {
  const { values, client } = call
  const describeOne = async (imageId: string) => {
    const image =
      values.wait === true ? await client.wait(imageId, { signal }) : await client.get(imageId, { signal })
    return { ...describe(image), bad: image.status === 'failed' }
  }
  return each(call, needIds(call), RECORD_COLUMNS, describeOne)
}

async function listImages(call: Call): Promise<number> {
  const { values, output, client } = call
  needNothing(call)
  if (values.all && values.limit !== undefined) throw new UsageError('--all and --limit exclude each other.')
  const limit = values.all ? Number.POSITIVE_INFINITY : readNumber('limit', values.limit, DEFAULT_LIMIT)
  const status = values.status === undefined ? undefined : oneOf('status', STATUSES, values.status)
  if (values['min-confidence'] !== undefined && values.label === undefined)
    throw new UsageError('--min-confidence needs --label.')
  const minConfidence =
    values['min-confidence'] === undefined
      ? undefined
      : readPercentage('min-confidence', values['min-confidence'])
  let shown = 0
  for await (const image of client.list({
    status,
    label: values.label,
    minConfidence,
    emotion: values.emotion,
    filename: values.name,
    failure: values.failure === undefined ? undefined : oneOf('failure', FAILURES, values.failure),
    faces: values.faces === undefined ? undefined : oneOf('faces', YES_OR_NO, values.faces) === 'true',
    from: values.from,
    to: values.to,
    pageSize: Math.min(100, limit),
    signal,
  })) {
    output.result(describe(image))
    shown += 1
    if (shown >= limit) break
  }
  return 0
}

async function listLabels({ names, output, client }: Call): Promise<number> {
  if (names.length > 1) throw new UsageError('Give only one beginning of a name.')
  for await (const name of client.labels({ prefix: names[0], signal }))
    output.result({ text: plain(name), json: { name }, csv: { name } })
  return 0
}

async function retryImages(call: Call): Promise<number> {
  const { names, values, client } = call
  if (values.failed && names.length > 0) throw new UsageError('Give ids or --failed, not both.')
  const ids = values.failed ? [] : needIds(call)
  // All of them before the first is retried, since that one may fail again and be listed again.
  if (values.failed) {
    for await (const { imageId } of client.list({ status: 'failed', signal })) ids.push(imageId)
  }
  return each(call, ids, CHANGE_COLUMNS, async (imageId) => {
    await client.retry(imageId, { signal })
    return said(imageId, 'pending')
  })
}

async function deleteImages(call: Call): Promise<number> {
  return each(call, needIds(call), CHANGE_COLUMNS, async (imageId) => {
    await call.client.delete(imageId, { signal })
    return said(imageId, 'deleted')
  })
}

async function showEvents(call: Call): Promise<number> {
  const { values, output, client } = call
  needNothing(call)
  const every = readNumber('every', values.every, EVENTS_EVERY_SECONDS, 3_600)
  output.note('Following; Ctrl-C ends it.')
  const print = (image: ListedImage) => output.result(describe(image))
  await followEvents(client, every * 1_000, print, output.trouble, signal)
  return 130
}

async function tellStory(call: Call): Promise<number> {
  const { names, values, env, output } = call
  const [imageId = ''] = needIds(call)
  if (names.length > 1 || !/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(imageId))
    throw new UsageError('"story" needs the id of one image.')
  const { log, 'log-groups': groups } = values
  if ((log === undefined) === (groups === undefined))
    throw new UsageError('Give --log with a file, or --log-groups with names of CloudWatch Logs.')
  if (groups === undefined) return printStory(imageId, inFile(log ?? ''), output)
  return printStory(imageId, inCloudWatch(groups.split(','), imageId, env), output, CLOUDWATCH_DAYS)
}

async function examine(call: Call): Promise<number> {
  const { values, output, endpoint, token, signer, client } = call
  needNothing(call)
  const [signs, uploads] = [signer !== undefined, values['no-upload'] !== true]
  return doctor({ client, output, endpoint, token, signs, uploads, signal })
}

/**
 * Does something for each id and says what became of it.
 *
 * @param blank the columns of a row of CSV, which are the same where it fails
 */
async function each(
  { output }: Call,
  ids: string[],
  blank: Result['csv'],
  act: (imageId: string) => Promise<Result & { bad?: boolean }>,
): Promise<number> {
  let failed = 0
  for (const imageId of ids) {
    try {
      const { bad, ...result } = await act(imageId)
      if (bad === true) failed += 1
      output.result(result)
    } catch (error) {
      // What is wrong with one image does not concern the next; any other error does.
      const imageCodes = ['IMAGE_NOT_FOUND', 'NOT_FAILED']
      if (!(error instanceof ApiError) || !imageCodes.includes(error.code)) throw error
      failed += 1
      const { code, detail } = error
      output.result({
        text: `${paint('red', 'failed   ')}  ${plain(imageId)}  ${plain(`${code}: ${detail}`)}`,
        json: { imageId, code, detail },
        csv: { ...blank, imageId, code, detail },
      })
    }
  }
  return failed > 0 ? 1 : 0
}

function needIds({ command, names }: Call): string[] {
  if (names.length === 0) throw new UsageError(`"${command}" needs the ids of images.`)
  return names
}

function needNothing({ command, names }: Call): void {
  if (names.length > 0) throw new UsageError(`"${command}" takes no "${names[0]}".`)
}

function parse(args: string[]) {
  try {
    return parseArgs({ args, options: OPTIONS, allowPositionals: true, strict: true })
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw code?.startsWith('ERR_PARSE_ARGS_') ? new UsageError(message.replace(/\.\s.*/s, '.')) : error
  }
}

function readEndpoint(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.search !== '' || url.username !== '') {
    throw new UsageError(`"${text}" is not an address such as ${DEFAULT_ENDPOINT}.`)
  }
  return `${url.origin}${url.pathname.replace(/\/+$/, '')}`
}

function readNumber(name: string, text: string | undefined, otherwise: number, most?: number): number {
  if (text === undefined) return otherwise
  const number = Number(text)
  if (/^\d+$/.test(text) && number >= 1 && number <= (most ?? Number.MAX_SAFE_INTEGER)) return number
  throw new UsageError(
    `--${name} must be a whole number from 1 ${most === undefined ? 'on' : `to ${most}`}, not "${text}".`,
  )
}

function readPercentage(name: string, text: string): number {
  const number = Number(text)
  if (/^\d{1,3}(\.\d{1,4})?$/.test(text) && number <= 100) return number
  throw new UsageError(`--${name} must be a number from 0 to 100.`)
}

function oneOf<T extends string>(name: string, known: readonly T[], text: string): T {
  const found = known.find((one) => one === text)
  if (found === undefined)
    throw new UsageError(`--${name} must be one of ${known.join(', ')}, not "${text}".`)
  return found
}

/** Whose images they will be: a token is renewed, and its subject stays. */
function ownerOfToken(token: string | undefined): string {
  if (token === undefined) return ''
  const { iss, sub } = claims(token) ?? {}
  return sub === undefined ? token : JSON.stringify([iss, sub])
}

function chooseJournal(path: string | undefined, env: NodeJS.ProcessEnv, output: Output): Journal {
  const chosen = path ?? journalPath(env, process.platform)
  try {
    return openJournal(chosen, ({ message }) =>
      output.trouble(
        `The journal ${chosen} cannot be written any more (${message}), so another run sends again what follows.`,
      ),
    )
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error
    if (path !== undefined) throw new UsageError(`--journal: ${(error as Error).message}`)
    output.trouble(
      `The journal ${chosen} cannot be written, so another run sends the files again: give --journal FILE.`,
    )
    return forgetfulJournal()
  }
}

/** A record in one line or row; as JSON it is whole. */
function describe(image: Image | ListedImage): Result {
  const { imageId, status, createdAt, original } = image
  const finishedAt = image.status === 'completed' || image.status === 'failed' ? image.completedAt : undefined
  const labels =
    image.status !== 'completed'
      ? undefined
      : 'labels' in image
        ? image.labels
        : 'rekognitionLabels' in image
          ? image.rekognitionLabels?.map(({ Name }) => Name)
          : undefined
  const failure = image.status === 'failed' ? image.failure : undefined
  const style = status === 'completed' ? 'green' : status === 'failed' ? 'red' : 'yellow'
  const size = original.width === undefined ? '' : `${original.width}×${original.height}`
  const parts = [
    imageId,
    finishedAt ?? createdAt,
    original.filename,
    inBytes(original.bytes),
    size,
    labels?.slice(0, 5).join(', '),
    failure && `${failure.code}: ${failure.message}`,
  ]
  return {
    text: `${paint(style, plain(status).padEnd(10))}  ${plain(parts.filter(Boolean).join('  '))}`,
    json: image,
    csv: {
      ...RECORD_COLUMNS,
      imageId,
      status,
      createdAt,
      completedAt: finishedAt,
      file: original.filename,
      bytes: original.bytes,
      width: original.width,
      height: original.height,
      labels: labels?.join('; '),
      code: failure?.code,
      detail: failure?.message,
    },
  }
}

function said(imageId: string, status: string): Result {
  return {
    text: `${paint('green', status.padEnd(9))}  ${imageId}`,
    json: { imageId, status },
    csv: { ...CHANGE_COLUMNS, imageId, status },
  }
}
