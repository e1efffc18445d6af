import type { Tensor } from './onnx.ts'

export interface Weight {
  name: string
  shape: number[]
  dtype: string
  quantization?: Quantization
}
interface Quantization {
  dtype: string
  scale?: number
  min?: number
}

/** The weights of a graph, which lie one after another, as the numbers that ONNX has. */
export function readWeights(weights: Weight[], bytes: Uint8Array): Map<string, Tensor> {
  const all = new Map<string, Tensor>()
  let at = 0
  for (const { name, shape, dtype, quantization } of weights) {
    const length = shape.reduce((product, dim) => product * dim, 1)
    const stored = quantization?.dtype ?? dtype
    const Numbers = NUMBERS[stored]
    if (Numbers === undefined)
      throw new Error(`The weights of ${name} are ${stored}, which is not known here.`)
    const end = at + length * Numbers.BYTES_PER_ELEMENT
    // Copied, as a number of four bytes has to lie at a multiple of four.
    const numbers = new Numbers(new Uint8Array(bytes.subarray(at, end)).buffer)
    const values = dtype === 'int32' ? BigInt64Array.from(numbers, BigInt) : floatsOf(numbers, quantization)
    all.set(name, { dims: shape, values })
    at = end
  }
  if (at !== bytes.length) throw new Error(`The weights have ${bytes.length} bytes instead of ${at}.`)
  return all
}

const NUMBERS: Record<string, NumbersOf> = {
  float32: Float32Array,
  int32: Int32Array,
  uint8: Uint8Array,
  float16: Uint16Array,
}
interface NumbersOf {
  BYTES_PER_ELEMENT: number
  new (buffer: ArrayBuffer): Float32Array | Int32Array | Uint8Array | Uint16Array
}

function floatsOf(numbers: ArrayLike<number>, quantization?: Quantization): Float32Array {
  if (quantization === undefined && numbers instanceof Float32Array) return numbers
  const { dtype, scale = 1, min = 0 } = quantization ?? {}
  // Looked up: to work it out for each of millions of weights is half of the whole conversion.
  if (dtype === 'float16') halves ??= Float32Array.from({ length: 0x10000 }, (_, bits) => halfFloat(bits))
  const floats = new Float32Array(numbers.length)
  for (let index = 0; index < floats.length; index += 1) {
    const number = numbers[index] ?? 0
    floats[index] = (dtype === 'float16' ? (halves?.[number] ?? 0) : number) * scale + min
  }
  return floats
}

/** Of each binary16 its number. */
let halves: Float32Array | undefined

/** IEEE 754 binary16: a sign, 5 bits of exponent, 10 of fraction. (Node 22 has no getFloat16.) */
function halfFloat(bits: number): number {
  const exponent = (bits >> 10) & 0x1f
  const fraction = bits & 0x3ff
  const sign = bits & 0x8000 ? -1 : 1
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN
  if (exponent === 0) return sign * fraction * 2 ** -24
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}
