import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { openAsBlob } from 'node:fs'
import { appendFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer, text } from 'node:stream/consumers'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { NODE, noFull, skipped } from '../../../test/tools.ts'
import { doctor } from '../doctor.ts'
import { followEvents } from '../events.ts'
import { readError } from '../files.ts'
import { ApiError, bytesOf, type Client, type ClientOptions, createClient } from '../index.ts'
import { forgetfulJournal } from '../journal.ts'
import type { Output } from '../output.ts'
import { signing, signingFetch } from '../sign.ts'
import { inCloudWatch } from '../story.ts'
import { explain, upload } from '../upload.ts'

const ID = '01a20f3c-366e-734c-99ed-0d5fffb2c168'
const NOWHERE = 'http://127.0.0.1:1'
const PNG = new Uint8Array([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])
/** More than a request may have, so that it goes by a form. */
const LARGE = 4_600_000

const problem = (status: number, code: string) =>
  new Response(JSON.stringify({ code, detail: 'As it says.' }), {
    ...{ status, headers: { 'content-type': 'application/problem+json' } },
  })
const formAt = (url: string) => ({
  ...{ imageId: ID, status: 'awaiting_upload' as const, expiresAt: '2100-01-01T00:00:00Z' },
  upload: { url, fields: { key: 'uploads/x' } },
})

/** A client, and what it is answered with, one after another and then the last again. */
function answered(answers: (() => Response)[], options: Partial<ClientOptions> = {}) {
  const bodies: unknown[] = []
  const client = createClient({
    endpoint: NOWHERE,
    fetch: (_url, init) => {
      bodies.push(init.body)
      return (answers[bodies.length - 1] ?? answers.at(-1))?.() ?? expect.fail('No answer is left.')
    },
    ...options,
  })
  return { client, bodies }
}

const LISTED = { imageId: ID, status: 'pending', original: {} }
const firstListed = (client: Client) => client.list().next()
const newForm = (client: Client) => client.createUpload({ contentType: 'image/png', bytes: 1 })

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'image-analyzer-client-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  return folder
}

