import { randomUUID } from 'node:crypto'
import type { Span } from '@opentelemetry/api'
import { type Context, Hono } from 'hono'
import { cors } from 'hono/cors'
import { matchedRoutes } from 'hono/route'
import * as z from 'zod'
import type { ImageId } from '../shared/image.ts'
import { say } from '../shared/log.ts'
import { inSpan, openTelemetry, xraySpan } from '../shared/messages.ts'
import type { ApiDeps, AppDeps } from './deps.ts'
import { ApiError, type ApiErrorCode, parse, problem, quoted, refuseUnknown } from './schemas.ts'
import type { Asker } from './submit.ts'

/** What a route is, and how all of them are served. openapi.ts describes them, by the same declarations. */

/** What a deployment settles of the API: descriptions name it in braces, as in `{maxWaitSeconds}`. */
export type Described = Pick<
  ApiDeps,
  'auth' | 'analyses' | 'faces' | 'heic' | 'maxImageBytes' | 'maxUploadBytes' | 'maxWaitSeconds'
>

type Schema = z.ZodType | Readonly<Record<string, unknown>>

/** An answer that is no refusal. */
export interface Answer {
  description: string
  /** JSON by default, and HTML is text. */
  type?: 'text/html'
  /** One that has a name in the document is referred to, and has its example there. */
  schema?: Schema
  /** What the example of this route has of its own. */
  example?: object
  /** Names; one that is not always there ends with a question mark. */
  headers?: string[]
  /** Of a redirect to an object of the bucket: its key, for an example. */
  leadsTo?: (imageId: ImageId) => string
}

/** What one kind of body holds. */
export interface Content {
  schema: Schema
  encoding?: Record<string, { contentType: string }>
}

interface Declaration {
  method: 'GET' | 'POST' | 'DELETE'
  /** As OpenAPI writes it. */
  path: string
  tag: 'Images' | 'About'
  operationId: string
  summary: string
  description: string
  /** Of the query, what the handler reads; and headers. Each has a description. */
  parameters?: Readonly<Record<string, string>>
  headers?: Readonly<Record<string, string>>
  /** By media type. */
  body?: (api: Described) => Record<string, Content>
  answers: Readonly<Record<number, Answer>>
  /** INVALID_PARAMETER and UNAVAILABLE apart, which every route has. */
  refuses?: readonly ApiErrorCode[]
}

/** A declared route, ready to be served and described. */
export interface Route extends Declaration {
  /** Whether anybody may ask; on AWS the gateway still asks for a signature, but of what is `always` open. */
  open?: 'always' | 'unless signed'
  query?: z.ZodObject
  handle: (c: ApiContext, deps: AppDeps) => Promise<Response>
}

/** A request that is known to be in order, as far as its route declares that. */
interface Asked<Query> {
  c: ApiContext
  deps: AppDeps
  query: Query
}

const NOTHING = z.object({})

/** A route that needs to know who asks: to a stranger other faults are not named. */
export function route<Query extends z.ZodObject = typeof NOTHING>(
  declared: Declaration & {
    query?: Query
    answer: (asked: Asked<z.infer<Query>> & { asker: Asker }) => Promise<Response>
  },
): Route {
  const { answer, query, ...rest } = declared
  return {
    ...rest,
    ...(query === undefined ? {} : { query }),
    handle: async (c, deps) => {
      const owner = await deps.identify(c)
      const asker = { owner, ...idsOf(c) }
      return answer({ c, deps, asker, query: readQuery(c, deps, query, rest.parameters) })
    },
  }
}

/** A route for everybody. */
export function openRoute(
  declared: Declaration & {
    open: 'always' | 'unless signed'
    /** Of the query, what the answer leaves to others. */
    leaves?: readonly string[]
    answer: (c: ApiContext, deps: AppDeps) => Response | Promise<Response>
  },
): Route {
  const { answer, leaves = [], ...rest } = declared
  return {
    ...rest,
    handle: async (c, deps) => {
      demandKnown(c, deps, leaves)
      return answer(c, deps)
    },
  }
}

type Env = {
  Variables: Record<'traceId' | 'clientRequestId', string | undefined> & { requestId: string }
  /** What stands before the app may have refused the request already; the app only words the answer. */
  Bindings: { refused?: ApiError; requestContext?: { requestId?: unknown } }
}
export type ApiContext = Context<Env>

