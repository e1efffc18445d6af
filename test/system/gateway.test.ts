import { createHash, createHmac, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { SignatureV4 } from '@smithy/signature-v4'
import fc from 'fast-check'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { type ApiError, problem } from '../../api/schemas.ts'
import { largestBody } from '../../api/upload.ts'
import { readSettings } from '../../local/environment.ts'
import { inFrontOf, readHashed, serverOf } from '../../local/server.ts'
import { close, listen, verifySignature } from '../../packages/embedded-aws/gateway/index.ts'
import { signRequest } from '../../packages/embedded-aws/index.ts'
import { withMetrics } from '../../shared/machine.ts'
import { startSystem } from '../system.ts'
import { SILENT } from '../tools.ts'

/** AUTH=iam on this machine: signatures are made by the SDK's own signer, and verified as API Gateway does. */

const keys = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'secret' }
const MAX_IMAGE_BYTES = 1_000
const url = 'http://127.0.0.1:3000/images'
const sha256 = (data: string | Uint8Array) => createHash('sha256').update(data).digest('hex')

class Sha256 {
  readonly #hash
  constructor(secret?: unknown) {
    this.#hash = secret === undefined ? createHash('sha256') : createHmac('sha256', secret as Buffer)
  }
  update(data: unknown): void {
    this.#hash.update(data as Buffer)
  }
  async digest(): Promise<Uint8Array> {
    return this.#hash.digest()
  }
  reset(): void {}
}

interface Signed {
  method: string
  headers: Record<string, string>
  url: string
}
interface ToSign {
  url?: string
  method?: string
  body?: string | Uint8Array
  headers?: Record<string, string>
  date?: Date
  credentials?: typeof keys
  service?: string
  /** Whether the hash of the body is a header of its own. */
  claim?: boolean
  /** Headers that are left out of the signature. */
  unsigned?: string[]
}
async function sign(options: ToSign): Promise<Signed> {
  const address = new URL(options.url ?? url)
  const signer = new SignatureV4({
    ...{ credentials: options.credentials ?? keys, region: 'eu-west-1', sha256: Sha256 },
    ...{ service: options.service ?? 'execute-api', applyChecksum: options.claim ?? true },
  })
  const method = options.method ?? 'POST'
  const query: Record<string, string[]> = {}
  for (const name of address.searchParams.keys()) query[name] = address.searchParams.getAll(name)
  const { headers } = await signer.sign(
    {
      ...{ method, protocol: 'http:', hostname: address.hostname, path: address.pathname, query },
      headers: { host: address.host, ...options.headers },
      body: options.body ?? '',
    },
    { signingDate: options.date ?? new Date(), unsignableHeaders: new Set(options.unsigned) },
  )
  return { method, headers, url: address.href }
}

/** A request, and how many pieces of its body have been asked for. */
function arriving({ method, headers, url }: Signed, pieces: (string | Uint8Array)[]) {
  let pulled = 0
  const body = new ReadableStream<Uint8Array>(
    {
      pull: (controller) => {
        const piece = pieces[pulled]
        pulled += 1
        if (piece === undefined) controller.close()
        else controller.enqueue(Buffer.from(piece))
      },
    },
    { highWaterMark: 0 },
  )
  const hasBody = method !== 'GET'
  // `fetch` and Request set Host and do not show it; a server's request has it.
  const request = new Request(url, { method, ...(hasBody ? { body, duplex: 'half' as const } : {}) })
  Object.defineProperty(request, 'headers', { value: new Headers(headers) })
  return { request, pulled: () => pulled }
}
const verify = (request: Request) =>
  verifySignature(request, keys, (body) => readHashed(body, MAX_IMAGE_BYTES))
const pass = async (signed: Signed, ...pieces: (string | Uint8Array)[]) =>
  (await verify(arriving(signed, pieces).request)).caller !== undefined

