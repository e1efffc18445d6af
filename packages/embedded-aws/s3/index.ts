import type { IncomingMessage, ServerResponse } from 'node:http'
import {
  type Caller,
  type CreatedObject,
  type FauxqsModules,
  type NewObject,
  newRequestId,
} from '../fauxqs.ts'
import { isFromPage } from '../origins.ts'
import type { Credentials } from '../signature-v4.ts'
import { DiskFull } from '../storage.ts'
import {
  type CorsRule,
  corsDocument,
  corsForbidden,
  corsHeaders,
  NOT_ALLOWED,
  parseCors,
  preflight,
} from './cors.ts'
import {
  malformedXml,
  noSuchBucket,
  notImplemented,
  S3Error,
  sendS3Error,
  sendXml,
  unknownKey,
} from './errors.ts'
import {
  eventMessage,
  notificationsDocument,
  parseNotifications,
  type QueueConfiguration,
  testMessage,
  wants,
} from './notifications.ts'
import { postObject } from './post.ts'
import { verifyPresigned } from './presigned.ts'

export interface S3Options {
  fauxqs: FauxqsModules
  region: string
  /** Whose signatures of browser forms and of presigned URLs are verified; see EmbeddedAwsOptions. */
  credentials: readonly Credentials[]
  onDropped: (dropped: { eventId: string; targetArn: string; reason: unknown }) => void
}

/** The settings of a bucket that this file keeps, by the names of their subresources. */
const CORS = 'cors'
const NOTIFICATION = 'notification'

/** What S3 has and the emulator behind this endpoint would take for something else, or even for a new body of the object. */
const REFUSED_SUBRESOURCES = new Set(
  'accelerate acl analytics encryption intelligent-tiering inventory legal-hold logging metrics object-lock ownershipControls policy policyStatus publicAccessBlock replication requestPayment restore retention select tagging torrent versioning versions website'.split(
    ' ',
  ),
)

/**
 * S3 with what the emulator lacks: CORS, event notifications, the policies of browser forms, expiry of presigned URLs,
 * response headers by query, `If-None-Match: *` on PUT, and plain refusals of what neither has.
 */
export function createS3(options: S3Options): (request: IncomingMessage, response: ServerResponse) => void {
  const { fauxqs } = options
  fauxqs.onObjectCreated((object) => announce(options, object))
  return (request, response) => {
    const caller: Caller = { requestId: newRequestId(), sourceIp: request.socket.remoteAddress ?? '' }
    answer(options, caller, request, response).catch((error) => {
      const known = error instanceof S3Error ? error : s3ErrorOf(error)
      if (response.headersSent) response.destroy()
      else sendS3Error(response, known, caller.requestId)
    })
  }
}

const s3ErrorOf = (error: unknown): S3Error =>
  error instanceof DiskFull
    ? new S3Error(error.name, error.message, error.status)
    : new S3Error('InternalError', String(error), 500)

async function answer(
  options: S3Options,
  caller: Caller,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { fauxqs } = options
  const { bucket, key, query } = addressOf(request)
  const resource = key === '' ? 'BUCKET' : 'OBJECT'
  const rules = fauxqs.bucketSettings.get(bucket, CORS) as CorsRule[] | undefined
  if (request.method === 'OPTIONS') {
    const { origin, 'access-control-request-method': method } = request.headers
    const requested = request.headers['access-control-request-headers']
    const exists = fauxqs.hasBucket(bucket)
    const allowed = preflight({ origin, method, requested }, { exists, rules }, resource)
    response.writeHead(200, { ...allowed, 'content-length': 0 })
    response.end()
    return
  }
  // Before all else: a page reads errors only with these.
  const allowed = setCorsHeaders(rules, request, response)
  // S3 would do it and leave it to the browser to keep the answer from the page.
  if (!allowed) throw corsForbidden(NOT_ALLOWED, request.method ?? '', resource)
  if (isExpired(query)) throw new S3Error('AccessDenied', 'Request has expired', 403)
  // A POST to the root is for another service: STS, which the emulator answers a little of.
  const isForm = request.method === 'POST' && bucket !== '' && key === '' && !query.has('delete')
  // A form is signed within.
  if (!isForm) requireSignature(request, query, options.credentials)

  const refused = [...query.keys()].find((name) => REFUSED_SUBRESOURCES.has(name))
  if (refused !== undefined) throw notImplemented(`"${refused}"`)
  const setting = [CORS, NOTIFICATION].find((name) => query.has(name))
  if (setting !== undefined) {
    if (key !== '') throw notImplemented(`"${setting}" of an object`)
    if (!fauxqs.hasBucket(bucket)) throw noSuchBucket(bucket)
    await bucketSetting(options, setting, bucket, caller, request, response)
    return
  }
  if (key === '') {
    if (request.method === 'GET' && query.has('location')) {
      sendXml(response, 200, '<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/"/>')
      return
    }
  }
  if (isForm) {
    await postForm(options, bucket, caller, request, response)
    return
  }
  const createOnly = request.method === 'PUT' && request.headers['if-none-match'] === '*'
  if (createOnly && fauxqs.hasObject(bucket, key))
    throw new S3Error(
      'PreconditionFailed',
      'At least one of the pre-conditions you specified did not hold',
      412,
    )
  overrideHeaders(response, query)
  // The emulator takes the beginning of every host with a dot for a bucket, also of one in ALLOWED_HOSTS.
  if (bucketInHost(request) === undefined) request.headers.host = 'localhost'
  fauxqs.handle(request, response)
}

