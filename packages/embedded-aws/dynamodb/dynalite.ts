import { randomUUID } from 'node:crypto'
import { createRequire } from 'node:module'
import { AwsError, type JsonService } from '../json.ts'
import type { Storage } from '../storage.ts'
import { type Checked, createValidateConditions, refusalOfUse } from './checks.ts'
import { CONDITIONS, type Value } from './conditions.ts'
import { validation } from './errors.ts'
import { createItemSize, refusalOfSize, widenBatches } from './limits.ts'
import { checkNum } from './numbers.ts'
import { quicken } from './parsers.ts'
import { createQueryTable } from './reads.ts'
import { replaceFunctions } from './replaced.ts'
import { atOnce, type Callback, createStore } from './store.ts'
import { createUpdates } from './updates.ts'

/**
 * DynamoDB by the emulator's own modules, on SQLite in place of its LevelDB. LevelDB leaves out silently what it cannot
 * read, continues behind half a record when the disk was full, and has no transactions: an item and its index entries were
 * several writes. Here an operation is one transaction, since none of its steps waits for anything.
 */
const OPERATIONS = new Set(
  'BatchGetItem BatchWriteItem CreateTable DeleteItem DeleteTable DescribeTable GetItem ListTables ListTagsOfResource PutItem Query Scan TagResource UntagResource UpdateItem UpdateTable'.split(
    ' ',
  ),
)
const READS = /^(BatchGet|Describe|Get|List|Query|Scan)/

type Action = (store: object, input: object, callback: Callback) => void

interface Validation {
  types: object
  custom: (input: object, store: object) => string | undefined
}
interface Validations {
  validateAttributeValue: (value: Value) => string | undefined
  checkTypes: (input: object, types: object) => Checked
  checkValidations: (input: object, types: object, custom: Validation['custom'], store: object) => void
}

/** The operations of the emulator. */
export function createDynalite(storage: Storage, region: string, accountId: string): JsonService {
  const store = createStore(storage, region, accountId)
  const load = createRequire(import.meta.resolve('dynalite'))
  quicken(load)
  const itemSize = createItemSize(load)
  const queryTable = createQueryTable({ ...load('./db'), itemSize })
  replaceFunctions(load, './db', { ...CONDITIONS, itemSize, queryTable })
  replaceFunctions(load, './actions/updateItem', createUpdates(load('./db')))
  widenBatches(load)
  // Its own has four digits fewer.
  replaceFunctions(load, './actions/createTable', { uuidV4: randomUUID })
  const validations: Validations = load('./validations')
  const validateConditions = createValidateConditions(
    (value) => validations.validateAttributeValue(value),
    CONDITIONS.compare,
  )
  replaceFunctions(load, './validations', { checkNum, validateConditions })
  // Forgotten there, so a scan was never consistent, and counted for half.
  Object.assign(load('./validations/scan').types, { ConsistentRead: 'Boolean' })
  const { checkTypes, checkValidations } = validations

  return async (operation, input) => {
    if (!OPERATIONS.has(operation))
      throw new AwsError('UnknownOperationException', `The embedded DynamoDB has no ${operation}.`)
    const module = `${operation.charAt(0).toLowerCase()}${operation.slice(1)}`
    const { types, custom }: Validation = load(`./validations/${module}`)
    const action: Action = load(`./actions/${module}`)
    refuseIgnored(operation, input)
    const { ReturnValuesOnConditionCheckFailure: wanted } = input
    try {
      const checked = checkTypes(input, types)
      if (hasNull(checked)) throw validation(EMPTY_VALUE)
      checkValidations(checked, types, custom, store)
      const refused = refusalOfUse(operation, checked)
      if (refused !== undefined) throw validation(refused)
      if (!READS.test(operation))
        return storage.atomically(() => {
          const isNothing = operation === 'UpdateItem' && onlyRemoves(checked) && !('Item' in existing(input))
          return withoutNothing(run(isNothing ? load('./actions/deleteItem') : action, checked))
        })
      return await new Promise<object>((resolve, reject) =>
        action(store, checked, (error, result) => (error ? reject(error) : resolve(result as object))),
      )
    } catch (error) {
      const refusal = refusalOf(error)
      if (refusal?.name.endsWith(FAILED_CONDITION) && wanted === 'ALL_OLD')
        throw new AwsError(refusal.name, refusal.message, refusal.status, existing(input))
      throw refusal ?? error
    }
  }

  function run(action: Action, input: object): object {
    // The tagging operations answer with nothing.
    return Object(atOnce((done) => action(store, input, done)) || {})
  }

  /** Nothing else has run since the condition failed. */
  function existing({ TableName, Key, Item }: Record<string, unknown>): object {
    const describe: Action = load('./actions/describeTable')
    const { Table } = run(describe, { TableName }) as { Table: { KeySchema: Attribute[] } }
    const item = (Key ?? Item) as Record<string, unknown>
    const key = Table.KeySchema.map(({ AttributeName }) => [AttributeName, item[AttributeName]])
    return run(load('./actions/getItem'), { TableName, Key: Object.fromEntries(key) })
  }
}

