import type { AddressInfo, Server } from 'node:net'

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
