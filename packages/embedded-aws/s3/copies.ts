import { createHash } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { requireCopySource } from './conditions.ts'
import { crc32Of } from './digests.ts'
import { invalidArgument, S3Error } from './errors.ts'
import type { Emulator, S3Store, StoredObject } from './state.ts'
import { refuseVersion } from './unsupported.ts'
import { xml } from './xml.ts'

/** What is not looked at by the emulator in a copy, and what it leaves out. */

/** What is missing is refused by the emulator. @throws S3Error */
export function requireCopy(
  headers: IncomingHttpHeaders,
  store: S3Store,
  destination: string | undefined,
): void {
  const { 'x-amz-metadata-directive': directive = 'COPY' } = headers
  if (directive !== 'COPY' && directive !== 'REPLACE')
    throw invalidArgument('Unknown metadata directive.', 'x-amz-metadata-directive', String(directive))
  const [address = '', versionId] = String(headers['x-amz-copy-source']).split('?versionId=')
  refuseVersion(versionId)
  headers['x-amz-copy-source'] = address
  const [bucket, key] = sourceOf(headers)
  const object = store.buckets.get(bucket)?.get(key)
  if (object !== undefined) {
    requireCopySource(headers, object)
    requireRange(headers, object)
  }
  // S3 takes a class that is named for a change, even of STANDARD to STANDARD.
  const { 'x-amz-storage-class': storageClass } = headers
  if (`${bucket}/${key}` === destination && directive === 'COPY' && storageClass === undefined)
    throw new S3Error(
      'InvalidRequest',
      "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
    )
}

/** The emulator refuses other ranges, and shortens one that ends behind the object. @throws S3Error */
function requireRange(headers: IncomingHttpHeaders, { contentLength }: StoredObject): void {
  const range = String(headers['x-amz-copy-source-range'])
  const [, last = -1] = /^bytes=\d+-(\d+)$/.exec(range) ?? []
  if (Number(last) >= contentLength)
    throw invalidArgument(
      `Range specified is not valid for source object of size: ${contentLength}`,
      'x-amz-copy-source-range',
      range,
    )
}

/** Once its version is taken off. */
function sourceOf(headers: IncomingHttpHeaders): [bucket: string, key: string] {
  const source = decodeAddress(String(headers['x-amz-copy-source'])).replace(/^\//, '')
  const slash = source.indexOf('/')
  return [source.slice(0, slash), source.slice(slash + 1)]
}

export function decodeAddress(address: string): string {
  try {
    return decodeURIComponent(address)
  } catch {
    throw invalidArgument('Invalid copy source encoding.', 'x-amz-copy-source', address)
  }
}

interface Checksum {
  algorithm: string
  value: string
  type: 'FULL_OBJECT'
}
const hash = (name: string) => (body: Uint8Array) => createHash(name).update(body).digest('base64')
/** Those that are given back. */
const COMPUTE = new Map<string, (body: Uint8Array) => string>([
  ['CRC32', (body) => crc32Of(body).toString('base64')],
  ['SHA1', hash('sha1')],
  ['SHA256', hash('sha256')],
])

/** Of the whole, also where the source came in parts. */
function checksumOf(
  asked: string | undefined,
  { checksumAlgorithm = '', checksumValue, checksumType }: StoredObject,
  body: () => Uint8Array,
): Checksum | undefined {
  const algorithm = asked?.toUpperCase() ?? checksumAlgorithm
  const isKnown = algorithm === checksumAlgorithm && checksumType === 'FULL_OBJECT'
  const value = isKnown ? checksumValue : COMPUTE.get(algorithm)?.(body())
  return value === undefined ? undefined : { algorithm, value, type: 'FULL_OBJECT' }
}

/** The kinds that the emulator does not look for; by now they are known to be right. */
function checksumIn(headers: IncomingHttpHeaders): Checksum | undefined {
  const algorithm = ['CRC32C', 'CRC64NVME'].find(
    (name) => headers[`x-amz-checksum-${name.toLowerCase()}`] !== undefined,
  )
  const value = String(headers[`x-amz-checksum-${algorithm?.toLowerCase()}`])
  return algorithm === undefined ? undefined : { algorithm, value, type: 'FULL_OBJECT' }
}

/** A copy has a checksum by the algorithm that is asked for, or by that of its source. */
export function keepChecksums(app: Emulator, store: S3Store): void {
  let checksum: Checksum | undefined
  const putObject = store.putObject.bind(store)
  store.putObject = (bucket, key, body, type, metadata, system, given) =>
    putObject(bucket, key, body, type, metadata, system, checksum ?? given)
  // The emulator's handler does its work and sends its answer in the same tick.
  app.addHook('preHandler', ({ method, headers, query }, _reply, done) => {
    const isCopy = method === 'PUT' && headers['x-amz-copy-source'] !== undefined && !query['uploadId']
    const [bucket, key] = isCopy ? sourceOf(headers) : []
    const source = bucket === undefined ? undefined : store.buckets.get(bucket)?.get(key ?? '')
    const asked = headers['x-amz-checksum-algorithm']?.toString()
    checksum = isCopy
      ? source && checksumOf(asked, source, () => store.getObject(bucket ?? '', key ?? '').body)
      : checksumIn(headers)
    done()
  })
  app.addHook('onSend', (_request, _reply, body, done) => {
    const { algorithm, value = '' } = checksum ?? {}
    checksum = undefined
    if (algorithm === undefined || typeof body !== 'string') return done()
    const elements = [xml(`Checksum${algorithm}`, value), xml('ChecksumType', 'FULL_OBJECT')].join('')
    done(
      null,
      body.replace('</CopyObjectResult>', () => `${elements}</CopyObjectResult>`),
    )
  })
}
