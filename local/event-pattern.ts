import { AwsError } from './aws-json.ts'

/**
 * Event patterns as EventBridge compiles and matches them. The rules and the words of the refusals are those of
 * AWS's own matcher, github.com/aws/event-ruler. Not here: `cidr`, which is refused by name.
 */
export type EventMatcher = (event: object) => boolean

type Scalar = string | number | boolean | null
type Test = (value: Scalar) => boolean

/** What a pattern asks of one field: any of the tests, or (`exists: false`) that the field is not there. */
interface Condition {
  tests: Test[]
  mayBeAbsent: boolean
}
/** One way to match: every path holds. Each `$or` multiplies the ways. */
type Branch = Map<string, Condition>

/** A value of the event, and which element of which arrays it stands in. */
interface Leaf {
  value: Scalar
  place: Map<unknown[], number>
}

/** A short pattern with many `$or` multiplies without end; no useful one comes near this. */
const MAX_BRANCHES = 1_000

function refuse(reason: string): never {
  throw new AwsError('InvalidEventPatternException', `Event pattern is not valid. Reason: ${reason}`)
}

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** @throws AwsError InvalidEventPatternException, which names what is wrong or not supported */
export function compileEventPattern(text: string): EventMatcher {
  let pattern: unknown
  try {
    pattern = JSON.parse(text)
  } catch (error) {
    refuse((error as SyntaxError).message)
  }
  if (!isObject(pattern)) refuse('Filter is not an object')
  const branches = expand(pattern, '', [new Map()])
  return (event) => {
    const leaves = new Map<string, Leaf[]>()
    collectLeaves(event, undefined, new Map(), leaves)
    return branches.some((branch) => matches(branch, leaves))
  }
}

/**
 * Paths are joined by dots, so that the key `a.b` and the key `b` inside `a` are the same field, as on AWS.
 */
function expand(pattern: Record<string, unknown>, prefix: string, branches: Branch[]): Branch[] {
  if (Object.keys(pattern).length === 0) refuse('Empty objects are not allowed')
  for (const [key, value] of Object.entries(pattern)) {
    if (key === '$or' && Array.isArray(value)) {
      const base = branches
      const alternatives = value.map((alternative: unknown) =>
        isObject(alternative)
          ? alternative
          : refuse('Only JSON object is allowed in array of $or relationship.'),
      )
      if (alternatives.length < 2) refuse('There must have at least 2 Objects in $or relationship.')
      branches = alternatives.flatMap((alternative) => expand(alternative, prefix, base))
      if (branches.length > MAX_BRANCHES) refuse(`Rule is too complex: over ${MAX_BRANCHES} combinations`)
    } else if (Array.isArray(value)) {
      const condition = compileCondition(value)
      branches = branches.map((branch) => new Map(branch).set(prefix + key, condition))
    } else if (isObject(value)) {
      branches = expand(value, `${prefix}${key}.`, branches)
    } else {
      refuse(`"${key}" must be an object or an array`)
    }
  }
  return branches
}

function compileCondition(alternatives: unknown[]): Condition {
  if (alternatives.length === 0) refuse('Empty arrays are not allowed')
  const condition: Condition = { tests: [], mayBeAbsent: false }
  for (const alternative of alternatives) {
    if (Array.isArray(alternative)) refuse('Match value must be String, number, true, false, or null')
    if (!isObject(alternative)) {
      condition.tests.push((value) => value === alternative)
      continue
    }
    const [name, operand] = onlyEntry(alternative)
    if (name !== 'exists') condition.tests.push(compileTest(name, operand))
    else if (operand === true) condition.tests.push(() => true)
    else if (operand === false) condition.mayBeAbsent = true
    else refuse('exists match pattern must be either true or false.')
  }
  return condition
}

function onlyEntry(expression: Record<string, unknown>): [string, unknown] {
  const [entry, ...others] = Object.entries(expression)
  if (entry === undefined) refuse('Match expression name not found')
  if (others.length > 0) refuse('Only one key allowed in match expression')
  return entry
}

function compileTest(name: string, operand: unknown): Test {
  switch (name) {
    case 'anything-but':
      return anythingBut(operand)
    case 'numeric':
      return numeric(operand)
    case 'prefix':
    case 'suffix':
      if (isObject(operand) && Object.keys(operand).join() === 'equals-ignore-case')
        return textTest(name, operand['equals-ignore-case'], (text) => text.toLowerCase())
      return textTest(name, operand)
    case 'equals-ignore-case':
    case 'wildcard':
      return textTest(name, operand)
    case 'cidr':
      return refuse('cidr is not supported by the embedded EventBridge')
    default:
      return refuse(`Unrecognized match type ${name}`)
  }
}

type TextOperator = 'prefix' | 'suffix' | 'equals-ignore-case' | 'wildcard'
const textOperators: Record<TextOperator, (operand: string) => (text: string) => boolean> = {
  prefix: (operand) => (text) => text.startsWith(operand),
  suffix: (operand) => (text) => text.endsWith(operand),
  'equals-ignore-case': (operand) => (text) => text.toLowerCase() === operand.toLowerCase(),
  wildcard,
}

function textTest(name: TextOperator, operand: unknown, fold = (text: string) => text): Test {
  if (typeof operand !== 'string') refuse(`${name} match pattern must be a string`)
  const test = textOperators[name](fold(operand))
  return (value) => typeof value === 'string' && test(fold(value))
}

