import { mkdirSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import dynalite from 'dynalite'
import { AwsError, type JsonService } from './aws-json.ts'
import { createEventBridge } from './eventbridge.ts'
import { type FauxqsModules, loadFauxqs } from './fauxqs.ts'
import { createRekognition } from './rekognition.ts'

/** The account of every emulated resource: what the emulators behind this endpoint put into their ARNs. */
export const ACCOUNT_ID = '000000000000'

export interface EmbeddedAws {
  /** `http://127.0.0.1:port`, for every service. */
  endpoint: string
  /**
   * After a restart: no worker of before is alive, so what it had in flight in this queue is visible again.
   * @returns the bodies of all messages in the queue
   */
  recoverQueue: (name: string) => string[]
  stop: () => Promise<void>
}

export interface EmbeddedAwsOptions {
  port: number
  region: string
  /** Where everything is kept. Needed also when nothing is to outlive the process: objects would fill the memory. */
  folder: string
  rekognition: { tps?: number; latencyMs?: number }
  onDropped: (dropped: { eventId: string; targetArn: string; reason: unknown }) => void
}

/** One endpoint for S3, SQS, DynamoDB, EventBridge and Rekognition on the real wire protocols. */
export async function startEmbeddedAws(options: EmbeddedAwsOptions): Promise<EmbeddedAws> {
  const { folder, region } = options
  mkdirSync(folder, { recursive: true })
  const fauxqs = await loadFauxqs(folder)
  const database = dynalite({ path: join(folder, 'dynamodb'), createTableMs: 0 })
  await listen(database, 0)

  const eventBridge = createEventBridge({
    region,
    accountId: ACCOUNT_ID,
    deliver: async (queueArn, body) => fauxqs.send(queueArn, body),
    file: join(folder, 'eventbridge.json'),
    onDropped: options.onDropped,
  })
  const rekognition = createRekognition({
    readObject: async (bucket, key) => fauxqs.readObject(bucket, key),
    ...options.rekognition,
  })
  const services = new Map<string, JsonService>([
    ['AWSEvents', eventBridge],
    ['RekognitionService', rekognition],
  ])
  const server = createServer((request, response) => {
    const target = request.headers['x-amz-target']
    const [name = '', operation = ''] = typeof target === 'string' ? target.split('.', 2) : []
    const service = services.get(name)
    if (service !== undefined) void answerJson(service, operation, request, response)
    else if (name.startsWith('DynamoDB')) void replay(database, request, response)
    else if (name === 'AmazonSQS') fauxqs.handle(request, response)
    else if (serviceInScope(request) === 'sqs') refuseQueryProtocol(response)
    else s3(fauxqs, request, response)
  })
  const port = await listen(server, options.port)
  const endpoint = `http://127.0.0.1:${port}`
  fauxqs.moveTo(endpoint)

  return {
    endpoint,
    recoverQueue: (queue) => fauxqs.recoverQueue(queue),
    stop: async () => {
      await close(server)
      await fauxqs.close()
      await close(database)
    },
  }
}

/** Rekognition alone, for a system whose other services are elsewhere. */
export async function startRekognition(options: {
  port: number
  /** The address to listen on; another one than loopback is for a container. */
  host?: string
  readObject: (bucket: string, key: string) => Promise<Uint8Array | undefined>
  rekognition: { tps?: number; latencyMs?: number }
}): Promise<Pick<EmbeddedAws, 'endpoint' | 'stop'>> {
  const service = createRekognition({ readObject: options.readObject, ...options.rekognition })
  const server = createServer((request, response) => {
    const operation = String(request.headers['x-amz-target']).split('.', 2)[1] ?? ''
    void answerJson(service, operation, request, response)
  })
  const port = await listen(server, options.port, options.host)
  return { endpoint: `http://127.0.0.1:${port}`, stop: () => close(server) }
}

/** @returns the port; rejects with the system's own error (EADDRINUSE, EACCES) */
function listen(server: Server, port: number, host = '127.0.0.1'): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    // Loopback only: the emulators ask nobody for a password.
    server.listen(port, host, () => resolve((server.address() as AddressInfo).port))
  })
}

function close(server: Server): Promise<void> {
  server.closeAllConnections()
  return new Promise((resolve) => server.close(() => resolve()))
}

/** 5 MB of image are 7 MB of base64; nothing that is sent as JSON is larger. */
const MAX_JSON_BYTES = 10_000_000

