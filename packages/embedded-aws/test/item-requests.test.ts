import { beforeAll, expect, it } from 'vitest'
import { askDynamoDb, embeddedAws, table } from './started.ts'

const { aws } = embeddedAws()
const TableName = 'things'
const Key = { id: { S: 'one' }, part: { S: 'a' } }
const number = { N: '1' }
const document = { L: [number] }
const less = (times: number) => Array(times).fill('part < id').join(' OR ')
const values = (count: number) =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`:v${index}`, { N: `${index}` }]))

/** What is answered, or the name and the text of the error. */
async function send(operation: string, input: object): Promise<Record<string, unknown>> {
  const named = { ...(!/Tag/.test(operation) && { TableName }), ...input }
  const answer = await askDynamoDb(aws.endpoint, operation, named)
  const body = (await answer.json()) as Record<string, unknown>
  if (answer.ok) return body
  return { refused: `${String(body['__type']).split('#').at(-1)}: ${body['message']}` }
}

beforeAll(async () => {
  const attribute = (AttributeName: string) => ({ AttributeName, AttributeType: 'S' })
  const schema = (partition: string, sort: string) => [
    { AttributeName: partition, KeyType: 'HASH' },
    { AttributeName: sort, KeyType: 'RANGE' },
  ]
  await send('CreateTable', {
    BillingMode: 'PAY_PER_REQUEST',
    AttributeDefinitions: ['id', 'part', 'kind'].map(attribute),
    GlobalSecondaryIndexes: [
      {
        IndexName: 'of-kind',
        KeySchema: schema('kind', 'part'),
        Projection: { ProjectionType: 'KEYS_ONLY' },
      },
    ],
    KeySchema: schema('id', 'part'),
    LocalSecondaryIndexes: [
      { IndexName: 'by-kind', KeySchema: schema('id', 'kind'), Projection: { ProjectionType: 'KEYS_ONLY' } },
    ],
  })
  await send('PutItem', { Item: { ...Key, kind: { S: 'k' }, more: number } })
})

it.each<[operation: string, message: string, input: object]>([
  ['DeleteItem', 'ReturnValues', { Key, ReturnValues: 'ALL_NEW' }],
  ['UpdateItem', 'enum value set', { Key, AttributeUpdates: { a: { Action: 'CHANGE', Value: number } } }],
  [
    'UpdateItem',
    'ConditionalOperator cannot',
    { Key, AttributeUpdates: { a: { Value: number } }, ConditionalOperator: 'OR' },
  ],
  ['Scan', 'ConditionalOperator cannot', { ConditionalOperator: 'AND' }],
  ['Scan', 'SPECIFIC_ATTRIBUTES', { Select: 'SPECIFIC_ATTRIBUTES' }],
  ['Scan', 'only the Count', { Select: 'COUNT', ProjectionExpression: 'id' }],
  ['Scan', 'ALL_PROJECTED_ATTRIBUTES', { Select: 'ALL_PROJECTED_ATTRIBUTES' }],
  ['Scan', 'totalSegments', { TotalSegments: 1_000_001, Segment: 0 }],
  [
    'Scan',
    'Invalid FilterExpression: Incorrect operand type',
    {
      FilterExpression: 'NOT (more = :n OR more < :d)',
      ExpressionAttributeValues: { ':n': number, ':d': document },
    },
  ],
  [
    'PutItem',
    'Invalid ConditionExpression: Incorrect operand type',
    {
      Item: Key,
      ConditionExpression: 'more BETWEEN :d AND :d',
      ExpressionAttributeValues: { ':d': document },
    },
  ],
  ['Scan', 'distinct .* operator: IN', { FilterExpression: 'more.a IN (part, more.a)' }],
  ['Scan', 'distinct .* operator: BETWEEN', { FilterExpression: 'NOT more BETWEEN part AND more' }],
  ['Scan', 'too many operators; operator count: 301', { FilterExpression: less(151) }],
  [
    'Scan',
    'too many operators; operator count: 301',
    { FilterExpression: `${'not '.repeat(1_000)}id < part` },
  ],
  [
    'PutItem',
    'Invalid ConditionExpression: .* number of operands: 101',
    {
      Item: Key,
      ConditionExpression: `more IN (${Object.keys(values(101))})`,
      ExpressionAttributeValues: values(101),
    },
  ],
  [
    'Query',
    'empty string value. Key: id',
    { KeyConditionExpression: 'id = :e', ExpressionAttributeValues: { ':e': { S: '' } } },
  ],
  [
    'PutItem',
    'CONTAINS is not valid for L',
    { Item: Key, Expected: { more: { ComparisonOperator: 'CONTAINS', AttributeValueList: [document] } } },
  ],
  [
    'Scan',
    'BEGINS_WITH is not valid for N',
    { ScanFilter: { more: { ComparisonOperator: 'BEGINS_WITH', AttributeValueList: [number] } } },
  ],
  [
    'Scan',
    'Invalid number of argument',
    { ScanFilter: { more: { ComparisonOperator: 'BETWEEN', AttributeValueList: [number] } } },
  ],
  [
    'Scan',
    'lower bound is greater',
    { ScanFilter: { more: { ComparisonOperator: 'BETWEEN', AttributeValueList: [{ N: '2' }, number] } } },
  ],
  [
    'TagResource',
    'Member must not be null',
    { ResourceArn: 'arn:aws:dynamodb:eu-central-1:000000000000:table/things', Tags: [{ Key: 'a' }] },
  ],
])('%s is refused: %s', async (operation, message, input) => {
  const refused = expect.stringMatching(new RegExp(`^ValidationException: .*${message}`))
  expect(await send(operation, input)).toEqual({ refused })
})

