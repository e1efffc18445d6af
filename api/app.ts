import { createHash, randomUUID } from 'node:crypto'
import { GetObjectCommand, NoSuchKey } from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import { type Context, Hono } from 'hono'
import { accepts } from 'hono/accepts'
import { cors } from 'hono/cors'
import { matchedRoutes } from 'hono/route'
import * as z from 'zod'
import { acceptedTypes } from '../packages/image-guard/format.ts'
import {
  ANALYSES,
  type AnalysisName,
  analysisSchema,
  type Image,
  imageIdSchema,
  isFinished,
  originalKey,
  previewKey,
  thumbnailKey,
} from '../shared/image.ts'
import { say } from '../shared/log.ts'
import { DETAIL_TYPES, EVENT_SOURCE, eventDetail } from '../shared/messages.ts'
import type { ApiDeps, Page } from './deps.ts'
import { listImages, listLabels } from './list.ts'
import { createWaiting, getOwnImage } from './records.ts'
import {
  type Accepted,
  ApiError,
  analysesSchema,
  announcedSchema,
  type Event,
  type Health,
  type ImagePage,
  idempotencyKeySchema,
  imageView,
  type LabelPage,
  labelsSchema,
  listedView,
  listSchema,
  type Presigned,
  parse,
  problem,
  quoted,
  refuseUnknown,
  shown,
  type UploadForm,
  waitSchema,
} from './schemas.ts'
import { type Asker, awaitUpload, deleteImage, resubmitImage, submitImage } from './submit.ts'
import { analysesOfQuery, cleanFilename, readJson, readUpload, sentBy } from './upload.ts'

/**
 * On every answer that has none of its own. Nothing but the page is a document, so nothing may run or be framed; HSTS
 * counts over HTTPS only (RFC 6797, section 8.1).
 */
const SECURITY_HEADERS = {
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'strict-transport-security': 'max-age=31536000',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
}

type Env = {
  Variables: { requestId: string; clientRequestId: string | undefined }
  /** What stands before the app may have refused the request already; the app only words the answer. */
  Bindings: { refused?: ApiError; requestContext?: { requestId?: unknown } }
}

/** Seconds for which the URL of a thumbnail or an original is good: long enough to follow a redirect on a slow line. */
const PRESIGNED_SECONDS = 300
/** Seconds that a client is asked to leave between two polls. */
const POLL_SECONDS = '1'

/** What a query may ask of each route; of the others, nothing. */
const QUERY_PARAMETERS: Record<string, readonly string[]> = {
  'POST /images': ['filename', 'analyses'],
  'POST /uploads': ['analyses'],
  'GET /images': Object.keys(listSchema.shape),
  // The page keeps its filters in its own address.
  'GET /': Object.keys(listSchema.shape),
  'GET /labels': Object.keys(labelsSchema.shape),
  'GET /images/:imageId': Object.keys(waitSchema.shape),
}
/** Lists: to give one twice is to give both. */
const REPEATABLE = ['analyses', 'label']

