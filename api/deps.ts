import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { GetObjectCommand, type S3Client } from '@aws-sdk/client-s3'
import type { SQSClient } from '@aws-sdk/client-sqs'
import type { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import { acceptedNames, acceptedTypes } from '../packages/image-guard/format.ts'
import type { Clock, Elapsed } from '../shared/aws.ts'
import type { ApiConfig, AuthConfig } from '../shared/config.ts'
import type { AnalysisName } from '../shared/image.ts'
import type { Log } from '../shared/log.ts'
import { type Identify, identifyBy } from './auth.ts'
import type { WaitUntilFinished } from './records.ts'
import { newImageId, postForms, type SubmitDeps } from './submit.ts'

/** What the API is made of. */
export interface ApiDeps extends SubmitDeps {
  elapsed: Elapsed
  /** The largest image that `POST /images` takes, in bytes. */
  maxImageBytes: number
  /** The longest that a request may wait for an image; one that asks for more waits so long. */
  maxWaitSeconds: number
  /** Those that a request may ask for. */
  analyses: AnalysisName[]
  /** Origins of web pages that may use the API from a browser. */
  corsOrigins?: string[]
  /** How callers prove who they are, for the document to say; `identify` does it. */
  auth: AuthConfig['AUTH']
  /** Who is asking. Images belong to their owner and are not there for anybody else. */
  identify: Identify
  page: Page
  /** The API reference; loaded when somebody reads it. */
  docs: () => Page
}

/** And what one app has of it by itself. */
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
  { log, page, docs }: { log: Log } & Pick<ApiDeps, 'page' | 'docs'>,
): ApiDeps => ({
  ...clients,
  ...{ now: clock.now, elapsed: clock.elapsed, sleep: clock.sleep },
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
  stripGps: config.STRIP_GPS,
  ...(config.RETENTION_DAYS === undefined ? {} : { retentionDays: config.RETENTION_DAYS }),
  ...(config.DAILY_IMAGE_QUOTA === undefined ? {} : { dailyImageQuota: config.DAILY_IMAGE_QUOTA }),
  ...(config.CORS_ORIGINS === undefined ? {} : { corsOrigins: config.CORS_ORIGINS }),
  newImageId,
  auth: auth.AUTH,
  identify: identifyBy(auth),
  ...{ page, docs, log },
})

/** A page as one response, and the policy that lets a browser run nothing else. */
export interface Page {
  html: string
  contentSecurityPolicy: string
}

/** A finished page (build/page.ts), which the build puts beside the bundle. */
export const readPage = (name: 'page' | 'docs'): string =>
  readFileSync(new URL(`../web/${name}.html`, import.meta.url), 'utf8')

/**
 * @param bucketOrigin where thumbnails and originals are, as `https://host[:port]`
 * @param samples names of photos at `/samples/<name>.jpg`
 */
export function loadPage(
  html: string,
  bucketOrigin: string,
  { MAX_IMAGE_BYTES, HEIC, ANALYSES }: Pick<ApiConfig, 'MAX_IMAGE_BYTES' | 'HEIC' | 'ANALYSES'>,
  samples: readonly string[] = [],
): Page {
  const filled = html
    .replace('MAX_IMAGE_BYTES', String(MAX_IMAGE_BYTES))
    .replace('ACCEPTED_TYPES', acceptedTypes(HEIC).join())
    .replace('ACCEPTED_NAMES', acceptedNames(HEIC, 'or'))
    .replace('ANALYSES', ANALYSES.join(' '))
    .replace('SAMPLES', samples.join(' '))
  return withPolicy(filled, bucketOrigin)
}

/** The API reference; it asks only the API. */
export const loadDocs = (html: string): Page => withPolicy(html)

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
