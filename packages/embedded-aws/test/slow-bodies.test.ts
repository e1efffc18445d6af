import { once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import { connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { setImmediate } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { answerUnreadable, close, listen } from '../gateway/index.ts'

/** The server looks every five seconds, and six looks after the first are half a minute. */
const LOOK_MS = 5_000
const LOOKS = 7
const LEAST_BYTES = 30_000

beforeEach(() => void vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] }))
afterEach(() => void vi.useRealTimers())
const look = (times = 1): void => {
  for (let time = 0; time < times; time += 1) vi.advanceTimersByTime(LOOK_MS)
}

async function serve(listener: RequestListener, isOurs = true) {
  const server = createServer(listener)
  if (isOurs) answerUnreadable(server, ({ status, code }) => Response.json({ code }, { status }))
  const port = await listen(server, 0)
  onTestFinished(() => close(server))
  /** Sends the head of a request, and what of its body is given. */
  const send = async (head: string, body: string | Uint8Array = ''): Promise<Sent> => {
    // It does not leave when it has its answer.
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true }).on('error', () => {})
    onTestFinished(() => void socket.destroy())
    const answer = text(socket)
    answer.catch(() => {})
    socket.write(`POST / HTTP/1.1\r\nhost: 127.0.0.1\r\n${head}\r\n\r\n`)
    socket.write(body)
    const [[request], [taken]] = await Promise.all([
      once(server, 'request') as Promise<[IncomingMessage]>,
      once(server, 'connection') as Promise<[Socket]>,
    ])
    const aborted = new Promise((resolve) => request.once('error', resolve))
    return { socket, answer, request, taken, aborted }
  }
  return { server, send }
}
interface Sent {
  socket: Socket
  answer: Promise<string>
  request: IncomingMessage
  taken: Socket
  aborted: Promise<unknown>
}

/** By turns of this process, since the clock of the server is held. */
async function comes(condition: () => boolean): Promise<void> {
  for (let turn = 0; turn < 100_000 && !condition(); turn += 1) await setImmediate()
  expect(condition()).toBe(true)
}

/** A refusal takes some turns. */
async function areOpen(...all: Sent[]): Promise<boolean> {
  for (let turn = 0; turn < 100; turn += 1) await setImmediate()
  return all.every(({ taken }) => taken.writable)
}

async function ended({ answer, taken }: Sent): Promise<string> {
  await comes(() => !taken.writable)
  return answer
}

/** Sends so much that the server has had so many more bytes since a moment before. */
async function bring({ socket, taken }: Sent, bytes: number): Promise<void> {
  const before = taken.bytesRead
  socket.write(Buffer.alloc(bytes))
  await comes(() => taken.bytesRead - before === bytes)
}

const reads: RequestListener = (request, response) => {
  request.on('error', () => {}).resume()
  request.once('end', () => response.end('whole'))
}

