import { createHash } from 'node:crypto'
import { largestBody, readOn, tooLarge } from '../api/upload.ts'
import { type Credentials, encode, isSame, signRequest } from '../packages/embedded-aws/signature-v4.ts'

export interface Caller {
  accountId: string
  caller: string
}

/** Milliseconds that a signature is good for, as on AWS. */
const LIFETIME_MS = 300_000
const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/execute-api\/aws4_request, *SignedHeaders=([a-z0-9;-]+), *Signature=([0-9a-f]{64})$/

/**
 * What API Gateway does before a function with `AWS_IAM` is called: it signs the request again with the caller's own
 * secret, and lets it pass if the same comes out. A body is read for a known caller alone, or for a stranger who knows
 * the name of one and the time, and no more of it than the API takes.
 *
 * @param keys the one caller that is known here
 * @returns who signed the request, and the request with its body, unless the signer is unknown
 * @throws ApiError for a body that is too large
 */
export async function verifySignature(
  request: Request,
  keys: Credentials,
  maxImageBytes: number,
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
  const { body, hash } = await readBody(request, maxImageBytes)
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

async function readBody(
  { body }: Request,
  maxImageBytes: number,
): Promise<{ body: Uint8Array<ArrayBuffer> | null; hash: string }> {
  const hash = createHash('sha256')
  if (body === null) return { body, hash: hash.digest('hex') }
  const chunks: Uint8Array[] = []
  let left = largestBody(maxImageBytes)
  // Not by `for await`, which would end the connection with the body, before there is an answer.
  const reader = body.getReader()
  try {
    while (left >= 0) {
      const { done, value } = await readOn(reader)
      if (done) break
      left -= value.length
      hash.update(value)
      chunks.push(value)
    }
  } finally {
    reader.releaseLock()
  }
  if (left < 0) throw tooLarge(maxImageBytes)
  return { body: Buffer.concat(chunks), hash: hash.digest('hex') }
}
