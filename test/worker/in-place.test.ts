import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import {
  createServer as createTlsServer,
  getCACertificates,
  setDefaultCACertificates,
  type TLSSocket,
} from 'node:tls'
import { GetObjectCommand, NoSuchKey, S3Client } from '@aws-sdk/client-s3'
import { afterEach, describe, expect, it } from 'vitest'
import { listen } from '../../packages/embedded-aws/gateway/index.ts'
import { readInPlace, s3Options } from '../../shared/aws.ts'
import type { ProcessDeps } from '../../worker/deps.ts'
import { read } from '../../worker/original.ts'
import { certificateIn, skipped, without } from '../tools.ts'

/** What a server may answer to the GET of an object, and what comes of it. */

const whole = Buffer.alloc(3_000_000, 'a picture ')
const head = (length: number, more = ''): string =>
  `HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\nETag: "x"\r\n${more}\r\n`
const NO_SUCH_KEY =
  '<?xml version="1.0"?><Error><Code>NoSuchKey</Code><Message>There is none.</Message></Error>'
const missing = `HTTP/1.1 404 Not Found\r\ncontent-type: application/xml\r\ntransfer-encoding: chunked\r\n\r\n${NO_SUCH_KEY.length.toString(16)}\r\n${NO_SUCH_KEY}\r\n0\r\n\r\n`

const undo: (() => void)[] = []
afterEach(() => {
  for (const step of undo.splice(0)) step()
})

interface Serving {
  make?: (listener: (socket: Socket) => void) => Server
  host?: string
  requestTimeout?: number
  socketTimeout?: number
}
/** @param answer to the request of this number */
async function serve(
  answer: (socket: Socket, number: number) => void,
  { make = createServer, host = '127.0.0.1', requestTimeout = 30_000, socketTimeout = 30_000 }: Serving = {},
): Promise<{ s3: S3Client; requests: string[]; connections: Socket[] }> {
  const requests: string[] = []
  const connections: Socket[] = []
  const server = make((socket) => {
    connections.push(socket)
    socket.on('error', () => {})
    socket.on('data', (data) => answer(socket, requests.push(data.toString())))
  })
  const port = await listen(server, 0)
  const options = s3Options({
    endpoint: `${make === createServer ? 'http' : 'https'}://${host}:${port}`,
    ...{ region: 'us-east-1', credentials: { accessKeyId: 'test', secretAccessKey: 'test' } },
  })
  const quick = { ...options, requestHandler: { ...options.requestHandler, requestTimeout, socketTimeout } }
  const s3 = readInPlace(new S3Client({ ...quick, maxAttempts: 2 }), quick)
  undo.push(() => {
    s3.destroy()
    for (const socket of connections) socket.destroy()
    server.close()
  })
  return { s3, requests, connections }
}
const get = async (s3: S3Client, abortSignal?: AbortSignal): Promise<Readable> => {
  const command = new GetObjectCommand({ Bucket: 'bucket', Key: 'originals/a b' })
  const { Body } = await s3.send(command, abortSignal === undefined ? {} : { abortSignal })
  return Body as Readable
}

