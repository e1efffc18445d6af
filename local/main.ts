import {
  appendFileSync,
  existsSync,
  globSync,
  openAsBlob,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { styleText } from 'node:util'
import { endInOrder, StartError, warningsOf } from '../shared/machine.ts'
import { inThread } from './thread.ts'

const began = performance.now()
const option = process.argv.slice(2).find((argument) => argument.startsWith('-'))
const isHelp = option === '--help' || option === '-h'
const USAGE = 'npm start takes files; settings (docs/settings.md) are variables, as in PORT=3001 npm start.'
if (isHelp) console.log(USAGE)
else if (option !== undefined) console.error(`There is no option ${option}: ${USAGE}`)
if (option !== undefined) process.exit(isHelp ? 0 : 2)
// Before the rest is loaded, so that both load at the same time.
const background = inThread((why) => {
  console.error('The thread that runs AWS and the worker has failed, so image-analyzer stops:', why)
  process.exit(1)
})
const { startSystem } = await import('./system.ts')
const { LOG_FILE, readSettings, SETTINGS } = await import('./environment.ts')
const { unlessEvent } = await import('../shared/log.ts')

function giveUp(error: unknown): never {
  console.error(error instanceof StartError ? `image-analyzer cannot start: ${error.message}` : error)
  process.exit(1)
}

for (const sentence of warningsOf(SETTINGS, process.env)) console.warn(`warning: ${sentence}`)
const settings = await (async () => readSettings(process.env))().catch(giveUp)
const { LOG_FORMAT, LOG_LEVEL, DATA_DIR, AWS_ENDPOINT_URL, WORKER } = settings
/** With LOG_FORMAT=json the lines of docs/log.md have standard output for themselves. */
const inJson = LOG_FORMAT === 'json'
const say = (line: string): void => (inJson ? console.error(line) : console.log(line))
const inOneLine = (level: Level, message: string, extra: Record<string, unknown>): string => {
  const line = { level, timestamp: new Date().toISOString(), ...unlessEvent(message, extra), ...extra }
  return JSON.stringify(line, (_, value) =>
    value instanceof Error ? { name: value.name, message: value.message, stack: value.stack } : value,
  )
}
const inText = {
  INFO: (message: string, extra: Record<string, unknown>) => {
    const facts = [message, extra['imageId'], extra['code']].filter(Boolean)
    if (message === 'completed' || message === 'failed') say(styleText('dim', facts.join('  ')))
  },
  WARN: (message: string, extra: Record<string, unknown>) =>
    console.warn(`warning: ${message}`, ...(Object.keys(extra).length > 0 ? [extra] : [])),
  ERROR: (message: string, extra: Record<string, unknown>) => console.error(`error: ${message}`, extra),
}

const LEVELS = ['INFO', 'WARN', 'ERROR'] as const
type Level = (typeof LEVELS)[number]

/** Bytes of the file of lines at which its older half goes. */
const KEPT_LINES_BYTES = 10_000_000
/** Where DATA_DIR keeps the lines of the log, for `image-analyzer story`. */
const kept = DATA_DIR && join(DATA_DIR, LOG_FILE)

function keepLine(path: string, line: string): void {
  try {
    appendFileSync(path, `${line}\n`, { mode: 0o600 })
    if (statSync(path).size < KEPT_LINES_BYTES) return
    const all = readFileSync(path)
    writeFileSync(`${path}.new`, all.subarray(all.indexOf('\n', all.length / 2) + 1), { mode: 0o600 })
    renameSync(`${path}.new`, path)
  } catch {
    // A folder that is not there yet, or a disk that is full: the embedded AWS says so, and the work continues without a log.
  }
}

/** What LOG_LEVEL lets through, in the format of LOG_FORMAT. */
const least = LEVELS.indexOf(LOG_LEVEL)
const write = (level: Level) => (message: string, extra: Record<string, unknown>) => {
  if (LEVELS.indexOf(level) < least) return
  if (!inJson) inText[level](message, extra)
  if (!inJson && !kept) return
  const line = inOneLine(level, message, extra)
  if (inJson) console.log(line)
  if (kept) keepLine(kept, line)
}
const log = { info: write('INFO'), warn: write('WARN'), error: write('ERROR') }

const starting = startSystem(settings, log, background)
// Before it has started: what it has made by then is to go with it.
const isEnding = endInOrder(async () => (await starting).stop(), say)
// A folder of tens of thousands of images takes several seconds to read.
const reading = setTimeout(() => DATA_DIR && !isEnding() && say(`Reading ${resolve(DATA_DIR)} …`), 2_000)
const system = await starting.catch(giveUp)
clearTimeout(reading)

/** What a newcomer may type, as far as this API lets them in. */
const attempt = {
  none: `curl -F image=@photo.jpg ${system.url}/images`,
  jwt: `curl -H "Authorization: Bearer $TOKEN" -F image=@photo.jpg ${system.url}/images`,
  iam: `${settings.AWS_ACCESS_KEY_ID ? '' : 'AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test '}npm run cli -- upload photo.jpg --sign --endpoint ${system.url}`,
}[system.auth]
if (!isEnding())
  say(`
  Page and API   ${system.url}
  AWS endpoint   ${system.awsEndpoint}${AWS_ENDPOINT_URL ? ' (from AWS_ENDPOINT_URL; without it, an embedded one starts)' : ''}
  Rekognition    ${system.rekognition}${system.explanation}
  Data           ${AWS_ENDPOINT_URL ? 'at the AWS endpoint' : DATA_DIR ? `kept in ${resolve(DATA_DIR)}` : 'gone after exit; DATA_DIR=folder keeps it'}${WORKER === 'off' ? '\n  Worker         off; npm run worker takes the jobs (docs/worker.md)' : ''}

Ready in ${((performance.now() - began) / 1000).toFixed(1)} s. Try: ${attempt}
`)

system.warm()

const files = process.argv.slice(2).flatMap((argument) => {
  // npm runs scripts in the package's folder; a relative path is meant from where the person stands.
  const path = resolve(process.env['INIT_CWD'] ?? '.', argument)
  const found = (existsSync(path) ? [path] : globSync(path)).filter((one) => !statSync(one).isDirectory())
  if (found.length === 0)
    console.error(`There is no file ${argument}. Name the files of a folder, as in photos/*.jpg.`)
  return found
})

/** Images on their way at once. */
const SUBMISSIONS = 8
const waiting = [...files]
await Promise.all(Array.from({ length: SUBMISSIONS }, submitRest))
if (files.length > 0 && !isEnding())
  say(
    `${files.length === 1 ? 'The file is' : `All ${files.length} files are`} done. The page and the API stay at ${system.url} until Ctrl-C.`,
  )

async function submitRest(): Promise<void> {
  for (let file = waiting.shift(); file !== undefined && !isEnding(); file = waiting.shift()) {
    try {
      say(`${basename(file)}\n${JSON.stringify(await submit(file), null, 2)}`)
    } catch (error) {
      if (!isEnding()) console.error(`${basename(file)}: ${(error as Error).message}`)
    }
  }
}

/** The client sends what is too large for one request by a form, and what the API has no room for again. */
async function submit(file: string): Promise<unknown> {
  const { createClient } = await import('../packages/client/index.ts')
  const client = createClient({ endpoint: system.url })
  return client.upload(await openAsBlob(file), { filename: basename(file), wait: true })
}
