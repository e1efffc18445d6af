import { readFileSync } from 'node:fs'
import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb'
import { Validator } from '@seriousme/openapi-schema-validator'
import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildApp } from '../../api/app.ts'
import type { ApiDeps } from '../../api/deps.ts'
import { identifyBy } from '../../api/deps.ts'
import * as examples from '../../api/openapi.ts'
import { claimImage } from '../../shared/lifecycle.ts'
import { startTestSystem, type TestSystem } from '../context.ts'

const photo = readFileSync(`${import.meta.dirname}/../fixtures/grace-hopper.jpg`)

type Json = Record<string, unknown>
interface Document extends Json {
  paths: Record<string, Record<string, { responses: Record<string, Answer>; security?: unknown[] }>>
}
interface Answer {
  headers: Record<string, { required: boolean }>
  content?: Record<string, { schema: Json }>
}

let system: TestSystem
beforeAll(async () => {
  system = await startTestSystem()
})
afterAll(() => system.stop())

/** The whole of answers is described, so here no object may have more; clients are warned that fields may come. */
function closed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(closed)
  if (typeof value !== 'object' || value === null) return value
  const copy = Object.fromEntries(Object.entries(value).map(([name, part]) => [name, closed(part)])) as Json
  return copy['type'] === 'object' && typeof copy['properties'] === 'object'
    ? { additionalProperties: false, ...copy }
    : copy
}

const pointer = (...parts: string[]) =>
  `#/${parts.map((part) => encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1'))).join('/')}`

/** An app with its own document, which every answer is held against. */
async function described(over: Partial<ApiDeps> = {}) {
  const app = buildApp({ ...system.api, ...over })
  const document = (await (await app.request('/openapi.json')).json()) as Document
  const ajv = new Ajv2020({ strict: false, allErrors: true })
  addFormats.default(ajv)
  ajv.addSchema(closed(document) as Json, 'openapi.json')

  function demand(value: unknown, what: string, ...path: string[]): void {
    const validate = ajv.compile({ $ref: `openapi.json${pointer(...path)}` })
    if (!validate(value)) throw new Error(`${what}: ${ajv.errorsText(validate.errors)}`)
  }

  /** Every status, with the code where it is a problem, that has been seen of a route. */
  const seen = new Set<string>()

  async function check(method: string, route: string, response: Response): Promise<Json> {
    const what = `${method} ${route} ${response.status}`
    const status = String(response.status)
    const answer = document.paths[route]?.[method.toLowerCase()]?.responses[status]
    if (answer === undefined) throw new Error(`${what} is not in the document.`)
    for (const [name, { required }] of Object.entries(answer.headers)) {
      const value = response.headers.get(name)
      if (value === null && required) throw new Error(`${what} has no ${name}.`)
      const path = ['paths', route, method.toLowerCase(), 'responses', status, 'headers', name, 'schema']
      if (value !== null) demand(value, `${what}, ${name}`, ...path)
    }
    const text = await response.text()
    if (answer.content === undefined) {
      if (text !== '') throw new Error(`${what} has a body.`)
      seen.add(what)
      return {}
    }
    const type = response.headers.get('content-type')?.split(';')[0] ?? ''
    const body = type.endsWith('json') ? JSON.parse(text) : text
    const path = ['paths', route, method.toLowerCase(), 'responses', status, 'content', type, 'schema']
    demand(body, what, ...path)
    seen.add(body.code === undefined ? what : `${what} ${body.code}`)
    return body
  }

  /** @param url where it differs from the route */
  const ask = async (method: string, route: string, url = route, init: RequestInit = {}): Promise<Json> =>
    check(method, route, await app.request(url, { method, ...init }))
  return { app, document, demand, seen, check, ask }
}

