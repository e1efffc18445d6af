import { type ChildProcess, spawn } from 'node:child_process'
import { createHash, randomInt } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { EventBridgeClient, PutRuleCommand, PutTargetsCommand } from '@aws-sdk/client-eventbridge'
import { GetObjectCommand, paginateListObjectsV2, S3Client } from '@aws-sdk/client-s3'
import {
  CreateQueueCommand,
  DeleteMessageBatchCommand,
  GetQueueAttributesCommand,
  GetQueueUrlCommand,
  ReceiveMessageCommand,
  SetQueueAttributesCommand,
  SQSClient,
} from '@aws-sdk/client-sqs'
import { BatchGetCommand, DynamoDBDocumentClient, paginateScan } from '@aws-sdk/lib-dynamodb'
import sharp from 'sharp'
import { readOptions, runCommand, wholeNumber } from '../build/command.ts'
import type { EventDetail } from '../shared/messages.ts'
import type { ShownImage } from './context.ts'
import { distinct } from './pictures/pictures.ts'
import { seeded } from './random.ts'
import { Patience, patiently } from './until.ts'

/**
 * `npm run crash -- --seconds 120 [--seed N]`: the whole system as a process of its own, under load over HTTP, killed
 * with SIGKILL again and again (also while it starts) and started again on the same folder. In the end it is left in
 * peace, and what clients were answered, what subscribers got, and what is stored are held against each other.
 *
 * The seed decides what is asked and when the process is killed; how far it has come by then differs from run to run.
 *
 * With `--worker` the system lives, without a worker of its own: three `npm run worker` take its jobs, and every two seconds
 * one of them is ended, by SIGTERM and SIGKILL in turn, and followed by another.
 */

// ── The judge ─────────────────────────────────────────────────────────────────────────────────────────────────

export type Kind = 'valid' | 'corrupt' | 'too small'

/** How a picture of each kind has to end. Nothing is so slow here that EXHAUSTED would be an ending. */
const ENDINGS: Record<Kind, string> = {
  valid: 'completed',
  corrupt: 'failed CORRUPT_IMAGE',
  'too small': 'failed IMAGE_TOO_SMALL',
}

/** What one client did with one picture, one request after the other; so what it saw is in order. */
export interface Submission {
  kind: Kind
  /** Of its bytes, which no other submission has. */
  sha256: string
  idempotent: boolean
  /** Requests to submit it, answered or not. */
  sent: number
  /** The imageId of every 202. */
  answers: string[]
  looks: Look[]
  /** Requests to try it again, and how many of them were answered with 202. */
  retries: { sent: number; accepted: number }
  /** Its deletion was asked for, and perhaps answered. */
  deletion?: 'asked' | 'answered'
  /** Answers that have no place in the contract. */
  surprises: string[]
}

/** What GET showed, or undefined for 404, after so many requests to try it again. */
export interface Look {
  retriesSent: number
  shown: ShownImage | undefined
}

/** An item of the table. */
export interface Stored {
  imageId: string
  status: string
  epoch: number
  completedAt?: string
  failure?: { code: string }
  original: { key: string; sha256: string }
  thumbnail?: { key: string }
  preview?: { key: string }
}

/** All that is known when the system has come to rest. */
export interface History {
  submissions: Submission[]
  /** Every delivery, repetitions too. */
  events: EventDetail[]
  /** Ids of events that were delivered before their image had ended so. */
  early: string[]
  records: Stored[]
  /** The SHA-256 of each object in the bucket, by its key. */
  objects: Map<string, string>
  /** What the pages of GET /images held, in order. */
  listed: string[]
  /** What befell the process, other than being killed. */
  mishaps: string[]
}

export interface Finding {
  /** What it is about: an image, an event, an object; empty for the process. */
  id: string
  what: string
}

export interface Judgement {
  accepted: number
  deleted: number
  completed: number
  failed: number
  lost: Finding[]
  stuck: Finding[]
  contradictions: Finding[]
  violations: Finding[]
  /** Objects without a record. They cost money but break no promise, so they are counted and do not fail a run. */
  orphans: Finding[]
  /** Records without an ending whose request was never answered: not promised, so they do not fail a run either. */
  open: Finding[]
}

const isFinished = (status: string | undefined): boolean => status === 'completed' || status === 'failed'
const ending = (image: { status: string; failure?: { code: string } }): string =>
  image.failure === undefined ? image.status : `${image.status} ${image.failure.code}`

/** The events that the outcomes of an image must have given: only a failed run can have been followed by another. */
function outcomesOf({ imageId, epoch, status }: Stored): string[] {
  const earlier = Array.from({ length: epoch - 1 }, (_, index) => `${imageId}:${index + 1}:failed`)
  return isFinished(status) ? [...earlier, `${imageId}:${epoch}:${status}`] : earlier
}

/** Holds the promises of the system against what happened. It looks at nothing but the history. */
export function judge(history: History): Judgement {
  const judgement: Judgement = {
    ...{ accepted: 0, deleted: 0, completed: 0, failed: 0 },
    ...{ lost: [], stuck: [], contradictions: [], violations: [], orphans: [], open: [] },
  }
  const violate = (id: string, what: string): void => void judgement.violations.push({ id, what })
  for (const mishap of history.mishaps) violate('', mishap)
  for (const submission of history.submissions) judgeSubmission(submission, history, judgement)
  judgeRecords(history, judgement)
  judgeEvents(history, judgement)
  judgeObjects(history, judgement)
  return judgement
}

