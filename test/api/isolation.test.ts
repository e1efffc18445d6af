import { createServer, type Server } from 'node:http'
import { ListObjectsV2Command } from '@aws-sdk/client-s3'
import { paginateScan, UpdateCommand } from '@aws-sdk/lib-dynamodb'
import fc from 'fast-check'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildApp } from '../../api/app.ts'
import { apiDeps, identifyBy } from '../../api/deps.ts'
import { listen } from '../../packages/embedded-aws/gateway/index.ts'
import { readApiConfig } from '../../shared/config.ts'
import { startTestSystem, type TestSystem } from '../context.ts'
import { distinct } from '../pictures/pictures.ts'
import { anyText } from './any-text.ts'

/** Every route of the app. One that is missing here fails the first test below. */
const ROUTES: { method: string; path: string; public?: true; body?: 'image' | 'announcement' }[] = [
  { method: 'GET', path: '/', public: true },
  { method: 'GET', path: '/health', public: true },
  { method: 'GET', path: '/openapi.json', public: true },
  { method: 'GET', path: '/docs', public: true },
  { method: 'POST', path: '/images', body: 'image' },
  { method: 'POST', path: '/uploads', body: 'announcement' },
  { method: 'GET', path: '/images' },
  { method: 'GET', path: '/labels' },
  { method: 'GET', path: '/images/:imageId' },
  { method: 'GET', path: '/images/:imageId/thumbnail' },
  { method: 'GET', path: '/images/:imageId/preview' },
  { method: 'GET', path: '/images/:imageId/original' },
  { method: 'GET', path: '/images/:imageId/event' },
  { method: 'POST', path: '/images/:imageId/retry' },
  { method: 'DELETE', path: '/images/:imageId' },
]
/** Headers by which an answer to GET or HEAD may differ. */
const OF_READS = [
  { 'if-none-match': '*' },
  { 'if-match': '"x"' },
  { range: 'bytes=0-9' },
  { accept: 'text/html' },
]
/** And to one that changes an image. */
const OF_CHANGES = [{ 'if-match': '*' }, { 'if-match': '"x"' }]
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']
const EXTRAS: Record<string, Record<string, string>[]> = {
  GET: OF_READS,
  HEAD: OF_READS,
  POST: OF_CHANGES,
  DELETE: OF_CHANGES,
}
const QUERIES: Record<string, string[]> = { '/images/:imageId': ['', '?wait=20', '?wait=99', '?wait=x'] }
const PATHS = [...new Set(ROUTES.map(({ path }) => path))]
const MISSING = '0199c0de-0000-7000-8000-000000000000'
const isThere = (method: string, path: string) =>
  ROUTES.find((route) => route.path === path && route.method === (method === 'HEAD' ? 'GET' : method))

let system: TestSystem
let png: Uint8Array<ArrayBuffer>
beforeAll(async () => {
  system = await startTestSystem()
  png = new Uint8Array(await distinct(1))
})
afterAll(() => system.stop())

type App = TestSystem['app']
interface Ask {
  method?: string
  headers?: Record<string, string>
  body?: NonNullable<RequestInit['body']>
  /** What API Gateway says of the caller. */
  env?: object
}
/** What holds for every answer to every request. */
async function ask(app: App, path: string, { env, ...init }: Ask = {}): Promise<Response> {
  const response = await app.request(path, init, env)
  const { headers } = response
  expect(response.status, `${init.method} ${path}`).toBeLessThan(500)
  expect(headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/)
  expect(headers.get('x-content-type-options')).toBe('nosniff')
  expect(headers.get('x-frame-options')).toBe('DENY')
  expect(headers.get('referrer-policy')).toBe('no-referrer')
  expect(headers.get('strict-transport-security')).toMatch(/^max-age=\d{8}$/)
  expect(headers.get('content-security-policy')).toMatch(/^default-src 'none'; .*frame-ancestors 'none'/)
  for (const name of ['set-cookie', 'server', 'x-powered-by', 'access-control-allow-credentials'])
    expect(headers.get(name), name).toBeNull()
  expect(headers.get('access-control-allow-origin')).not.toBe('*')
  if (response.status >= 400) {
    expect(headers.get('content-type')).toBe('application/problem+json')
    expect(headers.get('cache-control')).toBe('no-store')
  }
  return response
}
/** An answer to the last byte, but for the name of its request. */
const bytesOf = async (response: Response): Promise<string> => {
  const headers = [...response.headers].filter(([name]) => name !== 'x-request-id')
  const body = (await response.text()).replace(/"instance":"urn:uuid:[0-9a-f-]{36}"/, '')
  return JSON.stringify([response.status, headers, body])
}
const bodyOf = (route: (typeof ROUTES)[number]): Ask =>
  route.body === 'image'
    ? { headers: { 'content-type': 'image/png' }, body: png }
    : route.body === 'announcement'
      ? {
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ contentType: 'image/png', bytes: 700 }),
        }
      : {}