it.each([
  ['ListTagsOfResource', {}],
  ['TagResource', { Tags: [{ Key: 'a', Value: 'b' }] }],
  ['UntagResource', { TagKeys: ['a'] }],
])('%s looks at no text that is far from the ARN of a table', async (operation, input) => {
  const refused = expect.stringContaining('Invalid ResourceArn')
  // Each further colon makes the emulator's own look at it longer: 150 took it half a minute.
  for (const ResourceArn of [':'.repeat(40), `arn:aws:dynamodb:${'a'.repeat(1_300)}:1:table/a`])
    expect(await send(operation, { ResourceArn, ...input })).toEqual({ refused })
})

it('an expression has 300 operators and 100 operands of IN', async () => {
  const FilterExpression = less(150)
  expect(await send('Scan', { FilterExpression, Select: 'COUNT' })).toMatchObject({ Count: 1 })
  const ExpressionAttributeValues = values(100)
  const among = `more IN (${Object.keys(ExpressionAttributeValues)})`
  const scan = { FilterExpression: among, ExpressionAttributeValues, Select: 'COUNT' }
  expect(await send('Scan', scan)).toMatchObject({ Count: 1 })
})

it('a condition may be negated more than once', async () => {
  for (const [nots, Count] of [
    ['NOT', 1],
    ['NOT NOT', 0],
    ['not NOT Not', 1],
    ['NOT (NOT', 0],
  ]) {
    const FilterExpression = `${nots} id = part${String(nots).includes('(') ? ')' : ''} AND NOT NOT part < id`
    const scan = { FilterExpression, Select: 'COUNT' }
    expect(await send('Scan', scan)).toMatchObject({ Count })
  }
})

it('a table has an id', async () => {
  const { Table } = await send('DescribeTable', {})
  expect(Object(Table).TableId).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
})

it('a filter of before there were expressions compares with any type', async () => {
  const filter = { ComparisonOperator: 'NE', AttributeValueList: [{ BOOL: true }] }
  expect(await send('Scan', { ScanFilter: { more: filter }, Select: 'COUNT' })).toMatchObject({ Count: 1 })
})

it('of a local index, what it has not is read from the table', async () => {
  const query = {
    IndexName: 'by-kind',
    KeyConditionExpression: 'id = :id',
    ExpressionAttributeValues: { ':id': Key.id },
  }
  expect(await send('Query', { ...query, ProjectionExpression: 'more, kind' })).toMatchObject({
    Items: [{ more: number, kind: { S: 'k' } }],
  })
  expect(await send('Query', query)).toMatchObject({ Items: [{ ...Key, kind: { S: 'k' } }] })
})

it.each([
  ['by-kind', 'id', 'by-kind does not project one or more filter attributes: \\[more, other]'],
  ['of-kind', 'kind', 'of-kind does not project one or more filter attributes: \\[more, other]'],
])(
  'a query of the index %s does not filter by what is not in it, and a scan finds nothing',
  async (IndexName, key, message) => {
    const scan = {
      ...{ IndexName, FilterExpression: 'more = :k AND #other = :k' },
      ExpressionAttributeNames: { '#other': 'other' },
      ExpressionAttributeValues: { ':k': Key.id },
    }
    expect(await send('Query', { ...scan, KeyConditionExpression: `${key} = :k` })).toEqual({
      refused: expect.stringMatching(message),
    })
    expect(await send('Scan', scan)).toMatchObject({ Count: 0, ScannedCount: 1 })
  },
)

