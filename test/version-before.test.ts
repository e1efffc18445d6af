import { readFileSync } from 'node:fs'
import { CreateTableCommand, type CreateTableCommandInput, DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { CreateBucketCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { DynamoDBDocumentClient, PutCommand, paginateScan } from '@aws-sdk/lib-dynamodb'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { resourceNames } from '../infrastructure/resources.ts'
import { startEmbeddedAws } from '../packages/embedded-aws/index.ts'
import { clientOptions, dynamoTranslation, s3Options } from '../shared/aws.ts'
import { finished, until } from './context.ts'
import { distinct } from './pictures.ts'
import { newFolder } from './started.ts'
import { type System, startSystem } from './system.ts'

/**
 * A table as the version before has left it, which kept labels as items of the table of records, found by the index
 * `byLabel`: recorded from that version, with images in each state, one that it had completed and not announced, and one
 * that it had deleted and not taken out of the index.
 */
const { definition, images, items } = JSON.parse(
  readFileSync(new URL('fixtures/table-of-version-before.json', import.meta.url), 'utf8'),
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
  system = await startSystem(settings, { info: () => {}, warn: () => {}, error: () => {} })
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