/** All that a document says may be answered, as `check` names it. */
const promised = ({ paths }: Document): string[] =>
  Object.entries(paths).flatMap(([route, item]) =>
    Object.entries(item).flatMap(([method, operation]) =>
      Object.entries(operation.responses ?? {}).flatMap(([status, { content }]) => {
        const what = `${method.toUpperCase()} ${route} ${status}`
        const problem = content?.['application/problem+json']?.schema as
          | { properties: { code: { enum: string[] } } }
          | undefined
        return problem === undefined ? [what] : problem.properties.code.enum.map((code) => `${what} ${code}`)
      }),
    ),
  )

const JWT = { AUTH: 'jwt', JWT_ISSUER: 'https://issuer.example', JWT_AUDIENCE: 'api' } as const
const PROTECTED: [string, string][] = [
  ['POST', '/images'],
  ['GET', '/images'],
  ['GET', '/labels'],
  ['POST', '/uploads'],
  ['GET', '/images/{imageId}'],
  ['DELETE', '/images/{imageId}'],
  ['GET', '/images/{imageId}/thumbnail'],
  ['GET', '/images/{imageId}/preview'],
  ['GET', '/images/{imageId}/original'],
  ['GET', '/images/{imageId}/event'],
  ['POST', '/images/{imageId}/retry'],
]
const urlOf = (route: string, imageId: string = examples.IMAGE_ID) => route.replace('{imageId}', imageId)

describe('GET /openapi.json', () => {
  it.each(['none', 'jwt', 'iam'] as const)('is valid OpenAPI 3.1, with AUTH=%s', async (auth) => {
    const { document } = await described({ auth })
    const validator = new Validator()
    expect(await validator.validate(structuredClone(document))).toEqual({ valid: true })
    expect(validator.version).toBe('3.1')
  })

  it('has every route of the app, and no other', async () => {
    const { app, document } = await described()
    const routes = app.routes
      .filter(({ method }) => method !== 'ALL')
      .map(({ method, path }) => `${method} ${path.replaceAll(/:(\w+)/g, '{$1}')}`)
    const documented = Object.entries(document.paths).flatMap(([route, item]) =>
      Object.keys(item)
        .filter((method) => method !== 'parameters')
        .map((method) => `${method.toUpperCase()} ${route}`),
    )
    expect(documented.sort()).toEqual(routes.sort())
  })

  it('names and describes its parts', async () => {
    const { document } = await described()
    const { schemas } = document['components'] as { schemas: Record<string, Json> }
    expect(schemas['Image']).toMatchObject({
      description: expect.stringContaining('status'),
      discriminator: { mapping: { failed: '#/components/schemas/Image_failed' } },
    })
    expect(schemas['Image_failed']).toMatchObject({ title: 'failed', type: 'object' })
    expect(JSON.stringify(schemas['Image_failed'])).toContain(
      '"original":{"$ref":"#/components/schemas/Original"}',
    )
  })

  it('is right below any stage prefix', async () => {
    const { document } = await described()
    expect(document['servers']).toEqual([{ url: '.' }])
  })

  it('says who may ask', async () => {
    const open = async (auth: 'none' | 'jwt' | 'iam') => {
      const { document } = await described({ auth })
      const paths = Object.entries(document.paths).flatMap(([route, item]) =>
        Object.values(item).some(({ security }) => security?.length === 0) ? [route] : [],
      )
      const about = (document['tags'] as { name: string; description: string }[]).find(
        ({ name }) => name === 'About',
      )
      const toEverybody = about?.description.includes('Open to everybody')
      return { everywhere: document['security'], paths, toEverybody }
    }
    const pages = ['/health', '/openapi.json', '/docs', '/']
    expect(await open('none')).toEqual({ everywhere: [], paths: pages, toEverybody: true })
    expect(await open('jwt')).toEqual({ everywhere: [{ jwt: [] }], paths: pages, toEverybody: true })
    expect(await open('iam')).toEqual({
      ...{ everywhere: [{ iam: [] }], paths: ['/health'], toEverybody: false },
    })
  })

  it('has examples that fit its schemas', async () => {
    const { document, demand } = await described()
    let count = 0
    const walk = (value: unknown, path: string[]): void => {
      if (typeof value !== 'object' || value === null) return
      const { schema, example, examples: several = {} } = value as Json
      if (schema !== undefined) {
        for (const one of [
          example,
          ...Object.values(several as Json).map((each) => (each as Json)['value']),
        ]) {
          if (one === undefined) continue
          demand(one, path.join(' '), ...path, 'schema')
          count += 1
        }
      }
      for (const [name, part] of Object.entries(value)) walk(part, [...path, name])
    }
    walk(document, [])
    expect(count).toBeGreaterThan(40)
  })

  it('offers what the deployment offers', async () => {
    const { document } = await described({ analyses: ['labels'], maxImageBytes: 1_000_000 })
    const text = JSON.stringify(document.paths['/images'])
    expect(text).toContain('"enum":["labels"]')
    expect(text).toContain('1,000,000 bytes')
  })

  it('offers the metadata that come with the position, and says how large an upload may be', async () => {
    const { document } = await described({ analyses: ['gps'], maxUploadBytes: 1_000_000 })
    expect(JSON.stringify(document.paths['/images'])).toContain('"enum":["metadata","gps"]')
    const announced = JSON.stringify(document.paths['/uploads'])
    expect(announced).toContain('"enum":["metadata","gps"]')
    expect(announced).toContain('"maximum":1000000')
  })

  it.each<[string, Partial<ApiDeps>]>([
    ['usually', {}],
    ['with faces for people', { faces: 'when-person' }],
    ['without labels and faces', { analyses: ['moderation', 'text', 'gps'] }],
  ])('says which analyses an image gets that was sent without naming some, %s', async (_what, over) => {
    const { document, ask } = await described(over)
    const [, said] =
      /Without it an image gets ([^.]+)\./.exec(JSON.stringify(document.paths['/images'])) ?? []
    const { imageId } = await ask('POST', '/images', '/images', {
      method: 'POST',
      body: photo,
      headers: { 'content-type': 'image/jpeg' },
    })
    const { analyses } = await ask('GET', '/images/{imageId}', `/images/${imageId}`)
    expect(said?.split(', ')).toEqual(analyses)
  })
})

