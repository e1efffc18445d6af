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
  /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/execute-api\/aws4_request, *SignedHeaders=([a-z0-9;-]+), *Signature=([0-9a-f]{64})$/

/**
 * What API Gateway does before a function with `AWS_IAM` is called: it signs the request again with the caller's own
 * secret, and lets it pass if the same comes out. A body is read for a known caller alone, or for a stranger who knows
 * the name of one and the time.
 *
 * @param keys the one caller that is known here
 * @param read no more of the body than the program takes
 * @returns who signed the request, and the request with its body, unless the signer is unknown
 * @throws what `read` throws
 */
export async function verifySignature(
  request: Request,
  keys: Credentials,
  read: ReadBody,
): Promise<{ caller: Caller; request: Request } | undefined> {
  const { headers } = request
  const [, accessKeyId, day, region = '', signedHeaders = '', signature = ''] =
    headers.get('authorization')?.match(AUTHORIZATION) ?? []
  const date = headers.get('x-amz-date') ?? ''
  const names = [...new Set(signedHeaders.split(';'))]
  if (accessKeyId !== keys.accessKeyId || day !== date.slice(0, 8) || !names.includes('host'))
    return undefined
  if (!(Math.abs(Date.now() - timeOf(date)) <= LIFETIME_MS)) return undefined

  const { pathname, searchParams } = new URL(request.url)
  const isSignedFor = (payloadHash: string): boolean => {
    const again = signRequest(
      {
        ...{ method: request.method, path: pathOf(pathname), query: searchParams, payloadHash, date },
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
  if (claimed !== null && !isSignedFor(claimed)) return undefined
  const { body, hash } = await read(request)
  if (!isSignedFor(hash)) return undefined
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
