import { CONDITIONS, type Expression, type Item, type OldCondition, type Path } from './conditions.ts'
import type { ItemSize } from './limits.ts'
import { atOnce, type Callback, type Range } from './store.ts'

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
  KeyConditions?: object
  _filter?: { expression: Expression; pathHeads: object }
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
interface Index extends Keyed {
  IndexName: string
  Projection: { ProjectionType: string; NonKeyAttributes?: string[] }
}
interface Table extends Keyed {
  LocalSecondaryIndexes?: Index[]
  GlobalSecondaryIndexes?: Index[]
}
/** Of the emulator. */
interface Emulator {
  itemSize: ItemSize
  mapPaths: (paths: (Path | string)[], item: Item) => Item
  createKey: (item: Item, table: Table) => string
  validationError: (message: string) => Error
}

/**
 * In place of the emulator's, which read a stream: what was thrown while it did so ended the process, and between two of
 * its items another request could write.
 */
export const createQueryTable =
  ({ itemSize, mapPaths, createKey, validationError }: Emulator) =>
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
    const { TableName, IndexName } = read
    const itself = store.getItemDb(TableName)
    const space =
      IndexName === undefined ? itself : store.getIndexDb(isLocal ? 'local' : 'global', TableName, IndexName)
    const lacking = lackingIn(table, read)
    const refused = refusalOf(read, isLocal, lacking)
    if (refused !== undefined) {
      callback(validationError(refused))
      return
    }
    const wholeOf = (found: Item): Item => atOnce((done) => itself.get(createKey(found, table), done)) as Item
    const isWhole = asksForAll || lacking.shown.length > 0
    const page = readPage(itemSize, table, read, space.values(range), isWhole ? wholeOf : undefined)
    const { looked, isFull, bytes } = page

    const items = looked.filter((item) => isWanted(item, read))
    const paths = read._projection?.paths ?? read.AttributesToGet
    const shown = paths ? items.map((item) => mapPaths(paths, item)) : items
    const last = isFull ? looked.at(-1) : undefined
    callback(null, {
      Count: items.length,
      ScannedCount: looked.length,
      ...(read.Select !== 'COUNT' && { Items: shown }),
      ...(last && { LastEvaluatedKey: Object.fromEntries(keys.map((name) => [name, last[name]])) }),
      ...(bytes && { ConsumedCapacity: capacityOf(read, bytes, isLocal) }),
    })
  }

interface Page {
  looked: Item[]
  /** Whether there may be more. */
  isFull: boolean
  /** Bytes that were read, where the request asks for them. */
  bytes: { table: number; index: number } | undefined
}

/**
 * Reads items up to the limit of the request, or of a page.
 *
 * @param wholeOf reads the item of an entry of an index, where the entry has not all that is wanted
 */
function readPage(
  itemSize: Emulator['itemSize'],
  table: Table,
  { IndexName, Limit = Number.POSITIVE_INFINITY, ReturnConsumedCapacity = 'NONE' }: Read,
  entries: Iterable<Item>,
  wholeOf: ((found: Item) => Item) | undefined,
): Page {
  const rangeKey = table.KeySchema[1]?.AttributeName
  const bytes = { table: 0, index: 0 }
  const isCounted = ReturnConsumedCapacity !== 'NONE'
  const looked: Item[] = []
  let size = 0
  const isFull = (): boolean => looked.length >= Limit || size >= PAGE_BYTES
  for (const found of entries) {
    if (isFull()) break
    const item = wholeOf === undefined ? found : wholeOf(found)
    if (isCounted) {
      bytes[IndexName === undefined ? 'table' : 'index'] += itemSize(found)
      if (wholeOf !== undefined) bytes.table += itemSize(item)
    }
    size += itemSize(item, true, true, rangeKey)
    looked.push(item)
  }
  return { looked, isFull: isFull(), bytes: isCounted ? bytes : undefined }
}

function isWanted(item: Item, { _filter, QueryFilter, ScanFilter, ConditionalOperator }: Read): boolean {
  if (_filter !== undefined) return CONDITIONS.matchesExprFilter(item, _filter.expression)
  return CONDITIONS.matchesFilter(item, QueryFilter ?? ScanFilter ?? {}, ConditionalOperator)
}

interface Lacking {
  shown: string[]
  filtered: string[]
}

/** What a request wants of an index that has not been copied there. */
function lackingIn(table: Table, read: Read): Lacking {
  const { LocalSecondaryIndexes = [], GlobalSecondaryIndexes = [] } = table
  const indexes = [...LocalSecondaryIndexes, ...GlobalSecondaryIndexes]
  const index = indexes.find(({ IndexName }) => IndexName === read.IndexName)
  if (index === undefined || index.Projection.ProjectionType === 'ALL') return { shown: [], filtered: [] }
  const keys = [table, index].flatMap(({ KeySchema }) => KeySchema.map(({ AttributeName }) => AttributeName))
  const has = new Set([...keys, ...(index.Projection.NonKeyAttributes ?? [])])
  const lacks = (names: string[]) => [...new Set(names)].filter((name) => !has.has(name)).toSorted()
  const shown = read._projection?.paths.map((path) => String([path].flat()[0])) ?? read.AttributesToGet ?? []
  return {
    shown: lacks(shown),
    filtered: lacks(Object.keys(read._filter?.pathHeads ?? read.QueryFilter ?? {})),
  }
}

/** A local index reads the rest from its table, a global one can not. Only a query, not a scan, minds its filter. */
function refusalOf({ IndexName, KeyConditions }: Read, isLocal: boolean, { shown, filtered }: Lacking) {
  const invalid = 'One or more parameter values were invalid: '
  if (KeyConditions !== undefined && filtered.length > 0)
    return `${invalid}Secondary index ${IndexName} does not project one or more filter attributes: [${filtered.join(', ')}]`
  if (shown.length > 0 && !isLocal)
    return `${invalid}Global secondary index ${IndexName} does not project [${shown.join(', ')}]`
  return undefined
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
