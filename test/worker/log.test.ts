import { createHash, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { InternalServerError, ThrottlingException } from '@aws-sdk/client-rekognition'
import { PutCommand } from '@aws-sdk/lib-dynamodb'
import type { SQSEvent } from 'aws-lambda'
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { buildApp } from '../../api/app.ts'
import type { ApiDeps } from '../../api/deps.ts'
import { createLog, LINES, type Log, METRICS } from '../../shared/log.ts'
import { monthOf, spendKey } from '../../shared/table.ts'
import { sweep } from '../../sweeper/sweep.ts'
import { processBatch } from '../../worker/batch.ts'
import { type WorkerDeps, withinBudget } from '../../worker/deps.ts'
import { createPurse, limitersFor } from '../../worker/limiter.ts'
import { lambdaContext, startTestSystem, type TestSystem, until } from '../context.ts'
import { ownTime } from '../own-time.ts'
import { type Point, pointsOf } from '../simulation/alarms.ts'

const photo = readFileSync(join(import.meta.dirname, '../fixtures/grace-hopper.jpg'))

let system: TestSystem
beforeAll(async () => {
  system = await startTestSystem()
})
afterAll(() => system?.stop())

/** Of all tests here. */
const seen: Record<string, unknown>[] = []
/** Images of this test. Jobs of those before it come back when they have waited. */
const mine = new Set<string>()
beforeEach(async () => {
  mine.clear()
  await system.receiveJobs()
  seen.push(...system.lines.splice(0))
  system.trouble.splice(0)
})

const eventsOf = (imageId: string) =>
  system.lines.filter((line) => line['imageId'] === imageId).map((line) => line['event'])
const line = (event: string, imageId?: string) =>
  system.lines.find((one) => one['event'] === event && (imageId ?? one['imageId']) === one['imageId'])

const ask = (path: string, init: RequestInit = {}, env: object = {}) => system.app.request(path, init, env)
/** @returns the image's id and the request's */
async function submit(bytes: Uint8Array = photo, query = '', headers: Record<string, string> = {}) {
  const answer = await ask(`/images${query}`, {
    method: 'POST',
    headers: { 'content-type': 'image/jpeg', ...headers },
    body: new Uint8Array(bytes),
  })
  const { imageId } = (await answer.json()) as { imageId: string }
  mine.add(imageId)
  return { imageId, requestId: answer.headers.get('x-request-id') }
}
async function ownJobs(): Promise<SQSEvent> {
  const { Records } = await system.receiveJobs()
  return { Records: Records.filter(({ body }) => mine.has(JSON.parse(body).imageId)) }
}
const work = async (over: Partial<WorkerDeps> = {}, batch?: SQSEvent, ms?: number) =>
  processBatch({ ...system.worker, ...over }, batch ?? (await ownJobs()), lambdaContext(ms))
const jobOf = (imageId: string, epoch = 1): SQSEvent =>
  withBody(JSON.stringify({ version: 1, imageId, epoch }))
const withBody = (body: string): SQSEvent => ({
  Records: [
    {
      ...{
        messageId: 'message-1',
        receiptHandle: 'gone',
        body,
        attributes: { ApproximateReceiveCount: '3', SenderId: 'AROA:else' },
      },
      ...{ messageAttributes: {}, md5OfBody: '', eventSource: 'aws:sqs', eventSourceARN: '', awsRegion: '' },
    } as unknown as SQSEvent['Records'][number],
  ],
})
/** At a time when everything is due. */
const sweepAhead = (times = 2) =>
  sweep({
    ...system.worker,
    now: () => new Date(Date.now() + times * system.worker.sweepAfterMs),
    giveUpMs: 14 * 86_400_000,
  })

/** However slow the machine is, no time goes by. */
const inOwnTime = () => {
  const before = { ...system.worker }
  onTestFinished(() => void Object.assign(system.worker, before))
  return ownTime(system)
}
const traceId = '1-5759e988-bd862e3fe1be46a994272793'

describe('the log of an image', () => {
  it('tells its story under the id of the request that submitted it', async () => {
    const { imageId, requestId } = await submit(photo, '?filename=secret-name.jpg', {
      ...{ 'x-request-id': 'mine-7', 'x-test-owner': 'jane@example.org' },
      'x-amzn-trace-id': `Self=1-0;Root=${traceId};Sampled=1`,
    })
    await system.work()
    expect(eventsOf(imageId)).toEqual(['accepted', 'claimed', 'completed', 'announced'])
    for (const one of system.lines) expect(one).toMatchObject({ imageId, requestId, traceId, epoch: 1 })
    const owner = createHash('sha256').update('jane@example.org').digest('hex').slice(0, 16)
    expect(line('accepted')).toMatchObject({
      ...{ clientRequestId: 'mine-7', owner, bytes: photo.length, contentType: 'image/jpeg' },
    })
    const ms = expect.toSatisfy((value) => Number.isInteger(value) && value >= 0)
    const messageId = expect.stringMatching(/^[0-9a-f-]{36}$/)
    expect(line('claimed')).toMatchObject({ attempt: 1, messageId, queuedMs: ms })
    expect(line('completed')).toMatchObject({
      ...{ attempt: 1, messageId, owner, bytes: photo.length, pixels: 512 * 600 },
      ...{ queuedMs: ms, fetchMs: ms, decodeMs: ms, analyseMs: ms, workMs: ms, totalMs: ms },
      ...{ labelsMs: ms, facesMs: ms, paidCalls: 2 },
    })
    expect(line('announced')).toMatchObject({ outcome: 'completed' })
    const text = system.lines.map((one) => JSON.stringify(one)).join('\n')
    expect(text).not.toMatch(/secret-name|jane@/)
    expect(text.length).toBeLessThan(1_500)
    expect(
      await (await ask(`/images/${imageId}`, { headers: { 'x-test-owner': 'jane@example.org' } })).text(),
    ).not.toContain(requestId)
  })

  it('says so where the same request came before, and where results are those of other bytes alike', async () => {
    const headers = { 'idempotency-key': 'again' }
    const { imageId } = await submit(photo, '', headers)
    await system.work()
    await submit(photo, '', headers)
    expect(eventsOf(imageId)).toEqual(['accepted', 'claimed', 'completed', 'announced', 'accepted'])
    expect(system.lines.findIndex((one) => one['repeated'])).toBe(4)
    const other = await submit()
    await system.work()
    expect(line('completed', other.imageId)).toMatchObject({ reused: true })
  })

  it('has the code of a failure, the retry of it and the deletion', async () => {
    const { imageId, requestId } = await submit(photo.subarray(0, 30_000))
    await system.work()
    expect(line('failed', imageId)).toMatchObject({ requestId, attempt: 1, code: 'CORRUPT_IMAGE' })
    expect(line('announced', imageId)).toMatchObject({ outcome: 'failed' })
    const retry = await ask(`/images/${imageId}/retry`, { method: 'POST' })
    expect(line('retried')).toMatchObject({ imageId, epoch: 2, requestId: retry.headers.get('x-request-id') })
    const batch = await ownJobs()
    await ask(`/images/${imageId}`, { method: 'DELETE', headers: { 'x-request-id': 'not a name' } })
    expect(line('deleted')).toMatchObject({ imageId, epoch: 2 })
    expect(line('deleted')?.['clientRequestId']).toBeUndefined()
    await work({}, batch)
    expect(line('job without image')).toMatchObject({ imageId, epoch: 2 })
  })

  it('has what a form was issued for', async () => {
    const answer = await ask('/uploads', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ contentType: 'image/png', bytes: 9_000, filename: 'secret-name.png' }),
    })
    const { imageId } = (await answer.json()) as { imageId: string }
    expect(system.lines).toEqual([
      {
        ...{ event: 'form issued', imageId, epoch: 1, requestId: answer.headers.get('x-request-id') },
        ...{ clientRequestId: undefined, traceId: undefined, owner: expect.any(String) },
        ...{ bytes: 9_000, contentType: 'image/png' },
      },
    ])
  })
})

