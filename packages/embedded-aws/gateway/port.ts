import type { Server as HttpServer, IncomingHttpHeaders } from 'node:http'
import type { AddressInfo, Server, Socket } from 'node:net'

/**
 * Connections that the operating system holds until this process looks at them, as far as it holds so many (Linux, by
 * default, as many as this). Of a thousand clients at once, Node's own 511 would break off some.
 */
const BACKLOG = 4_096

/**
 * @param host loopback only, unless another is named: neither port asks for a password
 * @returns the port; rejects with the system's own error (EADDRINUSE, EACCES)
 */
export function listen(server: Server, port: number, host = '127.0.0.1'): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    // Closed from here after a rest, a connection would be gone just as a request is sent on it.
    if ('keepAliveTimeout' in server) server.keepAliveTimeout = 0
    server.listen({ port, host, backlog: BACKLOG }, () => resolve((server.address() as AddressInfo).port))
  })
}

export function close(server: Server): Promise<void> {
  if ('closeAllConnections' in server && typeof server.closeAllConnections === 'function')
    server.closeAllConnections()
  return new Promise((resolve) => server.close(() => resolve()))
}

/** A client that asks before it sends its body need not send one that is not wanted (RFC 9110, section 10.1.1). */
export function askForBodies(server: HttpServer, isWanted: (headers: IncomingHttpHeaders) => boolean): void {
  server.on('checkContinue', (request, response) => {
    if (isWanted(request.headers)) response.writeContinue()
    else response.shouldKeepAlive = false
    server.emit('request', request, response)
  })
}

/** What is no HTTP never becomes a request; the answer is still the API's own, as API Gateway's is on AWS. */
export function answerUnreadable(server: HttpServer, answer: (why: string) => Response): void {
  // Node's own refusal of an unknown expectation has no body; RFC 9110, section 10.1.1, lets a server pass over it.
  server.on('checkExpectation', (request, response) => server.emit('request', request, response))
  server.on('clientError', async ({ code }: NodeJS.ErrnoException, socket: Socket) => {
    if (!socket.writable) return
    const refusal = answer(
      code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? 'The request did not come whole in the time that there is for one.'
        : 'This is not an HTTP request, or its headers are too long.',
    )
    const body = await refusal.text()
    const head = [...refusal.headers].map(([name, value]) => `${name}: ${value}\r\n`).join('')
    socket.end(
      `HTTP/1.1 400 Bad Request\r\n${head}content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
    )
  })
}
