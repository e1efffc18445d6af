import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { SignatureV4 } from '@smithy/signature-v4'

export interface Caller {
  accountId: string
  caller: string
}

/** What the signer hashes with: SHA-256, keyed where it is given a secret. */
class Sha256 {
  #hash
  constructor(secret?: unknown) {
    this.#hash = secret === undefined ? createHash('sha256') : createHmac('sha256', secret as Buffer)
  }
  update(data: unknown): void {
    this.#hash.update(data as Buffer)
  }
  async digest(): Promise<Uint8Array> {
    return this.#hash.digest()
  }
  reset(): void {}
}

/** Milliseconds that a signature is good for, as on AWS. */
const LIFETIME_MS = 300_000

/**
 * What API Gateway does before a function with `AWS_IAM` is called: it signs the request again with the caller's own
 * secret, and lets it pass if the same comes out.
 *
 * @param keys the one caller that is known here
 * @returns who signed the request, or undefined if nobody known did
 */
export async function verifySignature(
  request: Request,
  keys: { accessKeyId: string; secretAccessKey: string },
): Promise<Caller | undefined> {
  const authorization =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/\d{8}\/([^/]+)\/execute-api\/aws4_request, *SignedHeaders=([a-z0-9;-]+), *Signature=([0-9a-f]{64})$/.exec(
      request.headers.get('authorization') ?? '',
    )
  const [, accessKeyId, region, signedHeaders, signature] = authorization ?? []
  const date = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(request.headers.get('x-amz-date') ?? '')
  if (accessKeyId !== keys.accessKeyId || !region || !signedHeaders || !signature || date === null)
    return undefined
  const signingDate = new Date(date[0].replace(/^(....)(..)(..T..)(..)(..Z)$/, '$1-$2-$3:$4:$5'))
  if (!(Math.abs(Date.now() - signingDate.getTime()) <= LIFETIME_MS)) return undefined

  const url = new URL(request.url)
  const signed = new Set(signedHeaders.split(';'))
  if (!signed.has('host')) return undefined
  const headers: Record<string, string> = {}
  for (const name of signed) headers[name] = request.headers.get(name) ?? ''
  delete headers['x-amz-date']
  const query: Record<string, string | string[]> = {}
  for (const name of new Set(url.searchParams.keys())) query[name] = url.searchParams.getAll(name)
  const body = Buffer.from(await request.clone().arrayBuffer())
  // The signer takes this header's word for the hash of the body.
  const claimed = request.headers.get('x-amz-content-sha256')
  if (claimed !== null && claimed !== createHash('sha256').update(body).digest('hex')) return undefined
  const signer = new SignatureV4({
    credentials: keys,
    region,
    service: 'execute-api',
    sha256: Sha256,
    applyChecksum: false,
  })
  const again = await signer.sign(
    {
      ...{ method: request.method, protocol: url.protocol, hostname: url.hostname, path: url.pathname },
      ...{ headers, query, body },
    },
    { signingDate, signableHeaders: signed },
  )
  const expected = /Signature=([0-9a-f]{64})$/.exec(again.headers['authorization'] ?? '')?.[1] ?? ''
  return expected.length === signature.length &&
    timingSafeEqual(Buffer.from(expected), Buffer.from(signature))
    ? { accountId: '000000000000', caller: accessKeyId }
    : undefined
}