describe('the log of an attempt', () => {
  const refusing = (error: Error): Partial<WorkerDeps> => ({
    rekognition: { send: () => Promise.reject(error) } as unknown as WorkerDeps['rekognition'],
    // Not what another test has found out about the same bytes.
    analysisSource: error.name,
  })
  const answer = { message: 'no', $metadata: {} }
  const about = ({ imageId, requestId }: { imageId: string; requestId: string | null }) => ({
    ...{ imageId, requestId, epoch: 1, attempt: 1 },
    ...{ messageId: expect.any(String), receives: 1, seconds: expect.any(Number) },
  })

  it('that fails names the image, the request and the error', async () => {
    const submitted = await submit()
    await work(refusing(new InternalServerError(answer)))
    expect(eventsOf(submitted.imageId)).toEqual(['accepted', 'claimed', 'attempt failed'])
    expect(line('attempt failed', submitted.imageId)).toMatchObject({
      ...about(submitted),
      error: expect.objectContaining({ name: 'InternalServerError' }),
    })
  })

  it('whose event is refused says so: the attempt itself has succeeded', async () => {
    const submitted = await submit()
    const refusals: WorkerDeps['eventBridge'][] = [
      // The call fails, and the event in it.
      { send: () => Promise.reject(new InternalServerError(answer)) } as unknown as WorkerDeps['eventBridge'],
      {
        send: async () => ({ Entries: [{ ErrorCode: 'ThrottlingException' }] }),
      } as unknown as WorkerDeps['eventBridge'],
    ]
    for (const eventBridge of refusals) await work({ eventBridge }, jobOf(submitted.imageId))
    const refused = system.lines.filter(({ event }) => event === 'not announced')
    expect(refused.map(({ error }) => error)).toEqual([
      expect.objectContaining({ name: 'InternalServerError' }),
      expect.objectContaining({
        message: 'The event bus image-analyzer did not take the event: ThrottlingException.',
      }),
    ])
    expect(eventsOf(submitted.imageId)).toContain('completed')
    expect(eventsOf(submitted.imageId)).not.toContain('attempt failed')
  })

  it('that is throttled says that the image waits for the quota', async () => {
    const submitted = await submit()
    inOwnTime()
    await work(refusing(new ThrottlingException(answer)), undefined, 1_500)
    expect(line('waits for quota', submitted.imageId)).toMatchObject(about(submitted))
    expect(system.trouble).toEqual([])
    // Each begins at 3.
    const rate = expect.toSatisfy((value) => value > 0 && value < 3)
    expect(await system.item(submitted.imageId)).toMatchObject({ rates: { labels: rate, faces: rate } })
    expect(await (await ask(`/images/${submitted.imageId}`)).json()).not.toHaveProperty('rates')
  })

  it.each([
    ['alarm', { labels: 1, faces: 1 }, 'completed'],
    ['park', undefined, 'waits for budget'],
    ['refuse', undefined, 'waits for budget'],
  ] as const)('says that the budget is spent, which has it %s', async (action, paidCalls, event) => {
    // A month of its own: the ledger of another test is another.
    const now = () => new Date(Date.UTC(2030 + 'apr'.indexOf(action.charAt(0)), 0, 1))
    const spent = { imageId: spendKey(monthOf(now())), reserved: 1 }
    await system.worker.dynamo.send(new PutCommand({ TableName: system.names.table, Item: spent }))
    const purse = createPurse({ ...system.worker, now }, { calls: 1, action })
    const submitted = await submit(photo.subarray(), `?analyses=labels,faces&filename=${action}`)
    const limiters = withinBudget(limitersFor({ ...system.worker, firstRate: 50 }), purse)
    // Not the answers for the same bytes.
    await work({ limiters, analysisSource: action })
    expect(eventsOf(submitted.imageId)).toContain(event)
    const item = await system.item(submitted.imageId)
    expect(item['paidCalls'] ?? {}).toEqual(paidCalls ?? {})
    expect(Object(item['waits']).for).toBe(event === 'waits for budget' ? 'budget' : undefined)
    const said = { event: 'budget spent', budget: 1 }
    expect(system.lines.filter((one) => one['event'] === said.event)).toEqual([said])
  })

  it.each([
    ['that the end of the time breaks off says so', true, 'out of time'],
    ['that does not end at all is an error of its image', false, 'attempt failed'],
  ])('%s', async (_, ends, event) => {
    const submitted = await submit()
    const time = inOwnTime()
    let begun: true | undefined
    const render: WorkerDeps['render'] = (_bytes, _source, { signal } = {}) =>
      new Promise((_resolve, reject) => {
        begun = true
        if (ends) signal?.addEventListener('abort', () => reject(signal.reason))
      })
    const worked = work({ render }, undefined, 1_500)
    await until('it is at the pixels', async () => begun)
    // A fifth of the time before its end, and a fifteenth.
    time.pass(ends ? 1_200 : 1_400)
    await worked
    expect(eventsOf(submitted.imageId)).toEqual(['accepted', 'claimed', event])
    expect(line(event, submitted.imageId)).toMatchObject({
      imageId: submitted.imageId,
      messageId: expect.any(String),
      receives: 1,
    })
    if (ends) expect(line(event, submitted.imageId)).toMatchObject(about(submitted))
    else
      expect(line(event, submitted.imageId)).toMatchObject({
        error: expect.objectContaining({ name: 'Hung' }),
      })
  })

  it('that ends after all, when its batch has already given it back, is told of once', async () => {
    const submitted = await submit()
    const time = inOwnTime()
    let fail: ((error: Error) => void) | undefined
    const render: WorkerDeps['render'] = () =>
      new Promise((_, reject) => {
        fail = reject
      })
    const sqs = {
      send: async () => {
        fail?.(new Error('late'))
        await until(
          'it is let go',
          async () => (await system.item(submitted.imageId))['leaseUntil'] === 0 || undefined,
        )
      },
    } as unknown as WorkerDeps['sqs']
    const worked = work({ render, sqs }, undefined, 1_500)
    await until('it is at the pixels', async () => fail && true)
    time.pass(1_400)
    await worked
    expect(eventsOf(submitted.imageId)).toEqual(['accepted', 'claimed', 'attempt failed'])
  })

  it('of another worker, a replaced run and a lost outcome are told apart', async () => {
    const { imageId, requestId } = await submit()
    const batch = await ownJobs()
    const lost: WorkerDeps['render'] = async (...given) => {
      await work({}, jobOf(imageId))
      await system.setItem(imageId, { leaseId: 'another' })
      return system.worker.render(...given)
    }
    await work({ render: lost }, batch)
    expect(line('held', imageId)).toMatchObject({ imageId, requestId, receives: 3, messageId: 'message-1' })
    expect(line('outcome lost', imageId)).toMatchObject({ imageId, requestId, attempt: 1 })
    await system.setItem(imageId, { epoch: 2 })
    await work({}, jobOf(imageId))
    expect(line('job replaced', imageId)).toMatchObject({ imageId, epoch: 1 })
  })

  it('of a dead letter that is redriven says that it begins the next run', async () => {
    const { imageId } = await submit()
    await system.setItem(imageId, { attempts: 10 })
    await work()
    await work({}, jobOf(imageId, 2))
    const given = ['accepted', 'claimed', 'failed', 'announced']
    expect(eventsOf(imageId)).toEqual([...given, 'redriven', 'claimed', 'completed', 'announced'])
    expect(line('redriven', imageId)).toMatchObject({ imageId, epoch: 2 })
  })

  it('of no job names the message and has nothing of its body', async () => {
    await work({}, withBody('secret'))
    expect(line('no job')).toMatchObject({
      messageId: 'message-1',
      sender: 'AROA:else',
      reason: 'It is not JSON.',
    })
    await work({}, withBody('{"key":"secret"}'))
    const reason = 'It is neither a job nor an S3 event.'
    expect(system.lines.at(-1)).toMatchObject({ event: 'no job', reason })
    expect(JSON.stringify(system.lines)).not.toContain('secret')
  })
})

