import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import { type Clock, machineClock } from './clock.ts'
import { createDynamoDb } from './dynamodb/index.ts'
import { createEventBridge } from './eventbridge/index.ts'
import { loadFauxqs } from './fauxqs.ts'
import { writeWhole } from './files.ts'
import { oneByOne } from './gateway/one-by-one.ts'
import { close, listen } from './gateway/port.ts'
import { AwsError, type JsonService } from './json.ts'
import {
  answerJson,
  DYNAMODB_JSON,
  operationOf,
  protocolOf,
  REST_JSON,
  SQS_JSON,
  sendError,
  unknownOperation,
} from './json-protocol.ts'
import { createLambda, type Lambda, lambdaRequest } from './lambda/index.ts'
import { isFromPage } from './origins.ts'
import { sendQueryError } from './query-protocol.ts'
import { isRefused, refuse } from './refusals.ts'
import { S3Error, sendS3Error } from './s3/errors.ts'
import { createS3 } from './s3/index.ts'
import { newRequestId } from './s3/state.ts'
import type { Credentials } from './signature-v4.ts'
import { createMessageMover } from './sqs/index.ts'
import { answerQuery } from './sqs/query.ts'
import { DiskFull } from './storage.ts'

/** The account of every emulated resource: what the emulators behind this endpoint put into their ARNs. */
const ACCOUNT_ID = '000000000000'

export interface EmbeddedAws {
  /** `http://127.0.0.1:port`, for every service. */
  endpoint: string
  /**
   * After a restart: no worker of before is alive, so what it had in flight in this queue is visible again.
   *
   * @returns the bodies of all messages that are in the queue
   */
  recoverQueue: (name: string) => string[]
  /** Deletes the items of all tables whose time to live has passed, until the signal is aborted. */
  expireItems: (signal?: AbortSignal) => Promise<void>
  /** Lambda shows the mapping of a poller here, and pauses and resumes it. */
  mapEventSource: Lambda['mapEventSource']
  stop: () => Promise<void>
}

/** Reads an object of S3; undefined if the bucket or the key is missing. */
export type ReadObject = (bucket: string, key: string) => Promise<Uint8Array | undefined>

export type InTurn = (bytes: number, work: () => Promise<void>, signal: AbortSignal) => Promise<void>

export interface EmbeddedAwsOptions {
  port: number
  region: string
  /** Where everything is kept. Needed also when nothing is to outlive the process: objects would fill the memory. */
  folder: string
  /** Whether what has been answered is to outlast a power cut. It costs a wait for the disk in each operation. */
  durable?: boolean
  /** Answers as Rekognition, where there is one, and reads what S3Object means from the S3 here. */
  rekognition?: (readObject: ReadObject) => JsonService
  /**
   * The signers whose browser forms (S3's POST) and presigned URLs are verified. A program's request with another key
   * passes unverified, but a form's policy holds; a web page gets in with one of these signatures only.
   * Their secrets must not be for a page to guess.
   */
  credentials?: readonly Credentials[]
  /** Host names under which the port answers, in addition to those of loopback; see origins.ts. */
  allowedHosts?: readonly string[]
  /**
   * Does the work for a large body of so many bytes in its turn; before that, the body is not read. At once without it.
   * Rejects when the signal is aborted before the turn has come.
   */
  inTurn?: InTurn
  /** Whose time it is that items live to. */
  now?: () => Date
  /** By which EventBridge calls API destinations, and SQS moves messages. */
  clock?: Clock
  /** Hears of an event, of EventBridge or of S3, that no queue took. */
  onDropped: (dropped: { eventId: string; targetArn: string; reason: unknown }) => void
  /** Hears a sentence when the disk is full, and when it no longer is. */
  onDisk?: (sentence: string) => void
}

