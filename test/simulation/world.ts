import { ProvisionedThroughputExceededException as DynamoThrottled } from '@aws-sdk/client-dynamodb'
import { ProvisionedThroughputExceededException } from '@aws-sdk/client-rekognition'
import type { Context, SQSRecord } from 'aws-lambda'
import { v7 as uuidv7 } from 'uuid'
import { buildApp } from '../../api/app.ts'
import { failedMessages } from '../../local/poller.ts'
import type { Sleep } from '../../shared/aws.ts'
import { ANALYSES, type ImageId, imageIdSchema } from '../../shared/image.ts'
import { sweep } from '../../sweeper/sweep.ts'
import { limitersFor } from '../../worker/analysis.ts'
import { processBatch, type WorkerDeps } from '../../worker/batch.ts'
import { Budget, ORIGINAL_BYTES } from '../../worker/budget.ts'
import type { Rendered } from '../../worker/thumbnail.ts'
import { seededRandom, VirtualClock } from './clock.ts'
import { DynamoModel } from './dynamo.ts'
import {
  clientsOf,
  type Effect,
  EventBridgeModel,
  type Fault,
  type Received,
  RekognitionModel,
  S3Model,
  SqsModel,
} from './services.ts'

/** As on AWS by default (infrastructure/), in milliseconds. */
export const SETTINGS = {
  timeoutMs: 60_000,
  visibilityMs: 360_000,
  /** The longest after a failure (worker/process-image.ts). */
  pauseMs: 600_000,
  maxReceives: 1_000,
  sweepAfterMs: 1_020_000,
  sweepEveryMs: 300_000,
  giveUpMs: 14 * 86_400_000,
  maxAttempts: 10,
  batchSize: 10,
  concurrency: 2,
  /** By how much the clock of a process may be wrong. */
  skewMs: 1_000,
  /** API Gateway ends a request then. */
  requestMs: 29_000,
  /** The longest after which a call that seemed to fail may still take effect. */
  lateMs: 60_000,
}
export type Settings = typeof SETTINGS

export interface Call {
  /** The how manyth of all. */
  number: number
  /** The how manyth of this name. */
  occurrence: number
  /** Who calls what, as `worker PutObject`. */
  name: string
  at: number
}

export interface WorldOptions {
  seed: number
  settings?: Partial<Settings>
  faultOf: (call: Call) => Fault | undefined
  render: (original: Buffer, source: 's3' | 'bytes') => Promise<Rendered>
  refusedByRekognition?: (bytes: Buffer) => boolean
  /** Calls a second that Rekognition takes of each operation. */
  quota?: number
  /** The share of the quota that a worker is told. */
  share?: number
  log?: (line: string) => void
}

/**
 * Lambda invokes a function about 16 times in one chain of requests; then it refuses, and the receive counts (AWS Lambda
 * developer guide, recursive loop detection).
 */
const LONGEST_CHAIN = 16

/** What a process is: it can die, and then nothing that it has begun goes on. */
class Process {
  alive = true
  /** Of the messages that it sends. */
  chain = 0
  readonly skewMs: number
  readonly #deaths: (() => void)[] = []
  constructor(skewMs: number) {
    this.skewMs = skewMs
  }
  onDeath(then: () => void): void {
    this.#deaths.push(then)
  }
  kill(): void {
    if (!this.alive) return
    this.alive = false
    for (const then of this.#deaths) then()
  }
}

/** A change of a record, as a client could see it. */
export interface Seen {
  at: number
  imageId: string
  item: Record<string, unknown> | undefined
}

/**
 * The whole pipeline in virtual time: the project's own API, worker and sweeper, fed and stopped as Lambda does it, on
 * models of S3, SQS, DynamoDB, EventBridge and Rekognition.
 */
export class World {
  readonly settings: Settings
  readonly clock: VirtualClock
  readonly random: () => number
  readonly s3 = new S3Model()
  readonly sqs: SqsModel
  readonly dynamo: DynamoModel
  readonly bus: EventBridgeModel
  readonly rekognition: RekognitionModel
  readonly seen: Seen[] = []
  readonly calls: Call[] = []
  /** When the last fault took place, or the last of its effects. */
  lastFaultAt = Number.NEGATIVE_INFINITY
  faults = 0
  /** How often Lambda has refused a message because its chain was too long. */
  refusals = 0
  /** What the wall clocks of processes show more than the true time, which their monotonic clocks go by. */
  wallOffsetMs = 0
  readonly #options: WorldOptions
  readonly #occurrences = new Map<string, number>()
  readonly #idle: { process: Process; deps: WorkerDeps }[] = []
  #running = 0
  #pumpAt = Number.POSITIVE_INFINITY

