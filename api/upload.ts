import { isUtf8 } from 'node:buffer'
import type { S3Client } from '@aws-sdk/client-s3'
import type { Context } from 'hono'
import { acceptedTypes, type ContentType, formatOf } from '../packages/image-guard/format.ts'
import { ApiError, announcedSchema, firstUnknown, jsonImageSchema, parse, refuseUnknown } from './schemas.ts'

/** An image as a request carries it. */
export interface Upload {
  bytes: Buffer
  filename: string | undefined
  /** As the request has it, not yet checked. */
  analyses?: unknown
}

/** Room for what surrounds the image in a body: part headers and boundaries, or the JSON around the base64. */
const ENVELOPE_BYTES = 65_536
/**
 * Bytes that are read and dropped after that: most clients look for an answer only when they have sent everything, and
 * would see nothing but a broken connection.
 */
const MAX_DISCARDED_BYTES = 64_000_000

/** The most bytes that any body with an image may have. */
export const largestBody = (maxBytes: number): number =>
  // Twice the base64, because a serialiser may write every slash of it as "\/".
  2 * Math.ceil(maxBytes / 3) * 4 + ENVELOPE_BYTES

const tooLarge = (maxBytes: number): ApiError =>
  new ApiError(
    'IMAGE_TOO_LARGE',
    `An image may have at most ${maxBytes.toLocaleString('en')} bytes here. Send larger images by POST /uploads.`,
  )

/** Why a body that says its length is no image's, before any of it is sent. */
export function refusalAhead(
  headers: { get: (name: 'content-type' | 'content-length') => string | null | undefined },
  maxBytes: number,
): ApiError | undefined {
  const isJson = mediaTypeIn(headers.get('content-type')) === JSON_TYPE
  const limit = isJson ? largestBody(maxBytes) : maxBytes + ENVELOPE_BYTES
  return Number(headers.get('content-length') ?? 0) > limit ? tooLarge(maxBytes) : undefined
}

/** What has been sent. */
export interface Sent {
  request: Request
  /** The body, where an event of Lambda had it whole, as bytes or as text; otherwise it is the request's. */
  body?: Buffer<ArrayBuffer> | string | undefined
  /**
   * Whether a gateway passed the body on as text, in which bytes that are no UTF-8 are lost. API Gateway does so with
   * every type that is not among a REST API's binary media types; only the events of Lambda know of it.
   */
  asText: boolean
}

/** An event of Lambda, with its body apart: for that Hono's adapter would take as long as the rest does. */
export interface Unpacked {
  body: null
  isBase64Encoded: boolean
  sent?: Buffer<ArrayBuffer> | string
}

/** What a function's event or a socket has brought. */
export function sentBy({ req, env }: Context): Sent {
  const { event }: { event?: Unpacked } = env ?? {}
  return {
    request: req.raw,
    body: event?.sent,
    asText: event !== undefined && event.isBase64Encoded !== true,
  }
}

/**
 * Takes the image out of a request: raw bytes, one file of a form, or base64 in JSON.
 *
 * @param maxBytes the largest image, in bytes
 * @throws ApiError with a code of contract section 3 for every body that is not one image
 */
export async function readUpload(sent: Sent, maxBytes: number): Promise<Upload> {
  const { request } = sent
  const upload = await readAs(mediaTypeOf(request), sent, maxBytes)
  if (upload.bytes.length === 0) throw new ApiError('EMPTY_IMAGE', 'The image has no bytes.')
  if (upload.bytes.length > maxBytes) throw tooLarge(maxBytes)
  const analyses = upload.analyses ?? analysesOfQuery(request)
  const filename = upload.filename ?? new URL(request.url).searchParams.get('filename') ?? undefined
  return { bytes: upload.bytes, filename: cleanFilename(filename), analyses }
}

const mediaTypeIn = (contentType: string | null | undefined): string =>
  contentType?.split(';', 1)[0]?.trim().toLowerCase() ?? ''
const mediaTypeOf = (request: Request): string => mediaTypeIn(request.headers.get('content-type'))

const sentAsText = (): ApiError =>
  new ApiError(
    'UNSUPPORTED_MEDIA_TYPE',
    'The gateway passed the body on as text, which damages an image. Send the image as base64 in application/json, or with ' +
      'a content type that the gateway passes on as binary (by default image/* and multipart/form-data).',
  )

/** The parameter may be repeated: an analysis that only one of them names is wanted too. */
export function analysesOfQuery(request: Request): string | undefined {
  const asked = new URL(request.url).searchParams.getAll('analyses')
  return asked.length > 0 ? asked.join(',') : undefined
}