/** The web page and the API of the pipeline. Every route answers in JSON but the page and the redirects. */
export function buildApp(deps: ApiDeps): Hono<Env> {
  const app = new Hono<Env>({ strict: false })
  const waitUntilFinished = createWaiting(deps)

  app.use(async (c, next) => {
    // API Gateway's own, so that its access log, the answer and our log name the request alike.
    c.set('requestId', GATEWAY_ID.safeParse(c.env?.requestContext?.requestId).data ?? randomUUID())
    c.set('clientRequestId', CLIENT_ID.safeParse(c.req.header('x-request-id')).data)
    await next()
    c.header('x-request-id', c.get('requestId'))
    for (const [name, value] of Object.entries(SECURITY_HEADERS)) {
      if (!c.res.headers.has(name)) c.header(name, value)
    }
  })
  if (deps.corsOrigins !== undefined) {
    const allow = cors({
      origin: deps.corsOrigins,
      allowMethods: ['GET', 'POST', 'DELETE'],
      allowHeaders: [
        ...['authorization', 'content-type', 'content-disposition', 'idempotency-key', 'if-none-match'],
      ],
      exposeHeaders: ['etag', 'location', 'retry-after', 'server-timing', 'x-request-id'],
      maxAge: 3_600,
    })
    // It answers every OPTIONS; one that is no preflight asks for methods (below).
    const isPlainOptions = (c: Context) =>
      c.req.method === 'OPTIONS' && c.req.header('access-control-request-method') === undefined
    app.use((c, next) => (isPlainOptions(c) ? next() : allow(c, next)))
  }
  app.use(async (c, next) => {
    if (c.env?.refused !== undefined) throw c.env.refused
    await next()
  })
  app.notFound((c) => {
    const allow = methodsOf(c.req.path)
    if (allow === '') return refuse(c, new ApiError('NOT_FOUND', 'No route has this path.'))
    if (c.req.method === 'OPTIONS') return c.body(null, 204, { allow })
    const hint = c.req.path === '/' ? ' Images are submitted by POST /images.' : ''
    return refuse(
      c,
      new ApiError('METHOD_NOT_ALLOWED', `This path takes ${allow} only.${hint}`, { headers: { allow } }),
    )
  })
  app.onError((error, c) => {
    if (error instanceof ApiError) return refuse(c, error)
    say(deps.log, 'request failed', { ...requestOf(c), error })
    return problem(
      new ApiError('UNAVAILABLE', 'Something behind the API did not answer. Nothing was lost.'),
      c.get('requestId'),
    )
  })

  app.get('/', (c) => {
    demandKnownQuery(c)
    return showPage(c, deps.page)
  })
  // The reference asks for what is beside it, which is elsewhere behind a slash.
  app.get('/docs', (c) => {
    demandKnownQuery(c)
    // The reference asks for what is beside it, which is elsewhere behind a slash.
    return hasTrailingSlash(c) ? c.redirect('../docs', 308) : showPage(c, deps.docs())
  })

  let document: Promise<object> | undefined
  app.get('/openapi.json', async (c) => {
    demandKnownQuery(c)
    // Made for whoever asks first, not at every cold start.
    document ??= import('./openapi.ts').then(({ openApi }) => openApi(deps))
    return c.json(await document, 200, { 'cache-control': 'no-cache' })
  })

  app.get('/health', (c) => {
    demandKnownQuery(c)
    return c.json({ status: 'ok' } satisfies Health, 200, { 'cache-control': 'no-store' })
  })

  app.post('/images', async (c) => {
    const asker = await askerOf(c)
    const key = parse(idempotencyKeySchema.optional(), c.req.header('idempotency-key'), 'Idempotency-Key')
    const upload = await readUpload(sentBy(c), deps.maxImageBytes)
    const imageId = await submitImage(deps, asker, upload, wantedAnalyses(upload.analyses), key)
    return c.json(
      {
        imageId,
        status: 'pending',
        message: 'The image is accepted; poll its URL or subscribe to its event.',
      } satisfies Accepted,
      202,
      { location: reference(c, `images/${imageId}`), 'retry-after': POLL_SECONDS },
    )
  })

  app.post('/uploads', async (c) => {
    const asker = await askerOf(c)
    const key = parse(idempotencyKeySchema.optional(), c.req.header('idempotency-key'), 'Idempotency-Key')
    const body = await readJson(sentBy(c))
    refuseUnknown('Property', Object.keys(body), [...Object.keys(announcedSchema.shape), 'analyses'])
    const analyses = wantedAnalyses(body['analyses'] ?? analysesOfQuery(c.req.raw))
    const types: string[] = acceptedTypes(deps.heic)
    if (typeof body['contentType'] === 'string' && !types.includes(body['contentType'])) {
      throw new ApiError('UNSUPPORTED_FORMAT', `"contentType" must be one of ${types.join(', ')}.`)
    }
    const { contentType, bytes, filename } = parse(announcedSchema, body, 'The body')
    if (bytes > deps.maxUploadBytes) {
      throw new ApiError(
        'IMAGE_TOO_LARGE',
        `An image may have at most ${deps.maxUploadBytes.toLocaleString('en')} bytes.`,
      )
    }
    const name = cleanFilename(filename)
    const { imageId, status, upload, expiresAt } = await awaitUpload(
      deps,
      asker,
      { contentType, bytes, ...(name === undefined ? {} : { filename: name }) },
      analyses,
      key,
    )
    return c.json({ imageId, status, upload, expiresAt } satisfies UploadForm, 201, {
      location: reference(c, `images/${imageId}`),
    })
  })

  app.get('/images', async (c) => {
    const owner = await ownerOf(c)
    const { label, ...query } = c.req.query()
    const asked = label === undefined ? query : { ...query, label: c.req.queries('label') }
    const { cursor: after, label: labels, ...wanted } = parse(listSchema, asked, 'The query')
    const { items, last } = await listImages(deps, owner, { ...wanted, after, labels })
    return c.json(
      {
        items: items.map((item) => shown(listedView, item)),
        ...(last === undefined ? {} : { cursor: writeCursor(last) }),
      } satisfies ImagePage,
      200,
      {
        'cache-control': 'no-store',
      },
    )
  })

  app.get('/labels', async (c) => {
    const owner = await ownerOf(c)
    const { prefix, limit, cursor: after } = parse(labelsSchema, c.req.query(), 'The query')
    const { names, last } = await listLabels(deps, owner, { prefix, limit, after })
    return c.json(
      {
        items: names.map((name) => ({ name })),
        ...(last === undefined ? {} : { cursor: writeCursor(last) }),
      } satisfies LabelPage,
      200,
      { 'cache-control': 'no-store' },
    )
  })

  app.get('/images/:imageId', async (c) => {
    const owner = await ownerOf(c)
    const { wait } = parse(waitSchema, c.req.query(), 'The query')
    const imageId = c.req.param('imageId')
    const look = () => findImage(imageId, owner)
    const waitMs = Math.min(wait, deps.maxWaitSeconds) * 1_000
    const began = deps.elapsed()
    const image =
      waitMs === 0
        ? await look()
        : await waitUntilFinished(JSON.stringify([owner, imageId]), look, waitMs, c.req.raw.signal)
    // W3C Server Timing, in milliseconds: less than was asked for, and unfinished, where the wait was cut short.
    if (wait > 0) c.header('server-timing', `wait;dur=${Math.round(deps.elapsed() - began)}`)
    const body = JSON.stringify(shown(imageView, await withAnalysis(image)))
    const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`
    c.header('etag', etag)
    // The record changes until it is finished, and may be deleted after; a cache has to ask each time.
    c.header('cache-control', 'private, no-cache')
    if (!isFinished(image)) c.header('retry-after', POLL_SECONDS)
    if (matches(c.req.header('if-none-match'), etag)) return c.body(null, 304)
    return c.body(body, 200, { 'content-type': 'application/json' })
  })

  app.get('/images/:imageId/thumbnail', async (c) => {
    const image = await findImage(c.req.param('imageId'), await ownerOf(c))
    if (image.status !== 'completed') {
      throw new ApiError('NOT_FOUND', `The image is ${image.status} and has no thumbnail.`)
    }
    return redirectTo(c, { Key: thumbnailKey(image.imageId), ResponseContentType: 'image/jpeg' })
  })

  app.get('/images/:imageId/preview', async (c) => {
    const image = await findImage(c.req.param('imageId'), await ownerOf(c))
    if (image.status !== 'completed') {
      throw new ApiError('NOT_FOUND', `The image is ${image.status} and has no preview.`)
    }
    if (image.preview === undefined) {
      throw new ApiError(
        'NOT_FOUND',
        'The image has no preview: it was analysed without. Its original and its thumbnail are there.',
      )
    }
    return redirectTo(c, { Key: previewKey(image.imageId), ResponseContentType: 'image/jpeg' })
  })

  app.get('/images/:imageId/original', async (c) => {
    const { imageId, original } = await findImage(c.req.param('imageId'), await ownerOf(c))
    // What is uploaded to S3 directly is kept once it has been looked at, and is an image.
    if (original.sha256 === undefined) {
      throw new ApiError(
        'NOT_FOUND',
        'There is no original: it has not been uploaded or looked at yet, or is no image.',
      )
    }
    return redirectTo(c, {
      Key: originalKey(imageId),
      ResponseContentType: original.contentType,
      ResponseContentDisposition: attachment(original.filename ?? imageId),
    })
  })

  // What EventBridge was told of this image; it adds an id, account, region and time of its own.
  app.get('/images/:imageId/event', async (c) => {
    const image = await findImage(c.req.param('imageId'), await ownerOf(c))
    if (!isFinished(image)) throw new ApiError('NOT_FOUND', `The image is ${image.status} and has no event.`)
    const event: Event = {
      source: EVENT_SOURCE,
      'detail-type': DETAIL_TYPES[image.status],
      detail: eventDetail(image),
    }
    return c.json(event, 200, { 'cache-control': 'private, no-cache' })
  })

  app.post('/images/:imageId/retry', async (c) => {
    const asker = await askerOf(c)
    const image = await findImage(c.req.param('imageId'), asker.owner)
    await resubmitImage(deps, asker, image)
    return c.json(
      {
        imageId: image.imageId,
        status: 'pending',
        message: 'The image is analysed again.',
      } satisfies Accepted,
      202,
      { location: reference(c, `../${image.imageId}`), 'retry-after': POLL_SECONDS },
    )
  })

  app.delete('/images/:imageId', async (c) => {
    const asker = await askerOf(c)
    await deleteImage(deps, asker, await findImage(c.req.param('imageId'), asker.owner))
    return c.body(null, 204)
  })

  /** Who asks, and asks for nothing that the route does not know; to a stranger that is no matter. */
  async function ownerOf(c: Context<Env>): Promise<string> {
    const owner = await deps.identify(c)
    demandKnownQuery(c)
    return owner
  }

  async function askerOf(c: Context<Env>): Promise<Asker> {
    const owner = await ownerOf(c)
    return { owner, requestId: c.get('requestId'), clientRequestId: c.get('clientRequestId') }
  }

  function refuse(c: Context<Env>, error: ApiError): Response {
    const answer = problem(error, c.get('requestId'))
    say(deps.log, 'refused', { ...requestOf(c), status: answer.status, code: error.code })
    return answer
  }

  /** @throws ApiError INVALID_PARAMETER */
  function demandKnownQuery(c: Context<Env>): void {
    const names = [...new URL(c.req.url).searchParams.keys()]
      // A signature may stand in the query, where API Gateway has looked at it.
      .filter((name) => deps.auth !== 'iam' || !/^x-amz-/i.test(name))
    const { method, path } = matchedRoutes(c).at(-1) ?? {}
    refuseUnknown('Query parameter', names, QUERY_PARAMETERS[`${method} ${path}`] ?? [])
    const repeated = names.find((name, at) => names.indexOf(name) < at && !REPEATABLE.includes(name))
    // Of two values, no one knows which is meant.
    if (repeated !== undefined) {
      throw new ApiError('INVALID_PARAMETER', `Query parameter ${quoted(repeated)} is repeated.`)
    }
  }

  /** The methods of a path, as the header Allow has them; nothing where there is no such path. */
  function methodsOf(path: string): string {
    const taken = app.routes
      .filter((route) => new RegExp(`^${route.path.replaceAll(/:\w+/g, '[^/]+')}$`).test(path))
      .flatMap(({ method }) => (method === 'GET' ? ['GET', 'HEAD'] : [method]))
    return METHODS.filter((method) => taken.includes(method)).join(', ')
  }

  function showPage(c: Context<Env>, { html, contentSecurityPolicy }: Page): Response | Promise<Response> {
    return c.html(html, 200, {
      'content-security-policy': contentSecurityPolicy,
      'cache-control': 'no-cache',
    })
  }

  /** @throws ApiError INVALID_PARAMETER */
  function wantedAnalyses(asked: unknown): AnalysisName[] {
    const offered = withMetadata(deps.analyses)
    if (asked === undefined || asked === null) {
      const usual: AnalysisName[] = offered.filter((name) => name === 'labels' || name === 'faces')
      // The position only where it is asked for by name.
      const others = (name: AnalysisName) => usual.length === 0 && name !== 'gps'
      return offered.filter((name) => name === 'metadata' || usual.includes(name) || others(name))
    }
    return withMetadata(parse(analysesSchema(offered), { analyses: asked }, 'The request').analyses)
  }

  async function findImage(id: string, owner: string): Promise<Image> {
    const imageId = imageIdSchema.safeParse(id)
    const image = imageId.success ? await getOwnImage(deps, owner, imageId.data) : undefined
    if (image === undefined) throw new ApiError('IMAGE_NOT_FOUND', 'No image of yours has this id.')
    return image
  }

  /** Results that were too large for the record come from their object. */
  async function withAnalysis(image: Image): Promise<Image> {
    if (image.status !== 'completed' || image.analysis === undefined) return image
    const { bucket, key } = image.analysis
    try {
      const { Body } = await deps.s3.send(new GetObjectCommand({ Bucket: bucket, Key: key }))
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
    c: Context<Env>,
    object: { Key: string; ResponseContentType: string; ResponseContentDisposition?: string },
  ): Promise<Response> {
    const url = await getSignedUrl(deps.s3, new GetObjectCommand({ Bucket: deps.bucket, ...object }), {
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

  return app
}

const GATEWAY_ID = z.string().regex(/^[\w=-]{1,64}$/)
const CLIENT_ID = z.string().regex(/^[\w.-]{1,64}$/)

/** A request, as lines of the log have it: with the route's names in place of what a caller has put there. */
const requestOf = (c: Context<Env>) => ({
  ...{ requestId: c.get('requestId'), clientRequestId: c.get('clientRequestId') },
  ...{ method: c.req.method, route: matchedRoutes(c).at(-1)?.path ?? '/*' },
})

/** Each once and in one order; the position is a part of the metadata. */
const withMetadata = (names: AnalysisName[]): AnalysisName[] =>
  ANALYSES.filter((name) => names.includes(name) || (name === 'metadata' && names.includes('gps')))

/** RFC 9110, section 13.1.2: a list of tags or `*`, compared weakly. */
const matches = (ifNoneMatch: string | undefined, etag: string): boolean =>
  ifNoneMatch?.split(',').some((tag) => ['*', etag].includes(tag.trim().replace(/^W\//, ''))) ?? false

/** RFC 6266 with the name in UTF-8 only, percent-encoded, so that no character of it can end the header. */
const attachment = (filename: string): string =>
  `attachment; filename*=UTF-8''${encodeURIComponent(filename).replaceAll(/['()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)}`

const writeCursor = (last: string): string => Buffer.from(last).toString('base64url')

const JSON_TYPE = 'application/json'

/** Those of all routes, in the order in which they are told. HEAD is where GET is. */
const METHODS = ['GET', 'HEAD', 'POST', 'DELETE']

const hasTrailingSlash = (c: Context): boolean => new URL(c.req.url).pathname.endsWith('/')

/** A URL relative to the request's, so that it is right below any stage prefix, which the app cannot see. */
const reference = (c: Context, path: string): string => (hasTrailingSlash(c) ? `../${path}` : path)
