import { compareNumbers } from './numbers.ts'

/** One type, and what is of it: `{ S: 'text' }`. */
export type Value = Record<string, unknown>
export type Item = Record<string, Value>
/** Of an attribute, and of what is in it: `a.b[1]`. */
export type Path = [string, ...(string | number)[]]

/** As the emulator's parser makes them. */
export interface Expression {
  /** `and`, `or`, `not`, `function`, or an operator. */
  type: string
  name?: string
  args: Operand[]
}
export type Operand = Path | Value | Expression

export const isPath = (operand: Operand): operand is Path => Array.isArray(operand)
export const isExpression = (operand: Operand): operand is Expression =>
  !isPath(operand) && typeof operand['type'] === 'string'

export const typeOf = (value: Value): string => Object.keys(value)[0] ?? ''

/** @returns what an item has at a path */
export function valueAt(item: Item, path: readonly (string | number)[]): Value | undefined {
  let value: Value | undefined = { M: item }
  for (const step of path) {
    const within: unknown = typeof step === 'number' ? value?.['L'] : value?.['M']
    if (within === undefined || !Object.hasOwn(Object(within), step)) return undefined
    value = (within as Record<string | number, Value>)[step]
  }
  return value
}

/** Also of documents; the members of a set have no order. */
function areEqual(a: Value | undefined, b: Value | undefined): boolean {
  if (a === undefined || b === undefined || typeOf(a) !== typeOf(b)) return false
  const [left, right] = [a[typeOf(a)], b[typeOf(b)]]
  switch (typeOf(a)) {
    case 'SS':
    case 'NS':
    case 'BS':
      return sameMembers(left as string[], right as string[])
    case 'L':
      return sameEntries(left as Value[], right as Value[])
    case 'M':
      return sameEntries(left as Item, right as Item)
    default:
      return left === right
  }
}
function sameMembers(left: string[], right: string[]): boolean {
  const members = new Set(left)
  return members.size === right.length && right.every((member) => members.has(member))
}
function sameEntries(left: Value[] | Item, right: Value[] | Item): boolean {
  const [ours, theirs] = [new Map(Object.entries(left)), new Map(Object.entries(right))]
  return ours.size === theirs.size && [...ours].every(([name, value]) => areEqual(value, theirs.get(name)))
}

/** Text is compared by its bytes in UTF-8, and bytes without a sign. */
const bytesOf = (value: Value): Buffer =>
  'B' in value ? Buffer.from(String(value['B']), 'base64') : Buffer.from(String(value['S']))

/** @returns less than, equal to or greater than 0; NaN, which is none of them, of what has no order */
function order(a: Value | undefined, b: Value | undefined): number {
  if (a === undefined || b === undefined || typeOf(a) !== typeOf(b)) return Number.NaN
  if ('N' in a) return compareNumbers(String(a['N']), String(b['N']))
  return 'S' in a || 'B' in a ? Buffer.compare(bytesOf(a), bytesOf(b)) : Number.NaN
}

function beginsWith(value: Value | undefined, start: Value | undefined): boolean {
  if (value === undefined || start === undefined || typeOf(value) !== typeOf(start)) return false
  if (!('S' in value || 'B' in value)) return false
  const wanted = bytesOf(start)
  return bytesOf(value).subarray(0, wanted.length).equals(wanted)
}

/** A text in a text, bytes in bytes, a member of a set, or a value of a list. */
function contains(value: Value | undefined, wanted: Value | undefined): boolean {
  if (value === undefined || wanted === undefined) return false
  const [type, kind] = [typeOf(value), typeOf(wanted)]
  if (type === 'L') return (value['L'] as Value[]).some((one) => areEqual(one, wanted))
  if (type === `${kind}S`) return (value[type] as unknown[]).includes(wanted[kind])
  return type === kind && (type === 'S' || type === 'B') && bytesOf(value).includes(bytesOf(wanted))
}