/** One endpoint for S3, SQS, DynamoDB, EventBridge, Rekognition and Lambda's event source mappings on the real wire protocols. */
export async function startEmbeddedAws(options: EmbeddedAwsOptions): Promise<EmbeddedAws> {
  const { folder, region, clock = machineClock } = options
  mkdirSync(folder, { recursive: true })
  const fauxqs = await loadFauxqs(options)
  const { storage } = fauxqs
  const write: typeof writeWhole = (file, content) => storage.guard(() => writeWhole(file, content))
  const dynamoDb = createDynamoDb({
    region,
    accountId: ACCOUNT_ID,
    storage,
    file: join(folder, 'ttl.json'),
    write,
    now: options.now ?? (() => new Date()),
  })
  const eventBridge = createEventBridge({
    region,
    accountId: ACCOUNT_ID,
    deliver: async (queueArn, body, attributes) => fauxqs.send(queueArn, body, attributes),
    file: join(folder, 'eventbridge.json'),
    write,
    onDropped: options.onDropped,
    clock,
  })
  const rekognition = options.rekognition?.(async (bucket, key) => fauxqs.readObject(bucket, key))
  const mover = createMessageMover(fauxqs, clock)
  const lambda = createLambda({
    region,
    accountId: ACCOUNT_ID,
    folder,
    write,
    now: options.now ?? (() => new Date()),
  })
  const s3 = createS3({
    fauxqs,
    region,
    credentials: options.credentials ?? [],
    onDropped: options.onDropped,
  })
  const services = new Map<string, JsonService>([
    ['AWSEvents', eventBridge.service],
    ...(rekognition === undefined ? [] : [['RekognitionService', rekognition] as const]),
  ])
  const answering = { services, dynamoDb: dynamoDb.service, lambda, mover, fauxqs, s3 }
  const server = createServer(oneByOne(listenerFor(answering, options)))
  const port = await listen(server, options.port).catch(async (error) => {
    // Windows removes no file that is open, so the caller could not remove the folder.
    await fauxqs.close()
    throw error
  })
  const endpoint = `http://127.0.0.1:${port}`
  fauxqs.moveTo(endpoint)

  return {
    endpoint,
    recoverQueue: (queue) => fauxqs.recoverQueue(queue),
    expireItems: dynamoDb.expire,
    mapEventSource: lambda.mapEventSource,
    stop: async () => {
      await close(server)
      // Its dead letters go to the queues, which are still there.
      await eventBridge.stop()
      await mover.stop()
      await fauxqs.close()
    },
  }
}

/** What answers at the one endpoint. */
interface Answering {
  /** By their name in `X-Amz-Target`, before the dot. */
  services: Map<string, JsonService>
  dynamoDb: JsonService
  lambda: Lambda
  mover: ReturnType<typeof createMessageMover>
  fauxqs: Awaited<ReturnType<typeof loadFauxqs>>
  s3: ReturnType<typeof createS3>
}

/** Tells requests apart as AWS does: by `X-Amz-Target`, and without it by the service that they are signed for. */
function listenerFor(
  { services, dynamoDb, lambda, mover, fauxqs, s3 }: Answering,
  { allowedHosts = [], inTurn = (_bytes, work) => work() }: EmbeddedAwsOptions,
): RequestListener {
  return (request, response) => {
    const [name, operation] = operationOf(request)
    const service = services.get(name)
    if (isRefused(request, response, allowedHosts)) return
    if (request.headers[PROTOCOL] !== undefined) refuseProtocol(request, response)
    else if (name === '' && serviceInScope(request) === 'lambda') answerLambda(lambda, request, response)
    else if (name === '' && serviceInScope(request) === 'sqs') void answerQuery(request, response)
    else if (writes(request, operation) && fauxqs.storage.isFull()) refuse(new DiskFull(), request, response)
    else if (service !== undefined) void answerJson(service, operation, request, response, protocolOf(name))
    else if (name.startsWith('DynamoDB'))
      void answerJson(dynamoDb, operation, request, response, DYNAMODB_JSON)
    else if (name === 'AmazonSQS' && mover.operations.has(operation))
      void answerJson(mover.service, operation, request, response, SQS_JSON)
    else if (name === 'AmazonSQS') fauxqs.handle(request, response)
    else if (name !== '') void answerJson(unknownOperation, operation, request, response)
    else if (isForAnother(request)) refuseService(request, response)
    else void readInTurn(inTurn, request, response, s3)
  }
}

