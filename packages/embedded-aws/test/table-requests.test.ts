import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import {
  type AttributeDefinition,
  CreateTableCommand,
  type CreateTableCommandInput,
  DeleteItemCommand,
  type DescribeTableOutput,
  DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  UpdateItemCommand,
  UpdateTableCommand,
} from '@aws-sdk/client-dynamodb'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { askDynamoDb, embeddedAws, known, region, table } from './started.ts'

const { aws, newFolder, start } = embeddedAws()
let db: DynamoDBClient
const { TableName } = table

beforeAll(async () => {
  db = new DynamoDBClient({ endpoint: aws.endpoint, region, credentials: known })
  await db.send(new CreateTableCommand(table))
})
afterAll(() => db.destroy())

/** As a process leaves a table that is killed right after it has answered: what it does a moment later is not done. */
const leave = (folder: string, status: string): void => {
  const database = new DatabaseSync(join(folder, 'fauxqs.db'))
  const set = `json_set(value, '$.TableStatus', :status, '$.GlobalSecondaryIndexes[0].IndexStatus', :status)`
  database.prepare(`UPDATE dynamodb SET value = ${set} WHERE space = 'table'`).run({ status })
  database.close()
}

it.each([
  ['CREATING', 'ACTIVE'],
  ['UPDATING', 'ACTIVE'],
  ['DELETING', undefined],
])(
  'a table that was %s when the process was killed is so no longer after the next start',
  async (before, after) => {
    const folder = newFolder()
    const described = async ({ endpoint }: { endpoint: string }) => {
      const answer = await askDynamoDb(endpoint, 'DescribeTable', { TableName })
      const { Table } = (await answer.json()) as { Table?: DescribeTableOutput['Table'] }
      return [Table?.TableStatus, Table?.GlobalSecondaryIndexes?.[0]?.IndexStatus]
    }
    const first = await start(folder)
    await askDynamoDb(first.endpoint, 'CreateTable', table)
    await expect.poll(() => described(first)).toEqual(['ACTIVE', 'ACTIVE'])
    await first.stop()
    leave(folder, before)
    const second = await start(folder)
    const found = await described(second)
    await second.stop()
    expect(found).toEqual([after, after])
  },
)

const Key = { id: { S: 'one' } }
const stored = async () => (await db.send(new GetItemCommand({ TableName, Key }))).Item

it('a failed condition gives the item that is there, if that is asked for', async () => {
  const Item = { ...Key, kind: { S: 'a' }, count: { N: '1' } }
  await db.send(new PutItemCommand({ TableName, Item }))
  const failing = { TableName, Key, ConditionExpression: 'attribute_not_exists(id)' }
  const ReturnValuesOnConditionCheckFailure = 'ALL_OLD'
  const UpdateExpression = 'REMOVE kind'
  for (const command of [
    new PutItemCommand({ ...failing, Item: Key, ReturnValuesOnConditionCheckFailure }),
    new UpdateItemCommand({ ...failing, UpdateExpression, ReturnValuesOnConditionCheckFailure }),
    new DeleteItemCommand({ ...failing, ReturnValuesOnConditionCheckFailure }),
  ])
    await expect(db.send(command as DeleteItemCommand)).rejects.toMatchObject({
      name: 'ConditionalCheckFailedException',
      Item,
    })
  const error: unknown = await db.send(new DeleteItemCommand(failing)).catch((error) => error)
  expect(error).toMatchObject({ name: 'ConditionalCheckFailedException', Item: undefined })
  const missing = { ...failing, Key: { id: { S: 'none' } }, ConditionExpression: 'attribute_exists(id)' }
  const nothing: unknown = await db
    .send(new DeleteItemCommand({ ...missing, ReturnValuesOnConditionCheckFailure }))
    .catch((error) => error)
  expect(nothing).toMatchObject({ name: 'ConditionalCheckFailedException', Item: undefined })
  const wrong = { ...failing, ReturnValuesOnConditionCheckFailure: 'ALL_NEW' as never }
  await expect(db.send(new DeleteItemCommand(wrong))).rejects.toMatchObject({ name: 'ValidationException' })
  expect(await stored()).toEqual(Item)
})

