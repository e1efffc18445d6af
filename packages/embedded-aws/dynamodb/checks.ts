import { type Expression, isExpression, isPath, type OldCondition, typeOf, type Value } from './conditions.ts'
import type { Section } from './updates.ts'

/** What the emulator has made of a request. */
export interface Checked {
  Key?: object
  IndexName?: string
  Select?: string
  AttributesToGet?: string[]
  ProjectionExpression?: string
  ConditionalOperator?: string
  Expected?: Record<string, OldCondition>
  KeyConditions?: Record<string, OldCondition>
  QueryFilter?: Record<string, OldCondition>
  ScanFilter?: Record<string, OldCondition>
  AttributeUpdates?: Record<string, { Action?: string }>
  ReturnValues?: string
  TotalSegments?: number
  Tags?: { Key?: string; Value?: string }[]
  _condition?: { expression: Expression }
  _filter?: { expression: Expression }
  _updates?: { sections: Section[] }
}

const ORDERED = ['S', 'N', 'B']
/** How many values an operator takes, and of which types; of all where there are none. */
const TAKES = new Map<string, { least: number; most: number; types?: string[] }>([
  ...['EQ', 'NE'].map((name) => [name, { least: 1, most: 1 }] as const),
  ...['LE', 'LT', 'GE', 'GT', 'CONTAINS', 'NOT_CONTAINS'].map(
    (name) => [name, { least: 1, most: 1, types: ORDERED }] as const,
  ),
  ...['NULL', 'NOT_NULL'].map((name) => [name, { least: 0, most: 0 }] as const),
  ['BEGINS_WITH', { least: 1, most: 1, types: ['S', 'B'] }],
  ['IN', { least: 1, most: Number.POSITIVE_INFINITY, types: ORDERED }],
  ['BETWEEN', { least: 2, most: 2, types: ORDERED }],
])
const INVALID = 'One or more parameter values were invalid: '

function wrongTypes(operator: string, values: Value[]): string | undefined {
  const { types } = TAKES.get(operator) ?? {}
  const wrong = values.map(typeOf).find((type) => types?.includes(type) === false)
  return wrong === undefined
    ? undefined
    : `${INVALID}ComparisonOperator ${operator} is not valid for ${wrong} AttributeValue type`
}

/** In place of the emulator's function, to which only some types could be equal. */
export const createValidateConditions =
  (
    validateAttributeValue: (value: Value) => string | undefined,
    compare: (operator: string, value: Value | undefined, others: Value | undefined) => boolean,
  ) =>
  (conditions: Record<string, OldCondition> | undefined): string | undefined => {
    for (const { ComparisonOperator = '', AttributeValueList: values = [] } of Object.values(
      conditions ?? {},
    )) {
      const { least = 0, most = 0 } = TAKES.get(ComparisonOperator) ?? {}
      const refused = values.map(validateAttributeValue).find((message) => message)
      if (refused) return refused
      if (values.length < least || values.length > most)
        return `${INVALID}Invalid number of argument(s) for the ${ComparisonOperator} ComparisonOperator`
      if (new Set(values.map(typeOf)).size > 1)
        return `${INVALID}AttributeValues inside AttributeValueList must be of same type`
      const wrong = wrongTypes(ComparisonOperator, values)
      if (wrong !== undefined) return wrong
      if (ComparisonOperator === 'BETWEEN' && compare('GT', values[0], values[1]))
        return 'The BETWEEN condition was provided a range where the lower bound is greater than the upper bound'
    }
    return undefined
  }

const COMPARISONS = ['<', '<=', '>', '>=', 'between']

/** A value of an expression that has no order, or an attribute beside itself. Of what an item has, it is known only then. */
function wrongOperand({ type, args }: Expression): string | undefined {
  const [first, ...others] = args.map((arg) => isPath(arg) && JSON.stringify(arg))
  if ((type === 'in' || type === 'between') && first && others.includes(first))
    return `The first operand must be distinct from the remaining operands for this operator or function; operator: ${type.toUpperCase()}, first operand: ${first}`
  for (const arg of args) {
    if (isPath(arg)) continue
    const wrong = isExpression(arg)
      ? wrongOperand(arg)
      : COMPARISONS.includes(type) && !ORDERED.includes(typeOf(arg))
        ? `Incorrect operand type for operator or function; operator or function: ${type.toUpperCase()}, operand type: ${typeOf(arg)}`
        : undefined
    if (wrong !== undefined) return wrong
  }
  return undefined
}

/** Amazon DynamoDB quotas; the documents name them for updates and IN alone. */
const MOST_OPERATORS = 300
const MOST_OPERANDS = 100

