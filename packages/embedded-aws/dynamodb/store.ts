import type { DatabaseSync } from 'node:sqlite'
import { Readable } from 'node:stream'
import type { Storage } from '../storage.ts'

export type Callback = (error: unknown, value?: unknown) => void

/**
 * @param ask calls back at once
 * @returns what it is called back with
 * @throws that error
 */
export function atOnce(ask: (done: Callback) => void): unknown {
  let outcome: { error: unknown; value: unknown } | undefined
  ask((error, value) => {
    outcome = { error, value }
  })
  if (outcome === undefined) throw new Error('The emulator did not answer at once, so it is no transaction.')
  if (outcome.error) throw outcome.error
  return outcome.value
}

const LONGEST_ITEM_BYTES = 409_600
const LONGEST_KEY_BYTES = { HASH: 2_048, RANGE: 1_024 }

/** The emulator's store, with its names. */
export function createStore({ database, guard }: Storage, region: string, accountId: string): object {
  database.exec(`CREATE TABLE IF NOT EXISTS dynamodb (
    space TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (space, key)
  )`)
  const spaces = new Map<string, ReturnType<typeof createSpace>>()
  const space = (name: string): ReturnType<typeof createSpace> => {
    const known = spaces.get(name) ?? createSpace(database, guard, name)
    spaces.set(name, known)
    return known
  }
  /** As they were when an operation asked last: each asks first. */
  const tables = new Map<string, Table>()
  const index = (kind: string, table: string, name: string) => `index-${kind.toLowerCase()}~${table}~${name}`
  const tableDb = { ...space('table'), awsAccountId: accountId, awsRegion: region }
  settle(tableDb)

  /** With `false`, as the emulator calls it then, also a table that is being made or deleted. */
  function getTable(name: string, ...[first, second]: [Callback] | [false, Callback]): void {
    const callback = first === false ? second : first
    tableDb.get(name, (error, found) => {
      const table = found as Table | undefined
      const changes = ['CREATING', 'DELETING'].includes(table?.TableStatus ?? '')
      if (error) callback?.(error)
      else if (table === undefined || (first !== false && changes))
        callback?.(tableNotFound(name, first === false))
      else {
        tables.set(name, table)
        callback?.(null, table)
      }
    })
  }

  /** No index has an item with an empty key, and DynamoDB stores none (developer guide, "Working with items"). */
  function getItemDb(name: string): object {
    const items = space(`item-${name}`)
    const { GlobalSecondaryIndexes = [], LocalSecondaryIndexes = [] } = tables.get(name) ?? {}
    const indexes = [...GlobalSecondaryIndexes, ...LocalSecondaryIndexes]
    const put: typeof items.put = (key, item, callback) => {
      const refused = indexes.flatMap((index) => refusalOf(item as Item, index))[0]
      if (refused === undefined) items.put(key, item, callback)
      else callback(refused)
    }
    return { ...items, put }
  }

  return {
    options: { createTableMs: 0, deleteTableMs: 0, updateTableMs: 0, maxItemSize: LONGEST_ITEM_BYTES },
    tableDb,
    getTable,
    getItemDb,
    deleteItemDb: (table: string, callback: Callback) => space(`item-${table}`).clear(callback),
    getIndexDb: (kind: string, table: string, name: string) => space(index(kind, table, name)),
    deleteIndexDb: (kind: string, table: string, name: string, callback: Callback) =>
      space(index(kind, table, name)).clear(callback),
    getTagDb: (table: string) => space(`tag-${table}`),
    deleteTagDb: (table: string, callback: Callback) => space(`tag-${table}`).clear(callback),
  }
}

/** A table is whole, or gone, a moment after the answer says that it will be; a process that was killed did not get there. */
function settle({ values, put, del }: ReturnType<typeof createSpace>): void {
  for (const table of [...values()] as Table[]) {
    const { TableName, TableStatus, GlobalSecondaryIndexes = [] } = table
    if (TableStatus === 'ACTIVE') continue
    for (const index of GlobalSecondaryIndexes) index.IndexStatus = 'ACTIVE'
    atOnce((done) =>
      TableStatus === 'DELETING'
        ? del(TableName, done)
        : put(TableName, { ...table, TableStatus: 'ACTIVE' }, done),
    )
  }
}

interface Index {
  IndexName: string
  IndexStatus?: string
  KeySchema: { AttributeName: string; KeyType: keyof typeof LONGEST_KEY_BYTES }[]
}
interface Table {
  TableName: string
  TableStatus: string
  GlobalSecondaryIndexes?: Index[]
  LocalSecondaryIndexes?: Index[]
}
type Item = Record<string, { S?: string; B?: string } | undefined>

/** Why an index cannot have an item: an error for each of its keys that is wrong. */
const refusalOf = (item: Item, { IndexName, KeySchema }: Index): Error[] =>
  KeySchema.flatMap(({ AttributeName, KeyType }) => {
    const { S, B } = item[AttributeName] ?? {}
    if (S === '' || B === '') return emptyKey(IndexName, AttributeName)
    const size = B === undefined ? Buffer.byteLength(S ?? '') : Buffer.from(B, 'base64').length
    return size > LONGEST_KEY_BYTES[KeyType] ? longKey(KeyType) : []
  })

