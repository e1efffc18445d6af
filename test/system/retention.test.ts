import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  CreateTableCommand,
  DeleteTableCommand,
  DescribeTimeToLiveCommand,
  DynamoDBClient,
  UpdateTimeToLiveCommand,
} from '@aws-sdk/client-dynamodb'
import { ListObjectsV2Command, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { DynamoDBDocumentClient, PutCommand, QueryCommand, ScanCommand } from '@aws-sdk/lib-dynamodb'
import { afterEach, expect, it, vi } from 'vitest'
import { resourceNames } from '../../infrastructure/resources.ts'
import { expireObjects } from '../../local/upkeep.ts'
import { type EmbeddedAws, startEmbeddedAws } from '../../packages/embedded-aws/index.ts'
import { clientOptions, s3Options } from '../../shared/aws.ts'
import { objectKeys, type originalKey } from '../../shared/image.ts'
import { finished, startTestSystem, until } from '../context.ts'
import { startSystem } from '../system.ts'

const photo = await readFile(new URL('../fixtures/grace-hopper.jpg', import.meta.url))
const DAY_MS = 86_400_000
const region = 'us-east-1'
const credentials = { accessKeyId: 'test', secretAccessKey: 'test' }

const undo: (() => unknown)[] = []
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step()
})
function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'image-analyzer-retention-'))
  undo.push(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}
let time = Date.now()
async function startAws(folder: string): Promise<EmbeddedAws & { dynamo: DynamoDBDocumentClient }> {
  const aws = await startEmbeddedAws({
    ...{ port: 0, region, folder, onDropped: () => {} },
    now: () => new Date(time),
  })
  const client = new DynamoDBClient(clientOptions({ endpoint: aws.endpoint, region, credentials }))
  const stop = async (): Promise<void> => {
    client.destroy()
    await aws.stop()
  }
  return { ...aws, dynamo: DynamoDBDocumentClient.from(client), stop }
}

const createTable = () =>
  new CreateTableCommand({
    TableName: 'things',
    BillingMode: 'PAY_PER_REQUEST',
    AttributeDefinitions: ['id', 'sort', 'kind'].map((AttributeName) => ({
      AttributeName,
      AttributeType: 'S' as const,
    })),
    KeySchema: [
      { AttributeName: 'id', KeyType: 'HASH' },
      { AttributeName: 'sort', KeyType: 'RANGE' },
    ],
    GlobalSecondaryIndexes: [
      {
        IndexName: 'byKind',
        KeySchema: [{ AttributeName: 'kind', KeyType: 'HASH' }],
        Projection: { ProjectionType: 'KEYS_ONLY' },
      },
    ],
  })
const update = (AttributeName: string, Enabled: boolean, TableName = 'things') =>
  new UpdateTimeToLiveCommand({ TableName, TimeToLiveSpecification: { AttributeName, Enabled } })

it('a time to live is set, shown and refused as DynamoDB does', async () => {
  const aws = await startAws(newFolder())
  undo.push(aws.stop)
  const { dynamo } = aws
  const shown = async () =>
    (await dynamo.send(new DescribeTimeToLiveCommand({ TableName: 'things' }))).TimeToLiveDescription
  const refusal = (command: UpdateTimeToLiveCommand) =>
    dynamo.send(command).then(
      () => expect.fail('was taken'),
      // With the call, which the client adds.
      ({ name, message }) => `${name}: ${message.replace(' (DynamoDB UpdateTimeToLive things)', '')}`,
    )
  expect(await refusal(update('expiresAt', true))).toMatch(/^ResourceNotFoundException: .*not found/)
  await dynamo.send(createTable())
  expect(await shown()).toEqual({ TimeToLiveStatus: 'DISABLED' })
  expect(await refusal(update('expiresAt', false))).toBe(
    'ValidationException: TimeToLive is already disabled',
  )
  expect(await refusal(update('', true))).toMatch(/^ValidationException: .*AttributeName/)

  expect((await dynamo.send(update('expiresAt', true))).TimeToLiveSpecification).toEqual({
    AttributeName: 'expiresAt',
    Enabled: true,
  })
  expect(await shown()).toEqual({ TimeToLiveStatus: 'ENABLED', AttributeName: 'expiresAt' })
  expect(await refusal(update('expiresAt', true))).toBe('ValidationException: TimeToLive is already enabled')
  expect(await refusal(update('other', true))).toBe(
    'ValidationException: TimeToLive is active on a different AttributeName: current AttributeName is expiresAt',
  )
  await dynamo.send(update('expiresAt', false))
  expect(await shown()).toEqual({ TimeToLiveStatus: 'DISABLED' })

  await dynamo.send(update('expiresAt', true))
  await dynamo.send(new DeleteTableCommand({ TableName: 'things' }))
  await until('the table is gone', () =>
    refusal(update('x', true)).then((text) => /not found/.test(text) || undefined),
  )
  await aws.expireItems()
  await dynamo.send(createTable())
  expect(await shown()).toEqual({ TimeToLiveStatus: 'DISABLED' })
})