async function readAs(mediaType: string, sent: Sent, maxBytes: number): Promise<Upload> {
  const { request, asText } = sent
  refuseCoding(request)
  // Text has three bytes (U+FFFD) for each one that was lost.
  const limit = asText ? 3 * maxBytes : maxBytes
  if (mediaType === 'multipart/form-data') {
    const upload = await fromForm(request, await readBody(sent, limit + ENVELOPE_BYTES, maxBytes))
    // ASCII is the same as text.
    if (asText && upload.bytes.some((byte) => byte >= 0x80)) throw sentAsText()
    return upload
  }
  if (mediaType === JSON_TYPE) {
    const { body } = sent
    const most = largestBody(maxBytes)
    // Text need not become bytes first. Nearly all of it is base64, so it has as many of them as characters.
    const isText = typeof body === 'string' && body.length <= most
    return fromJson(parseJson(isText ? body : await readBody(sent, most, maxBytes)))
  }
  const filename = filenameOf(request.headers.get('content-disposition'))
  if (mediaType === 'application/octet-stream' || mediaType.startsWith('image/')) {
    if (asText && (sent.body !== undefined || request.body !== null)) throw sentAsText()
    return { bytes: await readBody(sent, limit, maxBytes), filename }
  }
  // The second is what `curl --data-binary` says of every file: a default that no user has chosen, like none.
  if (mediaType === '' || mediaType === 'application/x-www-form-urlencoded') {
    const bytes = await readBody(sent, limit, maxBytes)
    refuseOther(bytes, mediaType)
    if (asText && bytes.length > 0) throw sentAsText()
    return { bytes, filename }
  }
  throw new ApiError(
    'UNSUPPORTED_MEDIA_TYPE',
    'Send the image as raw bytes (image/* or application/octet-stream), multipart/form-data or application/json.',
  )
}

const JSON_TYPE = 'application/json'