function judgeSubmission(submission: Submission, history: History, judgement: Judgement): void {
  const { sha256, idempotent, sent, answers, looks, deletion } = submission
  const records = history.records.filter((record) => record.original.sha256 === sha256)
  const id = answers[0] ?? records[0]?.imageId ?? ''
  const violate = (what: string): void => void judgement.violations.push({ id, what })

  for (const surprise of submission.surprises) violate(surprise)
  if (new Set(answers).size > 1) violate(`one idempotency key was answered with ${answers.join(' and ')}`)
  if (records.length > (idempotent ? 1 : sent)) {
    violate(`${sent} requests ${idempotent ? 'with one key ' : ''}made ${records.length} records`)
  }
  for (const problem of backwards(looks)) violate(problem)

  for (const record of records) judgeRecord(record, submission, judgement)

  const end = looks.at(-1)
  if (deletion !== undefined) {
    judgement.deleted += 1
    if (deletion === 'asked') violate('its deletion was never answered')
    else if (end?.shown !== undefined) violate('it is shown after its deletion')
    else if (records.some((record) => record.imageId === id)) violate('it has a record after its deletion')
  } else if (answers.length > 0) {
    judgement.accepted += 1
    if (end?.shown === undefined) judgement.lost.push({ id, what: 'answered with 202, and now with 404' })
    else if (end.shown.status === 'completed') judgement.completed += 1
    else if (end.shown.status === 'failed') judgement.failed += 1
    else judgement.stuck.push({ id, what: `still ${end.shown.status}` })
  }
}

/** One record that a submission has made: the one that its client knows, or that of a request without an answer. */
function judgeRecord(record: Stored, submission: Submission, { open, violations }: Judgement): void {
  const { imageId: id, status, epoch, failure } = record
  const { kind, answers, retries, deletion } = submission
  const answered = answers.includes(id)
  if (answered && deletion !== undefined) return
  if (!answered && !isFinished(status)) open.push({ id, what: `${status}, and never answered` })
  // The original of a request without an answer may never have arrived.
  const right = ending(record) === ENDINGS[kind] || (!answered && failure?.code === 'ORIGINAL_MISSING')
  if (isFinished(status) && !right) violations.push({ id, what: `a ${kind} picture is ${ending(record)}` })
  const [least, most] = answered ? [1 + retries.accepted, 1 + retries.sent] : [1, 1]
  if (epoch < least || epoch > most) {
    const what = `epoch ${epoch} after ${retries.sent} retries, of which ${retries.accepted} were accepted`
    violations.push({ id, what })
  }
}

const RANKS = ['pending', 'processing', 'completed', 'failed']
/** Completed and failed are as far as each other. */
const rank = (status: string): number => Math.min(RANKS.indexOf(status), 2)

/** What must not happen between two looks at one image, unless it was asked to be tried again in between. */
function backwards(looks: Look[]): string[] {
  return looks.flatMap((look, index) => {
    const before = looks[index - 1]
    if (before?.shown === undefined || look.shown === undefined) {
      return before !== undefined && before.shown === undefined && look.shown !== undefined
        ? ['it was missing and came back']
        : []
    }
    const [was, is] = [before.shown, look.shown]
    const replaced = look.retriesSent > before.retriesSent && was.status === 'failed'
    if (replaced || isDeepStrictEqual(was, is)) return []
    if (isFinished(was.status)) return [`it was shown as ${state(was)} and then as ${state(is)}`]
    const back = rank(is.status) < rank(was.status) || is.attempts < was.attempts
    return back ? [`it went back from ${state(was)} to ${state(is)}`] : []
  })
}

const state = (image: ShownImage): string =>
  [
    ending(image),
    `attempts ${image.attempts}`,
    ...(image.completedAt ? [`at ${image.completedAt}`] : []),
  ].join(', ')

function judgeRecords({ submissions, records, objects, listed }: History, judgement: Judgement): void {
  const known = new Set(submissions.map((submission) => submission.sha256))
  for (const { imageId, status, original, thumbnail, preview, failure } of records) {
    const violate = (what: string): void => void judgement.violations.push({ id: imageId, what })
    if (!known.has(original.sha256)) violate('nobody submitted it')
    if (status === 'completed' && !objects.has(thumbnail?.key ?? '')) violate('its thumbnail is not in S3')
    if (status === 'completed' && !objects.has(preview?.key ?? '')) violate('its preview is not in S3')
    const stored = objects.get(original.key)
    const told = failure?.code === 'ORIGINAL_MISSING'
    if (isFinished(status) && stored === undefined && !told) violate('its original is not in S3')
    if (stored !== undefined && stored !== original.sha256) violate('its original has other bytes')
    const times = listed.filter((id) => id === imageId).length
    if (times !== 1) violate(`GET /images lists it ${times} times`)
  }
  const there = new Set(records.map((record) => record.imageId))
  for (const id of new Set(listed)) {
    if (!there.has(id)) judgement.violations.push({ id, what: 'GET /images lists it, but it has no record' })
  }
}

function judgeEvents({ submissions, events, early, records }: History, judgement: Judgement): void {
  const { contradictions, violations } = judgement
  const deleted = new Set(submissions.flatMap(({ deletion, answers }) => (deletion ? answers : [])))
  const byImage = new Map(records.map((record) => [record.imageId, record]))
  const first = new Map<string, EventDetail>()
  const statuses = new Map<string, string>()
  for (const detail of events) {
    const { eventId, imageId, epoch, status } = detail
    const run = `${imageId}:${epoch}`
    const told = first.get(eventId)
    if (eventId !== `${run}:${status}`) violations.push({ id: eventId, what: `it is of ${run}:${status}` })
    if (told === undefined) first.set(eventId, detail)
    else if (!isDeepStrictEqual(told, detail)) {
      contradictions.push({ id: eventId, what: `two details: ${JSON.stringify([told, detail])}` })
    }
    const other = statuses.get(run)
    if (other !== undefined && other !== status) {
      contradictions.push({ id: eventId, what: `this run was announced as ${other} before` })
    }
    statuses.set(run, status)
  }

  for (const [eventId, { imageId, epoch, status, completedAt, failure }] of first) {
    const record = byImage.get(imageId)
    if (record === undefined) {
      if (!deleted.has(imageId))
        violations.push({ id: eventId, what: 'an event of an image without a record' })
    } else if (!outcomesOf(record).includes(eventId)) {
      contradictions.push({ id: eventId, what: `the record is ${record.status} in epoch ${record.epoch}` })
    } else if (epoch === record.epoch) {
      const same = completedAt === record.completedAt && isDeepStrictEqual(failure, record.failure)
      if (!same) contradictions.push({ id: eventId, what: `the ${status} record says something else` })
    }
  }
  for (const id of new Set(early)) violations.push({ id, what: 'announced before its commit' })
  for (const record of records) {
    // A deletion ends a job that still had to announce something, so what is being deleted is owed nothing.
    if (deleted.has(record.imageId)) continue
    for (const id of outcomesOf(record)) if (!first.has(id)) violations.push({ id, what: 'no event came' })
  }
}

