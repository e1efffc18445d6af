import { createHash } from 'node:crypto'
import { GetObjectCommand, NoSuchKey } from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import type { Context } from 'hono'
import { accepts } from 'hono/accepts'
import {
  type AnalysisName,
  analysisSchema,
  type CompletedImage,
  type Image,
  imageIdSchema,
  isFinished,
  originalKey,
  previewKey,
  thumbnailKey,
} from '../shared/image.ts'
import { getOwnImage } from '../shared/lifecycle.ts'
import { DETAIL_TYPES, EVENT_SOURCE, eventDetail } from '../shared/messages.ts'
import type { ApiDeps, Page } from './deps.ts'
import { listImages, listLabels } from './list.ts'
import { createWaiting } from './records.ts'
import { type Answer, type ApiContext, openRoute, type Route, route, serve } from './route.ts'
import {
  type Accepted,
  ApiError,
  acceptedSchema,
  analysesSchema,
  announcedIn,
  type Event,
  eventSchema,
  type Health,
  healthSchema,
  type ImagePage,
  idempotencyKeySchema,
  imagePageSchema,
  imageView,
  jsonImageIn,
  type LabelPage,
  labelPageSchema,
  labelsSchema,
  listedView,
  listSchema,
  type Presigned,
  parse,
  presignedSchema,
  refuseUnknown,
  shown,
  toCursor,
  type UploadForm,
  uploadFormSchema,
  usualAnalyses,
  waitSchema,
  withMetadata,
} from './schemas.ts'
import { awaitUpload, deleteImage, resubmitImage, submitImage } from './submit.ts'
import { ANNOUNCED_PROPERTIES, analysesOfQuery, announcedBy, readJson, readUpload, sentBy } from './upload.ts'

/** The web page and the API of the pipeline. Every route answers in JSON but the page and the redirects. */
export function buildApp(deps: ApiDeps): ReturnType<typeof serve> {
  let document: Promise<object> | undefined
  return serve(
    {
      ...deps,
      wait: createWaiting(deps),
      // Made for the first who asks, not at every cold start.
      document: () => {
        document ??= import('./openapi.ts').then(({ openApi }) => openApi(deps, ROUTES))
        return document
      },
    },
    ROUTES,
  )
}

/** Seconds for which the URL of a thumbnail or an original is good: long enough to follow a redirect on a slow line. */
const PRESIGNED_SECONDS = 300
/** Seconds that a client is asked to leave between two polls. */
const POLL_SECONDS = '1'
/** The most of them for an image that waits: no job stays away longer (worker/outcomes.ts), also where two clocks differ. */
const LONGEST_POLL_SECONDS = 3_600

const ANALYSES_TEXT =
  'The analyses to run. Without it an image gets {usualAnalyses}. `faces-when-person` asks for faces where the labels show a person, and the record says `facesSkipped` where they do not. `gps` comes with `metadata`, and only where it is named.'
const BINARY = { type: 'string', format: 'binary' }
const HTML: Answer = { description: 'HTML.', type: 'text/html' }

const page = openRoute({
  method: 'GET',
  path: '/',
  open: 'unless signed',
  tag: 'About',
  operationId: 'getPage',
  summary: 'The web page',
  description:
    'Submits images and shows them. Its address keeps the filters, under the names of the parameters of `GET /images`.',
  leaves: Object.keys(listSchema.shape),
  answers: { 200: HTML },
  answer: (c, deps) => showPage(c, deps.page()),
})

const reference = openRoute({
  method: 'GET',
  path: '/docs',
  open: 'unless signed',
  tag: 'About',
  operationId: 'getReference',
  summary: 'This document as a page',
  description: 'With code for each route, and a form to try it.',
  answers: { 200: HTML },
  // The reference asks for what is beside it, which is elsewhere behind a slash.
  answer: (c, { docs }) => (hasTrailingSlash(c) ? c.redirect('../docs', 308) : showPage(c, docs())),
})

const document = openRoute({
  method: 'GET',
  path: '/openapi.json',
  open: 'unless signed',
  tag: 'About',
  operationId: 'getDocument',
  summary: 'This document',
  description: 'Generated from the declarations by which the API checks requests and shapes answers.',
  answers: { 200: { description: 'OpenAPI 3.1.', schema: { type: 'object' } } },
  answer: async (c, deps) => c.json(await deps.document(), 200, { 'cache-control': 'no-cache' }),
})

