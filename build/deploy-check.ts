import { execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs, promisify } from 'node:util'
import { S3Client } from '@aws-sdk/client-s3'
import { DeleteMessageBatchCommand, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs'
import sharp from 'sharp'
import * as z from 'zod'
import { readFromS3, startRekognition } from '../rekognition/service.ts'
import { s3Options, sqsOptions } from '../shared/aws.ts'
import { buildAll, oneOf } from './build.ts'
import { ROOT } from './bundle.ts'
import {
  EMULATOR_NAMES,
  EMULATORS,
  type Emulator,
  type EmulatorName,
  KINDS,
  kindsThatName,
  lastLogs,
  recognise,
  versionOf,
} from './emulators.ts'
import { noteSeen, type Step, seenOf } from './emulators-seen.ts'
import { writeFollowing } from './inputs.ts'
import { type Arch, LIBCS } from './sharp.ts'
import { type Copy, copyModule, missing, onPath, planAgain } from './terraform.ts'

const USAGE = `npm run deploy-check -- --endpoint http://127.0.0.1:4566 [options]

Builds the zips, deploys them to an emulator of AWS by Terraform, has photos of every format and body kind analysed
through the gateway, sees their events at a subscriber, plans again, deploys a changed build, goes back to the one
before, and destroys everything. It works on a copy, under
a name of its own: nothing that is deployed there already is touched.

  --emulator     ${EMULATOR_NAMES.join(', ')}; recognised by itself
  --libc         ${LIBCS.join(' or ')}, which the functions run on; glibc. (MiniStack's usual container has musl.)
  --note         writes what was seen into infrastructure/emulators/seen.json, and the table of infrastructure/README.md
  --version      of the emulator, for --note, where the emulator does not say it
  --rekognition  where the functions reach a Rekognition, such as http://rekognition:4567 of docker-compose.yml;
                 by default a stand-in that is started for the check, on this machine only`

const TARGET = { region: 'us-east-1', credentials: { accessKeyId: 'test', secretAccessKey: 'test' } }
/** Milliseconds without any progress, after which an image or an event is given up. A cold start takes a few seconds. */
const PATIENCE_MS = 60_000
const PAUSE_MS = 500
const LOG_LINES = 10

const FORMATS = ['jpeg', 'png', 'webp', 'gif', 'avif'] as const
type Format = (typeof FORMATS)[number]

/** Every kind of body that POST /images takes. */
const BODIES: Record<string, (bytes: Buffer<ArrayBuffer>, type: string) => RequestInit> = {
  'image/*': (body, type) => ({ headers: { 'content-type': type }, body }),
  'octet stream': (body) => ({ headers: { 'content-type': 'application/octet-stream' }, body }),
  form: (bytes, type) => {
    const body = new FormData()
    body.set('image', new File([bytes], 'photo', { type }))
    return { body }
  },
  JSON: (bytes) => ({
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ image: bytes.toString('base64') }),
  }),
}

const acceptedSchema = z.object({ imageId: z.string() })
const formSchema = acceptedSchema.extend({
  upload: z.object({ url: z.url(), fields: z.record(z.string(), z.string()) }),
})
const recordSchema = z.object({
  status: z.string(),
  original: z.object({ contentType: z.string(), sha256: z.string().optional() }),
  thumbnail: z.object({ width: z.number(), height: z.number() }).optional(),
  labelModelVersion: z.string().optional(),
  failure: z.object({ code: z.string(), message: z.string() }).optional(),
})
const outputsSchema = z.object({
  api_url: z.object({ value: z.url() }),
  subscriber_queue_url: z.object({ value: z.url() }),
  versions: z.object({ value: z.record(z.string(), z.string()) }),
})
const eventSchema = z.object({ 'detail-type': z.string(), detail: z.object({ imageId: z.string() }) })

/** Runs steps, prints a line for each, and counts. */
class Steps {
  readonly ended: Step[] = []
  readonly #print: (text: string) => void

  constructor(print: (text: string) => void) {
    this.#print = print
  }

  /** @returns what the work gives, and undefined where it has failed */
  async run<T>(name: string, work: () => Promise<T>, say: (done: T) => string): Promise<T | undefined> {
    this.#print(`${name.padEnd(12)} `)
    const began = performance.now()
    try {
      const done = await work()
      const said = say(done)
      this.ended.push({ name, end: 'passed', said })
      this.#print(`${said} (${((performance.now() - began) / 1000).toFixed(1)} s)\n`)
      return done
    } catch (error) {
      const said = (error as Error).message
      this.ended.push({ name, end: 'failed', said })
      this.#print(`FAILED: ${said}\n`)
      return undefined
    }
  }

