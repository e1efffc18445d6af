import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { GetObjectCommand, type S3Client } from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import { acceptedNames, acceptedTypes, formatOf } from '../shared/format.ts'

/** A page as one response, and the policy that lets a browser run nothing else. */
export interface Page {
  html: string
  contentSecurityPolicy: string
}

/** Comments on lines of their own, like indents, are for those who read the source; by the first line a module is seen. */
const COMMENTS = /^[ \t]*(\/\*\*?[ \n](?:[^*]|\*(?!\/))*\*\/|\/\/ (?!@ts-check).*)\n/gm
const read = (name: string): string =>
  readFileSync(new URL(`../web/${name}`, import.meta.url), 'utf8')
    .replaceAll(COMMENTS, '')
    .replaceAll(/^[ \t]+/gm, '')

/** What the page shares with the rest: a function that refers to nothing outside itself, as its source text. */
const SHARED: Record<string, string> = { '../shared/format.ts': `const formatOf = ${formatOf}\n` }

/**
 * The modules of the page as one script, each after those that it imports. They share one scope then, so a name is
 * declared by one of them only, and imports are lines of their own without `as`.
 */
function join(name: string, joined = new Set<string>()): string {
  if (joined.has(name)) return ''
  joined.add(name)
  const source = SHARED[name] ?? read(name)
  const imported = [...source.matchAll(/^import [^']*'(?:\.\/)?([^']+)'$/gm)].map(([, file = '']) =>
    join(file, joined),
  )
  return [...imported, source.replaceAll(/^import [^']*'[^']+'\n/gm, '').replaceAll(/^export /gm, '')].join(
    '',
  )
}

/** The style of a page, with that which both have. */
const styleOf = (name: string): string =>
  read(`${name}.css`).replaceAll(/^@import "\.\/(.+)";$/gm, (_, shared: string) => read(shared))

/** Of all that stands between the tags, white space too: that is what a browser hashes. */
function hash(html: string, element: 'script' | 'style'): string {
  const text = new RegExp(`<${element}[^>]*>(.*?)</${element}>`, 's').exec(html)?.[1] ?? ''
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`
}

/**
 * @param bucketOrigin where thumbnails and originals are, as `https://host[:port]`
 * @param maxImageBytes of `POST /images`; what is larger the page sends by `POST /uploads`
 * @param heic whether HEIC comes in
 * @param analyses that a request may ask for
 * @param samples names of photos at `/samples/<name>.jpg`
 */
export function loadPage(
  bucketOrigin: string,
  maxImageBytes: number,
  heic: boolean,
  analyses: readonly string[],
  samples: readonly string[] = [],
): Page {
  const page = load('page', bucketOrigin)
  const html = page.html
    .replace('MAX_IMAGE_BYTES', String(maxImageBytes))
    .replace('ACCEPTED_TYPES', acceptedTypes(heic).join())
    .replace('ACCEPTED_NAMES', acceptedNames(heic, 'or'))
    .replace('ANALYSES', analyses.join(' '))
    .replace('SAMPLES', samples.join(' '))
  return { ...page, html }
}
/** The API reference; it asks nobody but the API. */
export const loadDocs = (): Page => load('docs')

/**
 * Style and script go into the page itself: one request, no path that a stage prefix could break, and the
 * policy names them by hash.
 */
function load(name: string, ...origins: string[]): Page {
  // Functions, because `$&` and the like in a replacement string have a meaning of their own.
  const html = read(`${name}.html`)
    .replace('/*STYLE*/', () => styleOf(name))
    .replace('/*SCRIPT*/', () => join(`${name}.js`))
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

/** Where presigned URLs of the bucket lead; only the SDK knows how it addresses a bucket. */
export async function bucketOrigin(s3: S3Client, bucket: string): Promise<string> {
  return new URL(await getSignedUrl(s3, new GetObjectCommand({ Bucket: bucket, Key: 'any' }))).origin
}
