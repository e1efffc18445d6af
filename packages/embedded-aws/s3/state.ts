import { randomBytes } from 'node:crypto'
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import type { Storage } from '../storage.ts'
import { noSuchUpload } from './errors.ts'

/** The emulator's objects, and what is added to them here. */

/** Who asked for something, as S3's events and answers name it. */
export interface Caller {
  requestId: string
  sourceIp: string
}
export const newRequestId = (): string => randomBytes(8).toString('hex').toUpperCase()

export interface NewObject {
  bucket: string
  key: string
  body: Buffer
  contentType: string
  /** User metadata, by names without `x-amz-meta-`. */
  metadata: Record<string, string>
  system: { contentDisposition?: string; contentEncoding?: string; cacheControl?: string }
}

/** An object that has just come to be, however it did; the names are those of S3's `s3:ObjectCreated:` events. */
export interface CreatedObject extends Caller {
  how: 'Put' | 'Post' | 'Copy' | 'CompleteMultipartUpload'
  bucket: string
  key: string
  size: number
  /** With its quotation marks. */
  etag: string
}

export interface StoredObject {
  key: string
  body: Uint8Array
  contentLength: number
  etag: string
  lastModified: Date
  /** Of one that came in parts: where each begins. */
  parts?: { partNumber: number; offset: number; length: number }[]
  checksumAlgorithm?: string
  checksumValue?: string
  checksumType?: 'FULL_OBJECT' | 'COMPOSITE'
}
export interface Upload {
  uploadId: string
  bucket: string
  key: string
  initiated: Date
  parts: Map<number, { partNumber: number; body: Uint8Array; etag: string; lastModified: Date }>
}
export interface S3Store {
  persistence: unknown
  buckets: Map<string, Map<string, StoredObject>>
  bucketCreationDates: Map<string, Date>
  bucketTypes: Map<string, string>
  bucketLifecycleConfigurations: Map<string, unknown>
  multipartUploads: Map<string, Upload>
  multipartUploadsByBucket: Map<string, Set<string>>
  getObject(bucket: string, key: string): StoredObject
  deleteObject(bucket: string, key: string): void
  abortMultipartUpload(uploadId: string): void
  putObject(bucket: string, ...object: unknown[]): StoredObject
  completeMultipartUpload(uploadId: string, ...parts: unknown[]): StoredObject
}

/** @throws S3Error NoSuchUpload unless the upload in parts is of that object */
export function uploadOf(store: S3Store, bucket: string, key: string, uploadId: string): Upload {
  const upload = store.multipartUploads.get(uploadId)
  if (upload?.bucket === bucket && upload.key === key) return upload
  throw noSuchUpload(uploadId)
}

/** The settings of a bucket that are kept here, by the names of their subresources. */
export const CORS = 'cors'
export const NOTIFICATION = 'notification'

/** JSON that is kept with a bucket, under a name, for as long as the bucket is there. */
export interface BucketSettings {
  get: (bucket: string, name: string) => unknown
  put: (bucket: string, name: string, value: unknown) => void
  delete: (bucket: string, name: string) => void
}

type Cause = Caller & Pick<CreatedObject, 'how'>

/**
 * Reports every object that the store is given.
 *
 * @returns a function that stores an object for another cause than the request that the emulator is at
 */
