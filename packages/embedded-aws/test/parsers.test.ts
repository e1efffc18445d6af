import { createRequire } from 'node:module'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { quicken } from '../dynamodb/parsers.ts'

const load = createRequire(import.meta.resolve('dynalite'))
interface Parser {
  parse: (expression: string, options: object) => unknown
}

/** As the emulator has them, and as they are here. */
function parsersOf(name: string): { its: Parser; ours: Parser } {
  const file = load.resolve(`./db/${name}`)
  const { [file]: known } = load.cache
  delete load.cache[file]
  const its: Parser = { ...load(file) }
  quicken(load)
  const ours: Parser = { ...load(file) }
  // Who has loaded it before goes on with that.
  if (known !== undefined) load.cache[file] = known
  return { its, ours }
}

let askedFor = 0
const isReserved = (name: string): boolean => {
  askedFor += 1
  return name === 'status'
}
/** What comes of an expression: also an error's words, and the names and values that it has made use of. */
function outcome({ parse }: Parser, expression: string): unknown {
  const values = { ':o': { S: 'a' }, ':p': { N: '1' } }
  const context = {
    ...{ attrNames: { '#a': 'a', '#s': 'status' }, unusedAttrNames: { '#a': true, '#s': true } },
    ...{ attrVals: values, unusedAttrVals: { ':o': true, ':p': true } },
    isReserved,
  }
  try {
    return [parse(expression, { context }), context]
  } catch (error) {
    const { name, message, location } = error as Error & { location: object }
    return [name, message, location, context]
  }
}

const operand = fc.constantFrom(
  ...['a', 'b.c[1]', '#a', '#s.x', 'status', '#none', '(a)', '((a))', ':o', ':p', ':none', 'size(a)', 'a b'],
)
const { condition } = fc.letrec<{ condition: string }>((tie) => ({
  condition: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.tuple(operand, fc.constantFrom('=', '<>', '<', '>='), operand).map((parts) => parts.join(' ')),
    fc.tuple(operand, operand, operand).map(([x, y, z]) => `${x} BETWEEN ${y} AND ${z}`),
    fc.tuple(operand, operand).map(([x, y]) => `${x} IN (${y}, :o)`),
    operand.map((one) => `attribute_exists(${one})`),
    tie('condition').map((one) => `NOT ${one}`),
    tie('condition').map((one) => `(${one})`),
    fc
      .tuple(tie('condition'), fc.constantFrom('AND', 'OR'), tie('condition'))
      .map(([x, token, y]) => `(${x}) ${token} ${y}`),
  ),
}))
const change = fc
  .tuple(fc.constantFrom('SET', 'REMOVE', 'ADD', 'DELETE'), operand, operand)
  .map(
    ([verb, x, y]) => `${verb} ${x} ${verb === 'SET' ? `= if_not_exists(${x}, ${y}) + (:p), b = ${y}` : y}`,
  )
const PARSERS = {
  conditionParser: condition,
  updateParser: fc.array(change, { minLength: 1, maxLength: 3 }).map((parts) => parts.join(' ')),
  projectionParser: fc.array(operand, { minLength: 1, maxLength: 4 }).map((parts) => parts.join(', ')),
}

/** What is longer takes the emulator's own too long; and it expects no NOT behind another. */
const isForBoth = (text: string): boolean => text.length < 200 && !/\bNOT\s*(NOT\b|[^\s(#:\w]|$)/.test(text)

it.each(Object.entries(PARSERS))('%s finds what the emulator finds', (name, expressions) => {
  const { its, ours } = parsersOf(name)
  const cut = fc.tuple(expressions, fc.nat(400)).map(([text, at]) => text.slice(0, at))
  fc.assert(
    fc.property(fc.oneof(expressions, cut).filter(isForBoth), (text) => {
      expect(outcome(ours, text)).toEqual(outcome(its, text))
    }),
    { numRuns: 300 },
  )
})

it('conditions that were joined one by one, as boto3 does, are each looked at once', () => {
  const { ours } = parsersOf('conditionParser')
  const terms = 8
  askedFor = 0
  expect(outcome(ours, `${'('.repeat(terms)}a = :o${' AND a = :o)'.repeat(terms)}`)).toMatchObject([
    { expression: { type: 'and' } },
    {},
  ])
  expect(askedFor).toBe(terms + 1)
})