/** AWS JSON 1.1, as EventBridge and Rekognition speak it. */
async function answerJson(
  service: JsonService,
  operation: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const send = (status: number, body: object): void => {
    // What of a refused body is still on its way would be taken for the next request.
    const connection = request.complete ? {} : { connection: 'close' }
    response.writeHead(status, { 'content-type': 'application/x-amz-json-1.1', ...connection })
    response.end(JSON.stringify(body))
  }
  try {
    send(200, await service(operation, await readJson(request)))
  } catch (error) {
    const known = error instanceof AwsError ? error : new AwsError('InternalServerError', String(error), 500)
    send(known.status, { __type: known.name, message: known.message })
  }
}

/** A client that goes away in mid-request would end the process: the emulator throws then. So it gets whole requests. */
async function replay(database: Server, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = []
  try {
    for await (const chunk of request) chunks.push(chunk)
  } catch {
    return
  }
  // It also throws at a body that is JSON but no object.
  if (request.method === 'POST' && !/^\s*\{/.test(chunks[0]?.toString('latin1', 0, 100) ?? '')) {
    response.writeHead(400, { 'content-type': 'application/x-amz-json-1.0' })
    response.end(JSON.stringify({ __type: 'com.amazon.coral.service#SerializationException' }))
    return
  }
  const { method, url, headers } = request
  database.emit('request', Object.assign(Readable.from(chunks), { method, url, headers }), response)
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
    return JSON.parse(Buffer.concat(chunks).toString('utf8') || '{}')
  } catch {
    throw new AwsError('SerializationException', 'The request body is not valid JSON.')
  }
}

/** What S3 has and the emulator behind this endpoint would take for something else, or even for a new body of the object. */
const REFUSED_SUBRESOURCES = new Set(
  'accelerate acl analytics cors encryption intelligent-tiering inventory legal-hold logging metrics notification object-lock ownershipControls policy policyStatus publicAccessBlock replication requestPayment restore retention select tagging torrent versioning versions website'.split(
    ' ',
  ),
)

/** S3 with what the emulator lacks: expiry of presigned URLs, response headers by query, and plain refusals. */
function s3(fauxqs: FauxqsModules, request: IncomingMessage, response: ServerResponse): void {
  const [path = '', search] = (request.url ?? '/').split('?', 2)
  const query = new URLSearchParams(search)
  const refused = [...query.keys()].find((name) => REFUSED_SUBRESOURCES.has(name))
  if (refused !== undefined) {
    sendS3Error(response, 501, 'NotImplemented', `The embedded S3 has no "${refused}".`)
    return
  }
  if (isExpired(query)) {
    sendS3Error(response, 403, 'AccessDenied', 'Request has expired')
    return
  }

  const [, bucket = '', ...key] = path.split('/')
  if (request.method === 'GET' && query.has('location') && key.join('') === '') {
    response.writeHead(200, { 'content-type': 'application/xml' })
    response.end('<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/"/>')
    return
  }
  const ifNoneMatch = request.method === 'PUT' && request.headers['if-none-match'] === '*'
  if (ifNoneMatch && fauxqs.hasObject(bucket, key.join('/'))) {
    request.resume()
    sendS3Error(
      response,
      412,
      'PreconditionFailed',
      'At least one of the pre-conditions you specified did not hold',
    )
    return
  }

  const overrides: Record<string, string> = {}
  for (const [name, value] of query) {
    const header =
      /^response-(content-type|content-disposition|content-language|content-encoding|cache-control|expires)$/.exec(
        name,
      )?.[1]
    if (header !== undefined) overrides[header] = value
  }
  if (Object.keys(overrides).length > 0) overrideHeaders(response, overrides)
  fauxqs.handle(request, response)
}

/** A presigned URL names its time and its life in seconds (SigV4 query parameters). */
function isExpired(query: URLSearchParams): boolean {
  const date = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(query.get('X-Amz-Date') ?? '')
  const seconds = Number(query.get('X-Amz-Expires') ?? Number.NaN)
  if (date === null || Number.isNaN(seconds)) return false
  const [, year, month, day, hour, minute, second] = date.map(Number)
  const signed = Date.UTC(year ?? 0, (month ?? 1) - 1, day, hour, minute, second)
  return Date.now() > signed + seconds * 1000
}

function overrideHeaders(response: ServerResponse, overrides: Record<string, string>): void {
  const writeHead = response.writeHead.bind(response) as (status: number, headers?: object) => ServerResponse
  response.writeHead = ((status: number, headers?: object) => {
    const success = status === 200 || status === 206
    return writeHead(status, success ? { ...headers, ...overrides } : headers)
  }) as typeof response.writeHead
}

function sendS3Error(response: ServerResponse, status: number, code: string, message: string): void {
  response.writeHead(status, { 'content-type': 'application/xml' })
  response.end(
    `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${message}</Message></Error>`,
  )
}