/** Where a request is for, with the key as it stands in the URL. */
function addressOf(request: IncomingMessage): { bucket: string; key: string; query: URLSearchParams } {
  const [path = '', search] = (request.url ?? '/').split('?', 2)
  const inHost = bucketInHost(request)
  const [first = '', ...rest] = path.split('/').slice(1)
  const [bucket, key] = inHost === undefined ? [first, rest] : [inHost, [first, ...rest]]
  return { bucket, key: key.join('/'), query: new URLSearchParams(search) }
}

/** As in photos.localhost:4566. */
const bucketInHost = ({ headers: { host = '' } }: IncomingMessage): string | undefined =>
  /^([^.:]+)\..*localhost(:\d+)?$/i.exec(host)?.[1]

/** @returns whether the bucket's rules allow what is asked; anything without an origin is no matter of theirs */
function setCorsHeaders(
  rules: CorsRule[] = [],
  { method = '', headers: { origin } }: IncomingMessage,
  response: ServerResponse,
): boolean {
  if (origin === undefined) return true
  const allowed = corsHeaders(rules, { origin, method, headers: '' })
  for (const [name, value] of Object.entries(allowed ?? {})) response.setHeader(name, value)
  return allowed !== undefined
}

/**
 * No bucket here is open to everybody, so every request is signed. The emulators let everybody in, and a program signs
 * with any key. But a page can write any signature into a URL; only one that is known to be right is worth something.
 *
 * @throws S3Error
 */
function requireSignature(
  request: IncomingMessage,
  query: URLSearchParams,
  known: readonly Credentials[],
): void {
  const isVerified = verifyPresigned(request, query, known) !== undefined
  if (isVerified) return
  const presigned = query.has('X-Amz-Signature') || query.has('Signature')
  if (isFromPage(request.headers)) {
    const credential = query.get('X-Amz-Credential') ?? query.get('AWSAccessKeyId') ?? ''
    throw presigned
      ? unknownKey(credential.split('/', 1)[0] ?? '')
      : accessDenied('Pages need a presigned URL.')
  }
  const { authorization = '' } = request.headers
  if (presigned || /^AWS4-HMAC-SHA256 +Credential=|^AWS [^:]+:/.test(authorization)) return
  throw accessDenied('Sign the request, as the AWS CLI and SDKs do; any credentials will do.')
}

const accessDenied = (why: string): S3Error => new S3Error('AccessDenied', `Access Denied. ${why}`, 403)

/** Put, get and delete of a bucket's CORS rules and notifications. */
async function bucketSetting(
  { fauxqs }: S3Options,
  name: string,
  bucket: string,
  caller: Caller,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const kept = fauxqs.bucketSettings.get(bucket, name)
  if (request.method === 'GET' && name === CORS) {
    if (kept === undefined)
      throw new S3Error('NoSuchCORSConfiguration', 'The CORS configuration does not exist', 404, {
        BucketName: bucket,
      })
    sendXml(response, 200, corsDocument(kept as CorsRule[]))
  } else if (request.method === 'GET') {
    sendXml(response, 200, notificationsDocument((kept ?? []) as QueueConfiguration[]))
  } else if (request.method === 'PUT' && name === CORS) {
    fauxqs.bucketSettings.put(bucket, name, parseCors(await readText(request)))
    response.writeHead(200, { 'content-length': 0 }).end()
  } else if (request.method === 'PUT') {
    const configurations = parseNotifications(await readText(request))
    // Whoever asks for it gets neither the look at the queues nor the test message that is a part of it.
    if (request.headers['x-amz-skip-destination-validation'] !== 'true') {
      requireQueues(fauxqs, configurations)
      for (const { Queue } of configurations) fauxqs.send(Queue, testMessage(bucket, caller.requestId))
    }
    fauxqs.bucketSettings.put(bucket, name, configurations)
    response.writeHead(200, { 'content-length': 0 }).end()
  } else if (request.method === 'DELETE' && name === CORS) {
    fauxqs.bucketSettings.delete(bucket, name)
    response.writeHead(204).end()
  } else
    throw new S3Error('MethodNotAllowed', 'The specified method is not allowed against this resource.', 405)
}

