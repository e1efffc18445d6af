import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { CreateTableCommand, type CreateTableCommandInput, DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { CreateBucketCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { SendMessageCommand } from '@aws-sdk/client-sqs'
import { DynamoDBDocumentClient, PutCommand, paginateScan } from '@aws-sdk/lib-dynamodb'
import type { SQSBatchResponse } from 'aws-lambda'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { restEvent } from '../../build/events.ts'
import { unzip } from '../../build/zip.ts'
import { resourceNames } from '../../infrastructure/resources.ts'
import { startEmbeddedAws } from '../../packages/embedded-aws/index.ts'
import { clientOptions, dynamoTranslation, s3Options } from '../../shared/aws.ts'
import { sweep } from '../../sweeper/sweep.ts'
import { processBatch } from '../../worker/batch.ts'
import { finished, lambdaContext, startTestSystem, type TestSystem, until } from '../context.ts'
import { distinct } from '../pictures/pictures.ts'
import { newFolder, root } from '../started.ts'
import { type System, startSystem } from '../system.ts'
import { SILENT } from '../tools.ts'

/**
 * A table as the version before has left it, which kept labels as items of the table of records, found by the index
 * `byLabel`: recorded from that version, with images in each state, one that it had completed and not announced, and one
 * that it had deleted and not taken out of the index.
 */
const { definition, images, items } = JSON.parse(
  readFileSync(new URL('../fixtures/table-of-version-before.json', import.meta.url), 'utf8'),
) as {
  definition: Omit<CreateTableCommandInput, 'TableName'>
  images: Record<string, string>
  items: Record<string, unknown>[]
}
const names = resourceNames()
const region = 'us-east-1'
const credentials = { accessKeyId: 'test', secretAccessKey: 'test' }

let system: System
let dynamo: DynamoDBDocumentClient
beforeAll(async () => {
  const folder = newFolder()
  const aws = await startEmbeddedAws({
    port: 0,
    region,
    folder,
    durable: true,
    credentials: [credentials],
    onDropped: () => {},
  })
  const target = { endpoint: aws.endpoint, region, credentials }
  const s3 = new S3Client(s3Options(target))
  const before = DynamoDBDocumentClient.from(new DynamoDBClient(clientOptions(target)))
  await s3.send(new CreateBucketCommand({ Bucket: names.bucket }))
  // The numbers of the pictures that were recorded.
  for (const [name, number] of Object.entries({ processing: 906, pending: 907 })) {
    const Key = `originals/${images[name]}`
    await s3.send(new PutObjectCommand({ Bucket: names.bucket, Key, Body: await distinct(number) }))
  }
  await before.send(
    new CreateTableCommand({ TableName: names.table, BillingMode: 'PAY_PER_REQUEST', ...definition }),
  )
  for (const Item of items) await before.send(new PutCommand({ TableName: names.table, Item }))
  for (const client of [s3, before]) client.destroy()
  await aws.stop()

  const settings = { REKOGNITION: 'stand-in', DATA_DIR: folder, PORT: '0', AWS_PORT: '0' }
  system = await startSystem(settings, SILENT)
  dynamo = DynamoDBDocumentClient.from(new DynamoDBClient(clientOptions(system.target)), dynamoTranslation)
})
afterAll(async () => {
  dynamo.destroy()
  await system.stop()
})

const ask = async <T>(path: string): Promise<T> => (await (await fetch(`${system.url}${path}`)).json()) as T
const found = async (query: string): Promise<(string | undefined)[]> => {
  const { items } = await ask<{ items: { imageId: string }[] }>(`/images?${query}`)
  return items.map(({ imageId }) => Object.keys(images).find((name) => images[name] === imageId))
}

it('a table of the version before is searched as before, with what is new beside it', async () => {
  const dogs = ['unannounced', 'glad dog', 'unsure dog', 'sure dog']
  expect(await found('label=dog')).toEqual(dogs)
  expect(await found('label=dog&minConfidence=80')).toEqual(['unannounced', 'glad dog', 'sure dog'])
  expect(await found('label=dog&minConfidence=95')).toEqual(['unannounced', 'sure dog'])
  expect(await found('label=dog&label=cat')).toEqual(['sure dog'])
  expect(await found('label=dog&faces=true')).toEqual(['glad dog'])
  expect(await found('emotion=happy')).toEqual(['glad dog'])
  expect(await found('status=failed')).toEqual(['failed'])
  const pages = []
  for (let cursor = ''; ; ) {
    const page = await ask<{ items: { imageId: string }[]; cursor?: string }>(
      `/images?label=dog&limit=1${cursor}`,
    )
    pages.push(...page.items.map(({ imageId }) => imageId))
    if (page.cursor === undefined) break
    cursor = `&cursor=${page.cursor}`
  }
  expect(pages).toEqual(dogs.map((name) => images[name]))
  const labels = await ask<{ items: { name: string }[] }>('/labels?prefix=')
  expect(labels.items.map(({ name }) => name)).toEqual(expect.arrayContaining(['Cat', 'Dog']))
  expect(labels.items.filter(({ name }) => name.toLowerCase() === 'dog')).toHaveLength(1)
})

it('what the version before had begun comes to its end', async () => {
  for (const name of ['pending', 'processing']) {
    expect(await finished(system.url, images[name] ?? '')).toMatchObject({ status: 'completed' })
  }
  expect((await fetch(`${system.url}/images/${images['deleted']}`)).status).toBe(404)
  expect(new Set(await found('status=completed'))).toEqual(
    new Set(['sure dog', 'unsure dog', 'glad dog', 'unannounced', 'pending', 'processing']),
  )
})

it('an image of the version before is deleted with all that it is found by', async () => {
  const left = async (): Promise<unknown[]> => {
    const pages = []
    for (const TableName of [names.table, `${names.table}-labels`])
      for await (const { Items = [] } of paginateScan({ client: dynamo }, { TableName })) pages.push(...Items)
    // The record itself and what is remembered about its bytes have other names for it.
    return pages.filter(({ target, shown, ownerLabel }) => (shown || ownerLabel) && gone.includes(target))
  }
  const gone = ['sure dog', 'unannounced', 'deleted'].map((name) => images[name])
  await until('the start has settled what was deleted', async () =>
    (await left()).every((item) => (item as { target: string }).target !== images['deleted'])
      ? true
      : undefined,
  )
  for (const name of ['sure dog', 'unannounced']) {
    const { status } = await fetch(`${system.url}/images/${images[name]}`, { method: 'DELETE' })
    expect(status).toBe(204)
  }
  expect(await left()).toEqual([])
  expect(await found('label=dog')).toEqual(['glad dog', 'unsure dog'])
})

/**
 * The functions of the version before, as they were built at commit 7dad103 (`code.zip` of `npm run release-files`, without
 * sharp, which they take from here). A release replaces it by the one of the release before: docs/versions.md.
 */
const CODE = '../fixtures/code-of-version-before.zip'
const SHA256 = '619160db6cb5b86df5175e6ea705b92f1ed5d70933c40049e8355a0be16c800e'

describe('while versions change', () => {
  type Handler = (event: object, context?: object) => Promise<unknown>
  let now: TestSystem
  let before: Record<'api' | 'worker' | 'sweeper', Handler>
  const context = { ...lambdaContext(), awsRequestId: 'test' }

  beforeAll(async () => {
    now = await startTestSystem()
    const zip = readFileSync(new URL(CODE, import.meta.url))
    expect(createHash('sha256').update(zip).digest('hex')).toBe(SHA256)
    // Code below node_modules is left to Node as it is.
    const folder = join(newFolder(), 'node_modules')
    for (const [name, bytes] of Object.entries(unzip(zip))) {
      mkdirSync(dirname(join(folder, name)), { recursive: true })
      writeFileSync(join(folder, name), bytes)
    }
    symlinkSync(join(root, 'node_modules/sharp'), join(folder, 'sharp'), 'junction')
    const environment = {
      AWS_ENDPOINT_URL: now.endpoint,
      AWS_ENDPOINT_URL_REKOGNITION: now.rekognitionEndpoint,
      AWS_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: 'test',
      AWS_SECRET_ACCESS_KEY: 'test',
      IMAGE_BUCKET: now.names.bucket,
      IMAGE_TABLE: now.names.table,
      JOB_QUEUE_URL: now.worker.jobQueueUrl,
      DEAD_LETTER_QUEUE_URL: now.worker.deadLetterQueueUrl,
      EVENT_BUS_NAME: now.names.eventBus,
      AUTH: 'none',
      POWERTOOLS_LOG_LEVEL: 'SILENT',
    }
    for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value)
    const load = async (name: string): Promise<Handler> =>
      (await import(pathToFileURL(join(folder, name, 'index.mjs')).href)).handler
    before = { api: await load('api'), worker: await load('worker'), sweeper: await load('sweeper') }
  })
  afterAll(async () => {
    vi.unstubAllEnvs()
    await now.stop()
  })

  /** By the API of the version before. */
  const askBefore = async <T>(...request: Parameters<typeof restEvent>) => {
    const answer = (await before.api(restEvent(...request), context)) as { statusCode: number; body: string }
    return { status: answer.statusCode, body: (answer.body === '' ? {} : JSON.parse(answer.body)) as T }
  }
  const imageOfBefore = async (number: number): Promise<string> => {
    const { status, body } = await askBefore<{ imageId: string }>(
      ...(['POST', '/images', 'image/png', await distinct(number)] as const),
    )
    expect(status).toBe(202)
    return body.imageId
  }

  it('an image that the API of the version before has accepted is finished by the worker of this one', async () => {
    const imageId = await imageOfBefore(801)
    await now.work()
    expect(await askBefore('GET', `/images/${imageId}`)).toMatchObject({
      ...{ status: 200, body: { imageId, status: 'completed', attempts: 1 } },
    })
    expect(await askBefore('GET', '/images')).toMatchObject({ body: { items: [{ imageId }] } })
    expect(await now.events()).toMatchObject([{ eventId: `${imageId}:1:completed` }])
    expect(await askBefore('DELETE', `/images/${imageId}`)).toMatchObject({ status: 204 })
    expect((await now.app.request(`/images/${imageId}`)).status).toBe(404)
  })

  it('an image that the API of this version has accepted is finished by the worker of the one before', async () => {
    const imageId = await now.submit(await distinct(802))
    const { Records } = await now.receiveJobs()
    expect(Records.map(({ body }) => JSON.parse(body))).toEqual([{ version: 1, imageId, epoch: 1 }])
    const { batchItemFailures } = (await before.worker({ Records }, context)) as SQSBatchResponse
    expect(batchItemFailures).toEqual([])
    const { status, attempts, original, thumbnail } = await now.record(imageId)
    expect({ status, attempts }).toEqual({ status: 'completed', attempts: 1 })
    expect([original.width, thumbnail?.width]).toEqual([96, 128])
    expect(await now.events()).toMatchObject([{ eventId: `${imageId}:1:completed` }])
    expect((await now.app.request(`/images/${imageId}`, { method: 'DELETE' })).status).toBe(204)
  })

  it.each([
    {
      api: 'the API of this version',
      sweeper: 'the sweeper of the one before',
      submit: async (number: number) => now.submit(await distinct(number)),
      remove: async (imageId: string) =>
        (await now.app.request(`/images/${imageId}`, { method: 'DELETE' })).status,
      sweepAll: () => before.sweeper({}, context),
      numbers: [811, 812, 813] as const,
    },
    {
      api: 'the API of the version before',
      sweeper: 'the sweeper of this one',
      submit: imageOfBefore,
      remove: async (imageId: string) => (await askBefore('DELETE', `/images/${imageId}`)).status,
      sweepAll: () => sweep({ ...now.worker, giveUpMs: 86_400_000 }),
      numbers: [821, 822, 823] as const,
    },
  ])('what $api leaves behind comes to its end by $sweeper', async (versions) => {
    const [lost, spent, deleted] = versions.numbers
    const gone = await versions.submit(deleted)
    await now.work()
    expect(await versions.remove(gone)).toBe(204)
    const again = await versions.submit(lost)
    const last = await versions.submit(spent)
    const { Records } = await now.receiveJobs()
    expect(Records).toHaveLength(2)
    await now.events()
    // Long ago for any clock; what is deleted has been seen once before.
    await now.setItem(gone, { sweepAt: 1, swept: 1 })
    await now.setItem(again, { sweepAt: 1 })
    await now.setItem(last, { sweepAt: 1, attempts: 10 })
    const swept = { requeued: 1, exhausted: 1, announced: 0, removed: 1, failed: 0 }
    expect(await versions.sweepAll()).toEqual(swept)
    expect(await now.item(gone)).toEqual({})
    expect(await now.record(last)).toMatchObject({ status: 'failed', failure: { code: 'EXHAUSTED' } })
    expect(await now.events()).toMatchObject([{ eventId: `${last}:1:failed` }])
    await now.work()
    expect(await now.record(again)).toMatchObject({ status: 'completed', attempts: 1 })
    expect(await now.deadLetters()).toHaveLength(1)
    expect(await versions.sweepAll()).toEqual({ ...swept, requeued: 0, exhausted: 0, removed: 0 })
  })

  it('a job of a later version stays in the queue, and its image as it is', async () => {
    const imageId = await now.submit(await distinct(803))
    const own = (await now.receiveJobs()).Records
    const later = { version: 2, imageId, epoch: 1, more: true }
    const Records = own.map((record) => ({
      ...{ ...record, body: JSON.stringify(later) },
      attributes: { ...record.attributes, ApproximateReceiveCount: '7' },
    }))
    const untouched = await now.item(imageId)
    now.lines.length = 0
    const { batchItemFailures } = await processBatch(now.worker, { Records }, lambdaContext())
    expect(batchItemFailures).toEqual(Records.map(({ messageId }) => ({ itemIdentifier: messageId })))
    expect(await now.item(imageId)).toEqual(untouched)
    expect(await now.deadLetters()).toEqual([])
    const reason = 'The job is of version 2, and this code knows 1 at most.'
    const [messageId] = own.map((record) => record.messageId)
    expect(now.lines).toEqual([{ event: 'newer', imageId, messageId, receives: 7, reason }])
    await now.worker.sqs.send(
      new SendMessageCommand({ QueueUrl: now.worker.jobQueueUrl, MessageBody: own[0]?.body ?? '' }),
    )
    await now.work()
    expect((await now.record(imageId)).status).toBe('completed')
  })

  it('a record of a later version stays as it is, for API, worker and sweeper, until code that knows it comes', async () => {
    const imageId = await now.submit(await distinct(804))
    await now.setItem(imageId, { version: 3, more: 'what this version does not know' })
    const untouched = await now.item(imageId)
    const { Records } = await now.receiveJobs()
    now.lines.length = 0
    const { batchItemFailures } = await processBatch(now.worker, { Records }, lambdaContext())
    expect(batchItemFailures).toHaveLength(1)
    expect(now.lines).toMatchObject([{ event: 'newer', imageId }])
    const muchLater = new Date(Date.now() + 30 * 86_400_000)
    const swept = await sweep({ ...now.worker, now: () => muchLater, giveUpMs: 86_400_000 })
    expect(swept).toEqual({ requeued: 0, exhausted: 0, announced: 0, removed: 0, failed: 1 })
    const answer = await now.app.request(`/images/${imageId}`)
    expect([answer.status, ((await answer.json()) as { code: string }).code]).toEqual([503, 'UNAVAILABLE'])
    expect((await now.app.request(`/images/${imageId}`, { method: 'DELETE' })).status).toBe(503)
    expect(await now.item(imageId)).toEqual(untouched)
    expect(await now.deadLetters()).toEqual([])

    await now.setItem(imageId, { version: 1 })
    expect(await processBatch(now.worker, { Records }, lambdaContext())).toEqual({ batchItemFailures: [] })
    expect((await now.record(imageId)).status).toBe('completed')
  })
})