const operatorsOf = ({ type, args }: Expression): number =>
  args.reduce(
    (sum, arg) => sum + (!isPath(arg) && isExpression(arg) ? operatorsOf(arg) : 0),
    type === 'function' ? 0 : 1,
  )

function wrongCount(expression: Expression): string | undefined {
  // It counts no further.
  if (operatorsOf(expression) > MOST_OPERATORS)
    return `The expression contains too many operators; operator count: ${MOST_OPERATORS + 1}`
  const operands = expression.type === 'in' ? expression.args.length - 1 : 0
  if (operands > MOST_OPERANDS)
    return `The IN operator is provided with too many operands; number of operands: ${operands}`
  return expression.args
    .map((arg) => (!isPath(arg) && isExpression(arg) ? wrongCount(arg) : undefined))
    .find((message) => message !== undefined)
}

/** No item has such a key. */
function wrongKey(conditions: Record<string, OldCondition> = {}): string | undefined {
  for (const [name, { ComparisonOperator, AttributeValueList: [value] = [] }] of Object.entries(conditions)) {
    const kind = value?.['S'] === '' ? 'string' : value?.['B'] === '' ? 'binary' : undefined
    if (ComparisonOperator === 'EQ' && kind !== undefined)
      return `One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty ${kind} value. Key: ${name}`
  }
  return undefined
}

function wrongRead({
  IndexName,
  Select,
  AttributesToGet,
  ProjectionExpression,
}: Checked): string | undefined {
  const named = AttributesToGet ? 'AttributesToGet' : ProjectionExpression && 'ProjectionExpression'
  if (Select === 'SPECIFIC_ATTRIBUTES' && named === undefined)
    return 'Must specify the AttributesToGet or ProjectionExpression when choosing to get SPECIFIC_ATTRIBUTES'
  if (Select !== undefined && Select !== 'SPECIFIC_ATTRIBUTES' && named !== undefined)
    return `Cannot specify the ${named} when choosing to get ${Select === 'COUNT' ? 'only the Count' : Select}`
  if (Select === 'ALL_PROJECTED_ATTRIBUTES' && IndexName === undefined)
    return 'ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an IndexName'
  return undefined
}

function wrongOldCondition({ Expected, QueryFilter, ScanFilter, ConditionalOperator }: Checked) {
  const conditions = Object.values(Expected ?? QueryFilter ?? ScanFilter ?? {})
  if (ConditionalOperator !== undefined && conditions.length === 0)
    return 'ConditionalOperator cannot be used without Filter or Expected'
  return conditions
    .map(({ ComparisonOperator = '', AttributeValueList, Value: value }) =>
      wrongTypes(ComparisonOperator, AttributeValueList ?? (value ? [value] : [])),
    )
    .find((message) => message !== undefined)
}

const MOST_SEGMENTS = 1_000_000
const failed = (value: unknown, where: string, constraint: string): string =>
  `1 validation error detected: Value '${value}' at '${where}' failed to satisfy constraint: ${constraint}`

/** @returns what DynamoDB refuses in a request that the emulator takes */
export function refusalOfUse(operation: string, checked: Checked): string | undefined {
  const { ReturnValues, TotalSegments = 0, AttributeUpdates = {}, Tags = [], _condition, _filter } = checked
  if (operation === 'DeleteItem' && !['NONE', 'ALL_OLD'].includes(ReturnValues ?? 'NONE'))
    return 'ReturnValues can only be ALL_OLD or NONE'
  if (TotalSegments > MOST_SEGMENTS)
    return failed(
      TotalSegments,
      'totalSegments',
      `Member must have value less than or equal to ${MOST_SEGMENTS}`,
    )
  for (const [name, { Action = 'PUT' }] of Object.entries(AttributeUpdates))
    if (!['ADD', 'PUT', 'DELETE'].includes(Action))
      return failed(
        Action,
        `attributeUpdates.${name}.member.action`,
        'Member must satisfy enum value set: [ADD, PUT, DELETE]',
      )
  const [bare] = Tags.filter(({ Key, Value }) => !Key || Value === undefined)
  if (bare !== undefined)
    return `1 validation error detected: Value null at 'tags.1.member.${bare.Key ? 'value' : 'key'}' failed to satisfy constraint: Member must not be null`
  const isRead = operation === 'Query' || operation === 'Scan'
  const wrong = wrongOldCondition(checked) ?? (isRead ? wrongRead(checked) : undefined)
  if (wrong !== undefined) return wrong
  for (const [name, parsed] of Object.entries({ Condition: _condition, Filter: _filter })) {
    const operand = parsed && (wrongCount(parsed.expression) ?? wrongOperand(parsed.expression))
    if (operand !== undefined) return `Invalid ${name}Expression: ${operand}`
  }
  return operation === 'Query' ? wrongKey(checked.KeyConditions) : undefined
}