  skip(name: string, reason: string): void {
    this.ended.push({ name, end: 'skipped', said: reason })
    this.#print(`${name.padEnd(12)} skipped: ${reason}\n`)
  }

  summary(): string {
    const skipped = this.#count('skipped')
    return `${this.#count('passed')} passed, ${this.#count('failed')} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`
  }

  get hasFailed(): boolean {
    return this.#count('failed') > 0
  }

  #count(end: Step['end']): number {
    return this.ended.filter((step) => step.end === end).length
  }
}

/** What a check works with. */
interface Check {
  endpoint: string
  emulator: Emulator
  /** What all its resources have in their names. */
  name: string
  /** For Terraform. */
  variables: string[]
  env: Record<string, string>
  steps: Steps
  signal: AbortSignal
}

interface Deployed {
  apiUrl: string
  subscriberQueueUrl: string
  /** The published version that is called, by function. */
  versions: Record<string, string>
}

/** Nothing happens any more, and would not for the next image either. */
class Stuck extends Error {}

/** Waits until there is something, as long as anything happens. */
async function until<T>(
  signal: AbortSignal,
  look: () => Promise<{ found?: T; progress: string }>,
  late: (progress: string) => Promise<Stuck>,
): Promise<T> {
  let last: string | undefined
  let moved = performance.now()
  for (;;) {
    const { found, progress } = await look()
    if (found !== undefined) return found
    if (progress !== last) moved = performance.now()
    last = progress
    if (performance.now() - moved > PATIENCE_MS) throw await late(progress)
    await sleep(PAUSE_MS, undefined, { signal })
  }
}

async function request(url: string, init: RequestInit, expected: number): Promise<Response> {
  const answer = await fetch(url, init)
  if (answer.status === expected) return answer
  const text = (await answer.text()).slice(0, 500)
  throw new Error(`${init.method ?? 'GET'} ${url} answered ${answer.status} and not ${expected}: ${text}`)
}

/** Each has bytes of its own, so that no results are reused. */
let drawn = 0
async function draw(format: Format): Promise<Buffer<ArrayBuffer>> {
  drawn += 1
  const photo = await readFile(join(ROOT, 'test/fixtures/grace-hopper.jpg'))
  const { data } = await sharp(photo)
    .resize(300 + drawn)
    .toFormat(format)
    .toBuffer({ resolveWithObject: true })
  return Buffer.from(data)
}

const hashOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** Waits for an image to be completed, and looks at all that callers get of it. */
async function demandResults(
  { endpoint, emulator, name, signal }: Check,
  url: string,
  bytes: Buffer,
  format: Format,
): Promise<void> {
  const record = await until(
    signal,
    async () => {
      const record = recordSchema.parse(await (await request(url, {}, 200)).json())
      const isFinished = record.status === 'completed' || record.status === 'failed'
      return { progress: record.status, ...(isFinished ? { found: record } : {}) }
    },
    async (status) => {
      const logs = await lastLogs(endpoint, `${name}-worker`, LOG_LINES).catch(() => [])
      const logged = logs.join('\n') || 'Nothing.'
      return new Stuck(
        `the image stays ${status}. If the worker's log does not say why, ${emulator.title}'s own may: does the worker need --libc musl there, and does it reach Rekognition? The worker's log:\n${logged}`,
      )
    },
  )
  if (record.failure !== undefined) throw new Error(`${record.failure.code}: ${record.failure.message}`)
  demand('the content type', record.original.contentType, `image/${format}`)
  demand('the hash of what arrived', record.original.sha256, hashOf(bytes))
  demand('the thumbnail', `${record.thumbnail?.width} × ${record.thumbnail?.height}`, '128 × 128')
  demand('labels by a model', record.labelModelVersion === undefined, false)
  const original = await (await request(`${url}/original`, {}, 200)).arrayBuffer()
  demand('the hash of the original', hashOf(new Uint8Array(original)), hashOf(bytes))
  for (const part of ['thumbnail', 'preview']) {
    const picture = Buffer.from(await (await request(`${url}/${part}`, {}, 200)).arrayBuffer())
    demand(`the first bytes of the ${part}`, picture.toString('hex', 0, 3), 'ffd8ff')
  }
}

function demand<T>(what: string, found: T, expected: T): void {
  if (found !== expected) throw new Error(`${what} is ${found} and not ${expected}`)
}

