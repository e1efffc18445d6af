import { ConditionalCheckFailedException, DynamoDBServiceException } from '@aws-sdk/client-dynamodb'
import { LABELS, RECORDS, type Shape } from '../../shared/table.ts'

type Item = Record<string, unknown>

/** The indexes of the table of records. */
const INDEXES: Shape['indexes'] = RECORDS.indexes

const OF_LABELS = 'labels#'
const isOfLabels = (id: string): boolean => id.startsWith(OF_LABELS)
/** Items of both tables are in one map, by names that differ. */
export const labelId = (ownerLabel: string, target: string): string => `${OF_LABELS}${ownerLabel}#${target}`
const idOf = (key: Item): string =>
  key['imageId'] === undefined
    ? labelId(String(key['ownerLabel']), String(key['target']))
    : String(key['imageId'])

/** DynamoDB takes items of 400 KB; JSON counts a little more. */
const MAX_ITEM_BYTES = 409_600

export interface Expressions {
  ExpressionAttributeNames?: Record<string, string> | undefined
  ExpressionAttributeValues?: Record<string, unknown> | undefined
}

interface Query extends Expressions {
  IndexName?: string
  KeyConditionExpression: string
  FilterExpression?: string
  ProjectionExpression?: string
  ScanIndexForward?: boolean
  Limit?: number
  ExclusiveStartKey?: Item
}

interface WriteRequest {
  PutRequest?: { Item: Item }
  DeleteRequest?: { Key: Item }
}

/** Amazon DynamoDB quotas, BatchWriteItem. */
const MAX_WRITES = 25

interface Write extends Expressions {
  ConditionExpression?: string
}

/** What an item was, and until when it may still be read so. */
interface Version {
  item: Item | undefined
  until: number
}

export interface Staleness {
  /** Milliseconds that an index stays behind after a write. */
  lag: () => number
  /** Whether a read that is not consistent shows something older, where there is something. */
  isStale: () => boolean
}

/** Milliseconds for which a read that is not consistent may show what was written over. */
const STALE_MS = 2_000

/** Both tables of DynamoDB in memory: what the pipeline uses of it. Reads may be stale, those of an index always. */
export class DynamoModel {
  /** Whole items, which nothing changes once they are written. */
  readonly items = new Map<string, Item>()
  /** What an index still shows of an item that has changed. */
  readonly #lagging = new Map<string, Version>()
  /** The first is the oldest. */
  readonly #older = new Map<string, Version[]>()
  readonly #now: () => number
  readonly #staleness: Staleness

  constructor(now: () => number, staleness: Staleness) {
    this.#now = now
    this.#staleness = staleness
  }