const EMPTY_VALUE = 'Supplied AttributeValue is empty, must contain exactly one of the supported datatypes'
/** Of a list or a map: members without a value are gone by then. The emulator would fail by it. */
const hasNull = (value: unknown): boolean =>
  value === null || (typeof value === 'object' && Object.values(value).some(hasNull))

interface Attribute {
  AttributeName: string
}
const FAILED_CONDITION = '#ConditionalCheckFailedException'

/** The emulator refuses them only in a table without indexes. Of a wrong type, all is left to it. */
function refuseUnused(input: Record<string, unknown>): void {
  const named = (list: unknown): string[] =>
    Array.isArray(list) ? list.map((one) => String(Object(one).AttributeName)) : []
  const indexes = [input['GlobalSecondaryIndexes'], input['LocalSecondaryIndexes']].flat()
  if (indexes.some((one) => isBare(Object(one).Projection)))
    throw validation(
      'One or more parameter values were invalid: ProjectionType is INCLUDE, but NonKeyAttributes is not specified',
    )
  const used = [input, ...indexes].flatMap((one) => named(Object(one).KeySchema))
  const defined = named(input['AttributeDefinitions'])
  if (defined.some((name) => !used.includes(name)))
    throw validation(
      `One or more parameter values were invalid: Some AttributeDefinitions are not used. AttributeDefinitions: [${defined.join(', ')}], keys used: [${[...new Set(used)].join(', ')}]`,
    )
}

const isBare = (projection: unknown): boolean => {
  const { ProjectionType, NonKeyAttributes } = Object(projection)
  return ProjectionType === 'INCLUDE' && NonKeyAttributes == null
}

/** What the emulator would leave out of a table, with what asks for nothing. */
const IGNORED = new Map<string, (value: unknown) => boolean>(
  Object.entries({
    DeletionProtectionEnabled: (value) => value === false,
    OnDemandThroughput: () => false,
    ReplicaUpdates: () => false,
    ResourcePolicy: () => false,
    SSESpecification: (value) => Object(value).Enabled === false,
    StreamSpecification: (value) => Object(value).StreamEnabled === false,
    TableClass: (value) => value === 'STANDARD',
    Tags: (value) => Array.isArray(value) && value.length === 0,
    WarmThroughput: () => false,
  }),
)

function refuseIgnored(operation: string, input: Record<string, unknown>): void {
  const limit = refusalOfSize(input)
  if (limit !== undefined) throw validation(limit)
  const { ReturnValuesOnConditionCheckFailure: wanted = 'NONE' } = input
  if (wanted !== 'NONE' && wanted !== 'ALL_OLD')
    throw validation(
      `Value '${wanted}' at 'returnValuesOnConditionCheckFailure' failed to satisfy constraint: Member must satisfy enum value set: [ALL_OLD, NONE]`,
    )
  if (operation !== 'CreateTable' && operation !== 'UpdateTable') return
  if (operation === 'CreateTable') refuseUnused(input)
  const refused = Object.entries(input).find(
    ([name, value]) => value != null && IGNORED.get(name)?.(value) === false,
  )
  if (refused !== undefined) throw validation(`The embedded DynamoDB has no ${refused[0]} in ${operation}.`)
  const updates = [input['GlobalSecondaryIndexUpdates'] ?? []].flat()
  const change = updates.flatMap((update) => Object.keys(Object(update))).find((name) => name !== 'Update')
  if (change !== undefined)
    throw validation(`The embedded DynamoDB has no ${change} in GlobalSecondaryIndexUpdates.`)
}

/** Such an update makes no item where there is none. The emulator refuses a change of a key. */
function onlyRemoves({ Key = {}, AttributeUpdates, _updates }: Checked): boolean {
  const actions = [
    ...(_updates?.sections ?? []).map(({ type, path }) => ({
      name: path[0],
      removes: /remove|delete/.test(type),
    })),
    ...Object.entries(AttributeUpdates ?? {}).map(([name, { Action }]) => ({
      name,
      removes: Action === 'DELETE',
    })),
  ]
  return actions.length > 0 && actions.every(({ name, removes }) => removes && !Object.hasOwn(Key, name))
}

/** Where an update is to return old or new values, and there are none, the emulator returns an empty item. */
function withoutNothing<T extends { Attributes?: object }>({ Attributes, ...answer }: T): object {
  return Attributes === undefined || Object.keys(Attributes).length === 0 ? answer : { Attributes, ...answer }
}

/** @returns what DynamoDB itself would refuse, as the emulator throws it */
function refusalOf(error: unknown): AwsError | undefined {
  const { statusCode, body } = error as {
    statusCode?: number
    body?: { __type: string; message?: string; Message?: string }
  }
  if (statusCode === undefined || body === undefined) return undefined
  return new AwsError(body.__type, body.message ?? body.Message ?? '', statusCode)
}