const health = openRoute({
  method: 'GET',
  path: '/health',
  open: 'always',
  tag: 'About',
  operationId: 'getHealth',
  summary: 'Health check',
  description: 'Answers without a call to AWS.',
  answers: { 200: { description: 'It is.', schema: healthSchema } },
  answer: (c) => c.json({ status: 'ok' } satisfies Health, 200, { 'cache-control': 'no-store' }),
})

const submit = route({
  method: 'POST',
  path: '/images',
  tag: 'Images',
  operationId: 'submitImage',
  summary: 'Submit an image',
  description:
    'At most {maxImageBytes} bytes of {formats}, recognised by their content. Send larger images by `POST /uploads`.',
  parameters: {
    filename:
      'A name to show, where neither the body nor Content-Disposition has one. It keeps its extension, and at most 255 characters (code points).',
    analyses: ANALYSES_TEXT,
  },
  headers: {
    'Content-Disposition': 'With the name of a file, for raw bytes.',
    'Idempotency-Key':
      'Makes it safe to send the same request (bytes, file name and analyses) again within a day: it is one image, also after its deletion (404 `IMAGE_NOT_FOUND`). With another request it is refused (422).',
  },
  body: (api) => ({
    'multipart/form-data': {
      schema: {
        type: 'object',
        properties: {
          image: { ...BINARY, description: 'One file; the field may be called `file` too.' },
          file: BINARY,
          analyses: { type: 'string', description: 'Names, separated by commas.' },
        },
        additionalProperties: false,
      },
      encoding: { image: { contentType: 'image/*, application/octet-stream' } },
    },
    'application/octet-stream': { schema: BINARY },
    'image/*': { schema: BINARY },
    'application/json': { schema: jsonImageIn(api) },
  }),
  answers: {
    202: {
      description: 'The image is accepted.',
      schema: acceptedSchema,
      headers: ['Location', 'Retry-After'],
    },
  },
  refuses: [
    'EMPTY_IMAGE',
    'INVALID_JSON',
    'INVALID_BASE64',
    'INVALID_MULTIPART',
    'MISSING_IMAGE',
    'MULTIPLE_IMAGES',
    'INVALID_PARAMETER',
    'IMAGE_TOO_LARGE',
    'UNSUPPORTED_FORMAT',
    'UNSUPPORTED_MEDIA_TYPE',
    'IMAGE_NOT_FOUND',
    'IDEMPOTENCY_KEY_REUSED',
    'TOO_MANY_REQUESTS',
    'BUDGET_EXHAUSTED',
  ],
  answer: async ({ c, deps, asker }) => {
    const key = idempotencyKeyOf(c)
    const upload = await readUpload(sentBy(c), deps.maxImageBytes)
    const analyses = wantedAnalyses(deps, upload.analyses)
    const imageId = await submitImage(deps, asker, upload, analyses, key)
    const message = 'The image is accepted; poll its URL or subscribe to its event.'
    return c.json({ imageId, status: 'pending', message } satisfies Accepted, 202, {
      location: relative(c, `images/${imageId}`),
      'retry-after': POLL_SECONDS,
    })
  },
})

