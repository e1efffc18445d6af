import { CONDITIONS, type Expression, type Item, type OldCondition, type Path } from './conditions.ts'
import type { Callback, Range } from './store.ts'

const PAGE_BYTES = 1_048_576
const READ_UNIT_BYTES = 4_096

interface Read {
  TableName: string
  IndexName?: string
  Limit?: number
  Select?: string
  ConsistentRead?: boolean
  ReturnConsumedCapacity?: string
  QueryFilter?: Record<string, OldCondition>
  ScanFilter?: Record<string, OldCondition>
  ConditionalOperator?: string
  AttributesToGet?: string[]
  _filter?: { expression: Expression }
  _projection?: { paths: Path[] }
}
interface Space {
  values: (range: Range) => Iterable<Item>
  get: (key: string, callback: Callback) => void
}
interface Store {
  getItemDb: (table: string) => Space
  getIndexDb: (kind: string, table: string, index: string) => Space
}
interface Keyed {
  KeySchema: { AttributeName: string }[]
}
interface Table extends Keyed {
  LocalSecondaryIndexes?: (Keyed & {
    IndexName: string
    Projection: { ProjectionType: string; NonKeyAttributes?: string[] }
  })[]
}
/** Of the emulator. */
interface Emulator {
  itemSize: (item: Item, compress?: boolean, addMeta?: boolean, rangeKey?: string) => number
  mapPaths: (paths: (Path | string)[], item: Item) => Item
  createKey: (item: Item, table: Table) => string
}

/**
 * In place of the emulator's, which read a stream: what was thrown while it did so ended the process, and between two of
 * its items another request could write.
 */
export const createQueryTable =
  ({ itemSize, mapPaths, createKey }: Emulator) =>
  (
    store: Store,
    table: Table,
    read: Read,
    range: Range,
    isLocal: boolean,
    asksForAll: boolean,
    keys: string[],
    callback: Callback,
  ): void => {
    const { TableName, IndexName, Limit = Number.POSITIVE_INFINITY } = read
    const itself = store.getItemDb(TableName)
    const space =
      IndexName === undefined ? itself : store.getIndexDb(isLocal ? 'local' : 'global', TableName, IndexName)
    const isWhole = asksForAll || asksForMore(table, read)
    const rangeKey = table.KeySchema[1]?.AttributeName
    const isCounted = (read.ReturnConsumedCapacity ?? 'NONE') !== 'NONE'
    const bytes = { table: 0, index: 0 }
    const looked: Item[] = []
    let size = 0
    const isPageFull = (): boolean => looked.length >= Limit || size >= PAGE_BYTES
    for (const found of space.values(range)) {
      if (isPageFull()) break
      const item = isWhole ? answerOf((done) => itself.get(createKey(found, table), done)) : found
      if (isCounted) {
        bytes[IndexName === undefined ? 'table' : 'index'] += itemSize(found)
        if (isWhole) bytes.table += itemSize(item)
      }
      size += itemSize(item, true, true, rangeKey)
      looked.push(item)
    }

    const filter = read.QueryFilter ?? read.ScanFilter
    const items = looked.filter((item) =>
      read._filter === undefined
        ? CONDITIONS.matchesFilter(item, filter ?? {}, read.ConditionalOperator)
        : CONDITIONS.matchesExprFilter(item, read._filter.expression),
    )
    const paths = read._projection?.paths ?? read.AttributesToGet
    const last = looked.at(-1)
    callback(null, {
      Count: items.length,
      ScannedCount: looked.length,
      ...(read.Select !== 'COUNT' && { Items: paths ? items.map((item) => mapPaths(paths, item)) : items }),
      ...(last !== undefined &&
        isPageFull() && { LastEvaluatedKey: Object.fromEntries(keys.map((name) => [name, last[name]])) }),
      ...(isCounted && { ConsumedCapacity: capacityOf(read, bytes, isLocal) }),
    })
  }

/** Of a local index, an attribute that it does not have is read from the table (developer guide, "Local secondary indexes"). */
function asksForMore(table: Table, { IndexName, _projection, AttributesToGet = [] }: Read): boolean {
  const index = table.LocalSecondaryIndexes?.find((one) => one.IndexName === IndexName)
  if (index === undefined || index.Projection.ProjectionType === 'ALL') return false
  const keys = [table, index].flatMap(({ KeySchema }) => KeySchema.map(({ AttributeName }) => AttributeName))
  const has = new Set([...keys, ...(index.Projection.NonKeyAttributes ?? [])])
  const asked = _projection?.paths.map((path) => String([path].flat()[0])) ?? AttributesToGet
  return asked.some((name) => !has.has(name))
}

/** Of a callback that is called at once. */
function answerOf(ask: (done: Callback) => void): Item {
  let answer: { error: unknown; value: unknown } | undefined
  ask((error, value) => {
    answer = { error, value }
  })
  if (answer?.error) throw answer.error
  return answer?.value as Item
}

function capacityOf(
  { TableName, IndexName, ConsistentRead, ReturnConsumedCapacity }: Read,
  bytes: { table: number; index: number },
  isLocal: boolean,
): object {
  const units = (read: number) => ({
    CapacityUnits: Math.ceil(read / READ_UNIT_BYTES) * (ConsistentRead ? 1 : 0.5),
  })
  const [table, index] = [units(bytes.table), units(bytes.index)]
  const kind = isLocal ? 'LocalSecondaryIndexes' : 'GlobalSecondaryIndexes'
  return {
    CapacityUnits: table.CapacityUnits + index.CapacityUnits,
    TableName,
    ...(ReturnConsumedCapacity === 'INDEXES' && {
      Table: table,
      ...(IndexName !== undefined && { [kind]: { [IndexName]: index } }),
    }),
  }
}
