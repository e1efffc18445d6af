import { readFileSync } from 'node:fs'
import { HeadObjectCommand, NotFound } from '@aws-sdk/client-s3'
import { DeleteCommand, PutCommand } from '@aws-sdk/lib-dynamodb'
import type { LambdaContext, LambdaEvent } from 'hono/aws-lambda'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { lambdaContext, startTestSystem, type TestSystem, until } from './context.ts'

const photo = readFileSync(new URL('fixtures/grace-hopper.jpg', import.meta.url))

/** The entries as Lambda runs them: configured by the environment alone, called with the events of API Gateway and SQS. */
let system: TestSystem
let api: typeof import('../api/handler.ts')
let worker: typeof import('../worker/handler.ts')
let sweeper: typeof import('../sweeper/handler.ts')
beforeAll(async () => {
  system = await startTestSystem()
  const environment = {
    AWS_ENDPOINT_URL: system.endpoint,
    AWS_ENDPOINT_URL_REKOGNITION: system.rekognitionEndpoint,
    AWS_REGION: 'us-east-1',
    AWS_ACCESS_KEY_ID: 'test',
    AWS_SECRET_ACCESS_KEY: 'test',
    IMAGE_BUCKET: system.names.bucket,
    IMAGE_TABLE: system.names.table,
    JOB_QUEUE_URL: system.worker.jobQueueUrl,
    EVENT_BUS_NAME: system.names.eventBus,
    SWEEP_AFTER_SECONDS: '2',
    MAX_ATTEMPTS: '10',
    GIVE_UP_DAYS: '14',
    REKOGNITION_TPS: '50',
    AUTH: 'none',
    POWERTOOLS_LOG_LEVEL: 'SILENT',
  }
  for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value)
  api = await import('../api/handler.ts')
  worker = await import('../worker/handler.ts')
  sweeper = await import('../sweeper/handler.ts')
})
afterAll(async () => {
  vi.unstubAllEnvs()
  await system.stop()
})

interface Answer {
  statusCode: number
  headers?: Record<string, string>
  multiValueHeaders?: Record<string, string[]>
  body: string
  isBase64Encoded: boolean
}
const call = async (event: object): Promise<Answer> =>
  (await api.handler(event as LambdaEvent, lambdaContext() as unknown as LambdaContext)) as unknown as Answer

/** What API Gateway's REST API sends (payload 1.0): the path has no stage. */
const rest = (
  method: string,
  path: string,
  body?: { text: string; contentType: string; base64: boolean },
) => ({
  resource: '/{proxy+}',
  path,
  httpMethod: method,
  headers: { Host: 'abc.execute-api.us-east-1.amazonaws.com', 'content-type': body?.contentType },
  multiValueHeaders: {
    Host: ['abc.execute-api.us-east-1.amazonaws.com'],
    ...(body === undefined ? {} : { 'content-type': [body.contentType] }),
  },
  queryStringParameters: null,
  multiValueQueryStringParameters: null,
  pathParameters: { proxy: path.slice(1) },
  stageVariables: null,
  requestContext: {
    accountId: '123456789012',
    apiId: 'abc',
    authorizer: null,
    domainName: 'abc.execute-api.us-east-1.amazonaws.com',
    httpMethod: method,
    identity: { sourceIp: '192.0.2.1', userAgent: 'curl' },
    path: `/prod${path}`,
    requestId: 'r',
    resourcePath: '/{proxy+}',
    stage: 'prod',
  },
  body: body?.text ?? null,
  isBase64Encoded: body?.base64 ?? false,
})

/** What an HTTP API sends (payload 2.0): the path begins with the stage, unless that is $default. */
const http = (
  method: string,
  stage: string,
  path: string,
  body?: { text: string; contentType: string; base64: boolean },
) => {
  const rawPath = stage === '$default' ? path : `/${stage}${path}`
  return {
    version: '2.0',
    routeKey: '$default',
    rawPath,
    rawQueryString: '',
    headers: {
      host: 'abc.execute-api.us-east-1.amazonaws.com',
      ...(body === undefined ? {} : { 'content-type': body.contentType }),
    },
    requestContext: {
      accountId: '123456789012',
      apiId: 'abc',
      domainName: 'abc.execute-api.us-east-1.amazonaws.com',
      http: { method, path: rawPath, protocol: 'HTTP/1.1', sourceIp: '192.0.2.1', userAgent: 'curl' },
      requestId: 'r',
      routeKey: '$default',
      stage,
      time: '22/Nov/2026:00:00:00 +0000',
      timeEpoch: 0,
    },
    body: body?.text,
    isBase64Encoded: body?.base64 ?? false,
  }
}
const raw = { text: photo.toString('base64'), contentType: 'image/jpeg', base64: true }
const header = (answer: Answer, name: string) =>
  answer.headers?.[name] ?? answer.multiValueHeaders?.[name]?.[0]