/** `*` stands for any characters, none included; `\*` and `\\` for themselves. Taken greedily, in linear time. */
function wildcard(operand: string): (text: string) => boolean {
  const pieces = ['']
  const tokens = operand.match(/\\?./gs) ?? []
  for (const [at, token] of tokens.entries()) {
    if (token === '*') {
      if (tokens[at - 1] === '*') refuse('Consecutive wildcard characters')
      pieces.push('')
      continue
    }
    if (token.startsWith('\\') && !['\\*', '\\\\'].includes(token)) refuse('Invalid escape character')
    pieces.push(pieces.pop() + token.slice(-1))
  }
  const [first = '', ...others] = pieces
  const last = others.pop()
  return (text) => {
    if (last === undefined) return text === first
    if (!text.startsWith(first)) return false
    let at = first.length
    for (const piece of others) {
      const found = text.indexOf(piece, at)
      if (found === -1) return false
      at = found + piece.length
    }
    return text.length - last.length >= at && text.endsWith(last)
  }
}

/** Any value but these. A field that is not there has no value, and so does not match. */
function anythingBut(operand: unknown): Test {
  if (isObject(operand)) {
    const [name, inner] = onlyEntry(operand)
    if (!Object.hasOwn(textOperators, name)) refuse(`Unsupported anything-but pattern: ${name}`)
    const tests = [inner].flat().map((text) => {
      if (text === '' && (name === 'prefix' || name === 'suffix')) refuse('Null prefix/suffix not allowed')
      return textTest(name as TextOperator, text)
    })
    if (tests.length === 0) refuse('Empty arrays are not allowed')
    return (value) => !tests.some((test) => test(value))
  }
  const values = [operand].flat()
  const allOf = (type: string) => values.length > 0 && values.every((value) => typeof value === type)
  if (!allOf('string') && !allOf('number'))
    refuse('Inside anything but list, either all values are number or string, mixed type is not supported')
  return (value) => !values.includes(value)
}

const comparisons: Record<string, (value: number, bound: number) => boolean> = {
  '=': (value, bound) => value === bound,
  '<': (value, bound) => value < bound,
  '<=': (value, bound) => value <= bound,
  '>': (value, bound) => value > bound,
  '>=': (value, bound) => value >= bound,
}

/** One comparison, or a lower bound and then an upper one. */
function numeric(operand: unknown): Test {
  if (!Array.isArray(operand)) refuse('Value of numeric must be an array.')
  const terms: { operator: string; bound: number; holds: (value: number, bound: number) => boolean }[] = []
  for (let at = 0; at < operand.length; at += 2) {
    const operator: unknown = operand[at]
    const bound: unknown = operand[at + 1]
    if (typeof operator !== 'string') refuse(`Invalid member in numeric match: ${operator}`)
    const holds = Object.hasOwn(comparisons, operator) ? comparisons[operator] : undefined
    if (holds === undefined) refuse(`Unrecognized numeric range operator: ${operator}`)
    if (typeof bound !== 'number') refuse(`Value of ${operator} must be numeric`)
    terms.push({ operator, bound, holds })
  }
  const [low, high] = terms
  if (low === undefined) refuse('Invalid member in numeric match: ]')
  if (high !== undefined) {
    if (terms.length > 2 || !low.operator.startsWith('>')) refuse('Too many elements in numeric expression')
    if (!high.operator.startsWith('<')) refuse(`Bad numeric range operator: ${high.operator}`)
    if (low.bound >= high.bound) refuse('Bottom must be less than top')
  }
  return (value) => typeof value === 'number' && terms.every(({ holds, bound }) => holds(value, bound))
}

/** Only leaves are fields: an object, an empty object and an empty array count as absent, as on AWS. */
function collectLeaves(
  node: unknown,
  path: string | undefined,
  place: Leaf['place'],
  leaves: Map<string, Leaf[]>,
): void {
  if (Array.isArray(node)) {
    node.forEach((element, index) => {
      collectLeaves(element, path, new Map(place).set(node, index), leaves)
    })
  } else if (isObject(node)) {
    for (const [key, value] of Object.entries(node))
      collectLeaves(value, path === undefined ? key : `${path}.${key}`, place, leaves)
  } else if (path !== undefined) {
    const others = leaves.get(path) ?? []
    others.push({ value: node as Scalar, place })
    leaves.set(path, others)
  }
}

/**
 * Every path of the branch needs a leaf that passes, and the leaves must agree on the array elements they stand
 * in: `{"labels": {"Name": ["Dog"], "Confidence": [99]}}` asks both of the same element.
 */
function matches(branch: Branch, leaves: Map<string, Leaf[]>): boolean {
  const candidates: Leaf[][] = []
  for (const [path, { tests, mayBeAbsent }] of branch) {
    const present = leaves.get(path)
    if (present === undefined && mayBeAbsent) continue
    const passing = (present ?? []).filter(({ value }) => tests.some((test) => test(value)))
    if (passing.length === 0) return false
    candidates.push(passing)
  }
  const agree = (at: number, chosen: Leaf['place']): boolean =>
    candidates[at]?.some(
      ({ place }) =>
        [...place].every(([array, index]) => (chosen.get(array) ?? index) === index) &&
        agree(at + 1, new Map([...chosen, ...place])),
    ) ?? true
  return agree(0, new Map())
}
