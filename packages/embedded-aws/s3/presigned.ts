import type { IncomingMessage } from 'node:http'
import { type Credentials, encode, isSame, signRequest } from '../signature-v4.ts'
import { S3Error } from './errors.ts'

/**
 * Verifies a presigned URL (S3 API reference, "Authenticating requests: using query parameters").
 *
 * @param known whose signatures can be computed here
 * @returns who signed it, unless nobody known did
 * @throws S3Error where the signature of somebody known is wrong
 */
export function verifyPresigned(
  request: IncomingMessage,
  query: URLSearchParams,
  known: readonly Credentials[],
): Credentials | undefined {
  const [accessKeyId, day = '', region = '', service = ''] = (query.get('X-Amz-Credential') ?? '').split('/')
  const signer = known.find((credentials) => credentials.accessKeyId === accessKeyId)
  const provided = query.get('X-Amz-Signature')
  if (signer === undefined || provided === null) return undefined
  const names = (query.get('X-Amz-SignedHeaders') ?? '').split(';')
  const header = (name: string): string => String(request.headers[name] ?? '')
  const computed = signRequest(
    {
      method: request.method ?? '',
      path: (request.url ?? '').split('?', 1)[0]?.split('/').map(encodeOnce).join('/') ?? '',
      query: [...query].filter(([name]) => name !== 'X-Amz-Signature'),
      headers: names.map((name) => [name, header(name)]),
      payloadHash: names.includes('x-amz-content-sha256')
        ? header('x-amz-content-sha256')
        : 'UNSIGNED-PAYLOAD',
      date: query.get('X-Amz-Date') ?? '',
    },
    signer.secretAccessKey,
    { day, region, service },
  )
  if (isSame(computed, provided)) return signer
  throw new S3Error(
    'SignatureDoesNotMatch',
    'The request signature we calculated does not match the signature you provided. Check your key and signing method.',
    403,
    { AWSAccessKeyId: signer.accessKeyId, SignatureProvided: provided },
  )
}

/** Browsers leave characters of a path as they are that signers encode. */
function encodeOnce(segment: string): string {
  try {
    return encode(decodeURIComponent(segment))
  } catch {
    return segment
  }
}