const announce = route({
  method: 'POST',
  path: '/uploads',
  tag: 'Images',
  operationId: 'createUpload',
  summary: 'Get a form for a large image',
  description:
    'For at most {maxUploadBytes} bytes. Post `upload.fields` and then the file, in the field `file`, to `upload.url` as multipart/form-data. The image is analysed when it has arrived.',
  parameters: { analyses: ANALYSES_TEXT },
  headers: {
    'Idempotency-Key':
      'Makes it safe to send the same announcement again within a day: it is one image, with a new form; after its deletion, 404 `IMAGE_NOT_FOUND`. With another announcement it is refused (422).',
  },
  body: (api) => ({ 'application/json': { schema: announcedIn(api) } }),
  answers: {
    201: {
      description: 'The form is good until `expiresAt`.',
      schema: uploadFormSchema,
      headers: ['Location'],
    },
  },
  refuses: [
    'INVALID_JSON',
    'INVALID_PARAMETER',
    'IMAGE_TOO_LARGE',
    'UNSUPPORTED_FORMAT',
    'UNSUPPORTED_MEDIA_TYPE',
    'IMAGE_NOT_FOUND',
    'IDEMPOTENCY_KEY_REUSED',
    'TOO_MANY_REQUESTS',
    'BUDGET_EXHAUSTED',
  ],
  answer: async ({ c, deps, asker }) => {
    const key = idempotencyKeyOf(c)
    const body = await readJson(sentBy(c))
    refuseUnknown('Property', Object.keys(body), ANNOUNCED_PROPERTIES)
    const analyses = wantedAnalyses(deps, body['analyses'] ?? analysesOfQuery(c.req.raw))
    const announced = announcedBy(body, deps)
    const { imageId, status, upload, expiresAt } = await awaitUpload(deps, asker, announced, analyses, key)
    return c.json({ imageId, status, upload, expiresAt } satisfies UploadForm, 201, {
      location: relative(c, `images/${imageId}`),
    })
  },
})

const list = route({
  method: 'GET',
  path: '/images',
  tag: 'Images',
  operationId: 'listImages',
  summary: 'List images',
  description: 'Newest first. A page may have fewer images than asked for; the end has no `cursor`.',
  query: listSchema,
  answers: { 200: { description: 'A page of images, without their results.', schema: imagePageSchema } },
  answer: async ({ c, deps, asker, query: { cursor: after, label: labels, ...wanted } }) => {
    const { items, last } = await listImages(deps, asker.owner, { ...wanted, after, labels })
    const shownItems = items.map((item) => shown(listedView, item))
    return c.json({ items: shownItems, ...cursorTo(last) } satisfies ImagePage, 200, UNKEPT)
  },
})

const labels = route({
  method: 'GET',
  path: '/labels',
  tag: 'Images',
  operationId: 'listLabels',
  summary: 'List labels',
  description:
    'The names of labels that images have, in alphabetical order. A page may have fewer names than asked for; the end has no `cursor`.',
  query: labelsSchema,
  answers: { 200: { description: 'A page of names.', schema: labelPageSchema } },
  answer: async ({ c, deps, asker, query: { prefix, limit, cursor: after } }) => {
    const { names, last } = await listLabels(deps, asker.owner, { prefix, limit, after })
    const items = names.map((name) => ({ name }))
    return c.json({ items, ...cursorTo(last) } satisfies LabelPage, 200, UNKEPT)
  },
})

const IF_MATCH = { 'If-Match': 'The ETag of an earlier answer: 412 where the record has changed since.' }

const record = route({
  method: 'GET',
  path: '/images/{imageId}',
  tag: 'Images',
  operationId: 'getImage',
  summary: 'Get the record of an image',
  description: 'All that is known of it. Its properties depend on its `status`.',
  query: waitSchema,
  headers: { ...IF_MATCH, 'If-None-Match': 'The ETag of an earlier answer.' },
  answers: {
    200: {
      description:
        'The record. `Retry-After` says when to come back, while the image is unfinished; `waits` why no worker is at it, and until when.',
      schema: imageView,
      headers: ['ETag', 'Retry-After?', 'Server-Timing?'],
    },
    304: {
      description: 'The record has not changed.',
      headers: ['ETag', 'Retry-After?', 'Server-Timing?'],
    },
  },
  refuses: ['INVALID_PARAMETER', 'IMAGE_NOT_FOUND', 'PRECONDITION_FAILED'],
  answer: async ({ c, deps, asker, query: { wait } }) => {
    const look = () => findImage(c, deps, asker.owner)
    const waitMs = Math.min(wait, deps.maxWaitSeconds) * 1_000
    const began = deps.elapsed()
    const key = JSON.stringify([asker.owner, c.req.param('imageId')])
    const image = waitMs === 0 ? await look() : await deps.wait(key, look, waitMs, c.req.raw.signal)
    // W3C Server Timing, in milliseconds: less than was asked for, and unfinished, where the wait was cut short.
    if (wait > 0) c.header('server-timing', `wait;dur=${Math.round(deps.elapsed() - began)}`)
    const { body, etag } = await represent(deps, image)
    c.header('etag', etag)
    // The record changes until it is finished, and may be deleted after; a cache has to ask each time.
    c.header('cache-control', 'private, no-cache')
    if (!isFinished(image)) c.header('retry-after', pollAfter(image, deps.now()))
    if (!matches(c.req.header('if-match') ?? '*', etag)) refuseChanged()
    if (matches(c.req.header('if-none-match'), etag, WEAKLY)) return c.body(null, 304)
    return c.body(body, 200, { 'content-type': 'application/json' })
  },
})