function judgeObjects({ submissions, records, objects }: History, { orphans }: Judgement): void {
  const accepted = new Map(
    submissions.flatMap(({ deletion, answers }) => answers.map((id) => [id, deletion] as const)),
  )
  const recorded = new Set(records.map((record) => record.imageId))
  for (const key of objects.keys()) {
    const imageId = idIn(key)
    if (recorded.has(imageId)) continue
    const what = !accepted.has(imageId)
      ? 'of a request that was never answered'
      : accepted.get(imageId) !== undefined
        ? 'of a deleted image'
        : 'of a lost image'
    orphans.push({ id: key, what })
  }
}

const idIn = (text: string): string => /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/.exec(text)?.[0] ?? ''

const BROKEN_PROMISES = ['lost', 'stuck', 'contradictions', 'violations'] as const
const LEFT_BEHIND = ['orphans', 'open'] as const

export const passes = (judgement: Judgement): boolean =>
  BROKEN_PROMISES.every((name) => judgement[name].length === 0)

export function summary(kills: number, judgement: Judgement): string {
  const { accepted, deleted, completed, failed, lost, stuck, contradictions, violations, orphans } = judgement
  return [
    `${kills} kills, ${accepted} accepted, ${completed} completed, ${failed} failed, ${deleted} deleted`,
    `${lost.length} lost, ${stuck.length} stuck, ${contradictions.length} contradictory events`,
    `${violations.length} other violations, ${orphans.length} orphans`,
  ].join(', ')
}

// ── The system, one process after another ─────────────────────────────────────────────────────────────────────

const ROOT = join(import.meta.dirname, '..')
/** Names that the contract fixes (section 2). */
const BUCKET = 'image-analyzer-images'
const TABLE = 'image-analyzer-images'
const BUS = 'image-analyzer'
const JOBS = 'image-analyzer-jobs'
const DEAD_JOBS = 'image-analyzer-jobs-dead'
const SUBSCRIBER = 'crash-subscriber'
/** Seconds until an event is delivered again whose delivery was lost in a kill. */
const REDELIVERY_SECONDS = 5
/** Milliseconds in which the system has to start, and to answer. On an idle machine both take under a second. */
const START_MS = 60_000
const ANSWER_MS = 60_000
/** What the contract gives Ctrl-C. */
const STOP_MS = 5_000

interface Aws {
  s3: S3Client
  sqs: SQSClient
  dynamo: DynamoDBDocumentClient
  eventBridge: EventBridgeClient
  close: () => void
}

function connect(endpoint: string): Aws {
  const credentials = { accessKeyId: 'test', secretAccessKey: 'test' }
  const options = { endpoint, region: 'us-east-1', credentials }
  const s3 = new S3Client({ ...options, forcePathStyle: true })
  const sqs = new SQSClient({ ...options, useQueueUrlAsEndpoint: false })
  const dynamoDb = new DynamoDBClient(options)
  const eventBridge = new EventBridgeClient(options)
  return {
    ...{ s3, sqs, eventBridge, dynamo: DynamoDBDocumentClient.from(dynamoDb) },
    close: () => {
      for (const client of [s3, sqs, dynamoDb, eventBridge]) client.destroy()
    },
  }
}

interface Launched {
  process: ChildProcess
  output: () => string
  /** The exit code, or the signal that ended it. */
  exited: Promise<number | string>
  /** Resolves with the addresses that it prints when it is ready; never if it ends before. */
  ready: Promise<{ url: string; endpoint: string }>
  /** It was sent SIGKILL: what breaks off from now on is expected. */
  killed: boolean
}

interface Running extends Launched {
  url: string
  endpoint: string
  aws: Aws
}

function launch(folder: string, settings: Record<string, string>, file = 'local/main.ts'): Launched {
  const env = Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => !/^(AWS_|JWT_|STAND_IN_|AUTH$|REKOGNITION$|MAX_IMAGE_BYTES$)/.test(name),
    ),
  )
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', file], {
    cwd: ROOT,
    env: {
      ...env,
      REKOGNITION: 'stand-in',
      DATA_DIR: folder,
      PORT: '0',
      AWS_PORT: '0',
      NO_COLOR: '1',
      ...settings,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  const ready = Promise.withResolvers<{ url: string; endpoint: string }>()
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      output += chunk
      if (!/Ready in/.test(output)) return
      const address = (what: string) => new RegExp(`${what} +(http\\S+)`).exec(output)?.[1] ?? ''
      ready.resolve({ url: address('Page and API'), endpoint: address('AWS endpoint') })
    })
  }
  return {
    ...{ process: child, output: () => output, ready: ready.promise, killed: false },
    exited: new Promise((done) => child.once('exit', (code, signal) => done(code ?? signal ?? ''))),
  }
}

const isAlive = ({ process, killed }: Launched): boolean =>
  !killed && process.exitCode === null && process.signalCode === null