  constructor(options: WorldOptions) {
    this.#options = options
    this.settings = { ...SETTINGS, ...options.settings }
    this.random = seededRandom(options.seed)
    this.clock = new VirtualClock(this.random)
    const now = () => this.clock.time
    this.sqs = new SqsModel(now, this.random, this.settings)
    this.sqs.wake = (at) => this.#pumpLater(at)
    this.dynamo = new DynamoModel(now, () => (this.random() < 0.5 ? 0 : this.random() * 3_000))
    this.bus = new EventBridgeModel(now)
    this.rekognition = new RekognitionModel(
      now,
      this.s3,
      options.refusedByRekognition ?? (() => false),
      options.quota,
    )
    this.#sweepRegularly()
  }

  log(line: string): void {
    this.#options.log?.(
      `${((this.clock.time - Date.UTC(2026, 0, 1)) / 1000).toFixed(3).padStart(12)}  ${line}`,
    )
  }

  /** Whether everything that is under way has ended, and nobody is left to be looked after. */
  get quiet(): boolean {
    return (
      this.#running === 0 &&
      this.sqs.messages.length === 0 &&
      [...this.dynamo.items.values()].every((item) => item['unfinished'] === undefined)
    )
  }

  /** One request to the API. @returns undefined where the connection broke off */
  async request(
    path: string,
    init: RequestInit = {},
  ): Promise<{ status: number; body: Record<string, unknown> } | undefined> {
    const process = this.#process()
    const app = this.#api(process)
    const broken = new Promise<undefined>((resolve) => {
      process.onDeath(() => resolve(undefined))
    })
    this.clock.after(this.settings.requestMs, () => process.kill())
    const answered = (async () => {
      const response = await app.request(path, init)
      const text = await response.text()
      return { status: response.status, body: text === '' ? {} : JSON.parse(text) }
    })()
    return Promise.race([answered, broken])
  }