const tableNotFound = (name: string, named: boolean): Error =>
  Object.assign(
    refusal(
      'com.amazonaws.dynamodb.v20120810#ResourceNotFoundException',
      `Requested resource not found${named ? `: Table: ${name} not found` : ''}`,
    ),
    { name: 'NotFoundError' },
  )
const emptyKey = (index: string, attribute: string): Error =>
  refusal(
    'com.amazon.coral.validate#ValidationException',
    `One or more parameter values are not valid. A value specified for a secondary index key is not supported. The AttributeValue for a key attribute cannot contain an empty string value. IndexName: ${index}, IndexKey: ${attribute}`,
  )
/** As of a key of a table. */
const longKey = (type: keyof typeof LONGEST_KEY_BYTES): Error =>
  refusal(
    'com.amazon.coral.validate#ValidationException',
    type === 'HASH'
      ? 'One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit of2048 bytes'
      : 'One or more parameter values were invalid: Aggregated size of all range keys has exceeded the size limit of 1024 bytes',
  )
const refusal = (__type: string, message: string): Error =>
  Object.assign(new Error(message), { statusCode: 400, body: { __type, message } })

export interface Range {
  gt?: string
  gte?: string
  lt?: string
  lte?: string
  reverse?: boolean
  /** Less than 0: no limit. */
  limit?: number
}
type Change = { type: 'put' | 'del'; key: string; value?: unknown }

/** Rows that are read at a time: few operations want more than a page. */
const ROWS = 100
/** Behind every key. */
const LAST = '\u{10ffff}'
/** SQLite compares UTF-8 byte by byte, so nothing is between a text and the same with this behind it. */
const NEXT = '\0'

/** Keys and values of one table, of its index or of its tags. */
function createSpace(database: DatabaseSync, guard: Storage['guard'], name: string) {
  const select = database.prepare('SELECT value FROM dynamodb WHERE space = ? AND key = ?')
  const insert = database.prepare('INSERT OR REPLACE INTO dynamodb (space, key, value) VALUES (?, ?, ?)')
  const remove = database.prepare('DELETE FROM dynamodb WHERE space = ? AND key = ?')
  const removeAll = database.prepare('DELETE FROM dynamodb WHERE space = ?')
  const ordered = (order: 'ASC' | 'DESC') =>
    database.prepare(
      `SELECT key, value FROM dynamodb WHERE space = ? AND key >= ? AND key < ? ORDER BY key ${order} LIMIT ?`,
    )
  const upwards = ordered('ASC')
  const downwards = ordered('DESC')

  /** Calls back before it returns, and within it: what a caller does then is a part of the same transaction. */
  const answer = (callback: Callback, work: () => unknown): void => {
    let value: unknown
    try {
      value = guard(work)
    } catch (error) {
      callback(error)
      return
    }
    callback(null, value)
  }
  const write = ({ type, key, value }: Change): unknown =>
    type === 'put' ? insert.run(name, key, JSON.stringify(value)) : remove.run(name, key)

  function* rows({ gt, gte = '', lt = LAST, lte, reverse = false, limit = -1 }: Range) {
    let from = gt === undefined ? gte : gt + NEXT
    let to = lte === undefined ? lt : lte + NEXT
    for (let left = limit < 0 ? Number.POSITIVE_INFINITY : limit; left > 0; left -= ROWS) {
      const statement = reverse ? downwards : upwards
      const found = statement.all(name, from, to, Math.min(left, ROWS))
      yield* found.map(({ key, value }) => ({ key: String(key), value: String(value) }))
      const last = found.at(-1)
      if (last === undefined || found.length < ROWS) return
      if (reverse) to = String(last['key'])
      else from = String(last['key']) + NEXT
    }
  }
  function* keys(range: Range = {}) {
    for (const { key } of rows(range)) yield key
  }
  function* values(range: Range = {}) {
    for (const { value } of rows(range)) yield JSON.parse(value)
  }

  return {
    get: (key: string, callback: Callback) =>
      answer(callback, () => {
        const row = select.get(name, key)
        return row === undefined ? undefined : JSON.parse(String(row['value']))
      }),
    put: (key: string, value: unknown, callback: Callback) =>
      answer(callback, () => write({ type: 'put', key, value })),
    del: (key: string, callback: Callback) => answer(callback, () => write({ type: 'del', key })),
    batch: (changes: Change[], callback: Callback) => answer(callback, () => changes.forEach(write)),
    clear: (callback: Callback) => answer(callback, () => removeAll.run(name)),
    values,
    createKeyStream: (range?: Range) => Readable.from(keys(range)),
    createValueStream: (range?: Range) => Readable.from(values(range)),
    /** One operation at a time needs no locks. */
    lock: (_key: string, work: (release: (callback: Callback) => Callback) => void) =>
      work((callback) => callback),
  }
}
