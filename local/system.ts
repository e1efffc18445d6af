import { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb'
import { buildApp } from '../api/app.ts'
import { apiDeps, bucketOrigin, loadDocs, loadPage } from '../api/deps.ts'
import { bundlePage } from '../build/page.ts'
import { openForPages, resourceNames } from '../infrastructure/resources.ts'
import { close, listen } from '../packages/embedded-aws/gateway/index.ts'
import { isDiskFull } from '../packages/embedded-aws/storage.ts'
import { dynamoTranslation, elapsed, sleep } from '../shared/aws.ts'
import type { AuthConfig } from '../shared/config.ts'
import type { Log } from '../shared/log.ts'
import { counting, portTrouble, stoppable, type Undo, withMetrics } from '../shared/machine.ts'
import { clientsFor } from './clients.ts'
import { configFor, readAuth, type Settings } from './environment.ts'
import { inFrontOf, SAMPLES, serverOf } from './server.ts'
import type { Background, OpenBackground } from './thread.ts'

export interface System extends Pick<Background, 'target' | 'rekognition' | 'explanation' | 'warm'> {
  /** Of the page and the API, as `http://127.0.0.1:port`. */
  url: string
  /** Of S3, SQS, DynamoDB and EventBridge. */
  awsEndpoint: string
  jobQueueUrl: string
  auth: AuthConfig['AUTH']
  /** Ends within 5 seconds; what a worker has not finished by then stays in the queue. */
  stop: () => Promise<void>
}

/** The embedded AWS says once that the disk is full; all the calls that fail by it would say it again. */
function withoutDiskFull({ info, warn, error }: Log): Log {
  const unlessFull =
    (say: typeof warn): typeof warn =>
    (message, extra) =>
      Object.values(extra).some(isDiskFull) ? undefined : say(message, extra)
  return { info, warn: unlessFull(warn), error: unlessFull(error) }
}

/**
 * The whole system in this process: embedded AWS (or another endpoint), API, page and worker.
 *
 * @param open what works behind the API: in this thread, or in one of its own
 * @throws StartError
 */
export const startSystem = (settings: Settings, say: Log, open: OpenBackground): Promise<System> =>
  stoppable(async (undo) => start(settings, await counting(withoutDiskFull(say)), open, undo))

async function start(
  settings: Settings,
  { log, text }: Awaited<ReturnType<typeof counting>>,
  open: OpenBackground,
  undo: Undo,
): Promise<Omit<System, 'stop'>> {
  const auth = readAuth(settings)
  const background = await open(settings, log)
  undo.push(background.stop)
  const { target, isEmbedded, resources, rekognition, explanation, begin, warm } = background
  const { s3, sqs, dynamoDb } = clientsFor(target, isEmbedded)
  const dynamo = DynamoDBDocumentClient.from(dynamoDb, dynamoTranslation)
  const app = await makeApi(settings, auth, resources, { s3, sqs, dynamo }, log)
  const server = serverOf(inFrontOf(withMetrics(app, text), settings), settings)
  const port = await listen(server, settings.PORT).catch(
    portTrouble(settings.PORT, (free) => `PORT=${free} npm start`),
  )
  undo.push(() => close(server))
  // An earlier run may have had another port.
  const own = ['127.0.0.1', 'localhost', ...settings.ALLOWED_HOSTS].map((host) => `http://${host}:${port}`)
  const origins = [...own, ...(settings.CORS_ORIGINS ?? [])]
  await openForPages(s3, resourceNames().bucket, origins, isEmbedded, log)
  begin()
  return {
    url: `http://127.0.0.1:${port}`,
    awsEndpoint: target.endpoint ?? '',
    rekognition,
    explanation,
    warm,
    target,
    jobQueueUrl: resources.jobQueueUrl,
    auth: auth.AUTH,
  }
}

/** The API with its pages. */
async function makeApi(
  settings: Settings,
  auth: AuthConfig,
  resources: Background['resources'],
  clients: Parameters<typeof apiDeps>[2],
  log: Log,
): Promise<ReturnType<typeof buildApp>> {
  const config = configFor(settings, resources)
  const origin = await bucketOrigin(clients.s3, config.IMAGE_BUCKET)
  const page = loadPage(() => bundlePage('page'), origin, settings, SAMPLES)
  const docs = loadDocs(() => bundlePage('docs'))
  return buildApp(
    apiDeps(config, auth, clients, { now: () => new Date(), elapsed, sleep }, { log, page, docs }),
  )
}
