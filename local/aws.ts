import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { EventBridgeClient } from '@aws-sdk/client-eventbridge'
import { S3Client } from '@aws-sdk/client-s3'
import { SQSClient } from '@aws-sdk/client-sqs'
import {
  type EmbeddedAws,
  type EmbeddedAwsOptions,
  openDataFolder,
  readIfThere,
  startEmbeddedAws,
  UnusableFolder,
} from '../packages/embedded-aws/index.ts'
import { Budget } from '../packages/image-guard/index.ts'
import { type AwsTarget, clientOptions, readInPlace, s3Options, sqsOptions } from '../shared/aws.ts'
import type { Log } from '../shared/log.ts'
import { hasCredentials, type Settings, STAND_IN_CREDENTIALS } from './environment.ts'
import { portTrouble, StartError } from './trouble.ts'

/** Where AWS is for this system, and the clients for it. */

/** Connections to each service: at least three for each image in flight (two batches of ten). */
const SOCKETS = 64
/** For a turn at a socket and for an answer, where AWS is another endpoint; for 5 MB a line at home needs some seconds. */
export const ELSEWHERE_TIMEOUT_MS = 30_000
/**
 * Bytes of large objects that the embedded S3 has in memory at once, as they come: two of the largest uploads by default,
 * each of which takes four times as much while it is stored. The API and the worker have few of the smaller ones at a time.
 */
const LARGE_BODIES_BYTES = 100_000_000

export interface Aws {
  target: AwsTarget
  /** Undefined where AWS is another endpoint. */
  embedded: EmbeddedAws | undefined
}

/**
 * The embedded AWS, or the endpoint that is named instead.
 *
 * @param undo gets what ends it
 * @throws StartError
 */
export async function openAws(
  settings: Settings,
  region: string,
  rekognition: NonNullable<EmbeddedAwsOptions['rekognition']>,
  log: Log,
  undo: (() => Promise<void> | void)[],
): Promise<Aws> {
  if (settings.AWS_ENDPOINT_URL !== undefined) {
    const credentials = hasCredentials(settings) ? {} : { credentials: STAND_IN_CREDENTIALS }
    return { target: { endpoint: settings.AWS_ENDPOINT_URL, region, ...credentials }, embedded: undefined }
  }
  const folder = settings.DATA_DIR ?? mkdtempSync(join(tmpdir(), 'image-analyzer-'))
  if (settings.DATA_DIR === undefined) undo.push(() => rmSync(folder, { recursive: true, force: true }))
  undo.push(takeFolder(folder))
  const port = settings.AWS_PORT ?? 4566
  const credentials = ownCredentials(folder)
  const largeBodies = new Budget(LARGE_BODIES_BYTES)
  const embedded = await startEmbeddedAws({
    port,
    region,
    folder,
    durable: settings.DATA_DIR !== undefined,
    rekognition,
    credentials: [credentials],
    allowedHosts: settings.ALLOWED_HOSTS,
    inTurn: (bytes, work, turn) => largeBodies.run(bytes, work, { signal: turn }),
    onDropped: (dropped) => log.warn('an event could not be delivered', { ...dropped }),
    onDisk: (sentence) => log.warn(sentence, {}),
  }).catch(portTrouble(port, (free) => `AWS_PORT=${free} npm start`))
  undo.push(embedded.stop)
  return { target: { endpoint: embedded.endpoint, region, credentials }, embedded }
}

/** Clients of all services but Rekognition. */
export function clientsFor(target: AwsTarget, isEmbedded: boolean) {
  const patience = isEmbedded ? undefined : ELSEWHERE_TIMEOUT_MS
  const forS3 = patient(s3Options(target, SOCKETS), patience)
  return {
    s3: readInPlace(new S3Client(forS3), forS3),
    sqs: new SQSClient(patient(sqsOptions(target, SOCKETS), patience)),
    dynamoDb: dynamoClient(patient(clientOptions(target, SOCKETS), patience)),
    eventBridge: new EventBridgeClient(patient(clientOptions(target), patience)),
  }
}

/** Options of a client of Rekognition. The limiters try again what is throttled, and the queue the rest. */
export const rekognitionOptions = (target: AwsTarget, ms?: number) => ({
  ...patient(clientOptions(target, SOCKETS), ms),
  maxAttempts: 1,
})

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
