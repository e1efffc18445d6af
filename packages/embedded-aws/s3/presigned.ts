import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { isFromPage } from '../origins.ts'
import { type Credentials, encode, isSame, signRequest } from '../signature-v4.ts'
import { invalidArgument, S3Error, unknownKey } from './errors.ts'
import { ACCOUNT_ID } from './listing.ts'

/**
 * No bucket here is public, so every request is signed. The emulators verify no signature, and a program signs
 * with any key. But a page can write any signature into a URL; only one that is known to be right is worth something.
 *
 * @throws S3Error
 */
export function requireSignature(
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

const OF_SIGNATURE =
  /^x-amz-(algorithm|credential|date|expires|signature|signedheaders|security-token|content-sha256)$/

/**
 * Puts back into the headers what a signer has moved from them into a presigned URL, such as metadata. S3 passes over
 * checksums there, which SDKs compute before there is a body.
 *
 * @throws S3Error InvalidArgument for what no header can be
 */
export function restoreHeaders(headers: IncomingHttpHeaders, query: URLSearchParams): void {
  if (!query.has('X-Amz-Signature')) return
  for (const [parameter, value] of query) {
    const name = parameter.toLowerCase()
    if (!name.startsWith('x-amz-') || name.includes('checksum') || OF_SIGNATURE.test(name)) continue
    if (!/^[\w.-]+$/.test(name) || /[^\t\P{Cc}]/u.test(value))
      throw invalidArgument('A header cannot have this name or value.', parameter, value)
    // As Node reads a header: a character for each byte.
    headers[name] ??= Buffer.from(value).toString('latin1')
  }
}

/** Everything here is of one account. @throws S3Error for a request that expects another one's bucket */
export function requireOwner(headers: IncomingHttpHeaders): void {
  for (const name of ['x-amz-expected-bucket-owner', 'x-amz-source-expected-bucket-owner'])
    if ((headers[name] ?? ACCOUNT_ID) !== ACCOUNT_ID)
      throw accessDenied(`The bucket belongs to the account ${ACCOUNT_ID}.`)
}

const accessDenied = (why: string): S3Error => new S3Error('AccessDenied', `Access Denied. ${why}`, 403)

const MOST_SECONDS = 7 * 24 * 60 * 60

/**
 * A presigned URL names its time and its life in seconds; one of the older kind, its end in seconds since 1970.
 *
 * @throws S3Error when that is over, or is not to be known
 */
export function requireLife(query: URLSearchParams): void {
  if (query.has('Signature') || query.has('X-Amz-Signature')) {
    const end = query.has('Signature') ? olderEnd(query) : endOf(query)
    if (Date.now() > end) throw new S3Error('AccessDenied', 'Request has expired', 403)
  }
}

function olderEnd(query: URLSearchParams): number {
  const expires = query.get('Expires') ?? ''
  if (/^\d+$/.test(expires)) return Number(expires) * 1_000
  throw new S3Error('AccessDenied', `Invalid date (should be seconds since epoch): ${expires}`, 403)
}

function endOf(query: URLSearchParams): number {
  const date = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(query.get('X-Amz-Date') ?? '')
  if (date === null)
    throw wrongParameter("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
  const expires = query.get('X-Amz-Expires') ?? ''
  if (!/^\d+$/.test(expires)) throw wrongParameter('X-Amz-Expires should be a number')
  if (Number(expires) > MOST_SECONDS)
    throw wrongParameter(`X-Amz-Expires must be less than a week (in seconds) that is ${MOST_SECONDS}`)
  const [, year, month, day, hour, minute, second] = date.map(Number)
  return Date.UTC(year ?? 0, (month ?? 1) - 1, day, hour, minute, second) + Number(expires) * 1_000
}

const wrongParameter = (why: string): S3Error => new S3Error('AuthorizationQueryParametersError', why)

/**
 * Verifies a presigned URL (S3 API reference, "Authenticating requests: using query parameters").
 *
 * @param known whose signatures can be computed here
 * @returns the signer, if it is a known one
 * @throws S3Error where the signature of a known signer is wrong
 */
function verifyPresigned(
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
