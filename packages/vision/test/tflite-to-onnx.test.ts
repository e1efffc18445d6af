import * as fc from 'fast-check'
import { expect, it } from 'vitest'
import { modelFolder } from '../built-in.ts'
import { loadRuntime } from '../models.ts'
import { tfliteToOnnx } from '../tflite-to-onnx.ts'

/** The conversion itself needs no runtime, but what it means does. */
const isThere = modelFolder() !== undefined
const test = (name: string, work: () => unknown): void =>
  it.skipIf(!isThere)(`${name}${isThere ? '' : ' (skipped: lacking the models and their runtime)'}`, work)

/** A table of a FlatBuffers file by the numbers of its fields; what is not there is not written. */
type Value = number | Int8Array | Int32Array | Float32Array | Table | Table[]
interface Table {
  [field: number]: Value
}

/** Each number takes four bytes, of which a reader of one byte takes the first. What is pointed at comes later. */
function fileOf(root: Table): Buffer {
  const out = Buffer.alloc(65_536)
  let end = 4
  const take = (bytes: number): number => {
    const at = end
    end += Math.ceil(bytes / 4) * 4
    return at
  }
  const vector = (at: number, length: number, bytes: number): number => {
    const to = take(4 + bytes)
    out.writeInt32LE(to - at, at)
    return out.writeInt32LE(length, to)
  }
  const put = (at: number, value: Value): void => {
    if (typeof value === 'number') out.writeInt32LE(value, at)
    else if (ArrayBuffer.isView(value))
      out.set(new Uint8Array(value.buffer), vector(at, value.length, value.byteLength))
    else if (Array.isArray(value)) {
      const first = vector(at, value.length, 4 * value.length)
      for (const [index, table] of value.entries()) put(first + 4 * index, table)
    } else out.writeInt32LE(write(value) - at, at)
  }
  const write = (table: Table): number => {
    const fields = Object.entries(table).map(([field, value]) => [Number(field), value] as const)
    const count = Math.max(-1, ...fields.map(([field]) => field)) + 1
    const list = take(4 + 2 * count)
    const at = take(4 + 4 * count)
    out.writeUInt16LE(4 + 2 * count, list)
    out.writeUInt16LE(4 + 4 * count, list + 2)
    out.writeInt32LE(at - list, at)
    for (const [field, value] of fields) {
      out.writeUInt16LE(4 + 4 * field, list + 4 + 2 * field)
      put(at + 4 + 4 * field, value)
    }
    return at
  }
  put(0, root)
  return out.subarray(0, end)
}

const [ADD, AVERAGE_POOL, CONV, DEPTHWISE, FULLY_CONNECTED] = [0, 1, 3, 4, 9]
const [RESHAPE, SOFTMAX, QUANTIZE] = [22, 25, 114]
const [SAME, VALID] = [0, 1]
const [NONE, RELU, RELU6] = [0, 1, 3]

interface Constant {
  shape: number[]
  values: Int8Array | Int32Array
  scales: number[]
  /** In which each place has a scale of its own. */
  dimension?: number
}
/** It takes what the one before gave, or the tensors of these numbers, and these constants. */
interface Step {
  code: number
  options?: Table
  inputs?: number[]
  constants?: Constant[]
}

const weights = (shape: number[], values: number[], scales: number[], dimension = 0): Constant => {
  return { shape, values: Int8Array.from(values), scales, dimension }
}
const biases = (values: number[], scales: number[]): Constant => {
  return { shape: [values.length], values: Int32Array.from(values), scales }
}