describe('the log of the sweeper', () => {
  it('names each image that it has looked after', async () => {
    const { imageId, requestId } = await submit()
    await system.receiveJobs()
    await sweepAhead()
    expect(line('requeued', imageId)).toMatchObject({ requestId, epoch: 1, attempt: 0 })
    await system.setItem(imageId, { attempts: 99 })
    await sweepAhead(4)
    expect(line('exhausted', imageId)).toMatchObject({ requestId })
    expect(line('announced', imageId)).toMatchObject({ requestId, outcome: 'failed' })
    await ask(`/images/${imageId}`, { method: 'DELETE' })
    await sweepAhead(8)
    await sweepAhead(32)
    expect(line('removed', imageId)).toBeDefined()
    await submit()
    const away = { ...system.worker.sqs, send: () => Promise.reject(new Error('SQS is away')) }
    const later = () => new Date(Date.now() + 2 * system.worker.sweepAfterMs)
    await sweep({ ...system.worker, sqs: away as never, now: later, giveUpMs: 1e12 })
    expect(line('not swept')).toMatchObject({ error: expect.objectContaining({ message: 'SQS is away' }) })
  })
})

describe('the log of a request', () => {
  it('has the code of a refusal and the route, without what a caller has put there', async () => {
    const answer = await ask('/images/secret-name?token=secret', { headers: { 'x-request-id': 'mine' } })
    expect(system.lines).toEqual([
      {
        ...{ event: 'refused', requestId: answer.headers.get('x-request-id'), clientRequestId: 'mine' },
        ...{ method: 'GET', route: '/images/:imageId', status: 400, code: 'INVALID_PARAMETER' },
      },
    ])
    await ask('/secret-name', { method: 'PUT' })
    expect(system.lines[1]).toMatchObject({ method: 'PUT', status: 404, code: 'NOT_FOUND' })
    expect(JSON.stringify(system.lines)).not.toContain('secret')
  })

  it('has the error that no code foresees', async () => {
    const dynamo = { send: () => Promise.reject(new Error('DynamoDB is away')) }
    const app = buildApp({ ...system.api, dynamo: dynamo as unknown as ApiDeps['dynamo'] })
    const answer = await app.request('/images')
    expect(line('request failed')).toMatchObject({
      ...{ requestId: answer.headers.get('x-request-id'), method: 'GET', route: '/images' },
      error: expect.objectContaining({ message: 'DynamoDB is away' }),
    })
  })

  it.each([
    ['a REST API', 'b0c5ce6a-6f3b-4d7a-9d67-0e3f1f0f8a54', 'urn:uuid:'],
    ['an HTTP API', 'JKJaXmPLvHcESHA=', 'urn:image-analyzer:request:'],
  ])('has the id that %s has given it, as has the answer', async (_, requestId, urn) => {
    const answer = await ask('/nowhere', {}, { requestContext: { requestId } })
    expect(answer.headers.get('x-request-id')).toBe(requestId)
    expect(await answer.json()).toMatchObject({ instance: `${urn}${requestId}` })
    expect(line('refused')).toMatchObject({ requestId })
  })

  it.each([['two\r\nlines'], [7], [''], ['x'.repeat(65)]])('does not take %j for one', async (requestId) => {
    const answer = await ask('/nowhere', {}, { requestContext: { requestId } })
    expect(answer.headers.get('x-request-id')).toMatch(/^[0-9a-f]{8}-[0-9a-f-]{27}$/)
  })
})