/** @returns ids of the images, which are completed */
async function sendPhotos(check: Check, apiUrl: string, format: Format): Promise<string[]> {
  const sent = await Promise.all(
    Object.entries(BODIES).map(async ([kind, bodyOf]) => {
      const bytes = await draw(format)
      const init = { method: 'POST', ...bodyOf(bytes, `image/${format}`) }
      const { imageId } = acceptedSchema.parse(await (await request(`${apiUrl}/images`, init, 202)).json())
      return { kind, bytes, imageId }
    }),
  )
  for (const { kind, bytes, imageId } of sent) {
    await demandResults(check, `${apiUrl}/images/${imageId}`, bytes, format).catch((error: Error) => {
      error.message = `sent as ${kind}: ${error.message}`
      throw error
    })
  }
  return sent.map(({ imageId }) => imageId)
}

/** A presigned form, posted to the bucket itself. */
async function upload(check: Check, apiUrl: string): Promise<string[]> {
  const bytes = await draw('jpeg')
  const headers = { 'content-type': 'application/json' }
  const body = JSON.stringify({ contentType: 'image/jpeg', bytes: bytes.length })
  const asked = await request(`${apiUrl}/uploads`, { method: 'POST', headers, body }, 201)
  const { imageId, upload } = formSchema.parse(await asked.json())
  const form = new FormData()
  for (const [name, value] of Object.entries(upload.fields)) form.set(name, value)
  form.set('file', new Blob([bytes]))
  await request(upload.url, { method: 'POST', body: form }, 204)
  await demandResults(check, `${apiUrl}/images/${imageId}`, bytes, 'jpeg')
  return [imageId]
}

/** Takes events from the subscriber's queue until there is one for each image. */
async function receiveEvents({ endpoint, signal }: Check, QueueUrl: string, imageIds: string[]) {
  const sqs = new SQSClient(sqsOptions({ ...TARGET, endpoint }))
  const awaited = new Set(imageIds)
  try {
    await until(
      signal,
      async () => {
        const { Messages = [] } = await sqs.send(
          new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 0 }),
        )
        for (const { Body = '' } of Messages) {
          const { detail, ...event } = eventSchema.parse(JSON.parse(Body))
          if (!awaited.delete(detail.imageId)) continue
          demand('the type of an event', event['detail-type'], 'Image Analysis Completed')
        }
        if (Messages.length > 0) {
          const Entries = Messages.map(({ ReceiptHandle }, index) => ({ Id: String(index), ReceiptHandle }))
          await sqs.send(new DeleteMessageBatchCommand({ QueueUrl, Entries }))
        }
        return { progress: String(awaited.size), ...(awaited.size === 0 ? { found: true } : {}) }
      },
      async (left) => new Stuck(`${left} of ${imageIds.length} events did not arrive`),
    )
  } finally {
    sqs.destroy()
  }
}

async function usePhotos(check: Check, { apiUrl, subscriberQueueUrl }: Deployed): Promise<void> {
  const { steps, emulator } = check
  let useless = emulator.runsNothing
  const imageIds: string[] = []
  const step = async (name: string, kinds: string, send: () => Promise<string[]>): Promise<void> => {
    if (check.signal.aborted) useless ??= 'interrupted'
    if (useless !== undefined) return steps.skip(name, useless)
    const sent = await steps.run(
      name,
      () =>
        send().catch((error) => {
          if (error instanceof Stuck) useless = 'nothing is worked on'
          throw error
        }),
      (ids) => `${ids.length} completed, sent ${kinds}`,
    )
    imageIds.push(...(sent ?? []))
  }
  for (const format of FORMATS) {
    await step(format, `as ${Object.keys(BODIES).join(', ')}`, () => sendPhotos(check, apiUrl, format))
  }
  await step('upload', 'by a presigned form', () => upload(check, apiUrl))
  if (imageIds.length === 0) return steps.skip('events', useless ?? 'no image was completed')
  await steps.run(
    'events',
    () => receiveEvents(check, subscriberQueueUrl, imageIds),
    () => `${imageIds.length} at the subscriber's queue`,
  )
}

/** @throws Error with what Terraform says */
async function run(copy: Copy, env: Record<string, string>, ...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await copy.terraform(args, env)
  if (status === 0) return stdout
  throw new Error(`terraform ${args[0]} failed: ${stderr.trim()}`)
}