  #process(): Process {
    return new Process(Math.round((this.random() * 2 - 1) * this.settings.skewMs))
  }

  #clients(who: string, process: Process) {
    return clientsOf(
      {
        ...this,
        sqs: {
          send: (input) => this.sqs.send(input, process.chain),
          changeVisibility: (input) => this.sqs.changeVisibility(input),
        },
        dynamo: {
          get: (input) => this.dynamo.get(input),
          query: (input) => this.dynamo.query(input),
          put: (input) => this.#watch(input, () => this.dynamo.put(input)),
          update: (input) => this.#watch(input, () => this.dynamo.update(input)),
          delete: (input) => this.#watch(input, () => this.dynamo.delete(input)),
          // Of entries in the index of labels, which no client sees.
          batchWrite: (...args) => this.dynamo.batchWrite(...args),
          batchGet: (...args) => this.dynamo.batchGet(...args),
        },
      },
      (name, input, effect, signal) => this.#call(process, `${who} ${name}`, input, effect, signal),
    )
  }

  /** Notes what a write has made of a record. */
  #watch<T extends object>(
    input: { Key?: Record<string, unknown>; Item?: Record<string, unknown> },
    write: () => T,
  ): T {
    const imageId = String((input.Key ?? input.Item)?.['imageId'])
    const result = write()
    const item = this.dynamo.items.get(imageId)
    this.seen.push({ at: this.clock.time, imageId, item })
    return result
  }

  #call(
    process: Process,
    name: string,
    input: never,
    effect: Effect,
    signal: AbortSignal | undefined,
  ): Promise<unknown> {
    const never = new Promise<never>(() => {})
    if (!process.alive) return never
    const occurrence = (this.#occurrences.get(name) ?? 0) + 1
    this.#occurrences.set(name, occurrence)
    const call: Call = { number: this.calls.length, occurrence, name, at: this.clock.time }
    this.calls.push(call)
    const fault = this.#options.faultOf(call)
    if (this.#options.log) this.log(`${name} ${brief(input)}${fault === undefined ? '' : ` ← ${fault}`}`)
    if (fault !== undefined) {
      this.faults += 1
      const lasting = { late: this.settings.lateMs, slow: 20_000, hang: this.settings.timeoutMs }
      this.lastFaultAt = Math.max(this.lastFaultAt, this.clock.time + 5_000 + (lasting[fault as 'late'] ?? 0))
    }
    return new Promise((resolve, reject) => {
      const settle = (work: () => void): void => {
        if (process.alive) work()
      }
      if (signal?.aborted) return reject(aborted())
      signal?.addEventListener('abort', () => settle(() => reject(aborted())), { once: true })
      const answer = (): void => {
        try {
          const result = effect(input, fault)
          settle(() => resolve(result))
        } catch (error) {
          settle(() => reject(error))
        }
      }
      const attempt = (): void => {
        try {
          effect(input, fault)
        } catch {
          // Its answer is lost anyway.
        }
      }
      const fail = (name: string) => settle(() => reject(Object.assign(new Error(name), { name })))
      const latency = 2 + this.random() * (name.includes('Detect') ? 600 : 40)
      const later = (ms: number, run: () => void) => this.clock.after(ms, run)
      switch (fault) {
        case undefined:
        case 'partial':
          return later(latency, answer)
        case 'fail':
          return later(latency, () => fail('TimeoutError'))
        case 'lost':
          return later(latency, () => {
            attempt()
            fail('TimeoutError')
          })
        case 'twice':
          return later(latency, () => {
            attempt()
            later(latency, answer)
          })
        case 'late':
          later(this.random() * this.settings.lateMs, attempt)
          return later(latency, () => fail('TimeoutError'))
        case 'slow':
          return later(20_000, answer)
        case 'hang':
          return later(latency, attempt)
        case 'throttle':
          return later(latency, () => settle(() => reject(throttling(name))))
        case 'refuse':
          return later(latency, () => fail('AccessDeniedException'))
        case 'death before':
          return process.kill()
        case 'death after':
          return later(latency, () => {
            attempt()
            process.kill()
          })
      }
    })
  }

  #common(process: Process) {
    const sleep: Sleep = (ms, signal) =>
      new Promise((resolve, reject) => {
        const stop = () => reject(aborted())
        if (signal?.aborted) return stop()
        signal?.addEventListener('abort', stop, { once: true })
        this.clock.after(ms, () => {
          if (process.alive) resolve()
        })
      })
    return {
      now: () => new Date(this.clock.time + this.wallOffsetMs + process.skewMs),
      elapsed: () => this.clock.time,
      sleep,
      random: this.random,
      sweepAfterMs: this.settings.sweepAfterMs,
      bucket: 'bucket',
      table: 'table',
      jobQueueUrl: 'jobs',
      deadLetterQueueUrl: 'dead',
      eventBus: 'bus',
    }
  }

  #api(process: Process): ReturnType<typeof buildApp> {
    return buildApp({
      ...this.#common(process),
      ...this.#clients('api', process),
      maxImageBytes: 4_500_000,
      maxUploadBytes: 50_000_000,
      maxWaitSeconds: 20,
      analyses: [...ANALYSES],
      presignPost: async (key) => ({ url: '', fields: { key } }),
      auth: 'none',
      identify: async () => 'owner',
      // The random part of an id is random; its time is what it is sorted by.
      newImageId: (now): ImageId =>
        imageIdSchema.parse(
          uuidv7({
            msecs: now.getTime(),
            random: Uint8Array.from({ length: 16 }, () => this.random() * 256),
          }),
        ),
      page: { html: '', contentSecurityPolicy: '' },
      docs: () => ({ html: '', contentSecurityPolicy: '' }),
      log: { error: (_message, { error }) => this.log(`  api: ${error}`) },
    })
  }

  #worker(process: Process): WorkerDeps {
    const common = this.#common(process)
    const { share } = this.#options
    const note = (message: string, extra: Record<string, unknown>) =>
      this.log(`  worker: ${message} ${String(extra['error'] ?? extra['cause'] ?? '')}`)
    return {
      ...common,
      ...this.#clients('worker', process),
      limiters: limitersFor({ ...common, ...(share === undefined ? {} : { callsPerSecond: share }) }),
      render: this.#options.render,
      originals: new Budget(ORIGINAL_BYTES),
      makeRoom: () => {},
      rekognitionSource: 's3',
      analysisSource: 'model',
      minConfidence: 55,
      maxLabels: 100,
      maxAttempts: this.settings.maxAttempts,
      log: { info: note, warn: note, error: note },
    }
  }

  #sweepRegularly(): void {
    const process = this.#process()
    this.clock.after(this.settings.sweepEveryMs, () => {
      this.#sweepRegularly()
      const log = {
        error: (message: string, extra: object) => this.log(`  sweeper: ${message} ${JSON.stringify(extra)}`),
      }
      sweep({
        ...this.#common(process),
        ...this.#clients('sweeper', process),
        maxAttempts: this.settings.maxAttempts,
        giveUpMs: this.settings.giveUpMs,
        log,
      }).catch((error) => this.log(`  sweeper: ${error}`))
      this.clock.after(this.settings.timeoutMs, () => process.kill())
    })
  }

  #pumpLater(at: number): void {
    const then = Math.max(at, this.clock.time) + this.random() * 200
    if (then >= this.#pumpAt) return
    this.#pumpAt = then
    this.clock.after(then - this.clock.time, () => {
      if (this.#pumpAt === then) this.#pump()
    })
  }

  /** The event source mapping: takes what is there while fewer invocations run than it may have. */
  #pump(): void {
    this.#pumpAt = Number.POSITIVE_INFINITY
    while (this.#running < this.settings.concurrency) {
      const fault = this.#faultOfLambda('lambda ReceiveMessage')
      if (fault === 'fail') this.sqs.receive(this.settings.batchSize)
      const records = fault === 'fail' ? [] : this.sqs.receive(this.settings.batchSize, fault === 'partial')
      if (records.length === 0) break
      const taken = records.filter(({ chain }) => chain < LONGEST_CHAIN)
      this.refusals += records.length - taken.length
      if (taken.length > 0) void this.#invoke(taken)
    }
    const { nextAt } = this.sqs
    if (nextAt !== undefined && this.#running < this.settings.concurrency) this.#pumpLater(nextAt)
  }

  /** What Lambda itself asks of SQS goes wrong only by coming to nothing, or by two receiving the same. */
  #faultOfLambda(name: string): Fault | undefined {
    if (this.sqs.messages.length === 0) return undefined
    const occurrence = (this.#occurrences.get(name) ?? 0) + 1
    this.#occurrences.set(name, occurrence)
    const call: Call = { number: this.calls.length, occurrence, name, at: this.clock.time }
    this.calls.push(call)
    const fault = this.#options.faultOf(call)
    if (fault === undefined) return undefined
    this.faults += 1
    this.lastFaultAt = Math.max(this.lastFaultAt, this.clock.time)
    return fault === 'partial' || fault === 'twice' ? 'partial' : 'fail'
  }

  async #invoke(received: Received[]): Promise<void> {
    const records = received.map(
      ({ chain: _chain, ...record }): SQSRecord => ({
        ...{ ...record, md5OfBody: '', eventSourceARN: 'arn', awsRegion: 'us-east-1' },
      }),
    )
    this.#running += 1
    const warm = this.random() < 0.99 ? this.#idle.pop() : undefined
    let environment = warm
    if (environment === undefined) {
      const process = this.#process()
      environment = { process, deps: this.#worker(process) }
    }
    const { process, deps } = environment
    process.chain = 1 + Math.max(...received.map(({ chain }) => chain))
    const ids = records.map(({ body }) => body.slice(25, 61))
    this.log(`lambda invokes with ${ids.join(' ')}`)
    const deadline = this.clock.time + this.settings.timeoutMs
    const dead = new Promise<undefined>((resolve) => process.onDeath(() => resolve(undefined)))
    let over = false
    this.clock.after(this.settings.timeoutMs, () => {
      if (!over) process.kill()
    })
    const context = {
      functionName: 'worker',
      getRemainingTimeInMillis: () => deadline - this.clock.time,
    } as Context
    const response = await Promise.race([
      processBatch(deps, { Records: records }, context).catch((error) => {
        this.log(`lambda: the function failed: ${error}`)
        return undefined
      }),
      dead,
    ])
    over = true
    this.#running -= 1
    if (response !== undefined) {
      this.#idle.push(environment)
      const failed = failedMessages(
        response,
        records.map(({ messageId }) => messageId),
      )
      this.log(`lambda: ${failed.size} of ${records.length} failed`)
      for (const { messageId, receiptHandle } of records) {
        if (failed.has(messageId)) continue
        if (this.#faultOfLambda('lambda DeleteMessage') === undefined) this.sqs.delete(receiptHandle)
      }
    } else {
      this.log('lambda: the function died')
    }
    this.#pumpLater(this.clock.time)
  }
}

const aborted = (): Error => Object.assign(new Error('Request aborted'), { name: 'AbortError' })

function throttling(name: string): Error {
  const options = { message: 'Rate exceeded', $metadata: {} }
  if (name.includes('Detect')) return new ProvisionedThroughputExceededException(options)
  if (/ (Get|Put|Update|Delete|Query)$/.test(name)) return new DynamoThrottled(options)
  return Object.assign(new Error('Rate exceeded'), { name: 'ThrottlingException' })
}

/** The part of a call's input that tells what it is about. */
function brief(input: Record<string, unknown>): string {
  const { Key, MessageBody, UpdateExpression, ExpressionAttributeValues, Entries, Item } = input as Record<
    string,
    { imageId?: string } & Record<string, unknown>
  >
  const parts = [Key?.imageId ?? Item?.imageId ?? Key, MessageBody]
  if (UpdateExpression !== undefined) parts.push(JSON.stringify(ExpressionAttributeValues).slice(0, 160))
  if (Array.isArray(Entries)) parts.push(Entries.map(({ Detail }) => JSON.parse(Detail).eventId).join(' '))
  return parts.filter((part) => part !== undefined).join(' ')
}