/** @throws ApiError UNSUPPORTED_MEDIA_TYPE, for what is no file of any kind that has a name */
function refuseOther(bytes: Buffer, mediaType: string): void {
  if (bytes.length === 0 || formatOf(bytes) !== undefined) return
  if (/^\s*[{[]/.test(bytes.toString('utf8', 0, 64))) {
    throw new ApiError(
      'UNSUPPORTED_MEDIA_TYPE',
      'This looks like JSON: send it with "content-type: application/json".',
    )
  }
  if (mediaType === '') return
  throw new ApiError(
    'UNSUPPORTED_MEDIA_TYPE',
    'A body of type application/x-www-form-urlencoded (the default of curl) carries no file: send multipart/form-data (curl -F image=@photo.jpg), or the bytes with "content-type: image/jpeg".',
  )
}

/** @throws ApiError UNSUPPORTED_MEDIA_TYPE, with what is taken (RFC 9110, section 12.5.3) */
function refuseCoding(request: Request): void {
  const coding = request.headers.get('content-encoding')?.trim().toLowerCase()
  if (coding === undefined || coding === '' || coding === 'identity') return
  throw new ApiError(
    'UNSUPPORTED_MEDIA_TYPE',
    'Content-Encoding is not supported: send the body uncompressed.',
    { headers: { 'accept-encoding': 'identity' } },
  )
}

/**
 * Keeps at most `limit` bytes, so that a body without end or with a false length costs no more memory than that.
 *
 * @param dropped bytes that are read and dropped after those
 * @throws ApiError IMAGE_TOO_LARGE; INVALID_PARAMETER where the client breaks off
 */
export async function readBody(
  { request, body }: Sent,
  limit: number,
  maxBytes: number,
  dropped = MAX_DISCARDED_BYTES,
): Promise<Buffer<ArrayBuffer>> {
  if (body !== undefined) {
    const bytes = typeof body === 'string' ? Buffer.from(body) : body
    if (bytes.length > limit) throw tooLarge(maxBytes)
    return bytes
  }
  if (Number(request.headers.get('content-length') ?? 0) > limit) throw tooLarge(maxBytes)
  if (request.body === null) return Buffer.alloc(0)
  const chunks: Uint8Array[] = []
  let length = 0
  const reader = request.body.getReader()
  const read = () =>
    reader.read().catch(() => {
      throw new ApiError('INVALID_PARAMETER', 'The body ended before it was complete.')
    })
  try {
    for (let next = await read(); !next.done; next = await read()) {
      length += next.value.length
      if (length <= limit) chunks.push(next.value)
      else chunks.length = 0
      if (length > limit + dropped) break
    }
  } finally {
    reader.releaseLock()
  }
  if (length > limit) throw tooLarge(maxBytes)
  return Buffer.concat(chunks, length)
}

/** Parts that a form may have; one is needed. */
const MAX_PARTS = 1_000
const FORM_FIELDS = ['image', 'file', 'analyses']
const JSON_PROPERTIES = [...Object.keys(jsonImageSchema.shape), 'analyses']

/** Without the image, another field is there, as a rule. */
function missing(what: string, kind: string, names: Iterable<string>, known: string[]): ApiError {
  const other = firstUnknown(kind, names, known)
  return new ApiError('MISSING_IMAGE', `${what}${other === undefined ? '' : `. ${other}`}.`)
}

/** How @fastify/busboy refuses a boundary: by a plain Error, which none of our own faults is. */
const isParserError = (error: unknown): boolean => Object.getPrototypeOf(error) === Error.prototype

async function fromForm(request: Request, body: Buffer): Promise<Upload> {
  const files: Upload[] = []
  const analyses: string[] = []
  const fields = new Set<string>()
  const broken = new ApiError(
    'INVALID_MULTIPART',
    'The form cannot be read: its boundary or one of its parts is broken.',
  )
  // Loaded by the first form, not by every cold start. In a bundle, a CommonJS module has only its default export.
  const { default: busboy } = await import('@fastify/busboy')
  let parser: InstanceType<typeof busboy.Busboy>
  try {
    parser = new busboy.Busboy({
      headers: { 'content-type': request.headers.get('content-type') ?? '' },
      limits: { parts: MAX_PARTS },
      // RFC 7578 makes the file name optional; a part with the type of a file is one without it too.
      isPartAFile: (_field, type, filename) =>
        filename !== undefined || (type !== undefined && !type.startsWith('text/')),
    })
  } catch (error) {
    throw isParserError(error) ? broken : error
  }
  // An error that is thrown here, rather than emitted by the parser, is our own fault and reaches the log.
  await new Promise<void>((resolve, reject) => {
    parser.on('error', () => reject(broken))
    parser.on('finish', resolve)
    // Thrown within `end`, so the rest is not read: 4.5 MB have room for hundreds of thousands, which took 12 seconds.
    parser.on('partsLimit', () => {
      throw new ApiError('INVALID_MULTIPART', `A form may have ${MAX_PARTS} parts at most.`)
    })
    // A part need not have a name.
    parser.on('file', (field: string | undefined, stream, filename) => {
      fields.add(field ?? '')
      const chunks: Buffer[] = []
      stream.on('data', (chunk: Buffer) => chunks.push(chunk))
      // A part that is cut off fails its stream beside the parser; unheard, that would end the process.
      stream.on('error', () => reject(broken))
      stream.on('end', () => {
        // In one piece, as a rule: a part of the body, which needs no copy.
        const [first] = chunks
        const bytes = first !== undefined && chunks.length === 1 ? first : Buffer.concat(chunks)
        // A file input that was left empty is sent too.
        const chosen = bytes.length > 0 || Boolean(filename)
        // Browsers write quotation marks and line breaks so (HTML, section "Multipart form data").
        const name = filename?.replaceAll(/%(22|0D|0A)/gi, decodeURIComponent)
        // Some clients give each part a type of its own, such as that of JSON.
        if (field === 'analyses') analyses.push(bytes.toString())
        if (chosen && (field === 'image' || field === 'file')) files.push({ bytes, filename: name })
      })
    })
    parser.on('field', (field: string | undefined, value) => {
      fields.add(field ?? '')
      if (field === 'analyses') analyses.push(value)
    })
    parser.end(body)
  })
  const [file, another] = files
  if (another !== undefined) throw new ApiError('MULTIPLE_IMAGES', 'Send one image per request.')
  if (file === undefined) {
    throw missing('The form needs one file in the field "image" (or "file")', 'Field', fields, FORM_FIELDS)
  }
  refuseUnknown('Field', fields, FORM_FIELDS)
  return { ...file, ...(analyses.length > 0 ? { analyses: analyses.join(',') } : {}) }
}

/** More than any JSON body that carries no image. */
const MAX_JSON_BYTES = 65_536

/** @throws ApiError UNSUPPORTED_MEDIA_TYPE, INVALID_JSON, INVALID_PARAMETER */
export async function readJson(sent: Sent): Promise<Record<string, unknown>> {
  const { request } = sent
  refuseCoding(request)
  if (mediaTypeOf(request) !== JSON_TYPE) {
    throw new ApiError('UNSUPPORTED_MEDIA_TYPE', 'Send JSON, with "content-type: application/json".')
  }
  const body = await readBody(sent, MAX_JSON_BYTES, MAX_JSON_BYTES).catch((error) => {
    const isLarge = error instanceof ApiError && error.code === 'IMAGE_TOO_LARGE'
    throw isLarge
      ? new ApiError(
          'INVALID_PARAMETER',
          `The body may have at most ${MAX_JSON_BYTES.toLocaleString('en')} bytes on this route.`,
        )
      : error
  })
  return parseJson(body)
}

/** With a byte-order mark or without, as some programs write one before all text. What is no object lacks all properties. */
function parseJson(sent: Buffer | string): Record<string, unknown> {
  let body: unknown
  try {
    const isText = typeof sent === 'string'
    body = JSON.parse(
      isText ? sent.replace(/^\ufeff/, '') : new TextDecoder('utf-8', { fatal: true }).decode(sent),
    )
  } catch {
    const start = typeof sent === 'string' ? sent.slice(0, 4) : sent.toString('latin1', 0, 4)
    // Every second byte of UTF-16 is a zero, of what JSON begins with, also where a gateway has made text of it.
    if (start.includes('\0') || /^(\xff\xfe|\xfe\xff)/.test(start)) {
      throw new ApiError(
        'INVALID_JSON',
        'The body looks like UTF-16: send JSON in UTF-8 (RFC 8259, section 8.1).',
      )
    }
    if (!isUtf8(Buffer.from(sent)))
      throw new ApiError('INVALID_JSON', 'The body is not UTF-8, as JSON has to be.')
    throw new ApiError('INVALID_JSON', 'The body is not valid JSON.')
  }
  const isObject = typeof body === 'object' && body !== null && !Array.isArray(body)
  return isObject ? (body as Record<string, unknown>) : {}
}

function fromJson(body: Record<string, unknown>): Upload {
  const names = Object.keys(body)
  if (body['image'] === undefined || body['image'] === null) {
    const what = 'The JSON object needs the image as base64 in "image"'
    throw missing(what, 'Property', names, JSON_PROPERTIES)
  }
  refuseUnknown('Property', names, JSON_PROPERTIES)
  const { image, filename } = parse(jsonImageSchema, body, 'Property')
  return { bytes: decodeBase64(image), filename, analyses: body['analyses'] }
}

/**
 * `Buffer.from` passes over junk, ends at padding and takes the alphabet of URLs as well. So each four characters must
 * have given three bytes, and the last four, written again, must be the same: a bit that is no byte's would be lost in them.
 */
function decodeBase64(image: string): Buffer {
  const base64 = /^data:/i.test(image) ? afterDataPrefix(image) : image
  const bytes = Buffer.from(base64, 'base64')
  const quads = Math.ceil(bytes.length / 3)
  const last = bytes.subarray(Math.max(0, quads - 1) * 3).toString('base64')
  if (base64.length !== quads * 4 || !base64.endsWith(last) || base64.includes('-') || base64.includes('_')) {
    throw new ApiError(
      'INVALID_BASE64',
      '"image" must be base64 (RFC 4648, section 4) with padding and no other characters.',
    )
  }
  return bytes
}

function afterDataPrefix(url: string): string {
  const comma = url.indexOf(',')
  if (comma < 0 || !url.slice(0, comma).toLowerCase().endsWith(';base64')) {
    throw new ApiError('INVALID_BASE64', 'A data URL must carry base64: "data:image/png;base64,…".')
  }
  return url.slice(comma + 1)
}

/** Name, and value as a quoted string or a token (RFC 9110, section 5.6.6). */
const PARAMETER = /;\s*([\w*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s"]*))/g

/**
 * The file name of a Content-Disposition header (RFC 6266): `filename*` in UTF-8 or Latin-1 (RFC 8187) before `filename`.
 * A header that cannot be read names nothing; a file name is not worth a refusal.
 */
function filenameOf(value: string | null): string | undefined {
  if (value === null) return undefined
  const parameters = new Map(
    [...value.matchAll(PARAMETER)].map(([, name = '', quoted, token]) => [
      name.toLowerCase(),
      quoted?.replaceAll(/\\(.)/g, '$1') ?? token,
    ]),
  )
  const [, charset = '', extended] =
    /^(utf-8|iso-8859-1)'[^']*'(.+)$/i.exec(parameters.get('filename*') ?? '') ?? []
  if (extended !== undefined) {
    try {
      if (/^utf/i.test(charset)) return decodeURIComponent(extended)
      return extended.replaceAll(/%([\da-f]{2})/gi, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)))
    } catch {
      // Then the plain name, which such senders also give, has to do.
    }
  }
  const name = parameters.get('filename')
  if (name === undefined) return undefined
  // HTTP hands header bytes over as Latin-1, while most senders mean UTF-8.
  const bytes = Buffer.from(name, 'latin1')
  return isUtf8(bytes) ? bytes.toString('utf8') : name
}

/** Unicode code points; file systems take as many characters, or bytes. */
const MAX_FILENAME_CHARACTERS = 255
/** Far more UTF-16 code units than a shortened name is made of, and few enough to normalize. */
const MANY_UNITS = 4_096
/** What could show a name as another one, move a cursor or end a line. Joiners stay: scripts and emoji are written with them. */
const UNSAFE = /[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}]/gu
/** The braille pattern without dots is a symbol to Unicode, and blank all the same. */
const VISIBLE = /[^\p{Cf}\p{M}\p{Z}\p{Default_Ignorable_Code_Point}\u2800.]/u

