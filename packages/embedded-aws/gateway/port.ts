import type { IncomingHttpHeaders, Server, ServerResponse } from 'node:http'
import type { AddressInfo, Socket, Server as TcpServer } from 'node:net'
import { finished } from 'node:stream/promises'

/**
 * Connections that the operating system holds until this process looks at them, as far as it holds so many (Linux, by
 * default, as many as this). Of a thousand clients at once, Node's own 511 would break off some.
 */
const BACKLOG = 4_096

/**
 * @param host loopback only, unless another is named: neither port asks for a password
 * @returns the port; rejects with the system's own error (EADDRINUSE, EACCES)
 */
export function listen(
  server: TcpServer & { keepAliveTimeout?: number },
  port: number,
  host = '127.0.0.1',
): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    // Closed from here after a rest, a connection would be gone just as a request is sent on it.
    server.keepAliveTimeout = 0
    server.listen({ port, host, backlog: BACKLOG }, () => resolve((server.address() as AddressInfo).port))
  })
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

/** What is no HTTP never becomes a request; the answer is still the API's own, as API Gateway's is on AWS. */
export function answerUnreadable(server: Server, answer: (why: string) => Response): void {
  // Node's own refusal of an unknown expectation has no body; RFC 9110, section 10.1.1, lets a server pass over it.
  server.on('checkExpectation', (request, response) => server.emit('request', request, response))
  /** What each connection still waits for, in the order of its requests. */
  const open = new WeakMap<object, Set<ServerResponse>>()
  server.prependListener('request', ({ socket }, response) => {
    const waiting = open.get(socket) ?? new Set()
    open.set(socket, waiting.add(response))
    response.once('close', () => waiting.delete(response))
  })
  async function refuse(socket: Socket, why: string): Promise<void> {
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
      `HTTP/1.1 400 Bad Request\r\n${head}content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
    )
  }
  server.on('clientError', ({ code }: NodeJS.ErrnoException, socket: Socket) =>
    refuse(
      socket,
      code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? 'The request did not come whole in the time that there is for one.'
        : 'This is not an HTTP request, or its headers are too long.',
    ),
  )
  server.on('connect', async (_, socket: Socket) => {
    // Node has let go of this connection: its errors, and its end, are ours.
    socket.on('error', () => socket.destroy())
    await refuse(socket, 'This is no proxy: CONNECT has no meaning here.')
    socket.destroySoon()
  })
}
