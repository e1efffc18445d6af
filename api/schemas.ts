import type { ContentfulStatusCode } from 'hono/utils/http-status'
import * as z from 'zod'
import { acceptedTypes } from '../packages/image-guard/format.ts'
import { MAX_WAIT_SECONDS } from '../shared/config.ts'
import {
  ANALYSES,
  type AnalysisName,
  FAILURE_CODES,
  type Image,
  imageIdSchema,
  imageSchema,
  statusSchema,
} from '../shared/image.ts'
import { DETAIL_TYPES, EVENT_SOURCE, eventDetailSchema } from '../shared/messages.ts'
import { folded } from '../shared/table.ts'

/**
 * What goes over HTTP, in both directions, errors included. The app checks requests and shapes answers by these, the
 * OpenAPI document is made of them, and the client's types follow from them.
 */

// Errors

/** Every error that the API answers with. The code is what clients may rely on; status and title follow from it. */
export const API_ERRORS = {
  EMPTY_IMAGE: [400, 'The image is empty'],
  INVALID_JSON: [400, 'The body is not valid JSON'],
  INVALID_BASE64: [400, 'The image is not valid base64'],
  INVALID_MULTIPART: [400, 'The body is not valid multipart/form-data'],
  MISSING_IMAGE: [400, 'The request has no image'],
  MULTIPLE_IMAGES: [400, 'The request has more than one image'],
  INVALID_PARAMETER: [400, 'A parameter is not valid'],
  UNAUTHENTICATED: [401, 'The caller is not authenticated'],
  IMAGE_NOT_FOUND: [404, 'There is no such image'],
  NOT_FOUND: [404, 'Not found'],
  METHOD_NOT_ALLOWED: [405, 'The method is not allowed here'],
  NOT_FAILED: [409, 'The image has not failed'],
  PRECONDITION_FAILED: [412, 'The image has changed'],
  IMAGE_TOO_LARGE: [413, 'The image is too large'],
  UNSUPPORTED_FORMAT: [415, 'The format of the image is not supported'],
  UNSUPPORTED_MEDIA_TYPE: [415, 'The media type of the request body is not supported'],
  IDEMPOTENCY_KEY_REUSED: [422, 'The idempotency key was used for another request'],
  TOO_MANY_REQUESTS: [429, 'Too many images were submitted'],
  BUDGET_EXHAUSTED: [429, 'The monthly budget is spent'],
  UNAVAILABLE: [503, 'The service is temporarily unavailable'],
} as const satisfies Record<string, readonly [ContentfulStatusCode, string]>

/** Seconds after which a caller may try again when a service behind the API did not answer. */
const RETRY_AFTER_UNAVAILABLE = 5

export type ApiErrorCode = keyof typeof API_ERRORS

/** Thrown where a fact is known; turned into an answer in one place, the app's `onError`. */
export class ApiError extends Error {
  readonly code: ApiErrorCode
  /** The scheme by which a caller has to prove who they are (RFC 9110, section 11.6.1). */
  readonly challenge: string | undefined
  /** Seconds after which the same request may succeed. */
  readonly retryAfter: number | undefined
  /** Of the answer. */
  readonly headers: Record<string, string>
  /** @param detail a sentence for the caller: nothing internal, and of theirs no more than a name, through `quoted` */
  constructor(
    code: ApiErrorCode,
    detail: string,
    more: { challenge?: string; retryAfter?: number; headers?: Record<string, string> } = {},
  ) {
    super(detail)
    this.name = 'ApiError'
    this.code = code
    this.challenge = more.challenge
    this.retryAfter = more.retryAfter ?? (code === 'UNAVAILABLE' ? RETRY_AFTER_UNAVAILABLE : undefined)
    this.headers = more.headers ?? {}
  }
}

const QUOTED_CHARACTERS = 64

/** A name that a caller sent, for a sentence about it: printable ASCII only, and not at any length. */
export function quoted(name: string): string {
  const [shown, more] = [name.slice(0, QUOTED_CHARACTERS), name.length > QUOTED_CHARACTERS ? '…' : '']
  return `\`${shown.replaceAll(/[^\x20-\x7e]|`/g, '?')}${more}\``
}

