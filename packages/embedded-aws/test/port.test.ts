import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type RequestListener } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { setImmediate } from 'node:timers/promises'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { answerUnreadable, askForBodies, close, listen } from '../gateway/index.ts'

/** What has come of a promise after so many turns of this process and of its sockets. */
async function early<T>(promise: Promise<T>): Promise<T | 'nothing yet'> {
  const beside = createServer((_, response) => response.end())
  const port = await new Promise<number>((resolve) =>
    beside.listen(0, '127.0.0.1', () => resolve((beside.address() as AddressInfo).port)),
  )
  const turns = async (): Promise<'nothing yet'> => {
    for (let turn = 0; turn < 100; turn += 1) await (await fetch(`http://127.0.0.1:${port}`)).text()
    return 'nothing yet'
  }
  return Promise.race([promise, turns()]).finally(() => {
    beside.close()
    beside.closeAllConnections()
  })
}

const HEAD = 'HTTP/1.1\r\nhost: 127.0.0.1\r\n'

async function serve(
  listener: RequestListener,
  isWanted: (headers: IncomingHttpHeaders) => boolean = () => true,
) {
  const server = createServer(listener)
  askForBodies(server, isWanted)
  answerUnreadable(server, ({ status, code, title, detail: why }) =>
    Response.json({ why }, { headers: { 'x-mark': 'ours', 'x-problem': `${status} ${code}: ${title}` } }),
  )
  const port = await listen(server, 0)
  onTestFinished(() => close(server))
  const open = (): Socket => connect(port, '127.0.0.1').on('error', () => {})
  const ask = (sent: string): Promise<string> => {
    const socket = open()
    socket.write(sent)
    return early(text(socket).catch((error: Error) => error.message))
  }
  return { server, port, open, ask }
}

describe('a port', () => {
  it('is of loopback alone unless a host is named, and keeps a connection that rests', async () => {
    const server = createServer()
    onTestFinished(() => close(server))
    const port = await early(listen(server, 0))
    expect(server.address()).toMatchObject({ address: '127.0.0.1', port })
    expect(server.keepAliveTimeout).toBe(0)
    const named = createServer()
    onTestFinished(() => close(named))
    await listen(named, 0, '0.0.0.0')
    expect(named.address()).toMatchObject({ address: '0.0.0.0' })
  })

  it('that is taken is said to be', async () => {
    const { port } = await serve((_, response) => response.end())
    const taken = listen(
      createServer().on('error', () => {}),
      port,
    )
    await expect(early(taken)).rejects.toMatchObject({ code: 'EADDRINUSE' })
  })

  it('is closed together with what is under way', async () => {
    const server = createServer()
    const port = await listen(server, 0)
    const socket = connect(port, '127.0.0.1').on('error', () => {})
    socket.write(`GET / ${HEAD}\r\n`)
    await once(server, 'request')
    expect(await early(close(server))).toBeUndefined()
    await expect(early(listen(createServer(), port).then((again) => again === port))).resolves.toBe(true)
  })
})

describe('a client that asks before it sends a body', () => {
  const expecting = `POST / ${HEAD}content-length: 1\r\nexpect: 100-continue\r\n`

  it('is let in where its body is wanted, and keeps its connection', async () => {
    const { ask } = await serve((request, response) =>
      request.resume().once('end', () => response.end('taken')),
    )
    const answer = await ask(`${expecting}\r\nxGET / ${HEAD}connection: close\r\n\r\n`)
    expect(answer.match(/HTTP\/1.1 \d+|connection: [\w-]+|taken/gi)).toEqual([
      ...['HTTP/1.1 100', 'HTTP/1.1 200', 'Connection: keep-alive', 'taken'],
      ...['HTTP/1.1 200', 'Connection: close', 'taken'],
    ])
  })

  it('is answered and let go where it is not', async () => {
    const { ask } = await serve(
      (_, response) => response.end('refused'),
      (headers) => headers['content-length'] !== '1',
    )
    const answer = await ask(`${expecting}\r\n`)
    expect(answer.match(/HTTP\/1.1 \d+|connection: [\w-]+|refused/gi)).toEqual([
      ...['HTTP/1.1 200', 'Connection: close', 'refused'],
    ])
  })

  it('is answered where it expects what is unknown', async () => {
    const { ask } = await serve((_, response) => response.end('answered'))
    expect(await ask(`GET / ${HEAD}expect: miracles\r\nconnection: close\r\n\r\n`)).toMatch(
      / 200 .*answered$/s,
    )
  })
})

