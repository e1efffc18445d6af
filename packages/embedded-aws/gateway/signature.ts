import { type Credentials, encode, isSame, signRequest } from '../signature-v4.ts'

export interface Caller {
  accountId: string
  caller: string
}

/** A body, and its SHA-256 in hexadecimal. */
export interface HashedBody {
  body: Uint8Array<ArrayBuffer> | null
  hash: string
}
type ReadBody = (request: Request) => Promise<HashedBody>

/** Milliseconds that a signature is good for, as on AWS. */
const LIFETIME_MS = 300_000
const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/([^/]+)\/aws4_request, *SignedHeaders=([a-z0-9;-]+), *Signature=([0-9a-f]{64})$/
const MISMATCH =
  'The signature does not match the request: its secret access key is another one, or the request is not as it was signed.'

/**
 * What API Gateway does before a function with `AWS_IAM` is called: it signs the request again with the caller's own
 * secret, and lets it pass if the same comes out. A body is read for a known caller alone, or for a stranger who knows
 * the name of one and the time.
 *
 * @param keys the one caller that is known here
 * @param read no more of the body than the program takes
 * @returns who signed the request, and the request with its body; or why the signer is unknown, in a sentence where the
 *   request is signed at all
 * @throws what `read` throws
 */
export async function verifySignature(
  request: Request,
  keys: Credentials,
  read: ReadBody,
): Promise<{ request: Request; caller?: Caller; why?: string }> {
  const { headers } = request
  const [, accessKeyId, day, region = '', service, signedHeaders = '', signature = ''] =
    headers.get('authorization')?.match(AUTHORIZATION) ?? []
  const date = headers.get('x-amz-date') ?? ''
  const names = [...new Set(signedHeaders.split(';'))]
  if (accessKeyId === undefined) return { request }
  if (service !== 'execute-api') return { request, why: 'Sign the request for the service execute-api.' }
  if (accessKeyId !== keys.accessKeyId)
    return { request, why: 'The access key of the signature is not known here.' }
  if (!(Math.abs(Date.now() - timeOf(date)) <= LIFETIME_MS))
    return { request, why: 'The X-Amz-Date of the request has to be within five minutes of now.' }
  const mismatch = { request, why: MISMATCH }
  if (day !== date.slice(0, 8) || !names.includes('host')) return mismatch

  const { pathname, searchParams } = new URL(request.url)
  const isSignedFor = (payloadHash: string): boolean => {
    const again = signRequest(
      {
        method: request.method,
        path: pathOf(pathname),
        query: searchParams,
        payloadHash,
        date,
        headers: names.map((name) => [name, headers.get(name) ?? '']),
      },
      keys.secretAccessKey,
      { day, region, service: 'execute-api' },
    )
    return isSame(again, signature)
  }
  // What this header says of the body is signed, so it can be believed before the body is there. API Gateway takes no
  // UNSIGNED-PAYLOAD (aws/aws-sdk-java-v2, issue 5581); no body has that for its hash.
  const claimed = headers.get('x-amz-content-sha256')
  if (claimed !== null && !isSignedFor(claimed)) return mismatch
  const { body, hash } = await read(request)
  if (!isSignedFor(hash)) return mismatch
  return {
    caller: { accountId: '000000000000', caller: accessKeyId },
    request: new Request(request, { body }),
  }
}

const DATE = /^(\d{4})(\d\d)(\d\dT\d\d)(\d\d)(\d\dZ)$/
/** Of `YYYYMMDDTHHMMSSZ`, in milliseconds since 1970; NaN for any other text that begins with eight digits. */
const timeOf = (date: string): number => Date.parse(date.replace(DATE, '$1-$2-$3:$4:$5'))

/** Without empty segments, and encoded once more than it came. */
function pathOf(pathname: string): string {
  const segments = pathname.split('/').filter((segment) => segment !== '')
  const end = segments.length > 0 && pathname.endsWith('/') ? '/' : ''
  return `/${segments.map(encode).join('/')}${end}`
}