let issuer: Server
let JWT_ISSUER: string
let keys: Awaited<ReturnType<typeof generateKeyPair>>
const token = async (subject: string, change: (jwt: SignJWT) => SignJWT = (jwt) => jwt): Promise<string> =>
  change(
    new SignJWT({})
      .setProtectedHeader({ alg: 'ES256', kid: 'one' })
      .setIssuer(JWT_ISSUER)
      .setAudience('images')
      .setSubject(subject)
      .setExpirationTime('5m'),
  ).sign(keys.privateKey)
beforeAll(async () => {
  keys = await generateKeyPair('ES256')
  const jwk = { ...(await exportJWK(keys.publicKey)), kid: 'one', alg: 'ES256', use: 'sig' }
  issuer = createServer((request, response) => {
    const isMetadata = request.url?.includes('openid-configuration')
    response.end(
      JSON.stringify(isMetadata ? { issuer: JWT_ISSUER, jwks_uri: `${JWT_ISSUER}/keys` } : { keys: [jwk] }),
    )
  })
  JWT_ISSUER = `http://127.0.0.1:${await listen(issuer, 0)}`
})
afterAll(() => {
  issuer.closeAllConnections()
  issuer.close()
})

const bearer = async (subject: string): Promise<Ask> => ({
  headers: { authorization: `Bearer ${await token(subject)}` },
})
const signed = (caller: string): Ask => ({
  env: { requestContext: { identity: { accountId: '123456789012', caller } } },
})
const together = (one: Ask, other: Ask): Ask => ({
  ...one,
  ...other,
  headers: { ...one.headers, ...other.headers },
})

const AUTHS = [
  {
    auth: 'jwt',
    build: () => identifyBy({ AUTH: 'jwt', JWT_ISSUER, JWT_AUDIENCE: 'images' }),
    owner: () => bearer('owner'),
    other: () => bearer('other'),
    /** Tokens that let no caller in. */
    bad: async (): Promise<Record<string, Ask>> => ({
      nothing: {},
      junk: { headers: { authorization: 'Bearer junk' } },
      'what AUTH=iam would take': signed('AIDAOWNER'),
      'the owner’s name in other headers': {
        headers: { 'x-test-owner': 'jwt:owner', 'x-amzn-oidc-identity': 'owner' },
      },
      'a token in the query and a cookie': { headers: { cookie: `token=${await token('owner')}` } },
      'a token of yesterday': {
        headers: { authorization: `Bearer ${await token('owner', (jwt) => jwt.setExpirationTime('-1d'))}` },
      },
    }),
  },
  {
    auth: 'iam',
    build: () => identifyBy({ AUTH: 'iam' }),
    owner: async () => signed('AIDAOWNER'),
    other: async () => signed('AIDAOTHER'),
    bad: async (): Promise<Record<string, Ask>> => ({
      nothing: {},
      'a signature that nobody has verified': {
        headers: {
          authorization:
            'AWS4-HMAC-SHA256 Credential=AIDAOWNER/20260101/us-east-1/execute-api/aws4_request, SignedHeaders=host, Signature=00',
        },
      },
      'what AUTH=jwt would take': await bearer('owner'),
      'a caller without an account': { env: { requestContext: { identity: { caller: 'AIDAOWNER' } } } },
      'a caller in a header': { headers: { 'x-amzn-requestcontext': '{"identity":{"caller":"AIDAOWNER"}}' } },
    }),
  },
] as const

