import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { createAdaptorServer, type ServerType } from '@hono/node-server'
import type { buildApp } from '../api/app.ts'
import { ApiError, problem } from '../api/schemas.ts'
import { admit } from './admission.ts'
import { refuseStranger } from './door.ts'
import { type Settings, STAND_IN_CREDENTIALS } from './environment.ts'
import { verifySignature } from './gateway.ts'

type Fetch = (request: Request) => Promise<Response>

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
      const verified = await verifySignature(request, signer, settings.MAX_IMAGE_BYTES)
      return app.fetch(verified?.request ?? request, { requestContext: { identity: verified?.caller } })
    } catch (refused) {
      return app.fetch(request, { refused })
    }
  }
  const admitted = admit(answer, settings.MAX_IMAGE_BYTES, async (request, refused) =>
    app.fetch(request, { refused }),
  )
  return async (request) =>
    refuseStranger(request, settings.ALLOWED_HOSTS, settings.CORS_ORIGINS ?? []) ??
    answerSample(request) ??
    (await admitted(request))
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