// Requests

/**
 * @param what the value is, or each of its properties: `Query parameter`
 * @throws ApiError INVALID_PARAMETER that names what is wrong
 */
export function parse<T extends z.ZodType>(schema: T, value: unknown, what: string): z.infer<T> {
  const result = schema.safeParse(value, { error: demandOf })
  if (result.success) return result.data
  const [issue] = result.error.issues
  const name = issue?.path.length ? ` ${quoted(String(issue.path[0]))}` : ''
  throw new ApiError('INVALID_PARAMETER', `${what}${name} ${issue?.message ?? 'is not valid'}.`)
}

const KINDS: Record<string, string> = {
  array: 'a list',
  int: 'a whole number',
  number: 'a number',
  string: 'a string',
}

/** What a schema demands that does not say it itself. */
function demandOf(issue: z.core.$ZodRawIssue): string {
  if (issue.code === 'invalid_value')
    return issue.input === undefined ? 'is missing' : `must be one of ${issue.values.join(', ')}`
  if (issue.code === 'too_small') return `must be more than ${issue.minimum}`
  if (issue.code !== 'invalid_type') return 'is not valid'
  return issue.input === undefined ? 'is missing' : `must be ${KINDS[issue.expected] ?? issue.expected}`
}

/**
 * What is not known is refused, not passed over: a filter that is misspelt would show everything.
 *
 * @throws ApiError INVALID_PARAMETER
 */
export function refuseUnknown(what: string, names: Iterable<string>, known: readonly string[]): void {
  const unknown = firstUnknown(what, names, known)
  if (unknown === undefined) return
  const others = known.length === 0 ? 'none' : known.map(quoted).join(', ')
  throw new ApiError('INVALID_PARAMETER', `${unknown}; this route takes ${others}.`)
}

/** @returns a sentence without its end */
export function firstUnknown(
  what: string,
  names: Iterable<string>,
  known: readonly string[],
): string | undefined {
  for (const name of names) if (!known.includes(name)) return `${what} ${quoted(name)} is unknown`
  return undefined
}

/** A number of a query, where it comes as text: plain digits, with none of what `Number` reads. */
const inQuery = (pattern: RegExp, number: z.ZodNumber) =>
  z.preprocess((text) => (typeof text === 'string' && pattern.test(text) ? Number(text) : text), number)

function wholeNumber(min: number, max: number) {
  const error = `must be a whole number from ${min} to ${max}`
  return inQuery(/^\d{1,3}$/, z.int(error).min(min, error).max(max, error))
}

function percentage() {
  const error = 'must be a number from 0 to 100'
  return inQuery(/^\d{1,3}(\.\d{1,20})?$/, z.number(error).min(0, error).max(100, error))
}

export const idempotencyKeySchema = z
  .string()
  .regex(/^[\x21-\x7e]{1,255}$/, 'must be 1 to 255 visible ASCII characters')

/** In a query or a form they are one text, with commas between them. */
export const analysesSchema = (offered: AnalysisName[]) =>
  z.object({
    analyses: z.preprocess(
      (asked) => (typeof asked === 'string' ? asked.split(',').map((name) => name.trim()) : asked),
      z
        .array(z.enum(withMetadata(offered)))
        .min(1, 'must not be empty')
        .max(100, 'may have at most 100 names')
        .refine((names) => !names.includes('faces-when-person') || names.includes('labels'), {
          error: 'has `faces-when-person` without `labels`, which show whether there is a person: name both',
        }),
    ),
  })

/** Each once and in one order; the position is a part of the metadata. */
export const withMetadata = (names: AnalysisName[]): AnalysisName[] =>
  ANALYSES.filter((name) => names.includes(name) || (name === 'metadata' && names.includes('gps')))

