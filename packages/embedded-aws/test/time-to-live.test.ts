import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, expect, it, onTestFinished } from 'vitest'
import { expireTable } from '../dynamodb/expiry.ts'
import { createDynamoDb } from '../dynamodb/index.ts'
import { writeWhole } from '../files.ts'
import { createStorage } from '../storage.ts'

const folder = mkdtempSync(join(tmpdir(), 'time-to-live-'))
afterAll(() => rmSync(folder, { recursive: true }))

const NOW_SECONDS = 1_800_000_000
const now = () => new Date(NOW_SECONDS * 1_000)
const TableName = 'things'

/** A DynamoDB with one table, whose items expire by the attribute `dies`. */
async function start(file: string) {
  const database = new DatabaseSync(':memory:')
  onTestFinished(() => database.close())
  const storage = createStorage(
    folder,
    database,
    () => {},
    () => {},
  )
  const region = 'us-east-1'
  const write = writeWhole
  const { service, expire } = createDynamoDb({
    ...{ region, accountId: '000000000000', storage, file: join(folder, file), write, now },
  })
  await service('CreateTable', {
    TableName,
    BillingMode: 'PAY_PER_REQUEST',
    KeySchema: [{ AttributeName: 'id', KeyType: 'HASH' }],
    AttributeDefinitions: [{ AttributeName: 'id', AttributeType: 'S' }],
  })
  await expect
    .poll(() => service('DescribeTable', { TableName }))
    .toMatchObject({ Table: { TableStatus: 'ACTIVE' } })
  await service('UpdateTimeToLive', {
    TableName,
    TimeToLiveSpecification: { AttributeName: 'dies', Enabled: true },
  })
  const put = (id: string, dies: number, text = '') =>
    service('PutItem', { TableName, Item: { id: { S: id }, dies: { N: String(dies) }, text: { S: text } } })
  const count = async () => {
    const { Count }: { Count?: number } = await service('Scan', { TableName, Select: 'COUNT' })
    return Count
  }
  return { service, expire, put, count }
}

it('all items that have expired go, also when they are more than one page of a scan', async () => {
  const { expire, put, count } = await start('pages.json')
  // A page is 1 MB.
  for (let at = 0; at < 40; at += 1) await put(`old-${at}`, NOW_SECONDS - 1, 'x'.repeat(60_000))
  await put('new', NOW_SECONDS + 1)
  await expire()
  expect(await count()).toBe(1)
})

it('an item that expires in this very second is still there', async () => {
  const { expire, put, count } = await start('second.json')
  await put('now', NOW_SECONDS)
  await expire()
  expect(await count()).toBe(1)
})

it('an item that is given more time just before it is deleted stays', async () => {
  const { service, put, count } = await start('time.json')
  await put('old', NOW_SECONDS - 1)
  const { Table = {} }: { Table?: object } = await service('DescribeTable', { TableName })
  const inBetween: typeof service = async (operation, input) => {
    if (operation === 'DeleteItem') await put('old', NOW_SECONDS + 60)
    return service(operation, input)
  }
  await expireTable({ dynamoDb: inBetween, now }, Table, 'dies')
  expect(await count()).toBe(1)
})
