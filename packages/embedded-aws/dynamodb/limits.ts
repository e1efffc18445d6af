import { readFileSync } from 'node:fs'
import { compile, replaceExports } from './replaced.ts'

/** Amazon DynamoDB quotas: expressions, attribute names, nested attributes. */
const MOST_EXPRESSION_BYTES = 4_096
const MOST_NAME_BYTES = 65_535
/** Of an item; within it, of an attribute. */
const MOST_LEVELS = 31
/** Of JSON: more than a request has around the deepest item and within it. What is deeper ends in a full stack. */
const MOST_JSON_LEVELS = 100
/** API reference, "TagResource": of a ResourceArn. A table's has five colons; the emulator tries each way to choose these. */
const MOST_ARN_LENGTH = 1_283
const MOST_COLONS = 6
const EXPRESSION = /^(Condition|Filter|KeyCondition|Projection|Update)Expression$/

const TOO_DEEP =
  'Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond supported limit'

/** @param level of lists and maps around a value */
function refusalOfValue(value: unknown, level: number): string | undefined {
  const { L, M } = Object(value)
  const within = L ?? M
  if (within === null || typeof within !== 'object') return undefined
  if (level === MOST_LEVELS) return TOO_DEEP
  return firstOf(Object.values(within), (one) => refusalOfValue(one, level + 1))
}

function isDeeper(value: unknown, levels: number): boolean {
  if (value === null || typeof value !== 'object') return false
  return levels === 0 || Object.values(value).some((one) => isDeeper(one, levels - 1))
}

function firstOf<T>(all: T[], refusal: (one: T) => string | undefined): string | undefined {
  for (const one of all) {
    const refused = refusal(one)
    if (refused !== undefined) return refused
  }
  return undefined
}

function refusalOfItem(item: object): string | undefined {
  return firstOf(Object.entries(item), ([name, value]) => {
    if (name === '') return 'One or more parameter values were invalid: Empty attribute name'
    if (Buffer.byteLength(name) > MOST_NAME_BYTES)
      return `Attribute name is too large, must be less than ${MOST_NAME_BYTES + 1} bytes`
    return refusalOfValue(value, 0)
  })
}

const isNoArn = (text: string): boolean =>
  text.length > MOST_ARN_LENGTH || text.split(':').length > MOST_COLONS + 1

/** @returns what DynamoDB says of a request that is too long or too deep, whose types are not checked yet */
export function refusalOfSize(input: object): string | undefined {
  return firstOf(Object.entries(input), ([name, value]) => {
    if (typeof value === 'string') {
      if (name === 'ResourceArn' && isNoArn(value))
        return `Invalid TableArn: Invalid ResourceArn provided as input ${value}`
      const size = Buffer.byteLength(value)
      return EXPRESSION.test(name) && size > MOST_EXPRESSION_BYTES
        ? `Invalid ${name}: Expression size has exceeded the maximum allowed size; expression size: ${size}`
        : undefined
    }
    if (isDeeper(value, MOST_JSON_LEVELS)) return TOO_DEEP
    if (name === 'Item' || name === 'ExpressionAttributeValues') return refusalOfItem(Object(value))
    if (name === 'RequestItems')
      return firstOf(Object.values(Object(value)), (requests) =>
        firstOf([requests].flat(), (request) =>
          refusalOfSize({ ...Object(request), ...Object(request).PutRequest }),
        ),
      )
    return undefined
  })
}

/** @returns bytes */
export type ItemSize = (item: object, compress?: boolean, addMeta?: boolean, rangeKey?: string) => number

/** In place of the emulator's function of this name, which counts characters: DynamoDB counts bytes, those of names too. */
export function createItemSize(load: NodeJS.Require): ItemSize {
  const file = load.resolve('./db')
  // As it was made: the emulator's own may have been replaced by this one already.
  const { itemSize } = compile(readFileSync(file, 'utf8'), file) as { itemSize: ItemSize }
  return (item, compress, addMeta, rangeKey) => {
    const text = JSON.stringify(item)
    const bytes = inBytes(text)
    const counted = bytes === text ? item : JSON.parse(bytes)
    return itemSize(counted, compress, addMeta, rangeKey && inBytes(rangeKey))
  }
}

/** The same with a character for each byte. */
const inBytes = (text: string): string => Buffer.from(text).toString('latin1')

/**
 * A batch of reads has 16 MB (API reference, "BatchGetItem"): the emulator's had 1.4, and forgot how the other keys were
 * asked for.
 *
 * @throws Error where the emulator's source is another
 */
export function widenBatches(load: NodeJS.Require): void {
  const file = load.resolve('./actions/batchGetItem')
  const source = readFileSync(file, 'utf8')
  const [limit, others] = ['(1024 * 1024) + store.options.maxItemSize - 3', '= { Keys: [] }']
  if (!source.includes(limit) || !source.includes(others))
    throw new Error("The embedded DynamoDB's BatchGetItem is not as expected.")
  const widened = source
    .replace(limit, '16 * 1024 * 1024')
    .replace(others, '= { ...data.RequestItems[table], _projection: undefined, Keys: [] }')
  replaceExports(load, file, compile(widened, file))
}
