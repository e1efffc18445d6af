import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { readSettings } from '../../local/environment.ts'
import { inFrontOf } from '../../local/server.ts'
import { createClient } from '../../packages/client/index.ts'
import { startTestSystem, type TestSystem } from '../context.ts'
import { distinct } from '../pictures/pictures.ts'
import { root } from '../started.ts'

const BARE = [
  [401, 'UNAUTHENTICATED'],
  [403, 'UNAUTHENTICATED'],
  [413, 'IMAGE_TOO_LARGE'],
  [429, 'TOO_MANY_REQUESTS'],
  [502, 'UNAVAILABLE'],
  [503, 'UNAVAILABLE'],
  [504, 'UNAVAILABLE'],
] as const

/** A gateway's own answer has a status and nothing of ours: API Gateway's own 413 is `{"message": …}`. */
describe('the client, where a gateway answers instead of the API', () => {
  let system: TestSystem
  beforeAll(async () => {
    system = await startTestSystem()
  })
  afterAll(() => system.stop())

  const clientBehind = (refuse: (path: string, method: string) => Response | undefined) =>
    createClient({
      endpoint: 'http://127.0.0.1:1',
      fetch: async (url, init) => {
        const { origin, pathname } = new URL(url)
        // Forms go to S3 itself.
        if (origin !== 'http://127.0.0.1:1') return fetch(url, init)
        return refuse(pathname, init?.method ?? 'GET') ?? system.app.request(url, init)
      },
    })

  it.each([
    ['without a body', () => new Response(null, { status: 413 })],
    ['in the words of API Gateway', () => Response.json({ message: 'Request Too Long' }, { status: 413 })],
    [
      'in HTML',
      () => new Response('<html>413</html>', { status: 413, headers: { 'content-type': 'text/html' } }),
    ],
  ])('sends an image that is too large for it to S3 directly: a 413 %s', async (_, answer) => {
    const client = clientBehind((path, method) =>
      method === 'POST' && path === '/images' ? answer() : undefined,
    )
    const accepted = await client.upload(await distinct(413))
    expect(accepted).toMatchObject({ via: 'uploads' })
    expect(await (await system.app.request(`/images/${accepted.imageId}`)).json()).toMatchObject({
      imageId: accepted.imageId,
    })
  })

  it('sends a photo that the gateway of npm start refuses as API Gateway does to S3, and a page may read the refusal', async () => {
    const photo = await distinct(414)
    const CORS_ORIGINS = 'http://localhost:5173'
    const gateway = inFrontOf(
      system.app,
      readSettings({ GATEWAY_MAX_BYTES: String(photo.length - 1), CORS_ORIGINS }),
    )
    const post = (headers: Record<string, string>) =>
      gateway(
        new Request('http://127.0.0.1/images', {
          method: 'POST',
          headers: { host: '127.0.0.1', 'content-length': String(photo.length), ...headers },
          body: new Uint8Array(photo),
        }),
      )
    const refused = await post({ origin: CORS_ORIGINS })
    expect(refused.status).toBe(413)
    expect(await refused.json()).toEqual({ message: 'Request Too Long' })
    expect(refused.headers.get('access-control-allow-origin')).toBe(CORS_ORIGINS)
    expect((await post({})).headers.get('access-control-allow-origin')).toBeNull()
    const inChunks = (bytes: Buffer) =>
      gateway(
        new Request('http://127.0.0.1/images', {
          ...{ method: 'POST', headers: { host: '127.0.0.1', 'content-type': 'image/png' }, duplex: 'half' },
          body: new Blob([new Uint8Array(bytes)]).stream(),
        }),
      )
    const chunked = await inChunks(photo)
    expect([chunked.status, await chunked.json()]).toEqual([413, { message: 'Request Too Long' }])
    // What breaks off is not too large.
    const broken = await gateway(
      new Request('http://127.0.0.1/images', {
        ...{ method: 'POST', headers: { host: '127.0.0.1' }, duplex: 'half' },
        body: new ReadableStream({ pull: (controller) => controller.error(new Error('gone')) }),
      }),
    )
    expect(await broken.json()).toMatchObject({ status: 400, code: 'INVALID_PARAMETER' })
    // Without its last byte it is no whole picture, which is not the gateway's matter.
    expect((await inChunks(photo.subarray(0, -1))).status).toBe(202)

    const client = createClient({
      endpoint: 'http://127.0.0.1:1',
      fetch: (url, init) => {
        if (!url.startsWith('http://127.0.0.1:1/')) return fetch(url, init)
        const bytes = init.body instanceof Uint8Array ? init.body.length : 0
        const headers = { ...(init.headers as Record<string, string>), host: '127.0.0.1:1' }
        return gateway(
          new Request(url, { ...init, headers: { ...headers, 'content-length': String(bytes) } }),
        )
      },
    })
    expect(await client.upload(photo)).toMatchObject({ via: 'uploads' })
  })

  it.each(BARE)('names a bare %i as %s', async (status, code) => {
    const client = createClient({
      endpoint: 'http://127.0.0.1:1',
      patienceMs: 0,
      fetch: () => Response.json({ message: 'In its own words' }, { status }),
    })
    await expect(client.contentTypes()).rejects.toMatchObject({
      ...{ code, status },
      message: expect.stringContaining('In its own words'),
    })
  })

  it('asks for an image that waits after a minute, and sooner only where it waits less', async () => {
    vi.useFakeTimers()
    onTestFinished(() => void vi.useRealTimers())
    const imageId = '01a20f3c-366e-734c-99ed-0d5fffb2c168'
    const asked: number[] = []
    const until = (ms: number) => ({ for: 'budget', until: new Date(Date.now() + ms).toISOString() })
    const answers = [
      () => ({ status: 'processing', waits: until(3_600_000) }),
      () => ({ status: 'processing', waits: until(7_000) }),
      () => ({ status: 'processing' }),
      () => ({ status: 'failed' }),
    ]
    const began = Date.now()
    const client = createClient({
      endpoint: 'http://127.0.0.1:1',
      fetch: () => {
        asked.push(Date.now() - began)
        return Response.json({ imageId, original: {}, ...answers[asked.length - 1]?.() })
      },
    })
    const ended = client.wait(imageId)
    await vi.advanceTimersByTimeAsync(120_000)
    expect(asked).toEqual([0, 60_000, 67_000, 68_000])
    expect(await ended).toMatchObject({ status: 'failed' })
  })

  it('takes JSON of another program for what it is', async () => {
    const client = createClient({
      endpoint: 'http://127.0.0.1:1',
      fetch: (_url, init) => Response.json({ ok: true }, { status: init?.method === 'POST' ? 201 : 200 }),
    })
    const imageId = '01a20f3c-366e-734c-99ed-0d5fffb2c168'
    for (const asked of [
      () => client.get(imageId),
      () => client.event(imageId),
      () => client.thumbnailUrl(imageId),
      () => client.list().next(),
      () => client.labels().next(),
      () => client.health(),
      () => client.createUpload({ contentType: 'image/png', bytes: 1 }),
    ])
      await expect(asked(), String(asked)).rejects.toMatchObject({
        ...{ name: 'ApiError', code: 'UNEXPECTED_ANSWER' },
        message: expect.stringMatching(/An answer has no "\w+", so it is not the API's\.$/),
      })
  })

  it('is the page’s equal in what a bare status means', () => {
    // Neither can import the other: the client is published alone, and the page has no code of packages.
    const meanings = (file: string): string[] => {
      const [, table = ''] =
        /CODE_BY_STATUS\b[^=]*= \{([^}]*)\}/.exec(readFileSync(join(root, file), 'utf8')) ?? []
      return table.match(/\d{3}: '\w+'/g) ?? []
    }
    const all = BARE.map(([status, code]) => `${status}: '${code}'`)
    expect(meanings('packages/client/index.ts')).toEqual(all)
    expect(meanings('web/words.js')).toEqual(all)
  })
})