async function kill(launched: Launched): Promise<void> {
  launched.killed = true
  launched.process.kill('SIGKILL')
  await launched.exited
}

// ── One run ───────────────────────────────────────────────────────────────────────────────────────────────────

/** Clients at once, and the longest pause between two requests of one. */
const CLIENTS = 16
/** Of workers, whose jobs rest for a while when one is killed: as many as to keep the others at work meanwhile. */
const CLIENTS_OF_WORKERS = 48
const LONGEST_PAUSE_MS = 500
/** Milliseconds for which a process lives under load: at random in between. */
const LIFE_MS = { least: 2_000, most: 8_000 }
/** Of the kills, those that come while the system starts. */
const KILLED_AT_START = 0.25
/**
 * Seconds after which the system is stuck at last if nothing more comes to its end. Throttled jobs wait up to 60
 * (worker/batch.ts).
 */
const REST_SECONDS = 120
/**
 * Looks, half a second apart, for which the system is given time after its last promise is kept: for records that were
 * never answered, and for copies of jobs, which may wait for a lease to run out that is long given up.
 */
const PATIENCE_LOOKS = 10
/** Starts in a row that may fail before there is no use in going on. */
const MOST_FAILED_STARTS = 3

/** Workers at once, and milliseconds between the ends of two. */
const WORKERS = 3
const WORKER_ENDS_EVERY_MS = 2_000
/** Seconds of a batch. What SIGKILL leaves is invisible for six times as long. */
const BATCH_SECONDS = 15
/** A batch takes about as long as a worker that drains lets it: some are broken off. */
const BESIDE_WORKERS = { WORKER: 'off', STAND_IN_LATENCY_MS: '3500' }
/** Seconds after which a job that SIGTERM breaks off is there again, at the most. */
const BACK_SECONDS = 2
const besideOf = (endpoint: string): Record<string, string> => ({
  ...{ AWS_ENDPOINT_URL: endpoint, AWS_REGION: 'us-east-1' },
  ...{ AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'test' },
  ...{ IMAGE_BUCKET: BUCKET, IMAGE_TABLE: TABLE, EVENT_BUS_NAME: BUS },
  JOB_QUEUE_URL: `${endpoint}/000000000000/${JOBS}`,
  ...{ WORKER_TIMEOUT_SECONDS: String(BATCH_SECONDS), DRAIN_SECONDS: '10' },
})

interface Answer {
  status: number
  body: Record<string, unknown>
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** The load, the killing and the gathering of what happened; `judge` says what it means. */
class Run {
  readonly #seed: number
  readonly #seconds: number
  readonly #data: string
  /** Whether workers are ended, and not the system. */
  readonly #ofWorkers: boolean
  readonly #log: (status: () => string) => void
  readonly history: History = {
    ...{ submissions: [], events: [], early: [], records: [], objects: new Map(), listed: [], mishaps: [] },
  }
  kills = { running: 0, starting: 0 }
  /** How often the system asked to be asked again (503, 429). */
  busy = 0
  /** What the processes printed as warnings or errors. */
  trouble: string[] = []
  /** Jobs that are in the dead-letter queue at the end. */
  deadLetters = 0
  child: Launched | undefined
  workers: Launched[] = []
  /** Attempts that SIGTERM has broken off. */
  brokenOff = 0
  /** Workers that were not done when the time that SIGTERM leaves them was over. */
  late = 0

  #up = Promise.withResolvers<Running>()
  #subscribed = false
  #over = false
  /** What is left at the end, as long as something moves. */
  #patience: Patience | undefined
  #startMs = 1_000
  /** Known once the clients are done. */
  #unfinished: number | undefined

  constructor({ seed, seconds, worker }: Options, data: string, log: (status: () => string) => void) {
    this.#seed = seed
    this.#seconds = seconds
    this.#ofWorkers = worker
    this.#data = data
    this.#log = log
  }

