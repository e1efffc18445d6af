import * as fc from 'fast-check'
import { expect, it } from 'vitest'
import { modelFolder } from '../built-in.ts'
import { type GraphModel, toOnnx } from '../graph-to-onnx.ts'
import { loadRuntime } from '../models.ts'

/** A graph of one operator on an image, as TensorFlow.js writes it, and what ONNX Runtime makes of the conversion. */
type Attr = NonNullable<GraphModel['modelTopology']['node'][number]['attr']>
interface Constant {
  shape: number[]
  values: number[]
  dtype?: 'int32' | 'float16' | 'uint8'
  /** What a stored number stands for: times `scale`, then `min` more. */
  scale?: number
  min?: number
}

/** The conversion itself needs no runtime, but what it means does. */
const isThere = modelFolder() !== undefined
const test = (name: string, work: () => unknown): void =>
  it.skipIf(!isThere)(`${name}${isThere ? '' : ' (skipped: lacking the models and their runtime)'}`, work)

const base64 = (text: string): string => Buffer.from(text).toString('base64')
const ints = (...values: number[]) => ({ list: { i: values.map(String) } })
const padding = (kind: string) => ({ padding: { s: base64(kind) } })
const strides = (rows: number, columns = rows) => ({ strides: ints(1, rows, columns, 1) })

function graphOf(
  op: string,
  inputShape: number[],
  constants: Constant[],
  attr: Attr = {},
  constantsFirst = 0,
): { model: GraphModel; weights: Uint8Array } {
  const names = constants.map((_, at) => `constant${at}`)
  const order = [...names.slice(0, constantsFirst), 'image', ...names.slice(constantsFirst)]
  const model: GraphModel = {
    modelTopology: {
      node: [
        { name: 'result', op, input: [...order, '^image'], attr },
        ...names.map((name) => ({ name, op: 'Const' })),
        {
          name: 'image',
          op: 'Placeholder',
          attr: {
            shape: { shape: { dim: inputShape.map((size) => ({ size: String(size) })) } },
          } as unknown as Attr,
        },
      ],
    },
    weightsManifest: [
      {
        weights: constants.map(({ shape, dtype, scale, min }, at) => ({
          name: names[at] ?? '',
          shape,
          dtype: dtype === 'int32' ? 'int32' : 'float32',
          ...(dtype === 'float16' && { quantization: { dtype } }),
          ...(dtype === 'uint8' && {
            quantization: { dtype, ...(scale && { scale }), ...(min && { min }) },
          }),
        })),
      },
    ],
  }
  const bytes = constants.map(({ values, dtype }) => {
    if (dtype === 'int32') return new Uint8Array(Int32Array.from(values).buffer)
    if (dtype === 'uint8') return Uint8Array.from(values)
    if (dtype === 'float16') return new Uint8Array(Uint16Array.from(values).buffer)
    return new Uint8Array(Float32Array.from(values).buffer)
  })
  return { model, weights: Buffer.concat(bytes) }
}

async function run(
  { model, weights }: ReturnType<typeof graphOf>,
  inputShape: number[],
  image: number[],
  outputs = ['result'],
): Promise<{ dims: number[]; values: number[] }[]> {
  const ort = await loadRuntime()
  const session = await ort.InferenceSession.create(toOnnx(model, weights, outputs), { logSeverityLevel: 3 })
  const results = await session.run({
    image: new ort.Tensor('float32', Float32Array.from(image), inputShape),
  })
  return outputs.map((name) => ({
    dims: [...(results[name]?.dims ?? [])],
    values: [...((results[name]?.data ?? []) as Iterable<number>)],
  }))
}

const apply = async (
  op: string,
  inputShape: number[],
  image: number[],
  constants: Constant[],
  attr: Attr = {},
): Promise<{ dims: number[]; values: number[] }> => {
  const [only] = await run(graphOf(op, inputShape, constants, attr, 0), inputShape, image)
  if (only === undefined) throw new Error('no result')
  return only
}

