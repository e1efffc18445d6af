import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { S3Client } from '@aws-sdk/client-s3'
import { SQSClient } from '@aws-sdk/client-sqs'
import { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb'
import { handle, type LambdaContext, type LambdaEvent } from 'hono/aws-lambda'
import * as z from 'zod'
import { clientOptions, dynamoTranslation, elapsed, s3Options, sleep, sqsOptions } from '../shared/aws.ts'
import { readApiConfig, readAuthConfig } from '../shared/config.ts'
import { createLog } from '../shared/log.ts'
import { passOver } from '../shared/messages.ts'
import { buildApp } from './app.ts'
import { apiDeps, bucketOrigin, loadDocs, loadPage, readPage } from './deps.ts'
import type { Unpacked } from './upload.ts'

const config = readApiConfig(process.env)
const auth = readAuthConfig(process.env)
const log = createLog('api', config.METRICS_NAMESPACE)
const clients = {
  s3: new S3Client(s3Options()),
  sqs: new SQSClient(sqsOptions()),
  dynamo: DynamoDBDocumentClient.from(new DynamoDBClient(clientOptions()), dynamoTranslation),
}
const clock = { now: () => new Date(), elapsed, sleep }
// Not awaited here, so that the import does not wait for a signature that only the page needs.
const answer = bucketOrigin(clients.s3, config.IMAGE_BUCKET).then((origin) => {
  const page = loadPage(() => readPage('page'), origin, config)
  const app = buildApp(
    apiDeps(config, auth, clients, clock, { log, page, docs: loadDocs(() => readPage('docs')) }),
  )
  const { fetch } = app
  app.fetch = (request, env) => {
    const { carried }: Carried = Object(env).event
    return fetch(new Request(request, { headers: carried }), env)
  }
  return handle(app)
})

/** API Gateway's REST API (payload 1.0) and HTTP API (payload 2.0) alike. */
export const handler = async (event: unknown, context: LambdaContext) => {
  log.appendKeys({ functionRequestId: context.awsRequestId })
  const request = requestOf(event)
  if (request === undefined) return passOver(event, 'a request of API Gateway', log)
  return (await answer)(request, context)
}

/** An event whose headers are apart too. */
interface Carried extends Unpacked {
  carried: Headers
}
/** Hono's adapter makes a URL of it, of which only path and query are read. */
const A_HOST = { host: 'api' }

const gatewayEvent = z.looseObject({
  version: z.string().optional(),
  resource: z.string().optional(),
  routeKey: z.string().optional(),
  pathParameters: z.record(z.string(), z.string()).nullish(),
  body: z.string().nullish(),
  isBase64Encoded: z.boolean().optional(),
})
/** Payload 1.0, and the events of a load balancer. Behind a custom domain they have a `rawPath` as well. */
const restEvent = gatewayEvent.extend({
  httpMethod: z.string(),
  path: z.string(),
  requestContext: z.looseObject({ stage: z.string().optional() }),
})
/** Payload 2.0. */
const httpEvent = gatewayEvent.extend({
  rawPath: z.string(),
  requestContext: z.looseObject({
    http: z.looseObject({ method: z.string() }),
    stage: z.string().optional(),
  }),
})

/** The event with a path that begins where the routes do; undefined if it is of another kind. */
function requestOf(event: unknown): LambdaEvent | undefined {
  const http = httpEvent.safeParse(event)
  const rest = restEvent.safeParse(event)
  // Casts, because the schemas ask only for what Hono's adapter cannot do without.
  if (http.success) {
    const { requestContext } = http.data
    const method = methodOf(requestContext.http.method)
    const rawPath = asSent(routePath(http.data.rawPath, http.data))
    const context = { ...requestContext, http: { ...requestContext.http, method } }
    return unpacked({ ...http.data, rawPath, requestContext: context }, method) as unknown as LambdaEvent
  }
  if (!rest.success) return undefined
  const httpMethod = methodOf(rest.data.httpMethod)
  const path = asSent(routePath(rest.data.path, rest.data))
  return unpacked({ ...rest.data, path, httpMethod }, httpMethod) as unknown as LambdaEvent
}

/** A Request has none of these methods (Fetch standard, forbidden methods); under another name no route takes them either. */
const methodOf = (method: string): string => method.replace(/^(?:CONNECT|TRACE|TRACK)$/i, 'X-$&')

/** Without halves of characters, which no URL and no header can have, and which would be an error before any route. */
function wellFormed(given: unknown): unknown {
  if (typeof given === 'string') return given.toWellFormed()
  if (Array.isArray(given)) return given.map(wellFormed)
  if (!(given instanceof Object)) return given
  return Object.fromEntries(Object.entries(given).map((entry) => entry.map(wellFormed)))
}

/** RFC 9110, section 5.1. */
const HEADER_NAME = /^[\w!#$%&'*+.^`|~-]+$/

/**
 * Headers as a socket brings them, each byte as a character. Hono's adapter would percent-encode a value that is not ASCII, leave
 * out an empty one (an empty If-Match is no leave to delete), and put semicolons between those of a load balancer. What HTTP
 * cannot carry would be an error before any route: a line break or NUL becomes a space (RFC 9110, section 5.5).
 */
function headersOf(event: Record<string, unknown>): Headers {
  const all = new Headers()
  // Payload 1.0 has each of them in both.
  for (const given of [event['multiValueHeaders'], event['headers']]) {
    const entries = Object.entries(Object(given)).filter(([name]) => HEADER_NAME.test(name) && !all.has(name))
    for (const [name, values] of entries)
      for (const value of [values].flat())
        if (typeof value === 'string')
          all.append(name, Buffer.from(value.replaceAll(/[\r\n\0]/g, ' ')).toString('latin1'))
  }
  return all
}

/**
 * These characters are in a path only where a gateway has decoded it. In a URL they would begin a query or a fragment, be left
 * out, or become a slash.
 */
const asSent = (path: string): string => path.replaceAll(/[?#\\\s\p{Cc}]/gu, encodeURIComponent)

/**
 * The path without what stands before the API's own routes: the base path of a custom domain in payload 1.0, which has
 * the stage too where the mapping names none; the stage in an HTTP API, unless that is `$default`. (An HTTP API leaves
 * a custom domain's base path out of payload 2.0: API Gateway developer guide, "Payload format differences".)
 */
function routePath(path: string, event: z.infer<typeof restEvent | typeof httpEvent>): string {
  const { version, resource, routeKey, requestContext } = event
  // What the gateway has matched, as `/{proxy+}`, with its parameters as they were sent, or decoded by an HTTP API; the slash at
  // the end of a path may be missing there. An HTTP API may match nothing, and call that $default.
  const matched = resource ?? routeKey?.split(' ')[1] ?? ''
  if (matched !== '' && !matched.includes('$')) {
    const parameter = (_: string, name: string): string => event.pathParameters?.[name] ?? ''
    const filled = matched.replaceAll(/\{([^}+]+)\+?\}/g, parameter)
    return path.endsWith('/') && !filled.endsWith('/') ? `${filled}/` : filled
  }
  const stage = `/${requestContext.stage}`
  const hasStage = version !== undefined && (path === stage || path.startsWith(`${stage}/`))
  return hasStage ? path.slice(stage.length) || '/' : path
}

/**
 * The event with body and headers apart. A GET may carry one over HTTP, but not in the Request that Hono makes of it: that would
 * throw before any route.
 */
function unpacked<E extends z.infer<typeof gatewayEvent>>(event: E, method: string): E & Carried {
  const { body, isBase64Encoded = false, multiValueHeaders, cookies, ...rest } = event
  const hasNone = method === 'GET' || method === 'HEAD' || !body
  const sent = hasNone ? {} : { sent: isBase64Encoded ? Buffer.from(body, 'base64') : body }
  const kept = wellFormed({ ...rest, headers: A_HOST }) as E
  // Where these are, the answer has its headers so too.
  const many = multiValueHeaders ? { multiValueHeaders: {} } : {}
  return { ...kept, ...many, carried: headersOf(event), body: null, isBase64Encoded, ...sent }
}