describe.each(AUTHS)('AUTH=$auth', ({ build, owner, other, bad }) => {
  let app: App
  let mine: Ask
  let theirs: Ask
  /** The owner's images, one of each status. */
  const images: Record<string, string> = {}
  const show = async (imageId: string) => (await ask(app, `/images/${imageId}`, mine)).json()
  beforeAll(async () => {
    app = buildApp({ ...system.api, identify: build() })
    mine = await owner()
    theirs = await other()
    const post = async (body: Uint8Array<ArrayBuffer>) => {
      const headers = { 'content-type': 'image/png' }
      const response = await ask(
        app,
        '/images?filename=secret.png',
        together(mine, { method: 'POST', headers, body }),
      )
      return ((await response.json()) as { imageId: string }).imageId
    }
    images['completed'] = await post(png)
    images['failed'] = await post(png.slice(0, 100))
    await system.work()
    images['pending'] = await post(png)
    images['processing'] = await post(png)
    await system.worker.dynamo.send(
      new UpdateCommand({
        TableName: system.names.table,
        Key: { imageId: images['processing'] },
        UpdateExpression: 'SET #status = :processing, leaseId = :lease, leaseUntil = :until',
        ExpressionAttributeNames: { '#status': 'status' },
        ExpressionAttributeValues: { ':processing': 'processing', ':lease': 'x', ':until': Date.now() + 1e6 },
      }),
    )
    const headers = { 'content-type': 'application/json' }
    const body = JSON.stringify({ contentType: 'image/png', bytes: 700 })
    const upload = await ask(app, '/uploads', together(mine, { method: 'POST', headers, body }))
    images['awaiting_upload'] = ((await upload.json()) as { imageId: string }).imageId
    await system.receiveJobs()
    for (const [status, id] of Object.entries(images)) expect(await show(id)).toMatchObject({ status })
  })

  it('has no route that is not in the table of this test', () => {
    const routes = app.routes
      .filter(({ method }) => method !== 'ALL')
      .map(({ method, path }) => `${method} ${path}`)
    expect([...new Set(routes)].sort()).toEqual(ROUTES.map(({ method, path }) => `${method} ${path}`).sort())
  })

  it("answers another's image byte for byte as a missing one, on every route by every method", async () => {
    const before = await Promise.all(Object.values(images).map(show))
    let compared = 0
    for (const path of PATHS.filter((one) => one.includes(':imageId'))) {
      for (const method of METHODS) {
        for (const query of QUERIES[path] ?? ['']) {
          for (const extra of [{}, ...(EXTRAS[method] ?? [])]) {
            const at = async (id: string, who: Ask) =>
              bytesOf(
                await ask(
                  app,
                  path.replace(':imageId', id) + query,
                  together(who, { method, headers: extra }),
                ),
              )
            const missing = await at(MISSING, theirs)
            expect(missing).toMatch(method === 'OPTIONS' ? /^\[204,/ : /^\[(404|405|400),/)
            for (const id of Object.values(images)) expect(await at(id, theirs)).toBe(missing)
            // The owner of other images learns no more of what is not there.
            expect(await at(MISSING, mine)).toBe(missing)
            compared += 1
          }
        }
      }
    }
    expect(compared).toBe((3 + 6) * (METHODS.length + Object.values(EXTRAS).flat().length))
    expect(await Promise.all(Object.values(images).map(show))).toEqual(before)
  })

  it('lets nobody in without credentials, on any route, whether the image is there or not', async () => {
    for (const [name, credentials] of Object.entries(await bad())) {
      for (const path of PATHS) {
        for (const method of METHODS) {
          const route = isThere(method, path)
          const answers: string[] = []
          for (const id of [MISSING, ...Object.values(images)]) {
            const response = await ask(
              app,
              `${path.replace(':imageId', id)}?access_token=x`,
              together(credentials, { method, ...(route === undefined ? {} : bodyOf(route)) }),
            )
            const what = `${method} ${path} with ${name}`
            const none = method === 'OPTIONS' ? 204 : 405
            expect(response.status, what).toBe(route === undefined ? none : route.public ? 400 : 401)
            if (response.status === 401)
              expect(response.headers.get('www-authenticate'), what).toMatch(/^(Bearer|AWS4-HMAC-SHA256)/)
            answers.push(await bytesOf(response))
            if (!path.includes(':imageId')) break
          }
          expect(new Set(answers).size).toBe(1)
        }
      }
    }
    for (const id of Object.values(images)) expect(await show(id)).toMatchObject({ imageId: id })
  })

  it("shows in lists what is one's own, whatever the cursor says", async () => {
    const list = async (query: string, who: Ask) =>
      (await (await ask(app, `/images${query}`, who)).json()) as {
        items: { imageId: string }[]
        cursor?: string
      }
    const own = await list('', mine)
    expect(own.items.map(({ imageId }) => imageId).sort()).toEqual(
      expect.arrayContaining(Object.values(images).sort()),
    )
    const { cursor } = await list('?limit=1', mine)
    for (const query of [
      '',
      `?cursor=${cursor}`,
      '?status=completed',
      `?status=completed&cursor=${cursor}`,
      '?label=Bright',
    ])
      expect(await list(query, theirs)).toEqual({ items: [] })
  })

  it('keeps idempotency keys apart', async () => {
    const headers = { 'content-type': 'image/png', 'idempotency-key': 'the-same' }
    const post = async (who: Ask) => {
      const response = await ask(app, '/images', together(who, { method: 'POST', headers, body: png }))
      expect(response.status).toBe(202)
      return ((await response.json()) as { imageId: string }).imageId
    }
    const id = await post(mine)
    expect(await post(mine)).toBe(id)
    expect(await post(theirs)).not.toBe(id)
  })
})

describe('a token', () => {
  it('has a subject that is a name and nothing else', async () => {
    const app = buildApp({
      ...system.api,
      identify: identifyBy({ AUTH: 'jwt', JWT_ISSUER, JWT_AUDIENCE: 'images' }),
      dailyImageQuota: 1_000,
    })
    const subjects = [
      'a',
      'A',
      'a ',
      'a\n',
      'a#b',
      'ä',
      'a\u0308',
      '../x',
      '\r\nset-cookie: a=b',
      '<script>',
      '\0',
      '𝒳'.repeat(120),
    ]
    const ids: string[] = []
    for (const subject of subjects) {
      const headers = { 'content-type': 'image/png', 'idempotency-key': 'k' }
      const response = await ask(
        app,
        '/images',
        together(await bearer(subject), { method: 'POST', headers, body: png }),
      )
      expect(response.status, subject).toBe(202)
      ids.push(((await response.json()) as { imageId: string }).imageId)
    }
    expect(new Set(ids).size).toBe(subjects.length)
    for (const [index, subject] of subjects.entries()) {
      const list = (await (await ask(app, '/images', await bearer(subject))).json()) as {
        items: { imageId: string }[]
      }
      expect(list.items.map(({ imageId }) => imageId)).toEqual([ids[index]])
    }
    await system.work()
    const events = await system.events()
    const owners = ids.map((id) => events.find((event) => event.imageId === id)?.owner)
    expect(owners).toEqual(subjects.map((subject) => `jwt:${subject}`))
  })
})

describe('what a user writes', () => {
  /** So that what is reflected can be found. */
  const MARK = 'zq7mark'
  const hostile = fc
    .oneof(
      anyText(60),
      fc.string({ unit: 'grapheme', maxLength: 60 }),
      fc.constantFrom(
        ...[
          '\r\nset-cookie: a=b',
          '\n\n<html>',
          '%0d%0aset-cookie:%20a=b',
          '%00',
          '\0',
          '../../../etc/passwd',
        ],
        ...[
          '..%2f..%2f',
          '<script>alert(1)</script>',
          '"><img src=x onerror=alert(1)>',
          "';--",
          `$\{7*7}`,
          '{{7*7}}',
        ],
        ...[
          'quota#x',
          'idempotency#x',
          'bytes#x',
          '\u202e',
          '\ud800',
          '__proto__',
          '\u2028',
          '$&',
          'javascript:alert(1)',
        ],
      ),
      fc.constant('x'.repeat(10_000)),
    )
    .map((text) => MARK + text)
  const encoded = (text: string) => encodeURIComponent(text.toWellFormed())
  /** Whether it can be a header; Node and browsers send none with a line break. */
  const header = (name: string, value: string): Record<string, string> => {
    try {
      new Headers({ [name]: value })
      return { [name]: value }
    } catch {
      return {
        [name]: Buffer.from(value)
          .toString('latin1')
          .replaceAll(/[\0\r\n]/g, ' '),
      }
    }
  }
  const unreflected = async (response: Response) => {
    for (const [name, value] of response.headers) {
      expect(value, name).not.toContain(MARK)
      expect(value, name).not.toMatch(/[\r\n]/)
    }
    const text = await response.clone().text()
    // The name of a query parameter, as far as it is printable, and no more.
    const shown = text.replace(/Query parameter `[\x20-\x5f\x61-\x7e]{0,80}…?` is/, '')
    if (response.status >= 400) expect(shown).not.toContain(MARK)
    expect(response.headers.get('content-type') ?? '').not.toContain('html')
    return response
  }

  it('in paths and queries is looked up or refused, never repeated', async () => {
    const places: ((text: string) => string)[] = [
      (text) => `/images/${text}`,
      (text) => `/images/${text}/thumbnail`,
      (text) => `/images/${text}/preview`,
      (text) => `/images/${text}/original`,
      (text) => `/images/${MISSING}?wait=${text}`,
      (text) => `/images?cursor=${text}`,
      (text) => `/images?label=${text}`,
      (text) => `/images?filename=${text}`,
      (text) => `/images?emotion=${text}&from=${text}`,
      (text) => `/labels?prefix=${text}`,
      (text) => `/labels?cursor=${text}`,
      (text) => `/images?label=${text}&status=completed&limit=100`,
      (text) => `/images?status=${text}`,
      (text) => `/images?limit=${text}`,
      (text) => `/images?${text}=${text}`,
      (text) => `/${text}`,
      (text) => `/images/${MISSING}/${text}`,
    ]
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...places),
        hostile,
        fc.constantFrom('GET', 'HEAD', 'DELETE', 'POST', 'PUT'),
        async (place, text, method) => {
          for (const written of [encoded(text), encodeURI(text.toWellFormed()).replaceAll(/[?#]/g, '')])
            await unreflected(await ask(system.app, place(written), { method }))
        },
      ),
      { numRuns: 120 },
    )
  })

  it('in headers is looked at or passed over, never repeated', async () => {
    const names = [
      'if-none-match',
      'if-match',
      'authorization',
      'origin',
      'accept',
      'content-type',
      'x-request-id',
      'host',
      'x-forwarded-host',
    ]
    const imageId = await system.submit(png)
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...names), hostile, async (name, text) => {
        const headers = header(name, text)
        await unreflected(await ask(system.app, `/images/${imageId}`, { headers }))
        await unreflected(await ask(system.app, '/images', { headers, method: 'POST', body: 'x' }))
        await unreflected(await ask(system.app, '/uploads', { headers, method: 'POST', body: '{}' }))
      }),
      { numRuns: 100 },
    )
  })

  it('as an idempotency key is a key of its owner, or refused', async () => {
    await fc.assert(
      fc.asyncProperty(hostile, async (text) => {
        const headers = { 'content-type': 'image/png', ...header('idempotency-key', text) }
        const response = await unreflected(
          await ask(system.app, '/images', { method: 'POST', headers, body: png }),
        )
        const fine = /^[\x21-\x7e]{1,255}$/.test(new Headers(headers).get('idempotency-key') ?? '')
        expect(response.status).toBe(fine ? 202 : 400)
      }),
      { numRuns: 40 },
    )
  })

  it('as a file name comes back as text in JSON, and encoded in the address of the original', async () => {
    const json = { 'content-type': 'application/json' }
    const image = Buffer.from(png).toString('base64')
    const ways: ((name: string) => [string, Ask])[] = [
      (name) => [
        `/images?filename=${encoded(name)}`,
        { headers: { 'content-type': 'image/png' }, body: png },
      ],
      (name) => ['/images', { headers: json, body: JSON.stringify({ image, filename: name }) }],
      (name) => [
        '/images',
        {
          headers: {
            'content-type': 'image/png',
            ...header('content-disposition', `attachment; filename="${name}"`),
          },
          body: png,
        },
      ],
      (name) => {
        const body = new FormData()
        body.append('image', new File([png], name.toWellFormed()))
        return ['/images', { body }]
      },
      (name) => [
        '/uploads',
        { headers: json, body: JSON.stringify({ contentType: 'image/png', bytes: 700, filename: name }) },
      ],
    ]
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...ways), hostile, async (way, name) => {
        const [path, request] = way(name)
        const response = await unreflected(await ask(system.app, path, { method: 'POST', ...request }))
        expect([201, 202]).toContain(response.status)
        const text = await response.text()
        expect(text).not.toContain(MARK)
        const { imageId } = JSON.parse(text) as { imageId: string }
        const shown = await unreflected(await ask(system.app, `/images/${imageId}`))
        const { original } = (await shown.json()) as { original: { filename?: string; key: string } }
        expect(original.key).toBe(`originals/${imageId}`)
        const { filename = '' } = original
        expect(filename).not.toMatch(/[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}/\\]/u)
        expect([...filename].length).toBeLessThanOrEqual(255)
        await unreflected(await ask(system.app, '/images?limit=1'))

        const redirect = await ask(system.app, `/images/${imageId}/original`)
        if (path === '/uploads') {
          expect(redirect.status).toBe(404)
          return
        }
        expect(redirect.status).toBe(302)
        const location = redirect.headers.get('location') ?? ''
        expect(location).toMatch(/^[\x21-\x7e]+$/)
        const url = new URL(location)
        expect(url.pathname).toMatch(new RegExp(`/originals/${imageId}$`))
        const disposition = url.searchParams.get('response-content-disposition') ?? ''
        expect(disposition).toMatch(/^attachment; filename\*=UTF-8''[\w.~%!-]+$/)
        expect(decodeURIComponent(disposition.slice("attachment; filename*=UTF-8''".length))).toBe(
          filename === '' ? imageId : filename,
        )
      }),
      { numRuns: 60 },
    )
  })

  it('never gets into the page', async () => {
    const page = await (await system.app.request('/')).text()
    await fc.assert(
      fc.asyncProperty(hostile, async (text) => {
        const response = await ask(system.app, `/?${encoded(text)}=${encoded(text)}`, {
          headers: header('accept', text),
        })
        await unreflected(response)
        expect(response.status).toBe(400)
        expect(await (await ask(system.app, '/', { headers: header('accept', text) })).text()).toBe(page)
        for (const [, value] of response.headers) expect(value).not.toContain(MARK)
      }),
      { numRuns: 30 },
    )
  })

  it('is no key in the bucket or in the table, after all of this', async () => {
    const { Contents = [] } = await system.worker.s3.send(
      new ListObjectsV2Command({ Bucket: system.names.bucket }),
    )
    const uuid = '[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}'
    expect(Contents.length).toBeGreaterThan(50)
    for (const { Key } of Contents)
      expect(Key).toMatch(
        new RegExp(
          `^(originals/${uuid}|uploads/${uuid}|(thumbnail|preview)s/${uuid}\\.jpg|analyses/${uuid}\\.json)$`,
        ),
      )
    const key = new RegExp(
      `^(${uuid}|(idempotency|bytes)#[0-9a-f]{64}|name#[0-9a-f]{64}#[0-9a-f]{64}|label#[0-9a-f-]{36}#[0-9a-f]{64}|(quota#[0-9a-f]{64}|paid)#\\d{4}-\\d\\d-\\d\\d)$`,
    )
    let items = 0
    const pages = paginateScan({ client: system.worker.dynamo }, { TableName: system.names.table })
    for await (const { Items = [] } of pages) {
      for (const item of Items) {
        items += 1
        expect(item['imageId']).toMatch(key)
      }
    }
    expect(items).toBeGreaterThan(50)
    expect(system.trouble).toEqual([])
  })
})