/** 1 2 3 / 4 5 6 / 7 8 9 */
const NINE = [1, 2, 3, 4, 5, 6, 7, 8, 9]
const SQUARE = [1, 3, 3, 1]
const kernelOfOnes = { shape: [2, 2, 1, 1], values: [1, 1, 1, 1] }

test('a valid convolution sums only what lies whole within the image', async () => {
  const { dims, values } = await apply('Conv2D', SQUARE, NINE, [kernelOfOnes], {
    ...padding('VALID'),
    ...strides(1),
  })
  expect(dims).toEqual([1, 2, 2, 1])
  expect(values).toEqual([12, 16, 24, 28])
})

test('same padding with an even kernel adds below and to the right', async () => {
  const { dims, values } = await apply('Conv2D', SQUARE, NINE, [kernelOfOnes], {
    ...padding('SAME'),
    ...strides(1),
  })
  expect(dims).toEqual([1, 3, 3, 1])
  expect(values).toEqual([12, 16, 9, 24, 28, 15, 15, 17, 9])
})

test('same padding with stride two on an odd side adds on both sides', async () => {
  const kernel = { shape: [3, 3, 1, 1], values: Array<number>(9).fill(1) }
  const { values } = await apply('Conv2D', SQUARE, NINE, [kernel], { ...padding('SAME'), ...strides(2) })
  expect(values).toEqual([12, 16, 24, 28])
})

test('same padding with stride two on an even side adds below and to the right only', async () => {
  const kernel = { shape: [3, 3, 1, 1], values: Array<number>(9).fill(1) }
  const sixteen = Array.from({ length: 16 }, (_, at) => at + 1)
  const { values } = await apply('Conv2D', [1, 4, 4, 1], sixteen, [kernel], {
    ...padding('SAME'),
    ...strides(2),
  })
  // Rows 0–2 and 2–3, columns 0–2 and 2–3.
  expect(values).toEqual([54, 45, 72, 54])
})

test('a kernel is rows, columns, channels in, channels out', async () => {
  // Out 0 is the first channel and ten times the second, out 1 their difference.
  const kernel = { shape: [1, 1, 2, 2], values: [1, 1, 10, -1] }
  const { values } = await apply('Conv2D', [1, 1, 2, 2], [1, 2, 3, 4], [kernel], {
    ...padding('VALID'),
    ...strides(1),
  })
  expect(values).toEqual([21, -1, 43, -1])
})

test('a fused convolution adds its bias and then has its activation', async () => {
  const kernel = { shape: [1, 1, 1, 2], values: [1, -1] }
  const bias = { shape: [2], values: [-5, 5] }
  const fused = (...names: string[]) => ({
    ...{ ...padding('VALID'), ...strides(1) },
    fused_ops: { list: { s: names.map(base64) } },
  })
  const relu = await apply('_FusedConv2D', [1, 1, 2, 1], [1, 9], [kernel, bias], fused('BiasAdd', 'Relu'))
  expect(relu.values).toEqual([0, 4, 4, 0])
  const slope = { shape: [1, 1, 2], values: [0.5, 0.25] }
  const prelu = await apply(
    '_FusedConv2D',
    [1, 1, 2, 1],
    [1, 9],
    [kernel, bias, slope],
    fused('BiasAdd', 'Prelu'),
  )
  expect(prelu.values).toEqual([-2, 4, 4, -1])
  const relu6 = await apply('_FusedConv2D', [1, 1, 2, 1], [1, 99], [kernel, bias], fused('BiasAdd', 'Relu6'))
  expect(relu6.values).toEqual([0, 4, 6, 0])
  const depthwise = { shape: [1, 1, 1, 2], values: [1, -1] }
  const apart = await apply(
    'FusedDepthwiseConv2dNative',
    [1, 1, 2, 1],
    [1, 99],
    [depthwise, bias],
    fused('BiasAdd', 'Relu6'),
  )
  expect(apart.values).toEqual([0, 4, 6, 0])
})