  get({ Key, ConsistentRead = false }: { Key: Item; ConsistentRead?: boolean }): { Item?: Item } {
    const id = idOf(Key)
    const older = ConsistentRead || !this.#staleness.isStale() ? [] : (this.#older.get(id) ?? [])
    const [oldest] = older.filter(({ until }) => until > this.#now())
    const item = oldest === undefined ? this.items.get(id) : oldest.item
    return item === undefined ? {} : { Item: item }
  }

  /** Time to live: AWS deletes an item at some time after this. @returns the ids of those that are over it */
  expired(): string[] {
    const seconds = this.#now() / 1_000
    return [...this.items].flatMap(([id, { expiresAt }]) =>
      typeof expiresAt === 'number' && expiresAt < seconds ? [id] : [],
    )
  }

  /** By the service itself, which asks for no condition. */
  remove(id: string): void {
    this.#write(id, undefined)
  }

  put(input: Write & { Item: Item }): object {
    const id = idOf(input.Item)
    this.#demand(input, this.items.get(id))
    this.#write(id, copyOf(input.Item))
    return {}
  }

  delete(input: Write & { Key: Item }): object {
    const id = idOf(input.Key)
    this.#demand(input, this.items.get(id))
    this.#write(id, undefined)
    return {}
  }

  update(input: Write & { Key: Item; UpdateExpression: string }): { Attributes: Item } {
    const id = idOf(input.Key)
    const before = this.items.get(id)
    this.#demand(input, before)
    const item: Item = { ...(before ?? input.Key) }
    const words = tokens(input.UpdateExpression)
    let clause = ''
    while (words.length > 0) {
      if (/^(SET|REMOVE|ADD)$/.test(words[0] ?? '')) clause = words.shift() ?? ''
      const name = nameOf(words.shift() ?? '', input)
      if (clause === 'SET') {
        if (words.shift() !== '=') throw invalid(input.UpdateExpression)
        item[name] = copyOf(valueAt(words.shift() ?? '', before ?? {}, input))
      } else if (clause === 'ADD') {
        item[name] = Number(before?.[name] ?? 0) + Number(valueAt(words.shift() ?? '', before ?? {}, input))
      } else {
        delete item[name]
      }
      if (words[0] === ',') words.shift()
    }
    this.#write(id, item)
    return { Attributes: item }
  }

  /** @param leaves whether the request at a position is left undone, as any of them may be in a call that succeeds */
  batchWrite(
    { RequestItems }: { RequestItems: Record<string, WriteRequest[]> },
    leaves: (index: number) => boolean,
  ): object {
    const requests = Object.entries(RequestItems).flatMap(([table, some]) =>
      some.map((request) => {
        const id = idOf(request.PutRequest?.Item ?? request.DeleteRequest?.Key ?? {})
        return { table, request, id }
      }),
    )
    if (requests.length > MAX_WRITES) throw invalid('Too many items requested for the BatchWriteItem call')
    if (new Set(requests.map(({ id }) => id)).size < requests.length) {
      throw invalid('Provided list of item keys contains duplicates')
    }
    const undone: Record<string, WriteRequest[]> = {}
    for (const [index, { table, request, id }] of requests.entries()) {
      if (leaves(index)) undone[table] = [...(undone[table] ?? []), request]
      else this.#write(id, copyOf(request.PutRequest?.Item))
    }
    return { UnprocessedItems: undone }
  }

  batchGet(
    {
      RequestItems,
    }: {
      RequestItems: Record<
        string,
        Expressions & { Keys: Item[]; ProjectionExpression?: string; ConsistentRead?: boolean }
      >
    },
    leaves: (index: number) => boolean,
  ): object {
    const [[table, request] = ['', { Keys: [] }]] = Object.entries(RequestItems)
    demandUse(request, request.ProjectionExpression ?? '')
    const unread = request.Keys.filter((_, index) => leaves(index))
    const found = request.Keys.filter((_, index) => !leaves(index)).flatMap((Key): Item[] => {
      const { Item } = this.get({ Key, ConsistentRead: request.ConsistentRead ?? false })
      return Item === undefined ? [] : [Item]
    })
    return {
      Responses: { [table]: found.map(projection(request)) },
      UnprocessedKeys: unread.length > 0 ? { [table]: { ...request, Keys: unread } } : {},
    }
  }

  query(input: Query): { Items: Item[]; Count: number; ScannedCount: number; LastEvaluatedKey?: Item } {
    const index = input.IndexName === undefined ? undefined : INDEXES[input.IndexName]
    if (index === undefined && input.IndexName !== undefined) throw invalid(`no index ${input.IndexName}`)
    const { KeyConditionExpression, FilterExpression = '', ProjectionExpression = '' } = input
    demandUse(input, `${KeyConditionExpression} ${FilterExpression} ${ProjectionExpression}`)
    const [partition, sort] = (index ?? LABELS).key
    const ofLabels = index === undefined
    const own = ofLabels ? [] : ['imageId']
    const keysOf = (item: Item): Item =>
      Object.fromEntries([...own, partition, sort].map((name) => [name, item[name]]))
    const shown = [...new Set([...this.items.keys(), ...this.#lagging.keys()])]
      .filter((id) => isOfLabels(id) === ofLabels)
      .map((id) => this.#shown(id))
      .filter((item) => item !== undefined)
      .filter((item) => item[partition] !== undefined && item[sort] !== undefined)
      .filter((item) => holds(input.KeyConditionExpression, item, input))
      .sort((a, b) => compare(a[sort], b[sort]) || compare(idOf(a), idOf(b)))
    if (input.ScanIndexForward === false) shown.reverse()
    const start = input.ExclusiveStartKey
    const from = start === undefined ? 0 : shown.findIndex((item) => idOf(item) === idOf(start)) + 1
    const page = shown.slice(from, from + (input.Limit ?? 1_000))
    const last = page.at(-1)
    const matching = page.filter(
      (item) => input.FilterExpression === undefined || holds(input.FilterExpression, item, input),
    )
    const project = index?.shown.length === 0 ? keysOf : projection(input)
    return {
      Items: matching.map(project),
      Count: matching.length,
      ScannedCount: page.length,
      ...(last !== undefined && from + page.length < shown.length ? { LastEvaluatedKey: keysOf(last) } : {}),
    }
  }

  #demand(input: Write & { UpdateExpression?: string }, item: Item | undefined): void {
    demandUse(input, `${input.UpdateExpression ?? ''} ${input.ConditionExpression ?? ''}`)
    if (input.ConditionExpression === undefined || holds(input.ConditionExpression, item ?? {}, input)) return
    throw new ConditionalCheckFailedException({ message: 'The conditional request failed', $metadata: {} })
  }

  #write(id: string, item: Item | undefined): void {
    if (item !== undefined && JSON.stringify(item).length > MAX_ITEM_BYTES) {
      throw invalid('Item size has exceeded the maximum allowed size')
    }
    const now = this.#now()
    const lag = this.#staleness.lag()
    if (lag > 0) this.#lagging.set(id, { item: this.#shown(id), until: now + lag })
    const older = (this.#older.get(id) ?? []).filter(({ until }) => until > now)
    this.#older.set(id, [...older, { item: this.items.get(id), until: now + STALE_MS }])
    if (item === undefined) this.items.delete(id)
    else this.items.set(id, item)
  }

  #shown(id: string): Item | undefined {
    const lagging = this.#lagging.get(id)
    if (lagging === undefined || lagging.until <= this.#now()) {
      this.#lagging.delete(id)
      return this.items.get(id)
    }
    return lagging.item
  }
}

const invalid = (message: string) =>
  new DynamoDBServiceException({ name: 'ValidationException', $fault: 'client', message, $metadata: {} })

/** Names and values that no expression uses are refused, as DynamoDB does. */
function demandUse(input: Expressions, expressions: string): void {
  const used = tokens(expressions)
  const { ExpressionAttributeNames = {}, ExpressionAttributeValues = {} } = input
  for (const word of [...Object.keys(ExpressionAttributeNames), ...Object.keys(ExpressionAttributeValues)]) {
    if (!used.includes(word)) throw invalid(`${word} is not used`)
  }
}

/** A schedule has thousands of calls, and the code has a few dozen expressions. */
const cut = new Map<string, string[]>()
function tokens(expression: string): string[] {
  const words = cut.get(expression) ?? expression.match(/[#:]?[A-Za-z_][\w]*|<>|<=|>=|[=<>(),]/g) ?? []
  cut.set(expression, words)
  return [...words]
}

/** Of what an item may hold; `structuredClone` takes five times as long. */
function copyOf<T>(value: T): T
function copyOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(copyOf)
  if (typeof value !== 'object' || value === null) return value
  if (value instanceof Uint8Array) return value.slice()
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, copyOf(one)]))
}

const nameOf = (word: string, { ExpressionAttributeNames = {} }: Expressions): string => {
  const name = word.startsWith('#') ? ExpressionAttributeNames[word] : word
  if (name === undefined || name === '') throw invalid(`no name ${word}`)
  return name
}

/** An item with the attributes that are asked for, or with all. */
function projection(input: Expressions & { ProjectionExpression?: string }): (item: Item) => Item {
  const names = tokens(input.ProjectionExpression ?? '')
    .filter((word) => word !== ',')
    .map((word) => nameOf(word, input))
  return (item) =>
    names.length === 0
      ? item
      : Object.fromEntries(Object.entries(item).filter(([name]) => names.includes(name)))
}

function valueAt(word: string, item: Item, expressions: Expressions): unknown {
  if (!word.startsWith(':')) return item[nameOf(word, expressions)]
  const values = expressions.ExpressionAttributeValues ?? {}
  if (!(word in values)) throw invalid(`no value ${word}`)
  return values[word]
}

const compare = (one: unknown, other: unknown): number =>
  (one as number) < (other as number) ? -1 : (one as number) > (other as number) ? 1 : 0

/** A condition, key condition or filter: OR, AND, NOT, parentheses, comparisons, and the functions in use. */
function holds(expression: string, item: Item, expressions: Expressions): boolean {
  const words = tokens(expression)
  const take = (expected?: string): string => {
    const word = words.shift() ?? ''
    if (expected !== undefined && word !== expected) throw invalid(`${expected} is missing in ${expression}`)
    return word
  }
  const either = (): boolean => {
    let result = both()
    while (words[0] === 'OR') {
      take()
      const next = both()
      result = result || next
    }
    return result
  }
  const both = (): boolean => {
    let result = single()
    while (words[0] === 'AND') {
      take()
      const next = single()
      result = result && next
    }
    return result
  }
  const single = (): boolean => {
    const word = take()
    if (word === 'NOT') return !single()
    if (word === '(') {
      const result = either()
      take(')')
      return result
    }
    if (words[0] === '(') return call(word)
    const left = valueAt(word, item, expressions)
    const operator = take()
    if (operator === 'BETWEEN') {
      const least = valueAt(take(), item, expressions)
      take('AND')
      const most = valueAt(take(), item, expressions)
      if (compare(least, most) > 0) throw invalid('The BETWEEN operator requires its lower bound first')
      return compare(left, least) >= 0 && compare(left, most) <= 0
    }
    const right = valueAt(take(), item, expressions)
    if (left === undefined || right === undefined || typeof left !== typeof right) return operator === '<>'
    const order = compare(left, right)
    switch (operator) {
      case '=':
        return order === 0
      case '<>':
        return order !== 0
      case '<':
        return order < 0
      case '<=':
        return order <= 0
      case '>':
        return order > 0
      case '>=':
        return order >= 0
      default:
        throw invalid(`no operator ${operator}`)
    }
  }
  const call = (name: string): boolean => {
    take('(')
    const value = valueAt(take(), item, expressions)
    const argument = take() === ',' ? valueAt(take(), item, expressions) : undefined
    if (argument !== undefined) take(')')
    switch (name) {
      case 'attribute_exists':
        return value !== undefined
      case 'attribute_not_exists':
        return value === undefined
      case 'begins_with':
        return typeof value === 'string' && value.startsWith(String(argument))
      case 'contains':
        return Array.isArray(value)
          ? value.includes(argument)
          : String(value ?? '').includes(String(argument))
      default:
        throw invalid(`no function ${name}`)
    }
  }
  const result = either()
  if (words.length > 0) throw invalid(`${expression} goes on after its end`)
  return result
}
