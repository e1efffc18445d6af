import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { PutEventsCommand } from '@aws-sdk/client-eventbridge'
import { SendMessageCommand } from '@aws-sdk/client-sqs'
import { context, ROOT_CONTEXT, type Span, SpanKind, trace } from '@opentelemetry/api'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { buildApp } from '../../api/app.ts'
import { loadedAtStart } from '../../build/bundle.ts'
import { inSpan } from '../../shared/messages.ts'
import { sweep } from '../../sweeper/sweep.ts'
import { processBatch } from '../../worker/batch.ts'
import type { WorkerDeps } from '../../worker/deps.ts'
import { lambdaContext, startTestSystem, type TestSystem } from '../context.ts'
import { gatewayEvent } from '../deployment/functions.ts'
import { bundleOf } from '../deployment/zips.ts'
import { newFolder } from '../started.ts'
import { type Ended, registerSpans } from './spans.ts'

const photo = readFileSync(join(import.meta.dirname, '../fixtures/grace-hopper.jpg'))

let system: TestSystem
beforeAll(async () => {
  system = await startTestSystem()
})
afterAll(() => system?.stop())

let ended: Ended[]
let unregister: () => void
beforeEach(async () => {
  await system.receiveJobs()
  // Of the version that the distribution of AWS brings along (0.13.0); a later API of ours would pass it over.
  const registered = registerSpans('1.9.0')
  ended = registered.ended
  unregister = registered.unregister
})
afterEach(() => unregister())

/** Clients that keep what is sent. */
function watched() {
  const headers: string[] = []
  const entries: unknown[] = []
  const sqs = {
    send: (command: SendMessageCommand) => {
      if (command instanceof SendMessageCommand) {
        const { AWSTraceHeader } = command.input.MessageSystemAttributes ?? {}
        headers.push(AWSTraceHeader?.StringValue ?? 'none')
      }
      return system.worker.sqs.send(command)
    },
  } as unknown as WorkerDeps['sqs']
  const eventBridge = {
    send: (command: PutEventsCommand) => {
      entries.push(...(command.input.Entries ?? []).map(({ TraceHeader }) => TraceHeader))
      return system.worker.eventBridge.send(command)
    },
  } as unknown as WorkerDeps['eventBridge']
  return { headers, entries, sqs, eventBridge }
}

/** @returns the image's id */
async function submit(app: TestSystem['app'], bytes: Buffer, headers: Record<string, string> = {}) {
  const answer = await app.request('/images?analyses=labels,faces', {
    method: 'POST',
    headers: { 'content-type': 'image/jpeg', ...headers },
    body: new Uint8Array(bytes),
  })
  return ((await answer.json()) as { imageId: string }).imageId
}
const spanOf = (name: string): Ended => ended.find((one) => one.name === name) as Ended
const childrenOf = ({ context }: Ended): string[] =>
  ended.filter(({ parent }) => parent === context.spanId).map(({ name }) => name)
const headerOf = ({ context: { traceId, spanId } }: Ended): string =>
  `Root=1-${traceId.slice(0, 8)}-${traceId.slice(8)};Parent=${spanId};Sampled=1`