  async run(): Promise<void> {
    const began = Date.now()
    const until = began + this.#seconds * 1000
    this.#log(() => {
      const { submissions, events } = this.history
      const accepted = submissions.filter(({ answers }) => answers.length > 0).length
      const { running, starting } = this.kills
      const counts = `${running + starting} kills, ${accepted} accepted, ${events.length} events`
      const seconds = Math.round((Date.now() - began) / 1000)
      const rest = this.#unfinished === undefined ? 'clients finish' : `${this.#unfinished} to be finished`
      return `${seconds} s: ${counts}${this.#over ? `, ${rest}` : ''}`
    })
    let next = 0
    const length = this.#ofWorkers ? CLIENTS_OF_WORKERS : CLIENTS
    const clients = Array.from({ length }, async () => {
      while (!this.#over) {
        next += 1
        await this.#live(next, seeded(this.#seed + next * 7919))
      }
    })
    if (!this.#ofWorkers) await this.#killAgainAndAgain(until)
    const last = await this.#start(this.#ofWorkers ? BESIDE_WORKERS : {})
    const draining = this.#drain(last)
    if (this.#ofWorkers) await this.#endWorkersAgainAndAgain(last, until)
    this.#over = true
    this.#patience = new Patience(REST_SECONDS * 1000)
    await Promise.all(clients)
    await this.#rest(last)
    await this.#gather(last)
    await Promise.all(this.workers.map((worker) => this.#drainWorker(worker)))
    last.killed = true
    const stopping = new Patience(STOP_MS)
    last.process.kill('SIGTERM')
    const exit = await last.exited
    const took = Math.round(stopping.spent())
    if (exit !== 0 || took > STOP_MS) this.history.mishaps.push(`SIGTERM gave exit ${exit} after ${took} ms`)
    await draining
    last.aws.close()
  }

  async #killAgainAndAgain(until: number): Promise<void> {
    const random = seeded(this.#seed)
    while (Date.now() < until) {
      // Slow answers keep work under way when the process is killed; a limited rate keeps a queue.
      const settings = {
        STAND_IN_LATENCY_MS: String(Math.floor(random() * 300)),
        ...(random() < 0.25 ? { STAND_IN_TPS: '30' } : {}),
      }
      if (random() < KILLED_AT_START && this.#subscribed) {
        const launched = this.#launch(settings)
        await Promise.race([sleep(random() * this.#startMs), launched.ready, launched.exited])
        if (isAlive(launched)) this.kills.starting += 1
        await kill(launched)
        continue
      }
      const life = LIFE_MS.least + random() * (LIFE_MS.most - LIFE_MS.least)
      const running = await this.#start(settings)
      const draining = this.#drain(running)
      const left = Math.max(until - Date.now(), 0)
      await Promise.race([sleep(Math.min(life, left)), running.exited])
      this.#up = Promise.withResolvers()
      if (isAlive(running)) this.kills.running += 1
      await kill(running)
      await draining
      running.aws.close()
    }
  }

  async #endWorkersAgainAndAgain({ aws, endpoint }: Running, until: number): Promise<void> {
    const random = seeded(this.#seed)
    const { QueueUrl } = await aws.sqs.send(new GetQueueUrlCommand({ QueueName: JOBS }))
    const Attributes = { VisibilityTimeout: String(6 * BATCH_SECONDS) }
    await aws.sqs.send(new SetQueueAttributesCommand({ QueueUrl, Attributes }))
    const another = () => launch(this.#data, besideOf(endpoint), 'worker/main.ts')
    this.workers = Array.from({ length: WORKERS }, another)
    const drained: Promise<void>[] = []
    while (Date.now() < until) {
      await sleep(WORKER_ENDS_EVERY_MS)
      const [worker] = this.workers.splice(Math.floor(random() * WORKERS), 1, another())
      this.kills.running += 1
      if (worker === undefined) continue
      if (this.kills.running % 2 === 0) await kill(worker)
      else drained.push(this.#drainWorker(worker))
    }
    await Promise.all(drained)
  }

  /** Ends a worker by SIGTERM, which it obeys once it takes jobs. */
  async #drainWorker(worker: Launched): Promise<void> {
    const { mishaps } = this.history
    while (isAlive(worker) && !worker.output().includes('the worker takes jobs')) await sleep(100)
    worker.process.kill('SIGTERM')
    const exit = await worker.exited
    const lines = worker.output().split('\n')
    const end = lines.findIndex((line) => line.includes('takes no more jobs'))
    // It had more to settle than a busy machine does in its time: the queue gives that to others, as after SIGKILL.
    if (exit === 1 && end >= 0) this.late += 1
    else if (exit !== 0) mishaps.push(`SIGTERM gave a worker exit ${exit}: ${lines.slice(-5).join('\n')}`)
    const waits = lines
      .slice(end)
      .filter((line) => line.includes('"event":"out of time"'))
      .map((line) => Number(JSON.parse(line).seconds))
    this.brokenOff += waits.length
    const longest = Math.max(0, ...waits)
    if (longest > BACK_SECONDS) mishaps.push(`SIGTERM leaves a job invisible for ${longest} s`)
  }

  /** @throws Error if it does not start, again and again */
  async #start(settings: Record<string, string>): Promise<Running> {
    for (let failures = 0; ; ) {
      const began = Date.now()
      const launched = this.#launch(settings)
      const addresses = await patiently('the start', START_MS, (signal) =>
        Promise.race([
          launched.ready,
          launched.exited.then(() => undefined),
          new Promise<undefined>((late) => signal.addEventListener('abort', () => late(undefined))),
        ]),
      )
      if (addresses === undefined) {
        if (isAlive(launched)) this.history.mishaps.push(`not ready within ${START_MS} ms`)
        await kill(launched)
        failures += 1
        if (failures < MOST_FAILED_STARTS) continue
        throw new Error(`The system does not start any more:\n${launched.output()}`)
      }
      this.#startMs = Date.now() - began
      const running = Object.assign(launched, { ...addresses, aws: connect(addresses.endpoint) })
      if (!this.#subscribed) await subscribe(running.aws)
      this.#subscribed = true
      this.#up.resolve(running)
      return running
    }
  }

  #launch(settings: Record<string, string>): Launched {
    const launched = launch(this.#data, settings)
    this.child = launched
    void launched.exited.then((exit) => {
      const lines = launched.output().trim().split('\n')
      this.trouble.push(...lines.filter((line) => /^(error|warning): /.test(line)))
      if (launched.killed) return
      this.history.mishaps.push(`the process ended by itself (${exit}): ${lines.slice(-5).join('\n')}`)
    })
    return launched
  }

  // What clients do.

  /** @returns undefined where the process was killed before it answered */
  async #ask(submission: Submission, path: string, init: RequestInit = {}): Promise<Answer | undefined> {
    const running = await this.#up.promise
    try {
      const answer = await patiently('an answer', ANSWER_MS, async (signal) => {
        const response = await fetch(`${running.url}${path}`, { ...init, signal })
        const text = await response.text()
        return { status: response.status, body: text === '' ? {} : JSON.parse(text) }
      })
      if (answer.status !== 503 && answer.status !== 429) return answer
      this.busy += 1
    } catch (error) {
      // A process that dies without a kill takes its requests along, and is a finding already.
      await Promise.race([running.exited, sleep(1_000)])
      if (isAlive(running)) submission.surprises.push(`${init.method ?? 'GET'} ${path} broke off: ${error}`)
    }
    await sleep(200)
    return undefined
  }

  #surprise(submission: Submission, what: string, { status, body }: Answer): void {
    submission.surprises.push(`${what} was answered with ${status} ${JSON.stringify(body)}`)
  }

  /** One picture from its submission to an end that chance chooses. */
  async #live(number: number, random: () => number): Promise<void> {
    const chance = (probability: number): boolean => random() < probability
    const pause = () => sleep(random() * LONGEST_PAUSE_MS)
    const kind: Kind = chance(0.85) ? 'valid' : chance(0.5) ? 'corrupt' : 'too small'
    const bytes = await picture(number, kind, random)
    const key = chance(0.5) ? `key-${number}` : undefined
    const submission: Submission = {
      ...{ kind, sha256: sha256(bytes), idempotent: key !== undefined, sent: 0 },
      ...{ answers: [], looks: [], retries: { sent: 0, accepted: 0 }, surprises: [] },
    }
    this.history.submissions.push(submission)
    const post = async (body = bytes): Promise<Answer | undefined> => {
      submission.sent += 1
      return this.#ask(submission, '/images', {
        method: 'POST',
        headers: {
          'content-type': 'application/octet-stream',
          ...(key === undefined ? {} : { 'idempotency-key': key }),
        },
        body: new Uint8Array(body),
      })
    }
    const accept = (answer: Answer | undefined): void => {
      if (answer === undefined) return
      if (answer.status === 202) submission.answers.push(String(answer.body['imageId']))
      else this.#surprise(submission, 'POST /images', answer)
    }

    while (submission.answers.length === 0) {
      if (submission.surprises.length > 0 || this.#patience?.isOver()) return
      const twice = key !== undefined && chance(0.1)
      for (const answer of await Promise.all([post(), ...(twice ? [post()] : [])])) accept(answer)
      // Without a key a client cannot know whether it was heard; some ask again, some give up.
      if (submission.answers.length === 0 && key === undefined && chance(0.5)) return
    }
    const [imageId] = submission.answers
    if (imageId === undefined) return
    if (key !== undefined && chance(0.3)) {
      await pause()
      accept(await post())
    }
    if (key !== undefined && chance(0.1)) {
      const other = await post(Buffer.concat([bytes, Buffer.from('other')]))
      if (other !== undefined && other.body['code'] !== 'IDEMPOTENCY_KEY_REUSED') {
        this.#surprise(submission, 'one key with other bytes', other)
      }
    }
    if (chance(0.05)) return this.#delete(submission, imageId)
    // Some never come back; what they were promised is looked at in the end.
    if (chance(0.2)) return
    let ended = await this.#watch(submission, imageId, random)
    while (ended?.status === 'failed' && chance(0.4)) {
      await this.#retry(submission, imageId)
      ended = await this.#watch(submission, imageId, random)
    }
    if (chance(0.1)) await this.#delete(submission, imageId)
  }

  /** Looks at an image until it is finished, with and without `wait`. */
  async #watch(
    submission: Submission,
    imageId: string,
    random: () => number,
  ): Promise<ShownImage | undefined> {
    while (!this.#patience?.isOver()) {
      const wait = random() < 0.5 ? `?wait=${Math.ceil(random() * 10)}` : ''
      const look = await this.#look(submission, imageId, wait)
      if (look !== undefined && (look.shown === undefined || isFinished(look.shown.status))) return look.shown
      await sleep(random() * LONGEST_PAUSE_MS)
    }
    return undefined
  }

  async #look(submission: Submission, imageId: string, query = ''): Promise<Look | undefined> {
    const answer = await this.#ask(submission, `/images/${imageId}${query}`)
    if (answer === undefined) return undefined
    const missing = answer.status === 404 && answer.body['code'] === 'IMAGE_NOT_FOUND'
    if (answer.status !== 200 && !missing) {
      this.#surprise(submission, 'GET', answer)
      return undefined
    }
    const shown = missing ? undefined : (answer.body as unknown as ShownImage)
    const look = { retriesSent: submission.retries.sent, shown }
    // Thousands of equal looks would only fill the memory.
    if (!isDeepStrictEqual(submission.looks.at(-1), look)) submission.looks.push(look)
    return look
  }

  async #retry(submission: Submission, imageId: string): Promise<void> {
    for (let heard = true; !this.#patience?.isOver(); heard = false) {
      submission.retries.sent += 1
      const answer = await this.#ask(submission, `/images/${imageId}/retry`, { method: 'POST' })
      if (answer === undefined) continue
      if (answer.status === 202) submission.retries.accepted += 1
      // One whose answer was lost may have begun the run that this one finds under way.
      else if (answer.body['code'] !== 'NOT_FAILED' || heard) this.#surprise(submission, 'a retry', answer)
      return
    }
  }

