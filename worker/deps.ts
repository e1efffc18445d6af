import type { ChildProcess } from 'node:child_process'
import { channel } from 'node:diagnostics_channel'
import { readFileSync } from 'node:fs'
import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { EventBridgeClient } from '@aws-sdk/client-eventbridge'
import { RekognitionClient, RekognitionServiceException } from '@aws-sdk/client-rekognition'
import { S3Client } from '@aws-sdk/client-s3'
import { SQSClient } from '@aws-sdk/client-sqs'
import { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb'
import {
  Budget,
  createDecoder,
  createGarbageCollection,
  createRender,
  demandHeicDecoder,
  ORIGINAL_BYTES,
  type Render,
} from '../packages/image-guard/index.ts'
import {
  type Clock,
  clientOptions,
  dynamoTranslation,
  type Elapsed,
  elapsed,
  readInPlace,
  s3Options,
  sleep,
  sqsOptions,
} from '../shared/aws.ts'
import { budgetOf, type WorkerConfig } from '../shared/config.ts'
import { PAID_ANALYSES, type PaidAnalysis, type PaidCalls } from '../shared/image.ts'
import type { KnownNames } from '../shared/labels.ts'
import type { Records } from '../shared/lifecycle.ts'
import { type Log, say } from '../shared/log.ts'
import type { DeadLetterQueue, EventBus, JobQueue } from '../shared/messages.ts'
import { dayOf, enterPaid, gatherReads, type Read } from '../shared/table.ts'
import type { Rekognition } from './analysis.ts'
import { createPurse, forEachPaid, type Limiter, limitersFor, type PurseDeps } from './limiter.ts'

/** What the work on an image needs. */
export interface ProcessDeps extends Records, Rekognition {
  /** Whose results these are; those of another Rekognition, or of other settings, are not the same. */
  analysisSource: string
  read: Read
  s3: S3Client
  bucket: string
  /** Whether each image gets a preview. */
  preview: boolean
  /** Whether HEIC comes in; then `demandHeicDecoder` was asked before. */
  heic: boolean
  rekognitionSource: 's3' | 'bytes'
  /** Makes the thumbnail, the preview and, where Rekognition needs one, a rendition. */
  render: Render
  /** Of bytes of originals in memory: ORIGINAL_BYTES of image-guard. */
  originals: Budget
  elapsed: Elapsed
  /** From 0 to 1, as Math.random. */
  random: () => number
  /** Collects dead originals before a large one comes: `createGarbageCollection` of image-guard. */
  collectGarbage: (bytes: number) => void
  /** Attempts after which transient trouble is taken for lasting. */
  maxAttempts: number
  /** Whether the position is overwritten in what was uploaded before it is kept. */
  stripGps?: boolean
  /** Whether results are deflated in the record. */
  packResults?: boolean
  log: Log
}

/** What a batch needs. */
export interface WorkerDeps extends ProcessDeps, JobQueue, DeadLetterQueue, EventBus {
  /** Of this process. */
  knownNames: KnownNames
  /** Enters what has been paid for into the ledger of the day. */
  enterPaid: (ending: AbortSignal) => Promise<void>
}

export interface WorkerClients {
  s3: S3Client
  sqs: SQSClient
  dynamo: DynamoDBDocumentClient
  rekognition: RekognitionClient
  eventBridge: EventBridgeClient
}

/** Results of one Rekognition count for another only where both are asked the same. */
export const analysisSource = (
  rekognition: string,
  { MIN_CONFIDENCE, MAX_LABELS }: Pick<WorkerConfig, 'MIN_CONFIDENCE' | 'MAX_LABELS'>,
): string => `${rekognition} ${MIN_CONFIDENCE} ${MAX_LABELS}`

/**
 * The same on AWS, on one machine and in tests, but for what is passed in.
 *
 * @param firstRate calls a second of each operation of Rekognition to begin with, where nothing says its share
 */
export const workerDeps = (
  config: WorkerConfig,
  clients: WorkerClients,
  clock: Clock & Pick<WorkerDeps, 'now' | 'random'>,
  { firstRate, ...rest }: Pick<WorkerDeps, 'log' | 'render' | 'collectGarbage'> & { firstRate?: number },
): WorkerDeps => ({
  ...clients,
  ...clock,
  bucket: config.IMAGE_BUCKET,
  table: config.IMAGE_TABLE,
  jobQueueUrl: config.JOB_QUEUE_URL,
  deadLetterQueueUrl: config.DEAD_LETTER_QUEUE_URL,
  eventBus: config.EVENT_BUS_NAME,
  sweepAfterMs: config.SWEEP_AFTER_SECONDS * 1_000,
  preview: config.PREVIEW,
  heic: config.HEIC,
  stripGps: config.STRIP_GPS,
  packResults: config.PACK_RESULTS,
  rekognitionSource: 's3',
  analysisSource: analysisSource('Rekognition', config),
  minConfidence: config.MIN_CONFIDENCE,
  maxLabels: config.MAX_LABELS,
  maxAttempts: config.MAX_ATTEMPTS,
  limiters: limitersOf(config, { ...clock, dynamo: clients.dynamo, log: rest.log }, firstRate),
  knownNames: new Map(),
  ...ledgerOf({ now: clock.now, dynamo: clients.dynamo, table: config.IMAGE_TABLE, log: rest.log }),
  read: gatherReads({ dynamo: clients.dynamo, table: config.IMAGE_TABLE, sleep: clock.sleep }),
  originals: new Budget(ORIGINAL_BYTES),
  ...rest,
})

/**
 * Counts what this process pays for, and enters it once a batch. What could not be entered is, with the next batch: where only the
 * answer was lost, twice.
 */
export function ledgerOf({
  log,
  now,
  ...table
}: Pick<WorkerDeps, 'log' | 'now' | 'dynamo' | 'table'>): Pick<WorkerDeps, 'paid' | 'enterPaid'> {
  let days = new Map<string, PaidCalls>()
  const add = (day: string, calls: PaidCalls): void => {
    const sums = { ...days.get(day) }
    for (const name of PAID_ANALYSES) if (calls[name]) sums[name] = (sums[name] ?? 0) + calls[name]
    days.set(day, sums)
  }
  return {
    paid: (name) => add(dayOf(now()), { [name]: 1 }),
    enterPaid: async (ending) => {
      const entered = days
      days = new Map()
      for (const [day, calls] of entered) {
        try {
          await enterPaid(table, day, calls, ending)
        } catch (error) {
          add(day, calls)
          say(log, 'not entered', { error })
        }
      }
    },
  }
}

type Limiters = Rekognition['limiters']

function limitersOf(
  config: WorkerConfig,
  deps: Clock & Pick<WorkerDeps, 'random'> & Omit<PurseDeps, 'table'>,
  firstRate: number | undefined,
): Limiters {
  const { elapsed, sleep, random } = deps
  const limiters = limitersFor({ elapsed, sleep, random, firstRate, callsPerSecond: config.REKOGNITION_TPS })
  const budget = budgetOf(config)
  const within =
    budget === undefined
      ? limiters
      : withinBudget(limiters, createPurse({ ...deps, table: config.IMAGE_TABLE }, budget))
  return sayingRates(within, deps)
}

/** The same limiters, whose calls go by way of `run`. */
const eachBy = (
  limiters: Limiters,
  run: (limiter: Limiters[PaidAnalysis], name: PaidAnalysis) => Limiter['run'],
): Limiters =>
  forEachPaid((name) => ({
    run: run(limiters[name], name),
    get rate() {
      return limiters[name].rate
    },
  }))

/** A refusal is not billed: of the image, or for want of a right. What a fault of the service has cost is not known. */
const isRefused = (error: unknown): boolean =>
  error instanceof RekognitionServiceException && error.$fault === 'client'

/** Limiters whose calls are taken from the purse before they are made. */
export const withinBudget = (limiters: Limiters, take: () => Promise<() => void>): Limiters =>
  eachBy(
    limiters,
    (limiter) => (call, isThrottled, ends) =>
      limiter.run(
        async () => {
          const putBack = await take()
          return call().catch((error) => {
            if (isThrottled(error) || isRefused(error)) putBack()
            throw error
          })
        },
        isThrottled,
        ends,
      ),
  )

/** Milliseconds between two lines about one limiter: CloudWatch makes a point of a metric each minute. */
const RATE_MS = 60_000

/** Limiters that say in the log what they allow, where it is no longer what they said. */
export const sayingRates = (limiters: Limiters, { elapsed, log }: { elapsed: Elapsed; log: Log }): Limiters =>
  eachBy(limiters, (limiter, analysis) => {
    let said = { rate: limiter.rate, at: elapsed() }
    const tell = (): void => {
      const { rate } = limiter
      if (rate === said.rate || elapsed() - said.at < RATE_MS) return
      said = { rate, at: elapsed() }
      say(log, 'limiter rate', { analysis, callsPerSecond: rate })
    }
    return (...given) => limiter.run(...given).finally(tell)
  })

/** Kills a process with what it has started: of a shell that is killed alone it would stay, and with each call some more. */
function killWhole(pid: number | undefined): void {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean)
    process.kill(Number(pid), 'SIGKILL')
    for (const child of children) killWhole(Number(child))
  } catch {
    // It has ended meanwhile, or there is no /proc.
  }
}