describe('with an SDK registered', () => {
  it('a request is a span, and each image of a batch one that links to it, with its steps as children', async () => {
    const { headers, entries, ...clients } = watched()
    const app = buildApp({ ...system.api, sqs: clients.sqs })
    const trace = '1-5759e988-bd862e3fe1be46a994272793'
    const good = await submit(app, photo, { 'x-amzn-trace-id': `Root=${trace};Parent=53995c3f42cd8ad8` })
    const bad = await submit(app, photo.subarray(0, 30_000))
    const requests = ended.splice(0)
    expect(requests.map(({ name, kind, parent }) => [name, kind, parent])).toEqual([
      ['POST /images', SpanKind.SERVER, '53995c3f42cd8ad8'],
      ['POST /images', SpanKind.SERVER, undefined],
    ])
    expect(requests[0]?.attributes).toEqual({
      ...{ 'http.request.method': 'POST', 'http.route': '/images', 'http.response.status_code': 202 },
      ...{ 'url.path': '/images', 'url.scheme': 'http' },
    })
    expect(headers).toEqual(requests.map(headerOf))
    expect(requests[0]?.context.traceId).toBe(trace.replace(/^1-|-/g, ''))

    const { Records } = await system.receiveJobs()
    // As SQS does with the attribute of the message.
    for (const { body, attributes } of Records) {
      Object.assign(attributes, { AWSTraceHeader: headers[[good, bad].indexOf(JSON.parse(body).imageId)] })
    }
    await processBatch({ ...system.worker, ...clients }, { Records }, lambdaContext())
    const jobs = ended.filter(({ name }) => name === `process ${system.names.jobQueue}`)
    const of = (imageId: string) =>
      jobs.find(({ attributes }) => attributes['image_analyzer.image_id'] === imageId) as Ended
    expect([good, bad].map((imageId) => of(imageId).links)).toEqual(
      requests.map(({ context }) => [context.spanId]),
    )
    expect(of(good)).toMatchObject({ kind: SpanKind.CONSUMER, parent: undefined, failed: false })
    expect(of(good).attributes).toMatchObject({
      ...{ 'messaging.system': 'aws_sqs', 'messaging.operation.type': 'process' },
      'messaging.message.id': Records.find(({ body }) => body.includes(good))?.messageId,
    })
    expect(childrenOf(of(good)).sort()).toEqual(
      [
        'analyse faces',
        'analyse labels',
        'announce',
        'claim',
        'commit',
        'decode',
        'fetch',
        'thumbnail',
      ].sort(),
    )
    expect(childrenOf(of(bad))).toEqual(['claim', 'fetch', 'decode', 'commit', 'announce'])
    expect(ended.filter(({ failed }) => failed).map(({ name }) => name)).toEqual(['decode'])
    expect(entries.sort()).toEqual(requests.map(headerOf).sort())
  })

  it('a job without a trace of its own links to the request that the record has, and says what it waits for', async () => {
    await submit(system.app, photo)
    const request = spanOf('POST /images')
    const { Records } = await system.receiveJobs()
    const away = { send: () => Promise.reject(new Error('S3 is away')) } as unknown as WorkerDeps['s3']
    await processBatch({ ...system.worker, s3: away }, { Records }, lambdaContext())
    const job = spanOf(`process ${system.names.jobQueue}`)
    expect(job).toMatchObject({ links: [request.context.spanId], failed: true })
    expect(job.attributes['image_analyzer.unfinished']).toBe('attempt failed')
    expect(job.errors).toEqual([expect.objectContaining({ message: 'S3 is away' })])
    expect(childrenOf(job)).toEqual(['claim', 'fetch'])
  })

  it('a sweep is a span, and so is each image in it, which links to its request, and to which the job links that it sends', async () => {
    const { headers, sqs } = watched()
    const imageId = await submit(system.app, photo)
    const request = spanOf('POST /images').context.spanId
    const later = () => new Date(Date.now() + 2 * system.worker.sweepAfterMs)
    const deps = { ...system.worker, now: later, giveUpMs: 1e12 }
    await sweep({ ...deps, sqs })
    const failing = { send: () => Promise.reject(new Error('SQS is away')) } as unknown as WorkerDeps['sqs']
    await sweep({ ...deps, sqs: failing, now: () => new Date(later().getTime() * 2) })
    const images = ended.filter(
      ({ name, attributes }) => name === 'sweep image' && attributes['image_analyzer.image_id'] === imageId,
    )
    expect(images.map(({ attributes, failed }) => [attributes['image_analyzer.swept'], failed])).toEqual([
      ['requeued', false],
      [undefined, true],
    ])
    const sweeps = ended.filter(({ name }) => name === 'sweep').map(({ context }) => context.spanId)
    expect(images.map(({ parent, links }) => [parent, links])).toEqual(
      sweeps.map((spanId) => [spanId, [request]]),
    )
    expect(headers).toContain(headerOf(images[0] as Ended))
  })

  it('a request is a child of the span that a layer has begun for the invocation, and fails with a 5xx', async () => {
    const dynamo = { send: () => Promise.reject(new Error('DynamoDB is away')) } as never
    const app = buildApp({ ...system.api, dynamo })
    const layer = trace.getTracer('layer').startSpan('invocation')
    const headers = { 'x-amzn-trace-id': 'Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8' }
    await context.with(trace.setSpan(ROOT_CONTEXT, layer), () => app.request('/images', { headers }))
    await app.request('/nowhere/secret')
    expect(spanOf('GET /images')).toMatchObject({ parent: layer.spanContext().spanId, failed: true })
    // A path without a route is a caller's words.
    expect(ended.map(({ name, failed }) => [name, failed])).toEqual([
      ['GET /images', true],
      ['GET', false],
    ])
  })

  it.each([
    ['succeeds', async (): Promise<string> => 'done', false],
    ['fails', (): Promise<string> => Promise.reject(new Error('not done')), true],
  ] as const)(
    'the span of work that %s has all that it gets, and ends, before its caller continues',
    async (_, work, fails) => {
      const tell = (span: Span, value: string): Span => span.setAttribute('value', value)
      // A batch that continues may answer, and be frozen with what has not ended.
      const look = () => [...ended]
      const seen = await inSpan('part', work, undefined, tell).then(look, look)
      expect(seen).toMatchObject([
        {
          name: 'part',
          failed: fails,
          attributes: fails ? {} : { value: 'done' },
          errors: fails ? [new Error('not done')] : [],
        },
      ])
    },
  )

  it('the API of the built zip, which has a copy of OpenTelemetry’s in it, finds what this copy registers after its import', async () => {
    const folder = newFolder()
    for (const [name, bytes] of Object.entries((await bundleOf('api')).files)) {
      mkdirSync(dirname(join(folder, name)), { recursive: true })
      writeFileSync(join(folder, name), bytes)
    }
    onTestFinished(() => void vi.unstubAllEnvs())
    const environment = {
      ...{ AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'test', AWS_REGION: 'us-east-1', AUTH: 'none' },
      ...{ AWS_ENDPOINT_URL: system.endpoint, POWERTOOLS_LOG_LEVEL: 'ERROR' },
      ...{ IMAGE_BUCKET: system.names.bucket, IMAGE_TABLE: system.names.table },
      JOB_QUEUE_URL: system.worker.jobQueueUrl,
    }
    for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value)
    unregister()
    const { handler } = await import(/* @vite-ignore */ pathToFileURL(join(folder, 'index.mjs')).href)
    await handler(gatewayEvent('GET', '/images'), {})
    ended = registerSpans('1.9.0').ended
    const answer = await handler(gatewayEvent('POST', '/images', photo), {})
    expect(answer.statusCode).toBe(202)
    const request = spanOf('POST /images')
    expect(request).toMatchObject({
      attributes: { 'http.route': '/images', 'http.response.status_code': 202 },
    })
    const { origin } = await system.item(JSON.parse(answer.body).imageId)
    expect(origin).toMatchObject({ spanId: request.context.spanId })
  })
})

it.each(['api', 'worker', 'sweeper'] as const)('the %s starts without OpenTelemetry’s API', async (name) => {
  const { metafile } = await bundleOf(name)
  const ofTelemetry = (files: Iterable<string>) =>
    [...files].filter((file) => file.includes('@opentelemetry/'))
  expect(ofTelemetry(Object.keys(metafile.inputs))).not.toEqual([])
  expect(ofTelemetry(loadedAtStart(metafile).inputs.keys())).toEqual([])
})

it('without an SDK no message has a trace of ours, and no record a span', async () => {
  unregister()
  const { headers, entries, ...clients } = watched()
  const imageId = await submit(buildApp({ ...system.api, sqs: clients.sqs }), photo)
  await processBatch({ ...system.worker, ...clients }, await system.receiveJobs(), lambdaContext())
  expect(headers).toEqual(['none'])
  expect(entries).toEqual([undefined])
  expect(Object.keys((await system.item(imageId))['origin'] as object)).toEqual(['requestId'])
})