  async #delete(submission: Submission, imageId: string): Promise<void> {
    submission.deletion = 'asked'
    for (let heard = true; !this.#patience?.isOver(); heard = false) {
      const answer = await this.#ask(submission, `/images/${imageId}`, { method: 'DELETE' })
      if (answer === undefined) continue
      const gone = answer.status === 204 || (answer.status === 404 && !heard)
      if (!gone) this.#surprise(submission, 'DELETE', answer)
      submission.deletion = 'answered'
      return
    }
  }

  // What subscribers get.

  async #drain(running: Running): Promise<void> {
    const { sqs } = running.aws
    while (isAlive(running)) {
      try {
        const { QueueUrl } = await sqs.send(new GetQueueUrlCommand({ QueueName: SUBSCRIBER }))
        while (isAlive(running)) await this.#receive(running.aws, QueueUrl)
      } catch (error) {
        await Promise.race([running.exited, sleep(1_000)])
        if (isAlive(running)) this.history.mishaps.push(`the subscriber's queue does not answer: ${error}`)
      }
    }
  }

  async #receive({ sqs, dynamo }: Aws, QueueUrl: string | undefined): Promise<void> {
    const { Messages = [] } = await sqs.send(
      new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 1 }),
    )
    if (Messages.length === 0) return
    const details = Messages.map((message) => JSON.parse(message.Body ?? '').detail as EventDetail)
    this.history.events.push(...details)
    const ids = [...new Set(details.map((detail) => detail.imageId))]
    const { Responses } = await dynamo.send(
      new BatchGetCommand({
        RequestItems: { [TABLE]: { Keys: ids.map((imageId) => ({ imageId })), ConsistentRead: true } },
      }),
    )
    const items = Responses?.[TABLE]?.filter(isRecord) as Stored[] | undefined
    const records = new Map(items?.map((item) => [item.imageId, item]))
    for (const { imageId, eventId } of details) {
      const record = records.get(imageId)
      if (record !== undefined && !outcomesOf(record).includes(eventId)) this.history.early.push(eventId)
    }
    await sqs.send(
      new DeleteMessageBatchCommand({
        QueueUrl,
        Entries: Messages.map(({ ReceiptHandle }, index) => ({ Id: String(index), ReceiptHandle })),
      }),
    )
  }

  // The end.

  /**
   * Waits until everything accepted is finished and every outcome announced, or until nothing moves any more; and for a
   * while for what was not promised.
   */
  async #rest({ aws }: Running): Promise<void> {
    const answered = new Set(this.history.submissions.flatMap(({ answers }) => answers))
    let looks = 0
    while (!this.#patience?.isOver() && looks < PATIENCE_LOOKS) {
      const records = await readTable(aws)
      const announced = new Set(this.history.events.map((event) => event.eventId))
      const unfinished = records.filter((record) => !isFinished(record.status))
      const promised = unfinished.filter((record) => answered.has(record.imageId)).length
      const silent = records.filter((record) => outcomesOf(record).some((id) => !announced.has(id))).length
      if (this.#unfinished !== promised + silent) this.#patience?.restart()
      this.#unfinished = promised + silent
      const kept = promised + silent + (await queueLength(aws, SUBSCRIBER)) === 0
      if (kept && unfinished.length === 0 && (await queueLength(aws, JOBS)) === 0) return
      looks = kept ? looks + 1 : 0
      await sleep(500)
    }
  }

  async #gather({ url, aws }: Running): Promise<void> {
    const { history } = this
    this.deadLetters = await queueLength(aws, DEAD_JOBS)
    await inParallel(history.submissions, async (submission) => {
      const [imageId] = submission.answers
      if (imageId !== undefined) await this.#look(submission, imageId)
    })
    history.records = await readTable(aws)
    const keys: string[] = []
    for await (const { Contents = [] } of paginateListObjectsV2({ client: aws.s3 }, { Bucket: BUCKET })) {
      keys.push(...Contents.map(({ Key = '' }) => Key))
    }
    await inParallel(keys, async (Key) => {
      const { Body } = await aws.s3.send(new GetObjectCommand({ Bucket: BUCKET, Key }))
      history.objects.set(Key, sha256((await Body?.transformToByteArray()) ?? new Uint8Array()))
    })
    for (let cursor: string | undefined = ''; cursor !== undefined; ) {
      const page: Response = await fetch(`${url}/images?limit=100${cursor && `&cursor=${cursor}`}`)
      const { items, ...more } = (await page.json()) as { items: ShownImage[]; cursor?: string }
      history.listed.push(...items.map((item) => item.imageId))
      cursor = more.cursor
    }
  }
}