describe('a body', () => {
  it.each(['content-length: 4500000', 'transfer-encoding: chunked'])(
    'of %s that brings less than a kilobyte a second in half a minute is ended, and its program hears of it',
    async (head) => {
      const { send } = await serve(reads)
      const sent = await send(head)
      const piece = head.includes('chunked') ? '1\r\nx\r\n' : 'x'
      for (let seconds = 0; seconds < 30; seconds += 5) {
        look()
        sent.socket.write(piece)
      }
      expect(await areOpen(sent)).toBe(true)
      look()
      const answer = await ended(sent)
      expect(answer).toMatch(/^HTTP\/1.1 408 Request Timeout\r\n(.*\r\n)*connection: close\r\n/)
      expect(answer).toMatch(/"REQUEST_TIMEOUT"}$/)
      expect(await sent.aborted).toBeInstanceOf(Error)
    },
  )

  it('that brings as much is not, however long it takes', async () => {
    const { send } = await serve(reads)
    const sent = await send('content-length: 150001\r\nconnection: close')
    for (let round = 0; round < 5; round += 1) {
      await bring(sent, LEAST_BYTES)
      look(LOOKS)
    }
    sent.socket.write('x')
    expect(await sent.answer).toMatch(/ 200 OK.*whole$/s)
  })

  it('that brings one byte less, and all of it before, is', async () => {
    const { send } = await serve(reads)
    const sent = await send('content-length: 4500000')
    await bring(sent, 1_000_000)
    look(LOOKS)
    await bring(sent, LEAST_BYTES - 1)
    look(LOOKS - 1)
    expect(await areOpen(sent)).toBe(true)
    look()
    expect(await ended(sent)).toMatch(/ 408 /)
  })

  it('that the program leaves unread is as slow as the program, until it is read', async () => {
    let readOn = (): void => {}
    const { send } = await serve((request, response) => {
      readOn = () => reads(request, response)
    })
    const sent = await send('content-length: 20000000', Buffer.alloc(1_000_000))
    await comes(() => sent.request.readableLength >= sent.request.readableHighWaterMark)
    look(10 * LOOKS)
    expect(await areOpen(sent)).toBe(true)
    readOn()
    await comes(() => sent.taken.bytesRead > 1_000_000)
    look(LOOKS)
    expect(await areOpen(sent)).toBe(true)
    look(LOOKS)
    expect(await ended(sent)).toMatch(/ 408 /)
  })

  it('that the program has left unread has half a minute for what comes next', async () => {
    let readOn = (): void => {}
    const { send } = await serve((request, response) => {
      readOn = () => reads(request, response)
    })
    const sent = await send('content-length: 20000000')
    await bring(sent, sent.request.readableHighWaterMark)
    look(10 * LOOKS)
    expect(await areOpen(sent)).toBe(true)
    readOn()
    await comes(() => sent.request.readableLength === 0)
    look(LOOKS - 1)
    expect(await areOpen(sent)).toBe(true)
    look()
    expect(await ended(sent)).toMatch(/ 408 /)
  })

  it('that is answered already is not looked at', async () => {
    const { send } = await serve((request, response) => {
      request.resume()
      response.end('no')
    })
    const sent = await send('content-length: 2', 'x')
    look(LOOKS)
    expect(await areOpen(sent)).toBe(true)
  })

  it('that has come, or is none, may wait for its answer', async () => {
    const responses: ServerResponse[] = []
    const { send } = await serve((_, response) => void responses.push(response))
    const waiting = [
      await send('content-length: 1', 'x'),
      await send('content-length: 0'),
      await send('x-no: body'),
      await send('transfer-encoding: chunked', '0\r\n\r\n'),
    ]
    await comes(() => waiting.every(({ request }) => request.complete))
    look(3 * LOOKS)
    // A refusal would come behind the answer.
    for (const response of responses) response.end()
    expect(await areOpen(...waiting)).toBe(true)
  })

  it('whose answer has begun is broken off', async () => {
    const { send } = await serve((request, response) => {
      request.on('error', () => {}).resume()
      response.write('begun')
    })
    const sent = await send('content-length: 2', 'x')
    look(LOOKS)
    await comes(() => !sent.taken.writable)
    expect(await sent.answer.catch(() => 'broken off')).toMatch(/ 200 |broken off/)
    expect(await sent.aborted).toBeInstanceOf(Error)
  })

  it('is ended in the words of Node where a server has none of its own', async () => {
    const { send } = await serve(reads, false)
    const sent = await send('content-length: 2', 'x')
    look(LOOKS)
    expect(await ended(sent)).toBe('HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n')
    expect(await sent.aborted).toBeInstanceOf(Error)
  })
})

it('a port has no time in which a whole request must come, and a minute for its headers', async () => {
  const { server } = await serve(reads)
  expect([server.requestTimeout, server.headersTimeout]).toEqual([0, 60_000])
})

it('a port that is closed looks no more', async () => {
  const server = createServer()
  await listen(server, 0)
  expect(vi.getTimerCount()).toBeGreaterThan(0)
  await close(server)
  expect(vi.getTimerCount()).toBe(0)
})
