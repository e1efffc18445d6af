import { createInterface } from 'node:readline/promises'
import { parseArgs } from 'node:util'
import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { GetQueueUrlCommand, QueueDoesNotExist, SQSClient } from '@aws-sdk/client-sqs'
import { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb'
import { clientOptions, dynamoTranslation, sleep, sqsOptions } from '../shared/aws.ts'
import { DEFAULT_SWEEP_AFTER_SECONDS } from '../shared/config.ts'
import { FAILURE_CODES } from '../shared/image.ts'
import {
  type Choice,
  type Chosen,
  cancel,
  choose,
  costOf,
  countFailures,
  type OpsDeps,
  quotaOf,
  retry,
} from './images.ts'
import { HIDDEN, redriveChosen } from './letters.ts'
import { eventSource, queueFacts, redrive } from './queue.ts'
import { explain, UsageError } from './trouble.ts'

const HELP = `npm run ops -- <command> [options]

  failures        failed images by their code, with samples; --since 24h, --code C
  retry           analyses failed images again; --code C, --since 24h (needs one of them)
  redrive         moves dead letters back to the jobs: each image begins its next run; --code C, --older-than 24h
  cancel          deletes images that wait; --since 24h, --owner-hash H (needs one of them)
  cost            calls of Rekognition reserved this month, where there is a budget
  quota           images that wait, and those of them that Rekognition has throttled, also in the last hour
  pause, resume   the worker takes no more jobs, or takes them again; nothing is lost meanwhile

  --name NAME     of the deployment (image-analyzer)
  --since T       30m, 24h, 7d, or a time such as 2026-01-31T12:00:00Z
  --owner-hash H  what the log has as the owner: 16 hex digits
  --rate N        images a second, at most (20)
  --dry-run       says what would be done, and does nothing
  --yes           does it without asking
  --json          one object for each result
  -h, --help

With your AWS credentials and region. For npm start: AWS_ENDPOINT_URL=http://127.0.0.1:4566 AWS_REGION=us-east-1
AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test. To resume an interrupted command, run it again: it skips what
is done already. Exit codes: 0 all well, 1 something failed, 2 wrong usage or nothing to do.
`

const OPTIONS = {
  name: { type: 'string', default: 'image-analyzer' },
  since: { type: 'string' },
  code: { type: 'string' },
  'older-than': { type: 'string' },
  'owner-hash': { type: 'string' },
  rate: { type: 'string', default: '20' },
  'dry-run': { type: 'boolean', default: false },
  yes: { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const
type Values = ReturnType<typeof parse>['values']

/** The options of each command, beside those of all. */
const COMMANDS: Record<string, string[]> = {
  failures: ['since', 'code'],
  retry: ['since', 'code', 'rate', 'dry-run', 'yes'],
  redrive: ['code', 'older-than', 'dry-run', 'yes'],
  cost: [],
  quota: [],
  cancel: ['since', 'owner-hash', 'rate', 'dry-run', 'yes'],
  pause: ['dry-run', 'yes'],
  resume: ['dry-run', 'yes'],
}

function parse(args: string[]) {
  try {
    return parseArgs({ args, options: OPTIONS, allowPositionals: true, strict: true, tokens: true })
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw code?.startsWith('ERR_PARSE_ARGS_') ? new UsageError(message.replace(/\.\s.*/s, '.')) : error
  }
}

const UNITS_MS: Record<string, number> = { m: 60_000, h: 3_600_000, d: 86_400_000 }

function readTime(option: 'since' | 'older-than', values: Values): string | undefined {
  const { [option]: text } = values
  if (text === undefined) return undefined
  const [, count, unit = ''] = /^(\d+)([mhd])$/.exec(text) ?? []
  const at = count === undefined ? Date.parse(text) : Date.now() - Number(count) * (UNITS_MS[unit] ?? 0)
  const isTime = count !== undefined || /^\d{4}-\d\d-\d\d(T[\d:.]+(Z|[+-]\d\d:\d\d))?$/.test(text)
  if (!isTime || !(at >= 0))
    throw new UsageError(`--${option} must be like 30m, 24h, 7d or 2026-01-31T12:00:00Z, not "${text}".`)
  return new Date(at).toISOString()
}

function readChoice(status: Choice['status'], values: Values): Choice {
  const { code, 'owner-hash': ownerHash } = values
  if (code !== undefined && !FAILURE_CODES.some((one) => one === code))
    throw new UsageError(`--code must be one of ${FAILURE_CODES.join(', ')}, not "${code}".`)
  if (ownerHash !== undefined && !/^[0-9a-f]{16}$/.test(ownerHash))
    throw new UsageError(`--owner-hash must be 16 hex digits, not "${ownerHash}".`)
  return { status, code, ownerHash, since: readTime('since', values) }
}

const say = (line: string): void => void process.stderr.write(`${line}\n`)
const print = (values: Values, object: object, text: string): void =>
  void process.stdout.write(`${values.json ? JSON.stringify(object) : text}\n`)

/** @returns whether to do it */
async function isConfirmed(values: Values, what: string): Promise<boolean> {
  if (values['dry-run']) {
    say(`${what} Nothing was done, because of --dry-run.`)
    return false
  }
  if (values.yes) return true
  if (!process.stdin.isTTY) throw new UsageError(`${what} There is no terminal to ask at: add --yes.`)
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  // Ctrl-C and Ctrl-D are a no.
  const answer = await terminal.question(`${what} Continue? (yes/no) `).catch(() => '')
  terminal.close()
  if (answer.trim() !== 'yes') throw new UsageError('Nothing was done.')
  return true
}

/** All of the images, so many a second at most. @returns the exit code */
async function each(
  images: Chosen[],
  values: Values,
  done: string,
  act: (image: Chosen) => Promise<boolean>,
): Promise<number> {
  const rate = Number(values.rate)
  let [count, changed, failed] = [0, 0, 0]
  for (let from = 0; from < images.length; from += rate) {
    const [batch, pause] = [images.slice(from, from + rate), sleep(1_000)]
    const results = await Promise.allSettled(batch.map(act))
    for (const [index, result] of results.entries()) {
      const imageId = batch[index]?.imageId
      if (result.status === 'rejected') {
        failed += 1
        say(`${imageId}: ${result.reason}`)
      } else if (result.value) {
        count += 1
        print(values, { imageId, [done]: true }, `${done}  ${imageId}`)
      } else changed += 1
    }
    if (from + rate < images.length) {
      say(`${count} of ${images.length}`)
      await pause
    }
  }
  say(`${count} ${done}, ${failed} failed${changed === 0 ? '' : `, ${changed} had changed meanwhile`}.`)
  return failed > 0 ? 1 : 0
}

async function open({ name }: Values) {
  const sqs = new SQSClient(sqsOptions())
  await sqs.config.credentials().catch(() => {
    throw new UsageError(
      'There are no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.',
    )
  })
  await sqs.config.region().catch(() => {
    throw new UsageError('There is no AWS region: set AWS_REGION.')
  })
  const urlOf = async (QueueName: string): Promise<string> => {
    const { QueueUrl = '' } = await sqs.send(new GetQueueUrlCommand({ QueueName })).catch((error) => {
      if (!(error instanceof QueueDoesNotExist)) throw error
      throw new UsageError(
        `There is no queue ${QueueName} in this account and region: give the name of the deployment by --name.`,
      )
    })
    return QueueUrl
  }
  const dynamo = DynamoDBDocumentClient.from(new DynamoDBClient(clientOptions()), dynamoTranslation)
  const deps: OpsDeps = {
    ...{ dynamo, sqs, table: `${name}-images`, jobQueueUrl: await urlOf(`${name}-jobs`) },
    ...{ now: () => new Date(), sleep, sweepAfterMs: DEFAULT_SWEEP_AFTER_SECONDS * 1_000 },
  }
  return { deps, sqs, deadUrl: () => urlOf(`${name}-jobs-dead`) }
}

async function all(images: AsyncIterable<Chosen>): Promise<Chosen[]> {
  const found: Chosen[] = []
  for await (const image of images) found.push(image)
  if (found.length === 0)
    throw new UsageError('No image matches; npm run ops -- failures lists the failed ones.')
  return found
}

async function main(args: string[]): Promise<number> {
  const { values, positionals, tokens } = parse(args)
  const [command = '', ...rest] = positionals
  if (values.help || args.length === 0) {
    process.stdout.write(HELP)
    return values.help ? 0 : 2
  }
  const own = Object.hasOwn(COMMANDS, command) ? COMMANDS[command] : undefined
  if (own === undefined) throw new UsageError(`There is no command "${command}".`)
  if (rest.length > 0) throw new UsageError(`"${command}" takes no "${rest[0]}".`)
  const foreign = tokens.find(
    (token) => token.kind === 'option' && ![...own, 'name', 'json'].includes(token.name),
  )
  if (foreign?.kind === 'option') throw new UsageError(`"${command}" has no option --${foreign.name}.`)
  if (!/^[1-9]\d{0,3}$/.test(values.rate))
    throw new UsageError('--rate must be a whole number from 1 to 9,999.')
  if (command === 'retry' && values.code === undefined && values.since === undefined)
    throw new UsageError('"retry" needs --code or --since.')
  if (command === 'cancel' && values['owner-hash'] === undefined && values.since === undefined)
    throw new UsageError('"cancel" needs --owner-hash or --since.')
  const choice = readChoice(command === 'cancel' ? 'pending' : 'failed', values)

  const { deps, sqs, deadUrl } = await open(values)
  switch (command) {
    case 'failures': {
      const groups = await countFailures(choose(deps, choice))
      for (const group of groups) {
        const { code, images, message, samples } = group
        const text = `${String(images).padStart(7)}  ${code}  ${message}\n         ${samples.join(' ')}`
        print(values, group, text)
      }
      if (groups.length === 0) say('No image has failed.')
      return 0
    }
    case 'cost': {
      const cost = await costOf(deps)
      const { calls, usd, forecastUsd, month } = cost
      if (calls === 0 && !values.json)
        say(`Nothing is reserved in ${month}: monthly_budget_usd is not set, or no call was made.`)
      else print(values, cost, `${calls} calls, $${usd} this month; $${forecastUsd} at its end at this pace`)
      return 0
    }
    case 'quota': {
      const facts = await quotaOf(deps)
      const { waiting, throttled, lastHour } = facts
      print(
        values,
        facts,
        `${waiting} images wait; ${throttled} were throttled, ${lastHour} in the last hour`,
      )
      return 0
    }
    case 'retry': {
      const images = await all(choose(deps, choice))
      if (!(await isConfirmed(values, `${images.length} failed images will be analysed again.`))) return 0
      return each(images, values, 'retried', (image) => retry(deps, image))
    }
    case 'cancel': {
      const images = await all(choose(deps, choice))
      const what = `${images.length} waiting images will be deleted, with all that is stored of them.`
      if (!(await isConfirmed(values, what))) return 0
      return each(images, values, 'cancelled', (image) => cancel(deps, image))
    }
    case 'redrive': {
      const dead = await queueFacts(sqs, await deadUrl())
      if (dead.messages === 0) throw new UsageError('There are no dead letters.')
      const letters = { code: choice.code, before: readTime('older-than', values) }
      if (letters.code !== undefined || letters.before !== undefined) {
        const ending = new AbortController()
        for (const signal of ['SIGINT', 'SIGTERM'] as const)
          process.once(signal, () => ending.abort(new UsageError('Broken off; what is left shows again.')))
        const confirm = async (chosen: number, all: number): Promise<boolean> => {
          if (all === 0) throw new UsageError(HIDDEN)
          if (chosen === 0) throw new UsageError(`None of ${all} dead letters matches.`)
          return isConfirmed(values, `${chosen} of ${all} dead letters will become jobs again.`)
        }
        const moved = await redriveChosen(deps, await deadUrl(), letters, confirm, ending.signal)
        if (moved > 0) print(values, { moved }, `${moved} moved`)
        return 0
      }
      if (!(await isConfirmed(values, `${dead.messages} dead letters will become jobs again.`))) return 0
      const moved = await redrive(sqs, dead.arn, (await queueFacts(sqs, deps.jobQueueUrl)).arn)
      if (moved === 0) throw new UsageError(HIDDEN)
      print(values, { moved }, `${moved} moved`)
      return 0
    }
    default: {
      const isPause = command === 'pause'
      const source = eventSource(sqs, (await queueFacts(sqs, deps.jobQueueUrl)).arn)
      const mappings = await source.find()
      if (mappings.length === 0)
        throw new UsageError(
          'No Lambda function takes jobs from this queue: stop or start a worker outside Lambda where it runs.',
        )
      const what = isPause ? 'The worker will take no more jobs.' : 'The worker will take jobs again.'
      if (!(await isConfirmed(values, what))) return 0
      for (const mapping of mappings) {
        const { UUID, State } = await source.set(mapping, !isPause)
        print(values, { UUID, State }, `${State}  ${UUID}`)
      }
      return 0
    }
  }
}

process.exitCode = await main(process.argv.slice(2)).catch((error: unknown) => {
  say(explain(error))
  return error instanceof UsageError ? 2 : 1
})