/** A picture (tensor 0, which is tensor 1 once it is quantized again) to which these operators do one thing after another. */
function modelOf(picture: number[], steps: Step[]): { file: Buffer; last: string } {
  const tensors: Table[] = [0, 1].map(() => ({ 0: Int32Array.from(picture) }))
  const buffers: Table[] = [{}]
  const operators: Table[] = []
  const codes: Table[] = []
  const add = (code: number, inputs: number[], options?: Table): void => {
    const known = { 0: codes.length, 1: Int32Array.from(inputs), 2: Int32Array.of(tensors.length - 1) }
    operators.push(options === undefined ? known : { ...known, 4: options })
    codes.push(code < 127 ? { 0: code } : { 0: 127, 3: code })
  }
  add(QUANTIZE, [0])
  for (const { code, options, inputs = [tensors.length - 1], constants = [] } of steps) {
    const from = tensors.length
    for (const { shape, values, scales, dimension = 0 } of constants) {
      const quantization = { 2: Float32Array.from(scales), 6: dimension }
      const type = values instanceof Int8Array ? 9 : 2
      tensors.push({ 0: Int32Array.from(shape), 1: type, 2: buffers.length, 4: quantization })
      buffers.push({ 0: new Int8Array(values.buffer) })
    }
    tensors.push({})
    add(code, [...inputs, ...constants.map((_, at) => from + at)], options)
  }
  const last = tensors.length - 1
  tensors.push({})
  add(QUANTIZE, [last])
  const main = { 0: tensors, 3: operators }
  return { file: fileOf({ 0: 3, 1: codes, 2: [main], 4: buffers }), last: `tensor ${last}` }
}

/** What ONNX Runtime makes of it: channels are last here, as in TensorFlow Lite, and first there. */
async function run(picture: number[], values: number[], steps: Step[], output?: string): Promise<number[]> {
  const { file, last } = modelOf(picture, steps)
  const ort = await loadRuntime()
  const model = tfliteToOnnx(file, output ?? last)
  const session = await ort.InferenceSession.create(model, { logSeverityLevel: 3 })
  const [, height = 0, width = 0, channels = 0] = picture
  expect(session.inputMetadata[0]?.shape).toEqual([1, channels, height, width])
  const points = height * width
  const first = values.map((_, at) => values[(at % points) * channels + Math.floor(at / points)] ?? 0)
  const results = await session.run({
    'tensor 1': new ort.Tensor('float32', Float32Array.from(first), [1, channels, height, width]),
  })
  const { dims = [], data } = results[output ?? last] ?? {}
  const given = [...(data as Iterable<number>)]
  const [, kinds = 1, rows = 1, columns = 1] = dims
  const area = rows * columns
  return given.map((_, at) => given[(at % kinds) * area + Math.floor(at / kinds)] ?? 0)
}

/** Padding, then strides: across before down, as the schema has them. */
const window = (padding: number, across: number, down: number) => ({ 0: padding, 1: across, 2: down })

test('a convolution has a scale for each channel that it gives, a bias, and at most six', async () => {
  // The first sums the first channel alone, by halves; the second takes the left column of the second channel from 4, by quarters.
  const kernel = [1, 0, 1, 0, 1, 0, 1, 0, 0, -1, 0, 0, 0, -1, 0, 0]
  const constants = [weights([2, 2, 2, 2], kernel, [0.5, 0.25]), biases([-16, 16], [0.125, 0.25])]
  const picture = [1, 10, 2, 20, 3, 30, 4, 40, 5, 50, 6, 60]
  const convolve = (padding: number, stride: number, activation: number) =>
    run([1, 2, 3, 2], picture, [
      { code: CONV, options: { ...window(padding, stride, 1), 3: activation }, constants },
    ])
  expect(await convolve(VALID, 1, NONE)).toEqual([4, -8.5, 6, -13.5])
  expect(await convolve(VALID, 1, RELU6)).toEqual([4, 0, 6, 0])
  expect(await convolve(SAME, 2, NONE)).toEqual([4, -8.5, 2.5, -18.5, 2.5, -6, 1, -11])
})

test('a depthwise convolution keeps channels apart, each with its scale', async () => {
  const constants = [
    weights([1, 2, 2, 2], [1, 10, 2, 20, 3, 30, 4, 40], [0.5, 2], 3),
    biases([8, -8], [0.25, 1]),
  ]
  const picture = [4, 1, 0, 0, 2, 0, 0, 0]
  const depthwise = (activation: number) =>
    run([1, 2, 2, 2], picture, [
      { code: DEPTHWISE, options: { ...window(VALID, 1, 1), 4: activation }, constants },
    ])
  expect(await depthwise(NONE)).toEqual([7, 12])
  expect(await depthwise(RELU6)).toEqual([6, 6])
})