test('a fused product of matrices adds its bias, and refuses what else it may be', async () => {
  const matrix = { shape: [2, 3], values: [1, 2, 3, 10, 20, 30] }
  const bias = { shape: [3], values: [0.5, 0, -0.5] }
  const fused = (...names: string[]) => ({ fused_ops: { list: { s: names.map(base64) } } })
  const product = (constants: Constant[], attr: Attr) =>
    apply('_FusedMatMul', [1, 2], [1, 2], constants, attr)
  expect(await product([matrix, bias], fused('BiasAdd'))).toEqual({ dims: [1, 3], values: [21.5, 42, 62.5] })
  expect((await product([matrix], fused())).values).toEqual([21, 42, 63])
  await expect(product([matrix, bias], fused('BiasAdd', 'Relu'))).rejects.toThrow('has Relu fused into it')
  const turned = { ...fused('BiasAdd'), transpose_b: { b: true } }
  await expect(product([matrix, bias], turned)).rejects.toThrow('turns a matrix round')
})

test('a depthwise convolution keeps channels apart, each with its multiples', async () => {
  // Channel 0 gives 1 × and 2 ×, channel 1 gives 3 × and 4 ×.
  const kernel = { shape: [1, 1, 2, 2], values: [1, 2, 3, 4] }
  const attr = { ...padding('SAME'), ...strides(1) }
  const { values } = await apply('DepthwiseConv2dNative', [1, 1, 2, 2], [1, 10, 5, 7], [kernel], attr)
  expect(values).toEqual([1, 2, 30, 40, 5, 10, 21, 28])
})

test('the greatest of a window counts, and padding is never the greatest', async () => {
  const attr = { ...padding('SAME'), ...strides(2), ksize: ints(1, 2, 2, 1) }
  const { values } = await apply(
    'MaxPool',
    SQUARE,
    NINE.map((value) => -value),
    [],
    attr,
  )
  expect(values).toEqual([-1, -3, -7, -9])
})

test('the mean of a window counts what lies within the image alone', async () => {
  const attr = { ...padding('SAME'), ...strides(2), ksize: ints(1, 2, 2, 1) }
  expect((await apply('AvgPool', SQUARE, NINE, [], attr)).values).toEqual([3, 4.5, 7.5, 9])
})

test('padding is by the pair of each dimension, with zero or the given value, which may be minus infinity', async () => {
  const pairs: Constant = { shape: [4, 2], dtype: 'int32', values: [0, 0, 1, 0, 0, 2, 0, 0] }
  const zero = await apply('Pad', [1, 1, 1, 1], [7], [pairs])
  expect(zero.dims).toEqual([1, 2, 3, 1])
  expect(zero.values).toEqual([0, 0, 0, 7, 0, 0])
  const least = { shape: [], values: [Number.NEGATIVE_INFINITY] }
  const { values } = await apply('PadV2', [1, 1, 1, 1], [7], [pairs, least])
  expect(values.filter((value) => value === Number.NEGATIVE_INFINITY)).toHaveLength(5)
})

test('resizing puts its points where the mode says', async () => {
  const size: Constant = { shape: [2], dtype: 'int32', values: [1, 4] }
  const resize = async (attr: Attr) =>
    (await apply('ResizeBilinear', [1, 1, 2, 1], [0, 12], [size], attr)).values
  expect(await resize({ align_corners: { b: true } })).toEqual([0, 4, 8, 12])
  expect(await resize({ half_pixel_centers: { b: true } })).toEqual([0, 3, 9, 12])
  expect(await resize({})).toEqual([0, 6, 12, 12])
})

