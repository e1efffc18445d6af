import {
  type AttributeValue,
  CreateTableCommand,
  DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  UpdateItemCommand,
  type UpdateItemCommandInput,
} from '@aws-sdk/client-dynamodb'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { embeddedAws, known, region, table } from './started.ts'

const { aws } = embeddedAws()
let db: DynamoDBClient
const { TableName } = table
const Key = { id: { S: 'one' } }

const n = (...numbers: (number | string)[]): AttributeValue[] =>
  numbers.map((number) => ({ N: String(number) }))
const [one = { N: '' }, two = { N: '' }] = n(1, 2)
const most = { N: '9'.repeat(38) }
const Item = {
  ...{ one, two, most, far: { N: '9e125' }, near: { N: '1e-130' } },
  four: { L: n(0, 1, 2, 3) },
  chart: { M: { one } },
  tags: { SS: ['p', 'q'] },
} satisfies Record<string, AttributeValue>
type Left = Record<string, AttributeValue | undefined>

beforeAll(async () => {
  db = new DynamoDBClient({ endpoint: aws.endpoint, region, credentials: known })
  await db.send(new CreateTableCommand(table))
})
afterAll(() => db.destroy())

const put = () => db.send(new PutItemCommand({ TableName, Item: { ...Key, ...Item } }))
const update = (more: Partial<UpdateItemCommandInput>) =>
  db.send(new UpdateItemCommand({ TableName, Key, ...more }))
const stored = async () => (await db.send(new GetItemCommand({ TableName, Key }))).Item

it.each<[expression: string, changed: Left]>([
  ['REMOVE four[0], four[1]', { four: { L: n(2, 3) } }],
  ['REMOVE four[0] SET four[2] = chart', { four: { L: [...n(1), Item.chart, ...n(3)] } }],
  ['REMOVE four[3] SET four[9] = two, four[7] = chart', { four: { L: [...n(0, 1, 2), Item.chart, two] } }],
  ['SET copied = one ADD one :v', { copied: one, one: { N: '6' } }],
  ['SET copied = four, four[0] = :v', { copied: Item.four, four: { L: n(5, 1, 2, 3) } }],
  ['SET #m = chart, chart.two = :v', { toString: Item.chart, chart: { M: { one, two: { N: '5' } } } }],
  ['SET one = two, two = one', { one: two, two: one }],
  ['SET #m = if_not_exists(#m, one) + :v', { toString: { N: '6' } }],
  ['SET one = one - :v, far = far - far', { one: { N: '-4' }, far: { N: '0' } }],
  ['SET most = most + one', { most: { N: `1${'0'.repeat(38)}` } }],
  ['DELETE tags :s', { tags: { SS: ['q'] } }],
  ['ADD tags :s', { tags: { SS: ['p', 'q'] } }],
])('%s sees the item as it was before', async (UpdateExpression, changed) => {
  await put()
  const uses = (name: string) => UpdateExpression.includes(name)
  await update({
    UpdateExpression,
    ...(uses('#m') && { ExpressionAttributeNames: { '#m': 'toString' } }),
    ...(uses(':v') && { ExpressionAttributeValues: { ':v': { N: '5' } } }),
    ...(uses(':s') && { ExpressionAttributeValues: { ':s': { SS: ['p'] } } }),
  })
  const normal = { far: { N: `9${'0'.repeat(125)}` }, near: { N: `0.${'0'.repeat(129)}1` } }
  expect(await stored()).toEqual({ ...Key, ...Item, ...normal, ...changed })
})

it.each([
  ['SET most = most + :tenth', 'Number overflow'],
  ['ADD most :tenth', 'Number overflow'],
  ['SET one = far + far, two = :tenth', 'Number overflow'],
  ['SET near = near - :tiny', 'Number'],
  ['SET one = chart.lost + :tenth', 'does not exist in the item'],
  ['SET one = chart + :tenth', 'incorrect data type'],
  ['SET lost.one = :tenth', 'document path'],
  ['ADD tags :tenth', 'incorrect data type'],
  ['SET kind = :tenth', 'ndex'],
])('%s is refused, and nothing changes', async (UpdateExpression, message) => {
  await put()
  const before = await stored()
  const values = { ':tenth': { N: '0.1' }, ':tiny': { N: '1.5e-130' } }
  const used = Object.entries(values).filter(([name]) => UpdateExpression.includes(name))
  const refused = { UpdateExpression, ExpressionAttributeValues: Object.fromEntries(used) }
  await expect(update(refused)).rejects.toMatchObject({ name: 'ValidationException' })
  await expect(update(refused)).rejects.toThrow(message)
  expect(await stored()).toEqual(before)
})

it('updates of before there were expressions add, delete and put', async () => {
  await put()
  await update({
    AttributeUpdates: {
      one: { Action: 'ADD', Value: { N: '0.5' } },
      tags: { Action: 'DELETE', Value: { SS: ['p', 'q'] } },
      four: { Action: 'ADD', Value: { L: [two] } },
      chart: { Action: 'DELETE' },
      toString: { Value: two },
      ...{ most: { Action: 'DELETE' }, far: { Action: 'DELETE' }, near: { Action: 'DELETE' } },
    },
  })
  const four = { L: [...Item.four.L, two] }
  expect(await stored()).toEqual({ ...Key, one: { N: '1.5' }, two, four, toString: two })
  const overflow = { one: { Action: 'ADD' as const, Value: { N: '1e-100' } } }
  await expect(update({ AttributeUpdates: overflow })).rejects.toThrow('Number overflow')
})

it('an update that has nothing to tell of tells of no item', async () => {
  await put()
  const nothing = { UpdateExpression: 'REMOVE four[0], nowhere', ReturnValues: 'UPDATED_OLD' as const }
  expect((await update(nothing)).Attributes).toEqual({ four: { L: n(0) } })
  expect((await update({ ...nothing, UpdateExpression: 'REMOVE nowhere' })).Attributes).toBeUndefined()
})
