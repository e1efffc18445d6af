import type { Tensor } from './onnx.ts'

export interface Weight {
  name: string
  shape: number[]
  dtype: string
  quantization?: { dtype: string; scale?: number; min?: number }
}

/** The weights of a graph, which lie one after another, as the numbers that ONNX has. */
export function readWeights(weights: Weight[], bytes: Uint8Array): Map<string, Tensor> {
  const all = new Map<string, Tensor>()
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let at = 0
  for (const { name, shape, dtype, quantization } of weights) {
    const length = shape.reduce((product, dim) => product * dim, 1)
    const stored = quantization?.dtype ?? dtype
    const read = READERS[stored]
    if (read === undefined) throw new Error(`The weights of ${name} are ${stored}, which is not known here.`)
    const values = dtype === 'int32' ? new BigInt64Array(length) : new Float32Array(length)
    const { scale = 1, min = 0 } = quantization ?? {}
    for (let index = 0; index < length; index += 1, at += read.bytes) {
      const value = read.value(view, at)
      if (values instanceof Float32Array) values[index] = value * scale + min
      else values[index] = BigInt(value)
    }
    all.set(name, { dims: shape, values })
  }
  if (at !== bytes.length) throw new Error(`The weights have ${bytes.length} bytes instead of ${at}.`)
  return all
}

const READERS: Record<string, { bytes: number; value: (view: DataView, at: number) => number }> = {
  float32: { bytes: 4, value: (view, at) => view.getFloat32(at, true) },
  int32: { bytes: 4, value: (view, at) => view.getInt32(at, true) },
  uint8: { bytes: 1, value: (view, at) => view.getUint8(at) },
  float16: { bytes: 2, value: (view, at) => halfFloat(view.getUint16(at, true)) },
}

/** IEEE 754 binary16: a sign, 5 bits of exponent, 10 of fraction. (Node 22 has no getFloat16.) */
function halfFloat(bits: number): number {
  const exponent = (bits >> 10) & 0x1f
  const fraction = bits & 0x3ff
  const sign = bits & 0x8000 ? -1 : 1
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN
  if (exponent === 0) return sign * fraction * 2 ** -24
  // By shifts: over millions of weights, `**` is two fifths of the whole conversion.
  const power = exponent < 15 ? 1 / (1 << (15 - exponent)) : 1 << (exponent - 15)
  return sign * (1 + fraction / 1024) * power
}