/** Seconds after which there may be news of an image: a job that waits comes back at a known time. */
function pollAfter(image: Image, now: Date): string {
  const waits = image.status === 'processing' ? image.waits : undefined
  if (waits === undefined) return POLL_SECONDS
  const left = Math.ceil((Date.parse(waits.until) - now.getTime()) / 1_000)
  return String(Math.min(Math.max(left, Number(POLL_SECONDS)), LONGEST_POLL_SECONDS))
}

const remove = route({
  method: 'DELETE',
  path: '/images/{imageId}',
  tag: 'Images',
  operationId: 'deleteImage',
  summary: 'Delete an image',
  description: 'In any state; a job that still waits for it ends quietly.',
  headers: IF_MATCH,
  answers: { 204: { description: 'Record, original, thumbnail and preview are gone.' } },
  refuses: ['IMAGE_NOT_FOUND', 'PRECONDITION_FAILED'],
  answer: async ({ c, deps, asker }) => {
    const image = await findImage(c, deps, asker.owner)
    const isOneState = await demandMatch(c, deps, image)
    await deleteImage(deps, asker, image, isOneState ? refuseChanged : undefined)
    return c.body(null, 204)
  },
})

const linkTo = (leadsTo: Answer['leadsTo']): Record<number, Answer> => ({
  200: {
    description: 'With `Accept: application/json`, a URL that is good for some minutes.',
    schema: presignedSchema,
  },
  302: {
    description: 'To a URL that is good for some minutes.',
    headers: ['Location'],
    ...(leadsTo === undefined ? {} : { leadsTo }),
  },
})

const thumbnail = route({
  method: 'GET',
  path: '/images/{imageId}/thumbnail',
  tag: 'Images',
  operationId: 'getThumbnail',
  summary: 'Get the thumbnail',
  description: 'JPEG, 128 × 128, upright.',
  answers: linkTo(thumbnailKey),
  refuses: ['IMAGE_NOT_FOUND', 'NOT_FOUND'],
  answer: async ({ c, deps, asker }) => {
    const { imageId } = await findCompleted(c, deps, asker.owner, 'thumbnail')
    return redirectTo(c, deps, { Key: thumbnailKey(imageId), ResponseContentType: 'image/jpeg' })
  },
})

const preview = route({
  method: 'GET',
  path: '/images/{imageId}/preview',
  tag: 'Images',
  operationId: 'getPreview',
  summary: 'Get the preview',
  description: 'JPEG of the whole upright picture, at most 1,600 pixels a side; 404 where previews are off.',
  answers: linkTo(previewKey),
  refuses: ['IMAGE_NOT_FOUND', 'NOT_FOUND'],
  answer: async ({ c, deps, asker }) => {
    const image = await findCompleted(c, deps, asker.owner, 'preview')
    if (image.preview === undefined) {
      throw new ApiError(
        'NOT_FOUND',
        'The image has no preview: it was analysed without. Its original and its thumbnail are there.',
      )
    }
    return redirectTo(c, deps, { Key: previewKey(image.imageId), ResponseContentType: 'image/jpeg' })
  },
})

const original = route({
  method: 'GET',
  path: '/images/{imageId}/original',
  tag: 'Images',
  operationId: 'getOriginal',
  summary: 'Get the original',
  description: 'As an attachment under its own name.',
  answers: linkTo(originalKey),
  refuses: ['IMAGE_NOT_FOUND', 'NOT_FOUND'],
  answer: async ({ c, deps, asker }) => {
    const image = await findImage(c, deps, asker.owner)
    // What is uploaded to S3 directly is kept once it has been looked at, and is an image.
    if (image.original.sha256 === undefined) {
      throw new ApiError(
        'NOT_FOUND',
        'There is no original: it has not been uploaded or checked yet, or it is not an image.',
      )
    }
    return redirectTo(c, deps, {
      Key: originalKey(image.imageId),
      ResponseContentType: image.original.contentType,
      ResponseContentDisposition: attachment(image.original.filename ?? image.imageId),
    })
  },
})