/** What functions write to standard output while `run` lasts, line by line. */
async function printed(run: (logOf: (service: string) => Log) => Promise<void>): Promise<string[]> {
  vi.stubEnv('TZ', ':UTC')
  vi.stubEnv('_X_AMZN_TRACE_ID', 'Root=1-5759e988-000000000000000000000000;Parent=0;Sampled=1')
  const written: string[] = []
  const take = (text: unknown): boolean => written.push(String(text)) > 0
  const spies = (['stdout', 'stderr'] as const).map((to) =>
    vi.spyOn(process[to], 'write').mockImplementation(take),
  )
  try {
    await run((service) => {
      const log = createLog(service, 'image-analyzer')
      log.appendKeys({ functionRequestId: randomUUID() })
      return log
    })
  } finally {
    for (const spy of spies) spy.mockRestore()
    vi.unstubAllEnvs()
  }
  return written
}

function countedBy(service: string) {
  const points: Point[] = []
  const take = (_: string, extra: Record<string, unknown>) => points.push(...pointsOf(0, service, extra))
  return { points, log: { info: take, warn: take, error: take, namespace: 'image-analyzer' } satisfies Log }
}

/** As long as it is where parts take seconds and the original has megabytes: so no clock counts here. */
const lengthOf = (text: string): number =>
  text.replaceAll(/(?<=Ms":)\d+/g, '9999').replaceAll(/(?<=(ytes\w*|pixels)":)\d+/g, '9999999').length

