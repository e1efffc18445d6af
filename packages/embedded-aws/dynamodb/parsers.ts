import { readFileSync } from 'node:fs'
import { compile, replaceExports } from './replaced.ts'

/** The emulator's parsers of expressions; what they throw is an answer as well. */
const PARSERS = ['conditionParser', 'updateParser', 'projectionParser']

/**
 * Has the emulator's parsers remember what a rule has found at a place, as pegjs has them do with its option `cache`, which
 * they are made without: each pair of parentheses took three times as long as the one within it, so a filter of twelve
 * conditions as boto3 writes it, ((a AND b) AND c) AND …, kept everything on this endpoint waiting for ten seconds.
 */
export function quicken(load: NodeJS.Require): void {
  for (const name of PARSERS) {
    const file = load.resolve(`./db/${name}`)
    const source = remembering(readFileSync(file, 'utf8'))
    replaceExports(load, file, compile(name === 'conditionParser' ? negating(source) : source, file))
  }
}

/** @throws Error where the emulator's source is no longer as pegjs 0.10 makes it */
function remembering(source: string): string {
  let rules = 0
  const ruled = source.replaceAll(/^ {2}function (peg\$parse\w+)\(\) \{$/gm, (_, rule) => {
    rules += 1
    return `  function ${rule}() { return remember(${rules}, ${rule}Anew) }\n  function ${rule}Anew() {`
  })
  const start = 'function peg$parse(input, options) {'
  if (rules === 0 || !ruled.includes(start))
    throw new Error('The parsers of the embedded DynamoDB are not as expected.')
  return ruled.replace(
    start,
    `${start}
  const found = new Map()
  function remember(rule, parse) {
    // What is looked ahead for is not what an error names as expected.
    if (peg$silentFails > 0) return parse()
    const key = peg$currPos * ${rules + 1} + rule
    let known = found.get(key)
    if (known === undefined) found.set(key, known = { result: parse(), next: peg$currPos })
    peg$currPos = known.next
    return known.result
  }`,
  )
}

/** `NOT NOT a = :a`, of which the emulator takes one NOT. @throws Error where its source is another */
function negating(source: string): string {
  const rule = /(s1 = peg\$parseNotToken\(\);\s+if .*\s+s2 = .*\s+if .*\s+s3 = peg\$parse)Parens/
  if (!rule.test(source))
    throw new Error('The parser of conditions of the embedded DynamoDB is not as expected.')
  return source.replace(rule, '$1Not')
}