/** Lists: to give one twice is to give both. */
const REPEATABLE = ['analyses', 'label']

/** @throws ApiError INVALID_PARAMETER */
function readQuery<Query extends z.ZodObject>(
  c: ApiContext,
  deps: AppDeps,
  schema: Query | undefined,
  parameters: Readonly<Record<string, string>> = {},
): z.infer<Query> {
  demandKnown(c, deps, [...Object.keys(schema?.shape ?? {}), ...Object.keys(parameters)])
  const given = Object.entries(c.req.queries()).map(([name, values]) => [
    name,
    REPEATABLE.includes(name) ? values : values[0],
  ])
  // A cast, because the compiler does not see that a route without a schema has NOTHING for its type.
  return parse((schema ?? NOTHING) as Query, Object.fromEntries(given), 'Query parameter')
}

/**
 * What the route does not know is refused, and of two values, no one knows which is meant.
 *
 * @throws ApiError INVALID_PARAMETER
 */
function demandKnown(c: ApiContext, { auth }: ApiDeps, known: readonly string[]): void {
  const names = [...new URL(c.req.url).searchParams.keys()]
    // A signature may stand in the query, where API Gateway has looked at it.
    .filter((name) => auth !== 'iam' || !/^x-amz-/i.test(name))
  refuseUnknown('Query parameter', names, known)
  const repeated = names.find((name, at) => names.indexOf(name) < at && !REPEATABLE.includes(name))
  if (repeated !== undefined) {
    throw new ApiError('INVALID_PARAMETER', `Query parameter ${quoted(repeated)} is repeated.`)
  }
}

/** An app of these routes. What they have in common is here: ids of requests, headers, refusals. */
export function serve(deps: AppDeps, routes: readonly Route[]): Hono<Env> {
  const app = new Hono<Env>({ strict: false })
  app.use(inRequestSpan)
  app.use(async (c, next) => {
    // API Gateway's own, so that its access log, the answer and our log name the request alike.
    c.set('requestId', GATEWAY_ID.safeParse(c.env?.requestContext?.requestId).data ?? randomUUID())
    const traceId = (await xraySpan())?.traceId
    c.set('traceId', traceId ?? TRACE.exec(c.req.header('x-amzn-trace-id') ?? '')?.[1])
    c.set('clientRequestId', CLIENT_ID.safeParse(c.req.header('x-request-id')).data)
    await next()
    c.header('x-request-id', c.get('requestId'))
    for (const [name, value] of Object.entries(SECURITY_HEADERS)) {
      if (!c.res.headers.has(name)) c.header(name, value)
    }
  })
  if (deps.corsOrigins !== undefined) allowOrigins(app, deps.corsOrigins, deps.auth)
  app.use(async (c, next) => {
    if (c.env?.refused !== undefined) throw c.env.refused
    await next()
  })
  for (const { method, path, handle } of routes) {
    app.on(method, path.replaceAll(/\{(\w+)\}/g, ':$1'), (c) => handle(c, deps))
  }
  app.notFound((c) => {
    const allow = methodsOf(routes, c.req.path)
    if (allow === '') return refuse(c, deps, new ApiError('NOT_FOUND', 'No route has this path.'))
    if (c.req.method === 'OPTIONS') return c.body(null, 204, { allow })
    const hint = c.req.path === '/' ? ' Images are submitted by POST /images.' : ''
    const detail = `This path takes only ${allow.replace(/, (\w+)$/, ' and $1')}.${hint}`
    return refuse(c, deps, new ApiError('METHOD_NOT_ALLOWED', detail, { headers: { allow } }))
  })
  app.onError((error, c) => {
    if (error instanceof ApiError) return refuse(c, deps, error)
    say(deps.log, 'request failed', { ...requestOf(c), error })
    return problem(
      new ApiError(
        'UNAVAILABLE',
        'A service behind the API did not answer. Send the request again in a moment.',
      ),
      c.get('requestId'),
    )
  })
  return app
}