/** What a request gets that names none. The position only where it is asked for by name. */
export function usualAnalyses(offers: {
  analyses: AnalysisName[]
  faces: 'always' | 'when-person'
}): AnalysisName[] {
  const offered = withMetadata(offers.analyses)
  const hasFaces = offered.includes('faces') && offers.faces === 'always'
  const usual: AnalysisName[] = ['labels', hasFaces ? 'faces' : 'faces-when-person', 'metadata']
  const chosen = offered.filter((name) => usual.includes(name))
  const isUsual = chosen.some((name) => name !== 'metadata')
  return isUsual ? chosen : offered.filter((name) => !['gps', 'faces-when-person'].includes(name))
}

export const waitSchema = z.object({
  wait: wholeNumber(0, MAX_WAIT_SECONDS).default(0).meta({
    description:
      'Seconds to wait for the end of the analysis. The answer comes as soon as the image is finished, at the latest after {maxWaitSeconds} s.',
    example: 20,
  }),
})

/** Labels that one search may name. */
const MAX_LABELS = 5
const labelName = z.string().min(1, 'must not be empty').max(256, 'may have at most 256 characters')
/** What Rekognition's DetectFaces knows. */
const emotionSchema = z.enum([
  'HAPPY',
  'SAD',
  'ANGRY',
  'CONFUSED',
  'DISGUSTED',
  'SURPRISED',
  'CALM',
  'UNKNOWN',
  'FEAR',
])

/** A day, or a moment with its offset from UTC (RFC 3339). @param lastOf where a day stands for its last millisecond */
function moment(lastOf: boolean) {
  const error = 'must be a day like 2026-01-31, or a time like 2026-01-31T12:00:00Z'
  const given = z.union([z.iso.date(), z.iso.datetime({ offset: true })], error).transform((text) => {
    const time = Date.parse(text)
    return lastOf && text.length === '2026-01-31'.length ? time + 86_399_999 : time
  })
  // Its T and Z may be small letters (RFC 3339, section 5.6).
  return z.preprocess((text) => (typeof text === 'string' ? text.toUpperCase() : text), given)
}

const NOT_ISSUED = 'was not issued by this API'
/** What a cursor holds. `Buffer.from` passes over junk, and a cut cursor would be that of another page. */
const cursorText = z
  .string()
  .max(2_048, NOT_ISSUED)
  .refine((cursor) => toCursor(Buffer.from(cursor, 'base64url').toString()) === cursor, NOT_ISSUED)
  .transform((cursor) => Buffer.from(cursor, 'base64url').toString())
export const toCursor = (text: string): string => Buffer.from(text).toString('base64url')

/** Descriptions, here and below, are those of the OpenAPI document. */
export const listSchema = z
  .object({
    limit: wholeNumber(1, 100)
      .default(20)
      .meta({ description: 'The maximum number of images on a page.', example: 10 }),
    /** The last id of the page before. It holds no owner, so a stolen one opens nothing. */
    cursor: cursorText
      .pipe(z.uuid({ version: 'v7', error: NOT_ISSUED }).pipe(imageIdSchema))
      .optional()
      .meta({ description: 'The `cursor` of the page before.' }),
    status: statusSchema.optional().meta({ description: 'Only images with this status.' }),
    label: z
      .preprocess(
        (given) => (typeof given === 'string' ? [given] : given),
        z.array(labelName).max(MAX_LABELS, `may be given at most ${MAX_LABELS} times`),
      )
      .optional()
      .meta({
        description:
          'Images with this label only: a name as Rekognition gives it, in upper or lower case. Repeat the parameter for images with all of several labels.',
        example: ['Person'],
      }),
    minConfidence: percentage()
      .optional()
      .meta({ description: 'The minimum confidence of each label, in per cent, of which hundredths count.' }),
    faces: z
      .enum(['true', 'false'], 'must be true or false')
      .transform((text) => text === 'true')
      .optional()
      .meta({ description: 'Images with a face, or analysed images without one.' }),
    emotion: z
      .preprocess((text) => (typeof text === 'string' ? text.toUpperCase() : text), emotionSchema)
      .optional()
      .meta({
        description: 'Images with a face whose strongest emotion is this one, in upper or lower case.',
      }),
    failure: z.enum(FAILURE_CODES).optional().meta({ description: 'Images that failed with this code.' }),
    filename: z
      .string()
      .min(1, 'must not be empty')
      .max(255, 'may have at most 255 characters')
      .optional()
      .meta({ description: 'Images whose file name contains this text, in upper or lower case.' }),
    from: moment(false).optional().meta({
      description: 'Images accepted at this time or later: a day (in UTC), or a time with its offset.',
    }),
    to: moment(true).optional().meta({
      description: 'Images accepted at this time or earlier; a day counts to its end.',
    }),
  })
  .refine(({ label, minConfidence }) => minConfidence === undefined || label !== undefined, {
    path: ['minConfidence'],
    error: 'needs the parameter `label`',
  })
  .refine(({ from = Number.NEGATIVE_INFINITY, to = Number.POSITIVE_INFINITY }) => from <= to, {
    path: ['from'],
    error: 'is later than `to`',
  })

