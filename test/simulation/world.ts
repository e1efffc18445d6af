import { ProvisionedThroughputExceededException as DynamoThrottled } from '@aws-sdk/client-dynamodb'
import { ProvisionedThroughputExceededException } from '@aws-sdk/client-rekognition'
import type { Context, SQSRecord } from 'aws-lambda'
import { v7 as uuidv7 } from 'uuid'
import { buildApp } from '../../api/app.ts'
import { apiDeps } from '../../api/deps.ts'
import type { Rendered } from '../../packages/image-guard/index.ts'
import type { Sleep } from '../../shared/aws.ts'
import { readApiConfig, readSweeperConfig, readWorkerConfig } from '../../shared/config.ts'
import { type ImageId, imageIdSchema } from '../../shared/image.ts'
import type { Log } from '../../shared/log.ts'
import { sweeperDeps } from '../../sweeper/deps.ts'
import { sweep } from '../../sweeper/sweep.ts'
import { processBatch } from '../../worker/batch.ts'
import { type WorkerDeps, workerDeps } from '../../worker/deps.ts'
import { failedMessages } from '../../worker/invocation.ts'
import { seeded } from '../random.ts'
import type { Point } from './alarms.ts'
import { VirtualClock } from './clock.ts'
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
  /** The longest after a failure (worker/outcomes.ts). */
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
  /** For how long SQS keeps a message. */
  queueKeepsMs: 14 * 86_400_000,
  /** Which part of the reads that are not consistent is stale, where there is something older. */
  staleReads: 0.5,
  /** Whether SQS takes turns between the groups of its messages. */
  fairQueues: true,
  /** Which part of the deleted messages comes back once more. */
  comesBack: 0.05,
  /** Which part of the sweeps is run twice at once. */
  twinSweeps: 0.25,
  /** Which part of the invocations is of a process that has rested, where there is one. */
  warmStarts: 0.99,
  /** 0: images are kept for ever. */
  retentionDays: 0,
  /** Dollars that Rekognition may cost in a month; 0: as many as it does. */
  monthlyBudgetUsd: 0,
  budgetAction: 'park' as 'alarm' | 'park' | 'refuse',
  /** 0: owners may submit as many images as they like. */
  dailyImageQuota: 0,
}
export type Settings = typeof SETTINGS

/**
 * What AWS does that no call is at fault for. Each can be switched off (`WITHOUT=freezing,…`), which shows what it is that
 * kills a mutant.
 */
export const RULES = [
  /** A read without ConsistentRead may show what was written over. */
  'stale reads',
  /** A message may come back after it was deleted. */
  'deleted messages',
  /** S3 may notify of an upload twice, or hours late, or never. */
  'uploads',
  /** Two sweeps may run at once. */
  'twin sweeps',
  /** One request may be sent twice at once. */
  'parallel requests',
  /** DynamoDB deletes what has expired, and S3 what is too old. */
  'expiry',
  /** SQS forgets a message after a while. */
  'message retention',
  /** The wall clock of a process may be set. */
  'clocks',
  /** A process is frozen between two invocations, and resumes in the next one what it had begun. */
  'freezing',
] as const
export type Rule = (typeof RULES)[number]

/** Milliseconds after which a call is on its way: it is signed, and written to a connection. */
const DEPARTURE_MS = 1

/** The wall clock of one process is wrong for a while. */
export interface WrongClock {
  /** The how manyth process of all, from 0. */
  process: number
  /** Milliseconds from its start, and until it is right again. */
  after: number
  lasts: number
  byMs: number
}

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
  render: (original: Buffer) => Promise<Rendered>
  refusedByRekognition: (bytes: Buffer) => boolean
  /** Calls a second that Rekognition takes of each operation. */
  quota?: number
  wrongClocks?: WrongClock[]
  without?: readonly Rule[]
  /** The share of the quota in the settings of a worker. */
  share?: number
  log?: (line: string) => void
  /** Takes every line that a function writes, with its metrics. */
  written?: (service: string, line: Record<string, unknown>) => void
  /** Gets what CloudWatch would have of AWS's own metrics. */
  measured?: (point: Omit<Point, 'at'>) => void
}

