import { createHash } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { crc32 } from 'node:zlib'
import { notImplemented, S3Error } from './errors.ts'

/** What a caller says of a body (user guide, "Checking object integrity"); a body that came otherwise is not stored. */

type Body = Uint8Array<ArrayBuffer>
type Compute = (body: Body) => Promise<Uint8Array>
/** By another thread: an upload of 2 MB would hold this one for milliseconds. */
const hash =
  (name: string): Compute =>
  async (body) =>
    new Uint8Array(await crypto.subtle.digest(name, body))
/** Loaded by the first caller that uses one. */
const library =
  (name: 'Crc32c' | 'Crc64NvmeJs'): Compute =>
  async (body) => {
    const checksum = new (await import('@aws-sdk/checksums/crc'))[name]()
    checksum.update(body)
    return checksum.digest()
  }
export function crc32Of(body: Uint8Array): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(crc32(body))
  return bytes
}

const CHECKSUMS = new Map<string, { bytes: number; compute: Compute }>(
  Object.entries({
    crc32: { bytes: 4, compute: async (body) => crc32Of(body) },
    crc32c: { bytes: 4, compute: library('Crc32c') },
    crc64nvme: { bytes: 8, compute: library('Crc64NvmeJs') },
    sha1: { bytes: 20, compute: hash('SHA-1') },
    sha256: { bytes: 32, compute: hash('SHA-256') },
  }),
)
const CHECKSUM_HEADER = /^x-amz-checksum-(?!algorithm$|type$|mode$)(.+)$/

/** @throws S3Error where one of the headers does not match the body */
export async function verifyDigests(headers: IncomingHttpHeaders, body: Body): Promise<void> {
  const md5 = headers['content-md5']?.toString()
  if (md5 !== undefined) {
    if (!isDigest(md5, 16)) throw new S3Error('InvalidDigest', 'The Content-MD5 you specified was invalid.')
    if (createHash('md5').update(body).digest('base64') !== md5)
      throw new S3Error('BadDigest', 'The Content-MD5 you specified did not match what we received.')
  }
  const sha256 = headers['x-amz-content-sha256']?.toString() ?? ''
  const isHash = /^[0-9a-f]{64}$/.test(sha256)
  if (isHash && !(await isOf(body, Buffer.from(sha256, 'hex').toString('base64'), hash('SHA-256'))))
    throw new S3Error(
      'XAmzContentSHA256Mismatch',
      "The provided 'x-amz-content-sha256' header does not match what was computed.",
    )
  await requireChecksums(headers, body)
}

/** @throws S3Error where one of the headers of S3's checksums does not match the body */
export async function requireChecksums(headers: IncomingHttpHeaders, body: Body): Promise<void> {
  for (const [header, value] of Object.entries(headers)) {
    const name = CHECKSUM_HEADER.exec(header)?.[1]
    if (name === undefined) continue
    const checksum = CHECKSUMS.get(name)
    if (checksum === undefined) throw notImplemented(`checksum algorithm ${name.toUpperCase()}`)
    if (!isDigest(String(value), checksum.bytes))
      throw new S3Error('InvalidRequest', `Value for ${header} header is invalid.`)
    if (!(await isOf(body, String(value), checksum.compute)))
      throw new S3Error(
        'BadDigest',
        `The ${name.toUpperCase()} you specified did not match the calculated checksum.`,
      )
  }
}

const isOf = async (body: Body, value: string, compute: Compute): Promise<boolean> =>
  Buffer.from(await compute(body)).equals(Buffer.from(value, 'base64'))

const isDigest = (value: string, bytes: number): boolean => {
  const decoded = Buffer.from(value, 'base64')
  return decoded.length === bytes && decoded.toString('base64') === value
}
