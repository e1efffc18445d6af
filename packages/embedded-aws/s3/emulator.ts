import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { encode } from '../signature-v4.ts'
import { partsOf, repeatCompletions, requireCompletion, requireSize } from './completion.ts'
import { isNotModified, noSuchKey, requireWritable } from './conditions.ts'
import { decodeAddress, keepChecksums, requireCopy } from './copies.ts'
import { verifyDigests } from './digests.ts'
import { invalidArgument, malformedXml, noSuchBucket, notImplemented, S3Error } from './errors.ts'
import { readMetadata } from './metadata.ts'
import { partOf, type Range, rangeOf } from './ranges.ts'
import {
  type Emulator,
  type EmulatorReply,
  type EmulatorRequest,
  type S3Store,
  type StoredObject,
  uploadOf,
} from './state.ts'
import { refuseHeaders, refuseVersion } from './unsupported.ts'
import { parseXml, xml } from './xml.ts'

/** What the emulator does not look at in the requests that it answers, and does wrong in its answers. */

/** Of a body in chunks, as the emulator takes it apart. */
type Unchunk = (body: Buffer) => { body: Buffer; trailers: Record<string, string> }

/** A part of an object that is asked for; the object has so many bytes. */
interface Part {
  range: Range
  size: number
}
type Parts = WeakMap<IncomingMessage, Part>

export function checkRequests(app: Emulator, store: S3Store, unchunk: Unchunk): void {
  repeatCompletions(app, store)
  const parts: Parts = new WeakMap()
  app.addHook('preValidation', async (request) => {
    const { headers } = request
    await requireCompletion(request, store)
    if (request.method !== 'PUT' || request.params?.bucket === undefined) return
    readWhole(request, unchunk)
    await verifyDigests(headers, request.body as Buffer<ArrayBuffer>)
  })
  // In the same tick as the emulator's handler: no other request comes in between.
  app.addHook('preHandler', (request, reply, done) => {
    const { bucket, '*': key = '' } = request.params ?? {}
    const objects = bucket === undefined ? undefined : store.buckets.get(bucket)
    try {
      if (objects === undefined || key === '') checkBucket(request, store)
      else {
        refuseVersion(request.query['versionId'])
        const object = objects.get(key)
        if (request.method === 'GET' || request.method === 'HEAD') {
          if (object === undefined) throw noSuchKey(key)
          if (!read(request, reply, object, parts)) return
        } else change(request, store, bucket ?? '', key)
      }
      done()
    } catch (error) {
      if ((error as S3Error).status === 416)
        reply.header('content-range', `bytes */${objects?.get(key)?.contentLength}`)
      done(error as Error)
    }
  })
  app.addHook('onSend', ({ method, raw, headers, params, query }, reply, body, done) => {
    const part = parts.get(raw)
    if (part !== undefined && method === 'HEAD')
      reply
        .code(206)
        .header('content-range', contentRange(part))
        .header('content-length', part.range[1] - part.range[0] + 1)
    const { bucket = '', '*': key = '' } = params ?? {}
    if (method === 'POST' && query['uploadId'] !== undefined && typeof body === 'string')
      // As of a form: with the key as one name.
      done(null, located(body, `http://${headers.host}/${bucket}/${encode(key)}`))
    else done()
  })
  keepChecksums(app, store)
}

/** A request for a bucket, or for an object in none. @throws S3Error */
function checkBucket(request: EmulatorRequest, store: S3Store): void {
  const { method, headers } = request
  const { bucket, '*': key = '' } = request.params ?? {}
  const objects = bucket === undefined ? undefined : store.buckets.get(bucket)
  // The emulator decodes it before it looks for the bucket.
  decodeAddress(String(headers['x-amz-copy-source'] ?? ''))
  if (method === 'PUT' && key === '') requireBucket(request)
  else if (bucket !== undefined && objects === undefined) throw noSuchBucket(bucket)
  else if (method === 'DELETE' && objects?.size === 0) abortUploads(request, store, bucket ?? '')
}

/**
 * A request for an object, or for a part of it.
 *
 * @param parts gets the part that is asked for
 * @returns whether the emulator is to answer
 * @throws S3Error
 */
function read(request: EmulatorRequest, reply: EmulatorReply, object: StoredObject, parts: Parts): boolean {
  const { headers, query, raw } = request
  reply.header('accept-ranges', 'bytes')
  if (isNotModified(headers, object)) {
    reply.header('etag', object.etag).header('last-modified', object.lastModified.toUTCString())
    reply.code(304).send()
    return false
  }
  for (const name of ['match', 'none-match', 'modified-since', 'unmodified-since'])
    delete headers[`if-${name}`]
  const { partNumber } = query
  const range =
    partNumber === undefined ? rangeOf(headers.range, object.contentLength) : partOf(object, partNumber)
  delete query['partNumber']
  delete headers.range
  if (range === undefined || object.contentLength === 0) return true
  if (partNumber !== undefined && object.parts !== undefined)
    reply.header('x-amz-mp-parts-count', object.parts.length)
  headers.range = `bytes=${range[0]}-${range[1]}`
  parts.set(raw, { range, size: object.contentLength })
  return true
}