it('a global index shows nothing that is not in it', async () => {
  const scan = { IndexName: 'of-kind', ProjectionExpression: 'more, lost[1], id' }
  const refused = expect.stringContaining('Global secondary index of-kind does not project [lost, more]')
  expect(await send('Scan', scan)).toEqual({ refused })
  const query = { ...scan, KeyConditionExpression: 'kind = :k', ExpressionAttributeValues: { ':k': Key.id } }
  expect(await send('Query', query)).toEqual({ refused })
})

it.each<[kind: string, update: object, condition: object]>([
  [
    'an expression',
    {
      UpdateExpression: 'REMOVE more, lost.nested DELETE tags :s',
      ExpressionAttributeValues: { ':s': { SS: ['a'] } },
    },
    { ConditionExpression: 'attribute_exists(id)' },
  ],
  [
    'old updates',
    { AttributeUpdates: { more: { Action: 'DELETE' } } },
    { Expected: { id: { Value: { S: 'other' } } } },
  ],
])('an update by %s that only removes makes no item', async (_, update, condition) => {
  const other = { ...Key, id: { S: 'other' } }
  expect(await send('UpdateItem', { Key: other, ...update, ReturnValues: 'ALL_NEW' })).toEqual({})
  expect(await send('GetItem', { Key: other })).toEqual({})
  expect(await send('UpdateItem', { Key: other, ...update, ...condition })).toEqual({
    refused: expect.stringContaining('ConditionalCheckFailedException'),
  })
  const removesKey = { Key: other, UpdateExpression: 'REMOVE part' }
  expect(await send('UpdateItem', removesKey)).toEqual({
    refused: expect.stringContaining('part of the key'),
  })
})

/** A list in a list and so on, with as many lists. */
function nested(levels: number): object {
  let value: object = number
  for (let level = 0; level < levels; level += 1) value = level % 2 ? { M: { a: value } } : { L: [value] }
  return value
}
const long = (bytes: number) => `${'é'.repeat(bytes / 2)}x`
/** DynamoDB's 400 KB are of bytes, also of names, as are its units and pages. */
const tooMany = { S: long(409_600) }

it.each<[what: string, message: string, operation: string, input: object]>([
  ['a long expression', 'size: 4097', 'Scan', { ProjectionExpression: long(4_096) }],
  ['a deep condition', 'Expression size', 'Scan', { FilterExpression: `${'('.repeat(1e5)}a = b` }],
  [
    'a long expression of a batch',
    'size: 4097',
    'BatchGetItem',
    {
      TableName: undefined,
      RequestItems: { [TableName]: { Keys: [Key], ProjectionExpression: long(4_096) } },
    },
  ],
  ['an item of more bytes than characters', 'Item size', 'PutItem', { Item: { ...Key, more: tooMany } }],
  [
    'such an item of a batch',
    'Item size',
    'BatchWriteItem',
    {
      TableName: undefined,
      RequestItems: {
        [TableName]: [{ PutRequest: { Item: { ...Key, more: { M: { a: { L: [tooMany] } } } } } }],
      },
    },
  ],
  [
    'such an item after an update',
    'Item size',
    'UpdateItem',
    { Key, UpdateExpression: 'SET more = :v', ExpressionAttributeValues: { ':v': tooMany } },
  ],
  ['an attribute without a name', 'Empty attribute name', 'PutItem', { Item: { ...Key, '': number } }],
  ['a long name', '65536', 'PutItem', { Item: { ...Key, [long(65_536)]: number } }],
  ['a deep item', 'Nesting Levels', 'PutItem', { Item: { ...Key, more: nested(32) } }],
  ['an item far too deep', 'Nesting Levels', 'PutItem', { Item: { ...Key, more: nested(2_000) } }],
  [
    'a deep item of a batch',
    'Nesting Levels',
    'BatchWriteItem',
    {
      TableName: undefined,
      RequestItems: { [TableName]: [{ PutRequest: { Item: { ...Key, more: nested(32) } } }] },
    },
  ],
  [
    'a deep value',
    'Nesting Levels',
    'UpdateItem',
    { Key, UpdateExpression: 'SET more = :v', ExpressionAttributeValues: { ':v': nested(32) } },
  ],
  ['a key far too deep', 'Nesting Levels', 'GetItem', { Key: { id: nested(2_000) } }],
  [
    'a condition far too deep',
    'Nesting Levels',
    'PutItem',
    { Item: Key, Expected: { more: { Value: nested(2_000) } } },
  ],
  [
    'an index that has some more, and none',
    'NonKeyAttributes is not specified',
    'CreateTable',
    {
      ...{ ...table, TableName: 'bare' },
      GlobalSecondaryIndexes: table.GlobalSecondaryIndexes.map((index) => ({
        ...{ ...index, Projection: { ProjectionType: 'INCLUDE' } },
      })),
    },
  ],
  ['a long key of an index', 'limit of2048', 'PutItem', { Item: { ...Key, kind: { S: long(2_048) } } }],
  [
    'a consistent scan of a global index',
    'onsistent',
    'Scan',
    { IndexName: 'of-kind', ConsistentRead: true },
  ],
  [
    'an index more',
    'no Create in',
    'UpdateTable',
    { GlobalSecondaryIndexUpdates: [{ Create: { IndexName: 'new' } }] },
  ],
  [
    'an index less',
    'no Delete in',
    'UpdateTable',
    { GlobalSecondaryIndexUpdates: [{ Delete: { IndexName: 'of-kind' } }] },
  ],
])('%s is refused: %s', async (_, message, operation, input) => {
  expect(await send(operation, input)).toEqual({
    refused: expect.stringMatching(new RegExp(`^ValidationException: .*${message}`)),
  })
})

