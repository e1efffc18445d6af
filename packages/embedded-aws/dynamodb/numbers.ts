/** Decimals as the emulator stores them: without an exponent, of any length. */
interface Decimal {
  /** The number times ten to the power of `places`. */
  whole: bigint
  places: number
}

function parse(number: string, least = 0): Decimal {
  const [integer = '', fraction = ''] = number.split('.')
  const places = Math.max(fraction.length, least)
  return { whole: BigInt(integer + fraction.padEnd(places, '0')), places }
}
const placesOf = (number: string): number => number.split('.')[1]?.length ?? 0

function aligned(a: string, b: string): { left: bigint; right: bigint; places: number } {
  const places = Math.max(placesOf(a), placesOf(b))
  return { left: parse(a, places).whole, right: parse(b, places).whole, places }
}

/** @returns less than, equal to or greater than 0 */
export function compareNumbers(a: string, b: string): number {
  const { left, right } = aligned(a, b)
  return left < right ? -1 : Number(left > right)
}
