import {
  type Item,
  isExpression,
  isPath,
  type Operand,
  type Path,
  typeOf,
  type Value,
  valueAt,
} from './conditions.ts'
import { sumOf } from './numbers.ts'

/** One action of an update expression, as the emulator's parser makes it. */
export interface Section {
  type: 'set' | 'remove' | 'add' | 'delete'
  path: Path
  val?: Operand
  attrType?: string
}
/** Of the parameter AttributeUpdates. */
interface OldUpdate {
  Action?: string
  Value?: Value
}
interface Table {
  KeySchema: { AttributeName: string }[]
}
/** Of the emulator. */
interface Emulator {
  validationError: (message: string) => Error
  traverseIndexes: (
    table: Table,
    look: (attribute: string, type: string) => Error | undefined,
  ) => Error | undefined
}

/** What DynamoDB says of an update that an item does not take. */
class Refusal extends Error {}
const NO_VALUE = 'The provided expression refers to an attribute that does not exist in the item'
const WRONG_TYPE = 'An operand in the update expression has an incorrect data type'
const WRONG_OLD_TYPE = 'Type mismatch for attribute to update'
const NO_PLACE = 'The document path provided in the update expression is invalid for update'
const OVERFLOW = 'Number overflow. Attempting to store a number with magnitude larger than supported range'
const KEY_TYPE = 'The update expression attempted to update the secondary index key to unsupported type'

function sum(a: unknown, b: unknown, sign?: 1 | -1): Value {
  const N = sumOf(String(a), String(b), sign)
  if (N === undefined) throw new Refusal(OVERFLOW)
  return { N }
}

function contentOf(value: Value, type: string): unknown {
  if (typeOf(value) !== type) throw new Refusal(WRONG_TYPE)
  return value[type]
}

/** @returns a value of its own, that no later action changes by the way */
function evaluate(item: Item, operand: Operand): Value {
  if (isPath(operand)) {
    const value = valueAt(item, operand)
    if (value === undefined) throw new Refusal(NO_VALUE)
    return structuredClone(value)
  }
  if (!isExpression(operand)) return structuredClone(operand)
  const { type, name, args } = operand
  const [first, second] = args as [Operand, Operand]
  if (name === 'if_not_exists') return structuredClone(valueAt(item, first as Path)) ?? evaluate(item, second)
  const [left, right] = [evaluate(item, first), evaluate(item, second)]
  if (name === 'list_append')
    return { L: [...(contentOf(left, 'L') as Value[]), ...(contentOf(right, 'L') as Value[])] }
  return sum(contentOf(left, 'N'), contentOf(right, 'N'), type === 'subtract' ? -1 : 1)
}

/** What is added to a number or a set, or to nothing. */
function added(before: Value | undefined, value: Value, wrongType: string): Value {
  const type = typeOf(value)
  if (before !== undefined && typeOf(before) !== type) throw new Refusal(wrongType)
  if (type === 'N') return sum(before?.['N'] ?? '0', value['N'])
  const members = [...((before?.[type] ?? []) as unknown[]), ...(value[type] as unknown[])]
  return { [type]: type === 'L' ? members : [...new Set(members)] }
}

/** @returns undefined where nothing is left of a set: there is no empty one */
function without(before: Value, value: Value, wrongType: string): Value | undefined {
  const type = typeOf(value)
  if (typeOf(before) !== type) throw new Refusal(wrongType)
  const gone = new Set(value[type] as unknown[])
  const left = (before[type] as unknown[]).filter((member) => !gone.has(member))
  return left.length === 0 ? undefined : { [type]: left }
}

/** Also under a name that means something to JavaScript. */
function putInto(holder: Item, name: string | number, value: Value | undefined): void {
  if (value === undefined) delete holder[name]
  else Object.defineProperty(holder, name, { value, enumerable: true, writable: true, configurable: true })
}

/** All actions see the item, and the places in its lists, as they were before the first of them. */
function apply(item: Item, sections: Section[]): Item {
  const values = sections.map(({ type, val }) =>
    val === undefined ? undefined : type === 'set' ? evaluate(item, val) : (val as Value),
  )
  const lists = new Set<Value>()
  sections.forEach(({ type, path }, index) => {
    const value = values[index] ?? {}
    const holder = valueAt(item, path.slice(0, -1))
    const step = path[path.length - 1] ?? 0
    const within = (typeof step === 'number' ? holder?.['L'] : holder?.['M']) as Item | undefined
    if (holder === undefined || within === undefined) throw new Refusal(NO_PLACE)
    const before = Object.hasOwn(within, step) ? within[step] : undefined
    const put = (next: Value | undefined): void => {
      if (typeof step === 'number') lists.add(holder)
      putInto(within, step, next)
    }
    if (type === 'set') put(value)
    else if (type === 'add') put(added(before, value, WRONG_TYPE))
    else if (type === 'remove') put(undefined)
    else if (before !== undefined) put(without(before, value, WRONG_TYPE))
  })
  // What was removed of a list, or lies between its end and what was put behind it, leaves no hole.
  for (const list of lists) list['L'] = Object.values(Object(list['L']))
  return item
}

/** In place of the emulator's own functions of these names, which took one action after the other. */
export function createUpdates({ validationError, traverseIndexes }: Emulator) {
  const refusing = (work: () => Error | undefined): Error | undefined => {
    try {
      return work()
    } catch (error) {
      if (error instanceof Refusal) return validationError(error.message)
      throw error
    }
  }
  return {
    applyUpdateExpression: (sections: Section[], table: Table, item: Item): Error | undefined =>
      refusing(() => {
        const { ...before } = item
        apply(item, sections)
        return traverseIndexes(table, (attribute, type) => {
          const value = item[attribute]
          const isNew = value !== undefined && value !== before[attribute]
          return isNew && value[type] === undefined ? validationError(KEY_TYPE) : undefined
        })
      }),

    applyAttributeUpdates: (
      updates: Record<string, OldUpdate> | undefined,
      _table: Table,
      item: Item,
    ): Error | undefined =>
      refusing(() => {
        for (const [name, { Action = 'PUT', Value: value }] of Object.entries(updates ?? {})) {
          const before = valueAt(item, [name])
          const next =
            Action === 'ADD'
              ? added(before, value ?? {}, WRONG_OLD_TYPE)
              : Action === 'PUT'
                ? value
                : value && before && without(before, value, WRONG_OLD_TYPE)
          putInto(item, name, next)
        }
        return undefined
      }),
  }
}