/**
 * Lambda invokes a function about 16 times in one chain of requests; then it refuses, and the receive counts (AWS Lambda
 * developer guide, recursive loop detection).
 */
const LONGEST_CHAIN = 16

/**
 * What a process is: it can die, and then all that it has begun ends. Between two invocations it is frozen, and
 * then it resumes in the next one.
 */
class Process {
  alive = true
  /** Of the messages that it sends. */
  chain = 0
  /** What its wall clock shows more than the true time. */
  skewMs: number
  /** Since when, in milliseconds since 1970. */
  frozenAt: number | undefined
  readonly #held: (() => void)[] = []
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
  /** Lets the process do something: now, when it resumes, or never. */
  run(work: () => void): void {
    if (!this.alive) return
    if (this.frozenAt === undefined) work()
    else this.#held.push(work)
  }
  freeze(now: number): void {
    this.frozenAt = now
  }
  goOn(): void {
    this.frozenAt = undefined
    for (const work of this.#held.splice(0)) work()
  }
}

/** A process with what it runs, which takes one invocation after the other. */
interface Environment<T> {
  process: Process
  runs: T
}

/** A change of a record, as a client could see it. */
export interface Seen {
  at: number
  imageId: string
  item: Record<string, unknown> | undefined
}

/** What the functions read from their environments. */
function configsOf(settings: Settings, share: number | undefined) {
  const { retentionDays, dailyImageQuota, monthlyBudgetUsd, budgetAction } = settings
  const common = {
    ...{ IMAGE_BUCKET: 'bucket', IMAGE_TABLE: 'table', JOB_QUEUE_URL: 'https://sqs/jobs' },
    SWEEP_AFTER_SECONDS: String(settings.sweepAfterMs / 1_000),
  }
  const working = { ...common, EVENT_BUS_NAME: 'bus', MAX_ATTEMPTS: String(settings.maxAttempts) }
  const budget =
    monthlyBudgetUsd > 0 ? { MONTHLY_BUDGET_USD: String(monthlyBudgetUsd), BUDGET_ACTION: budgetAction } : {}
  return {
    api: readApiConfig({
      ...{ ...common, ...budget },
      ...(retentionDays > 0 ? { RETENTION_DAYS: String(retentionDays) } : {}),
      ...(dailyImageQuota > 0 ? { DAILY_IMAGE_QUOTA: String(dailyImageQuota) } : {}),
    }),
    worker: readWorkerConfig({
      ...{ ...working, ...budget },
      ...(share === undefined ? {} : { REKOGNITION_TPS: String(share) }),
    }),
    sweeper: readSweeperConfig({ ...working, GIVE_UP_DAYS: String(settings.giveUpMs / 86_400_000) }),
  }
}

/**
 * The whole pipeline in virtual time: the project's own API, worker and sweeper, fed and stopped as Lambda does it, on
 * models of S3, SQS, DynamoDB, EventBridge and Rekognition.
 */
export class World {
  readonly settings: Settings
  readonly clock: VirtualClock
  readonly random: () => number
  readonly s3: S3Model
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
  readonly #configs: ReturnType<typeof configsOf>
  readonly #occurrences = new Map<string, number>()
  readonly #workers: Environment<WorkerDeps>[] = []
  readonly #apis: Environment<ReturnType<typeof buildApp>>[] = []
  #processes = 0
  #running = 0
  #pumpAt = Number.POSITIVE_INFINITY