export const labelsSchema = z
  .object({
    prefix: z
      .string()
      .max(256, 'may have at most 256 characters')
      .default('')
      .meta({ description: 'Only names that begin with this text, in upper or lower case.', example: 'p' }),
    limit: wholeNumber(1, 100).default(20).meta({ description: 'The maximum number of names on a page.' }),
    /** The last name of the page before. */
    cursor: cursorText
      // A list of images has ids in its cursors.
      .refine((name) => name !== '' && !UUID.test(name), NOT_ISSUED)
      .optional()
      .meta({ description: 'The `cursor` of the page before.' }),
  })
  .refine(({ prefix, cursor }) => cursor === undefined || folded(cursor).startsWith(folded(prefix)), {
    path: ['cursor'],
    error: 'belongs to a list with another prefix',
  })

const filename = z
  .string()
  .nullish()
  .transform((name) => name ?? undefined)

/** An image in JSON; `analyses` is looked at once the image is read. */
export const jsonImageSchema = z.object({ image: z.string(), filename })

const announced = (heic: boolean) =>
  z.object({ contentType: z.enum(acceptedTypes(heic)), bytes: z.int().positive(), filename })
const withHeic = announced(true)
const withoutHeic = announced(false)
/** HEIC is a matter of the deployment. Each is made once: a request that had one of its own would also compile it. */
export const announcedSchema = (heic: boolean) => (heic ? withHeic : withoutHeic)

/** Both as the document has them: the analyses are a matter of the deployment too. */
export const jsonImageIn = ({ analyses }: { analyses: AnalysisName[] }) =>
  jsonImageSchema.extend({ analyses: analysesSchema(analyses).shape.analyses.optional() })
export const announcedIn = (api: { heic: boolean; analyses: AnalysisName[]; maxUploadBytes: number }) =>
  announcedSchema(api.heic).extend({
    // More than that has an error of its own, IMAGE_TOO_LARGE.
    bytes: z.int().positive().max(api.maxUploadBytes),
    analyses: analysesSchema(api.analyses).shape.analyses.optional(),
  })

// Answers

/** What a client sees of every record, in this order: not its owner, not its lease, nothing that only the pipeline needs. */
const HEAD = { imageId: true, status: true, createdAt: true, updatedAt: true } as const
const FACTS = { attempts: true, original: true } as const
const [awaited, pending, processing, completed, failed] = imageSchema.options

const unfinishedView = { ...HEAD, ...FACTS, analyses: true } as const
export const imageView = z.discriminatedUnion('status', [
  awaited.pick(unfinishedView),
  pending.pick(unfinishedView),
  processing.pick({ ...unfinishedView, waits: true }),
  completed.pick({
    ...HEAD,
    completedAt: true,
    ...FACTS,
    thumbnail: true,
    preview: true,
    rekognitionLabels: true,
    rekognitionFaces: true,
    rekognitionModerationLabels: true,
    rekognitionTextDetections: true,
    labelModelVersion: true,
    moderationModelVersion: true,
    textModelVersion: true,
    metadata: true,
    analyses: true,
    analysis: true,
    facesSkipped: true,
    reused: true,
    paidCalls: true,
  }),
  failed.pick({ ...HEAD, completedAt: true, ...FACTS, analyses: true, paidCalls: true, failure: true }),
])
export type ImageView = z.infer<typeof imageView>

