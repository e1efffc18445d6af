import { randomBytes, randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { AddressInfo, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { EventBridgeClient } from '@aws-sdk/client-eventbridge'
import { RekognitionClient } from '@aws-sdk/client-rekognition'
import { S3Client } from '@aws-sdk/client-s3'
import { SQSClient } from '@aws-sdk/client-sqs'
import { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb'
import { createAdaptorServer, type ServerType } from '@hono/node-server'
import * as z from 'zod'
import { buildApp } from '../api/app.ts'
import { apiDeps, bucketOrigin, loadDocs, loadPage } from '../api/deps.ts'
import { ApiError, problem } from '../api/schemas.ts'
import { bundlePages } from '../build/page.ts'
import {
  countRecordings,
  createRecordings,
  type EmbeddedAws,
  isDiskFull,
  openDataFolder,
  type Recall,
  readIfThere,
  startEmbeddedAws,
  startPoller,
  UnusableFolder,
} from '../packages/embedded-aws/index.ts'
import {
  Budget,
  createDecoder,
  createMakeRoom,
  demandHeicDecoder,
  ORIGINAL_BYTES,
} from '../packages/image-guard/index.ts'
import {
  hasModeration,
  isInstalled,
  labelModelVersion,
  MODERATION_MODEL_VERSION,
  TEXT_MODEL_VERSION,
} from '../packages/vision/index.ts'
import {
  type AwsTarget,
  clientOptions,
  dynamoTranslation,
  elapsed,
  readInPlace,
  s3Options,
  sleep,
  sqsOptions,
} from '../shared/aws.ts'
import {
  type AuthConfig,
  apiSettings,
  DEFAULT_SWEEP_AFTER_SECONDS,
  HEIC,
  PREVIEW,
  readAuthConfig,
} from '../shared/config.ts'
import { type SweeperDeps, sweep } from '../sweeper/sweep.ts'
import { limitersFor } from '../worker/analysis.ts'
import { processBatch, type WorkerDeps } from '../worker/batch.ts'
import { createRender } from '../worker/thumbnail.ts'
import { admit } from './admission.ts'
import {
  LOCAL_MODELS,
  moderationIsLost,
  openVision,
  readFromS3,
  STAND_IN,
  textIsLost,
  visionIsLost,
} from './answering.ts'
import { allowedHostsSchema, refuseStranger } from './door.ts'
import { verifySignature } from './gateway.ts'
import { imageOpener } from './images.ts'
import { recover } from './recover.ts'
import { createRekognition, startRekognition } from './rekognition.ts'
import { createMissingResources, openForPages, resourceNames, WORKER_TIMEOUT_SECONDS } from './resources.ts'
import { expireObjects } from './retention.ts'
import { answerSample, SAMPLES } from './samples.ts'
import { portTrouble, StartError } from './trouble.ts'

const port = z.coerce.number().int().min(0).max(65_535)

const environmentSchema = z.object({
  PORT: port.default(3000),
  /** Of the embedded AWS. 4566 is where tools expect an emulator. */
  AWS_PORT: port.optional(),
  /** Where images, records, queue and events are kept. Nothing outlives the process without it. */
  DATA_DIR: z.string().min(1).optional(),
  /** Names, in addition to those of loopback, by which both ports are reached. */
  ALLOWED_HOSTS: allowedHostsSchema.default([]),
  AWS_ENDPOINT_URL: z.url().optional(),
  AWS_ENDPOINT_URL_REKOGNITION: z.url().optional(),
  /**
   * `local` asks open models on this machine, `stand-in` measures pixels; `aws` asks the real service, and `record` as
   * well, through the stand-in, which keeps its answers. By default `local` where the models are installed.
   */
  REKOGNITION: z.enum(['local', 'stand-in', 'aws', 'record']).optional(),
  /** The folder of the answers that are kept. Where it is there, they are replayed; the rest is seen or measured here. */
  RECORDINGS: z.string().min(1).optional(),
  /** Where models are that people have added; see models-folder.ts. */
  VISION_MODELS: z.string().optional(),
  /** Where npm was called: it runs scripts in the package's folder. */
  INIT_CWD: z.string().optional(),
  AWS_REGION: z.string().optional(),
  AWS_DEFAULT_REGION: z.string().optional(),
  /** Whether the log is for people or, as on AWS, one line of JSON for each fact (docs/log.md). */
  LOG_FORMAT: z.enum(['text', 'json']).default('text'),
  /** The least that is written of it; `npm start` reads it. */
  LOG_LEVEL: z.enum(['INFO', 'WARN', 'ERROR']).default('INFO'),
  /** The stand-in's limits: calls per second, and milliseconds that each call takes. */
  STAND_IN_TPS: z.coerce.number().positive().optional(),
  STAND_IN_LATENCY_MS: z.coerce.number().min(0).optional(),
  /** Of the API, as on AWS. */
  ...apiSettings,
  /** Of the worker, as on AWS. */
  PREVIEW,
  /** Of both, as on AWS. */
  HEIC,
  /** How callers of the API prove who they are, as on AWS; see authSchema in shared/config.ts. */
  AUTH: z.enum(['none', 'jwt', 'iam']).default('none'),
  JWT_ISSUER: z.string().optional(),
  JWT_AUDIENCE: z.string().optional(),
  AWS_ACCESS_KEY_ID: z.string().optional(),
  AWS_SECRET_ACCESS_KEY: z.string().optional(),
  AWS_PROFILE: z.string().optional(),
})

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
/** Connections to each service: at least three for each image in flight (two batches of ten). */
const SOCKETS = 64
/** Calls a second of each operation with which the one worker here begins to ask; it learns from there. */
const FIRST_RATE = 50
/** For a turn at a socket and for an answer, where AWS is another endpoint; for 5 MB a line at home needs some seconds. */
const ELSEWHERE_TIMEOUT_MS = 30_000
/**
 * Bytes of large objects that the embedded S3 has in memory at once, as they come: two of the largest uploads by default,
 * each of which takes four times as much while it is stored. The API and the worker have few of the smaller ones at a time.
 */
const LARGE_BODIES_BYTES = 100_000_000
const STOP_GRACE_MS = 3_000
const CHORES_GRACE_MS = 1_000
const SWEEP_EVERY_MS = 60_000
/** Retention is a matter of days. */
const EXPIRE_OBJECTS_EVERY_MS = 3_600_000
/** Of the worker and the sweeper, as on AWS by default (shared/config.ts). */
const MAX_ATTEMPTS = 10
const GIVE_UP_MS = 14 * 86_400_000

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
  const log = withoutDiskFull(say)
  // An empty variable is one that is not set.
  const parsed = environmentSchema.safeParse(
    Object.fromEntries(Object.entries(env).filter(([, value]) => value !== '')),
  )
  if (!parsed.success) {
    throw new StartError(
      parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; '),
    )
  }
  const settings = {
    ...parsed.data,
    REKOGNITION: parsed.data.REKOGNITION ?? (isInstalled() ? 'local' : 'stand-in'),
  }
  const undo: (() => Promise<void> | void)[] = []
  const stop = async (): Promise<void> => {
    for (const step of undo.splice(0).reverse()) await step()
  }
  try {
    return await start(settings, log, undo, stop)
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

type Settings = z.infer<typeof environmentSchema> & { REKOGNITION: string }

async function start(
  settings: Settings,
  log: WorkerDeps['log'],
  undo: (() => Promise<void> | void)[],
  stop: () => Promise<void>,
): Promise<System> {
  const region = settings.AWS_REGION ?? settings.AWS_DEFAULT_REGION ?? 'us-east-1'
  const standInCredentials = { accessKeyId: 'test', secretAccessKey: 'test' }
  const hasCredentials = settings.AWS_ACCESS_KEY_ID !== undefined || settings.AWS_PROFILE !== undefined
  const isReal = settings.REKOGNITION === 'aws' || settings.REKOGNITION === 'record'
  const real = isReal ? await realRekognition(settings, region) : undefined
  const recordings = openRecordings(settings, real && { client: real, region })
  // A Rekognition that is named by its address is used.
  const isOwn = settings.REKOGNITION === 'local' && settings.AWS_ENDPOINT_URL_REKOGNITION === undefined
  const models = isOwn ? openVision(settings, (sentence) => log.warn(sentence, {})) : undefined
  const vision = models?.vision
  if (vision !== undefined) undo.push(vision.stop)
  // One for all, so that they share the memory for decodes.
  const decoder = createDecoder()
  const standIn = {
    openImage: imageOpener(decoder),
    ...{ recall: recordings?.recall, vision, onVisionLost: (why: string) => visionLost(why) },
    ...{ onTextLost: (why: string) => textLost(why), onModerationLost: (why: string) => moderationLost(why) },
    ...(settings.STAND_IN_TPS === undefined ? {} : { tps: settings.STAND_IN_TPS }),
    ...(settings.STAND_IN_LATENCY_MS === undefined ? {} : { latencyMs: settings.STAND_IN_LATENCY_MS }),
  }

  if (settings.HEIC) demandDecoder()
  const auth = readAuth(settings)
  const signer = {
    accessKeyId: settings.AWS_ACCESS_KEY_ID ?? standInCredentials.accessKeyId,
    secretAccessKey: settings.AWS_SECRET_ACCESS_KEY ?? standInCredentials.secretAccessKey,
  }

  let embedded: EmbeddedAws | undefined
  let target: AwsTarget
  if (settings.AWS_ENDPOINT_URL === undefined) {
    const folder = settings.DATA_DIR ?? mkdtempSync(join(tmpdir(), 'image-analyzer-'))
    if (settings.DATA_DIR === undefined) undo.push(() => rmSync(folder, { recursive: true, force: true }))
    undo.push(takeFolder(folder))
    const awsPort = settings.AWS_PORT ?? 4566
    const credentials = ownCredentials(folder)
    const largeBodies = new Budget(LARGE_BODIES_BYTES)
    embedded = await startEmbeddedAws({
      port: awsPort,
      region,
      folder,
      durable: settings.DATA_DIR !== undefined,
      rekognition: (readObject) => createRekognition({ readObject, ...standIn }),
      credentials: [credentials],
      allowedHosts: settings.ALLOWED_HOSTS,
      inTurn: (bytes, work, turn) => largeBodies.run(bytes, work, { signal: turn }),
      onDropped: (dropped) => log.warn('an event could not be delivered', { ...dropped }),
      onDisk: (sentence) => log.warn(sentence, {}),
    }).catch(portTrouble(awsPort, (free) => `AWS_PORT=${free} npm start`))
    undo.push(embedded.stop)
    target = { endpoint: embedded.endpoint, region, credentials }
  } else {
    target = {
      endpoint: settings.AWS_ENDPOINT_URL,
      region,
      ...(hasCredentials ? {} : { credentials: standInCredentials }),
    }
  }

  const patience = embedded === undefined ? ELSEWHERE_TIMEOUT_MS : undefined
  const forS3 = patient(s3Options(target, SOCKETS), patience)
  const s3 = readInPlace(new S3Client(forS3), forS3)
  const sqs = new SQSClient(patient(sqsOptions(target, SOCKETS), patience))
  const dynamoDb = dynamoClient(patient(clientOptions(target, SOCKETS), patience))
  const eventBridge = new EventBridgeClient(patient(clientOptions(target), patience))
  const dynamo = DynamoDBDocumentClient.from(dynamoDb, dynamoTranslation)
  const { jobQueueUrl, jobQueueArn, deadLetterQueueUrl, bucketIsNew } = await createMissingResources(
    { s3, sqs, dynamoDb, eventBridge, region },
    names,
  ).catch((error: Error) => {
    const way =
      embedded === undefined
        ? ' AWS_ENDPOINT_URL names that endpoint; without it, an embedded one starts.'
        : ''
    throw new StartError(
      `Bucket, table, queues and bus cannot be made at ${target.endpoint}: ${error.message || error.name}.${way}`,
    )
  })

  let rekognitionTarget: AwsTarget = { region, credentials: standInCredentials }
  const answers = recordings?.name ?? settings.AWS_ENDPOINT_URL_REKOGNITION
  const embeddedRekognition = models?.who ?? STAND_IN
  const rekognition = answers ?? (real === undefined ? embeddedRekognition : 'Amazon Rekognition')
  if (recordings === undefined && settings.AWS_ENDPOINT_URL_REKOGNITION !== undefined) {
    rekognitionTarget = {
      endpoint: settings.AWS_ENDPOINT_URL_REKOGNITION,
      region,
      ...(hasCredentials ? {} : { credentials: standInCredentials }),
    }
  } else if (settings.REKOGNITION !== 'aws') {
    let { endpoint } = target
    if (embedded === undefined) {
      const readObject = (bucket: string, key: string) => readFromS3(s3, bucket, key)
      // Any free port unless one is asked for: an emulator of the rest is likely to have 4566.
      const server = await startRekognition({
        port: settings.AWS_PORT ?? 0,
        readObject,
        allowedHosts: settings.ALLOWED_HOSTS,
        rekognition: standIn,
      }).catch(portTrouble(settings.AWS_PORT ?? 0, (free) => `AWS_PORT=${free} npm start`))
      undo.push(server.stop)
      endpoint = server.endpoint
    }
    rekognitionTarget = { ...rekognitionTarget, ...(endpoint === undefined ? {} : { endpoint }) }
  }

  const clock = { now: () => new Date(), elapsed, sleep, random: Math.random }
  const records = { ...clock, dynamo, table: names.table, sweepAfterMs: DEFAULT_SWEEP_AFTER_SECONDS * 1_000 }
  // A question of who answers: the stand-in's measurements are no substitute for Rekognition's, nor for a recording that
  // has been added, nor is an answer without a model one for what it would see.
  const answering = new Set([
    rekognition,
    ...(vision === undefined ? [] : [labelModelVersion(), TEXT_MODEL_VERSION]),
    ...(vision !== undefined && hasModeration() ? [MODERATION_MODEL_VERSION] : []),
  ])
  const worker: WorkerDeps = {
    ...records,
    s3,
    sqs,
    rekognition:
      settings.REKOGNITION === 'aws' && real
        ? real
        : // What waits for models in this process waits for its own turn.
          rekognitionClient(rekognitionTarget, vision === undefined ? ELSEWHERE_TIMEOUT_MS : undefined),
    limiters: limitersFor({ ...clock, firstRate: FIRST_RATE }),
    render: createRender(decoder),
    knownNames: new Map(),
    originals: new Budget(ORIGINAL_BYTES),
    makeRoom: createMakeRoom(),
    eventBridge,
    bucket: names.bucket,
    jobQueueUrl,
    deadLetterQueueUrl,
    eventBus: names.eventBus,
    preview: settings.PREVIEW,
    heic: settings.HEIC,
    // The real service cannot reach into a bucket on this machine. And what is recorded are answers about the bytes that
    // it was sent, so the same ones have to be sent when they are replayed.
    rekognitionSource: real !== undefined || recordings !== undefined ? 'bytes' : 's3',
    analysisSource: [...answering].join(' '),
    minConfidence: 55,
    maxLabels: 100,
    maxAttempts: MAX_ATTEMPTS,
    stripGps: settings.STRIP_GPS,
    log,
  }
  const visionLost = (why: string): void => {
    log.warn(visionIsLost(why), {})
    worker.analysisSource = STAND_IN
  }
  const lost = (model: string, sentence: string): void => {
    log.warn(sentence, {})
    answering.delete(model)
    if (worker.analysisSource !== STAND_IN) worker.analysisSource = [...answering].join(' ')
  }
  const textLost = (why: string): void => lost(TEXT_MODEL_VERSION, textIsLost(why))
  const moderationLost = (why: string): void => lost(MODERATION_MODEL_VERSION, moderationIsLost(why))
  const sweeper: SweeperDeps = { ...worker, giveUpMs: GIVE_UP_MS }
  const origin = await bucketOrigin(s3, names.bucket)
  const pages = bundlePages()
  const config = {
    ...settings,
    ...{ IMAGE_BUCKET: names.bucket, IMAGE_TABLE: names.table, JOB_QUEUE_URL: jobQueueUrl },
    SWEEP_AFTER_SECONDS: DEFAULT_SWEEP_AFTER_SECONDS,
  }
  const page = loadPage(pages.page, origin, settings, SAMPLES)
  const docs = () => loadDocs(pages.docs)
  const app = buildApp(apiDeps(config, auth, { s3, sqs, dynamo }, clock, { log, page, docs }))
  const answer = async (request: Request): Promise<Response> => {
    if (auth.AUTH !== 'iam') return app.fetch(request)
    try {
      // On AWS it is API Gateway that verifies signatures, and names the signer to the function.
      const verified = await verifySignature(request, signer, settings.MAX_IMAGE_BYTES)
      return app.fetch(verified?.request ?? request, { requestContext: { identity: verified?.caller } })
    } catch (refused) {
      return app.fetch(request, { refused })
    }
  }
  const admitted = admit(answer, settings.MAX_IMAGE_BYTES, async (request, refused) =>
    app.fetch(request, { refused }),
  )
  const fetch = async (request: Request): Promise<Response> =>
    refuseStranger(request, settings.ALLOWED_HOSTS, settings.CORS_ORIGINS ?? []) ??
    answerSample(request) ??
    (await admitted(request))
  // Before the first request: what is mended must not change during that.
  if (embedded !== undefined && settings.DATA_DIR !== undefined) {
    await recover(embedded, names, sweeper)
  }
  const server = await listen(fetch, settings.PORT).catch(
    portTrouble(settings.PORT, (free) => `PORT=${free} npm start`),
  )
  undo.push(() => closeServer(server))
  const apiPort = (server.address() as AddressInfo).port
  if (embedded !== undefined || bucketIsNew) {
    // An earlier run may have had another port.
    const own = ['127.0.0.1', 'localhost', ...settings.ALLOWED_HOSTS].map(
      (host) => `http://${host}:${apiPort}`,
    )
    await openForPages(s3, names.bucket, [...own, ...(settings.CORS_ORIGINS ?? [])])
  }

  const poller = startPoller(
    sqs,
    {
      queueUrl: jobQueueUrl,
      queueArn: jobQueueArn,
      // The models take a second or so for each image: more at a time would only wait for each other, and time out.
      batchSize: vision === undefined ? 10 : 2,
      maximumBatchingWindowInSeconds: 0,
      maximumConcurrency: WORKER_CONCURRENCY,
      functionName: 'image-analyzer-worker',
      functionTimeoutMs: WORKER_TIMEOUT_SECONDS * 1000,
      functionResponseTypes: ['ReportBatchItemFailures'],
    },
    (event, context) => processBatch(worker, event, context),
    (message, error) => log.error(message, { error }),
  )
  undo.push(() => poller.stop(STOP_GRACE_MS))
  const stopping = new AbortController()
  const { signal } = stopping
  /** At once, and then again and again. The next start continues with what is left at the end. */
  const every = async (ms: number, what: string, work: () => Promise<unknown>): Promise<void> => {
    while (!signal.aborted) {
      await work().catch((error) => log.warn(`${what} failed`, { error }))
      await sleep(ms, signal).catch(() => {})
    }
  }
  const chores = Promise.all([
    every(SWEEP_EVERY_MS, 'the sweep', () => sweep(sweeper)),
    every(SWEEP_EVERY_MS, 'the deletion of expired records', async () => embedded?.expireItems(signal)),
    every(EXPIRE_OBJECTS_EVERY_MS, 'the deletion of expired images', () =>
      expireObjects(worker, settings.RETENTION_DAYS, signal),
    ),
  ])
  undo.push(async () => {
    stopping.abort()
    // The emulators must not be gone in the middle of a call.
    await Promise.race([chores, sleep(CHORES_GRACE_MS)])
  })

  return {
    url: `http://127.0.0.1:${apiPort}`,
    awsEndpoint: target.endpoint ?? '',
    rekognition,
    warm: () => vision?.warm(),
    target,
    jobQueueUrl,
    auth: auth.AUTH,
    stop,
  }
}

const PATIENCE_MS = 300_000

/**
 * Options of a client whose emulator is in the same process: what it waits for is its own turn, and for one of its
 * sockets, which the SDK counts as the time to connect. With the usual second for that, the 65th request at a time would
 * fail as soon as the first ones take longer.
 *
 * @param ms to wait for a turn, and for an answer
 */
const patient = <Options extends ReturnType<typeof clientOptions>>(
  options: Options,
  ms = PATIENCE_MS,
): Options => ({
  ...options,
  requestHandler: { ...options.requestHandler, connectionTimeout: ms, requestTimeout: ms },
})

/** What reads has sockets of its own, so that who submits never waits behind a thousand readers. */
function dynamoClient(options: ReturnType<typeof clientOptions>): DynamoDBClient {
  const [reads, writes] = [new DynamoDBClient(options).config, new DynamoDBClient(options).config]
  const requestHandler: typeof reads.requestHandler = Object.assign(Object.create(writes.requestHandler), {
    handle: (...[request, ...rest]: Parameters<typeof requestHandler.handle>) => {
      const isRead = /\.(BatchGet|Get|Query|Scan)/.test(request.headers['x-amz-target'] ?? '')
      return (isRead ? reads : writes).requestHandler.handle(request, ...rest)
    },
  })
  return new DynamoDBClient({ ...options, requestHandler })
}

/**
 * The limiters try again what is throttled, and the queue the rest. Decodes of the stand-in take turns with those of the
 * worker.
 */
const rekognitionClient = (target: AwsTarget, ms?: number): RekognitionClient =>
  new RekognitionClient({
    ...patient(clientOptions(target, SOCKETS), ms),
    maxAttempts: 1,
  })

/** The real service with the caller's own credentials, as the SDK finds them. */
async function realRekognition(
  { AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_REKOGNITION }: Settings,
  region: string,
): Promise<RekognitionClient> {
  // The SDK would look for it at the endpoint of the other services.
  const beside = AWS_ENDPOINT_URL === undefined ? undefined : `https://rekognition.${region}.amazonaws.com`
  const endpoint = AWS_ENDPOINT_URL_REKOGNITION ?? beside
  const client = rekognitionClient(
    { region, ...(endpoint === undefined ? {} : { endpoint }) },
    ELSEWHERE_TIMEOUT_MS,
  )
  try {
    await client.config.credentials()
  } catch (error) {
    throw new StartError(
      `Amazon Rekognition needs your AWS credentials: log in with "aws sso login" or "aws configure", choose with AWS_PROFILE, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Without REKOGNITION none are needed. (${(error as Error).message})`,
    )
  }
  return client
}

/** @returns the recorded answers and how to name them, where there are any or some are to be made */
function openRecordings(
  settings: Settings,
  real: { client: RekognitionClient; region: string } | undefined,
): { recall: Recall; name: string } | undefined {
  const { REKOGNITION, RECORDINGS, AWS_ENDPOINT_URL_REKOGNITION } = settings
  const folder = resolve(settings.INIT_CWD ?? '.', RECORDINGS ?? 'recordings')
  if (REKOGNITION === 'record' && real !== undefined) {
    const who = AWS_ENDPOINT_URL_REKOGNITION ?? 'Amazon Rekognition'
    return { recall: createRecordings({ folder, real }), name: `${who}, recorded in ${folder}` }
  }
  // A Rekognition that is named by its address is used.
  if (real !== undefined || AWS_ENDPOINT_URL_REKOGNITION !== undefined) return undefined
  const count = countRecordings(folder)
  if (count !== undefined) {
    return {
      recall: createRecordings({ folder }),
      name: `recordings in ${folder} (${count}), else ${REKOGNITION === 'local' && isInstalled() ? LOCAL_MODELS : STAND_IN}`,
    }
  }
  if (RECORDINGS === undefined) return undefined
  throw new StartError(`There are no recordings in ${folder}; REKOGNITION=record makes some.`)
}

function readAuth({ AUTH, JWT_ISSUER, JWT_AUDIENCE }: z.infer<typeof environmentSchema>): AuthConfig {
  try {
    return readAuthConfig({ AUTH, JWT_ISSUER, JWT_AUDIENCE })
  } catch (error) {
    throw new StartError((error as Error).message)
  }
}

/** The file of ownCredentials. */
const SECRET = 'secret'

/**
 * What this system signs its own requests and URLs with. No page can guess it, so a URL or form that is signed with it is
 * one that the API has given out. Kept in the folder, as forms outlive a restart.
 */
function ownCredentials(folder: string): { accessKeyId: string; secretAccessKey: string } {
  const file = join(folder, SECRET)
  const kept = readIfThere(file)
  const secretAccessKey = kept || randomBytes(30).toString('base64url')
  if (!kept) writeFileSync(file, secretAccessKey, { mode: 0o600 })
  return { accessKeyId: 'image-analyzer', secretAccessKey }
}

/** The lines of the log, in the data folder. */
export const LOG_FILE = 'log.jsonl'

/** As messages about the folder name it. */
const FOLDER_OWNER = {
  program: 'image-analyzer',
  setting: 'DATA_DIR',
  contents: 'images',
  files: [SECRET, LOG_FILE],
}

function takeFolder(folder: string): () => void {
  try {
    return openDataFolder(folder, FOLDER_OWNER)
  } catch (error) {
    throw error instanceof UnusableFolder ? new StartError(error.message) : error
  }
}

/**
 * Connections that the operating system holds until this process looks at them, as far as it holds so many (Linux, by
 * default, as many as this). Of a thousand clients at once, Node's own 511 would break off some.
 */
const BACKLOG = 4_096

function listen(
  fetch: Parameters<typeof createAdaptorServer>[0]['fetch'],
  wanted: number,
): Promise<ServerType> {
  return new Promise((resolve, reject) => {
    // Closed from here after a rest, a connection would be gone just as a request is sent on it.
    const serverOptions = { keepAliveTimeout: 0 }
    const hostname = '127.0.0.1'
    const server = createAdaptorServer({ fetch, hostname, serverOptions })
    server.listen({ port: wanted, host: hostname, backlog: BACKLOG }, () => resolve(server))
    server.once('error', reject)
    // What is no HTTP never becomes a request; the answer is still the API's own, as API Gateway's is on AWS.
    server.on('clientError', (_error: Error, socket: Socket) => void refuse(socket))
  })
}

async function refuse(socket: Socket): Promise<void> {
  if (!socket.writable) return
  const answer = problem(
    new ApiError('INVALID_PARAMETER', 'This is no HTTP request, or its head is too long.'),
    randomUUID(),
  )
  const body = await answer.text()
  const head = [...answer.headers].map(([name, value]) => `${name}: ${value}\r\n`).join('')
  socket.end(
    `HTTP/1.1 400 Bad Request\r\n${head}content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  )
}

function closeServer(server: ServerType): Promise<void> {
  if ('closeAllConnections' in server) server.closeAllConnections()
  return new Promise((resolve) => server.close(() => resolve()))
}