it('an expression may have parentheses in parentheses', async () => {
  const nested = (levels: number) => {
    const ConditionExpression = `${'NOT ('.repeat(levels)}id = :id${')'.repeat(levels)}`
    const ExpressionAttributeValues = { ':id': Key.id }
    return { TableName, Key, ConditionExpression, ExpressionAttributeValues }
  }
  await db.send(new PutItemCommand({ TableName, Item: Key }))
  await expect(db.send(new DeleteItemCommand(nested(39)))).rejects.toMatchObject({
    name: 'ConditionalCheckFailedException',
  })
  expect(await stored()).toEqual(Key)
  await db.send(new DeleteItemCommand(nested(40)))
  expect(await stored()).toBeUndefined()
})

it('an item with an empty key of an index is not stored', async () => {
  await db.send(new PutItemCommand({ TableName, Item: { ...Key, kind: { S: 'a' } } }))
  const refused = { name: 'ValidationException', message: expect.stringContaining('IndexKey: kind') }
  const kind = { S: '' }
  await expect(db.send(new PutItemCommand({ TableName, Item: { ...Key, kind } }))).rejects.toMatchObject(
    refused,
  )
  const update = {
    ...{ TableName, Key, UpdateExpression: 'SET kind = :kind' },
    ExpressionAttributeValues: { ':kind': kind },
  }
  await expect(db.send(new UpdateItemCommand(update))).rejects.toMatchObject(refused)
  expect(await stored()).toEqual({ ...Key, kind: { S: 'a' } })
  await db.send(new PutItemCommand({ TableName, Item: { ...Key, other: { S: '' } } }))
})

it.each<[operation: string, where: string, input: object]>([
  ['PutItem', 'an attribute', { Item: { ...Key, other: null } }],
  ['PutItem', 'a list', { Item: { ...Key, other: { L: [null] } } }],
  ['PutItem', 'a set', { Item: { ...Key, other: { SS: ['a', null] } } }],
  ['DeleteItem', 'a key', { Key: { id: null } }],
  [
    'UpdateItem',
    'a value',
    { Key, UpdateExpression: 'SET b = :b', ExpressionAttributeValues: { ':b': null } },
  ],
  [
    'BatchWriteItem',
    'a request',
    { RequestItems: { [TableName]: [{ DeleteRequest: { Key: { id: null } } }] } },
  ],
])('%s with null for %s is refused', async (operation, _, input) => {
  const named = { ...(operation !== 'BatchWriteItem' && { TableName }), ...input }
  const answer = await askDynamoDb(aws.endpoint, operation, named)
  const body = (await answer.json()) as { __type: string }
  expect({ status: answer.status, type: body.__type.split('#').at(-1) }).toEqual({
    ...{ status: 400, type: 'ValidationException' },
  })
})

it('a table with an attribute that is no key of anything is not made', async () => {
  const more = { AttributeName: 'other', AttributeType: 'S' as const }
  const AttributeDefinitions = [...table.AttributeDefinitions, more] as AttributeDefinition[]
  const create = new CreateTableCommand({ ...table, TableName: 'unused', AttributeDefinitions })
  await expect(db.send(create)).rejects.toMatchObject({
    ...{ name: 'ValidationException', message: expect.stringContaining('are not used') },
  })
})

it.each<[string, Partial<CreateTableCommandInput>]>([
  ['tags', { Tags: [{ Key: 'a', Value: 'b' }] }],
  ['a stream', { StreamSpecification: { StreamEnabled: true, StreamViewType: 'NEW_IMAGE' } }],
  ['protection', { DeletionProtectionEnabled: true }],
  ['a key of its own', { SSESpecification: { Enabled: true } }],
  ['another class', { TableClass: 'STANDARD_INFREQUENT_ACCESS' }],
])('a table with %s is refused by name, and not made without', async (_, more) => {
  const [name = ''] = Object.keys(more)
  const refused = { name: 'ValidationException', message: expect.stringContaining(`no ${name} in`) }
  const create = new CreateTableCommand({ ...table, TableName: 'refused', ...more })
  await expect(db.send(create)).rejects.toMatchObject(refused)
  const { Tags, ...changed } = more
  if (Tags === undefined)
    await expect(db.send(new UpdateTableCommand({ TableName, ...changed }))).rejects.toMatchObject(refused)
})
