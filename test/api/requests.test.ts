import { readFileSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildApp } from '../../api/app.ts'
import { startTestSystem, type TestSystem } from '../context.ts'
import { type System, startSystem } from '../system.ts'
import { SILENT } from '../tools.ts'

/** What a path, a method, a query and a body may be: all others are refused with a sentence that shows the way out. */

const photo = readFileSync(new URL('../fixtures/grace-hopper.jpg', import.meta.url))
const ID = '0199c0de-0000-7000-8000-000000000000'

let system: TestSystem
beforeAll(async () => {
  system = await startTestSystem()
})
afterAll(() => system.stop())

const ask = (path: string, method = 'GET', init: RequestInit = {}) =>
  system.app.request(path, { method, ...init })
const refused = async (response: Response, status: number, code: string, detail: RegExp) => {
  const body = await response.text()
  expect(`${response.status} ${body}`).toContain(`"code":"${code}"`)
  expect(response.status).toBe(status)
  expect(response.headers.get('content-type')).toBe('application/problem+json')
  expect((JSON.parse(body) as { detail: string }).detail).toMatch(detail)
}

/** Every route, and the methods that its path takes. */
const ROUTES: [path: string, allow: string][] = [
  ['/', 'GET, HEAD'],
  ['/docs', 'GET, HEAD'],
  ['/openapi.json', 'GET, HEAD'],
  ['/health', 'GET, HEAD'],
  ['/images', 'GET, HEAD, POST'],
  ['/uploads', 'POST'],
  [`/images/${ID}`, 'GET, HEAD, DELETE'],
  ['/images/nothing', 'GET, HEAD, DELETE'],
  [`/images/${ID}/thumbnail`, 'GET, HEAD'],
  [`/images/${ID}/preview`, 'GET, HEAD'],
  [`/images/${ID}/original`, 'GET, HEAD'],
  [`/images/${ID}/event`, 'GET, HEAD'],
  [`/images/${ID}/retry`, 'POST'],
  ['/images/', 'GET, HEAD, POST'],
  [`/images/${ID}/`, 'GET, HEAD, DELETE'],
  ['/docs/', 'GET, HEAD'],
]

describe('a method', () => {
  it.each(ROUTES)('that %s does not know is 405, with those that it knows', async (path, allow) => {
    for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'QUERY', 'PROPFIND', 'get']) {
      // The Fetch standard itself writes "get" in capitals.
      if (allow.split(', ').includes(method.toUpperCase())) continue
      const response = await ask(path, method)
      expect(response.headers.get('allow')).toBe(allow)
      await refused(
        response,
        405,
        'METHOD_NOT_ALLOWED',
        new RegExp(`takes only ${allow.replace(/, (?=\w+$)/, ' and ')}\\.`),
      )
    }
    if (!allow.includes('HEAD')) {
      const head = await ask(path, 'HEAD')
      expect([head.status, head.headers.get('allow'), await head.text()]).toEqual([405, allow, ''])
    }
    const options = await ask(path, 'OPTIONS')
    expect([options.status, options.headers.get('allow'), await options.text()]).toEqual([204, allow, ''])
  })

  it('is no matter where nothing is', async () => {
    for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'OPTIONS']) {
      for (const path of [
        '/nothing',
        '/images/x/y/z',
        '/images//',
        '/Images',
        '/openapi-json',
        '/%E0%A4%A',
      ]) {
        const response = await ask(path, method)
        expect([response.status, response.headers.get('allow')], `${method} ${path}`).toEqual([404, null])
        if (method !== 'HEAD') await refused(response, 404, 'NOT_FOUND', /path/)
      }
    }
  })

  it('HEAD answers as GET does, without the body', async () => {
    const imageId = await system.submit(photo)
    await system.work()
    for (const path of ['/', '/docs', '/health', '/images', `/images/${imageId}`, `/images/${ID}`]) {
      const [head, get] = [await ask(path, 'HEAD'), await ask(path)]
      const told = ({ status, headers }: Response) => [
        status,
        headers.get('content-type'),
        headers.get('etag'),
      ]
      expect(told(head), path).toEqual(told(get))
      expect(await head.text()).toBe('')
    }
    expect((await ask(`/images/${imageId}/thumbnail`, 'HEAD')).status).toBe(302)
  })

  it('POST at the root is told where images go', async () => {
    const body = JSON.stringify({ image: photo.toString('base64') })
    const response = await ask('/', 'POST', { headers: { 'content-type': 'application/json' }, body })
    expect(response.headers.get('allow')).toBe('GET, HEAD')
    await refused(response, 405, 'METHOD_NOT_ALLOWED', /POST \/images/)
  })

  it('OPTIONS of a page elsewhere is answered for the pages that may ask', async () => {
    const app = buildApp({ ...system.api, corsOrigins: ['https://friend.example'] })
    const preflight = { origin: 'https://friend.example', 'access-control-request-method': 'POST' }
    const answer = await app.request('/images', { method: 'OPTIONS', headers: preflight })
    expect(answer.status).toBe(204)
    expect(answer.headers.get('access-control-allow-origin')).toBe('https://friend.example')
    const plain = await app.request('/images', { method: 'OPTIONS' })
    expect([plain.status, plain.headers.get('allow')]).toEqual([204, 'GET, HEAD, POST'])
  })
})