const event = route({
  method: 'GET',
  path: '/images/{imageId}/event',
  tag: 'Images',
  operationId: 'getEvent',
  summary: 'Get the event that announced the end',
  description: 'As sent to EventBridge, which adds an id, an account, a region and a time.',
  answers: { 200: { description: 'The event.', schema: eventSchema } },
  refuses: ['IMAGE_NOT_FOUND', 'NOT_FOUND'],
  answer: async ({ c, deps, asker }) => {
    const image = await findImage(c, deps, asker.owner)
    if (!isFinished(image)) throw new ApiError('NOT_FOUND', `The image is ${image.status} and has no event.`)
    const announced: Event = {
      source: EVENT_SOURCE,
      'detail-type': DETAIL_TYPES[image.status],
      detail: eventDetail(image),
    }
    return c.json(announced, 200, { 'cache-control': 'private, no-cache' })
  },
})

const AGAIN = 'The image is analysed again.'
const retry = route({
  method: 'POST',
  path: '/images/{imageId}/retry',
  tag: 'Images',
  operationId: 'retryImage',
  summary: 'Analyse a failed image again',
  description: 'With the analyses that were asked for; the outcome is announced by an event of its own.',
  answers: {
    202: {
      description: 'The image is pending again.',
      schema: acceptedSchema,
      example: { message: AGAIN },
      headers: ['Location', 'Retry-After'],
    },
  },
  headers: IF_MATCH,
  refuses: ['IMAGE_NOT_FOUND', 'NOT_FAILED', 'PRECONDITION_FAILED', 'BUDGET_EXHAUSTED'],
  answer: async ({ c, deps, asker }) => {
    const image = await findImage(c, deps, asker.owner)
    await demandMatch(c, deps, image)
    // Of another run than this one it says NOT_FAILED.
    await resubmitImage(deps, asker, image)
    const { imageId } = image
    return c.json({ imageId, status: 'pending', message: AGAIN } satisfies Accepted, 202, {
      location: relative(c, `../${imageId}`),
      'retry-after': POLL_SECONDS,
    })
  },
})

/** Every route there is: a new one is declared above and named here. */
export const ROUTES: readonly Route[] = [
  submit,
  list,
  labels,
  announce,
  record,
  remove,
  thumbnail,
  preview,
  original,
  event,
  retry,
  health,
  document,
  reference,
  page,
]

function showPage(c: Context, { html, contentSecurityPolicy }: Page): Response | Promise<Response> {
  return c.html(html, 200, {
    'content-security-policy': contentSecurityPolicy,
    'cache-control': 'no-cache',
  })
}

/** @throws ApiError INVALID_PARAMETER */
const idempotencyKeyOf = (c: Context): string | undefined =>
  parse(idempotencyKeySchema.optional(), c.req.header('idempotency-key'), 'Idempotency-Key')

/** @throws ApiError INVALID_PARAMETER */
function wantedAnalyses(deps: ApiDeps, asked: unknown): AnalysisName[] {
  if (asked === undefined || asked === null) return usualAnalyses(deps)
  const { analyses } = parse(analysesSchema(deps.analyses), { analyses: asked }, 'Parameter')
  return withoutRepetition(withMetadata(analyses))
}

/** `faces` asks always, so beside it `faces-when-person` would ask for nothing more. */
const withoutRepetition = (names: AnalysisName[]): AnalysisName[] =>
  names.filter((name) => name !== 'faces-when-person' || !names.includes('faces'))

async function findImage(c: Context, deps: ApiDeps, owner: string): Promise<Image> {
  const imageId = imageIdSchema.safeParse(c.req.param('imageId'))
  const image = imageId.success ? await getOwnImage(deps, owner, imageId.data) : undefined
  if (image === undefined) throw new ApiError('IMAGE_NOT_FOUND', 'No image of yours has this id.')
  return image
}