describe('an answer', () => {
  it('that the document does not know is found', async () => {
    const { check } = await described()
    const health = (body: Json, headers = { 'x-request-id': examples.REQUEST_ID }) =>
      Response.json(body, { headers })
    await expect(check('GET', '/health', health({ status: 'ok', more: 1 }))).rejects.toThrow('additional')
    await expect(check('GET', '/health', health({}))).rejects.toThrow('required')
    await expect(check('GET', '/health', Response.json({ status: 'ok' }))).rejects.toThrow('X-Request-Id')
    await expect(check('GET', '/images', new Response(null, { status: 418 }))).rejects.toThrow('not in the')
    const leaked = { ...examples.COMPLETED, owner: 'somebody' }
    const record = Response.json(leaked, { headers: { etag: '"x"', 'x-request-id': examples.REQUEST_ID } })
    await expect(check('GET', '/images/{imageId}', record)).rejects.toThrow()
  })

  it('of every kind that the document promises is given, and is as it says', async () => {
    const one = await described({ maxImageBytes: 100_000, dailyImageQuota: 30 })
    const { ask, seen } = one
    const submit = async (bytes: Uint8Array, query = '', headers = {}) =>
      (
        await ask('POST', '/images', `/images${query}`, {
          headers: { 'content-type': 'application/octet-stream', ...headers },
          body: new Uint8Array(bytes),
        })
      )['imageId'] as string
    const send = (type: string, body: string | Uint8Array, route = '/images', headers = {}) =>
      ask('POST', route, route, {
        headers: { 'content-type': type, ...headers },
        body: typeof body === 'string' ? body : new Uint8Array(body),
      })
    const form = (...files: string[]) => {
      const body = new FormData()
      for (const name of files) body.append(name, new File([new Uint8Array(photo)], 'a.jpg'))
      return ask('POST', '/images', '/images', { body })
    }
    const get = (imageId: string, more = '', init: RequestInit = {}) =>
      ask('GET', `/images/{imageId}${more.split('?')[0]}`, `/images/${imageId}${more}`, init)

    // Every way in, and every state of a record.
    const completed = await submit(photo, '?analyses=labels,faces,moderation,text&filename=a.jpg')
    const failed = await submit(photo.subarray(0, 30_000), '', { 'idempotency-key': 'key' })
    await send('application/json', JSON.stringify(examples.JSON_IMAGE))
    await form('image')
    await system.work()
    const { imageId: awaited } = await send(
      'application/json',
      JSON.stringify(examples.ANNOUNCED),
      '/uploads',
    )
    const processing = await submit(photo)
    const lease = { id: 'lease', until: Date.now() + 60_000 }
    await claimImage(system.worker, { version: 1, imageId: processing, epoch: 1 } as never, lease)
    const pending = await submit(photo)
    const expected = { completed, failed, awaiting_upload: awaited as string, processing, pending }
    for (const [status, imageId] of Object.entries(expected)) {
      expect(await get(imageId)).toMatchObject({ imageId, status })
      expect((await ask('GET', '/images', `/images?status=${status}`))['items']).not.toEqual([])
    }
    await ask('GET', '/images', '/images?label=sharp&minConfidence=60&limit=2')
    await ask('GET', '/labels', '/labels?prefix=s')
    await get(completed, '?wait=1', { headers: { 'if-none-match': '*' } })
    await get(completed, '/thumbnail')
    await get(completed, '/preview')
    await get(completed, '/original')
    for (const part of ['/thumbnail', '/preview', '/original'])
      await get(completed, part, { headers: { accept: 'application/json' } })
    await get(completed, '/event')
    for (const route of ['/', '/docs', '/health', '/openapi.json']) await ask('GET', route)

    // Every refusal.
    await send('image/png', '')
    await send('application/json', '{')
    await send('application/json', '{"image":"?"}')
    await send('multipart/form-data', 'x')
    await form('other')
    await form('image', 'image')
    await submit(photo, '?analyses=nothing')
    await submit(Buffer.alloc(100_001))
    await submit(Buffer.from('<svg/>'))
    await send('text/plain', 'x')
    await submit(photo, '', { 'idempotency-key': 'key' })
    await send('application/json', JSON.stringify(examples.ANNOUNCED), '/uploads', {
      'idempotency-key': 'key',
    })
    await send('application/json', '{', '/uploads')
    await send('application/json', '{}', '/uploads')
    await send('text/plain', 'x', '/uploads')
    const announce = (more: object) =>
      send('application/json', JSON.stringify({ ...examples.ANNOUNCED, ...more }), '/uploads')
    await announce({ bytes: 1e12 })
    await announce({ contentType: 'image/tiff' })
    await ask('GET', '/images', '/images?limit=0')
    await ask('GET', '/labels', '/labels?limit=0')
    await get(completed, '?wait=x')
    await get(pending, '/thumbnail')
    await get(pending, '/preview')
    await get(pending, '/event')
    await get(awaited as string, '/original')
    await ask('POST', '/images/{imageId}/retry', `/images/${completed}/retry`)
    const poor = await described({ isBudgetSpent: async () => true })
    await poor.ask('POST', '/images/{imageId}/retry', `/images/${failed}/retry`)
    const stale = { headers: { 'if-match': '"stale"' } }
    await get(completed, '', stale)
    await ask('POST', '/images/{imageId}/retry', `/images/${failed}/retry`, stale)
    await ask('DELETE', '/images/{imageId}', `/images/${failed}`, stale)
    await ask('POST', '/images/{imageId}/retry', `/images/${failed}/retry`)
    await ask('DELETE', '/images/{imageId}', `/images/${failed}`)
    await submit(photo.subarray(0, 30_000), '', { 'idempotency-key': 'key' })
    const announced = JSON.stringify(examples.ANNOUNCED)
    for (let time = 0; time < 2; time += 1) {
      const { imageId } = await send('application/json', announced, '/uploads', { 'idempotency-key': 'form' })
      if (time === 0) await ask('DELETE', '/images/{imageId}', `/images/${imageId}`)
    }
    for (const [method, route] of PROTECTED) if (route.includes('{')) await ask(method, route, urlOf(route))

    for (const [route, item] of Object.entries(one.document.paths)) {
      for (const method of ['get', 'post', 'delete'].filter((name) => name in item))
        await ask(method.toUpperCase(), route, `${urlOf(route)}?nonsense=1`)
    }

    // What has its cause elsewhere: no more images today, or this month; no service there to ask.
    const spent = await described({ dailyImageQuota: 1 })
    const away = await described({
      dynamo: DynamoDBDocumentClient.from(
        new DynamoDBClient({
          ...{ endpoint: 'http://127.0.0.1:1', region: 'us-east-1', maxAttempts: 1 },
          credentials: { accessKeyId: 'x', secretAccessKey: 'x' },
        }),
      ),
    })
    const jpeg = { headers: { 'content-type': 'image/jpeg' }, body: new Uint8Array(photo) }
    const json = { headers: { 'content-type': 'application/json' }, body: JSON.stringify(examples.ANNOUNCED) }
    const bodyOf: Record<string, RequestInit> = { 'POST /images': jpeg, 'POST /uploads': json }
    for (const route of ['/images', '/uploads']) {
      for (const { ask } of [spent, poor]) await ask('POST', route, route, bodyOf[`POST ${route}`])
    }
    for (const [method, route] of PROTECTED)
      await away.ask(method, route, urlOf(route), bodyOf[`${method} ${route}`])

    const all = new Set([...seen, ...spent.seen, ...poor.seen, ...away.seen])
    expect([...all].sort()).toEqual(promised(one.document).sort())
  })

  it.each([
    ['jwt', JWT],
    ['iam', { AUTH: 'iam' }],
  ] as const)('to somebody unknown is 401 wherever %s is asked for', async (auth, config) => {
    const { ask, seen, document } = await described({ auth, identify: identifyBy(config) })
    for (const [method, route] of PROTECTED) await ask(method, route, urlOf(route))
    expect([...seen].sort()).toEqual(
      promised(document)
        .filter((what) => what.includes('401'))
        .sort(),
    )
  })
})