  constructor(options: WorldOptions) {
    this.#options = options
    this.settings = { ...SETTINGS, ...options.settings }
    this.random = seeded(options.seed)
    this.clock = new VirtualClock(this.random)
    const now = () => this.clock.time
    if (!this.has('deleted messages')) this.settings.comesBack = 0
    if (!this.has('message retention')) this.settings.queueKeepsMs = Number.POSITIVE_INFINITY
    this.s3 = new S3Model(now)
    this.sqs = new SqsModel(now, this.random, this.settings)
    this.sqs.wake = (at) => this.#pumpLater(at)
    this.dynamo = new DynamoModel(now, {
      lag: () => (this.random() < 0.5 ? 0 : this.random() * 3_000),
      isStale: () => this.has('stale reads') && this.random() < this.settings.staleReads,
    })
    this.bus = new EventBridgeModel(now)
    this.rekognition = new RekognitionModel(now, this.s3, options.refusedByRekognition, options.quota)
    this.#configs = configsOf(this.settings, options.share)
    this.#sweepRegularly()
    if (this.has('expiry')) this.#expireRegularly()
    if (options.measured !== undefined) this.#measureQueues(options.measured)
  }

  has(rule: Rule): boolean {
    return !(this.#options.without ?? []).includes(rule)
  }

  /** The log of a function. */
  #logOf(service: string): Log {
    const write = (message: string, extra: Record<string, unknown>) => {
      this.log(`  ${service}: ${message} ${String(extra['error'] ?? '')}`)
      this.#options.written?.(service, extra)
    }
    const namespace = this.#options.written && 'simulated'
    return { info: write, warn: write, error: write, namespace }
  }

  #count(service: string, name: string): void {
    const [namespace, dimensions] =
      name === '5XXError'
        ? ['AWS/ApiGateway', { ApiName: 'simulated', Stage: 'live' }]
        : ['AWS/Lambda', { FunctionName: `simulated-${service}` }]
    this.#options.measured?.({ namespace, name, dimensions, value: 1 })
  }