describe('CORS', () => {
  const LISTED = 'https://page.example'
  let app: App
  beforeAll(() => {
    const { api } = system
    const config = readApiConfig({
      ...{ IMAGE_BUCKET: api.bucket, IMAGE_TABLE: api.table, JOB_QUEUE_URL: api.jobQueueUrl },
      CORS_ORIGINS: `${LISTED}, http://127.0.0.1:5173`,
    })
    // As the function has it of its settings.
    app = buildApp(apiDeps(config, { AUTH: 'iam' }, api, api, api))
  })
  const STRANGERS = [
    ...[
      'https://evil.example',
      'http://page.example',
      'https://page.example.evil.example',
      'https://PAGE.example',
    ],
    ...['https://xpage.example', 'https://page.example:444', 'https://page.example/', 'null', '*', ''],
  ]
  const preflight = (origin: string, on = app, path = '/images') =>
    ask(on, path, {
      method: 'OPTIONS',
      headers: {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization,content-type,idempotency-key',
      },
    })

  it('lets a listed page ask, without credentials of the browser, and read every answer', async () => {
    for (const origin of [LISTED, 'http://127.0.0.1:5173']) {
      for (const path of PATHS) {
        const before = await preflight(origin, app, path.replace(':imageId', MISSING))
        expect(before.status).toBe(204)
        expect(before.headers.get('access-control-allow-origin')).toBe(origin)
        expect(before.headers.get('access-control-allow-methods')).toBe('GET,POST,DELETE')
        const allowed = before.headers.get('access-control-allow-headers')?.split(',')
        const sent = ['authorization', 'content-type', 'idempotency-key', 'x-request-id']
        const ofSignature = ['x-amz-content-sha256', 'x-amz-date', 'x-amz-security-token']
        expect(allowed).toEqual(expect.arrayContaining([...sent, ...ofSignature]))
        expect(before.headers.get('vary')).toContain('Origin')
      }
      for (const [path, who, status] of [
        ['/health', {}, 200],
        ['/images', signed('AIDA'), 200],
        ['/images', {}, 401],
        ['/nothing', {}, 404],
        [`/images/${MISSING}`, signed('AIDA'), 404],
        ['/images?limit=x', signed('AIDA'), 400],
      ] as const) {
        const response = await ask(app, path, together(who, { headers: { origin } }))
        expect(response.status).toBe(status)
        expect(response.headers.get('access-control-allow-origin')).toBe(origin)
        expect(response.headers.get('access-control-expose-headers')).toContain('etag')
        expect(response.headers.get('vary')).toContain('Origin')
      }
    }
  })
  it('lets no other page, and tells caches that this depends on who asks', async () => {
    for (const origin of STRANGERS) {
      for (const response of [
        await preflight(origin),
        await ask(app, '/images', together(signed('AIDA'), { headers: { origin } })),
        await ask(app, '/images', { headers: { origin } }),
      ]) {
        expect(response.headers.get('access-control-allow-origin'), origin).toBeNull()
        expect(response.headers.get('vary')).toContain('Origin')
      }
    }
  })
  it('is off where nothing is listed', async () => {
    for (const origin of [LISTED, ...STRANGERS]) {
      const response = await ask(system.app, '/images', { headers: { origin } })
      expect([...response.headers.keys()].filter((name) => name.startsWith('access-control'))).toEqual([])
      const refused = await preflight(origin, system.app)
      expect([...refused.headers.keys()].filter((name) => name.startsWith('access-control'))).toEqual([])
    }
  })
  it.each(['*', 'https://*', 'https://*.example', 'page.example', 'null', 'https://page.example/', ','])(
    'is not set up with %s',
    (CORS_ORIGINS) => {
      const env = { IMAGE_BUCKET: 'bucket', IMAGE_TABLE: 'table', JOB_QUEUE_URL: 'https://queue' }
      expect(() => readApiConfig({ ...env, CORS_ORIGINS })).toThrow(/CORS_ORIGINS/)
    },
  )
})