export function announceObjects(
  app: Emulator,
  store: S3Store,
  atomically: Storage['atomically'],
  announce: (object: CreatedObject) => void,
): (cause: Cause, store: () => StoredObject) => StoredObject {
  let cause: Cause
  // The emulator's handlers store what they store in the same tick as this hook: no other request comes in between.
  app.addHook('preHandler', (request, reply, done) => {
    showContentType(request)
    const { 'x-amz-copy-source': source } = request.headers
    cause = { how: source === undefined ? 'Put' : 'Copy', requestId: newRequestId(), sourceIp: request.ip }
    reply.header('x-amz-request-id', cause.requestId).header('x-amz-id-2', cause.requestId)
    done()
  })

  const stored = (bucket: string, how: CreatedObject['how'], save: () => StoredObject): StoredObject =>
    atomically(() => {
      const object = save()
      announce({ ...cause, how, bucket, key: object.key, size: object.contentLength, etag: object.etag })
      return object
    })
  const putObject = store.putObject.bind(store)
  store.putObject = (bucket, ...object) => stored(bucket, cause.how, () => putObject(bucket, ...object))
  const complete = store.completeMultipartUpload.bind(store)
  store.completeMultipartUpload = (uploadId, ...parts) =>
    stored(store.multipartUploads.get(uploadId)?.bucket ?? '', 'CompleteMultipartUpload', () =>
      complete(uploadId, ...parts),
    )
  return (other, save) => {
    cause = other
    return save()
  }
}

/** The emulator's server, as far as it is used here. */
export interface EmulatorRequest {
  raw: IncomingMessage
  method: string
  ip: string
  headers: IncomingHttpHeaders
  params?: { bucket?: string; '*'?: string }
  query: Record<string, string | undefined>
  body: unknown
}
export interface EmulatorReply {
  header(name: string, value: string | number): EmulatorReply
  code(status: number): EmulatorReply
  send(body?: unknown): EmulatorReply
}
type Done = (error?: Error | null, body?: unknown) => void
export interface Emulator {
  addHook(name: 'preValidation', hook: (request: EmulatorRequest) => Promise<void>): void
  addHook(
    name: 'preHandler',
    hook: (request: EmulatorRequest, reply: EmulatorReply, done: Done) => void,
  ): void
  addHook(
    name: 'onSend',
    hook: (request: EmulatorRequest, reply: EmulatorReply, body: unknown, done: Done) => void,
  ): void
}
const contentTypes = new WeakMap<IncomingMessage, string>()

/**
 * The content type of an object may be any text, but the emulator reads a body by it: with that of a web form or of
 * SQS it would parse the object, and with one that is none it would refuse it. So it learns of it after the body.
 */
export function hideContentType(request: IncomingMessage): void {
  const contentType = request.headers['content-type']
  if (contentType === undefined) return
  contentTypes.set(request, contentType)
  request.headers['content-type'] = 'application/octet-stream'
}

/** What S3 says of an object that came without one. */
export const NO_CONTENT_TYPE = 'binary/octet-stream'

function showContentType({ raw, params }: EmulatorRequest): void {
  const contentType = contentTypes.get(raw)
  if (contentType !== undefined) raw.headers['content-type'] = contentType
  if (params?.['*']) raw.headers['content-type'] ||= NO_CONTENT_TYPE
}

/** A table of its own in the emulator's database, so that a bucket's settings go with the bucket. */
export function keepSettings({ database, guard }: Storage): BucketSettings {
  database.exec(`CREATE TABLE IF NOT EXISTS bucket_settings (
    bucket TEXT NOT NULL REFERENCES s3_buckets(name) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (bucket, name)
  )`)
  const select = database.prepare('SELECT value FROM bucket_settings WHERE bucket = ? AND name = ?')
  const replace = database.prepare(
    'INSERT OR REPLACE INTO bucket_settings (bucket, name, value) VALUES (?, ?, ?)',
  )
  const remove = database.prepare('DELETE FROM bucket_settings WHERE bucket = ? AND name = ?')
  return {
    get: (bucket, name) => {
      const row = select.get(bucket, name)
      return row === undefined ? undefined : JSON.parse(String(row['value']))
    },
    put: (bucket, name, value) => void guard(() => replace.run(bucket, name, JSON.stringify(value))),
    delete: (bucket, name) => void guard(() => remove.run(bucket, name)),
  }
}

/** Each grows with every event, also over a restart; compared as text, as the user guide has it. */
export function createSequencer(): () => string {
  let last = 0n
  return () => {
    const now = BigInt(Date.now()) << 20n
    last = now > last ? now : last + 1n
    return last.toString(16).toUpperCase().padStart(18, '0')
  }
}