test('elementwise operators are themselves', async () => {
  const row = [1, 1, 2, 1]
  expect((await apply('Relu', row, [-1, 2], [])).values).toEqual([0, 2])
  expect((await apply('LeakyRelu', row, [-8, 2], [], { alpha: { f: 0.125 } })).values).toEqual([-1, 2])
  expect((await apply('Prelu', row, [-8, 2], [{ shape: [1, 1, 1], values: [0.5] }])).values).toEqual([-4, 2])
  expect((await apply('Sigmoid', row, [0, 100], [])).values).toEqual([0.5, 1])
  expect((await apply('AddV2', row, [1, 2], [{ shape: [1], values: [10] }])).values).toEqual([11, 12])
  expect((await apply('Mul', row, [1, 2], [{ shape: [], values: [10] }])).values).toEqual([10, 20])
  expect((await apply('Sub', row, [1, 2], [{ shape: [], values: [10] }])).values).toEqual([-9, -8])
  expect((await apply('Identity', row, [1, 2], [])).values).toEqual([1, 2])
  const [a = 0, b = 0] = (await apply('Softmax', [1, 2], [0, Math.log(3)], [])).values
  expect([a, b].map((value) => Math.round(value * 1000))).toEqual([250, 750])
})

test('shapes change as they are asked to', async () => {
  const perm: Constant = { shape: [4], dtype: 'int32', values: [0, 2, 1, 3] }
  expect((await apply('Transpose', [1, 2, 3, 1], [1, 2, 3, 4, 5, 6], [perm])).values).toEqual([
    1, 4, 2, 5, 3, 6,
  ])
  const shape: Constant = { shape: [2], dtype: 'int32', values: [3, -1] }
  expect((await apply('Reshape', [1, 2, 3, 1], [1, 2, 3, 4, 5, 6], [shape])).dims).toEqual([3, 2])
  const axes: Constant = { shape: [2], dtype: 'int32', values: [1, 2] }
  const mean = await apply('Mean', [1, 2, 1, 2], [1, 10, 3, 30], [axes])
  expect(mean).toEqual({ dims: [1, 2], values: [2, 20] })
  const squeezed = await apply('Squeeze', [1, 1, 1, 2], [1, 2], [], { squeeze_dims: ints(1, 2) })
  expect(squeezed).toEqual({ dims: [1, 2], values: [1, 2] })
  const axis: Constant = { shape: [], dtype: 'int32', values: [3] }
  const joined = await apply(
    'ConcatV2',
    [1, 1, 2, 1],
    [1, 2],
    [{ shape: [1, 1, 2, 1], values: [8, 9] }, axis],
  )
  expect(joined.values).toEqual([1, 8, 2, 9])
  const sizes: Constant = { shape: [2], dtype: 'int32', values: [1, 2] }
  const parts = await run(
    graphOf('SplitV', [1, 1, 1, 3], [sizes, axis]),
    [1, 1, 1, 3],
    [1, 2, 3],
    ['result', 'result:1'],
  )
  expect(parts.map(({ values }) => values)).toEqual([[1], [2, 3]])
})

test('weights of half precision are read to the bit', async () => {
  // 1, −2, the least above zero, the greatest, minus infinity.
  const halves = [0x3c00, 0xc000, 0x0001, 0x7bff, 0xfc00]
  const { values } = await apply(
    'AddV2',
    [5],
    [0, 0, 0, 0, 0],
    [{ shape: [5], dtype: 'float16', values: halves }],
  )
  expect(values).toEqual([1, -2, 2 ** -24, 65504, Number.NEGATIVE_INFINITY])
})

test('weights of one byte are read by their scale and their least value', async () => {
  const bytes: Constant = { shape: [3], dtype: 'uint8', values: [0, 4, 255], scale: 0.25, min: -2 }
  expect((await apply('AddV2', [3], [0, 0, 0], [bytes])).values).toEqual([-2, -1, 61.75])
})