it('an item may be nearly as deep, and its names and keys as long, as is said', async () => {
  const Item = { ...Key, kind: { S: long(1_022) }, more: nested(31), [long(65_534)]: number }
  expect(await send('PutItem', { Item })).toEqual({})
  expect(await send('GetItem', { Key })).toEqual({ Item })
  expect(await send('Scan', { FilterExpression: `id = id${' '.repeat(4_089)}` })).toMatchObject({
    refused: expect.stringContaining('distinct'),
  })
})

it.each([
  ['+3', '3'],
  ['-0', '0'],
  ['0e500', '0'],
  ['00012.3400', '12.34'],
  ['.5', '0.5'],
  ['-5.', '-5'],
  ['1E+5', '100000'],
  ['-1.5e-3', '-0.0015'],
  ['1e-3', '0.001'],
  ['9.99e125', `999${'0'.repeat(123)}`],
  ['1e-130', `0.${'0'.repeat(129)}1`],
  ['1234567890123456789012345678901234567800', '1234567890123456789012345678901234567800'],
])('the number %s is stored as %s', async (N, stored) => {
  await send('PutItem', { Item: { ...Key, more: { N } } })
  expect(await send('GetItem', { Key, ProjectionExpression: 'more' })).toEqual({
    Item: { more: { N: stored } },
  })
})

it('what is written and read counts by its bytes, those of names among them', async () => {
  const Item = { id: { S: 'bytes' }, part: { S: 'a' }, [long(600)]: { S: long(600) } }
  expect(await send('PutItem', { Item, ReturnConsumedCapacity: 'TOTAL' })).toEqual({
    ConsumedCapacity: { TableName, CapacityUnits: 2 },
  })
  for (const part of ['a', 'b', 'c', 'd'])
    await send('PutItem', { Item: { id: { S: 'page' }, part: { S: part }, more: { S: long(400_000) } } })
  const page = { KeyConditionExpression: 'id = :id', ExpressionAttributeValues: { ':id': { S: 'page' } } }
  expect(await send('Query', page)).toMatchObject({ Count: 3, LastEvaluatedKey: { part: { S: 'c' } } })
})

it('a batch has 16 MB of items, and asks for the others as it was asked', async () => {
  const keys = Array.from({ length: 42 }, (_, index) => ({ id: { S: 'batch' }, part: { S: `${index}` } }))
  await Promise.all(keys.map((key) => send('PutItem', { Item: { ...key, more: { S: long(400_000) } } })))
  const asked = { ProjectionExpression: 'part, #m', ExpressionAttributeNames: { '#m': 'more' } }
  const batch = { [TableName]: { Keys: keys, ConsistentRead: true, ...asked } }
  const answer = await send('BatchGetItem', { TableName: undefined, RequestItems: batch })
  expect(Object(answer['Responses'])[TableName]).toHaveLength(41)
  const others = { [TableName]: { Keys: [expect.any(Object)], ConsistentRead: true, ...asked } }
  expect(answer['UnprocessedKeys']).toEqual(others)
})

it.each([
  ...['', '-', '.', '1e', ' 1', '1 ', '0x1', 'NaN', '1_0', '--1', '1.2.3'].map((N) => [N, 'numeric value']),
  ...['1e126', '-1e99999999999'].map((N) => [N, 'overflow']),
  ...['1e-131', '1e-99999999999'].map((N) => [N, 'underflow']),
  ['123456789012345678901234567890123456789', '38 significant digits'],
])('%j is no number', async (N, message) => {
  const refused = expect.stringContaining(String(message))
  expect(await send('PutItem', { Item: { ...Key, more: { N } } })).toEqual({ refused })
})