/** @returns host and port; the server ends with the test */
async function listen(server: Server): Promise<string> {
  await once(server.listen(0, '127.0.0.1'), 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

describe('where there is no Node', () => {
  it('calls fetch as browsers want it: as the function that it is, and as no method of the client', async () => {
    const callers: unknown[] = []
    const fetch = function (this: unknown) {
      callers.push(this)
      return Promise.resolve(Response.json({ status: 'ok' }))
    }
    vi.stubGlobal('fetch', fetch)
    onTestFinished(() => void vi.unstubAllGlobals())
    await createClient({ endpoint: NOWHERE }).health()
    await createClient({ endpoint: NOWHERE, fetch }).health()
    expect(callers).toEqual([undefined, undefined])
  })

  it('sends a large image as a body of the standard, and tells of all its bytes at the end', async () => {
    vi.stubGlobal('navigator', { userAgent: 'Mozilla/5.0' })
    onTestFinished(() => {
      vi.unstubAllGlobals()
      vi.resetModules()
    })
    vi.resetModules()
    const elsewhere = await import('../index.ts')
    const bodies: unknown[] = []
    const client = elsewhere.createClient({
      endpoint: NOWHERE,
      fetch: (_url, init) => {
        bodies.push(init.body)
        return new Response(null, { status: 204 })
      },
    })
    const sent: number[] = []
    const onProgress = (bytes: number) => sent.push(bytes)
    await client.upload(new Blob([PNG, new Uint8Array(LARGE)]), { form: formAt(`${NOWHERE}/s3`), onProgress })
    expect(sent).toEqual([PNG.length + LARGE])
    const [body] = bodies
    expect(body).toBeInstanceOf(Blob)
    expect(await (body as Blob).slice(0, 400).text()).toMatch(
      /^--(\S+)\r\ncontent-disposition: form-data; name="key"\r\n\r\nuploads\/x\r\n--\1\r\n.*name="file"/,
    )
  })
})

it('names a space by %20, which is a space to every parser and in every signature', async () => {
  const asked: string[] = []
  const client = createClient({
    endpoint: NOWHERE,
    fetch: (url, { method }) => {
      asked.push(url.replace(/.*\?/, ''))
      return method === 'POST'
        ? Response.json({ imageId: ID }, { status: 202 })
        : Response.json({ items: [] })
    },
  })
  await client.upload(PNG, { filename: 'a b+c.png' })
  await client.list({ filename: 'a b+c' }).next()
  expect(asked).toEqual(['filename=a%20b%2Bc.png', expect.stringContaining('filename=a%20b%2Bc')])
})

describe('a form', () => {
  /** A bucket, and the bodies it has got. */
  async function startBucket() {
    const got: { length: string | undefined; bytes: number; file: number }[] = []
    const server = createServer(async (request, response) => {
      const body = await buffer(request).catch(() => Buffer.alloc(0))
      const start = body.indexOf('\r\n\r\n', body.indexOf('name="file"')) + 4
      const end = body.lastIndexOf('\r\n--', body.length - 8)
      got.push({ length: request.headers['content-length'], bytes: body.length, file: end - start })
      response.writeHead(204).end()
    })
    return { url: `http://${await listen(server)}/`, got }
  }

  it.each([
    ['and is told how far it is', true],
    ['as a whole', false],
  ])('goes to S3 under its length, %s', async (_, counts) => {
    const { url, got } = await startBucket()
    const sent: number[] = []
    const size = PNG.length + LARGE
    await createClient({ endpoint: NOWHERE }).upload(new Blob([PNG, new Uint8Array(LARGE)]), {
      form: formAt(url),
      ...(counts ? { onProgress: (bytes) => sent.push(bytes) } : {}),
    })
    expect(got).toEqual([{ length: String(got[0]?.bytes), bytes: expect.any(Number), file: size }])
    expect([sent[0], sent.at(-1)]).toEqual(counts ? [0, size] : [undefined, undefined])
    expect(sent).toEqual(sent.toSorted((a, b) => a - b))
  })

  it.each([
    ['and is told how far it is', true],
    ['as a whole', false],
  ])('is given up at once where its file is changed: %s', async (_, counts) => {
    const path = join(await newFolder(), 'large.png')
    await writeFile(path, Buffer.concat([PNG, Buffer.alloc(LARGE)]))
    const image = await openAsBlob(path)
    await appendFile(path, 'more')
    const { url, got } = await startBucket()
    const error = await createClient({ endpoint: NOWHERE })
      .upload(image, { form: formAt(url), ...(counts ? { onProgress: () => {} } : {}) })
      .catch((error: unknown) => error)
    expect(readError(error)).toEqual({ code: 'UNREADABLE', detail: 'It was changed while it was sent.' })
    expect(got.length).toBeLessThanOrEqual(1)
  })

  it('that S3 refuses says why, in letters', async () => {
    const message = 'Policy Condition failed: [&quot;eq&quot;, &quot;$key&quot;, &quot;a&amp;lt;b&quot;]'
    const body = `<Error><Code>AccessDenied</Code><Message>${message}</Message></Error>`
    const { client } = answered([() => new Response(body, { status: 403 })])
    await expect(client.upload(PNG, { form: formAt(`${NOWHERE}/s3`) })).rejects.toMatchObject({
      ...{ code: 'UPLOAD_REFUSED', status: 403 },
      detail: 'AccessDenied: Policy Condition failed: ["eq", "$key", "a&lt;b"]',
    })
  })
})

describe('a request that is repeated', () => {
  it.each([502, 503, 504])(
    'has done what it was to do where a gateway said %i and the API is done with it',
    async (status) => {
      const busy = () => new Response(null, { status })
      const { client: deletes } = answered([busy, () => problem(404, 'IMAGE_NOT_FOUND')])
      await expect(deletes.delete(ID)).resolves.toBeUndefined()
      const { client: retries } = answered([busy, () => problem(409, 'NOT_FAILED')])
      await expect(retries.retry(ID)).resolves.toBeUndefined()
    },
  )

  it('has done nothing before where it was refused as one too many', async () => {
    const { client } = answered([
      () => new Response(null, { status: 429 }),
      () => problem(404, 'IMAGE_NOT_FOUND'),
    ])
    await expect(client.delete(ID)).rejects.toMatchObject({ code: 'IMAGE_NOT_FOUND' })
  })

  it.each<[string, number | undefined]>([
    ['120', 120],
    ['0', 0],
    ['Thu, 01 Jan 1970 00:00:00 GMT', 0],
    // No Retry-After of RFC 9110, so nothing is known.
    ...['-5', '1.5', '1e3', 'soon', '', '2001-01-01'].map((value): [string, undefined] => [value, undefined]),
  ])('reads Retry-After: %s as %s seconds', async (value, seconds) => {
    const { client } = answered(
      [() => new Response(null, { status: 503, headers: { 'retry-after': value } })],
      {
        patienceMs: 0,
      },
    )
    await expect(client.health()).rejects.toMatchObject({ code: 'UNAVAILABLE', retryAfter: seconds })
  })
})

describe('what is wrong before anything is sent', () => {
  it.each(['http://x/?stage=1', 'http://user:secret@x/', 'http://user@x/'])(
    'is said of an endpoint that would lose a part: %s',
    (endpoint) => {
      expect(() => createClient({ endpoint })).toThrow(/no query, no user and no password/)
    },
  )

  it.each(['', '127.0.0.1:3000', 'localhost:3000'])(
    'is said of an endpoint without http: "%s"',
    (endpoint) => {
      expect(() => createClient({ endpoint })).toThrow(
        'The endpoint must be an http or https URL, such as http://127.0.0.1:3000.',
      )
    },
  )

  it('is said of a header, without its value, and no network is blamed', async () => {
    const { client, bodies } = answered([() => Response.json({ imageId: ID }, { status: 202 })])
    const wrong = [
      () => client.upload(PNG, { idempotencyKey: 'файл' }),
      () => createClient({ endpoint: NOWHERE, token: 'se\ncret' }).health(),
    ]
    for (const [number, call] of wrong.entries()) {
      const error = await call().catch((error: unknown) => error)
      expect(error).toBeInstanceOf(TypeError)
      expect(String(error)).toContain(`The header "${['idempotency-key', 'authorization'][number]}"`)
      expect(String(error)).not.toMatch(/файл|cret/)
    }
    expect(bodies).toEqual([])
  })

  it('is said of credentials that cannot be found', async () => {
    const { region } = await signing('http://x')
    const none = async () => {
      throw new ApiError('UNAUTHENTICATED', 0, 'No AWS credentials: none.')
    }
    const fetch = await signingFetch(NOWHERE, { region, credentials: none })
    await expect(createClient({ endpoint: NOWHERE, fetch }).health()).rejects.toMatchObject({
      code: 'UNAUTHENTICATED',
    })
  })
})

describe('what an error says', () => {
  it('is where a redirect leads, which is not followed: a token is for the endpoint', async () => {
    const headers = { location: 'https://elsewhere.test/images' }
    const { client, bodies } = answered([() => new Response(null, { status: 301, headers })])
    await expect(client.get(ID)).rejects.toMatchObject({
      ...{ code: 'UNEXPECTED_ANSWER', status: 301 },
      detail: expect.stringContaining('It leads to https://elsewhere.test/images.'),
    })
    expect(bodies).toHaveLength(1)
  })

  it.each([
    ['a time that is over', new DOMException('The time is over.', 'TimeoutError'), 'The time is over.'],
    ['nothing at all', undefined, 'undefined'],
  ])('is the reason, where fetch throws %s', async (_, thrown, reason) => {
    const { client } = answered(
      [
        () => {
          throw thrown
        },
      ],
      { patienceMs: 0 },
    )
    await expect(client.health()).rejects.toMatchObject({
      code: 'UNREACHABLE',
      detail: `${NOWHERE} does not answer (${reason}).`,
    })
  })
})

it.each<[string, unknown, (client: Client) => Promise<unknown>]>([
  ['a page of nothing', { items: [null] }, (client) => client.list().next()],
  ['an image without an id', { items: [{ status: 'pending', original: {} }] }, firstListed],
  ['an image without an original', { items: [{ imageId: ID, status: 'pending' }] }, firstListed],
  ['a failure that is none', { items: [{ ...LISTED, failure: 'x' }] }, firstListed],
  ['labels that are no list', { items: [{ ...LISTED, labels: 'x' }] }, firstListed],
  ['a record without an original', { imageId: ID, status: 'pending' }, (client) => client.get(ID)],
  ['a record of a face', { ...LISTED, rekognitionFaces: {} }, (client) => client.get(ID)],
  ['a page that leads to nothing', { items: [], cursor: null }, firstListed],
  ['a page that leads to itself', { items: [], cursor: 'x' }, firstListed],
  ['a label without a name', { items: [{}] }, (client) => client.labels().next()],
  ['a form without an address', { imageId: ID, upload: {} }, newForm],
  ['a form for a file', { imageId: ID, upload: { url: 'file:///x', fields: {} } }, newForm],
  ['a form without fields', { imageId: ID, upload: { url: NOWHERE } }, newForm],
])('takes %s for an answer of another program', async (_, body, call) => {
  const answer = () => Response.json(body, { status: call === newForm ? 201 : 200 })
  const { client } = answered([answer, answer, () => problem(400, 'INVALID_PARAMETER')])
  await expect(call(client)).rejects.toMatchObject({ name: 'ApiError', code: 'UNEXPECTED_ANSWER' })
})

it('reads no more than 10 MB of an answer', async () => {
  let sent = 0
  const endless = (most: number) => () =>
    new Response(
      new ReadableStream({
        pull: (controller) => {
          if (sent >= most) return controller.close()
          sent += 1_000_000
          controller.enqueue(new Uint8Array(1_000_000).fill(0x20))
        },
      }),
    )
  const { client, bodies } = answered([endless(1e9)])
  await expect(client.health()).rejects.toMatchObject({
    ...{ code: 'UNEXPECTED_ANSWER', status: 200, detail: expect.stringContaining('10 MB') },
  })
  expect(bodies).toHaveLength(1)
  // One more is on its way.
  expect(sent).toBeLessThanOrEqual(12_000_000)
  sent = 0
  expect((await bytesOf(endless(10_000_000)()))?.length).toBe(10_000_000)
})

it('names a minute at least where the API wants patience, and hours where it wants more than two', () => {
  const busy = (retryAfter: number) => new ApiError('TOO_MANY_REQUESTS', 429, 'Too many.', { retryAfter })
  expect([0, 1, 61, 7_200, 7_201, 35_870].map((seconds) => explain(busy(seconds)))).toEqual(
    ['1 min', '1 min', '2 min', '120 min', '3 h', '10 h'].map(
      (time) => `TOO_MANY_REQUESTS: Too many. Try again in ${time}.`,
    ),
  )
})

it('asks for credentials where they were not good, and for another address where a gateway knows none', () => {
  const refused = (...[status, more]: [number, object]) =>
    explain(new ApiError('UNAUTHENTICATED', status, 'No.', more))
  expect(refused(401, { challenge: 'Bearer' })).toContain('No. Give a token')
  expect(refused(401, { challenge: 'AWS4-HMAC-SHA256' })).toContain('No. This API needs requests signed')
  // Without its stage, or below a domain with another base path.
  expect(refused(403, {})).toContain('No. Is the address right (--endpoint')
  // Who called is known, and may not: infrastructure/modules/image-analyzer/api.tf, ACCESS_DENIED.
  expect(refused(403, { instance: 'urn:uuid:1' })).toBe('UNAUTHENTICATED: No.')
})

it('asks for a new form where the bucket refuses the one of a run before, though it is good by this machine’s clock', async () => {
  const path = join(await newFolder(), 'large.png')
  await writeFile(path, new Uint8Array([...PNG, ...new Uint8Array(LARGE)]))
  const asked: string[] = []
  const answers: Record<string, () => Response> = {
    [`GET /images/${ID}`]: () => Response.json({ ...LISTED, status: 'awaiting_upload' }),
    'POST /old': () => new Response('<Error><Code>ExpiredToken</Code></Error>', { status: 400 }),
    'POST /uploads': () => Response.json(formAt(`${NOWHERE}/new`), { status: 201 }),
    'POST /new': () => new Response(null, { status: 204 }),
  }
  const client = createClient({
    endpoint: NOWHERE,
    fetch: (url, { method }) => {
      const request = `${method} ${new URL(url).pathname}`
      asked.push(request)
      return answers[request]?.() ?? expect.fail(request)
    },
  })
  const results: unknown[] = []
  const { signal } = new AbortController()
  const code = await upload({
    ...{ client, names: [path], filename: undefined, scope: [], wait: false, concurrency: 1 },
    ...{ analyses: undefined, stop: signal, abort: signal },
    journal: {
      ...forgetfulJournal(),
      get: (key) => ({ key, sha256: '', imageId: ID, form: formAt(`${NOWHERE}/old`) }),
    },
    output: {
      ...{ format: 'json', note: () => {}, trouble: () => {}, status: undefined },
      result: ({ json }) => results.push(json),
    },
  })
  expect(results).toEqual([expect.objectContaining({ status: 'accepted', imageId: ID })])
  expect(asked).toEqual(Object.keys(answers))
  expect(code).toBe(0)
})

describe('doctor', () => {
  const results: unknown[] = []
  const output: Output = {
    ...{ format: 'json', note: () => {}, trouble: () => {}, status: undefined },
    result: ({ json }) => results.push(json),
  }
  const rest = { output, token: undefined, signs: false, signal: new AbortController().signal }

  it('does not look at the form where no picture is analysed', async () => {
    const client = createClient({ endpoint: NOWHERE, patienceMs: 0 })
    client.health = async () => ({ status: 'ok', date: undefined })
    client.list = async function* () {}
    client.upload = async () => ({ imageId: ID, via: 'images' }) as never
    client.wait = async () => ({ status: 'failed', failure: { code: 'EXHAUSTED', message: '' } }) as never
    client.delete = async () => {}
    expect(await doctor({ client, endpoint: NOWHERE, uploads: true, ...rest })).toBe(1)
    expect(results.at(-1)).toMatchObject({ check: 'upload', ok: false })
  })

  it.each([
    ['an API that speaks https', 'http', '', /http where it should be https/],
    ['an API that speaks http', 'https', '', /http where it should be https/],
    ['an API that has moved', 'http', '/moved', /address that it leads to/],
  ])('says how to mend the address of %s', async (_, scheme, path, mend) => {
    const server = createServer((_request, response) => {
      if (path === '') response.socket?.destroy()
      else response.writeHead(301, { location: 'https://x.test/' }).end()
    })
    const endpoint = `${scheme}://${await listen(server)}${path}`
    const client = createClient({ endpoint, patienceMs: 0 })
    expect(await doctor({ client, endpoint, uploads: false, ...rest })).toBe(path === '' ? 3 : 1)
    expect(results.at(-1)).toEqual({
      ...{ check: 'endpoint', ok: false, mend: expect.stringMatching(mend) },
      found: expect.stringMatching(path === '' ? /does not answer/ : /It leads to https:\/\/x\.test\//),
    })
  })
})

describe.skipIf(noFull.length > 0)(`the command line${skipped(noFull)}`, () => {
  /** @param command of a shell, in which "$@" runs the command line */
  async function shell(command: string, env: Record<string, string> = {}) {
    const server = createServer((request, response) =>
      request.resume().on('end', () => {
        response.setHeader('content-type', 'application/json')
        if (request.url === `/images/${ID}`) response.end(JSON.stringify(LISTED))
        else if (request.method === 'GET')
          response.end('{"items":[{"imageId":"x","status":"failed","original":{},"failure":{}}]}')
        else response.writeHead(202).end(JSON.stringify({ imageId: ID }))
      }),
    )
    const endpoint = `http://${await listen(server)}`
    const cli = [process.execPath, ...NODE, join(import.meta.dirname, '../main.ts')]
    const child = spawn('sh', ['-c', command, 'sh', ...cli], {
      cwd: await newFolder(),
      env: { ...process.env, IMAGE_ANALYZER_ENDPOINT: endpoint, IMAGE_ANALYZER_TOKEN: '', ...env },
    })
    const [out, err, [code]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, 'close'),
    ])
    return { code, out, err }
  }

  it('accepts all the same where its journal has no room, and says so once', async () => {
    const files = 'for i in 1 2 3 4 5; do echo $i > $i.png; done; echo > sent.jsonl'
    const { code, out, err } = await shell(
      // A block of 512 bytes; some shells count in two of them.
      `${files}; ulimit -f 1; "$@" upload ?.png --journal sent.jsonl`,
    )
    const lines = out.trim().split('\n')
    expect(lines.map((line) => JSON.parse(line).status)).toEqual(Array(5).fill('accepted'))
    expect(code).toBe(0)
    expect(err).toMatch(/^The journal sent\.jsonl cannot be written any more \([^\n]+\), so [^\n]+\n$/)
  })

  it('says that its results cannot be written, and ends as usual where its remarks cannot', async () => {
    const [full, gone, deaf] = await Promise.all([
      shell('"$@" list > /dev/full'),
      shell('{ "$@" list; echo $? >&2; } | true'),
      shell('"$@" lists 2> /dev/full'),
    ])
    expect(full).toMatchObject({
      code: 1,
      err: expect.stringMatching(/^The results cannot be written: ENOSPC/),
    })
    expect(gone.err).toBe('141\n')
    expect(deaf.code).toBe(2)
  })

  it('sends nothing twice where a role has new keys, and all again where it is another that signs', async () => {
    const as = (keys: string) =>
      `${keys} AWS_SECRET_ACCESS_KEY=x "$@" upload a.png --sign --journal sent.jsonl`
    const session = (name: string) => as(`AWS_ACCESS_KEY_ID=ASIA${name} AWS_SESSION_TOKEN=${name}`)
    const user = as('AWS_ACCESS_KEY_ID=AKIAONE AWS_SESSION_TOKEN=')
    const { out, err } = await shell(['echo > a.png', session('ONE'), session('TWO'), user].join('; '))
    const lines = out.trim().split('\n')
    expect(err).toBe('')
    expect(lines.map((line) => JSON.parse(line).resumed)).toEqual([undefined, true, undefined])
  })

  it('says that there are no credentials to sign by', async () => {
    const none = {
      AWS_ACCESS_KEY_ID: '',
      AWS_SECRET_ACCESS_KEY: '',
      AWS_PROFILE: '',
      AWS_SESSION_TOKEN: '',
    }
    const away = { AWS_CONFIG_FILE: '/nowhere', AWS_SHARED_CREDENTIALS_FILE: '/nowhere' }
    const env = { ...none, ...away, AWS_EC2_METADATA_DISABLED: 'true' }
    const runs = await Promise.all([
      shell('"$@" list --sign', env),
      shell('echo > a.png; "$@" upload a.png --sign --journal sent.jsonl', env),
    ])
    for (const { code, err } of runs) {
      expect(err).toMatch(/^UNAUTHENTICATED: No AWS credentials: .* use --sign\.\n$/)
      expect(code).toBe(1)
    }
  })
})

describe('the story of an image', () => {
  it.each([
    ['eu-west-1', 'https://logs.eu-west-1.amazonaws.com'],
    ['cn-north-1', 'https://logs.cn-north-1.amazonaws.com.cn'],
  ])('of a log in %s asks %s', async (region, expected) => {
    vi.stubEnv('AWS_REGION', region)
    for (const key of ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY']) vi.stubEnv(key, 'test')
    const asked = vi.spyOn(globalThis, 'fetch').mockResolvedValue(Response.json({ events: [] }))
    onTestFinished(() => {
      vi.unstubAllEnvs()
      vi.restoreAllMocks()
    })
    expect((await inCloudWatch(['api'], 'id', {}).next()).done).toBe(true)
    expect(asked.mock.calls.map(([address]) => new URL(String(address)).origin)).toEqual([expected])
  })
})

it('follows images also when a round breaks off in the middle: what it had seen comes with the next', async () => {
  const [first, second] = [ID, '01a20f3c-39f9-7373-aacd-3eaed2efdf41']
  const listed = (imageId: string, ended: boolean) => ({
    imageId,
    status: ended ? 'completed' : 'pending',
    completedAt: ended ? '2026-11-24T20:25:34.660Z' : undefined,
    original: {},
  })
  const ending = new AbortController()
  let round = 0
  const client = createClient({
    endpoint: NOWHERE,
    patienceMs: 0,
    fetch: (address) => {
      const { pathname, searchParams } = new URL(address)
      const status = searchParams.get('status')
      if (status === 'pending') round += 1
      if (round > 3) ending.abort()
      const wasSeen = round > 1
      if (pathname === '/images') {
        const items = [...(wasSeen ? [] : [listed(second, false)]), listed(first, wasSeen)]
        return Response.json({ items: status === null || (status === 'pending' && !wasSeen) ? items : [] })
      }
      // It is in no list any more, and the first time the connection breaks.
      if (round === 2) throw new TypeError('fetch failed')
      return Response.json(listed(second, true))
    },
  })
  const finished: string[] = []
  const troubles: string[] = []
  await followEvents(
    client,
    1,
    ({ imageId }) => finished.push(imageId),
    (line) => troubles.push(line),
    ending.signal,
  )
  expect(troubles).toEqual([expect.stringContaining('Still trying.')])
  expect(finished.sort()).toEqual([first, second].sort())
})

it('follows images also where the newest is deleted: what had ended before is no news then', async () => {
  const [before, newest] = ['01a20f3c-0000-7373-aacd-3eaed2efdf41', '01a20f3d-0000-7373-aacd-3eaed2efdf41']
  const ending = new AbortController()
  let round = 0
  const client = createClient({
    endpoint: NOWHERE,
    fetch: (address) => {
      const status = new URL(address).searchParams.get('status')
      if (status !== null) return Response.json({ items: [] })
      round += 1
      if (round > 10) ending.abort()
      const ids = round === 1 ? [newest, before] : [before]
      const completedAt = '2026-11-24T20:25:34.660Z'
      return Response.json({
        items: ids.map((imageId) => ({ imageId, status: 'completed', completedAt, original: {} })),
      })
    },
  })
  const finished: string[] = []
  const finish = ({ imageId }: { imageId: string }) => finished.push(imageId)
  await followEvents(client, 1, finish, () => {}, ending.signal)
  expect(finished).toEqual([])
})
