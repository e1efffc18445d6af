import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { GetObjectCommand, type S3Client } from '@aws-sdk/client-s3'
import type { SQSClient } from '@aws-sdk/client-sqs'
import type { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import type { Context } from 'hono'
import type { JWTVerifyGetKey } from 'jose'
import * as z from 'zod'
import { acceptedNames, acceptedTypes } from '../packages/image-guard/format.ts'
import type { Clock, Elapsed } from '../shared/aws.ts'
import { type ApiConfig, type AuthConfig, budgetOf, issuerUrl } from '../shared/config.ts'
import type { AnalysisName } from '../shared/image.ts'
import { type WaitUntilFinished, watchBudget } from './records.ts'
import { ApiError } from './schemas.ts'
import { newImageId, type SubmitDeps } from './submit.ts'
import { postForms } from './upload.ts'

/** What the API is made of. */
export interface ApiDeps extends SubmitDeps {
  elapsed: Elapsed
  /** The largest image that `POST /images` takes, in bytes. */
  maxImageBytes: number
  /** The longest that a request may wait for an image; one that asks for more waits so long. */
  maxWaitSeconds: number
  /** Those that a request may ask for. */
  analyses: AnalysisName[]
  /** Whether one that names none has faces asked for always. */
  faces: 'always' | 'when-person'
  /** Origins of web pages that may use the API from a browser. */
  corsOrigins?: string[] | undefined
  /** How callers prove who they are, for the document to say; `identify` does it. */
  auth: AuthConfig['AUTH']
  /** Who is asking. Images belong to their owner and are not there for other callers. */
  identify: Identify
  /** The web page, as the API reference loaded with the first request for it. */
  page: () => Page
  docs: () => Page
}

/** The same, and what belongs to one app alone. */
export interface AppDeps extends ApiDeps {
  wait: WaitUntilFinished
  document: () => Promise<object>
}

/** The same on AWS, on one machine and in tests, but for what is passed in. */
export const apiDeps = (
  config: ApiConfig,
  auth: AuthConfig,
  clients: { s3: S3Client; sqs: SQSClient; dynamo: DynamoDBDocumentClient },
  clock: Clock & { now: () => Date },
  { log, page, docs }: Pick<ApiDeps, 'log' | 'page' | 'docs'>,
): ApiDeps => ({
  ...clients,
  ...clock,
  bucket: config.IMAGE_BUCKET,
  table: config.IMAGE_TABLE,
  jobQueueUrl: config.JOB_QUEUE_URL,
  sweepAfterMs: config.SWEEP_AFTER_SECONDS * 1_000,
  heic: config.HEIC,
  maxImageBytes: config.MAX_IMAGE_BYTES,
  maxUploadBytes: config.MAX_UPLOAD_BYTES,
  presignPost: postForms(clients.s3, config.IMAGE_BUCKET),
  maxWaitSeconds: config.MAX_WAIT_SECONDS,
  analyses: config.ANALYSES,
  faces: config.FACES,
  stripGps: config.STRIP_GPS,
  retentionDays: config.RETENTION_DAYS,
  dailyImageQuota: config.DAILY_IMAGE_QUOTA,
  isBudgetSpent: watchBudget({ ...clients, ...clock, table: config.IMAGE_TABLE }, budgetOf(config)),
  corsOrigins: config.CORS_ORIGINS,
  newImageId,
  auth: auth.AUTH,
  identify: identifyBy(auth),
  log,
  page,
  docs,
})

/** A page as one response, and the policy that lets a browser run only that. */
export interface Page {
  html: string
  contentSecurityPolicy: string
}

/** A finished page (build/page.ts), which the build puts beside the bundle. */
export const readPage = (name: 'page' | 'docs'): string =>
  readFileSync(new URL(`../web/${name}.html`, import.meta.url), 'utf8')

/**
 * @param html the finished page
 * @param bucketOrigin where thumbnails and originals are, as `https://host[:port]`
 * @param samples names of photos at `/samples/<name>.jpg`
 */
export function loadPage(
  html: () => string,
  bucketOrigin: string,
  { MAX_IMAGE_BYTES, HEIC, ANALYSES }: Pick<ApiConfig, 'MAX_IMAGE_BYTES' | 'HEIC' | 'ANALYSES'>,
  samples: readonly string[] = [],
): () => Page {
  const filled = (): string =>
    html()
      .replace('MAX_IMAGE_BYTES', String(MAX_IMAGE_BYTES))
      .replace('ACCEPTED_TYPES', acceptedTypes(HEIC).join())
      .replace('ACCEPTED_NAMES', acceptedNames(HEIC, 'or'))
      .replace('ANALYSES', ANALYSES.join(' '))
      .replace('SAMPLES', samples.join(' '))
  return once(() => withPolicy(filled(), bucketOrigin))
}

/** The API reference; it asks only the API. */
export const loadDocs = (html: () => string): (() => Page) => once(() => withPolicy(html()))

/** Pages are made when they are first asked for: a start waits for none of them. */
function once(make: () => Page): () => Page {
  let made: Page | undefined
  return () => {
    made ??= make()
    return made
  }
}

/** The policy names style and script by their hash. */
function withPolicy(html: string, ...origins: string[]): Page {
  return {
    html,
    contentSecurityPolicy: [
      "default-src 'none'",
      `script-src ${hash(html, 'script')}`,
      `style-src ${hash(html, 'style')}`,
      ["img-src 'self' blob: data:", ...origins].join(' '),
      // Large files are posted to the bucket itself.
      ["connect-src 'self'", ...origins].join(' '),
      "base-uri 'none'",
      "form-action 'none'",
      "frame-ancestors 'none'",
    ].join('; '),
  }
}

/** Of all that stands between the tags, white space too: that is what a browser hashes. */
function hash(html: string, element: 'script' | 'style'): string {
  const text = new RegExp(`<${element}[^>]*>(.*?)</${element}>`, 's').exec(html)?.[1] ?? ''
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`
}

/** Where presigned URLs of the bucket lead; only the SDK knows how it addresses a bucket. */
export async function bucketOrigin(s3: S3Client, bucket: string): Promise<string> {
  return new URL(await getSignedUrl(s3, new GetObjectCommand({ Bucket: bucket, Key: 'any' }))).origin
}

/**
 * Who is asking, as the owner of images: a name that is the same for every request of one caller and of no other.
 *
 * @throws ApiError UNAUTHENTICATED
 */
export type Identify = (c: Context) => Promise<string>

/** Asymmetric algorithms only: with a shared secret, a service that can check a token can make one. */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA']
/** Seconds by which the clocks of issuer and API may differ. */
const CLOCK_TOLERANCE = 5
/** Milliseconds for the issuer to answer. */
const ISSUER_TIMEOUT_MS = 3_000
/** Milliseconds for which its keys are kept, also while it is away: as API Gateway's authorizer (developer guide, JWT authorizers). */
const KEEP_KEYS_MS = 7_200_000
/** Keys and metadata of the large issuers have less than 20 KB. */
const MAX_ISSUER_BYTES = 1_000_000
/**
 * Of tokens that prove a caller: ID tokens, and access tokens (RFC 9068). Issuers sign others with the same keys, such as
 * logout tokens, which are no proof that their bearer is the subject (RFC 8725, section 3.11).
 */
const TOKEN_TYPES = ['jwt', 'at+jwt']

export function identifyBy(auth: AuthConfig): Identify {
  if (auth.AUTH === 'iam') return byIam
  if (auth.AUTH === 'jwt') return byToken(auth.JWT_ISSUER, auth.JWT_AUDIENCE)
  return async () => 'anonymous'
}

/** What API Gateway says of a caller whose signature it has verified: a REST API (payload 1.0), or an HTTP API (2.0). */
const text = z.string().min(1)
const callerSchema = z.union([
  z.object({ identity: z.object({ accountId: text, caller: text }) }).transform(({ identity }) => identity),
  z
    .object({ authorizer: z.object({ iam: z.object({ accountId: text, callerId: text }) }) })
    .transform(({ authorizer: { iam } }) => ({ accountId: iam.accountId, caller: iam.callerId })),
])

/**
 * The caller's unique id (AIDA… of a user, AROA… of a role), which no later user or role of the same name will have.
 * A role's sessions share it: what follows the colon is a session's name, which its user chooses.
 */
const byIam: Identify = async (c) => {
  const { requestContext, unverified } = (c.env ?? {}) as { requestContext?: unknown; unverified?: string }
  const signer = callerSchema.safeParse(requestContext).data
  const id = signer?.caller.split(':')[0]
  if (signer === undefined || !id)
    throw unauthenticated(unverified ?? 'Sign the request with AWS Signature Version 4.', 'AWS4-HMAC-SHA256')
  return `iam:${signer.accountId}:${id}`
}

/** Loaded where tokens are used, not by every cold start. */
const jose = () => import('jose')

/** Half of a surrogate pair is stored as U+FFFD, the same for each: all such subjects would be one owner. */
const claimsSchema = z.object({
  sub: z
    .string()
    .min(1)
    .max(255)
    .refine((sub) => sub.isWellFormed()),
})
/** `application/` may be left out (RFC 7515, section 4.1.9). */
const headerSchema = z.object({
  typ: z
    .string()
    .refine((typ) => TOKEN_TYPES.includes(typ.toLowerCase().replace(/^application\//, '')))
    .optional(),
})

/** What jose says where keys cannot be fetched, which says nothing of the token. */
const KEYS_ARE_AWAY = ['ERR_JWKS_TIMEOUT', 'ERR_JWKS_INVALID', 'ERR_JOSE_GENERIC']

const unauthenticated = (detail: string, challenge: string) =>
  new ApiError('UNAUTHENTICATED', detail, { challenge })

/** Tokens of an OpenID Connect issuer, verified by its published keys; they are fetched once and kept. */
function byToken(issuer: string, audience: string): Identify {
  let keys: Promise<JWTVerifyGetKey> | undefined
  /** Is called for what has the form of a token alone. */
  const getKey: JWTVerifyGetKey = async (...header) => {
    keys ??= discoverKeys(issuer).catch((error) => {
      // An issuer that was away is asked again by the next request.
      keys = undefined
      throw error
    })
    return (await keys)(...header)
  }
  return async (c) => {
    const token = c.req.header('authorization')?.match(/^Bearer +([\w.~+/=-]+)$/i)?.[1]
    if (token === undefined) throw unauthenticated('Send a token: "Authorization: Bearer …".', 'Bearer')
    const { errors, jwtVerify } = await jose()
    try {
      const { payload, protectedHeader } = await jwtVerify(token, getKey, {
        issuer,
        audience,
        algorithms: ALGORITHMS,
        clockTolerance: CLOCK_TOLERANCE,
        requiredClaims: ['sub', 'exp'],
      })
      headerSchema.parse(protectedHeader)
      return `jwt:${claimsSchema.parse(payload).sub}`
    } catch (error) {
      const isOfToken =
        error instanceof z.ZodError ||
        (error instanceof errors.JOSEError && !KEYS_ARE_AWAY.includes(error.code))
      if (!isOfToken) throw error
      const detail = 'The token is not valid for this API, or it has expired.'
      throw unauthenticated(detail, 'Bearer error="invalid_token"')
    }
  }
}

/** The keys may be on another host than the issuer, as Google's are. */
const metadataSchema = z.object({ issuer: z.string(), jwks_uri: issuerUrl })

/** OpenID Connect Discovery 1.0, section 4. */
async function discoverKeys(issuer: string): Promise<JWTVerifyGetKey> {
  const url = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`
  const response = await askIssuer(url, { signal: AbortSignal.timeout(ISSUER_TIMEOUT_MS) })
  if (!response.ok) throw new Error(`${url} answers ${response.status}.`)
  // Its own error would be taken for the token's.
  const { data: metadata } = metadataSchema.safeParse(await response.json())
  if (metadata === undefined) throw new Error(`${url} names no issuer, or no jwks_uri that is an https URL.`)
  if (metadata.issuer !== issuer) throw new Error(`${url} names another issuer, ${metadata.issuer}.`)
  const { createRemoteJWKSet, customFetch } = await jose()
  return createRemoteJWKSet(new URL(metadata.jwks_uri), {
    timeoutDuration: ISSUER_TIMEOUT_MS,
    cacheMaxAge: KEEP_KEYS_MS,
    [customFetch]: askIssuer,
  })
}

/** An answer from the URL itself, whole. */
async function askIssuer(url: string, options: RequestInit): Promise<Response> {
  const response = await fetch(url, { ...options, redirect: 'error' }).catch((error) => {
    throw new Error(`${url} cannot be fetched (${error.cause?.message ?? error.message}).`, { cause: error })
  })
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length
    if (bytes > MAX_ISSUER_BYTES) throw new Error(`${url} answers with more than ${MAX_ISSUER_BYTES} bytes.`)
    chunks.push(chunk)
  }
  return new Response(Buffer.concat(chunks), { status: response.status })
}
