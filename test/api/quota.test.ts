import {
  AccessDeniedException,
  InternalServerError,
  InvalidImageFormatException,
  ThrottlingException,
} from '@aws-sdk/client-rekognition'
import { GetCommand, PutCommand, ScanCommand } from '@aws-sdk/lib-dynamodb'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { buildApp } from '../../api/app.ts'
import { apiDeps } from '../../api/deps.ts'
import { readApiConfig } from '../../shared/config.ts'
import { monthOf, reservedCalls, spendKey } from '../../shared/table.ts'
import { analyse } from '../../worker/analysis.ts'
import { withinBudget } from '../../worker/deps.ts'
import { createPurse, limitersFor } from '../../worker/limiter.ts'
import { startTestSystem, type TestSystem, watchCalls } from '../context.ts'
import { distinct } from '../pictures/pictures.ts'

const DAY = 86_400_000
const QUOTA = 5
/** A quarter of an hour before midnight, UTC, so that no test runs over it. */
const START = Math.ceil(Date.now() / DAY) * DAY - 900_000

let system: TestSystem
let app: TestSystem['app']
let now = START
let png: Buffer
beforeAll(async () => {
  system = await startTestSystem()
  app = buildApp({ ...system.api, now: () => new Date(now), dailyImageQuota: QUOTA })
  png = await distinct(1)
})
afterAll(() => system.stop())

let owner = ''
let owners = 0
beforeEach(() => {
  now = START
  owners += 1
  owner = `owner ${owners}`
})
const post = (headers: Record<string, string> = {}, body: Uint8Array = png) =>
  app.request('/images', {
    method: 'POST',
    headers: { 'content-type': 'image/png', 'x-test-owner': owner, ...headers },
    body: new Uint8Array(body),
  })
const announce = (body: object = { contentType: 'image/png', bytes: 700 }) =>
  app.request('/uploads', {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-test-owner': owner },
    body: JSON.stringify(body),
  })
const statuses = async (requests: (Response | Promise<Response>)[]) =>
  (await Promise.all(requests)).map(({ status }) => status).sort()
const times = <T>(count: number, make: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, index) => make(index))
const use = async (count: number) => {
  for (let used = 0; used < count; used += 1) expect((await post()).status).toBe(202)
}
const refused = async (response: Response, retryAfter: string) => {
  expect(response.status).toBe(429)
  expect(response.headers.get('retry-after')).toBe(retryAfter)
  expect(response.headers.get('content-type')).toBe('application/problem+json')
  expect(await response.json()).toMatchObject({ status: 429, code: 'TOO_MANY_REQUESTS' })
}

