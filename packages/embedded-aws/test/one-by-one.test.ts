import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import { connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { setImmediate } from 'node:timers/promises'
import { expect, it, onTestFinished } from 'vitest'
import { close, listen, oneByOne } from '../gateway/index.ts'

/** By turns of this process: nothing here takes time. Without something to wait for, until more would have happened. */
async function settle(isOver?: () => boolean): Promise<void> {
  for (let turn = 0; turn < (isOver ? 1_000_000 : 1_000) && !isOver?.(); turn += 1) await setImmediate()
}

async function serve() {
  const asked: string[] = []
  const responses: ServerResponse[] = []
  const server = createServer(
    oneByOne(({ url = '' }, response) => {
      asked.push(url)
      responses.push(response)
    }),
  )
  const port = await listen(server, 0)
  onTestFinished(() => close(server))
  const send = (...urls: string[]): Socket => {
    const socket = connect(port, '127.0.0.1').on('error', () => {})
    onTestFinished(() => void socket.destroy())
    socket.write(urls.map((url) => `GET ${url} HTTP/1.1\r\nhost: a\r\n\r\n`).join(''))
    return socket
  }
  return { asked, responses, send, server }
}

it('pipelined requests are handled one after another, in their order, and those of other connections meanwhile', async () => {
  const { asked, responses, send } = await serve()
  const answers = text(send('/one', '/two', '/three'))
  await settle(() => asked.length > 0)
  await settle()
  expect(asked).toEqual(['/one'])
  send('/other')
  await settle(() => asked.length > 1)
  expect(asked).toEqual(['/one', '/other'])
  responses[0]?.end('1,')
  await settle(() => asked.length > 2)
  await settle()
  expect(asked).toEqual(['/one', '/other', '/two'])
  responses[2]?.end('2,')
  await settle(() => asked.length > 3)
  responses[3]?.setHeader('connection', 'close').end('3')
  expect((await answers).match(/\d,|\d$/g)).toEqual(['1,', '2,', '3'])
})

it('a request on a connection that rests is handled at once', async () => {
  const { asked, responses, send } = await serve()
  const socket = send('/one')
  await settle(() => asked.length > 0)
  responses[0]?.end()
  await once(socket, 'data')
  socket.write('GET /two HTTP/1.1\r\nhost: a\r\n\r\n')
  await settle(() => asked.length > 1)
  expect(asked).toEqual(['/one', '/two'])
})

it('a request that comes when one has been answered waits for the one that is being handled', async () => {
  const { asked, responses, send } = await serve()
  const socket = send('/one', '/two')
  await settle(() => asked.length > 0)
  responses[0]?.end()
  await settle(() => asked.length > 1)
  socket.write('GET /three HTTP/1.1\r\nhost: a\r\n\r\n')
  await settle()
  expect(asked).toEqual(['/one', '/two'])
  responses[1]?.end()
  await settle(() => asked.length > 2)
  expect(asked).toEqual(['/one', '/two', '/three'])
})

it('what a client has sent and left is not handled', async () => {
  const { asked, send, server } = await serve()
  const seen = once(server, 'connection')
  const socket = send('/one', '/two')
  const [taken] = (await seen) as [Socket]
  await settle(() => asked.length > 0)
  socket.destroy()
  await once(taken, 'close')
  await settle()
  expect(asked).toEqual(['/one'])
})