/** The last part of a path: a name to show, never one to act on. Undefined where nothing of it can be seen. */
export function cleanFilename(name: string | undefined): string | undefined {
  const safe = name?.split(/[/\\]/).at(-1)?.replaceAll(UNSAFE, '') ?? ''
  const bounded = safe.length > 2 * MANY_UNITS ? safe.slice(0, MANY_UNITS) + safe.slice(-MANY_UNITS) : safe
  const clean = shortened(bounded.toWellFormed().normalize('NFC').trim())
  return VISIBLE.test(clean) ? clean : undefined
}

/** At most MAX_FILENAME_CHARACTERS, with the extension, and without the half of a character that is seen as one. */
function shortened(name: string): string {
  if ([...name].length <= MAX_FILENAME_CHARACTERS) return name
  const extension = /\.[^.\s]{1,16}$/u.exec(name)?.[0] ?? ''
  const stem = name.slice(0, name.length - extension.length)
  let left = MAX_FILENAME_CHARACTERS - [...extension].length
  let kept = ''
  for (const { segment } of new Intl.Segmenter('und').segment(stem.slice(0, MANY_UNITS))) {
    left -= [...segment].length
    if (left < 0) break
    kept += segment
  }
  // One that is longer than a name may be is still cut.
  if (kept === '') kept = [...stem].slice(0, MAX_FILENAME_CHARACTERS - [...extension].length).join('')
  return (kept + extension).trim()
}