  /** As SQS does every minute. Jobs that were received three times or more are left out of the age. */
  #measureQueues(measured: NonNullable<WorldOptions['measured']>): void {
    this.clock.after(60_000, () => {
      this.#measureQueues(measured)
      const of = (QueueName: string, name: string, value: number): void =>
        measured({ namespace: 'AWS/SQS', name, dimensions: { QueueName }, value })
      const ages = this.sqs.messages
        .filter(({ receives, isBack, visibleAt }) => receives < 3 && !(isBack && visibleAt > this.clock.time))
        .map(({ sentAt }) => this.clock.time - sentAt)
      of('simulated-jobs', 'ApproximateAgeOfOldestMessage', Math.max(0, ...ages) / 1_000)
      of('simulated-jobs-dead', 'ApproximateNumberOfMessagesVisible', this.sqs.dead.length)
    })
  }

  log(line: string): void {
    this.#options.log?.(
      `${((this.clock.time - Date.UTC(2026, 0, 1)) / 1000).toFixed(3).padStart(12)}  ${line}`,
    )
  }

  /** Whether everything that is under way has ended, and no image is left to be looked after. */
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
    const environment = this.#environment(this.#apis, (process) => this.#api(process))
    const { process, runs: app } = environment
    const broken = new Promise<undefined>((resolve) => {
      process.onDeath(() => resolve(undefined))
    })
    let over = false
    this.clock.after(this.settings.requestMs, () => {
      if (!over) process.kill()
    })
    const answered = (async () => {
      const response = await app.request(path, init)
      const text = await response.text()
      return { status: response.status, body: text === '' ? {} : JSON.parse(text) }
    })()
    const answer = await Promise.race([answered, broken])
    over = true
    if (answer === undefined) this.#count('api', 'Errors')
    if (answer === undefined || answer.status >= 500) this.#count('api', '5XXError')
    this.#rest(this.#apis, environment)
    return answer
  }

  /** One that has rested, as a rule, or a new one. */
  #environment<T>(resting: Environment<T>[], make: (process: Process) => T): Environment<T> {
    const warm = this.random() < this.settings.warmStarts ? resting.pop() : undefined
    if (warm !== undefined) {
      warm.process.goOn()
      return warm
    }
    const process = this.#process()
    return { process, runs: make(process) }
  }

  #rest<T>(resting: Environment<T>[], environment: Environment<T>): void {
    if (!environment.process.alive) return
    if (this.has('freezing')) environment.process.freeze(this.clock.time)
    resting.push(environment)
  }

  #process(): Process {
    const process = new Process(Math.round((this.random() * 2 - 1) * this.settings.skewMs))
    const number = this.#processes++
    for (const wrong of this.#options.wrongClocks ?? []) {
      if (wrong.process === number && this.has('clocks')) this.#setClock(process, wrong)
    }
    return process
  }

  /** As a fault that lasts until the clock is right again, and until what it has written in the future has come. */
  #setClock(process: Process, { after, lasts, byMs }: WrongClock): void {
    const setBy = (ms: number, forMs: number): void => {
      if (!process.alive) return
      this.log(`a clock is set by ${ms / 60_000} minutes`)
      process.skewMs += ms
      this.faults += 1
      this.lastFaultAt = Math.max(this.lastFaultAt, this.clock.time + forMs + Math.abs(byMs))
    }
    if (after === 0) setBy(byMs, lasts)
    else this.clock.after(after, () => setBy(byMs, lasts))
    this.clock.after(after + lasts, () => setBy(-byMs, 0))
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
    return new Promise((resolve, reject) => {
      process.run(() => this.#send(process, name, input, effect, signal).then(resolve, reject))
    })
  }

  #send(
    process: Process,
    name: string,
    input: never,
    effect: Effect,
    signal: AbortSignal | undefined,
  ): Promise<unknown> {
    const occurrence = (this.#occurrences.get(name) ?? 0) + 1
    this.#occurrences.set(name, occurrence)
    const call: Call = { number: this.calls.length, occurrence, name, at: this.clock.time }
    this.calls.push(call)
    const asked = this.#options.faultOf(call)
    // The worker's client of Rekognition never retries (worker/deps.ts): each call has been reserved.
    const fault = asked === 'twice' && name.includes('Detect') ? undefined : asked
    if (this.#options.log) this.log(`${name} ${brief(input)}${fault === undefined ? '' : ` ← ${fault}`}`)
    if (fault !== undefined) {
      this.faults += 1
      const lasting = { late: this.settings.lateMs, slow: 20_000, hang: this.settings.timeoutMs }
      this.lastFaultAt = Math.max(this.lastFaultAt, this.clock.time + 5_000 + (lasting[fault as 'late'] ?? 0))
    }
    return new Promise((resolve, reject) => {
      const settle = (work: () => void): void => process.run(work)
      // It takes a moment until a call is on its way; frozen before that, it is sent when the process resumes.
      const sent = (effect: () => void): void => {
        const { frozenAt = Number.POSITIVE_INFINITY } = process
        if (frozenAt > call.at + DEPARTURE_MS) effect()
        else process.run(() => later(latency, effect))
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
          return later(latency, () => sent(answer))
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
        this.clock.after(ms, () => process.run(resolve))
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
    const common = this.#common(process)
    const page = () => ({ html: '', contentSecurityPolicy: '' })
    const rest = { log: this.#logOf('api'), page, docs: page }
    return buildApp({
      ...apiDeps(this.#configs.api, { AUTH: 'none' }, this.#clients('api', process), common, rest),
      jobQueueUrl: common.jobQueueUrl,
      presignPost: async (key) => ({ url: '', fields: { key } }),
      identify: async (c) => c.req.header('x-owner') ?? 'owner',
      // The random part of an id is random; its time is what it is sorted by.
      newImageId: (now): ImageId =>
        imageIdSchema.parse(
          uuidv7({
            msecs: now.getTime(),
            random: Uint8Array.from({ length: 16 }, () => this.random() * 256),
          }),
        ),
    })
  }

  #worker(process: Process): WorkerDeps {
    const common = this.#common(process)
    const { render } = this.#options
    const { jobQueueUrl, deadLetterQueueUrl } = common
    const rest = { render, collectGarbage: () => {}, log: this.#logOf('worker') }
    return {
      ...workerDeps(this.#configs.worker, this.#clients('worker', process), common, rest),
      ...{ jobQueueUrl, deadLetterQueueUrl },
    }
  }

  #sweepRegularly(): void {
    this.clock.after(this.settings.sweepEveryMs, () => {
      this.#sweepRegularly()
      this.#sweep()
      if (this.has('twin sweeps') && this.random() < this.settings.twinSweeps) {
        this.clock.after(this.random() * 100, () => this.#sweep())
      }
    })
  }

  #sweep(): void {
    const process = this.#process()
    this.#count('sweeper', 'Invocations')
    const common = this.#common(process)
    const { jobQueueUrl, deadLetterQueueUrl } = common
    const clients = this.#clients('sweeper', process)
    const deps = sweeperDeps(this.#configs.sweeper, clients, common, this.#logOf('sweeper'))
    sweep({ ...deps, jobQueueUrl, deadLetterQueueUrl })
      .then(({ failed }) => failed > 0 && this.#count('sweeper', 'Errors'))
      .catch((error) => {
        this.#count('sweeper', 'Errors')
        this.log(`  sweeper: ${error}`)
      })
    this.clock.after(this.settings.timeoutMs, () => process.kill())
  }

  /** Time to live, within two days, and the bucket's lifecycle. */
  #expireRegularly(): void {
    this.clock.after(3_600_000, () => {
      this.#expireRegularly()
      for (const id of this.dynamo.expired()) {
        if (this.random() < 0.9) continue
        this.dynamo.remove(id)
        this.seen.push({ at: this.clock.time, imageId: id, item: undefined })
      }
      if (this.settings.retentionDays > 0) this.s3.expire(this.settings.retentionDays)
    })
  }

  /** A form was posted with: S3 notifies the queue, after so many milliseconds each time; as it likes where nothing is said. */
  tellOfUpload(key: string, told?: readonly number[]): void {
    const record = { eventName: 'ObjectCreated:Post', s3: { object: { key } } }
    const chance = this.random()
    const late = 60_000 + this.random() * 3 * 3_600_000
    const usual = chance < 0.75 ? [0] : chance < 0.83 ? [] : chance < 0.92 ? [late] : [0, late]
    const times = this.has('uploads') ? (told ?? usual) : [0]
    for (const ms of times) {
      this.clock.after(ms, () => this.sqs.send({ MessageBody: JSON.stringify({ Records: [record] }) }))
    }
    // No more is promised than that the sweeper finds it, when the form is good no more.
    if (!times.includes(0)) this.lastFaultAt = Math.max(this.lastFaultAt, this.clock.time + UPLOAD_MS)
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
      if (fault === 'refuse') {
        this.#pumpLater(this.clock.time + 60_000)
        return
      }
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

  /** What Lambda itself asks of SQS goes wrong only by coming to nothing, or by two receiving the same; or it is paused. */
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
    if (fault === 'refuse') return fault
    return fault === 'partial' || fault === 'twice' ? 'partial' : 'fail'
  }

  async #invoke(received: Received[]): Promise<void> {
    const records = received.map(
      ({ chain: _chain, ...record }): SQSRecord => ({
        ...{ ...record, md5OfBody: '', eventSourceARN: 'arn', awsRegion: 'us-east-1' },
      }),
    )
    this.#running += 1
    const environment = this.#environment(this.#workers, (process) => this.#worker(process))
    const { process, runs: deps } = environment
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
    this.#rest(this.#workers, environment)
    if (response !== undefined) {
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
      this.#count('worker', 'Errors')
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

/** Milliseconds for which a form is good, and the sweeper waits longer (api/submit.ts). */
const UPLOAD_MS = 900_000

/** The part of a call's input that names what it is about. */
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