describe('a trailing slash', () => {
  it('changes nothing, and what an answer points to is still right', async () => {
    const target = (response: Response, path: string) =>
      new URL(response.headers.get('location') ?? '', `https://host/live${path}`).pathname
    const headers = { 'content-type': 'image/jpeg' }
    const sent = await ask('/images/', 'POST', { headers, body: new Uint8Array(photo.subarray(0, 30_000)) })
    expect(sent.status).toBe(202)
    const { imageId } = (await sent.json()) as { imageId: string }
    expect(target(sent, '/images/')).toBe(`/live/images/${imageId}`)
    await system.work()
    const retried = await ask(`/images/${imageId}/retry/`, 'POST')
    expect(retried.status).toBe(202)
    expect(target(retried, `/images/${imageId}/retry/`)).toBe(`/live/images/${imageId}`)
    const form = await ask('/uploads/', 'POST', {
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ contentType: 'image/png', bytes: 9 }),
    })
    expect(form.status).toBe(201)
    expect(target(form, '/uploads/')).toMatch(/^\/live\/images\/[0-9a-f-]{36}$/)
    expect(await (await ask(`/images/${imageId}/`)).json()).toMatchObject({ imageId })
    expect((await ask('/images/?limit=1')).status).toBe(200)
    // The reference asks for what is beside it.
    const docs = await ask('/docs/')
    expect([docs.status, target(docs, '/docs/')]).toEqual([308, '/live/docs'])
  })
})

describe('a query parameter', () => {
  it.each<[string, string, RegExp]>([
    ['GET', '/images?gender=Female', /^Query parameter `gender` is unknown; .*`limit`.*`emotion`/],
    ['GET', '/images?label=Dog&label=Cat', /^$/],
    ['GET', '/labels?label=Dog', /`label` is unknown; .*`prefix`/],
    ['GET', '/images?Limit=5', /`Limit`/],
    ['GET', '/images?limit=5&', /^$/],
    // As the page writes its filters into its address.
    ['GET', '/?label=Sharp&status=completed', /^$/],
    ['GET', `/images/${ID}?limit=5`, /`limit` is unknown; .*`wait`\.$/],
    ['GET', `/images/${ID}/thumbnail?size=9`, /`size` is unknown; this route takes none\.$/],
    ['GET', `/images/${ID}/original?x`, /`x`/],
    ['GET', `/images/${ID}/event?x=1`, /`x`/],
    ['POST', `/images/${ID}/retry?x=1`, /`x`/],
    ['DELETE', `/images/${ID}?force=true`, /`force`/],
    ['POST', '/images?name=a.jpg', /`name`.*`filename`, `analyses`/],
    ['POST', '/uploads?filename=a.jpg', /`filename`.*`analyses`/],
    ['GET', '/health?x=1', /`x`/],
    ['GET', '/?x=1', /`x`/],
    ['GET', '/docs?x=1', /`x`/],
    ['GET', '/openapi.json?x=1', /`x`/],
    ['HEAD', '/images?x=1', /^$/],
    ['GET', '/images?__proto__=1', /`__proto__`/],
    ['GET', '/images?=1', /``/],
    ['GET', `/images?${'x'.repeat(2_000)}=1`, /`x{64}…`/],
    ['GET', '/images?%3Cscript%3E%0A%E2%80%AE%60=1', /`<script>\?\?\?`/],
    ['GET', '/images?limit=1&limit=1', /^Query parameter `limit` is repeated\.$/],
    ['GET', '/images?cursor=a&cursor=b', /`cursor` is repeated/],
    ['GET', `/images/${ID}?wait=1&wait=1`, /`wait` is repeated/],
    ['POST', '/images?filename=a&filename=b', /`filename` is repeated/],
  ])('that is not known, or repeated, is refused by name: %s %s', async (method, path, detail) => {
    const body = method === 'POST' ? { body: new Uint8Array(photo) } : {}
    const response = await ask(path, method, body)
    if (String(detail) === '/^$/') expect(response.status).toBe(method === 'HEAD' ? 400 : 200)
    else await refused(response, 400, 'INVALID_PARAMETER', detail)
  })

  it('that carries a signature is none of the route, where requests are signed', async () => {
    const signed = '/images?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0'
    const app = buildApp({ ...system.api, auth: 'iam' })
    expect((await app.request(signed)).status).toBe(200)
    await refused(await ask(signed), 400, 'INVALID_PARAMETER', /`X-Amz-Algorithm`/)
  })
})