async function apply({ endpoint, name, variables, env }: Check, copy: Copy): Promise<Deployed> {
  await run(copy, env, 'apply', '-auto-approve', '-input=false', ...variables)
  const named = await kindsThatName(endpoint, name)
  const unnamed = KINDS.filter((kind) => !named.includes(kind))
  // What is not found now would not be found after destroy either.
  if (unnamed.length > 0) throw new Error(`the emulator lists no ${unnamed.join(', ')} of ${name}`)
  const outputs = outputsSchema.parse(JSON.parse(await run(copy, env, 'output', '-json')))
  return {
    apiUrl: outputs.api_url.value,
    subscriberQueueUrl: outputs.subscriber_queue_url.value,
    versions: outputs.versions.value,
  }
}

/** @returns what it has looked at and, by reason, what is known to change */
async function demandEmptyPlan({ variables, env, emulator }: Check, copy: Copy): Promise<string> {
  const { resources, changes } = await planAgain(copy, variables, env)
  const known = new Map<string, string[]>()
  const unknown: string[] = []
  for (const { name, sameJson } of changes) {
    const { reason } = emulator.drift.find((d) => d.change.test(name) && d.sameJson === sameJson) ?? {}
    if (reason === undefined) unknown.push(name)
    else known.set(reason, [...(known.get(reason) ?? []), name])
  }
  if (unknown.length > 0) throw new Error(`it would change ${unknown.join(', ')}`)
  const exceptions = [...known].map(([reason, names]) => `, but for ${names.join(', ')}: ${reason}`)
  return `nothing to change in ${resources} resources${exceptions.join('')}`
}

/** Deploys other zips with the same in them, and demands that the next version of each function is called. */
async function upgrade(check: Check, copy: Copy, zips: { name: string; zip: Uint8Array }[]): Promise<void> {
  for (const { name, zip } of zips) {
    // A zip ends with the length of its comment, and the comment (APPNOTE, 4.3.16).
    const comment = Buffer.from('changed')
    const length = Buffer.from([comment.length, 0])
    const changed = Buffer.concat([zip.subarray(0, -length.length), length, comment])
    await writeFile(join(copy.folder, '../dist', `${name}.zip`), changed)
  }
  const { apiUrl, versions } = await apply(check, copy)
  demand('each version that is called', Object.values(versions).join(), '2,2,2')
  await demandPhoto(check, apiUrl)
}

/** Goes back by the command of the runbook. */
async function rollBack(check: Check, copy: Copy, apiUrl: string): Promise<void> {
  const script = join(copy.folder, 'rollback.sh')
  const { stdout } = await promisify(execFile)('sh', [script, check.name], {
    env: { ...process.env, ...check.env, AWS_DEFAULT_REGION: TARGET.region },
  })
  const expected = ['api', 'worker', 'sweeper'].map((name) => `${check.name}-${name}: 2 -> 1\n`)
  demand('what rollback.sh says', stdout, expected.join(''))
  await demandPhoto(check, apiUrl)
}

async function demandPhoto(check: Check, apiUrl: string): Promise<void> {
  if (check.emulator.runsNothing === undefined) await sendPhotos(check, apiUrl, 'jpeg')
}

async function destroy({ endpoint, name, variables, env }: Check, copy: Copy): Promise<void> {
  await run(copy, env, 'destroy', '-auto-approve', '-input=false', ...variables)
  const left = await kindsThatName(endpoint, name)
  if (left.length > 0) throw new Error(`${left.join(', ')} of ${name} are still there`)
}

