import { BlockList, isIP } from 'node:net'
import { isObject } from '../json.ts'
import { refusePattern as refuse } from './errors.ts'
import { wildcard } from './wildcards.ts'

/** What a pattern can ask of one value. */

export type Scalar = string | number | boolean | null
export type Test = (value: Scalar) => boolean

export function onlyEntry(expression: Record<string, unknown>): [string, unknown] {
  const [entry, ...others] = Object.entries(expression)
  if (entry === undefined) refuse('Match expression name not found')
  if (others.length > 0) refuse('Only one key allowed in match expression')
  return entry
}

export function compileTest(name: string, operand: unknown): Test {
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