type Test = (value: Value | undefined, others: (Value | undefined)[]) => boolean
const TESTS = new Map<string, Test>(
  Object.entries({
    '=': (value, [other]) => areEqual(value, other),
    '<>': (value, [other]) => !areEqual(value, other),
    '<': (value, [other]) => order(value, other) < 0,
    '<=': (value, [other]) => order(value, other) <= 0,
    '>': (value, [other]) => order(value, other) > 0,
    '>=': (value, [other]) => order(value, other) >= 0,
    in: (value, others) => others.some((other) => areEqual(value, other)),
    between: (value, [least, most]) => order(least, value) <= 0 && order(value, most) <= 0,
    attribute_exists: (value) => value !== undefined,
    attribute_not_exists: (value) => value === undefined,
    attribute_type: (value, [type]) => value !== undefined && typeOf(value) === type?.['S'],
    begins_with: (value, [start]) => beginsWith(value, start),
    contains: (value, [wanted]) => contains(value, wanted),
    // Of an attribute that is not there neither this nor the opposite holds.
    not_contains: (value, [wanted]) => value !== undefined && !contains(value, wanted),
  } satisfies Record<string, Test>),
)
/** The operators of Expected, QueryFilter and ScanFilter. */
const OLD_NAMES = new Map(
  Object.entries({
    EQ: '=',
    NE: '<>',
    LT: '<',
    LE: '<=',
    GT: '>',
    GE: '>=',
    IN: 'in',
    BETWEEN: 'between',
    NOT_NULL: 'attribute_exists',
    NULL: 'attribute_not_exists',
    BEGINS_WITH: 'begins_with',
    CONTAINS: 'contains',
    NOT_CONTAINS: 'not_contains',
  }),
)

function compare(
  operator: string,
  value: Value | undefined,
  others: Value | (Value | undefined)[] | undefined,
): boolean {
  const test = TESTS.get(OLD_NAMES.get(operator) ?? operator)
  if (test === undefined) throw new Error(`There is no operator ${operator}.`)
  return test(value, Array.isArray(others) ? others : [others])
}

function sizeOf(value: Value | undefined): Value | undefined {
  if (value === undefined) return undefined
  const [type, content] = [typeOf(value), value[typeOf(value)]]
  if (['N', 'BOOL', 'NULL'].includes(type)) return undefined
  const size =
    type === 'B'
      ? bytesOf(value).length
      : type === 'M'
        ? Object.keys(Object(content)).length
        : (content as { length: number }).length
  return { N: String(size) }
}

/** The only expression that is an operand is a size. */
function operandOf(item: Item, operand: Operand): Value | undefined {
  if (isPath(operand)) return valueAt(item, operand)
  if (!isExpression(operand)) return operand
  const [measured] = operand.args
  return measured === undefined ? undefined : sizeOf(operandOf(item, measured))
}

function matchesExprFilter(item: Item, { type, name, args }: Expression): boolean {
  const parts = args as Expression[]
  if (type === 'and') return parts.every((part) => matchesExprFilter(item, part))
  if (type === 'or') return parts.some((part) => matchesExprFilter(item, part))
  if (type === 'not') return !parts.some((part) => matchesExprFilter(item, part))
  const [value, ...others] = args.map((arg) => operandOf(item, arg))
  return compare(type === 'function' ? (name ?? '') : type, value, others)
}

/** Of Expected, QueryFilter and ScanFilter. */
export interface OldCondition {
  ComparisonOperator?: string
  AttributeValueList?: Value[]
  Value?: Value
  Exists?: boolean
}

function matchesFilter(item: Item, conditions: Record<string, OldCondition>, operator?: string): boolean {
  const results = Object.entries(conditions).map(([name, condition]) => {
    const { ComparisonOperator = 'EQ', AttributeValueList, Value, Exists } = condition
    const value = valueAt(item, [name])
    return Exists === false
      ? value === undefined
      : compare(ComparisonOperator, value, AttributeValueList ?? Value)
  })
  return operator === 'OR' ? results.length === 0 || results.includes(true) : !results.includes(false)
}

/** In place of the emulator's own, to which no two documents were equal, and bytes were text. */
export const CONDITIONS = { compare, matchesExprFilter, matchesFilter }
