import { BlockList, isIP } from 'node:net'
import { AwsError, isObject } from '../json.ts'

/**
 * Event patterns as EventBridge compiles and matches them. The rules and the words of the refusals are those of
 * AWS's own matcher, github.com/aws/event-ruler.
 */
export type EventMatcher = (event: object) => boolean

type Scalar = string | number | boolean | null
type Test = (value: Scalar) => boolean

/** What a pattern asks of one field: any of the tests, or (`exists: false`) that the field is not there. */
interface Condition {
  tests: Test[]
  mayBeAbsent: boolean
  /** The wildcards among the tests, as tokens. */
  wildcards: string[][]
  /** As it was written: what two alternatives of `$or` have in common is one to AWS. */
  text: string
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
  demandFewPrefixes(branches)
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
  const condition: Condition = {
    ...{ tests: [], mayBeAbsent: false },
    wildcards: alternatives.flatMap(wildcardsOf),
    text: JSON.stringify(alternatives),
  }
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
      return cidr(operand)
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

/** Addresses from the given one, which need not be the first of its network, to the last of the network. */
function cidr(operand: unknown): Test {
  if (typeof operand !== 'string') refuse('cidr match pattern must be a string')
  const [address = '', bits = '', ...others] = operand.split('/')
  if (bits === '' || others.length > 0) refuse("Malformed CIDR, one '/' required")
  if (!/^[+-]?\d+$/.test(bits)) refuse('Malformed CIDR, mask bits must be an integer')
  if (Number(bits) < 0) refuse('Malformed CIDR, mask bits must not be negative')
  const version = isIP(address)
  if (version === 0) refuse(`Nonstandard IP address: ${address}`)
  const { family, length, last } = version === 4 ? IPV4 : IPV6
  if (Number(bits) >= length) refuse(`IPv${version} mask bits must be < ${length}`)
  const [network, from] = [new BlockList(), new BlockList()]
  network.addSubnet(address, Number(bits), family)
  from.addRange(address, last, family)
  return (value) =>
    typeof value === 'string' &&
    isIP(value) === version &&
    network.check(value, family) &&
    from.check(value, family)
}
const IPV4 = { family: 'ipv4', length: 32, last: '255.255.255.255' } as const
const IPV6 = { family: 'ipv6', length: 128, last: 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff' } as const

/** Any characters, none included; `\*` and `\\` stand for a star and a backslash. */
const STAR = '**'

/** A wildcard's characters one by one, and its stars. */
function tokensOf(operand: string): string[] {
  const written = operand.match(/\\?./gs) ?? []
  return written.map((token, at) => {
    if (token === '*') {
      if (written[at - 1] === '*') refuse('Consecutive wildcard characters')
      return STAR
    }
    if (token.startsWith('\\') && !['\\*', '\\\\'].includes(token)) refuse('Invalid escape character')
    return token.slice(-1)
  })
}

/** Taken greedily, in linear time. */
function wildcard(operand: string): (text: string) => boolean {
  const pieces = ['']
  for (const token of tokensOf(operand)) {
    if (token === STAR) pieces.push('')
    else pieces.push(pieces.pop() + token)
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

/** The wildcards of one alternative, also those that must not match, each between the quotation marks of its text. */
function wildcardsOf(alternative: unknown): string[][] {
  if (!isObject(alternative)) return []
  const { 'anything-but': not, wildcard: operand = isObject(not) ? not['wildcard'] : undefined } = alternative
  return [operand].flat().flatMap((text) => (typeof text === 'string' ? [['"', ...tokensOf(text), '"']] : []))
}

/**
 * EventBridge refuses what could take its matcher long: where there is a value that more than ten beginnings of a
 * field's wildcards match at once. (event-ruler, MachineComplexityEvaluator; ten is what EventBridge was seen to let pass.)
 */
const MAX_PREFIXES = 10
/** Of these none but made-up patterns have more. */
const MAX_PREFIX_SETS = 20_000

function demandFewPrefixes(branches: Branch[]): void {
  // AWS looks at one field after the other, in the order of their names; alternatives that begin alike share a field.
  const fields = new Map<string, Map<string, string[]>>()
  for (const branch of branches) {
    let before = ''
    for (const [path, { wildcards, tests, text }] of [...branch].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const field = fields.get(`${before} ${path}`) ?? new Map<string, string[]>()
      fields.set(`${before} ${path}`, field)
      for (const tokens of wildcards) field.set(tokens.join(' '), tokens)
      // What comes behind a field that must be absent is not looked at.
      if (tests.length === 0) break
      before += ` ${path} ${text}`
    }
  }
  for (const field of fields.values()) {
    if (!hasFewPrefixes([...field.values()])) {
      refuse(
        'Rule is too complex - try using fewer wildcard characters or fewer repeating character sequences after a wildcard character',
      )
    }
  }
}

/** Follows all values at once: after each character, which beginnings of which wildcards match what there is so far. */
function hasFewPrefixes(wildcards: string[][]): boolean {
  if (wildcards.length === 0) return true
  const alphabet = new Set(wildcards.flat())
  // A star is one of these: it stands for all characters that are in no wildcard.
  const starts = wildcards.map((_, index) => [index, 0] as const)
  const seen = new Set<string>()
  const waiting: (readonly (readonly [wildcard: number, length: number])[])[] = [starts]
  for (const matched of waiting) {
    for (const character of alphabet) {
      const next = new Map<string, readonly [number, number]>()
      const add = (index: number, length: number): void => {
        next.set(`${index} ${length}`, [index, length])
        // A star matches nothing, too.
        if (wildcards[index]?.[length] === STAR) next.set(`${index} ${length + 1}`, [index, length + 1])
      }
      for (const [index, length] of matched) {
        const tokens = wildcards[index] ?? []
        if (tokens[length - 1] === STAR) add(index, length)
        if (tokens[length] === character && character !== STAR) add(index, length + 1)
      }
      if (next.size > MAX_PREFIXES) return false
      const key = [...next.keys()].sort().join()
      if (next.size === 0 || seen.has(key)) continue
      seen.add(key)
      if (seen.size > MAX_PREFIX_SETS) return false
      waiting.push([...next.values()])
    }
  }
  return true
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
