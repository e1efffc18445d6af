import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { GetObjectCommand, type S3Client } from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import { acceptedNames, acceptedTypes } from '../shared/format.ts'

/** A page as one response, and the policy that lets a browser run nothing else. */
export interface Page {
  html: string
  contentSecurityPolicy: string
}

/** A finished page (build/page.ts), which the build puts beside the bundle. */
export const readPage = (name: 'page' | 'docs'): string =>
  readFileSync(new URL(`../web/${name}.html`, import.meta.url), 'utf8')

export interface PageOptions {
  html: string
  /** Where thumbnails and originals are, as `https://host[:port]`. */
  bucketOrigin: string
  /** Of `POST /images`; what is larger the page sends by `POST /uploads`. */
  maxImageBytes: number
  /** Whether HEIC comes in. */
  heic: boolean
  /** Those that a request may ask for. */
  analyses: readonly string[]
  /** Names of photos at `/samples/<name>.jpg`. */
  samples?: readonly string[]
}

export function loadPage(options: PageOptions): Page {
  const { html, bucketOrigin, maxImageBytes, heic, analyses, samples = [] } = options
  const filled = html
    .replace('MAX_IMAGE_BYTES', String(maxImageBytes))
    .replace('ACCEPTED_TYPES', acceptedTypes(heic).join())
    .replace('ACCEPTED_NAMES', acceptedNames(heic, 'or'))
    .replace('ANALYSES', analyses.join(' '))
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