describe('what is no HTTP', () => {
  const problems: Record<string, string> = {
    400: 'INVALID_PARAMETER: A parameter is not valid',
    408: 'REQUEST_TIMEOUT: The request came too slowly',
    414: 'ADDRESS_TOO_LONG: The address is too long',
    431: 'HEADERS_TOO_LARGE: The headers are too large',
  }
  const refusal = (why: string, status = '400 Bad Request'): RegExp =>
    new RegExp(
      `^HTTP/1.1 ${status}\r\ncontent-type: application/json\r\nx-mark: ours\r\nx-problem: ${status.slice(0, 3)} ${problems[status.slice(0, 3)]}\r\ncontent-length: \\d+\r\nconnection: close\r\n\r\n{"why":"${why}"}$`,
    )
  const unreadable = refusal('This is not an HTTP request\\.')
  const proxied = refusal('This is no proxy: CONNECT has no meaning here\\.')

  it('is refused in our own words', async () => {
    const { server, ask, open } = await serve((_, response) => response.end())
    expect(await ask('FOO /\r\n\r\n')).toMatch(unreadable)
    expect(await ask(`CONNECT a:443 ${HEAD}\r\n`)).toMatch(proxied)
    // Node looks for such requests every 30 seconds.
    server.once('connection', (socket) =>
      server.emit('clientError', { code: 'ERR_HTTP_REQUEST_TIMEOUT' }, socket),
    )
    expect(await early(text(open()))).toMatch(
      refusal(
        'The headers of a request have to come within 60 seconds, and its body at 1,000 bytes a second or faster\\.',
        '408 Request Timeout',
      ),
    )
  })

  it.each([
    ['an address', '414 URI Too Long', 'The address of a request', `GET /${'a'.repeat(20_000)}`],
    [
      'a second address',
      '414 URI Too Long',
      'The address of a request',
      `GET / ${HEAD}\r\nGET /${'a'.repeat(20_000)}`,
    ],
    [
      'a header',
      '431 Request Header Fields Too Large',
      'The address and the headers of a request',
      `GET / ${HEAD}x: GET /${'a'.repeat(20_000)}`,
    ],
    [
      'a header after a long address',
      '431 Request Header Fields Too Large',
      'The address and the headers of a request',
      `GET /${'a'.repeat(10_000)} ${HEAD}x: ${'a'.repeat(10_000)}`,
    ],
  ])('because %s is too long, is refused as such', async (_, status, what, sent) => {
    const { ask } = await serve((_, response) => response.end())
    const answer = await ask(sent)
    expect(answer.slice(answer.lastIndexOf('HTTP/1.1'))).toMatch(
      refusal(`${what} may have 16 KB at most\\.`, status),
    )
  })

  it('because its headers are too long, is refused as such where nothing of it is at hand', async () => {
    const { server, open } = await serve((_, response) => response.end())
    server.once('connection', (socket) => server.emit('clientError', { code: 'HPE_HEADER_OVERFLOW' }, socket))
    expect(await early(text(open()))).toMatch(/^HTTP\/1.1 431 /)
  })

  it('is let go a second after its refusal where the client does not leave', async () => {
    const { server, port } = await serve(() => {})
    vi.useFakeTimers({ toFake: ['setTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    onTestFinished(() => void socket.destroy())
    const [taken] = (await once(server, 'connection')) as [Socket]
    socket.write('FOO /\r\n\r\n')
    await once(socket.resume(), 'end')
    vi.advanceTimersByTime(999)
    expect(taken.destroyed).toBe(false)
    vi.advanceTimersByTime(1)
    expect(taken.destroyed).toBe(true)
  })

  it('but an upgrade to another protocol, is answered as the request that it is', async () => {
    const { ask } = await serve((_, response) => response.end('answered'))
    const upgrade = 'connection: Upgrade, close\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n'
    expect(await ask(`GET / ${HEAD}${upgrade}\r\n`)).toMatch(/^HTTP\/1.1 200 .*answered$/s)
  })

  it('is refused after the answers to what came before it, each of which is there once', async () => {
    const { ask } = await serve(async ({ url }, response) => {
      await setImmediate()
      response.end(url)
    })
    const twice = `GET /one ${HEAD}\r\nGET /two ${HEAD}\r\n`
    for (const sent of ['FOO /\r\n\r\n', `CONNECT a:443 ${HEAD}\r\n`]) {
      const answer = await ask(twice + sent)
      expect(answer.match(/HTTP\/1.1 \d+|\/one|\/two|"why"/g)).toEqual([
        ...['HTTP/1.1 200', '/one', 'HTTP/1.1 200', '/two'],
        ...['HTTP/1.1 400', '"why"'],
      ])
    }
  })

  it('is refused after an answer that is under way, or whole already', async () => {
    const { server, ask, open } = await serve(async ({ url }, response) => {
      response.write('begun, ')
      if (url === '/later') await new Promise((resolve) => server.once('clientError', resolve))
      response.end('ended')
    })
    const answers = /HTTP\/1.1 \d+|begun, |ended|"why"/g
    const both = ['HTTP/1.1 200', 'begun, ', 'ended', 'HTTP/1.1 400', '"why"']
    expect((await ask(`GET /later ${HEAD}\r\nFOO /\r\n\r\n`)).match(answers)).toEqual(both)
    const socket = open()
    const answer = text(socket)
    socket.write(`POST / ${HEAD}transfer-encoding: chunked\r\n\r\n`)
    await once(socket, 'readable')
    socket.write('x\r\n')
    expect((await early(answer)).match(answers)).toEqual(both)
    expect((await ask(`GET / ${HEAD}connection: close\r\n\r\nFOO /\r\n\r\n`)).match(answers)).toEqual(
      both.slice(0, 3),
    )
  })

  it('ends a connection of which the client leaves its half open', async () => {
    const { server, port } = await serve((_, response) => response.end())
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    onTestFinished(() => void socket.destroy())
    const [taken] = (await once(server, 'connection')) as [Socket]
    socket.write(`CONNECT a:443 ${HEAD}\r\n`)
    expect(await early(new Promise((resolve) => taken.once('close', () => resolve('closed'))))).toBe('closed')
  })

  const broken = `POST / ${HEAD}transfer-encoding: chunked\r\n\r\nx\r\n`

  it('within a body is refused where nothing is answered, and ends an answer that has begun', async () => {
    const { ask } = await serve((request) => request.on('error', () => {}))
    expect(await ask(broken)).toMatch(unreadable)
    const after = await serve(async (request, response) => {
      request.on('error', () => {})
      await new Promise((resolve) => after.server.once('clientError', resolve))
      await setImmediate()
      if (request.method === 'GET') response.end('first')
    })
    const answers = (await after.ask(`GET / ${HEAD}\r\n${broken}`)).match(/HTTP\/1.1 \d+|first|"why"/g)
    expect(answers).toEqual(['HTTP/1.1 200', 'first', 'HTTP/1.1 400', '"why"'])

    const begun = await serve((request, response) => {
      request.on('error', () => {})
      response.write('a part')
    })
    const socket = begun.open()
    let answer = ''
    socket.on('data', (data) => {
      if (answer === '') socket.write('x\r\n')
      answer += data
    })
    socket.write(`POST / ${HEAD}transfer-encoding: chunked\r\n\r\n`)
    expect(await early(once(socket, 'close').then(() => 'closed'))).toBe('closed')
    expect(answer).toMatch(/a part\r\n$/)
  })

  it('of a client that is gone is nothing', async () => {
    const { server, open } = await serve((_, response) => response.end())
    const failed: unknown[] = []
    const hear = (error: unknown) => failed.push(error)
    process.on('uncaughtException', hear)
    onTestFinished(() => void process.off('uncaughtException', hear))
    for (const sent of ['FOO /\r\n\r\n', `CONNECT a:443 ${HEAD}\r\n`]) {
      const socket = open()
      const seen = once(server, 'connection')
      socket.write(sent, () => socket.resetAndDestroy())
      const [taken] = (await seen) as [Socket]
      expect(await early(new Promise((resolve) => taken.once('close', () => resolve('closed'))))).toBe(
        'closed',
      )
    }
    expect(failed).toEqual([])
  })
})