/** Lists leave the results out, which can be hundreds of kilobytes, and say this of them instead. */
export const listedView = z.discriminatedUnion('status', [
  awaited.pick({ ...HEAD, ...FACTS }),
  pending.pick({ ...HEAD, ...FACTS }),
  processing.pick({ ...HEAD, ...FACTS }),
  completed.pick({
    ...HEAD,
    completedAt: true,
    ...FACTS,
    thumbnail: true,
    labelModelVersion: true,
    labels: true,
    faceCount: true,
  }),
  failed.pick({ ...HEAD, completedAt: true, ...FACTS, failure: true }),
])
export type ListedView = z.infer<typeof listedView>

/** The part of a record that a view shows. */
export function shown<V extends typeof imageView | typeof listedView>(
  view: V,
  image: Pick<Image, 'status'> & Record<string, unknown>,
): z.infer<V> {
  const names = view.options.find(({ shape }) => shape.status.value === image.status)?.shape ?? {}
  const values = Object.keys(names).flatMap((name) => (name in image ? [[name, image[name]]] : []))
  return Object.fromEntries(values) as z.infer<V>
}

export const imagePageSchema = z.object({ items: z.array(listedView), cursor: z.string().optional() })
export type ImagePage = z.infer<typeof imagePageSchema>

export const labelPageSchema = z.object({
  items: z.array(z.object({ name: z.string() })),
  cursor: z.string().optional(),
})
export type LabelPage = z.infer<typeof labelPageSchema>

export const acceptedSchema = z.object({
  imageId: imageIdSchema,
  status: z.literal('pending'),
  message: z.string(),
})
export type Accepted = z.infer<typeof acceptedSchema>

export const uploadFormSchema = z.object({
  imageId: imageIdSchema,
  /** Another one than `awaiting_upload` only where a request is repeated after its upload. */
  status: statusSchema,
  upload: z.object({ url: z.url(), fields: z.record(z.string(), z.string()) }),
  expiresAt: z.iso.datetime(),
})
export type UploadForm = z.infer<typeof uploadFormSchema>

/** A URL of the bucket that is good for some minutes. */
export const presignedSchema = z.object({ url: z.url() })
export type Presigned = z.infer<typeof presignedSchema>

/** As sent to EventBridge, which adds an id, an account, a region and a time. */
export const eventSchema = z.object({
  source: z.literal(EVENT_SOURCE),
  'detail-type': z.enum(DETAIL_TYPES),
  detail: eventDetailSchema,
})
export type Event = z.infer<typeof eventSchema>

export const healthSchema = z.object({ status: z.literal('ok') })
export type Health = z.infer<typeof healthSchema>

/** RFC 9457. */
export const problemSchema = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  code: z.enum(Object.keys(API_ERRORS) as ApiErrorCode[]),
  detail: z.string(),
  instance: z.string(),
})
export type Problem = z.infer<typeof problemSchema>

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

export function problemOf(error: ApiError, requestId: string): Problem {
  const [status, title] = API_ERRORS[error.code]
  return {
    type: `urn:image-analyzer:problem:${error.code.toLowerCase().replaceAll('_', '-')}`,
    title,
    status,
    code: error.code,
    detail: error.message,
    // API Gateway's ids are UUIDs in a REST API only.
    instance: UUID.test(requestId) ? `urn:uuid:${requestId}` : `urn:image-analyzer:request:${requestId}`,
  }
}

/**
 * An error as `application/problem+json` (RFC 9457).
 *
 * @param requestId names this occurrence; the log has the same id
 */
export function problem(error: ApiError, requestId: string): Response {
  const body = problemOf(error, requestId)
  const headers = new Headers({
    'content-type': 'application/problem+json',
    'cache-control': 'no-store',
    ...error.headers,
  })
  if (error.challenge !== undefined) headers.set('www-authenticate', error.challenge)
  if (error.retryAfter !== undefined) headers.set('retry-after', String(error.retryAfter))
  return new Response(JSON.stringify(body), { status: body.status, headers })
}
