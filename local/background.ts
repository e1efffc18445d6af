import { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb'
import { createMissingResources, resourceNames, WORKER_TIMEOUT_SECONDS } from '../infrastructure/resources.ts'
import type { EmbeddedAws, RekognitionOptions } from '../packages/embedded-aws/index.ts'
import {
  createDecoder,
  createGarbageCollection,
  createRender,
  demandHeicDecoder,
} from '../packages/image-guard/index.ts'
import { clientOf, openAnswering } from '../rekognition/answering.ts'
import { createRekognition, explain } from '../rekognition/service.ts'
import { regionOf } from '../rekognition/settings.ts'
import { dynamoTranslation, elapsed, sleep } from '../shared/aws.ts'
import { hintOf, orStartError, RECEIVE_SECONDS, StartError, stoppable, type Undo } from '../shared/machine.ts'
import { sweeperDeps } from '../sweeper/deps.ts'
import { processBatch } from '../worker/batch.ts'
import { analysisSource, type WorkerDeps, workerDeps } from '../worker/deps.ts'
import { mappingOfJobs } from '../worker/invocation.ts'
import { startPoller } from '../worker/poller.ts'
import { type Aws, openAws } from './aws.ts'
import { clientsFor } from './clients.ts'
import { configFor, type Settings } from './environment.ts'
import type { Background, OpenBackground } from './thread.ts'
import { recover, startChores } from './upkeep.ts'

const names = resourceNames()
/** Invocations of the worker at once: two batches keep two decodes and the calls around them going. */
const WORKER_CONCURRENCY = 2
/** Calls a second of each operation with which the one worker here begins to ask; it learns from there. */
const FIRST_RATE = 50

/** A pause is kept in DATA_DIR. */
const PAUSED =
  'The worker is paused, as it was when npm start last ended, so images wait. `npm run ops -- resume` resumes it.'

/** In the thread that calls it. */
export const openBackground: OpenBackground = (settings, log) =>
  stoppable((undo) => open(settings, log, undo))

async function open(
  settings: Settings,
  log: WorkerDeps['log'],
  undo: Undo,
): Promise<Omit<Background, 'stop'>> {
  const region = regionOf(settings)
  const sourceOf = (who: string): string => analysisSource(who, settings)
  // One for all, so that they share the memory for decodes.
  const decoder = createDecoder()
  const answering = await openAnswering(settings, region, decoder, log, (who) => {
    worker.analysisSource = sourceOf(who)
  })
  const { name, standIn, vision } = answering
  if (vision !== undefined) undo.push(vision.stop)
  if (settings.HEIC) orStartError(demandHeicDecoder)
  const embeddedRekognition = (readObject: RekognitionOptions['readObject']) =>
    createRekognition({ readObject, ...standIn })
  const aws = await openAws(settings, region, embeddedRekognition, log, undo)
  const { target, embedded, temporary } = aws
  const isEmbedded = embedded !== undefined
  const { dynamoDb, ...clients } = clientsFor(target, isEmbedded)
  const resources = await createMissingResources({ ...clients, dynamoDb, region }, names, log).catch(
    asStartError(aws),
  )
  const rekognition = await clientOf(answering, settings, region, embedded, clients.s3, undo)

  const dynamo = DynamoDBDocumentClient.from(dynamoDb, dynamoTranslation)
  const clock = { now: () => new Date(), elapsed, sleep, random: Math.random }
  const rest = {
    log,
    render: createRender(decoder),
    collectGarbage: createGarbageCollection(),
    firstRate: FIRST_RATE,
  }
  const config = configFor(settings, resources)
  const worker: WorkerDeps = {
    ...workerDeps(config, { ...clients, dynamo, rekognition }, clock, rest),
    rekognitionSource: answering.imagesBy,
    analysisSource: sourceOf(answering.source),
  }
  const sweeper = sweeperDeps(config, { ...clients, dynamo }, clock, log)
  // Before the first request: what is mended must not change during that.
  if (isEmbedded && settings.DATA_DIR !== undefined) await recover(embedded, names, sweeper)
  return {
    target,
    isEmbedded,
    temporary,
    resources,
    rekognition: name,
    explanation: explain(name),
    begin: () => {
      // The models take a second or so for each image: more at a time would only wait for each other, and time out.
      if (settings.WORKER === 'on') feed(worker, resources, vision === undefined ? 10 : 2, embedded, undo)
      startChores(worker, sweeper, embedded, settings.RETENTION_DAYS, undo)
    },
    warm: () => vision?.warm(),
  }
}

const asStartError =
  ({ target, embedded }: Aws) =>
  (error: Error): never => {
    const what = `Bucket, table, queues and bus cannot be created at ${target.endpoint}: ${(error.message || error.name).replace(/\.$/, '')}.`
    const way = ' AWS_ENDPOINT_URL names that endpoint; without it, an embedded one starts.'
    throw new StartError(`${what}${hintOf(error)}${embedded === undefined ? way : ''}`)
  }

/** Gives the worker what is in the queue, as Lambda does. */
function feed(
  worker: WorkerDeps,
  { jobQueueUrl, jobQueueArn }: { jobQueueUrl: string; jobQueueArn: string },
  batchSize: number,
  embedded: EmbeddedAws | undefined,
  undo: Undo,
): void {
  const mapping = mappingOfJobs({
    queueUrl: jobQueueUrl,
    queueArn: jobQueueArn,
    batchSize,
    maximumConcurrency: WORKER_CONCURRENCY,
    functionTimeoutMs: WORKER_TIMEOUT_SECONDS * 1000,
    waitTimeSeconds: embedded === undefined ? RECEIVE_SECONDS : 20,
  })
  const isEnabled = embedded?.mapEventSource(mapping, (enabled) => poller.enable(enabled)) ?? true
  const poller = startPoller(
    worker.sqs,
    mapping,
    (...batch) => processBatch(worker, ...batch),
    (message, error) => worker.log.error(message, { error }),
    isEnabled,
  )
  // `npm start` ends within 4.5 s of Ctrl-C (endInOrder), and a receive at another endpoint lasts 2.
  undo.push(() => poller.stop(4_000))
  if (!isEnabled) worker.log.warn(PAUSED, {})
}