/** Small, quick to analyse, and no two alike. WebP goes another way than PNG: Rekognition does not take it. */
async function picture(number: number, kind: Kind, random: () => number): Promise<Buffer> {
  const side = 80 + Math.floor(random() * 80)
  const png = await distinct(number, side, kind === 'too small' ? 40 : side)
  // Without its last chunk and the checksum before it, which only reading to the last pixel shows.
  if (kind === 'corrupt') return png.subarray(0, -20)
  return random() < 0.25 ? sharp(png).webp({ lossless: true }).toBuffer() : png
}

async function subscribe({ sqs, eventBridge }: Aws): Promise<void> {
  const { QueueUrl } = await sqs.send(
    new CreateQueueCommand({
      QueueName: SUBSCRIBER,
      Attributes: { VisibilityTimeout: String(REDELIVERY_SECONDS) },
    }),
  )
  const { Attributes } = await sqs.send(
    new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['QueueArn'] }),
  )
  const rule = { EventBusName: BUS, Name: 'everything' }
  const EventPattern = JSON.stringify({ source: ['image-analyzer'] })
  await eventBridge.send(new PutRuleCommand({ ...rule, EventPattern }))
  await eventBridge.send(
    new PutTargetsCommand({
      EventBusName: BUS,
      Rule: rule.Name,
      Targets: [{ Id: 'subscriber', Arn: Attributes?.QueueArn }],
    }),
  )
}

/** Messages of any state: visible, in flight, delayed. */
async function queueLength({ sqs }: Aws, QueueName: string): Promise<number> {
  const { QueueUrl } = await sqs.send(new GetQueueUrlCommand({ QueueName }))
  const counts = [
    'ApproximateNumberOfMessages',
    'ApproximateNumberOfMessagesNotVisible',
    'ApproximateNumberOfMessagesDelayed',
  ] as const
  const { Attributes } = await sqs.send(
    new GetQueueAttributesCommand({ QueueUrl, AttributeNames: [...counts] }),
  )
  return counts.reduce((sum, name) => sum + Number(Attributes?.[name] ?? 0), 0)
}

/** The table has other items than the records of images: idempotency keys, and what is left of deleted ones. */
const isRecord = (item: Record<string, unknown>): boolean =>
  item['imageId'] === idIn(String(item['imageId'])) && item['original'] !== undefined

