import { createHash, createHmac, timingSafeEqual } from 'node:crypto'

/**
 * AWS Signature Version 4, computed again from what a request says, to see whether the same comes out (IAM user guide,
 * "Create a signed AWS API request"). The SDK's signer makes signatures only.
 */
export interface Credentials {
  accessKeyId: string
  secretAccessKey: string
}

/** What a secret is narrowed to: `Credential=key/day/region/service/aws4_request`. */
export interface Scope {
  day: string
  region: string
  service: string
}

export interface SignedRequest {
  method: string
  /** As it is signed: S3 encodes a path once, other services encode once more what came in the URL. */
  path: string
  query: Iterable<[string, string]>
  /** Those that are signed, by lower-case name. */
  headers: Iterable<[string, string]>
  /** SHA-256 in hexadecimal, or what stands for it. */
  payloadHash: string
  /** `YYYYMMDDTHHMMSSZ` */
  date: string
}

const hmac = (key: string | Buffer, data: string): Buffer => createHmac('sha256', key).update(data).digest()
const compare = (a: string, b: string): number => (a < b ? -1 : Number(a > b))

/** RFC 3986, section 2.3: everything but the unreserved characters. */
export const encode = (text: string): string =>
  encodeURIComponent(text).replaceAll(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  )

/** The signature of any text, in hexadecimal. */
export function signText(text: string, secret: string, { day, region, service }: Scope): string {
  const key = [region, service, 'aws4_request'].reduce(hmac, hmac(`AWS4${secret}`, day))
  return hmac(key, text).toString('hex')
}

export function signRequest(request: SignedRequest, secret: string, scope: Scope): string {
  const query = [...request.query]
    .map((pair) => pair.map(encode))
    .sort(([a = '', b = ''], [c = '', d = '']) => compare(a, c) || compare(b, d))
    .map((pair) => pair.join('='))
  const headers = [...request.headers].sort(([a], [b]) => compare(a, b))
  const canonical = [
    request.method,
    request.path,
    query.join('&'),
    ...headers.map(([name, value]) => `${name}:${value.trim().replaceAll(/\s+/g, ' ')}`),
    '',
    headers.map(([name]) => name).join(';'),
    request.payloadHash,
  ].join('\n')
  const { day, region, service } = scope
  const hash = createHash('sha256').update(canonical).digest('hex')
  const text = ['AWS4-HMAC-SHA256', request.date, `${day}/${region}/${service}/aws4_request`, hash].join('\n')
  return signText(text, secret, scope)
}

/** In a time that says nothing about how much of it is right. */
export function isSame(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)]
  return left.length === right.length && timingSafeEqual(left, right)
}
