import type { IncomingMessage, ServerResponse } from 'node:http'
import { DiskFull } from '../storage.ts'
import { type CorsRule, corsForbidden, corsHeaders, NOT_ALLOWED } from './cors.ts'
import {
  invalidArgument,
  methodNotAllowed,
  noSuchBucket,
  notImplemented,
  S3Error,
  sendS3Error,
} from './errors.ts'
import { announce } from './notifications.ts'
import type { Call, Context, Operation } from './operation.ts'
import { deleteBucketCors } from './operations/delete-bucket-cors.ts'
import { deleteObjects } from './operations/delete-objects.ts'
import { getBucketCors } from './operations/get-bucket-cors.ts'
import { getBucketLocation } from './operations/get-bucket-location.ts'
import { getBucketNotification } from './operations/get-bucket-notification.ts'
import { getBucketVersioning } from './operations/get-bucket-versioning.ts'
import { getObjectTagging } from './operations/get-object-tagging.ts'
import { listBuckets } from './operations/list-buckets.ts'
import { listMultipartUploads } from './operations/list-multipart-uploads.ts'
import { listObjectVersions } from './operations/list-object-versions.ts'
import { listObjects } from './operations/list-objects.ts'
import { listParts } from './operations/list-parts.ts'
import { postObject } from './operations/post-object.ts'
import { preflight } from './operations/preflight.ts'
import { putBucketCors } from './operations/put-bucket-cors.ts'
import { putBucketNotification } from './operations/put-bucket-notification.ts'
import { requireLife, requireOwner, requireSignature, restoreHeaders } from './presigned.ts'
import { type Caller, CORS, createSequencer, NOTIFICATION, newRequestId } from './state.ts'

/** What S3 has and the emulator behind this endpoint would take for another request, or even for a new body of the object. */
const REFUSED_SUBRESOURCES = new Set(
  'abac accelerate acl analytics encryption intelligent-tiering inventory legal-hold logging metadataConfiguration metadataInventoryTable metadataJournalTable metadataTable metrics object-lock ownershipControls policy policyStatus publicAccessBlock replication requestPayment restore retention select session tagging torrent versioning versions website'.split(
    ' ',
  ),
)

/** What many tools ask beforehand, and what is true of everything here: no versions, no tags. */
const WITHOUT = new Map<string, Operation>(
  Object.entries({
    'BUCKET versioning': getBucketVersioning,
    'BUCKET versions': listObjectVersions,
    'OBJECT tagging': getObjectTagging,
  }),
)

const SETTINGS = new Map<string, Operation>(
  Object.entries({
    [`GET ${CORS}`]: getBucketCors,
    [`PUT ${CORS}`]: putBucketCors,
    [`DELETE ${CORS}`]: deleteBucketCors,
    [`GET ${NOTIFICATION}`]: getBucketNotification,
    [`PUT ${NOTIFICATION}`]: putBucketNotification,
  }),
)

/**
 * S3 with what the emulator lacks: CORS, event notifications, the policies of browser forms, expiry of presigned URLs,
 * response headers by query, lists, conditions, digests (see emulator.ts), and plain refusals of what neither has.
 */