async function readTable({ dynamo }: Aws): Promise<Stored[]> {
  const records: Stored[] = []
  for await (const { Items = [] } of paginateScan({ client: dynamo }, { TableName: TABLE })) {
    records.push(...(Items.filter(isRecord) as Stored[]))
  }
  return records
}

async function inParallel<T>(items: T[], work: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values()
  await Promise.all(
    Array.from({ length: CLIENTS }, async () => {
      for (const item of rest) await work(item)
    }),
  )
}

// ── The command ───────────────────────────────────────────────────────────────────────────────────────────────

/** Findings of one sort that are printed in full. */
const PRINTED = 10

interface Options {
  seconds: number
  seed: number
  worker: boolean
}

async function main(): Promise<void> {
  const options = optionsGiven()
  const { seconds, seed, worker } = options
  const folder = mkdtempSync(join(tmpdir(), 'image-analyzer-crash-'))
  const data = join(folder, 'data')
  mkdirSync(data)
  const say = (line: string): void => void process.stdout.write(`${line}\n`)
  const terminal = process.stdout.isTTY
  let ticker: NodeJS.Timeout | undefined
  const log = (status: () => string): void => {
    ticker = setInterval(
      () => (terminal ? process.stdout.write(`\r\x1b[K  ${status()}`) : say(`  ${status()}`)),
      terminal ? 1_000 : 10_000,
    )
  }
  const run = new Run(options, data, log)

  let keep = false
  // However this program ends: the process that it started and the folder go with it.
  process.on('exit', () => {
    for (const child of [run.child, ...run.workers]) child?.process.kill('SIGKILL')
    if (!keep) rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 })
  })
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const) {
    process.on(signal, async () => {
      if (run.child !== undefined) await kill(run.child)
      process.exit(code)
    })
  }

  const what = worker ? 'Ending one of three workers' : 'Killing the system'
  say(`${what} again and again for ${seconds} s (--seed ${seed} makes the same choices).`)
  try {
    await run.run()
  } catch (error) {
    keep = true
    for (const mishap of run.history.mishaps) say(mishap)
    say(`${error}\nThe data is kept in ${folder}.`)
    process.exit(1)
  }
  clearInterval(ticker)
  if (terminal) process.stdout.write('\r\x1b[K')

  keep = true
  const judgement = judge(run.history)
  for (const name of BROKEN_PROMISES) explain(name, judgement[name], run.history, say)
  for (const name of LEFT_BEHIND) list(name, judgement[name], say)
  const { running, starting } = run.kills
  const notes = [
    ...(starting > 0 ? [`${starting} of the kills came during the start`] : []),
    ...(run.brokenOff > 0 ? [`${run.brokenOff} attempts were broken off by SIGTERM`] : []),
    ...(run.late > 0 ? [`${run.late} workers were not done in the time that SIGTERM leaves them`] : []),
    ...(run.busy > 0 ? [`${run.busy} requests were answered with 503 or 429 and repeated`] : []),
    ...(run.deadLetters > 0 ? [`${run.deadLetters} jobs are in the dead-letter queue`] : []),
    ...(run.trouble.length > 0 ? [`${run.trouble.length} warnings and errors were logged`] : []),
  ]
  for (const note of notes) say(`  ${note}`)
  keep = !passes(judgement)
  if (keep) {
    const replacer = (_: string, value: unknown) => (value instanceof Map ? Object.fromEntries(value) : value)
    writeFileSync(join(folder, 'history.json'), JSON.stringify(run.history, replacer, 2))
    writeFileSync(join(folder, 'trouble.log'), run.trouble.join('\n'))
    say(`The data, and all that was seen, is kept in ${folder}.`)
  }
  say(summary(running + starting, judgement))
  process.exit(passes(judgement) ? 0 : 1)
}

function list(name: string, findings: Finding[], say: (line: string) => void): void {
  if (findings.length > 0) say(`${name}:`)
  for (const { id, what } of findings.slice(0, PRINTED)) say(`  ${id} ${what}`)
  if (findings.length > PRINTED) say(`  and ${findings.length - PRINTED} more`)
}

/** A list of findings, each with what is known of its image. */
function explain(name: string, findings: Finding[], history: History, say: (line: string) => void): void {
  list(name, findings, say)
  for (const imageId of new Set(findings.slice(0, PRINTED).map((finding) => idIn(finding.id)))) {
    if (imageId === '') continue
    say(`  ${imageId}`)
    say(`    record      ${JSON.stringify(history.records.find((record) => record.imageId === imageId))}`)
    const submission = history.submissions.find(({ answers }) => answers.includes(imageId))
    if (submission !== undefined) {
      const { looks, ...rest } = submission
      say(`    submission  ${JSON.stringify(rest)}`)
      say(`    shown       ${looks.map(({ shown }) => (shown ? state(shown) : '404')).join(' → ')}`)
    }
    const events = history.events.filter((event) => event.imageId === imageId)
    say(`    events      ${events.map((event) => `${event.eventId} at ${event.completedAt}`).join(', ')}`)
  }
}

const USAGE = `npm run crash -- [options]

Runs npm start under load on a folder, kills it again and again, and holds what callers were answered against what is stored.

  --seconds N  of load (120)
  --seed N     decides what is asked, and when the process is killed (another each time)
  --worker     lets npm start live, and ends one of three npm run worker every two seconds
  -h, --help`

function optionsGiven(): Options {
  const { seconds, seed, worker } = readOptions('npm run crash', USAGE, {
    options: {
      ...{ seconds: { type: 'string', default: '120' }, seed: { type: 'string' } },
      worker: { type: 'boolean', default: false },
    },
  }).values
  return {
    seconds: wholeNumber('--seconds', seconds, 1),
    seed: seed === undefined ? randomInt(1_000_000) : wholeNumber('--seed', seed),
    worker,
  }
}

if (resolve(process.argv[1] ?? '') === import.meta.filename) await runCommand(main)