/** @throws ApiError as `findImage`; NOT_FOUND where the image has no such picture yet */
async function findCompleted(
  c: Context,
  deps: ApiDeps,
  owner: string,
  wanted: 'thumbnail' | 'preview',
): Promise<CompletedImage> {
  const image = await findImage(c, deps, owner)
  if (image.status === 'completed') return image
  throw new ApiError('NOT_FOUND', `The image is ${image.status} and has no ${wanted}.`)
}

/** Results that were too large for the record come from their object. */
async function withAnalysis({ s3 }: ApiDeps, image: Image): Promise<Image> {
  if (image.status !== 'completed' || image.analysis === undefined) return image
  const { bucket, key } = image.analysis
  try {
    const { Body } = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: key }))
    return { ...image, ...analysisSchema.parse(JSON.parse((await Body?.transformToString()) ?? '')) }
  } catch (error) {
    // Deleted in this moment, or by hand; the outlines are in the record.
    if (error instanceof NoSuchKey) return image
    throw error
  }
}

/**
 * With `Accept: application/json` the URL comes in the body: a browser's <img> cannot send a token, and a `fetch` that
 * follows a redirect to S3 needs the bucket's leave to read what it gets.
 */
async function redirectTo(
  c: ApiContext,
  { s3, bucket }: ApiDeps,
  object: { Key: string; ResponseContentType: string; ResponseContentDisposition?: string },
): Promise<Response> {
  const url = await getSignedUrl(s3, new GetObjectCommand({ Bucket: bucket, ...object }), {
    expiresIn: PRESIGNED_SECONDS,
  })
  c.header('cache-control', 'no-store')
  c.header('vary', 'accept')
  const wanted = accepts(c, {
    header: 'Accept',
    supports: ['text/html', JSON_TYPE],
    default: 'text/html',
    match: (ranges) =>
      ranges.find(({ type, q }) => type.toLowerCase() === JSON_TYPE && q > 0)?.type ?? 'text/html',
  })
  return wanted === 'text/html' ? c.redirect(url, 302) : c.json({ url } satisfies Presigned)
}

const JSON_TYPE = 'application/json'

/** A record as it is shown, and what identifies this state of it. */
async function represent(deps: ApiDeps, image: Image): Promise<{ body: string; etag: string }> {
  const body = JSON.stringify(shown(imageView, await withAnalysis(deps, image)))
  return { body, etag: `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"` }
}

/**
 * RFC 9110, section 13.1.1: with If-Match, only a record in a state that the caller has seen is changed.
 *
 * @returns whether it has to stay in that state until the change
 * @throws ApiError PRECONDITION_FAILED
 */
async function demandMatch(c: Context, deps: ApiDeps, image: Image): Promise<boolean> {
  const ifMatch = c.req.header('if-match')
  if (ifMatch === undefined || matches(ifMatch, '*')) return false
  if (!matches(ifMatch, (await represent(deps, image)).etag)) refuseChanged()
  return true
}

function refuseChanged(): never {
  throw new ApiError('PRECONDITION_FAILED', 'The image is not as If-Match says: read it again.')
}

/** Tags of a list, each of which may have commas and stars in it (RFC 9110, section 8.8.3): with `W/`, or without it. */
const STRONGLY = /(?:W\/)?"[^"]*"/gi
const WEAKLY = /"[^"]*"/g
/** @param tags a list of ETags, or `*` (RFC 9110, section 13.1): If-Match compares strongly; If-None-Match weakly */
const matches = (tags: string | undefined, etag: string, as = STRONGLY): boolean =>
  tags?.trim() === '*' || (tags?.match(as)?.includes(etag) ?? false)

/** RFC 6266 with the name in UTF-8 only, percent-encoded, so that no character of it can end the header. */
const attachment = (filename: string): string =>
  `attachment; filename*=UTF-8''${encodeURIComponent(filename).replaceAll(/['()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)}`

/** The cursor of the next page, where there is one. */
const cursorTo = (last: string | undefined): { cursor?: string } =>
  last === undefined ? {} : { cursor: toCursor(last) }

/** For lists: the next answer may be another one. */
const UNKEPT = { 'cache-control': 'no-store' }

const hasTrailingSlash = (c: Context): boolean => new URL(c.req.url).pathname.endsWith('/')

/** A URL relative to the request's, so that it is right below any stage prefix, which the app cannot see. */
const relative = (c: Context, path: string): string => (hasTrailingSlash(c) ? `../${path}` : path)
