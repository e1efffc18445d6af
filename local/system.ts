import type { AddressInfo } from 'node:net'
import { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb'
import { buildApp } from '../api/app.ts'
import { apiDeps, bucketOrigin, loadDocs, loadPage } from '../api/deps.ts'
import { bundlePage } from '../build/page.ts'
import {
  type EmbeddedAws,
  type EventSourceMapping,
  isDiskFull,
  type RekognitionOptions,
  startPoller,
} from '../packages/embedded-aws/index.ts'
import { createDecoder, createMakeRoom, demandHeicDecoder } from '../packages/image-guard/index.ts'
import { type AwsTarget, dynamoTranslation, elapsed, sleep } from '../shared/aws.ts'
import { type AuthConfig, DEFAULT_SWEEP_AFTER_SECONDS } from '../shared/config.ts'
import { type SweeperDeps, sweep } from '../sweeper/sweep.ts'
import { processBatch } from '../worker/batch.ts'
import { analysisSource, type WorkerDeps, workerDeps } from '../worker/deps.ts'
import { createRender } from '../worker/thumbnail.ts'
import { type Aws, clientsFor, openAws } from './aws.ts'
import { readAuth, readSettings, type Settings } from './environment.ts'
import { recover } from './recover.ts'
import { clientOf, createRekognition, openAnswering } from './rekognition.ts'
import { createMissingResources, openForPages, resourceNames, WORKER_TIMEOUT_SECONDS } from './resources.ts'
import { expireObjects } from './retention.ts'
import { closeServer, inFrontOf, listen, SAMPLES } from './server.ts'
import { portTrouble, StartError } from './trouble.ts'

export interface System {
  /** Of the page and the API, as `http://127.0.0.1:port`. */
  url: string
  /** Of S3, SQS, DynamoDB and EventBridge. */
  awsEndpoint: string
  rekognition: 'the stand-in' | 'local models' | 'Amazon Rekognition' | string
  /** Loads the models, where there are any, so that the first image need not wait for them. */
  warm: () => void
  target: AwsTarget
  jobQueueUrl: string
  auth: AuthConfig['AUTH']
  /** Ends within 5 seconds; what a worker has not finished by then stays in the queue. */
  stop: () => Promise<void>
}

const names = resourceNames()
/** Invocations of the worker at once: two batches keep two decodes and the calls around them going. */
const WORKER_CONCURRENCY = 2
/** Calls a second of each operation with which the one worker here begins to ask; it learns from there. */
const FIRST_RATE = 50
const STOP_GRACE_MS = 3_000
const CHORES_GRACE_MS = 1_000
const SWEEP_EVERY_MS = 60_000
/** Retention is a matter of days. */
const EXPIRE_OBJECTS_EVERY_MS = 3_600_000

/** A pause is kept in DATA_DIR. */
const PAUSED =
  'The worker is paused, as it was at the end: images wait. `aws lambda update-event-source-mapping` resumes it.'

type Undo = (() => Promise<void> | void)[]

/** The embedded AWS says once that the disk is full; all the calls that fail by it would say it again. */
function withoutDiskFull({ info, warn, error }: WorkerDeps['log']): WorkerDeps['log'] {
  const unlessFull =
    (say: typeof warn): typeof warn =>
    (message, extra) =>
      Object.values(extra).some(isDiskFull) ? undefined : say(message, extra)
  return { info, warn: unlessFull(warn), error: unlessFull(error) }
}

/** The whole system in this process: embedded AWS (or another endpoint), API, page and worker. */
export async function startSystem(env: NodeJS.ProcessEnv, say: WorkerDeps['log']): Promise<System> {
  const undo: Undo = []
  const stop = async (): Promise<void> => {
    for (const step of undo.splice(0).reverse()) await step()
  }
  try {
    return { ...(await start(readSettings(env), withoutDiskFull(say), undo)), stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** @throws StartError */
function demandDecoder(): void {
  try {
    demandHeicDecoder()
  } catch (error) {
    throw new StartError((error as Error).message)
  }
}

async function start(settings: Settings, log: WorkerDeps['log'], undo: Undo): Promise<Omit<System, 'stop'>> {
  const region = settings.AWS_REGION ?? settings.AWS_DEFAULT_REGION ?? 'us-east-1'
  const sourceOf = (who: string): string => analysisSource(who, settings)
  // One for all, so that they share the memory for decodes.
  const decoder = createDecoder()
  const answering = await openAnswering(settings, region, decoder, log, (who) => {
    worker.analysisSource = sourceOf(who)
  })
  const { name, standIn, vision } = answering
  if (vision !== undefined) undo.push(vision.stop)
  if (settings.HEIC) demandDecoder()
  const auth = readAuth(settings)
  const embeddedRekognition = (readObject: RekognitionOptions['readObject']) =>
    createRekognition({ readObject, ...standIn })
  const aws = await openAws(settings, region, embeddedRekognition, log, undo)
  const { target, embedded } = aws
  const { dynamoDb, ...clients } = clientsFor(aws)
  const resources = await createMissingResources({ ...clients, dynamoDb, region }, names).catch(
    cannotMake(aws),
  )
  const rekognition = await clientOf(answering, settings, region, embedded, clients.s3, undo)

  const shared = {
    ...{ now: () => new Date(), elapsed, sleep, random: Math.random },
    ...{ ...clients, dynamo: DynamoDBDocumentClient.from(dynamoDb, dynamoTranslation), log },
    ...{ bucket: names.bucket, table: names.table, eventBus: names.eventBus },
    jobQueueUrl: resources.jobQueueUrl,
    deadLetterQueueUrl: resources.deadLetterQueueUrl,
    sweepAfterMs: DEFAULT_SWEEP_AFTER_SECONDS * 1_000,
  }
  const config = {
    ...settings,
    ...{ IMAGE_BUCKET: shared.bucket, IMAGE_TABLE: shared.table, JOB_QUEUE_URL: shared.jobQueueUrl },
    ...{ DEAD_LETTER_QUEUE_URL: shared.deadLetterQueueUrl, EVENT_BUS_NAME: shared.eventBus },
    SWEEP_AFTER_SECONDS: DEFAULT_SWEEP_AFTER_SECONDS,
  }
  const rest = { log, render: createRender(decoder), makeRoom: createMakeRoom(), firstRate: FIRST_RATE }
  const worker: WorkerDeps = {
    ...workerDeps(config, { ...clients, dynamo: shared.dynamo, rekognition }, shared, rest),
    rekognitionSource: answering.imagesBy,
    analysisSource: sourceOf(answering.source),
  }
  const sweeper: SweeperDeps = { ...worker, giveUpMs: settings.GIVE_UP_DAYS * 86_400_000 }
  const app = await makeApi(settings, auth, shared)
  // Before the first request: what is mended must not change during that.
  if (embedded !== undefined && settings.DATA_DIR !== undefined) await recover(embedded, names, sweeper)
  const server = await listen(inFrontOf(app, settings), settings.PORT).catch(
    portTrouble(settings.PORT, (free) => `PORT=${free} npm start`),
  )
  undo.push(() => closeServer(server))
  const { port } = server.address() as AddressInfo
  if (embedded !== undefined || resources.bucketIsNew) {
    // An earlier run may have had another port.
    const own = ['127.0.0.1', 'localhost', ...settings.ALLOWED_HOSTS].map((host) => `http://${host}:${port}`)
    await openForPages(clients.s3, names.bucket, [...own, ...(settings.CORS_ORIGINS ?? [])])
  }
  // The models take a second or so for each image: more at a time would only wait for each other, and time out.
  feed(worker, resources, vision === undefined ? 10 : 2, embedded, undo)
  keepHouse(worker, sweeper, embedded, settings.RETENTION_DAYS, undo)
  return {
    url: `http://127.0.0.1:${port}`,
    awsEndpoint: target.endpoint ?? '',
    rekognition: name,
    warm: () => vision?.warm(),
    target,
    jobQueueUrl: resources.jobQueueUrl,
    auth: auth.AUTH,
  }
}

const cannotMake =
  ({ target, embedded }: Aws) =>
  (error: Error): never => {
    const way =
      embedded === undefined
        ? ' AWS_ENDPOINT_URL names that endpoint; without it, an embedded one starts.'
        : ''
    throw new StartError(
      `Bucket, table, queues and bus cannot be made at ${target.endpoint}: ${error.message || error.name}.${way}`,
    )
  }

/** The API with its pages. */
async function makeApi(
  settings: Settings,
  auth: AuthConfig,
  shared: Parameters<typeof apiDeps>[2] &
    Parameters<typeof apiDeps>[3] &
    Pick<WorkerDeps, 'log' | 'jobQueueUrl'>,
): Promise<ReturnType<typeof buildApp>> {
  const config = {
    ...settings,
    ...{ IMAGE_BUCKET: names.bucket, IMAGE_TABLE: names.table, JOB_QUEUE_URL: shared.jobQueueUrl },
    SWEEP_AFTER_SECONDS: DEFAULT_SWEEP_AFTER_SECONDS,
  }
  const origin = await bucketOrigin(shared.s3, names.bucket)
  const page = loadPage(() => bundlePage('page'), origin, settings, SAMPLES)
  const docs = loadDocs(() => bundlePage('docs'))
  const { s3, sqs, dynamo, log } = shared
  return buildApp(apiDeps(config, auth, { s3, sqs, dynamo }, shared, { log, page, docs }))
}

/** Gives the worker what is in the queue, as Lambda does. */
function feed(
  worker: WorkerDeps,
  { jobQueueUrl, jobQueueArn }: { jobQueueUrl: string; jobQueueArn: string },
  batchSize: number,
  embedded: EmbeddedAws | undefined,
  undo: Undo,
): void {
  const mapping: EventSourceMapping = {
    queueUrl: jobQueueUrl,
    queueArn: jobQueueArn,
    batchSize,
    maximumBatchingWindowInSeconds: 0,
    maximumConcurrency: WORKER_CONCURRENCY,
    functionName: 'image-analyzer-worker',
    functionTimeoutMs: WORKER_TIMEOUT_SECONDS * 1000,
    functionResponseTypes: ['ReportBatchItemFailures'],
  }
  const isEnabled = embedded?.mapEventSource(mapping, (enabled) => poller.enable(enabled)) ?? true
  const poller = startPoller(
    worker.sqs,
    mapping,
    (event, context) => processBatch(worker, event, context),
    (message, error) => worker.log.error(message, { error }),
    isEnabled,
  )
  undo.push(() => poller.stop(STOP_GRACE_MS))
  if (!isEnabled) worker.log.warn(PAUSED, {})
}

/** What comes by a schedule on AWS: the sweep, and what has expired. */
function keepHouse(
  worker: WorkerDeps,
  sweeper: SweeperDeps,
  embedded: EmbeddedAws | undefined,
  retentionDays: number | undefined,
  undo: Undo,
): void {
  const stopping = new AbortController()
  const { signal } = stopping
  /** At once, and then again and again. The next start continues with what is left at the end. */
  const every = async (ms: number, what: string, work: () => Promise<unknown>): Promise<void> => {
    while (!signal.aborted) {
      await work().catch((error) => worker.log.warn(`${what} failed`, { error }))
      await sleep(ms, signal).catch(() => {})
    }
  }
  const chores = Promise.all([
    every(SWEEP_EVERY_MS, 'the sweep', () => sweep(sweeper)),
    every(SWEEP_EVERY_MS, 'the deletion of expired records', async () => embedded?.expireItems(signal)),
    every(EXPIRE_OBJECTS_EVERY_MS, 'the deletion of expired images', () =>
      expireObjects(worker, retentionDays, signal),
    ),
  ])
  undo.push(async () => {
    stopping.abort()
    // The emulators must not be gone in the middle of a call.
    await Promise.race([chores, sleep(CHORES_GRACE_MS)])
  })
}
