import { type IncomingHttpHeaders, Server, type ServerResponse, STATUS_CODES } from 'node:http'
import type { AddressInfo, Socket, Server as TcpServer } from 'node:net'
import { finished } from 'node:stream/promises'
import { endSlowBodies } from './slow-bodies.ts'

/**
 * Connections that the operating system holds until this process looks at them, as far as it holds so many (Linux, by
 * default, as many as this). Of a thousand clients at once, Node's own 511 would break off some.
 */
const BACKLOG = 4_096

/**
 * @param host loopback only, unless another is named: neither port asks for a password
 * @returns the port; rejects with the system's own error (EADDRINUSE, EACCES)
 */
export function listen(server: TcpServer, port: number, host = '127.0.0.1'): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    if (server instanceof Server) limit(server)
    server.listen({ port, host, backlog: BACKLOG }, () => resolve((server.address() as AddressInfo).port))
  })
}

function limit(server: Server): void {
  // Closed from here after a rest, a connection would be gone just as a request is sent on it.
  server.keepAliveTimeout = 0
  // Node's 300 seconds would end 50 MB on a line of 160 KB a second, and what waits unread for its turn. Its 60
  // seconds for headers stay.
  server.requestTimeout = 0
  endSlowBodies(server)
}

export function close(server: Server): Promise<void> {
  server.closeAllConnections()
  return new Promise((resolve) => server.close(() => resolve()))
}

/** A client that asks before it sends its body need not send one that is not wanted (RFC 9110, section 10.1.1). */
export function askForBodies(server: Server, isWanted: (headers: IncomingHttpHeaders) => boolean): void {
  server.on('checkContinue', (request, response) => {
    // Without it, Node closes the connection after the answer.
    if (isWanted(request.headers)) response.writeContinue()
    server.emit('request', request, response)
  })
}

/** Why what a client has sent is no request, or none that came whole. */
export interface Unreadable {
  status: number
  code: string
  title: string
  detail: string
}

const NO_HTTP = {
  status: 400,
  code: 'INVALID_PARAMETER',
  title: 'A parameter is not valid',
  detail: 'This is not an HTTP request.',
}
const PROXIED = { ...NO_HTTP, detail: 'This is no proxy: CONNECT has no meaning here.' }
const TOO_SLOW = {
  status: 408,
  code: 'REQUEST_TIMEOUT',
  title: 'The request came too slowly',
  detail:
    'The headers of a request have to come within 60 seconds, and its body at 1,000 bytes a second or faster.',
}
const LONG_ADDRESS = {
  status: 414,
  code: 'ADDRESS_TOO_LONG',
  title: 'The address is too long',
  detail: 'The address of a request may have 16 KB at most.',
}
const LONG_HEADERS = {
  status: 431,
  code: 'HEADERS_TOO_LARGE',
  title: 'The headers are too large',
  detail: 'The address and the headers of a request may have 16 KB at most.',
}
/** What has been read of a request that is within its address. */
const IN_ADDRESS = /(^|\n)[A-Z]+ [^ \n]*$/

interface ClientError extends NodeJS.ErrnoException {
  rawPacket?: Buffer
  bytesParsed?: number
}

function whyUnreadable({ code, rawPacket, bytesParsed }: ClientError): Unreadable {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return TOO_SLOW
  if (code !== 'HPE_HEADER_OVERFLOW') return NO_HTTP
  const read = rawPacket?.subarray(0, bytesParsed).toString('latin1')
  return IN_ADDRESS.test(`${read}`) ? LONG_ADDRESS : LONG_HEADERS
}

/** Milliseconds in which a client reads its refusal: what is closed with bytes unread may take the refusal with it. */
const LINGER_MS = 1_000

/** What is no HTTP never becomes a request; the answer is still the API's own, as API Gateway's is on AWS. */
export function answerUnreadable(server: Server, answer: (why: Unreadable) => Response): void {
  // Node's own refusal of an unknown expectation has no body; RFC 9110, section 10.1.1, lets a server pass over it.
  server.on('checkExpectation', (request, response) => server.emit('request', request, response))
  /** What each connection still waits for, in the order of its requests. */
  const open = new WeakMap<object, Set<ServerResponse>>()
  server.prependListener('request', ({ socket }, response) => {
    const waiting = open.get(socket) ?? new Set()
    open.set(socket, waiting.add(response))
    response.once('close', () => waiting.delete(response))
  })
  async function refuse(socket: Socket, why: Unreadable): Promise<void> {
    const waiting = [...(open.get(socket) ?? [])]
    const ready = waiting.filter(({ req }) => req.complete)
    const isBegun = waiting.some(({ req, headersSent }) => !req.complete && headersSent)
    // Requests that came whole before are answered first: a client takes answers in their order (RFC 9112, section 9.3.2).
    await Promise.allSettled(ready.map((response) => finished(response)))
    // An answer inside another would be taken for a part of it.
    if (isBegun) socket.destroy()
    if (!socket.writable) return
    const refusal = answer(why)
    const body = await refusal.text()
    const head = [...refusal.headers].map(([name, value]) => `${name}: ${value}\r\n`).join('')
    socket.end(
      `HTTP/1.1 ${why.status} ${STATUS_CODES[why.status]}\r\n${head}content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
    )
    // A program that still reads the body hears of its end then.
    setTimeout(() => socket.destroy(), LINGER_MS).unref()
  }
  server.on('clientError', (error: ClientError, socket: Socket) => refuse(socket, whyUnreadable(error)))
  server.on('connect', async (_, socket: Socket) => {
    // Node has let go of this connection: its errors, and its end, are ours.
    socket.on('error', () => socket.destroy())
    await refuse(socket, PROXIED)
    socket.destroySoon()
  })
}