function requireQueues(fauxqs: FauxqsModules, configurations: QueueConfiguration[]): void {
  const missing = configurations.filter(({ Queue }) => !fauxqs.hasQueue(Queue))
  if (missing.length === 0) return
  const details = missing.flatMap(({ Queue }, index) => [
    [`ArgumentName${index + 1}`, Queue],
    [`ArgumentValue${index + 1}`, 'The destination queue does not exist'],
  ])
  throw new S3Error(
    'InvalidArgument',
    'Unable to validate the following destination configurations',
    400,
    Object.fromEntries(details),
  )
}

/** Sends what a bucket's notifications say of a new object; a queue that has gone costs its own message only. */
function announce({ fauxqs, region, onDropped }: S3Options, object: CreatedObject): void {
  const kept = (fauxqs.bucketSettings.get(object.bucket, NOTIFICATION) ?? []) as QueueConfiguration[]
  for (const configuration of kept) {
    if (!wants(configuration, object)) continue
    try {
      fauxqs.send(configuration.Queue, eventMessage(object, configuration.Id, region))
    } catch (reason) {
      // Then the object is not kept either.
      if (reason instanceof DiskFull) throw reason
      onDropped({ eventId: object.requestId, targetArn: configuration.Queue, reason })
    }
  }
}

async function postForm(
  { fauxqs, credentials }: S3Options,
  bucket: string,
  caller: Caller,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (!/^multipart\/form-data\b/i.test(request.headers['content-type'] ?? ''))
    throw new S3Error(
      'PreconditionFailed',
      'At least one of the pre-conditions you specified did not hold',
      412,
      { Condition: 'Bucket POST must be of the enclosure-type multipart/form-data' },
    )
  if (!fauxqs.hasBucket(bucket)) throw noSuchBucket(bucket)
  response.setHeader('x-amz-request-id', caller.requestId)
  response.setHeader('x-amz-id-2', caller.requestId)
  const store = (object: NewObject): { etag: string } => {
    // It may have gone while the form was on its way.
    if (!fauxqs.hasBucket(bucket)) throw noSuchBucket(bucket)
    return fauxqs.putObject(object, caller)
  }
  await postObject(request, response, { bucket, credentials, anyone: !isFromPage(request.headers), store })
}

/** A bucket's CORS rules may have 64 KB, the largest of these documents (API reference, PutBucketCors). */
const MAX_DOCUMENT_BYTES = 65_536

async function readText(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of request) {
    length += chunk.length
    if (length <= MAX_DOCUMENT_BYTES) chunks.push(chunk)
  }
  if (length > MAX_DOCUMENT_BYTES) throw malformedXml()
  return Buffer.concat(chunks).toString('utf8')
}

/** A presigned URL names its time and its life in seconds; one of the older kind, its end in seconds since 1970. */
function isExpired(query: URLSearchParams): boolean {
  if (query.has('Signature')) return Date.now() > Number(query.get('Expires')) * 1000
  const date = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(query.get('X-Amz-Date') ?? '')
  const seconds = Number(query.get('X-Amz-Expires') ?? Number.NaN)
  if (date === null || Number.isNaN(seconds)) return false
  const [, year, month, day, hour, minute, second] = date.map(Number)
  const signed = Date.UTC(year ?? 0, (month ?? 1) - 1, day, hour, minute, second)
  return Date.now() > signed + seconds * 1000
}

function overrideHeaders(response: ServerResponse, query: URLSearchParams): void {
  const overrides: Record<string, string> = {}
  for (const [name, value] of query) {
    const header =
      /^response-(content-type|content-disposition|content-language|content-encoding|cache-control|expires)$/.exec(
        name,
      )?.[1]
    if (header !== undefined) overrides[header] = value
  }
  if (Object.keys(overrides).length === 0) return
  const writeHead = response.writeHead.bind(response) as (status: number, headers?: object) => ServerResponse
  response.writeHead = ((status: number, headers?: object) => {
    const success = status === 200 || status === 206
    return writeHead(status, success ? { ...headers, ...overrides } : headers)
  }) as typeof response.writeHead
}