describe('the API function', () => {
  it.each([
    ['a REST API', (method: string, path: string, body?: typeof raw) => rest(method, path, body)],
    [
      'an HTTP API',
      (method: string, path: string, body?: typeof raw) => http(method, '$default', path, body),
    ],
    [
      'an HTTP API with a named stage',
      (method: string, path: string, body?: typeof raw) => http(method, 'prod', path, body),
    ],
  ])('answers %s', async (_name, event) => {
    expect((await call(event('GET', '/health'))).statusCode).toBe(200)
    const page = await call(event('GET', '/'))
    expect(page.statusCode).toBe(200)
    expect(header(page, 'content-type')).toMatch(/^text\/html/)

    const accepted = await call(event('POST', '/images', raw))
    expect(accepted.statusCode).toBe(202)
    const { imageId } = JSON.parse(accepted.body)
    expect(header(accepted, 'location')).toBe(`images/${imageId}`)
    const record = await call(event('GET', `/images/${imageId}`))
    expect(JSON.parse(record.body).original.bytes).toBe(photo.length)

    const json = {
      text: JSON.stringify({ image: photo.toString('base64') }),
      contentType: 'application/json',
      base64: false,
    }
    expect((await call(event('POST', '/images', json))).statusCode).toBe(202)
    expect((await call(event('GET', '/nothing'))).statusCode).toBe(404)
    expect((await call(event('GET', '/health', raw))).statusCode).toBe(200)
  })
})

describe('the worker function', () => {
  it('works a batch off, by its environment alone', async () => {
    const imageId = await system.submit(photo)
    const batch = await system.receiveJobs()
    expect(await worker.handler(batch, lambdaContext())).toEqual({ batchItemFailures: [] })
    expect((await system.record(imageId)).status).toBe('completed')
  })

  it('takes what S3 says of an upload for its job, and what it says of itself for none', async () => {
    const announced = JSON.stringify({ contentType: 'image/jpeg', bytes: photo.length, filename: 'a.jpg' })
    const answer = await call(
      rest('POST', '/uploads', { text: announced, contentType: 'application/json', base64: false }),
    )
    expect(answer.statusCode, answer.body).toBe(201)
    const { imageId, upload } = JSON.parse(answer.body)
    const form = new FormData()
    for (const [name, value] of Object.entries<string>(upload.fields)) form.append(name, value)
    form.append('file', new Blob([photo]))
    expect((await fetch(upload.url, { method: 'POST', body: form })).status).toBe(204)

    const arrival = await system.receiveJobs()
    expect(arrival.Records.map(({ body }) => JSON.parse(body).Records)).toMatchObject([
      [{ eventName: 'ObjectCreated:Post', s3: { object: { key: `uploads/${imageId}` } } }],
    ])
    const told = (messageId: string, body: object) =>
      arrival.Records.map((record) => ({ ...record, messageId, body: JSON.stringify(body) }))
    // S3's own test message, an object that no form was for, and something that S3 never sends.
    arrival.Records.push(
      ...told('test', { Service: 'Amazon S3', Event: 's3:TestEvent', Bucket: system.names.bucket }),
      ...told('stranger', {
        Records: [{ eventName: 'ObjectCreated:Post', s3: { object: { key: 'uploads/stranger' } } }],
      }),
      ...told('unknown', { Records: [{ eventName: 'ObjectRemoved:Delete' }] }),
    )
    expect(await worker.handler(arrival, lambdaContext())).toEqual({
      batchItemFailures: [{ itemIdentifier: 'unknown' }],
    })
    expect(await system.record(imageId)).toMatchObject({
      status: 'completed',
      original: { key: `originals/${imageId}`, bytes: photo.length, filename: 'a.jpg' },
    })
    expect(await sizeOf(`originals/${imageId}`)).toBe(photo.length)
    expect(await sizeOf(`uploads/${imageId}`)).toBeUndefined()
  })

  const sizeOf = async (Key: string): Promise<number | undefined> => {
    try {
      const { ContentLength } = await system.worker.s3.send(
        new HeadObjectCommand({ Bucket: system.names.bucket, Key }),
      )
      return ContentLength
    } catch (error) {
      if (error instanceof NotFound) return undefined
      throw error
    }
  }
})

describe('the sweeper function', () => {
  /** Submits an image to the function, whose environment says when it is due, and loses its job. */
  const lose = async (): Promise<string> => {
    await system.work()
    const accepted = await call(rest('POST', '/images', raw))
    expect(accepted.statusCode).toBe(202)
    expect((await system.receiveJobs()).Records).toHaveLength(1)
    return JSON.parse(accepted.body).imageId
  }

  it('gives a new job to what was left behind, and to nothing else', async () => {
    const lost = await lose()
    expect((await sweeper.handler()).requeued).toBe(0)
    expect(await until('it is due', async () => (await sweeper.handler()).requeued || undefined)).toBe(1)
    await system.work()
    expect((await system.record(lost)).status).toBe('completed')
    expect((await sweeper.handler()).requeued).toBe(0)
  })
  it('fails when it met trouble, so that an alarm tells of it, and looks after the others all the same', async () => {
    const lost = await lose()
    const { dynamo, table } = system.worker
    const broken = { imageId: '0199c0de-0000-7000-8000-000000000000' }
    await dynamo.send(
      new PutCommand({ TableName: table, Item: { ...broken, status: '?', unfinished: '0', sweepAt: 1 } }),
    )
    const jobs = await until('it is due', async () => {
      await expect(sweeper.handler()).rejects.toThrow('1 images could not be looked after')
      const { Records } = await system.receiveJobs()
      return Records.length > 0 ? Records.map(({ body }) => JSON.parse(body).imageId) : undefined
    })
    expect(jobs).toEqual([lost])
    await dynamo.send(new DeleteCommand({ TableName: table, Key: broken }))
  })
})