it('what has lived its time is deleted, from indexes too, also after a restart; nothing else is', async () => {
  const folder = newFolder()
  const first = await startAws(folder)
  await first.dynamo.send(createTable())
  await first.dynamo.send(update('dies', true))
  const now = Math.floor(time / 1_000)
  const dies = {
    'in an hour': now + 3_600,
    'in a minute': now + 60,
    'four years ago': now - 4 * 365 * 86_400,
    'six years ago': now - 6 * 365 * 86_400,
    'as text': String(now - 60),
    never: undefined,
  }
  for (const [id, at] of Object.entries(dies)) {
    await first.dynamo.send(
      new PutCommand({
        TableName: 'things',
        Item: { id, sort: 'a', kind: 'k', ...(at === undefined ? {} : { dies: at }) },
      }),
    )
  }
  const left = async ({ dynamo }: typeof first): Promise<string[]> => {
    const table = await dynamo.send(new ScanCommand({ TableName: 'things' }))
    const index = await dynamo.send(
      new QueryCommand({
        ...{ TableName: 'things', IndexName: 'byKind', KeyConditionExpression: 'kind = :k' },
        ExpressionAttributeValues: { ':k': 'k' },
      }),
    )
    const [ids, indexed] = [table, index].map(({ Items = [] }) => Items.map(({ id }) => id as string).sort())
    expect(indexed).toEqual(ids)
    return ids ?? []
  }
  await first.expireItems()
  expect(await left(first)).toEqual(['as text', 'in a minute', 'in an hour', 'never', 'six years ago'])
  await first.stop()

  time += 61_000
  const second = await startAws(folder)
  await second.expireItems()
  expect(await left(second)).toEqual(['as text', 'in an hour', 'never', 'six years ago'])
  await second.stop()

  writeFileSync(join(folder, 'ttl.json'), '{"things":1}')
  await expect(startAws(folder)).rejects.toThrow(
    `The times to live in ${join(folder, 'ttl.json')} cannot be read`,
  )
})

it('objects go after the days of retention, and uploads that nobody took in after 15 days at most', async () => {
  const system = await startTestSystem()
  undo.push(system.stop)
  const { s3, bucket } = system.worker
  const imageId = await system.submit(photo)
  await system.work()
  await s3.send(new PutObjectCommand({ Bucket: bucket, Key: 'uploads/left', Body: 'a' }))
  const keysAfter = async (days: number, retention?: number, giveUpDays = 14): Promise<string[]> => {
    const now = () => new Date(Date.now() + days * DAY_MS)
    await expireObjects({ s3, bucket, now, giveUpMs: giveUpDays * DAY_MS }, retention)
    const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket: bucket }))
    return Contents.map(({ Key = '' }) => Key).sort()
  }
  const kept = [`originals/${imageId}`, `previews/${imageId}.jpg`, `thumbnails/${imageId}.jpg`]
  expect(await keysAfter(14.9)).toEqual([...kept, 'uploads/left'])
  // As long as GIVE_UP_DAYS leaves an image its time, it has its only copy; shorter ones leave a retry to its owner.
  expect(await keysAfter(60.9, undefined, 60)).toEqual([...kept, 'uploads/left'])
  expect(await keysAfter(14.9, undefined, 1)).toEqual([...kept, 'uploads/left'])
  expect(await keysAfter(15.1)).toEqual(kept)
  expect(await keysAfter(29.9, 30)).toEqual(kept)
  await s3.send(new PutObjectCommand({ Bucket: bucket, Key: 'uploads/left', Body: 'a' }))
  expect(await keysAfter(15.1, 30)).toEqual(kept)
  await s3.send(new PutObjectCommand({ Bucket: bucket, Key: 'uploads/left', Body: 'a' }))
  expect(await keysAfter(2, 1)).toEqual([])
})

it('with RETENTION_DAYS a system keeps neither record nor objects for longer', async () => {
  const trouble: unknown[] = []
  const log = { info: () => {}, warn: (...said: unknown[]) => trouble.push(said), error: () => {} }
  const DATA_DIR = newFolder()
  const start = async () => {
    const system = await startSystem(
      {
        REKOGNITION: 'stand-in',
        PORT: '0',
        AWS_PORT: '0',
        DATA_DIR,
        RETENTION_DAYS: '7',
        INIT_CWD: DATA_DIR,
      },
      log,
    )
    undo.push(system.stop)
    return system
  }
  const first = await start()
  const body = new Uint8Array(photo)
  const posted = await fetch(`${first.url}/images`, {
    ...{ method: 'POST', body, headers: { 'content-type': 'image/jpeg' } },
  })
  const { imageId } = (await posted.json()) as { imageId: Parameters<typeof originalKey>[0] }
  expect(await finished(first.url, imageId)).toMatchObject({ status: 'completed' })
  await first.stop()
  expect(existsSync(join(DATA_DIR, 'ttl.json'))).toBe(true)

  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 8 * DAY_MS, shouldAdvanceTime: true })
  undo.push(() => vi.useRealTimers())
  const { target } = await start()
  const s3 = new S3Client(s3Options(target))
  const dynamo = DynamoDBDocumentClient.from(new DynamoDBClient(clientOptions(target)))
  undo.push(() => {
    for (const client of [s3, dynamo]) client.destroy()
  })
  const { bucket, table } = resourceNames()
  await until('the objects are gone', async () => {
    const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket: bucket }))
    const keys = Contents.map(({ Key }) => Key)
    return objectKeys(imageId).some((key) => keys.includes(key)) ? undefined : true
  })
  await until('the record is gone', async () => {
    const { Items = [] } = await dynamo.send(new ScanCommand({ TableName: table }))
    return Items.some((item) => item['imageId'] === imageId) ? undefined : true
  })
  expect(trouble).toEqual([])
})
