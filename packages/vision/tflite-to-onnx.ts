import { Table } from './flat-table.ts'
import { type Attribute, type Graph, type Tensor, writeModel } from './onnx.ts'

/**
 * Turns a classifier in TensorFlow Lite's format, whose weights are 8-bit numbers, into an ONNX model of floats: channels come first
 * instead of last, and what was rounded between two layers no longer is. Only operators that the model here has; another one is
 * refused by its number. Field numbers are those of TensorFlow Lite's schema.fbs.
 */
export function tfliteToOnnx(file: Buffer, output: string): Uint8Array {
  return writeModel(convert(file, output))
}

/** BuiltinOperator. */
const ADD = 0
const AVERAGE_POOL_2D = 1
const CONV_2D = 3
const DEPTHWISE_CONV_2D = 4
const FULLY_CONNECTED = 9
const RESHAPE = 22
const SOFTMAX = 25
const QUANTIZE = 114
/** ActivationFunctionType. */
const RELU6 = 3
/** TensorType. */
const INT8 = 9

interface Step {
  graph: Graph
  options: Table
  inputs: string[]
  output: string
  /** A constant input, with its dimensions in this order. */
  constant: (at: number, order?: number[]) => string
}

/** What each becomes, and the field of its options that says which activation follows. */
const OPERATORS: Record<number, { write: (step: Step) => void; activation?: number }> = {
  [ADD]: { write: (step) => addNode(step, 'Add', step.inputs), activation: 0 },
  [AVERAGE_POOL_2D]: {
    write: (step) =>
      addNode(step, 'AveragePool', step.inputs, {
        ...window(step.options),
        kernel_shape: [step.options.int(4), step.options.int(3)],
      }),
    activation: 5,
  },
  [CONV_2D]: {
    write: (step) => {
      const [input = ''] = step.inputs
      addNode(step, 'Conv', [input, step.constant(1, [0, 3, 1, 2]), step.constant(2)], window(step.options))
    },
    activation: 3,
  },
  [DEPTHWISE_CONV_2D]: {
    write: (step) => {
      const [input = ''] = step.inputs
      const weights = step.constant(1, [3, 0, 1, 2])
      const group = { int: step.graph.constants.get(weights)?.dims[0] ?? 1 }
      addNode(step, 'Conv', [input, weights, step.constant(2)], { ...window(step.options), group })
    },
    activation: 4,
  },
  [FULLY_CONNECTED]: {
    write: (step) => {
      const [input = ''] = step.inputs
      addNode(step, 'Gemm', [input, step.constant(1), step.constant(2)], { transB: { int: 1 } })
    },
    activation: 0,
  },
  // Here it only takes away the sides of a picture that has become one point.
  [RESHAPE]: {
    write: (step) => addNode(step, 'Flatten', step.inputs.slice(0, 1), { axis: { int: 1 } }),
  },
  [SOFTMAX]: { write: (step) => addNode(step, 'Softmax', step.inputs, { axis: { int: -1 } }) },
}

function addNode(
  { graph, output }: Step,
  op: string,
  inputs: string[],
  attributes: Record<string, Attribute> = {},
): void {
  graph.nodes.push({ op, inputs, outputs: [output], attributes })
}

const window = (options: Table) => ({
  auto_pad: options.byte(0) === 0 ? 'SAME_UPPER' : 'VALID',
  strides: [options.int(2, 1), options.int(1, 1)],
})

function convert(file: Buffer, output: string): Graph {
  const model = Table.root(file)
  const buffers = model.tables(4)
  const codes = model.tables(1).map((code) => Math.max(code.byte(0), code.int(3)))
  const [main] = model.tables(2)
  const tensors = main?.tables(0) ?? []
  const graph: Graph = {
    inputs: [],
    outputs: [output],
    nodes: [],
    constants: new Map([
      ['6', scalar(6)],
      ['0', scalar(0)],
    ]),
  }
  const nameOf = (tensor: number): string => `tensor ${tensor}`
  for (const operator of main?.tables(3) ?? []) {
    const code = codes[operator.int(0)] ?? -1
    const [to = -1] = operator.ints(2)
    const from = operator.ints(1)
    const isFirst = graph.inputs.length === 0
    if (code === QUANTIZE && isFirst) {
      const [, height = 0, width = 0, channels = 0] = tensors[to]?.ints(0) ?? []
      graph.inputs.push({ name: nameOf(to), dims: [1, channels, height, width] })
    }
    // The last one rounds the scores.
    if (code === QUANTIZE) continue
    const known = OPERATORS[code]
    if (known === undefined) throw new Error(`Operator ${code} of TensorFlow Lite is not known here.`)
    const options = operator.table(4)
    const activation = known.activation === undefined ? 0 : options.byte(known.activation)
    if (activation !== 0 && activation !== RELU6)
      throw new Error(`Activation ${activation} of TensorFlow Lite is not known here.`)
    const last = code === SOFTMAX ? output : nameOf(to)
    known.write({
      graph,
      options,
      inputs: from.map(nameOf),
      output: activation === RELU6 ? `${last} before` : last,
      constant: (at, order) => {
        const tensor = from[at] ?? -1
        const described = tensors[tensor]
        const bytes = buffers[described?.int(2) ?? -1]?.bytes(0)
        if (described === undefined || bytes === undefined)
          throw new Error(`Operator ${code} of TensorFlow Lite has no constant ${at}.`)
        const floats = floatsOf(described, bytes)
        graph.constants.set(nameOf(tensor), order === undefined ? floats : turned(floats, order))
        return nameOf(tensor)
      },
    })
    if (activation === RELU6)
      graph.nodes.push({ op: 'Clip', inputs: [`${last} before`, '0', '6'], outputs: [last] })
  }
  return graph
}

const scalar = (value: number): Tensor => ({ dims: [], values: Float32Array.of(value) })

/** A whole number stands for so many times a scale: one for all, or one for each place in a dimension. Zero is always 0. */
function floatsOf(tensor: Table, bytes: Buffer): Tensor {
  const dims = tensor.ints(0)
  const quantization = tensor.table(4)
  const scales = quantization.floats(2)
  const inner = dims.slice(quantization.int(6) + 1).reduce((product, dim) => product * dim, 1)
  const isByte = tensor.byte(1) === INT8
  const values = new Float32Array(isByte ? bytes.length : bytes.length / 4)
  for (let at = 0; at < values.length; at += 1) {
    const whole = isByte ? bytes.readInt8(at) : bytes.readInt32LE(at * 4)
    values[at] = whole * (scales[Math.floor(at / inner) % scales.length] ?? 0)
  }
  return { dims, values }
}

/** The same numbers with their dimensions in another order. */
function turned({ dims, values }: Tensor, order: number[]): Tensor {
  const steps = dims.map((_, at) => dims.slice(at + 1).reduce((product, dim) => product * dim, 1))
  const turnedDims = order.map((at) => dims[at] ?? 1)
  const out = new Float32Array(values.length)
  let to = 0
  const copy = (depth: number, from: number): void => {
    const step = steps[order[depth] ?? 0] ?? 1
    for (let at = 0; at < (turnedDims[depth] ?? 0); at += 1) {
      if (depth < order.length - 1) copy(depth + 1, from + at * step)
      else out[to++] = Number(values[from + at * step])
    }
  }
  copy(0, 0)
  return { dims: turnedDims, values: out }
}