describe('in a function', () => {
  it('no line has a presigned URL, a signature, a token, a body or the name of a file', async () => {
    const lines = await printed(async (logOf) => {
      const app = buildApp({ ...system.api, log: logOf('api') })
      const authorization = 'Bearer secret-token'
      const post = (path: string, body: object) =>
        app.request(path, {
          method: 'POST',
          headers: { 'content-type': 'application/json', authorization, cookie: 'secret-cookie' },
          body: JSON.stringify(body),
        })
      const image = photo.toString('base64')
      const posted = await post('/images?filename=secret-name.jpg', { image, filename: 'secret-name.jpg' })
      const { imageId } = (await posted.json()) as { imageId: string }
      await post('/images', { image: 'secret-body' })
      const form = await post('/uploads', {
        contentType: 'image/png',
        bytes: 9_000,
        filename: 'secret-name.png',
      })
      expect(JSON.stringify(await form.json())).toMatch(/signature/i)
      // The first attempt meets an error of S3, the second is whole.
      const log = logOf('worker')
      await work({ log, bucket: 'no-such-bucket-here' }, jobOf(imageId))
      await work({ log }, jobOf(imageId))
      for (const part of ['thumbnail', 'original']) {
        const { headers } = await app.request(`/images/${imageId}/${part}`, { headers: { authorization } })
        expect(headers.get('location')).toContain('X-Amz-Signature=')
      }
    })
    const text = lines.join('')
    expect(text).toContain('"event":"attempt failed"')
    expect(text).toContain('"event":"completed"')
    expect(text).toContain('"event":"refused"')
    expect(text).not.toMatch(/secret|X-Amz-|AWS4|Credential=|"policy"|https?:/i)
    expect(text).not.toContain(photo.subarray(0, 60).toString('base64'))
  })

  it('an image by itself takes four lines of JSON, 1.8 KB and 2.5 KB with their metrics, which CloudWatch finds', async () => {
    const written = await printed(async (logOf) => {
      const body = new FormData()
      body.set('image', new File([photo], 'two\r\nlines\u2028.jpg'))
      const app = buildApp({ ...system.api, log: logOf('api') })
      const headers = { 'x-amzn-trace-id': `Root=${traceId}` }
      const answer = await app.request('/images', { method: 'POST', headers, body })
      const { imageId } = (await answer.json()) as { imageId: string }
      await work({ log: logOf('worker'), analysisSource: 'of its own' }, jobOf(imageId))
    })
    const lines = written.map((text) => JSON.parse(text) as Record<string, unknown>)
    expect(lines.map(({ event }) => event)).toEqual(['accepted', 'claimed', 'completed', 'announced'])
    for (const text of written) expect(text.indexOf('\n')).toBe(text.length - 1)
    // In X-Ray's traces as in a function, where the logger would add that of the invocation.
    expect(lines.every((one) => one['traceId'] === traceId)).toBe(true)
    expect(lines.map((one) => 'functionRequestId' in one)).toEqual([true, true, false, true])
    expect(lengthOf(written.join(''))).toBeLessThan(2_480)
    const uncounted = ({ _aws, ...facts }: Record<string, unknown>) =>
      JSON.stringify(facts, (name, value) => (Object.hasOwn(METRICS, name) ? undefined : value))
    expect(lengthOf(lines.map(uncounted).join('\n'))).toBeLessThan(1_800)
    const counted = lines.flatMap((one) => pointsOf(0, String(one['service']), one))
    expect(counted.map(({ name, dimensions, value }) => [name, dimensions, value])).toEqual([
      ['AcceptMs', { service: 'api' }, expect.any(Number)],
      ['Accepted', { service: 'api' }, 1],
      ['BytesIn', { service: 'api' }, photo.length],
      ['Claimed', { service: 'worker' }, 1],
      ['ImageAge', { service: 'worker' }, expect.any(Number)],
      ['Completed', { service: 'worker' }, 0],
      ['Completed', { service: 'worker' }, 1],
      ['Failed', { service: 'worker' }, 0],
      ['WorkMs', { service: 'worker' }, expect.any(Number)],
      ['TotalMs', { service: 'worker' }, expect.any(Number)],
      ['PaidCalls', { service: 'worker' }, 2],
    ])
  })

  it.each([
    [1, 2_520],
    [2, 2_260],
    [5, 2_080],
    [10, 2_048],
  ])(
    'an image of a batch of %d takes at most %d bytes with its metrics, which go out by the end of the batch',
    async (size, most) => {
      const written = await printed(async (logOf) => {
        const app = buildApp({ ...system.api, log: logOf('api') })
        const headers = { 'content-type': 'image/jpeg', 'x-amzn-trace-id': `Root=${traceId}` }
        for (let index = 0; index < size; index += 1) {
          const body = Buffer.concat([photo, Buffer.from(`${index} of ${size}`)])
          const answer = await app.request('/images', { method: 'POST', headers, body })
          mine.add(((await answer.json()) as { imageId: string }).imageId)
        }
        inOwnTime()
        const Records: SQSEvent['Records'] = []
        while (Records.length < size) Records.push(...(await ownJobs()).Records)
        await work({ log: logOf('worker') }, { Records })
      })
      expect(lengthOf(written.join(''))).toBeLessThanOrEqual(most * size)
      const lines = written.map((text) => JSON.parse(text) as Record<string, unknown>)
      const points = lines.flatMap((one) => pointsOf(0, String(one['service']), one))
      const of = (name: string) => points.filter((one) => one.name === name).map(({ value }) => value)
      const sum = (name: string) => of(name).reduce((all, value) => all + value)
      expect(['Accepted', 'Claimed', 'Completed', 'PaidCalls'].map(sum)).toEqual([size, size, size, 2 * size])
      const facts = (event: string, name: string) =>
        lines.flatMap((one) => (one['event'] === event ? [Number(one[name])] : []))
      expect(of('ImageAge')).toEqual(facts('claimed', 'queuedMs').map((ms) => ms / 1_000))
      expect(of('WorkMs')).toEqual(facts('completed', 'workMs'))
    },
  )

  it('a request that is sent again counts once', async () => {
    const { points, log } = countedBy('api')
    const app = buildApp({ ...system.api, log })
    for (let time = 0; time < 2; time += 1) {
      const headers = { 'content-type': 'image/jpeg', 'idempotency-key': 'counted' }
      await app.request('/images', { method: 'POST', headers, body: new Uint8Array(photo) })
      await system.work()
    }
    expect(points.map(({ name, value }) => [name, value])).toEqual([
      ['AcceptMs', expect.any(Number)],
      ['Accepted', 1],
      ['BytesIn', photo.length],
    ])
  })

  it('a failure is counted under its code as well', async () => {
    const { points, log } = countedBy('worker')
    const { imageId } = await submit(photo.subarray(0, 20_000))
    await work({ log }, jobOf(imageId))
    expect(points.filter(({ name, value }) => name === 'Failed' && value === 1)).toMatchObject([
      { dimensions: { service: 'worker' } },
      { dimensions: { service: 'worker', code: 'CORRUPT_IMAGE' } },
    ])
  })
})

describe('every line', () => {
  it('has a name of the list, and only what the list says', () => {
    seen.push(...system.lines)
    const wrong = seen.filter(({ event, ...facts }) => {
      const has: readonly string[] = LINES[event as keyof typeof LINES]?.has ?? []
      return Object.keys(facts).some((name) => !has.includes(name))
    })
    expect(wrong).toEqual([])
    // These need a disk, a clock, a client that fails in its own way or a later version.
    const elsewhere = 'limiter rate,newer,not entered,not released,not tidy,passed over,swept'.split(',')
    expect([...new Set([...seen.map(({ event }) => event), ...elsewhere])].sort()).toEqual(
      Object.keys(LINES).sort(),
    )
  })
})