/** By OpenTelemetry's semantic conventions for HTTP servers. Where a layer has begun a span for the invocation, it is a child. */
async function inRequestSpan(c: ApiContext, next: () => Promise<void>): Promise<void> {
  const api = await openTelemetry()
  if (api === undefined) return next()
  const { context, propagation, SpanKind, SpanStatusCode, trace } = api
  const route = matchedRoutes(c).at(-1)?.path
  const attributes = {
    'http.request.method': c.req.method,
    'url.path': c.req.path,
    'url.scheme': c.req.url.replace(/:.*/, ''),
    ...(route !== '/*' && { 'http.route': route }),
  }
  const headers = {
    get: ({ req }: ApiContext, name: string) => req.header(name),
    keys: ({ req }: ApiContext) => Object.keys(req.header()),
  }
  const current = context.active()
  const parent = trace.getActiveSpan() === undefined ? propagation.extract(current, c, headers) : current
  const name = route === '/*' ? c.req.method : `${c.req.method} ${route}`
  const options = () => ({ kind: SpanKind.SERVER, attributes })
  const tell = (span: Span): void => {
    span.setAttribute('http.response.status_code', c.res.status)
    if (c.res.status >= 500) span.setStatus({ code: SpanStatusCode.ERROR })
  }
  return context.with(parent, () => inSpan(name, next, options, tell))
}

/** Pages of these origins may use the API. */
function allowOrigins(app: Hono<Env>, origin: string[], auth: ApiDeps['auth']): void {
  const allow = cors({
    origin,
    allowMethods: ['GET', 'POST', 'DELETE'],
    allowHeaders: [
      ...['authorization', 'content-type', 'content-disposition', 'idempotency-key'],
      ...['if-match', 'if-none-match', 'x-request-id'],
      // Of Signature Version 4, beside Authorization.
      ...(auth === 'iam' ? ['x-amz-content-sha256', 'x-amz-date', 'x-amz-security-token'] : []),
    ],
    exposeHeaders: ['etag', 'location', 'retry-after', 'server-timing', 'x-request-id'],
    maxAge: 3_600,
  })
  // It answers every OPTIONS; one that is no preflight asks for methods (above).
  const isPlainOptions = (c: Context) =>
    c.req.method === 'OPTIONS' && c.req.header('access-control-request-method') === undefined
  app.use((c, next) => (isPlainOptions(c) ? next() : allow(c, next)))
}

function refuse(c: ApiContext, { log }: ApiDeps, error: ApiError): Response {
  const answer = problem(error, c.get('requestId'))
  say(log, 'refused', { ...requestOf(c), status: answer.status, code: error.code })
  return answer
}

/**
 * On every answer that has none of its own. Nothing but the page is a document, so nothing may run or be framed; HSTS
 * counts over HTTPS only (RFC 6797, section 8.1). (Hono's own middleware has more headers to switch off than these are.)
 */
const SECURITY_HEADERS = {
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'strict-transport-security': 'max-age=31536000',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
}

const GATEWAY_ID = z.string().regex(/^[\w=-]{1,64}$/)
/** The header of X-Ray, as API Gateway sends it on: the trace that the request belongs to. */
const TRACE = /(?:^|;)Root=(1-[0-9a-f]{8}-[0-9a-f]{24})(?:;|$)/
const CLIENT_ID = z.string().regex(/^[\w.-]{1,64}$/)

const idsOf = (c: ApiContext) => ({
  requestId: c.get('requestId'),
  traceId: c.get('traceId'),
  clientRequestId: c.get('clientRequestId'),
})

/** A request, as lines of the log have it: with the route's names in place of what a caller has put there. */
const requestOf = (c: ApiContext) => ({
  ...idsOf(c),
  method: c.req.method,
  route: matchedRoutes(c).at(-1)?.path ?? '/*',
})

/** Those of all routes, in the order of the document. HEAD is where GET is. */
const METHODS = ['GET', 'HEAD', 'POST', 'DELETE']

/** The methods of a path, as the header Allow has them; nothing where there is no such path. */
function methodsOf(routes: readonly Route[], path: string): string {
  const taken = routes
    .filter((one) =>
      new RegExp(`^${one.path.replace('.', '\\.').replaceAll(/\{\w+\}/g, '[^/]+')}$`).test(path),
    )
    .flatMap(({ method }) => (method === 'GET' ? ['GET', 'HEAD'] : [method]))
  return METHODS.filter((method) => taken.includes(method)).join(', ')
}
