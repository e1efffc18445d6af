import { isObject } from '../json.ts'
import { refusePattern as refuse } from './errors.ts'

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
export function wildcard(operand: string): (text: string) => boolean {
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
export function wildcardsOf(alternative: unknown): string[][] {
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

/** Follows all values at once: after each character, which beginnings of which wildcards match what there is so far. */
export function hasFewPrefixes(wildcards: string[][]): boolean {
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
