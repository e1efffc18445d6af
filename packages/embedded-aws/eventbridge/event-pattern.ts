import { isObject } from '../json.ts'
import { refusePattern as refuse } from './errors.ts'
import { compileTest, onlyEntry, type Scalar, type Test } from './pattern-tests.ts'
import { hasFewPrefixes, wildcardsOf } from './wildcards.ts'

/**
 * Event patterns as EventBridge compiles and matches them. The rules and the words of the refusals are those of
 * AWS's own matcher, github.com/aws/event-ruler.
 */
export type EventMatcher = (event: object) => boolean

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

/** Names that a field within `$or` cannot have: those of operators, also of some that are to come. */
const RESERVED = new Set(
  'exactly equals-ignore-case prefix suffix anything-but exists wildcard numeric cidr = < <= > >= regex not-wildcard not-equals-ignore-case date-after date-on-or-after date-before date-on-or-before in-date-range ip-address-in-range ip-address-not-in-range'.split(
    ' ',
  ),
)

/**
 * Paths are joined by dots, so that the key `a.b` and the key `b` inside `a` are the same field, as on AWS.
 */
function expand(
  pattern: Record<string, unknown>,
  prefix: string,
  branches: Branch[],
  isInOr = false,
): Branch[] {
  if (Object.keys(pattern).length === 0) refuse('Empty objects are not allowed')
  for (const [key, value] of Object.entries(pattern)) {
    if (isInOr && RESERVED.has(key))
      refuse(`${key} is Ruler reserved fieldName which cannot be used inside $or.`)
    if (key === '$or' && Array.isArray(value)) {
      const base = branches
      const alternatives = value.map((alternative: unknown) =>
        isObject(alternative)
          ? alternative
          : refuse('Only JSON object is allowed in array of $or relationship.'),
      )
      if (alternatives.length < 2) refuse('There must have at least 2 Objects in $or relationship.')
      branches = alternatives.flatMap((alternative) => expand(alternative, prefix, base, true))
      if (branches.length > MAX_BRANCHES) refuse(`Rule is too complex: over ${MAX_BRANCHES} combinations`)
    } else if (Array.isArray(value)) {
      const condition = compileCondition(value)
      branches = branches.map((branch) => new Map(branch).set(prefix + key, condition))
    } else if (isObject(value)) {
      branches = expand(value, `${prefix}${key}.`, branches, isInOr)
    } else {
      refuse(`"${key}" must be an object or an array`)
    }
  }
  return branches
}

function compileCondition(alternatives: unknown[]): Condition {
  if (alternatives.length === 0) refuse('Empty arrays are not allowed')
  const condition: Condition = {
    tests: [],
    mayBeAbsent: false,
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