describe('a field', () => {
  const form = (...fields: [string, string | File][]) => {
    const body = new FormData()
    for (const [name, value] of fields) body.append(name, value)
    return ask('/images', 'POST', { body })
  }
  const file = new File([new Uint8Array(photo)], 'a.jpg')
  const json = (value: unknown, path = '/images') =>
    ask(path, 'POST', { headers: { 'content-type': 'application/json' }, body: JSON.stringify(value) })
  const image = photo.toString('base64')
  const announced = { contentType: 'image/png', bytes: 9 }

  it.each<[string, () => Response | Promise<Response>, string, RegExp]>([
    [
      'text in a form',
      () => form(['image', file], ['note', 'x']),
      'INVALID_PARAMETER',
      /^Field `note` is unknown; .*`image`, `file`, `analyses`\.$/,
    ],
    [
      'a second file in a form',
      () => form(['image', file], ['thumbnail', file]),
      'INVALID_PARAMETER',
      /`thumbnail`/,
    ],
    [
      'the file in another field',
      () => form(['photo', file]),
      'MISSING_IMAGE',
      /"image".*`photo` is unknown/,
    ],
    ['no file at all', () => form(['a', 'b']), 'MISSING_IMAGE', /"image".*`a` is unknown/],
    [
      'JSON',
      () => json({ image, emotion: 1 }),
      'INVALID_PARAMETER',
      /^Property `emotion` .*`image`, `filename`, `analyses`\.$/,
    ],
    [
      'JSON without an image',
      () => json({ picture: image }),
      'MISSING_IMAGE',
      /"image".*`picture` is unknown/,
    ],
    [
      'an announcement',
      () => json({ ...announced, size: 9 }, '/uploads'),
      'INVALID_PARAMETER',
      /^Property `size` .*`bytes`/,
    ],
  ])('that is not known is refused by name: %s', async (_name, request, code, detail) => {
    await refused(await request(), 400, code, detail)
  })

  it('of a form that is known is taken', async () => {
    const empty = new File([], '')
    const response = await form(
      ['image', file],
      ['file', empty],
      ['analyses', 'labels'],
      ['analyses', 'text'],
    )
    expect(response.status).toBe(202)
    const { imageId } = (await response.json()) as { imageId: string }
    expect(await (await ask(`/images/${imageId}`)).json()).toMatchObject({ analyses: ['labels', 'text'] })
  })

  it('may leave the name to the query, whatever the kind of body', async () => {
    const body = new FormData()
    body.append('image', new Blob([new Uint8Array(photo)]), '')
    const named = [
      ask('/images?filename=q.jpg', 'POST', { body: new Uint8Array(photo) }),
      json({ image }, '/images?filename=q.jpg'),
    ]
    for (const answer of named) {
      const { imageId } = (await (await answer).json()) as { imageId: string }
      expect((await system.record(imageId)).original.filename).toBe('q.jpg')
    }
  })
})

