import { runInNewContext } from 'node:vm'
import { expect, it } from 'vitest'
import { checkNum } from '../dynamodb/numbers.ts'

/** Ended long after one pass over the text, and hours before a look at each pair of its digits. */
const bounded = (text: string): unknown => {
  const holder = { n: text }
  const check = () => [checkNum('n', holder), holder.n.length]
  try {
    return runInNewContext('check()', { check }, { timeout: 5_000 })
  } catch (error) {
    return error
  }
}

const MANY = 2_000_000

it.each([
  ['digits and a letter', `${'0'.repeat(MANY)}x`, 'The parameter cannot be converted'],
  ['zeros between two digits', `1${'0'.repeat(MANY)}1`, 'Number overflow'],
  ['zeros before a last digit', `0.1${'0'.repeat(MANY)}1`, 'Attempting to store more than 38'],
])('a number of millions of %s is refused without a halt of the whole emulator', (_, text, why) => {
  expect(bounded(text)).toEqual([expect.stringContaining(why), text.length])
})

it.each(['1', '0.1', '0'])('%s is the same with millions of zeros behind it', (number) => {
  const point = number.includes('.') ? '' : '.'
  expect(bounded(`${number}${point}${'0'.repeat(MANY)}`)).toEqual([undefined, number.length])
})