export function createS3(
  options: Omit<Context, 'nextSequencer'>,
): (request: IncomingMessage, response: ServerResponse) => void {
  const { fauxqs } = options
  const context: Context = { ...options, nextSequencer: createSequencer() }
  fauxqs.onObjectCreated((object) => announce(context, object))
  return (request, response) => {
    const caller: Caller = { requestId: newRequestId(), sourceIp: request.socket.remoteAddress ?? '' }
    answer(context, caller, request, response).catch((error) => {
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
  context: Context,
  caller: Caller,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { fauxqs } = context
  const { bucket, key, query } = addressOf(request)
  const resource = key === '' ? 'BUCKET' : 'OBJECT'
  const call: Call = { bucket, key, query, caller, request, response }
  if (request.method === 'OPTIONS') return preflight(resource)(context, call)
  // First: a page reads errors only with these.
  const rules = fauxqs.bucketSettings.get(bucket, CORS) as CorsRule[] | undefined
  const allowed = setCorsHeaders(rules, request, response)
  // S3 would do it and leave it to the browser to keep the answer from the page.
  if (!allowed) throw corsForbidden(NOT_ALLOWED, request.method ?? '', resource)
  requireLife(query)
  // A POST to the root is for another service: STS, which the emulator answers a little of.
  const isForm = request.method === 'POST' && bucket !== '' && key === '' && !query.has('delete')
  // Also of a request that is refused: SDKs ask for it without a signature.
  if (request.method === 'HEAD' && key === '' && fauxqs.hasBucket(bucket))
    response.setHeader('x-amz-bucket-region', context.region)
  // A form is signed within.
  if (!isForm) requireSignature(request, query, context.credentials)
  restoreHeaders(request.headers, query)
  requireOwner(request.headers)

  const refused = [...query.keys()].find((name) => REFUSED_SUBRESOURCES.has(name))
  if (refused !== undefined) {
    const run = request.method === 'GET' ? WITHOUT.get(`${resource} ${refused}`) : undefined
    if (run === undefined) throw notImplemented(`"${refused}"`)
    return run(context, call)
  }
  const setting = [CORS, NOTIFICATION].find((name) => query.has(name))
  if (setting !== undefined) {
    if (key !== '') throw notImplemented(`"${setting}" of an object`)
    if (!fauxqs.hasBucket(bucket)) throw noSuchBucket(bucket)
    const run = SETTINGS.get(`${request.method} ${setting}`)
    if (run === undefined) throw methodNotAllowed()
    return run(context, call)
  }
  const run = isForm ? postObject : operationOf(call)
  if (run !== undefined) return run(context, call)
  overrideHeaders(response, query)
  // The emulator takes the beginning of every host with a dot for a bucket, also of one in allowedHosts.
  if (bucketInHost(request) !== undefined) request.url = `/${bucket}${request.url}`
  request.headers.host = `127.0.0.1:${request.socket.localPort}`
  fauxqs.handle(request, response)
}

/** User guide, "Naming Amazon S3 objects". */
const MAX_KEY_BYTES = 1_024

/** What is not the emulator's to answer. @throws S3Error MethodNotAllowed */
function operationOf({ bucket, key, query, request: { method = '' } }: Call): Operation | undefined {
  const isPart = query.has('uploads') || query.has('uploadId')
  if (!['GET', 'HEAD', 'PUT', 'POST', 'DELETE'].includes(method)) throw methodNotAllowed()
  if (method === 'POST' && key !== '' && !isPart) throw methodNotAllowed()
  if (method === 'POST' && bucket !== '' && key === '') return deleteObjects
  // The emulator keeps the rules, and nothing expires by them.
  if (method === 'PUT' && query.has('lifecycle')) throw notImplemented('"lifecycle"')
  if (Buffer.byteLength(key) > MAX_KEY_BYTES) throw new S3Error('KeyTooLongError', 'Your key is too long')
  if (method !== 'GET' || query.has('lifecycle')) return undefined
  if (bucket === '') return listBuckets
  if (key !== '') return query.has('uploadId') ? listParts : undefined
  if (query.has('location')) return getBucketLocation
  return query.has('uploads') ? listMultipartUploads : listObjects
}

/** Where a request is for. @throws S3Error InvalidURI */
function addressOf(request: IncomingMessage): { bucket: string; key: string; query: URLSearchParams } {
  const [path = '', search] = (request.url ?? '/').split('?', 2)
  const inHost = bucketInHost(request)
  const [first = '', ...rest] = path.split('/').slice(1)
  const [bucket, key] = inHost === undefined ? [first, rest] : [inHost, [first, ...rest]]
  try {
    return { bucket, key: decodeURIComponent(key.join('/')), query: new URLSearchParams(search) }
  } catch {
    throw new S3Error('InvalidURI', "Couldn't parse the specified URI.")
  }
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

const DISPOSITION = 'content-disposition'

/** @throws S3Error InvalidArgument for what no header can be */
function overrideHeaders(response: ServerResponse, query: URLSearchParams): void {
  const overrides: Record<string, string> = {}
  for (const [name, value] of query) {
    const header =
      /^response-(content-type|content-disposition|content-language|content-encoding|cache-control|expires)$/.exec(
        name,
      )?.[1]
    if (header === undefined) continue
    if (!/^[\t -~\x80-\xff]*$/.test(value))
      throw invalidArgument('Header value cannot be represented using ISO-8859-1.', name, value)
    overrides[header] = value
  }
  const writeHead = response.writeHead.bind(response) as (status: number, headers?: object) => ServerResponse
  response.writeHead = ((status: number, headers: Record<string, unknown> = {}) => {
    const success = status === 200 || status === 206
    const { [DISPOSITION]: name, ...rest } = { ...headers, ...(success ? overrides : {}) }
    // After a content-length, Node reads it as UTF-8, and fails where it is Latin-1.
    return writeHead(status, name === undefined ? rest : { [DISPOSITION]: name, ...rest })
  }) as typeof response.writeHead
}
