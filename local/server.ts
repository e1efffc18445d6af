import { createHash, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { totalmem } from 'node:os'
import { createAdaptorServer, type ServerType } from '@hono/node-server'
import type { buildApp } from '../api/app.ts'
import { ApiError, problem } from '../api/schemas.ts'
import { largestBody, readNext, tooLarge } from '../api/upload.ts'
import {
  admit,
  type HashedBody,
  strangerOf,
  verifySignature,
} from '../packages/embedded-aws/gateway/index.ts'
import { Budget } from '../packages/image-guard/budget.ts'
import { type Settings, STAND_IN_CREDENTIALS } from './environment.ts'

type Fetch = (request: Request) => Promise<Response>

/**
 * Memory that an image takes while it is submitted, in multiples of its largest size: as text and as bytes in the API,
 * twice on its way to S3 and there (pieces, and the whole of them), once in the database; half as much is garbage that
 * is not yet collected. `npm run bench -- overload` measures it.
 */
const COPIES = 8
/** The part of this machine's memory, or of the container's, that submissions may take. */
const SHARE = 1 / 8
/** More at once gain nothing, since one core serves them all: 8 × 8 × 4.5 MB = 288 MB. */
const MOST_AT_ONCE = 8
/** Seconds until a caller who was sent away may try again: half of the queue has gone by then. */
const RETRY_AFTER = 5
/** How many bodies are read at the same time. */
function placesFor(maxImageBytes: number): number {
  const memory = Math.min(totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY)
  return Math.max(1, Math.min(MOST_AT_ONCE, Math.floor((memory * SHARE) / (COPIES * maxImageBytes))))
}

/** What stands before the app: on AWS it is API Gateway, and Lambda that gives each request an instance. */
export function inFrontOf(app: ReturnType<typeof buildApp>, settings: Settings): Fetch {
  const signer = {
    accessKeyId: settings.AWS_ACCESS_KEY_ID ?? STAND_IN_CREDENTIALS.accessKeyId,
    secretAccessKey: settings.AWS_SECRET_ACCESS_KEY ?? STAND_IN_CREDENTIALS.secretAccessKey,
  }
  const answer = async (request: Request): Promise<Response> => {
    if (settings.AUTH !== 'iam') return app.fetch(request)
    try {
      // On AWS it is API Gateway that verifies signatures, and names the signer to the function.
      const verified = await verifySignature(request, signer, (body) =>
        readBody(body, settings.MAX_IMAGE_BYTES),
      )
      return app.fetch(verified?.request ?? request, { requestContext: { identity: verified?.caller } })
    } catch (refused) {
      return app.fetch(request, { refused })
    }
  }
  const turns = new Budget(placesFor(settings.MAX_IMAGE_BYTES))
  const admitted = admit(
    answer,
    (work, signal) => turns.run(1, work, { signal }),
    async (request) => {
      const why = 'Too many requests wait already; send this one again later.'
      const refused = new ApiError('TOO_MANY_REQUESTS', why, { retryAfter: RETRY_AFTER })
      return app.fetch(request, { refused })
    },
  )
  return async (request) => {
    const stranger = strangerOf(request, settings.ALLOWED_HOSTS, settings.CORS_ORIGINS ?? [])
    if (stranger !== undefined) return refusal(stranger)
    return answerSample(request) ?? refusedByGateway(request, settings) ?? (await admitted(request))
  }
}

/** A request that is too large for it gets an answer of API Gateway's own, in its words and with no problem in it. */
function refusedByGateway(
  { headers }: Request,
  { GATEWAY_MAX_BYTES = Number.POSITIVE_INFINITY, CORS_ORIGINS = [] }: Settings,
): Response | undefined {
  if (Number(headers.get('content-length')) <= GATEWAY_MAX_BYTES) return undefined
  const origin = headers.get('origin') ?? ''
  // As the module's gateway responses have it (infrastructure/modules/image-analyzer/api.tf).
  const cors = CORS_ORIGINS.includes(origin) ? { 'access-control-allow-origin': origin } : undefined
  return Response.json({ message: 'Request Too Long' }, { status: 413, ...(cors && { headers: cors }) })
}

function refusal({ status, code, ...rest }: NonNullable<ReturnType<typeof strangerOf>>): Response {
  const type = `urn:image-analyzer:problem:${code.toLowerCase().replaceAll('_', '-')}`
  const body = { type, status, code, ...rest, instance: `urn:uuid:${randomUUID()}` }
  return new Response(JSON.stringify(body), {
    status,
    headers: {
      'content-type': 'application/problem+json',
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
    },
  })
}

/** @throws ApiError for a body that is too large or breaks off */
export async function readBody({ body }: Request, maxImageBytes: number): Promise<HashedBody> {
  const hash = createHash('sha256')
  if (body === null) return { body, hash: hash.digest('hex') }
  const chunks: Uint8Array[] = []
  let left = largestBody(maxImageBytes)
  // Not by `for await`, which would end the connection with the body, before there is an answer.
  const reader = body.getReader()
  try {
    while (left >= 0) {
      const { done, value } = await readNext(reader)
      if (done) break
      left -= value.length
      hash.update(value)
      chunks.push(value)
    }
  } finally {
    reader.releaseLock()
  }
  if (left < 0) throw tooLarge(maxImageBytes)
  return { body: Buffer.concat(chunks), hash: hash.digest('hex') }
}

/**
 * Connections that the operating system holds until this process looks at them, as far as it holds so many (Linux, by
 * default, as many as this). Of a thousand clients at once, Node's own 511 would break off some.
 */
const BACKLOG = 4_096

export function listen(fetch: Fetch, wanted: number): Promise<ServerType> {
  return new Promise((resolve, reject) => {
    // Closed from here after a rest, a connection would be gone just as a request is sent on it.
    const serverOptions = { keepAliveTimeout: 0 }
    const hostname = '127.0.0.1'
    const server = createAdaptorServer({ fetch, hostname, serverOptions })
    server.listen({ port: wanted, host: hostname, backlog: BACKLOG }, () => resolve(server))
    server.once('error', reject)
    // What is no HTTP never becomes a request; the answer is still the API's own, as API Gateway's is on AWS.
    server.on('clientError', (_error: Error, socket: Socket) => void refuse(socket))
  })
}

async function refuse(socket: Socket): Promise<void> {
  if (!socket.writable) return
  const answer = problem(
    new ApiError('INVALID_PARAMETER', 'This is not an HTTP request, or its headers are too long.'),
    randomUUID(),
  )
  const body = await answer.text()
  const head = [...answer.headers].map(([name, value]) => `${name}: ${value}\r\n`).join('')
  socket.end(
    `HTTP/1.1 400 Bad Request\r\n${head}content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  )
}

export function closeServer(server: ServerType): Promise<void> {
  if ('closeAllConnections' in server) server.closeAllConnections()
  return new Promise((resolve) => server.close(() => resolve()))
}

/** The photos that the page offers at a first visit, from local/samples; on AWS there are none. All are in the public domain. */
export const SAMPLES = ['portrait', 'cat', 'sign'] as const

/** @returns the answer to a request for one of them, and undefined to any other */
export function answerSample(request: Request): Response | undefined {
  const { pathname } = new URL(request.url)
  const name = SAMPLES.find((sample) => pathname === `/samples/${sample}.jpg`)
  if (name === undefined || request.method !== 'GET') return undefined
  return new Response(readFileSync(new URL(`./samples/${name}.jpg`, import.meta.url)), {
    headers: {
      ...{ 'content-type': 'image/jpeg', 'cache-control': 'private, max-age=86400' },
      ...{ 'x-content-type-options': 'nosniff', 'content-security-policy': "default-src 'none'" },
    },
  })
}