describe('a body', () => {
  const post = (body: Uint8Array | string, type?: string, headers: Record<string, string> = {}) =>
    ask('/images', 'POST', {
      // Text would bring a type of its own.
      body: new Uint8Array(Buffer.from(body)),
      headers: { ...(type === undefined ? {} : { 'content-type': type }), ...headers },
    })
  const accepted = async (response: Response) => {
    expect(response.status, await response.clone().text()).toBe(202)
    const { imageId } = (await response.json()) as { imageId: string }
    expect((await system.record(imageId)).original.bytes).toBe(photo.length)
  }
  const FORM = 'application/x-www-form-urlencoded'
  const image = JSON.stringify({ image: photo.toString('base64'), filename: 'Grüße.jpg' })

  it('of curl --data-binary, which calls every file a form, is told by its bytes', async () => {
    await accepted(await post(photo, FORM))
    await accepted(await post(photo, `${FORM}; charset=utf-8`))
    await accepted(await post(photo))
    await refused(await post('', FORM), 400, 'EMPTY_IMAGE', /no bytes/)
    await refused(await post('a=b', FORM), 415, 'UNSUPPORTED_MEDIA_TYPE', /curl.*content-type: image\/jpeg/)
    await refused(await post('\0\0\0\x18ftypheic\0\0\0\0mif1heic', FORM), 415, 'UNSUPPORTED_FORMAT', /HEIC/)
    for (const type of [FORM, undefined, ''])
      await refused(await post(image, type), 415, 'UNSUPPORTED_MEDIA_TYPE', /JSON.*application\/json/)
    await refused(
      await post(new Uint8Array(system.api.maxImageBytes + 1), FORM),
      ...([413, 'IMAGE_TOO_LARGE', /POST \/uploads/] as const),
    )
    await refused(await post('hello', 'text/plain'), 415, 'UNSUPPORTED_MEDIA_TYPE', /text\/plain|raw bytes/)
  })

  it.each(['/images', '/uploads'])('of JSON for %s may begin with a byte-order mark', async (path) => {
    const text = path === '/images' ? image : JSON.stringify({ contentType: 'image/png', bytes: 9 })
    const send = (body: Buffer) =>
      ask(path, 'POST', { headers: { 'content-type': 'application/json' }, body: new Uint8Array(body) })
    expect((await send(Buffer.from(`\ufeff${text}`))).status).toBeLessThan(300)
    for (const wide of [
      Buffer.from(text, 'utf16le'),
      Buffer.from(`\ufeff${text}`, 'utf16le'),
      Buffer.from(`\ufeff${text}`, 'utf16le').swap16(),
    ])
      await refused(await send(wide), 400, 'INVALID_JSON', /UTF-16.*UTF-8/)
    await refused(
      await send(Buffer.from(text.replace('}', ',"ü":1}'), 'latin1')),
      400,
      'INVALID_JSON',
      /UTF-8/,
    )
    await refused(await send(Buffer.from(text.slice(0, -1))), 400, 'INVALID_JSON', /not valid JSON/)
  })

  it.each(['/images', '/uploads'])(
    'for %s that is compressed is refused, with what is taken',
    async (path) => {
      for (const coding of ['gzip', 'br', 'identity, gzip']) {
        const response = await ask(path, 'POST', {
          headers: { 'content-type': 'application/json', 'content-encoding': coding },
          body: new Uint8Array(gzipSync(image)),
        })
        expect(response.headers.get('accept-encoding')).toBe('identity')
        await refused(response, 415, 'UNSUPPORTED_MEDIA_TYPE', /compress/)
      }
      await accepted(await post(photo, 'image/jpeg', { 'content-encoding': 'identity' }))
    },
  )
})

describe('over a socket', () => {
  let running: System
  beforeAll(async () => {
    running = await startSystem({ REKOGNITION: 'stand-in', PORT: '0', AWS_PORT: '0' }, SILENT)
  })
  afterAll(() => running.stop())
  const send = (
    method: string,
    path: string,
    headers: Record<string, string> = {},
    body?: Buffer,
    setHost = true,
  ) =>
    new Promise<{ status: number | undefined; allow: string | undefined; body: string }>(
      (resolve, reject) => {
        const request = httpRequest(`${running.url}${path}`, { method, headers, setHost }, (response) => {
          let text = ''
          response.on('data', (chunk) => (text += chunk))
          response.on('end', () =>
            resolve({ status: response.statusCode, allow: response.headers.allow, body: text }),
          )
        })
        request.on('error', reject)
        request.end(body)
      },
    )

  it.each(['PUT', 'PATCH', 'PROPFIND', 'TRACE', 'OPTIONS', 'DELETE'])(
    '%s is answered as well',
    async (method) => {
      const status = method === 'OPTIONS' ? 204 : 405
      expect(await send(method, '/images')).toMatchObject({ status, allow: 'GET, HEAD, POST' })
      expect(await send(method, '/nothing')).toMatchObject({ status: 404, allow: undefined })
    },
  )

  it('no Host, and an expectation that is unknown, have an answer of the API', async () => {
    const hostless = await send('GET', '/health', {}, undefined, false)
    expect(hostless).toMatchObject({ status: 421, body: expect.stringContaining('MISDIRECTED_REQUEST') })
    expect(await send('GET', '/nothing', { expect: 'miracles' })).toMatchObject({
      ...{ status: 404, body: expect.stringContaining('"NOT_FOUND"') },
    })
  })

  it('HEAD has the headers of GET', async () => {
    expect(await send('HEAD', '/health')).toMatchObject({ status: 200, body: '' })
  })

  it('a photo without a type is an image', async () => {
    for (const headers of [{}, { 'content-type': 'application/x-www-form-urlencoded' }])
      expect(await send('POST', '/images', headers, photo)).toMatchObject({ status: 202 })
  })
})