test('what depends on integers alone is worked out, as a shape made of sparse parts', async () => {
  const { model, weights } = graphOf('Reshape', [1, 2, 3, 1], [])
  const int = (name: string, shape: number[]) => ({ name, shape, dtype: 'int32' })
  model.modelTopology.node.push(
    { name: 'sum', op: 'AddV2', input: ['base', 'dense'] },
    { name: 'dense', op: 'SparseToDense', input: ['places', 'length', 'values', 'rest'] },
    ...['base', 'places', 'length', 'values', 'rest'].map((name) => ({ name, op: 'Const' })),
  )
  model.modelTopology.node[0]?.input?.push('sum')
  model.weightsManifest = [
    {
      weights: [
        int('base', [2]),
        int('places', [1, 1]),
        int('length', [1]),
        int('values', [1]),
        int('rest', []),
      ],
    },
  ]
  const numbers = new Uint8Array(Int32Array.from([6, 0, 1, 2, 1, 0]).buffer)
  const [result] = await run(
    { model, weights: Buffer.concat([weights, numbers]) },
    [1, 2, 3, 1],
    [1, 2, 3, 4, 5, 6],
  )
  expect(result?.dims).toEqual([6, 1])
})

test('what is not known is refused by name', () => {
  const { model, weights } = graphOf('FancyOp', SQUARE, [])
  expect(() => toOnnx(model, weights, ['result'])).toThrow('FancyOp (result) is not known here.')
  const valid = graphOf('Relu', SQUARE, [])
  expect(() => toOnnx(valid.model, Buffer.alloc(4), ['result'])).toThrow('4 bytes instead of 0')
})

/** A plain convolution, straight from its definition in TensorFlow. */
function convolution(
  image: number[],
  [height, width, channels]: number[],
  kernel: number[],
  [rows, columns, outputs]: number[],
  stride: number,
  same: boolean,
): number[] {
  const [h = 0, w = 0, c = 0, r = 0, s = 0, o = 0] = [height, width, channels, rows, columns, outputs]
  const count = (side: number, window: number) =>
    same ? Math.ceil(side / stride) : Math.floor((side - window) / stride) + 1
  const before = (side: number, window: number) =>
    same ? Math.floor(Math.max(0, (count(side, window) - 1) * stride + window - side) / 2) : 0
  const out: number[] = []
  for (let y = 0; y < count(h, r); y += 1)
    for (let x = 0; x < count(w, s); x += 1)
      for (let to = 0; to < o; to += 1) {
        let sum = 0
        for (let i = 0; i < r; i += 1)
          for (let j = 0; j < s; j += 1)
            for (let from = 0; from < c; from += 1) {
              const row = y * stride + i - before(h, r)
              const column = x * stride + j - before(w, s)
              if (row < 0 || column < 0 || row >= h || column >= w) continue
              sum +=
                (image[(row * w + column) * c + from] ?? 0) * (kernel[((i * s + j) * c + from) * o + to] ?? 0)
            }
        out.push(sum)
      }
  return out
}

test('convolutions of any shape are those of the definition', async () => {
  const side = fc.integer({ min: 3, max: 7 })
  const window = fc.integer({ min: 1, max: 3 })
  const few = fc.integer({ min: 1, max: 3 })
  await fc.assert(
    fc.asyncProperty(
      fc.tuple(
        side,
        side,
        few,
        window,
        window,
        few,
        fc.integer({ min: 1, max: 2 }),
        fc.boolean(),
        fc.integer(),
      ),
      async ([height, width, channels, rows, columns, outputs, stride, same, seed]) => {
        const number = (at: number) => ((at * 2654435761 + seed) >>> 16) % 9
        const image = Array.from({ length: height * width * channels }, (_, at) => number(at))
        const kernel = Array.from({ length: rows * columns * channels * outputs }, (_, at) => number(at + 99))
        const attr = { ...padding(same ? 'SAME' : 'VALID'), ...strides(stride) }
        const constants = [{ shape: [rows, columns, channels, outputs], values: kernel }]
        const { values } = await apply('Conv2D', [1, height, width, channels], image, constants, attr)
        const shape = [height, width, channels]
        expect(values).toEqual(convolution(image, shape, kernel, [rows, columns, outputs], stride, same))
      },
    ),
    { numRuns: 60, seed: 13 },
  )
})
