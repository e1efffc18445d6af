import {
  type AttributeValue,
  CreateTableCommand,
  DynamoDBClient,
  PutItemCommand,
  type PutItemCommandInput,
  ScanCommand,
} from '@aws-sdk/client-dynamodb'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { embeddedAws, known, region, table } from './started.ts'

const { aws } = embeddedAws()
let db: DynamoDBClient
const { TableName } = table

const bytes = (...values: number[]) => ({ B: new Uint8Array(values) })
const list = (...values: AttributeValue[]): AttributeValue => ({ L: values })
const document = { M: { a: list({ N: '1' }, { S: 'x' }), b: { SS: ['p', 'q'] } } }
const Item: Record<string, AttributeValue> = {
  id: { S: 'one' },
  aText: { S: 'a\uffff' },
  noText: { S: '' },
  aNumber: { N: '10' },
  same: { N: '10.0' },
  aBlob: bytes(0xff, 0xfe, 1),
  aSet: { NS: ['1', '2'] },
  aList: list({ BOOL: true }, document, { NS: ['1', '2'] }),
  aMap: document,
}

beforeAll(async () => {
  db = new DynamoDBClient({ endpoint: aws.endpoint, region, credentials: known })
  await db.send(new CreateTableCommand(table))
  await db.send(new PutItemCommand({ TableName, Item }))
})
afterAll(() => db.destroy())

const put = (input: Partial<PutItemCommandInput>) =>
  db.send(new PutItemCommand({ TableName, Item, ...input })).then(
    () => true,
    (error) => (error.name === 'ConditionalCheckFailedException' ? false : error),
  )
const found = (input: object) =>
  db.send(new ScanCommand({ TableName, ...input })).then(({ Count }) => Count === 1)

it.each<[condition: string, value: AttributeValue | undefined, holds: boolean]>([
  ['aMap = :v', { M: { b: { SS: ['q', 'p'] }, a: list({ N: '1' }, { S: 'x' }) } }, true],
  ['aMap <> :v', document, false],
  ['aMap = :v', { M: { ...document.M, c: { S: '' } } }, false],
  ['aMap.a = :v', list({ N: '1.0' }, { S: 'x' }), true],
  ['aMap.a = :v', list({ S: 'x' }, { N: '1' }), false],
  ['aMap IN (aNumber, :v)', document, true],
  ['aList[1] = aMap', undefined, true],
  ['contains(aList, :v)', { BOOL: true }, true],
  ['contains(aList, :v)', document, true],
  ['contains(aList, :v)', { NS: ['2', '1'] }, true],
  ['contains(aSet, :v)', { N: '2.0' }, true],
  ['contains(aBlob, :v)', bytes(0xfe, 1), true],
  ['contains(aBlob, :v)', bytes(0xfd), false],
  ['begins_with(aBlob, :v)', bytes(0xff), true],
  ['begins_with(aBlob, :v)', bytes(0xfe), false],
  ['aBlob < :v', bytes(0xff, 0xff), true],
  // By UTF-16 it would be the other way round.
  ['aText < :v', { S: 'a\u{1f600}' }, true],
  ['aNumber BETWEEN :v AND same', { N: '9.9' }, true],
  ['size(noText) = :v', { N: '0' }, true],
  ['lost = nowhere', undefined, false],
  ['lost <> nowhere', undefined, true],
  ['lost < nowhere', undefined, false],
  ['aText IN (lost, nowhere)', undefined, false],
  ['contains(lost, nowhere)', undefined, false],
  ['attribute_not_exists(toString)', undefined, true],
  ['NOT lost.toString = aText', undefined, true],
])('%s with %j: %s', async (condition, value, holds) => {
  const values = value === undefined ? {} : { ExpressionAttributeValues: { ':v': value } }
  expect(await put({ ConditionExpression: condition, ...values })).toBe(holds)
  expect(await found({ FilterExpression: condition, ...values })).toBe(holds)
})

it.each<[name: string, expected: PutItemCommandInput['Expected'], holds: boolean]>([
  ['a value that is another one', { aNumber: { Exists: true, Value: { N: '11' } } }, false],
  ['a value that is there', { aNumber: { Value: { N: '10.0' } } }, true],
  ['no attribute where there is one', { aNumber: { Exists: false } }, false],
  [
    'an attribute that is not there not to contain something',
    { lost: { ComparisonOperator: 'NOT_CONTAINS', AttributeValueList: [{ S: 'x' }] } },
    false,
  ],
])('Expected is %s: %j', async (_, Expected, holds) => {
  expect(await put({ Expected })).toBe(holds)
})

it('one of several old conditions is enough with OR', async () => {
  const wrong = { ComparisonOperator: 'EQ' as const, AttributeValueList: [{ N: '11' }] }
  const right = { ComparisonOperator: 'EQ' as const, AttributeValueList: [{ N: '10' }] }
  const ConditionalOperator = 'OR' as const
  expect(await put({ ConditionalOperator, Expected: { aNumber: wrong, same: right } })).toBe(true)
  expect(await put({ ConditionalOperator, Expected: { aNumber: wrong, same: wrong } })).toBe(false)
  expect(await found({ ConditionalOperator, ScanFilter: { aNumber: wrong, same: right } })).toBe(true)
  expect(await found({ ConditionalOperator, ScanFilter: { aNumber: wrong, same: wrong } })).toBe(false)
})