/** A file that its sender will post to S3. */
export interface Announced {
  contentType: ContentType
  bytes: number
  filename?: string
}
export const ANNOUNCED_PROPERTIES = [...Object.keys(announcedSchema(false).shape), 'analyses']

/** @throws ApiError UNSUPPORTED_FORMAT, IMAGE_TOO_LARGE, INVALID_PARAMETER */
export function announcedBy(
  body: Record<string, unknown>,
  { heic, maxUploadBytes }: { heic: boolean; maxUploadBytes: number },
): Announced {
  const types: string[] = acceptedTypes(heic)
  if (typeof body['contentType'] === 'string' && !types.includes(body['contentType'])) {
    throw new ApiError('UNSUPPORTED_FORMAT', `Property \`contentType\` must be one of ${types.join(', ')}.`)
  }
  const { contentType, bytes, filename } = parse(announcedSchema(heic), body, 'Property')
  if (bytes > maxUploadBytes) {
    throw new ApiError(
      'IMAGE_TOO_LARGE',
      `An image may have at most ${maxUploadBytes.toLocaleString('en')} bytes.`,
    )
  }
  const name = cleanFilename(filename)
  return { contentType, bytes, ...(name === undefined ? {} : { filename: name }) }
}

/** Where and with what to POST, in any order but the file last (Amazon S3, POST policy). */
export interface PostForm {
  url: string
  fields: Record<string, string>
}

export type PresignPost = (key: string, contentType: string, bytes: number) => Promise<PostForm>

/** Seconds for which a form is good: long enough for 50 MB over a slow line. */
export const UPLOAD_SECONDS = 900

export const postForms =
  (s3: S3Client, Bucket: string): PresignPost =>
  async (Key, contentType, bytes) => {
    // Loaded by the first form, not by every cold start.
    const { createPresignedPost } = await import('@aws-sdk/s3-presigned-post')
    return createPresignedPost(s3, {
      Bucket,
      Key,
      Fields: { 'Content-Type': contentType },
      // The key is exact. One byte more or less is not what was announced.
      Conditions: [
        ['eq', '$Content-Type', contentType],
        ['content-length-range', bytes, bytes],
      ],
      Expires: UPLOAD_SECONDS,
    })
  }