describe('the quota of a day', () => {
  it('lets exactly so many through, and then says when the next day begins', async () => {
    await use(QUOTA)
    await refused(await post(), '900')
    now = START + 899_001
    await refused(await post(), '1')
    now = START + 900_000
    await use(QUOTA)
    await refused(await post(), '86400')
    expect(await statuses([app.request('/images', { headers: { 'x-test-owner': owner } })])).toEqual([200])
  })
  it('lets exactly so many of fifty through that come at once, and keeps nothing of the others', async () => {
    expect(await statuses(times(50, () => post()))).toEqual([
      ...times(QUOTA, () => 202),
      ...times(50 - QUOTA, () => 429),
    ])
    const list = await app.request('/images', { headers: { 'x-test-owner': owner } })
    expect(((await list.json()) as { items: unknown[] }).items).toHaveLength(QUOTA)
  })
  it('is of one owner alone', async () => {
    await use(QUOTA)
    expect(
      await statuses(
        ['x', `${owner}/`, `${owner}#`, owner.toUpperCase()].map((other) => post({ 'x-test-owner': other })),
      ),
    ).toEqual([202, 202, 202, 202])
    await refused(await post(), '900')
  })
  it('counts what is to be uploaded', async () => {
    await use(QUOTA - 1)
    expect((await announce()).status).toBe(201)
    await refused(await announce(), '900')
    await refused(await post(), '900')
  })
  it('does not count what is refused', async () => {
    await use(QUOTA - 1)
    const other = { 'idempotency-key': 'k' }
    expect(
      await statuses([
        post({}, Buffer.from('no image')),
        post({}, Buffer.alloc(0)),
        post({}, Buffer.alloc(system.api.maxImageBytes + 1)),
        post({ 'content-type': 'text/plain' }),
        post({ 'content-type': 'application/json' }, Buffer.from('{')),
        post({ 'idempotency-key': 'a b' }),
        announce({ contentType: 'image/png' }),
        announce({ contentType: 'image/svg+xml', bytes: 7 }),
        announce({ contentType: 'image/png', bytes: system.api.maxUploadBytes + 1 }),
        announce({ contentType: 'image/png', bytes: 7, analyses: ['x'] }),
        app.request('/images?analyses=x', {
          method: 'POST',
          headers: { 'x-test-owner': owner },
          body: new Uint8Array(png),
        }),
      ]),
    ).toEqual([400, 400, 400, 400, 400, 400, 413, 413, 415, 415, 415])
    expect((await post(other)).status).toBe(202)
    expect((await post(other, await distinct(2))).status).toBe(422)
    await refused(await post(), '900')
  })
  it('counts what is repeated with its key once, also when the quota is used up', async () => {
    const key = { 'idempotency-key': 'repeated' }
    await use(QUOTA - 1)
    const ids = new Set<string>()
    for (let time = 0; time < 3; time += 1) {
      const response = await post(key)
      expect(response.status).toBe(202)
      ids.add(((await response.json()) as { imageId: string }).imageId)
    }
    expect(ids.size).toBe(1)
    await refused(await post(), '900')
    await refused(await post({ 'idempotency-key': 'another' }), '900')
  })
  it('counts what is repeated at the same moment once', async () => {
    await use(QUOTA - 2)
    expect(await statuses(times(8, () => post({ 'idempotency-key': 'at-once' })))).toEqual(
      times(8, () => 202),
    )
    expect((await post()).status).toBe(202)
    await refused(await post(), '900')
  })
  it('has room again the next day for a key that was refused', async () => {
    await use(QUOTA)
    const key = { 'idempotency-key': 'refused' }
    await refused(await post(key), '900')
    now = START + 900_000
    const first = (await (await post(key)).json()) as { imageId: string }
    const again = (await (await post(key)).json()) as { imageId: string }
    expect(again).toEqual(first)
    await use(QUOTA - 1)
    await refused(await post(), '86400')
  })
  it('is not given back by a deletion', async () => {
    await use(QUOTA - 1)
    const { imageId } = (await (await post()).json()) as { imageId: string }
    const headers = { 'x-test-owner': owner }
    expect((await app.request(`/images/${imageId}`, { method: 'DELETE', headers })).status).toBe(204)
    await refused(await post(), '900')
  })
  it('is nothing that anybody finds, and its count goes by itself', async () => {
    owner = 'who?#%2e'
    await use(1)
    const { Items = [] } = await system.worker.dynamo.send(
      new ScanCommand({
        TableName: system.names.table,
        FilterExpression: 'begins_with(imageId, :quota)',
        ExpressionAttributeValues: { ':quota': 'quota#' },
      }),
    )
    expect(Items.length).toBeGreaterThan(0)
    for (const item of Items) {
      expect(item['imageId']).toMatch(/^quota#[0-9a-f]{64}#\d{4}-\d\d-\d\d$/)
      expect(item['expiresAt'] * 1_000).toBeGreaterThan(START + DAY)
      const path = `/images/${encodeURIComponent(item['imageId'])}`
      for (const method of ['GET', 'DELETE'])
        expect((await app.request(path, { method, headers: { 'x-test-owner': owner } })).status).toBe(404)
    }
  })
})

describe('an image whose time is up', () => {
  let kept: TestSystem['app']
  beforeAll(async () => {
    // The jobs of the tests above, which no test waits for.
    while ((await system.receiveJobs()).Records.length > 0);
    kept = buildApp({ ...system.api, now: () => new Date(now), retentionDays: 3 })
  })
  const get = (path: string, method = 'GET') =>
    kept.request(path, { method, headers: { 'x-test-owner': owner } })
  const submit = async (headers: Record<string, string> = {}): Promise<string> => {
    const response = await kept.request('/images', {
      method: 'POST',
      headers: { 'content-type': 'image/png', 'x-test-owner': owner, ...headers },
      body: new Uint8Array(png),
    })
    expect(response.status).toBe(202)
    return ((await response.json()) as { imageId: string }).imageId
  }
  const item = async (imageId: string) =>
    (await system.worker.dynamo.send(new GetCommand({ TableName: system.names.table, Key: { imageId } })))
      .Item
  const listed = async (query = '') => {
    const ids: string[] = []
    for (let cursor: string | undefined; ; ) {
      const more = cursor === undefined ? '' : `&cursor=${cursor}`
      const page = (await (await get(`/images?limit=2${query}${more}`)).json()) as {
        items: { imageId: string }[]
        cursor?: string
      }
      ids.push(...page.items.map(({ imageId }) => imageId))
      if (page.cursor === undefined) return ids
      cursor = page.cursor
    }
  }
  const missing = async (response: Response) => {
    const { instance: _, ...body } = (await response.json()) as Record<string, unknown>
    return { status: response.status, ...body }
  }

  it('is there to the second, and then for nobody, on no route and in no list', async () => {
    const old = [await submit(), await submit(), await submit()]
    const upload = (await (
      await kept.request('/uploads', {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-test-owner': owner },
        body: JSON.stringify({ contentType: 'image/png', bytes: 700 }),
      })
    ).json()) as { imageId: string }
    await system.work()
    for (const id of [...old, upload.imageId]) {
      expect((await item(id))?.['expiresAt']).toBe(Math.floor(START / 1_000) + 3 * 86_400)
      expect(await (await get(`/images/${id}`)).json()).not.toHaveProperty('expiresAt')
    }
    now = START + DAY
    const young = await submit()
    now = START + 3 * DAY - 1
    expect((await get(`/images/${old[0]}`)).status).toBe(200)
    expect(await listed()).toHaveLength(5)
    now = START + 3 * DAY
    const none = await missing(await get('/images/0199c0de-0000-7000-8000-000000000000'))
    for (const id of [...old, upload.imageId]) {
      for (const route of ['', '?wait=20', '/thumbnail', '/preview', '/original'])
        expect(await missing(await get(`/images/${id}${route}`)), route).toEqual(none)
      expect(await missing(await get(`/images/${id}/retry`, 'POST'))).toEqual(none)
      expect(await missing(await get(`/images/${id}`, 'DELETE'))).toEqual(none)
      expect(await item(id)).toBeDefined()
    }
    expect(await listed()).toEqual([young])
    for (const status of ['completed', 'awaiting_upload', 'failed'])
      expect(await listed(`&status=${status}`)).toEqual([])
    expect(await listed('&status=pending')).toEqual([young])
    expect(await listed('&label=Bright')).toEqual([])
    const cursor = Buffer.from(old[2] ?? '').toString('base64url')
    expect(await (await get(`/images?cursor=${cursor}`)).json()).toEqual({ items: [] })
  })
  it('and its key make a new one', async () => {
    const app = buildApp({ ...system.api, now: () => new Date(now), retentionDays: 1 })
    kept = app
    const headers = { 'idempotency-key': 'expired' }
    const old = await submit(headers)
    for (const ms of [DAY, DAY + 1_000]) {
      now = START + ms
      expect((await get(`/images/${await submit(headers)}`)).status).toBe(200)
    }
    expect(await submit(headers)).not.toBe(old)
  })
  it('is kept for ever where no time is set', async () => {
    kept = buildApp({ ...system.api, now: () => new Date(now) })
    const imageId = await submit()
    expect(await item(imageId)).not.toHaveProperty('expiresAt')
    now = START + 10_000 * DAY
    expect((await get(`/images/${imageId}`)).status).toBe(200)
  })
})

describe('processes that share a budget of the month', () => {
  /** A month of its own for each test. */
  const purses = (count: number, calls: number, year: number) => {
    const now = () => new Date(Date.UTC(year, 0, 1))
    const deps = { ...system.worker, now }
    const takes = Array.from({ length: count }, () => createPurse(deps, { calls, action: 'park' }))
    return { takes, reserved: () => reservedCalls(system.worker, monthOf(now())) }
  }

  it('use the last call of it, none of them having kept some for itself', async () => {
    const { takes, reserved } = purses(10, 30, 2031)
    const taken: string[] = []
    for (let round = 0; round < 3; round += 1)
      for (const take of takes) taken.push((await Promise.allSettled([take()]))[0].status)
    expect(taken).toEqual(Array(30).fill('fulfilled'))
    expect(await reserved()).toBe(30)
    const refused = await Promise.allSettled(takes.map((take) => take()))
    expect(refused.map(({ status }) => status)).toEqual(takes.map(() => 'rejected'))
    expect(await reserved()).toBe(30)
  })

  it('believe that it is spent for a minute, and ask again then', async () => {
    let elapsed = 0
    const month = '2034-01'
    const deps = { ...system.worker, now: () => new Date(`${month}-01`), elapsed: () => elapsed }
    const take = createPurse(deps, { calls: 1, action: 'park' })
    const ledger = { imageId: spendKey(month) }
    await take()
    await expect(take()).rejects.toThrow('The monthly budget of Rekognition is spent.')
    await system.worker.dynamo.send(
      new PutCommand({ TableName: system.names.table, Item: { ...ledger, reserved: 0 } }),
    )
    elapsed = 59_999
    await expect(take()).rejects.toThrow('The monthly budget of Rekognition is spent.')
    elapsed = 60_000
    await expect(take()).resolves.toBeTypeOf('function')
  })

  it('get a call back that was throttled or refused, and none that may have been billed', async () => {
    const limiter = { run: (call: () => Promise<unknown>) => call() }
    const limiters = { labels: limiter, faces: limiter, moderation: limiter, text: limiter } as never
    const said = { message: 'no', $metadata: {} }
    const errors: [Error, back: number][] = [
      [new ThrottlingException(said), 1],
      [new InvalidImageFormatException(said), 1],
      [new AccessDeniedException(said), 1],
      [new InternalServerError(said), 0],
      [new Error('no answer'), 0],
    ]
    const isThrottled = (error: unknown) => error instanceof ThrottlingException
    for (const [error, times] of errors) {
      let back = 0
      const { labels } = withinBudget(limiters, async () => () => {
        back += 1
      })
      await expect(labels.run(() => Promise.reject(error), isThrottled, { until: 0 })).rejects.toBe(error)
      await labels.run(async () => 'served', isThrottled, { until: 0 })
      expect(back, error.name).toBe(times)
    }
  })

  it('take what is repeated because its connection broke for another call: the first may be billed', async () => {
    let [taken, sent] = [0, 0]
    const limiters = withinBudget(limitersFor({ ...system.worker, firstRate: 100 }), async () => {
      taken += 1
      return () => {}
    })
    const send = async () => {
      sent += 1
      if (sent === 1) throw Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' })
      return { Labels: [], LabelModelVersion: 'any' }
    }
    const rekognition = { send } as unknown as TestSystem['worker']['rekognition']
    const { signal } = new AbortController()
    const until = system.worker.elapsed() + 60_000
    const picture = { first: async () => ({ Bytes: png }) }
    const time = { until, signal, ending: signal, stopped: until }
    const billed: string[] = []
    const deps = { ...system.worker, rekognition, limiters, paid: (name: string) => billed.push(name) }
    const answered = await analyse(deps, picture, ['labels'], {}, time)
    expect(answered).toMatchObject({ answers: { rekognitionLabels: [] } })
    expect([billed, taken, sent]).toEqual([['labels'], 2, 2])
  })

  it('reserve ten at a time where much is left', async () => {
    const { takes, reserved } = purses(1, 10_000, 2032)
    for (let call = 0; call < 25; call += 1) await takes[0]?.()
    // The first alone, since nothing is known of the month then.
    expect(await reserved()).toBe(31)
  })
})

describe('a budget of the month that refuses', () => {
  /** A quarter of an hour before the month turns, UTC. */
  const TURN = Date.UTC(new Date().getUTCFullYear(), new Date().getUTCMonth() + 1)
  const ledger = { imageId: spendKey(new Date(TURN - DAY).toISOString().slice(0, 7)) }
  let at = 0
  let reads = 0
  const reserve = (reserved: number) =>
    system.worker.dynamo.send(
      new PutCommand({ TableName: system.names.table, Item: { ...ledger, reserved } }),
    )
  /** Of a process of its own, with the clock of these tests. */
  const withBudget = (BUDGET_ACTION: string): TestSystem['app'] => {
    const config = readApiConfig({
      ...{ IMAGE_BUCKET: system.names.bucket, IMAGE_TABLE: system.names.table },
      ...{ JOB_QUEUE_URL: system.worker.jobQueueUrl, MONTHLY_BUDGET_USD: '0.05', BUDGET_ACTION },
    })
    const clock = { now: () => new Date(now), elapsed: () => at, sleep: system.api.sleep }
    const { identify, log, page, docs } = system.api
    return buildApp({
      ...apiDeps(config, { AUTH: 'none' }, system.worker, clock, { log, page, docs }),
      identify,
    })
  }
  beforeEach(async () => {
    now = TURN - 900_000
    await reserve(0)
  })

  it('answers new images, forms and retries with 429 until the month turns, and takes what costs nothing', async () => {
    app = withBudget('refuse')
    const spent = async (response: Response) => {
      expect(response.headers.get('retry-after')).toBe('900')
      expect(await response.json()).toMatchObject({
        ...{ status: 429, code: 'BUDGET_EXHAUSTED' },
        detail: expect.stringContaining(new Date(TURN).toISOString()),
      })
    }
    const damaged = (await (await post({}, png.subarray(0, 60))).json()) as { imageId: string }
    await system.work()
    const key = { 'idempotency-key': 'before' }
    const before = await post(key)
    await reserve(50)
    at += 5_000
    await spent(await post())
    await spent(await announce())
    const headers = { 'x-test-owner': owner }
    await spent(await app.request(`/images/${damaged.imageId}/retry`, { method: 'POST', headers }))
    // What was accepted before is answered as before.
    expect(await (await post(key)).json()).toEqual(await before.json())
    const free = await app.request('/images?analyses=metadata', {
      ...{ method: 'POST', headers: { ...headers, 'content-type': 'image/png' } },
      body: new Uint8Array(png),
    })
    expect(free.status).toBe(202)
    now = TURN
    expect((await post()).status).toBe(202)
  })

  it('is looked up once in five seconds, however many requests there are', async () => {
    app = withBudget('refuse')
    const watcher = watchCalls(system)
    watcher.before = (name, { Key }) => {
      if (name === 'GetItemCommand' && JSON.stringify(Key).includes('spend#')) reads += 1
    }
    await Promise.all(times(8, () => post()))
    await reserve(50)
    at += 4_999
    expect((await post()).status).toBe(202)
    expect(reads).toBe(1)
    at += 1
    expect(await statuses(times(4, () => post()))).toEqual([429, 429, 429, 429])
    expect(reads).toBe(2)
  })

  it.each(['park', 'alarm'])('is not asked for where images are to be taken (%s)', async (action) => {
    app = withBudget(action)
    await reserve(50)
    expect((await post()).status).toBe(202)
  })
})
