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

const MOST_DIGITS = 38
/** Powers of ten of the first digit. */
const LARGEST = 125
const SMALLEST = -130

/** @returns undefined where the sum has no place in DynamoDB (developer guide, "Supported data types": numbers) */
export function sumOf(a: string, b: string, sign: 1 | -1 = 1): string | undefined {
  const { left, right, places } = aligned(a, b)
  const sum = left + BigInt(sign) * right
  const digits = String(sum < 0n ? -sum : sum)
  const significant = digits.replace(/0+$/, '').length
  const magnitude = digits.length - 1 - places
  if (sum !== 0n && (significant > MOST_DIGITS || magnitude > LARGEST || magnitude < SMALLEST))
    return undefined
  const padded = digits.padStart(places + 1, '0')
  const integer = padded.slice(0, padded.length - places)
  const fraction = padded.slice(padded.length - places).replace(/0+$/, '')
  return `${sum < 0n ? '-' : ''}${integer}${fraction === '' ? '' : `.${fraction}`}`
}

const NUMBER = /^([+-]?)(\d*)(?:\.(\d*))?(?:e([+-]?\d+))?$/i

/**
 * In place of the emulator's function of this name, which knows no sign but minus.
 *
 * @param holder gets the number as it is stored
 * @returns what DynamoDB says of one that it does not take
 */
export function checkNum(name: string | number, holder: Record<string | number, string>): string | undefined {
  const text = holder[name] ?? ''
  if (text === '') return 'The parameter cannot be converted to a numeric value'
  const [, sign = '', integer = '', fraction = '', exponent = '0'] = NUMBER.exec(text) ?? []
  const written = integer + fraction
  if (written === '') return `The parameter cannot be converted to a numeric value: ${text}`
  const leading = written.length - written.replace(/^0+/, '').length
  // In one pass: a number may have as many digits as a request has bytes.
  const digits = /^\d*[1-9]/.exec(written.slice(leading))?.[0] ?? ''
  if (digits === '') {
    holder[name] = '0'
    return undefined
  }
  const magnitude = integer.length - leading - 1 + Number(exponent)
  if (magnitude > LARGEST)
    return 'Number overflow. Attempting to store a number with magnitude larger than supported range'
  if (magnitude < SMALLEST)
    return 'Number underflow. Attempting to store a number with magnitude smaller than supported range'
  if (digits.length > MOST_DIGITS) return 'Attempting to store more than 38 significant digits in a Number'
  const whole = digits.slice(0, Math.max(magnitude + 1, 0)).padEnd(magnitude + 1, '0')
  const rest = '0'.repeat(Math.max(-magnitude - 1, 0)) + digits.slice(Math.max(magnitude + 1, 0))
  holder[name] = `${sign === '-' ? '-' : ''}${whole || '0'}${rest === '' ? '' : `.${rest}`}`
  return undefined
}