/** One service on the JSON protocol alone, for a system whose other services are elsewhere. */
export async function startService(options: {
  port: number
  /** The address to listen on; another one than loopback is for a container. */
  host?: string
  /** Host names under which the port answers, in addition to those of loopback; see origins.ts. */
  allowedHosts?: readonly string[]
  /** As `X-Amz-Target` names it, before the dot. */
  name: string
  service: JsonService
}): Promise<Pick<EmbeddedAws, 'endpoint' | 'stop'>> {
  const listener: RequestListener = (request, response) => {
    const [name, operation] = operationOf(request)
    if (isRefused(request, response, options.allowedHosts ?? [])) return
    if (request.headers[PROTOCOL] !== undefined) return refuseProtocol(request, response)
    const answering = name === options.name ? options.service : unknownOperation
    if (name === '' && serviceInScope(request) !== undefined) refuseService(request, response)
    else void answerJson(answering, operation, request, response, protocolOf(name))
  }
  const server = createServer(oneByOne(listener))
  const port = await listen(server, options.port, options.host)
  return { endpoint: `http://127.0.0.1:${port}`, stop: () => close(server) }
}

/** Whether a request may leave something on the disk. Also a message that is received does: it is not visible for a time. */
const writes = ({ method = '' }: IncomingMessage, operation: string): boolean =>
  operation === ''
    ? ['PUT', 'POST', 'DELETE'].includes(method)
    : !/^(BatchGet|Describe|Detect|Get|List|Query|Scan|Test)/.test(operation)

/** Smaller bodies do not wait. */
const LARGE_BODY_BYTES = 5_000_000

/** Leaves a large body unread until there is room for it. */
async function readInTurn(
  inTurn: InTurn,
  request: IncomingMessage,
  response: ServerResponse,
  handle: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<void> {
  const bytes = Number(request.headers['content-length'] ?? 0)
  if (bytes <= LARGE_BODY_BYTES && request.headers['transfer-encoding'] === undefined) {
    handle(request, response)
    return
  }
  const gone = new AbortController()
  const closed = once(response, 'close').then(() => gone.abort())
  const work = async (): Promise<void> => {
    handle(request, response)
    await closed
  }
  // One whose length is not known beforehand may be as large as any.
  await inTurn(bytes || Number.POSITIVE_INFINITY, work, gone.signal).catch((error) => {
    // The client has left before its turn.
    if (!gone.signal.aborted) throw error
  })
}

/** The service that a signature is for: `Credential=key/date/region/service/aws4_request`; some leave the region empty. */
const serviceInScope = (request: IncomingMessage): string | undefined =>
  /Credential=[^/]+\/\d+\/[^/]*\/([^/]+)\//.exec(request.headers.authorization ?? '')?.[1]

function answerLambda(lambda: Lambda, request: IncomingMessage, response: ServerResponse): void {
  const [operation, inUrl] = lambdaRequest(request.method, request.url)
  const service: JsonService = async (name, body) => {
    if (isFromPage(request.headers))
      throw new AwsError('AccessDeniedException', 'Web pages may not use the embedded AWS.', 403)
    return await lambda.service(name, { ...body, ...inUrl })
  }
  void answerJson(service, operation, request, response, REST_JSON)
}

/** S3, and what the emulator behind it answers too. */
const AT_ROOT = new Set(['s3', 'sns', 'sts'])
const isForAnother = (request: IncomingMessage): boolean => !AT_ROOT.has(serviceInScope(request) ?? 's3')

/** How a request by a newer protocol names it, in place of an X-Amz-Target. */
const PROTOCOL = 'smithy-protocol'

function refuseProtocol(request: IncomingMessage, response: ServerResponse): void {
  const message = `The embedded AWS does not speak ${request.headers[PROTOCOL]}, but AWS's JSON protocols.`
  sendError(new AwsError('UnknownOperationException', message, 404), response, REST_JSON)
}

/** Services whose answers are XML, like those of the Query protocol. */
const IN_XML = new Set(['cloudfront', 'route53'])

/** What is signed for a service that is not here would be taken for a bucket. */
function refuseService(request: IncomingMessage, response: ServerResponse): void {
  const scope = serviceInScope(request) ?? ''
  const [code, message] = ['UnknownOperationException', `There is no ${scope} at this endpoint.`] as const
  const isQuery = /^application\/x-www-form-urlencoded\b/.test(request.headers['content-type'] ?? '')
  if (scope === 's3') sendS3Error(response, new S3Error(code, message, 404), newRequestId())
  else if (isQuery || IN_XML.has(scope)) sendQueryError(new AwsError(code, message, 404), response)
  else sendError(new AwsError(code, message, 404), response, REST_JSON)
}