it('an event is as the document says', async () => {
  const { demand } = await described()
  await system.submit(photo)
  await system.submit(photo.subarray(0, 20_000))
  await system.work()
  const events = await system.events()
  for (const [status, webhook] of [
    ['completed', 'imageCompleted'],
    ['failed', 'imageFailed'],
  ] as const) {
    const detail = events.find((event) => event.status === status)
    const path = ['webhooks', webhook, 'post', 'requestBody', 'content', 'application/json', 'schema']
    demand(detail, webhook, ...path, 'properties', 'detail')
  }
})

it('says after which answers of a webhook EventBridge sends an event again, as the examples do', async () => {
  const source = readFileSync(
    `${import.meta.dirname}/../../packages/embedded-aws/eventbridge/api-destination-calls.ts`,
    'utf8',
  )
  const [, retried = ''] = /\[([\d, ]+)\]\.includes\(status\) \|\| status >= 500/.exec(source) ?? []
  expect(retried).toMatch(/^\d{3}, /)
  const { document } = await described()
  const readme = readFileSync(`${import.meta.dirname}/../../examples/subscribers/README.md`, 'utf8')
  for (const text of [JSON.stringify(document['webhooks']), readme])
    expect(text.toLowerCase()).toContain(`after ${retried}, 5xx`)
})