describe('an object', () => {
  it('is read as one chunk, however it comes, on one connection', async () => {
    const { s3, requests, connections } = await serve((socket, number) => {
      if (number === 1) return socket.write(Buffer.concat([Buffer.from(head(whole.length)), whole]))
      socket.write('HTTP/1.1 200 ')
      socket.write('OK\r\nContent-Length: 4\r\n')
      setImmediate(() => socket.write('\r\nfo'))
      return setTimeout(() => socket.write('ur'), 1)
    })
    const chunks: Buffer[] = []
    for await (const chunk of await get(s3)) chunks.push(chunk)
    expect(chunks.map(({ length }) => length)).toEqual([whole.length])
    expect(chunks[0]?.equals(whole)).toBe(true)
    expect((await buffer(await get(s3))).toString()).toBe('four')
    expect(connections).toHaveLength(1)
    expect(requests[0]).toMatch(/^GET \/bucket\/originals\/a%20b\?x-id=GetObject HTTP\/1.1\r\n/)
    expect(requests[0]).toMatch(/\r\nauthorization: AWS4-HMAC-SHA256 Credential=test\//)
  })

  it('of no bytes is one of no bytes', async () => {
    const { s3 } = await serve((socket) => socket.write(head(0)))
    expect(await buffer(await get(s3))).toHaveLength(0)
  })

  it('is not read before somebody wants it', async () => {
    const { s3, connections } = await serve((socket) => {
      socket.write(head(1e12))
      socket.write(whole)
    })
    const body = await get(s3)
    expect(body.readableLength).toBe(0)
    body.destroy()
    await new Promise((closed) => connections[0]?.once('close', closed))
  })

  it('is asked for on a new connection after one that the server closes', async () => {
    const { s3, connections } = await serve((socket) => socket.end(`${head(4, 'Connection: close\r\n')}four`))
    for (let times = 0; times < 2; times += 1) expect((await buffer(await get(s3))).toString()).toBe('four')
    expect(connections).toHaveLength(2)
  })
})

describe('an answer that is no object', () => {
  it('is the error that the SDK makes of it', async () => {
    const { s3, connections } = await serve((socket) => socket.write(missing))
    await expect(get(s3)).rejects.toBeInstanceOf(NoSuchKey)
    // By the SDK's own handler.
    expect(connections).toHaveLength(2)
  })

  it.each([
    ['a connection that is closed', (socket: Socket) => socket.destroy()],
    ['what is no HTTP', (socket: Socket) => socket.write('SSH-2.0\r\n\r\n')],
    [
      'a body in pieces that has a length',
      (socket: Socket) => socket.write(`${head(4, 'Transfer-Encoding: chunked\r\n')}five`),
    ],
    ['a head without end', (socket: Socket) => socket.write('HTTP/1.1 200 OK\r\n'.repeat(2_000))],
  ])('%s is tried once more', async (_, spoil) => {
    const { s3 } = await serve((socket, number) => {
      if (number === 1) spoil(socket)
      else socket.write(`${head(4)}four`)
    })
    expect((await buffer(await get(s3))).toString()).toBe('four')
  })

  it('that breaks off, or has too much, is an error of its reader', async () => {
    const broken = await serve((socket) => socket.end(`${head(10)}four`))
    await expect(buffer(await get(broken.s3))).rejects.toThrow(/closed the connection/)
    const long = await serve((socket) => socket.write(`${head(4)}fourteen`))
    await expect(buffer(await get(long.s3))).rejects.toThrow(/more than 4 bytes/)
  })

  it('whose bytes are not those of its checksum is an error', async () => {
    const { s3 } = await serve((socket) =>
      socket.write(`${head(4, 'x-amz-checksum-crc32: AAAAAA==\r\n')}four`),
    )
    await expect(get(s3).then(buffer)).rejects.toThrow(/[Cc]hecksum/)
  })

  it('that does not come in time is tried again, and then an error', async () => {
    const { s3 } = await serve(() => {}, { requestTimeout: 50 })
    // What the server sees of them depends on the machine: a busy one may give up before it has sent anything.
    await expect(get(s3)).rejects.toMatchObject({ name: 'TimeoutError', $metadata: { attempts: 2 } })
  })

  it('that falls silent within its body is an error of its reader', async () => {
    const { s3 } = await serve((socket) => socket.write(`${head(10)}four`), { socketTimeout: 50 })
    let said: unknown
    buffer(await get(s3)).catch((error) => (said = error.message))
    await expect.poll(() => said).toBe('S3 has sent nothing for 50 ms.')
  })

  it('that is no longer wanted is an error at once', async () => {
    const { s3, requests } = await serve(() => {})
    const stop = new AbortController()
    const asked = get(s3, stop.signal)
    while (requests.length === 0) await new Promise(setImmediate)
    stop.abort()
    await expect(asked).rejects.toMatchObject({ name: 'AbortError' })
  })
})

describe('an object that comes in pieces, without its length', () => {
  const inPieces = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nfo\r\n2\r\nur\r\n0\r\n\r\n'
  const ofMost = async (most: number) => {
    const { s3 } = await serve((socket) => socket.write(inPieces))
    const deps = { s3, bucket: 'bucket' } as ProcessDeps
    return read(deps, 'originals/a', { most, signal: new AbortController().signal })
  }

  it('is read whole', async () => {
    expect(String(await ofMost(4))).toBe('four')
  })

  it('is refused where it is larger than announced, and tried again where it is smaller', async () => {
    await expect(ofMost(3)).rejects.toMatchObject({ name: 'Verdict', failure: { code: 'CORRUPT_IMAGE' } })
    await expect(ofMost(5)).rejects.toThrow('S3 broke off after 4 of 5 bytes.')
  })
})

it('a page in place of an object is trouble on the way, and no verdict on the image', async () => {
  const page = '<html>Please sign in to this network.</html>'
  const { s3 } = await serve((socket) =>
    socket.write(
      `HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: ${page.length}\r\n\r\n${page}`,
    ),
  )
  const deps = { s3, bucket: 'bucket' } as ProcessDeps
  for (const most of [10_000, 10]) {
    const limits = { most, signal: new AbortController().signal }
    await expect(read(deps, 'originals/a', limits)).rejects.toMatchObject({ name: 'Error' })
  }
})

const lacking = without('openssl')
it.skipIf(lacking.length > 0).each([
  ['a name', 'localhost', 'localhost'],
  // Which no client may send as the name of the server it means (RFC 6066).
  ['an address', '127.0.0.1', false],
] as const)(`an object comes over TLS as well, from %s${skipped(lacking)}`, async (_, host, named) => {
  const folder = mkdtempSync(join(tmpdir(), 'certificate-'))
  const own = certificateIn(folder)
  rmSync(folder, { recursive: true })
  const usual = getCACertificates()
  const answer = (socket: Socket): void => {
    socket.write(Buffer.concat([Buffer.from(head(whole.length)), whole]))
  }
  const names: unknown[] = []
  const secure = (listener: (socket: TLSSocket) => void): Server =>
    createTlsServer(own, (socket) => {
      names.push(socket.servername)
      listener(socket)
    })
  const { s3, connections } = await serve(answer, { make: secure, host })
  // A stranger's is not believed.
  await expect(get(s3)).rejects.toThrow(/self-signed/)
  setDefaultCACertificates([...usual, own.cert.toString()])
  try {
    for (let times = 0; times < 2; times += 1) expect((await buffer(await get(s3))).equals(whole)).toBe(true)
    expect(connections).toHaveLength(1)
    expect(names).toEqual([named])
  } finally {
    setDefaultCACertificates(usual)
  }
})
