import { createHash, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { getRequestListener, RequestError } from '@hono/node-server'
import type { buildApp } from '../api/app.ts'
import { ApiError, problem } from '../api/schemas.ts'
import { largestBody, readBody, refusalAhead } from '../api/upload.ts'
import {
  admit,
  answerUnreadable,
  askForBodies,
  type HashedBody,
  oneByOne,
  placesFor,
  strangerOf,
  verifySignature,
} from '../packages/embedded-aws/gateway/index.ts'
import { Budget } from '../packages/image-guard/budget.ts'
import { STAND_IN_CREDENTIALS } from '../rekognition/settings.ts'
import { withReadable } from '../shared/machine.ts'
import type { Settings } from './environment.ts'

type Fetch = (request: Request) => Promise<Response>

/** Seconds until a caller who was sent away may try again: half of the queue has gone by then. */
const RETRY_AFTER = 5

/** What stands before the app: on AWS it is API Gateway, and Lambda that gives each request an instance. */
export function inFrontOf(api: Pick<ReturnType<typeof buildApp>, 'fetch'>, settings: Settings): Fetch {
  const app = withReadable(api, sampleAt)
  const signer = {
    accessKeyId: settings.AWS_ACCESS_KEY_ID ?? STAND_IN_CREDENTIALS.accessKeyId,
    secretAccessKey: settings.AWS_SECRET_ACCESS_KEY ?? STAND_IN_CREDENTIALS.secretAccessKey,
  }
  const answer = async (request: Request): Promise<Response> => {
    if (settings.AUTH !== 'iam') return app.fetch(request)
    try {
      // On AWS it is API Gateway that verifies signatures, and names the signer to the function.
      const read = (body: Request) => readHashed(body, settings.MAX_IMAGE_BYTES)
      const { request: signed, caller: identity, why } = await verifySignature(request, signer, read)
      return app.fetch(signed, { requestContext: { identity }, unverified: why })
    } catch (refused) {
      return app.fetch(request, { refused })
    }
  }
  const places = placesFor(settings.MAX_IMAGE_BYTES)
  const turns = new Budget(places)
  const admitted = admit(
    async (sent) => {
      const request = await throughGateway(sent, settings)
      return request instanceof Request ? answer(request) : request
    },
    places,
    (work, signal) => turns.run(1, work, { signal }),
    async (request) => {
      const why = 'Too many requests are waiting; send this one again later.'
      const refused = new ApiError('TOO_MANY_REQUESTS', why, { retryAfter: RETRY_AFTER })
      return app.fetch(request, { refused })
    },
  )
  return async (request) => {
    const stranger = strangerOf(request, settings.ALLOWED_HOSTS, settings.CORS_ORIGINS ?? [])
    if (stranger !== undefined) return refusal(stranger)
    // It has no body to read: `serverOf` has not asked for that.
    const refused = request.headers.has('expect') && refusalAhead(request.headers, settings.MAX_IMAGE_BYTES)
    if (refused) return app.fetch(request, { refused })
    return admitted(request)
  }
}

/** What is too large gets API Gateway's own answer, with no problem in it. A body that does not say its length is read for it. */
async function throughGateway(request: Request, { GATEWAY_MAX_BYTES: most, CORS_ORIGINS = [] }: Settings) {
  const { body, headers, method, signal, url } = request
  if (most === undefined || body === null || Number(headers.get('content-length') ?? Number.NaN) <= most)
    return request
  const bytes = await readBody({ request, asText: false }, most, most).catch((error: ApiError) => error)
  if (Buffer.isBuffer(bytes)) return new Request(url, { method, headers, signal, body: bytes })
  if (bytes.code !== 'IMAGE_TOO_LARGE') return problem(bytes, randomUUID())
  const origin = headers.get('origin') ?? ''
  // As the module's gateway responses have it (infrastructure/modules/image-analyzer/api.tf).
  const cors = CORS_ORIGINS.includes(origin) ? { 'access-control-allow-origin': origin } : {}
  return Response.json({ message: 'Request Too Long' }, { status: 413, headers: cors })
}

function refusal({ status, code, ...rest }: NonNullable<ReturnType<typeof strangerOf>>): Response {
  const type = `urn:image-analyzer:problem:${code.toLowerCase().replaceAll('_', '-')}`
  const headers = {
    'content-type': 'application/problem+json',
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  }
  const body = { type, status, code, ...rest, instance: `urn:uuid:${randomUUID()}` }
  return Response.json(body, { status, headers })
}

/** @throws ApiError for a body that is too large or breaks off */
export async function readHashed(request: Request, maxImageBytes: number): Promise<HashedBody> {
  const bytes = await readBody({ request, asText: false }, largestBody(maxImageBytes), maxImageBytes, 0)
  const hash = createHash('sha256').update(bytes).digest('hex')
  return { body: request.body === null ? null : bytes, hash }
}

export function serverOf(fetch: Fetch, { MAX_IMAGE_BYTES }: Pick<Settings, 'MAX_IMAGE_BYTES'>): Server {
  const errorHandler = (error: unknown): Response =>
    error instanceof RequestError
      ? problem(new ApiError('INVALID_PARAMETER', WRONG_ADDRESS), randomUUID())
      : new Response(null, { status: 500 })
  const listener = getRequestListener(fetch, { hostname: '127.0.0.1', errorHandler })
  const server = createServer({ requireHostHeader: false }, oneByOne(listener))
  askForBodies(
    server,
    (headers) => refusalAhead({ get: (name) => headers[name] }, MAX_IMAGE_BYTES) === undefined,
  )
  answerUnreadable(server, refusal)
  return server
}

const WRONG_ADDRESS = 'The address or the Host of this request is not valid.'

/** The photos that the page offers at a first visit, from local/samples; on AWS there are none. All are in the public domain. */
export const SAMPLES = ['portrait', 'cat', 'sign'] as const

/** @returns the answer to a request for one of them, and undefined to any other */
function sampleAt(path: string): Response | undefined {
  if (!SAMPLES.some((name) => path === `/samples/${name}.jpg`)) return undefined
  return new Response(readFileSync(new URL(`.${path}`, import.meta.url)), {
    headers: {
      'content-type': 'image/jpeg',
      'cache-control': 'private, max-age=86400',
      'x-content-type-options': 'nosniff',
      'content-security-policy': "default-src 'none'",
    },
  })
}