/**
 * Ends each request of this thread over which nothing comes for so long, and each process that takes so long. The SDK's own for
 * credentials have no limit: one that hangs would hold up all later calls of its client, which wait for it, for good.
 *
 * @returns ends it
 */
export function endSilence(ms: number): () => void {
  const [requests, processes] = [channel('http.client.request.start'), channel('child_process')]
  const heed = (begun: unknown): void => {
    const { request } = Object(begun)
    request.setTimeout(ms, () => {
      const silent = new Error(`${request.getHeader('host')} has sent nothing for ${ms} ms.`)
      request.destroy(Object.assign(silent, { name: 'TimeoutError' }))
    })
  }
  /** Of a `credential_process`. */
  const heedProcess = (begun: unknown): void => {
    const child: ChildProcess = Object(begun).process
    const timer = setTimeout(() => {
      process.emitWarning(`A process for credentials has not ended within ${ms} ms, and is killed.`)
      killWhole(child.pid)
      child.kill('SIGKILL')
      // Where there is no /proc, a process that it has started may hold them open.
      for (const output of [child.stdout, child.stderr]) output?.destroy()
    }, ms)
    child.once('close', () => clearTimeout(timer))
  }
  requests.subscribe(heed)
  processes.subscribe(heedProcess)
  return () => {
    requests.unsubscribe(heed)
    processes.unsubscribe(heedProcess)
  }
}

/** Where AWS is as the SDK finds it: in the function, and in a process outside Lambda. @throws Error without a decoder of HEIC */
export function depsOnAws(config: WorkerConfig, log: Log): WorkerDeps {
  if (config.HEIC) demandHeicDecoder()
  const forS3 = s3Options()
  return workerDeps(
    config,
    {
      s3: readInPlace(new S3Client(forS3), forS3),
      sqs: new SQSClient(sqsOptions()),
      dynamo: DynamoDBDocumentClient.from(new DynamoDBClient(clientOptions()), dynamoTranslation),
      // The queue tries again, and waits in between; a client that did so too would outlast the function's time.
      rekognition: new RekognitionClient({ ...clientOptions(), maxAttempts: 1 }),
      eventBridge: new EventBridgeClient(clientOptions()),
    },
    { now: () => new Date(), elapsed, sleep, random: Math.random },
    { log, render: createRender(createDecoder()), collectGarbage: createGarbageCollection() },
  )
}