test('two tensors are added, and the sum is at most six where it says so', async () => {
  const half = [weights([1, 1, 1, 1], [1], [0.5]), biases([0], [1])]
  const picture = [-2, 2, 8]
  const add = (options?: Table) =>
    run([1, 1, 3, 1], picture, [
      { code: CONV, options: window(SAME, 1, 1), constants: half },
      { code: ADD, inputs: [1, 4], ...(options && { options }) },
    ])
  expect(await add({ 0: RELU6 })).toEqual([0, 3, 6])
  // No options are none of them.
  expect(await add()).toEqual([-3, 3, 12])
})

test('the mean of a window counts what lies within the picture alone', async () => {
  const pool = (options: Table) => run([1, 2, 3, 1], [1, 2, 3, 5, 6, 9], [{ code: AVERAGE_POOL, options }])
  // A column of two, then a row of two with half of the last one outside.
  expect(await pool({ ...window(VALID, 1, 2), 3: 1, 4: 2 })).toEqual([3, 4, 6])
  expect(await pool({ ...window(SAME, 2, 1), 3: 2, 4: 1 })).toEqual([1.5, 3, 5.5, 9])
  expect(await pool({ ...window(SAME, 2, 1), 3: 2, 4: 1, 5: RELU6 })).toEqual([1.5, 3, 5.5, 6])
})

test('a picture of one point becomes a number for each row of weights, and then parts of one by the name that is asked for', async () => {
  const constants = [weights([2, 3], [1, 2, 3, -4, 5, -6], [0.5]), biases([4, 8], [0.25])]
  const steps = [{ code: RESHAPE }, { code: FULLY_CONNECTED, options: { 0: NONE }, constants }]
  expect(await run([1, 1, 1, 3], [1, 10, 100], steps)).toEqual([161.5, -275])
  // Of 1 and 2 the first is by e the less.
  const scores = await run([1, 1, 1, 3], [0, 0, 0], [...steps, { code: SOFTMAX }], 'scores')
  expect(scores.map((score) => score.toFixed(4))).toEqual(['0.2689', '0.7311'])
})

it('what is not known is refused by its number', () => {
  const convert = (step: Step) => () => tfliteToOnnx(modelOf([1, 1, 1, 1], [step]).file, 'scores')
  expect(convert({ code: 14 })).toThrow('Operator 14 of TensorFlow Lite is not known here.')
  expect(convert({ code: 150 })).toThrow('Operator 150 of TensorFlow Lite is not known here.')
  expect(convert({ code: ADD, options: { 0: RELU } })).toThrow(
    'Activation 1 of TensorFlow Lite is not known here.',
  )
  const constants = [weights([1, 1], [1], [1])]
  expect(convert({ code: FULLY_CONNECTED, options: { 0: NONE }, constants })).toThrow(
    'Operator 9 of TensorFlow Lite has no constant 2.',
  )
})

test('weights of any shape are turned, each with the scale of its channel', async () => {
  const few = fc.integer({ min: 1, max: 4 })
  const check = async (
    [rows, columns, channels, kinds]: [number, number, number, number],
    isApart: boolean,
    seed: number,
  ) => {
    const numbers = (length: number) =>
      Array.from({ length }, (_, at) => (((at * 2_654_435_761 + seed) >>> 16) % 9) - 4)
    // The window is all of the picture, so what comes out is one point.
    const count = rows * columns * channels
    const shape = [isApart ? 1 : kinds, rows, columns, channels]
    const [picture, kernel] = [numbers(count), numbers(count * kinds)]
    const bias = numbers(isApart ? channels : kinds)
    const scales = bias.map((_, at) => 2 ** -at)
    const constants = [
      weights(shape, isApart ? kernel.slice(0, count) : kernel, scales, isApart ? 3 : 0),
      biases(bias, scales),
    ]
    const weight = (to: number, at: number) => {
      if (isApart) return at % channels === to ? kernel[at] : 0
      return kernel[to * count + at]
    }
    const sum = (to: number) =>
      picture.reduce((total, value, at) => total + value * (weight(to, at) ?? 0), bias[to] ?? 0)
    const code = isApart ? DEPTHWISE : CONV
    const given = await run([1, rows, columns, channels], picture, [
      { code, options: window(VALID, 1, 1), constants },
    ])
    expect(given).toEqual(scales.map((scale, to) => sum(to) * scale))
  }
  await fc.assert(fc.asyncProperty(fc.tuple(few, few, few, few), fc.boolean(), fc.integer(), check), {
    numRuns: 60,
    seed: 13,
  })
})
