import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type Clock, machineClock } from './clock.ts'
import { createDynamoDb } from './dynamodb/index.ts'
import { createEventBridge } from './eventbridge/index.ts'
import { loadFauxqs } from './fauxqs.ts'
import { writeWhole } from './files.ts'
import { AwsError, isObject, type JsonService } from './json.ts'
import { isFromPage, isKnownHost, UNKNOWN_HOST } from './origins.ts'
import { S3Error, sendS3Error } from './s3/errors.ts'
import { createS3 } from './s3/index.ts'
import { newRequestId } from './s3/state.ts'
import type { Credentials } from './signature-v4.ts'
import { createMessageMover } from './sqs/index.ts'
import { DiskFull } from './storage.ts'

/** The account of every emulated resource: what the emulators behind this endpoint put into their ARNs. */
export const ACCOUNT_ID = '000000000000'

export interface EmbeddedAws {
  /** `http://127.0.0.1:port`, for every service. */
  endpoint: string
  /**
   * After a restart: no worker of before is alive, so what it had in flight in this queue is visible again.
   */
  recoverQueue: (name: string) => void
  /** Deletes the items of all tables whose time to live has passed, until the signal is aborted. */
  expireItems: (signal?: AbortSignal) => Promise<void>
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
   * Whose signatures of browser forms (S3's POST) and of presigned URLs are verified. The emulators let everybody in, so
   * what is signed by anybody else passes unverified, but a form's policy holds, and a web page gets in by these alone.
   * Their secrets must not be for a page to guess.
   */
  credentials?: readonly Credentials[]
  /** Names besides those of loopback by which the port is reached; see origins.ts. */
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

/** One endpoint for S3, SQS, DynamoDB, EventBridge and Rekognition on the real wire protocols. */
export async function startEmbeddedAws(options: EmbeddedAwsOptions): Promise<EmbeddedAws> {
  const { folder, region, clock = machineClock } = options
  mkdirSync(folder, { recursive: true })
  const fauxqs = await loadFauxqs(options)
  const { storage } = fauxqs
  const write: typeof writeWhole = (file, content) => storage.guard(() => writeWhole(file, content))
  const dynamoDb = createDynamoDb({
    ...{ region, accountId: ACCOUNT_ID, storage },
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
  const { allowedHosts = [] } = options
  const { inTurn = (_bytes, work) => work() } = options
  const server = createServer((request, response) => {
    const [name, operation] = operationOf(request)
    const service = services.get(name)
    if (isRefused(request, response, allowedHosts)) return
    if (writes(request, operation) && storage.isFull()) refuse(new DiskFull(), request, response)
    else if (service !== undefined) void answerJson(service, operation, request, response)
    else if (name.startsWith('DynamoDB'))
      void answerJson(dynamoDb.service, operation, request, response, DYNAMODB_JSON)
    else if (name === 'AmazonSQS' && mover.operations.has(operation))
      void answerJson(mover.service, operation, request, response, SQS_JSON)
    else if (name === 'AmazonSQS') fauxqs.handle(request, response)
    else if (name !== '') void answerJson(unknownOperation, operation, request, response)
    else if (serviceInScope(request) === 'sqs') refuseQueryProtocol(response)
    else void readInTurn(inTurn, request, response, s3)
  })
  const endpoint = `http://127.0.0.1:${await listen(server, options.port)}`
  fauxqs.moveTo(endpoint)

  return {
    endpoint,
    recoverQueue: (queue) => fauxqs.recoverQueue(queue),
    expireItems: dynamoDb.expire,
    stop: async () => {
      await close(server)
      // Its dead letters go to the queues, which are still there.
      await eventBridge.stop()
      await mover.stop()
      await fauxqs.close()
    },
  }
}

/** One service on the JSON protocol by itself, for a system whose other services are elsewhere. */
export async function startService(options: {
  port: number
  /** The address to listen on; another one than loopback is for a container. */
  host?: string
  /** Names besides those of loopback by which it is reached; see origins.ts. */
  allowedHosts?: readonly string[]
  /** As `X-Amz-Target` names it, before the dot. */
  name: string
  service: JsonService
}): Promise<Pick<EmbeddedAws, 'endpoint' | 'stop'>> {
  const server = createServer((request, response) => {
    const [name, operation] = operationOf(request)
    if (isRefused(request, response, options.allowedHosts ?? [])) return
    const answering = name === options.name ? options.service : unknownOperation
    void answerJson(answering, operation, request, response)
  })
  const port = await listen(server, options.port, options.host)
  return { endpoint: `http://127.0.0.1:${port}`, stop: () => close(server) }
}

/** @returns the port; rejects with the system's own error (EADDRINUSE, EACCES) */
function listen(server: Server, port: number, host = '127.0.0.1'): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    // Closed from here after a rest, a connection would be gone just as a call is sent on it.
    server.keepAliveTimeout = 0
    // Loopback only: the emulators ask nobody for a password.
    server.listen(port, host, () => resolve((server.address() as AddressInfo).port))
  })
}

function close(server: Server): Promise<void> {
  server.closeAllConnections()
  return new Promise((resolve) => server.close(() => resolve()))
}

/** What BatchWriteItem takes (DynamoDB API reference); 5 MB of image for Rekognition are 7 MB of base64. */
const MAX_JSON_BYTES = 16 * 1024 * 1024

interface JsonProtocol {
  contentType: string
  errorHeaders: (error: AwsError) => Record<string, string>
}
/** AWS JSON 1.1, as EventBridge and Rekognition speak it. */
const JSON_1_1: JsonProtocol = { contentType: 'application/x-amz-json-1.1', errorHeaders: () => ({}) }
const DYNAMODB_JSON: JsonProtocol = { ...JSON_1_1, contentType: 'application/x-amz-json-1.0' }
/** SQS names its errors once more, as its old Query protocol did; clients go by that. */
const SQS_JSON: JsonProtocol = {
  contentType: 'application/x-amz-json-1.0',
  errorHeaders: ({ name, status }) => ({
    'x-amzn-query-error': `${name};${status < 500 ? 'Sender' : 'Receiver'}`,
  }),
}

async function answerJson(
  service: JsonService,
  operation: string,
  request: IncomingMessage,
  response: ServerResponse,
  protocol = JSON_1_1,
): Promise<void> {
  try {
    const answer = await service(operation, await readJson(request))
    response.writeHead(200, { 'content-type': protocol.contentType }).end(JSON.stringify(answer))
  } catch (error) {
    const known = error instanceof AwsError ? error : new AwsError('InternalServerError', String(error), 500)
    sendError(known, response, protocol)
  }
}

function sendError(error: AwsError, response: ServerResponse, protocol = JSON_1_1): void {
  const { contentType, errorHeaders } = protocol
  // What of a refused body is still on its way would be taken for the next request.
  const connection = response.req.complete ? {} : { connection: 'close' }
  response.writeHead(error.status, { 'content-type': contentType, ...errorHeaders(error), ...connection })
  response.end(JSON.stringify({ __type: error.name, message: error.message }))
}

/** The service and the operation of a request in AWS's JSON protocols; empty in all others. */
function operationOf({ headers }: IncomingMessage): [service: string, operation: string] {
  const target = headers['x-amz-target']
  const [service = '', operation = ''] = typeof target === 'string' ? target.split('.', 2) : []
  return [service, operation]
}

const unknownOperation: JsonService = async () => {
  throw new AwsError('UnknownOperationException', 'There is no such service here.', 404)
}

/** @returns whether the request has been answered, as one that no service is to see */
function isRefused(
  request: IncomingMessage,
  response: ServerResponse,
  allowedHosts: readonly string[],
): boolean {
  const refused = refusalOf(request, allowedHosts)
  if (refused !== undefined) refuse(refused, request, response)
  return refused !== undefined
}

function refuse(
  { name, message, status }: AwsError,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  if (request.headers['x-amz-target'] === undefined)
    sendS3Error(response, new S3Error(name, message, status), newRequestId())
  else sendError(new AwsError(name, message, status), response)
}

/** Whether a request may leave something on the disk. Also a message that is received does: it is not visible for a time. */
const writes = ({ method = '' }: IncomingMessage, operation: string): boolean =>
  operation === ''
    ? ['PUT', 'POST', 'DELETE'].includes(method)
    : !/^(BatchGet|Describe|Detect|Get|List|Query|Scan|Test)/.test(operation)

function refusalOf(
  { headers, method, url = '' }: IncomingMessage,
  allowedHosts: readonly string[],
): AwsError | undefined {
  // A request to a proxy names a host in its first line.
  if (!isKnownHost(headers.host, allowedHosts) || !/^[/*]/.test(url))
    return new AwsError('MisdirectedRequest', UNKNOWN_HOST, 421)
  // S3, which looks at signatures itself; see s3.ts.
  if (headers['x-amz-target'] === undefined) return undefined
  if (isFromPage(headers))
    return new AwsError('AccessDeniedException', 'Web pages may not use the embedded AWS.', 403)
  const isOperation =
    method === 'POST' &&
    url.split('?', 1)[0] === '/' &&
    /^application\/x-amz-json-1\.[01] *(;|$)/i.test(headers['content-type'] ?? '')
  if (!isOperation)
    return new AwsError(
      'UnknownOperationException',
      'Send an operation by POST to /, as application/x-amz-json-1.0 or application/x-amz-json-1.1.',
      404,
    )
  // A browser asks first whether it may send this header for a page, and is not allowed to.
  if (!/^AWS4-[A-Z0-9-]+ +Credential=/.test(headers.authorization ?? ''))
    return new AwsError(
      'MissingAuthenticationTokenException',
      'Sign the request, as the AWS CLI and SDKs do; any credentials will do.',
      403,
    )
  return undefined
}

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

/** The service that a signature is for: `Credential=key/date/region/service/aws4_request`. */
const serviceInScope = (request: IncomingMessage): string | undefined =>
  /Credential=[^/]+\/\d+\/[^/]+\/([^/]+)\//.exec(request.headers.authorization ?? '')?.[1]

function refuseQueryProtocol(response: ServerResponse): void {
  response.writeHead(400, { 'content-type': 'text/xml' })
  response.end(
    '<ErrorResponse><Error><Type>Sender</Type><Code>InvalidAction</Code><Message>The embedded SQS speaks the AWS JSON protocol, as SDKs do since 2023, and not the Query protocol.</Message></Error></ErrorResponse>',
  )
}

async function readJson(request: IncomingMessage): Promise<Record<string, unknown>> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of request) {
    length += chunk.length
    if (length > MAX_JSON_BYTES)
      throw new AwsError('RequestEntityTooLargeException', 'Request is too large', 413)
    chunks.push(chunk)
  }
  try {
    const input: unknown = JSON.parse(Buffer.concat(chunks).toString('utf8') || '{}')
    if (isObject(input)) return input
  } catch {
    // Neither is what is no JSON at all.
  }
  throw new AwsError('SerializationException', 'The request body is not a JSON object.')
}