/** Puts the body of an upload in one piece, without chunks. @throws S3Error */
function readWhole(request: EmulatorRequest, unchunk: Unchunk): void {
  const { headers } = request
  // An empty one without a type, as the AWS CLI sends it, is none to the server.
  const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0)
  request.body = body
  const { 'content-encoding': encoding = '' } = headers
  if (encoding.includes('aws-chunked')) {
    const whole = unchunk(body)
    requireWhole(headers, whole)
    request.body = whole.body
    for (const [name, value] of Object.entries(whole.trailers)) headers[name] ??= value
    headers['content-encoding'] = encoding.replace(/(^|, *)aws-chunked(, *)?/, '')
  }
}

const contentRange = ({ range: [first, last], size }: Part): string => `bytes ${first}-${last}/${size}`

const located = (document: string, location: string): string =>
  document.replace(/<Location>[^<]*<\/Location>/, () => xml('Location', location))

/** @throws S3Error for a body in chunks that has lost some of what its headers announce */
function requireWhole(
  { 'x-amz-decoded-content-length': length, 'x-amz-trailer': announced = '' }: IncomingHttpHeaders,
  { body, trailers }: ReturnType<Unchunk>,
): void {
  if (length !== undefined && Number(length) !== body.length)
    throw new S3Error('IncompleteBody', 'The request body terminated unexpectedly')
  const names = String(announced).toLowerCase().split(/ *, */)
  if (names.some((name) => name !== '' && trailers[name] === undefined))
    throw new S3Error(
      'MalformedTrailerError',
      'The request contained trailing data that was not well-formed or did not conform to our published schema.',
    )
}

/** @throws S3Error */
function change(request: EmulatorRequest, store: S3Store, bucket: string, key: string): void {
  const { method, headers, query } = request
  const { uploadId, partNumber } = query
  const upload = uploadId === undefined ? undefined : uploadOf(store, bucket, key, uploadId)
  if (method === 'PUT' && (uploadId ?? partNumber) !== undefined) requirePart(uploadId, partNumber)
  const isPart = method === 'PUT' && uploadId !== undefined
  if (upload !== undefined && isPart)
    requireSize(upload, { partNumber: Number(partNumber), bytes: (request.body as Buffer).length })
  const starts = method === 'POST' && 'uploads' in query
  if (method !== 'POST' || starts) {
    refuseHeaders(headers)
    readMetadata(headers)
  }
  if (starts) requireAlgorithm(headers)
  if (method === 'PUT' && headers['x-amz-copy-source'] !== undefined)
    requireCopy(headers, store, isPart ? undefined : `${bucket}/${key}`)
  if (method === 'POST' && upload !== undefined) {
    request.body = partsOf(request.body)
    requireSize(upload)
  }
  const aborts = method === 'DELETE' && uploadId !== undefined
  if (!isPart && !starts && !aborts) requireWritable(headers, key, store.buckets.get(bucket)?.get(key))
}

/** @throws S3Error for checksums that an upload in parts cannot have */
function requireAlgorithm(headers: IncomingHttpHeaders): void {
  const algorithm = headers['x-amz-checksum-algorithm']?.toString().toUpperCase()
  if (algorithm !== undefined && !/^(CRC32C?|CRC64NVME|SHA1|SHA256)$/.test(algorithm))
    throw new S3Error(
      'InvalidRequest',
      'Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]',
    )
  if (headers['x-amz-checksum-type'] !== 'FULL_OBJECT') return
  if (algorithm?.startsWith('SHA'))
    throw new S3Error(
      'InvalidRequest',
      `The FULL_OBJECT checksum type cannot be used with the ${algorithm.toLowerCase()} checksum algorithm.`,
    )
  // The emulator would give back one of the parts' checksums as that of the whole.
  delete headers['x-amz-checksum-algorithm']
}

/** What a new bucket is to be, as far as the emulator does not look at it. @throws S3Error */
function requireBucket({ headers, body }: EmulatorRequest): void {
  refuseHeaders(headers)
  if (!Buffer.isBuffer(body) || body.length === 0) return
  const root = parseXml(body.toString('utf8'))
  if (root?.name !== 'CreateBucketConfiguration') throw malformedXml()
  if (root.children.some(({ name }) => name === 'Tags')) throw notImplemented('tags of buckets')
}

/** S3 lets go of uploads with their bucket; the emulator would keep the bucket for them. */
function abortUploads({ query }: EmulatorRequest, store: S3Store, bucket: string): void {
  if ('lifecycle' in query) return
  for (const uploadId of [...(store.multipartUploadsByBucket.get(bucket) ?? [])])
    store.abortMultipartUpload(uploadId)
}

function requirePart(uploadId = '', partNumber = ''): void {
  if (
    uploadId === '' ||
    !/^\d{1,5}$/.test(partNumber) ||
    Number(partNumber) < 1 ||
    Number(partNumber) > 10_000
  )
    throw invalidArgument(
      uploadId === ''
        ? 'This operation does not accept a partNumber without an uploadId.'
        : 'Part number must be an integer between 1 and 10000, inclusive',
      'partNumber',
      partNumber,
    )
}
