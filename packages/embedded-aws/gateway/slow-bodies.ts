import type { IncomingMessage, Server } from 'node:http'

/**
 * A body has to come at a kilobyte a second, counted over half a minute, as far as the program reads it: others wait for
 * its place. The slowest lines of phones bring several times as much, and may break off for most of the half minute.
 */
const LEAST_BYTES = 30_000
const LOOK_MS = 5_000
const LOOKS = 6

interface Count {
  /** That the connection had brought when the count began. */
  bytes: number
  looks: number
}

/** Ends the connection of a client whose body comes too slowly, as Node ends one whose headers do: with 408, and aborted. */
export function endSlowBodies(server: Server): void {
  const counts = new Map<IncomingMessage, Count>()
  const begin = (request: IncomingMessage): unknown =>
    counts.set(request, { bytes: request.socket.bytesRead, looks: 0 })
  server.prependListener('request', (request, response) => {
    begin(request)
    response.once('close', () => counts.delete(request))
  })
  const look = (request: IncomingMessage, count: Count): void => {
    if (request.complete) return
    // What the program has not read yet stops the client.
    if (request.readableLength >= request.readableHighWaterMark) begin(request)
    else if (count.looks < LOOKS) count.looks += 1
    else if (request.socket.bytesRead - count.bytes >= LEAST_BYTES) begin(request)
    else {
      counts.delete(request)
      const slow = new Error('The body of a request comes too slowly.')
      request.socket.emit('error', Object.assign(slow, { code: 'ERR_HTTP_REQUEST_TIMEOUT' }))
    }
  }
  const timer = setInterval(() => {
    for (const [request, count] of counts) look(request, count)
  }, LOOK_MS)
  timer.unref()
  server.once('close', () => clearInterval(timer))
}