async function deployCheck(
  given: { endpoint: string; emulator?: string; libc: string; rekognition?: string },
  steps: Steps,
  signal: AbortSignal,
): Promise<EmulatorName | undefined> {
  const endpoint = new URL(given.endpoint).origin
  const libc = oneOf('--libc', LIBCS, given.libc)
  const among =
    given.emulator === undefined ? EMULATOR_NAMES : [oneOf('--emulator', EMULATOR_NAMES, given.emulator)]
  const arch: Arch = process.arch === 'arm64' ? 'arm64' : 'x64'

  const emulatorName = await steps.run(
    'emulator',
    async () => {
      const found = await recognise(endpoint, among)
      const lacking = missing()
      if (lacking.length > 0) throw new Error(`not on this machine: ${lacking.join(', ')}`)
      return found
    },
    (found) => `${EMULATORS[found].title} at ${endpoint}`,
  )
  if (emulatorName === undefined) return undefined
  const built = await steps.run(
    'build',
    () => buildAll(arch, () => {}, libc),
    (zips) => `${zips.map((zip) => `${zip.name}.zip`).join(', ')} for ${arch} and ${libc}`,
  )
  if (built === undefined) return emulatorName
  const copy = await steps.run(
    'init',
    () => copyModule('infrastructure', Object.fromEntries(built.map(({ name, zip }) => [name, zip]))),
    () => 'a copy of infrastructure/, with a state of its own',
  )
  if (copy === undefined) return emulatorName

  const emulator: Emulator = EMULATORS[emulatorName]
  const runsBeside = emulator.beside && emulator.runsNothing === undefined
  const s3 = new S3Client(s3Options({ ...TARGET, endpoint }))
  const readObject = (bucket: string, key: string) => readFromS3(s3, bucket, key)
  const standIn =
    runsBeside && given.rekognition === undefined
      ? await startRekognition({ port: 0, rekognition: {}, readObject })
      : undefined
  const rekognition = given.rekognition ?? standIn?.endpoint
  // No other deployment has this name, and listings can be searched for it.
  const name = `check-${randomBytes(4).toString('hex')}`
  const check: Check = {
    ...{ endpoint, emulator, name, steps, signal },
    variables: [
      `-var-file=emulators/${emulatorName}.tfvars`,
      `-var=name=${name}`,
      `-var=architecture=${arch === 'x64' ? 'x86_64' : arch}`,
      '-var=auth=none',
      '-var=subscriber_queue=true',
      ...(runsBeside ? [`-var=emulator_endpoint=${endpoint}`] : []),
      ...(rekognition === undefined ? [] : [`-var=emulator_rekognition=${rekognition}`]),
    ],
    env: {
      AWS_ENDPOINT_URL: endpoint,
      AWS_ACCESS_KEY_ID: TARGET.credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: TARGET.credentials.secretAccessKey,
      AWS_REGION: TARGET.region,
    },
  }
  try {
    const deployed = await steps.run(
      'apply',
      () => apply(check, copy),
      ({ apiUrl }) => apiUrl,
    )
    if (deployed !== undefined && !signal.aborted) {
      await usePhotos(check, deployed)
    }
    if (deployed !== undefined && !signal.aborted) {
      await steps.run(
        'second plan',
        () => demandEmptyPlan(check, copy),
        (found) => found,
      )
    }
    if (deployed !== undefined && !signal.aborted) {
      const upgraded = await steps.run(
        'upgrade',
        async () => {
          await upgrade(check, copy, built)
          return true
        },
        () => 'a changed build is called by each alias',
      )
      if (upgraded && onPath('aws') === undefined) steps.skip('rollback', 'the AWS CLI is missing')
      else if (upgraded) {
        await steps.run(
          'rollback',
          () => rollBack(check, copy, deployed.apiUrl),
          () => 'each alias calls the version before',
        )
      }
    }
    await steps.run(
      'destroy',
      () => destroy(check, copy),
      () => `nothing is left among ${KINDS.length} kinds of resources`,
    )
  } finally {
    copy.remove()
    await standIn?.stop()
    s3.destroy()
  }
  return emulatorName
}

if (process.argv[1] === import.meta.filename) {
  const { endpoint, help, note, version, ...options } = parseArgs({
    options: {
      endpoint: { type: 'string' },
      emulator: { type: 'string' },
      libc: { type: 'string', default: 'glibc' },
      rekognition: { type: 'string' },
      note: { type: 'boolean' },
      version: { type: 'string' },
      help: { type: 'boolean' },
    },
  }).values
  const print = (text: string): boolean => process.stdout.write(text)
  if (help || endpoint === undefined) {
    print(`${USAGE}\n`)
    process.exitCode = help ? 0 : 1
  } else {
    const stopping = new AbortController()
    for (const name of ['SIGINT', 'SIGTERM'] as const) {
      process.on(name, () => {
        if (!stopping.signal.aborted) print('interrupted; what has been made is destroyed first … ')
        stopping.abort()
      })
    }
    const steps = new Steps(print)
    const found = await deployCheck({ endpoint, ...options }, steps, stopping.signal)
    if (note && found !== undefined && !stopping.signal.aborted) {
      const today = new Date().toISOString().slice(0, 10)
      noteSeen(found, seenOf(today, version ?? (await versionOf(endpoint, found)), steps.ended))
      writeFollowing()
    }
    print(`${steps.summary()}\n`)
    process.exitCode = steps.hasFailed || stopping.signal.aborted ? 1 : 0
  }
}