describe('a signature', () => {
  it('of the SDK is right for any path, query, header and body, and for no other', async () => {
    // The SDK's signer keeps parameters in an object, and loses one of this name.
    const text = fc.string({ unit: 'grapheme', maxLength: 12 }).filter((name) => name !== '__proto__')
    const segment = text.filter((name) => !/^\.+$/.test(name)).map(encodeURIComponent)
    await fc.assert(
      fc.asyncProperty(
        ...([fc.array(segment, { maxLength: 3 }), fc.array(fc.tuple(text, text), { maxLength: 4 })] as const),
        ...([fc.string({ maxLength: 20 }), fc.uint8Array({ maxLength: 500 }), fc.boolean()] as const),
        fc.constantFrom('GET', 'POST', 'DELETE'),
        async (path, query, header, bytes, claim, method) => {
          const body = method === 'GET' ? '' : bytes
          const address = `http://127.0.0.1:3000/${path.join('/')}?${new URLSearchParams(query)}`
          const headers = { 'x-note': header.replaceAll(/[^ -~]/g, ' ').trim() }
          const signed = await sign({ url: address, headers, body, claim, method })
          expect(await pass(signed, ...(method === 'GET' ? [] : [body]))).toBe(true)
          for (const other of [
            { ...signed, url: signed.url.replace('3000/', '3000/x') },
            { ...signed, url: `${signed.url}&x` },
            { ...signed, method: 'PUT' },
            { ...signed, headers: { ...signed.headers, 'x-note': 'longer than any of the others' } },
            { ...signed, headers: { ...signed.headers, host: 'localhost:3000' } },
          ]) {
            expect(await pass(other, ...(method === 'GET' ? [] : [body]))).toBe(false)
          }
          if (method !== 'GET') expect(await pass(signed, body, 'x')).toBe(false)
        },
      ),
      { numRuns: 60 },
    )
  })

  it('gives the body on as it came', async () => {
    for (const claim of [true, false]) {
      const signed = await sign({ body: 'hello world', claim })
      const given = verify(arriving(signed, ['hello', ' world']).request).then((verified) => ({
        ...verified.caller,
        text: verified?.request.text(),
      }))
      const caller = { accountId: '000000000000', caller: 'AKIDEXAMPLE' }
      await expect(given).resolves.toMatchObject(caller)
      await expect((await given).text).resolves.toBe('hello world')
    }
    const signed = await sign({ method: 'GET' })
    await expect(verify(arriving(signed, []).request)).resolves.toMatchObject({ request: { body: null } })
  })

  it.each(['/', '/images/', '//images//1', '/a%20b/'])(
    'of the SDK is right for the path %s',
    async (path) => {
      const signed = await sign({ url: `http://127.0.0.1:3000${path}`, method: 'GET' })
      expect(await pass(signed)).toBe(true)
    },
  )

  it('is good for five minutes before and after its date', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    onTestFinished(() => {
      vi.useRealTimers()
    })
    const date = new Date('2026-11-27T12:34:56Z')
    const signed = await sign({ body: 'hello', date })
    for (const [ms, expected] of [
      ...[-300_001, 300_001].map((ms) => [ms, false] as const),
      ...[-300_000, 0, 300_000].map((ms) => [ms, true] as const),
    ]) {
      vi.setSystemTime(date.getTime() + ms)
      expect(await pass(signed, 'hello'), `${ms}`).toBe(expected)
    }
  })

  const hour = 3_600_000
  it.each<[string, ToSign, (signed: Signed) => Record<string, string>]>([
    ['is none', {}, ({ headers: { authorization: _, ...headers } }) => headers],
    ['is of another key', { credentials: { ...keys, accessKeyId: 'OTHER' } }, ({ headers }) => headers],
    ['is of another secret', { credentials: { ...keys, secretAccessKey: 'x' } }, ({ headers }) => headers],
    ['is for another service', { service: 's3' }, ({ headers }) => headers],
    ['is an hour old', { date: new Date(Date.now() - hour) }, ({ headers }) => headers],
    ['is an hour ahead', { date: new Date(Date.now() + hour) }, ({ headers }) => headers],
    [
      'names a header that is not there',
      { headers: { 'x-note': 'a' } },
      ({ headers: { 'x-note': _, ...headers } }) => headers,
    ],
    [
      'is not all that there is',
      {},
      ({ headers }) => ({ ...headers, authorization: `${headers['authorization']}, x` }),
    ],
    [
      'is not the first thing',
      {},
      ({ headers }) => ({ ...headers, authorization: `x, ${headers['authorization']}` }),
    ],
    ['has no date', {}, ({ headers: { 'x-amz-date': _, ...headers } }) => headers],
    ['has another date', {}, ({ headers }) => ({ ...headers, 'x-amz-date': '20260101T000000Z' })],
    ['leaves out the host', { unsigned: ['host'] }, ({ headers }) => headers],
    [
      'is of another body',
      {},
      ({ headers }) => ({ ...headers, 'x-amz-content-sha256': sha256('another body') }),
    ],
    // aws/aws-sdk-java-v2, issue 5581: API Gateway refuses it.
    [
      'is for no body in particular',
      { headers: { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' } },
      ({ headers }) => headers,
    ],
  ])('that %s is refused', async (what, options, change) => {
    const signed = await sign({ body: 'hello', ...options })
    const { request, pulled } = arriving({ ...signed, headers: change(signed) }, ['hello'])
    expect((await verify(request)).caller).toBeUndefined()
    // Nothing of the body was wanted before that; of a body that is not hashed only afterwards can it be known.
    if (what !== 'is for no body in particular') expect(pulled()).toBe(0)
  })

  it('by the key of another day, or with a date of another kind, is refused', async () => {
    const { headers } = await sign({ body: 'hello' })
    const now = headers['x-amz-date'] ?? ''
    const by = (day: string, date = now): Record<string, string> => {
      const scope = { day, region: 'eu-west-1', service: 'execute-api' }
      const request = { method: 'POST', path: '/images', query: [], payloadHash: sha256('hello'), date }
      const signed: [string, string][] = [['host', '127.0.0.1:3000']]
      const signature = signRequest({ ...request, headers: signed }, keys.secretAccessKey, scope)
      const credential = `${keys.accessKeyId}/${day}/eu-west-1/execute-api/aws4_request`
      return {
        ...{ host: '127.0.0.1:3000', 'x-amz-date': date },
        authorization: `AWS4-HMAC-SHA256 Credential=${credential}, SignedHeaders=host, Signature=${signature}`,
      }
    }
    expect(await pass({ method: 'POST', url, headers: by(now.slice(0, 8)) }, 'hello')).toBe(true)
    expect(await pass({ method: 'POST', url, headers: by('20260101') }, 'hello')).toBe(false)
    for (const date of [`${now}(x)`, now.replace('Z', ''), now.slice(0, 8)])
      expect(await pass({ method: 'POST', url, headers: by(now.slice(0, 8), date) }, 'hello'), date).toBe(
        false,
      )
  })

  it('that says nothing of the body is looked at when as much is there as the API takes, and no more', async () => {
    const piece = new Uint8Array(1_000)
    const pieces = Array.from({ length: 1_000 }, () => piece)
    for (const claim of [true, false]) {
      const { request, pulled } = arriving(await sign({ body: Buffer.concat(pieces), claim }), pieces)
      await expect(verify(request)).rejects.toMatchObject({ code: 'IMAGE_TOO_LARGE' })
      // Twice the base64 of 1,000 bytes, and 65,536 for what is around it.
      expect(pulled()).toBe(69)
      // What there is more of it is read by others, and dropped.
      expect(request.body?.locked).toBe(false)
    }
  })

  it('of the largest body is right, and one byte more is refused', async () => {
    const bytes = new Uint8Array(largestBody(MAX_IMAGE_BYTES))
    for (const claim of [true, false]) {
      await expect(pass(await sign({ body: bytes, claim }), bytes)).resolves.toBe(true)
      const more = await sign({ body: Buffer.concat([bytes, Buffer.from('x')]), claim })
      await expect(pass(more, bytes, 'x')).rejects.toMatchObject({ code: 'IMAGE_TOO_LARGE' })
    }
  })
})

describe('npm start with AUTH=iam', () => {
  const photo = readFileSync(join(import.meta.dirname, '../fixtures/grace-hopper.jpg'))
  const stamp = () => new Date().toISOString().replaceAll(/[-:]|\.\d+/g, '')
  const SENT = 400_000_000
  /** Read and dropped, so that clients see the answer: by admission.ts, and by the server after the answer. */
  const DROPPED = 64_000_000 + 64 * 2 ** 20

  it.each([
    ['nobody signed', '', /^HTTP\/1.1 401 /],
    ['has a key that is not known', 'OTHER', /^HTTP\/1.1 401 /],
    ['says whose it is, but not what is in it', 'AKIDEXAMPLE', /^HTTP\/1.1 413 /],
  ])('takes little of a body without end that %s', async (_, key, expected) => {
    const env = { AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE', AWS_SECRET_ACCESS_KEY: 'right' }
    const system = await startSystem(
      { AUTH: 'iam', REKOGNITION: 'stand-in', PORT: '0', AWS_PORT: '0', ...env },
      SILENT,
    )
    const date = stamp()
    const authorization = `AWS4-HMAC-SHA256 Credential=${key}/${date.slice(0, 8)}/us-east-1/execute-api/aws4_request, SignedHeaders=host, Signature=${'0'.repeat(64)}`
    const { answer, taken } = await pour(new URL(system.url).port, { authorization, 'x-amz-date': date })
    expect(answer).toMatch(expected)
    // And what is on its way between two sockets.
    expect(taken).toBeLessThan(DROPPED + 12_100_000 + 30_000_000)
    expect(taken).toBeLessThan(SENT)
    const signed = await sign({
      url: `${system.url}/images`,
      body: photo,
      credentials: { ...keys, secretAccessKey: 'right' },
    })
    const { host: _host, ...headers } = signed.headers
    expect((await fetch(signed.url, { method: 'POST', headers, body: photo })).status).toBe(202)
    await system.stop()
  })

  /** Sends as much as is taken. */
  function pour(port: string, headers: Record<string, string>): Promise<{ answer: string; taken: number }> {
    const head = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
    const piece = Buffer.concat([Buffer.from('100000\r\n'), Buffer.alloc(2 ** 20), Buffer.from('\r\n')])
    return new Promise((resolve) => {
      const socket = connect(Number(port), '127.0.0.1')
      let answer = ''
      socket.on('data', (data) => {
        answer += data
      })
      socket.on('error', () => {})
      socket.on('close', () => resolve({ answer, taken: socket.bytesWritten }))
      socket.write(
        `POST /images HTTP/1.1\r\nHost: localhost\r\n${head.join('')}Transfer-Encoding: chunked\r\n\r\n`,
      )
      const more = (): void => {
        while (!socket.destroyed) {
          if (socket.bytesWritten > SENT) {
            socket.end('0\r\n\r\n')
            return
          }
          if (!socket.write(piece)) {
            socket.once('drain', more)
            return
          }
        }
      }
      more()
    })
  }
})

describe('in front of the API on this machine', () => {
  const settings = readSettings({ MAX_IMAGE_BYTES: '1000' })
  const said: unknown[] = []
  const app = {
    fetch: async (request: Request, { refused }: { refused?: ApiError } = {}) => {
      said.push(refused?.code ?? (await readHashed(request, 1_000)).body?.length)
      return refused === undefined ? new Response('taken') : problem(refused, randomUUID())
    },
  } as unknown as Parameters<typeof inFrontOf>[0]

  it.each([
    ['image/jpeg', 500, ['100', '200']],
    ['image/jpeg', 100_000, ['413']],
    ['multipart/form-data; boundary=b', 60_000, ['100', '200']],
    ['application/json', 60_000, ['100', '200']],
    ['application/json', 70_000, ['413']],
  ])(
    'a body of %s and %i bytes is asked for only where it is not too large',
    async (type, bytes, statuses) => {
      const server = serverOf(inFrontOf(app, settings), settings)
      const port = await listen(server, 0)
      onTestFinished(() => close(server))
      const socket = connect(port, '127.0.0.1')
      const head = `POST /images HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: ${type}\r\nContent-Length: ${bytes}`
      socket.write(`${head}\r\nExpect: 100-continue\r\n\r\n`)
      let answer = ''
      for await (const data of socket) {
        answer += data
        if (answer === 'HTTP/1.1 100 Continue\r\n\r\n') socket.write(Buffer.alloc(bytes))
        if (answer.includes('taken')) socket.end()
      }
      expect([...answer.matchAll(/^HTTP\/1.1 (\d+)/gm)].map(([, status]) => status)).toEqual(statuses)
      expect(said.splice(0)).toEqual([statuses.includes('413') ? 'IMAGE_TOO_LARGE' : bytes])
    },
  )

  it.each([
    ['ERR_HTTP_REQUEST_TIMEOUT', 408, 'REQUEST_TIMEOUT', 'request-timeout'],
    ['HPE_HEADER_OVERFLOW', 431, 'HEADERS_TOO_LARGE', 'headers-too-large'],
    ['HPE_INVALID_METHOD', 400, 'INVALID_PARAMETER', 'invalid-parameter'],
  ])('what never becomes a request gets a problem: %s', async (error, status, code, type) => {
    const server = serverOf(inFrontOf(app, settings), settings)
    // Node looks for such requests every 30 seconds.
    server.once('connection', (socket) => server.emit('clientError', { code: error }, socket))
    const port = await listen(server, 0)
    onTestFinished(() => close(server))
    const answer = await text(connect(port, '127.0.0.1'))
    expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} .*content-type: application/problem\\+json`, 's'))
    expect(JSON.parse(answer.slice(answer.indexOf('{')))).toMatchObject({
      ...{ status, code, type: `urn:image-analyzer:problem:${type}` },
      ...{
        title: expect.any(String),
        detail: expect.any(String),
        instance: expect.stringMatching(/^urn:uuid:/),
      },
    })
  })

  it('what never becomes a request is refused after the answers to those before it', async () => {
    const server = serverOf(async () => {
      await new Promise((resolve) => setImmediate(resolve))
      return new Response('first')
    }, settings)
    const port = await listen(server, 0)
    onTestFinished(() => close(server))
    const head = 'HTTP/1.1\r\nhost: 127.0.0.1\r\n'
    const sent = [
      `GET /health ${head}\r\nFOO / ${head}\r\n`,
      `GET /health ${head}\r\nCONNECT a:443 ${head}\r\n`,
    ]
    const [both, proxied] = await Promise.all(
      sent.map((bytes) => {
        const socket = connect(port, '127.0.0.1')
        socket.write(bytes)
        return text(socket)
      }),
    )
    expect(both?.match(/HTTP\/1.1 \d+|first|"code":"\w+"/g)).toEqual([
      ...['HTTP/1.1 200', 'first'],
      ...['HTTP/1.1 400', '"code":"INVALID_PARAMETER"'],
    ])
    expect(proxied).toMatch(/^HTTP\/1.1 200 .*first.*HTTP\/1.1 400 .*"code":"INVALID_PARAMETER"/s)
  })

  it('its metrics are read, and all else is refused as the API does', async () => {
    const { fetch } = withMetrics(app, () => 'a 1\n')
    const ask = async (method: string) => fetch(new Request('http://127.0.0.1/metrics', { method }))
    expect(await (await ask('GET')).text()).toBe('a 1\n')
    const asked = await ask('OPTIONS')
    expect([asked.status, asked.headers.get('allow')]).toEqual([204, 'GET, HEAD'])
    const answer = await ask('POST')
    expect(answer.headers.get('allow')).toBe('GET, HEAD')
    expect(answer.headers.get('content-type')).toBe('application/problem+json')
    expect(await answer.json()).toEqual({
      ...{
        type: 'urn:image-analyzer:problem:method-not-allowed',
        title: 'The method is not allowed here',
        status: 405,
      },
      ...{ code: 'METHOD_NOT_ALLOWED', detail: 'GET and HEAD are allowed at /metrics.' },
      instance: expect.stringMatching(/^urn:uuid:/),
    })
  })

  it('its samples are read, and say so to those who ask for more', async () => {
    const fetch = inFrontOf(app, settings)
    const ask = async (path: string, method: string) => {
      const { status, headers } = await fetch(
        new Request(`http://127.0.0.1${path}`, { method, headers: { host: '127.0.0.1' } }),
      )
      return [status, headers.get('allow') ?? headers.get('content-type')]
    }
    expect(await ask('/samples/cat.jpg', 'GET')).toEqual([200, 'image/jpeg'])
    expect(await ask('/samples/cat.jpg', 'OPTIONS')).toEqual([204, 'GET, HEAD'])
    expect(await ask('/samples/cat.jpg', 'DELETE')).toEqual([405, 'GET, HEAD'])
    expect(said.splice(0)).toEqual([])
  })
})
