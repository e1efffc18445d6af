import { convolution, depthwiseConvolution, pool, resizeBilinear } from './graph-channels-first.ts'
import { integersOf, type Step } from './graph-node.ts'

/** Writes to the graph of ONNX what a node of TensorFlow.js means. */
type Operator = (step: Step) => void

export function addNode(step: Step): void {
  const operator = OPERATORS.get(step.op)
  if (operator === undefined) throw new Error(`${step.op} (${step.name}) is not known here.`)
  operator(step)
}

const placeholder: Operator = ({ name, attr, graph }) => {
  const sizes = (attr['shape']?.shape?.dim ?? []).map(({ size }) => Number(size))
  graph.inputs.push({ name, dims: sizes.map((size) => Math.max(1, size)) })
}

const storedConstant: Operator = ({ name, stored, graph }) => {
  const tensor = stored.get(name)
  if (tensor === undefined) throw new Error(`The weights have no ${name}.`)
  graph.constants.set(name, tensor)
}

/** ONNX has the same operator by the same name. */
const sameOfOne: Operator = ({ op, input, emit }) => emit(op, [input(0)])
const sameOfTwo: Operator = ({ op, input, emit }) => emit(op, [input(0), input(1)])

const leakyRelu: Operator = ({ name, attr, input, emit }) =>
  emit('LeakyRelu', [input(0)], name, { alpha: { float: attr['alpha']?.f ?? 0.2 } })

const prelu: Operator = ({ input, emit }) => emit('PRelu', [input(0), input(1)])

const softmax: Operator = ({ name, input, emit }) => emit('Softmax', [input(0)], name, { axis: { int: -1 } })

const sum: Operator = ({ name, graph, input, emit }) => {
  const known = [graph.constants.get(input(0)), graph.constants.get(input(1))]
  const [a, b] = known.map((tensor) => tensor?.values)
  if (a instanceof BigInt64Array && b instanceof BigInt64Array && a.length === b.length)
    graph.constants.set(name, {
      dims: known[0]?.dims ?? [],
      values: a.map((value, at) => value + (b[at] ?? 0n)),
    })
  else emit('Add', [input(0), input(1)])
}

const matrixProduct: Operator = ({ name, op, attr, bias, activations, input, emit }) => {
  if (attr['transpose_a']?.b === true || attr['transpose_b']?.b === true)
    throw new Error(`${op} ${name} turns a matrix round, which is not known here.`)
  if (activations.length > 0)
    throw new Error(`${op} ${name} has ${activations.at(-1)} fused into it, which is not known here.`)
  if (bias.length === 0) emit('MatMul', [input(0), input(1)])
  else emit('Add', [emit('MatMul', [input(0), input(1)], `${name}/product`), ...bias])
}

const squeeze: Operator = ({ attr, input, emit, list }) =>
  emit('Squeeze', [input(0), list('axes', (attr['squeeze_dims']?.list?.i ?? []).map(Number))])

const sparseToDense: Operator = ({ name, graph, integers }) => {
  // Of integers in one dimension: a value, or one for each of the places that are named.
  const values = integers(2)
  const dense = new Array<number>(integers(1)[0] ?? 0).fill(integers(3)[0] ?? 0)
  for (const [at, place] of integers(0).entries()) dense[place] = values[at] ?? values[0] ?? 0
  graph.constants.set(name, integersOf(dense))
}

const transpose: Operator = ({ name, input, integers, emit }) =>
  emit('Transpose', [input(0)], name, { perm: integers(1) })

const reshape: Operator = ({ input, integers, emit, list }) =>
  emit('Reshape', [input(0), list('shape', integers(1))])

const concat: Operator = ({ name, inputs, integers, emit }) =>
  emit('Concat', inputs.slice(0, -1), name, { axis: { int: integers(inputs.length - 1)[0] ?? 0 } })

const split: Operator = ({ name, graph, input, integers, list }) => {
  const parts = integers(1)
  graph.nodes.push({
    op: 'Split',
    inputs: [input(0), list('parts', parts)],
    outputs: parts.map((_, at) => (at === 0 ? name : `${name}:${at}`)),
    attributes: { axis: { int: integers(2)[0] ?? 0 } },
  })
}

const mean: Operator = ({ name, attr, input, integers, emit, list }) =>
  emit('ReduceMean', [input(0), list('axes', integers(1))], name, {
    keepdims: { int: attr['keep_dims']?.b === true ? 1 : 0 },
  })

const pad: Operator = ({ op, input, integers, emit, list }) => {
  const pairs = integers(1)
  const pads = list('pads', [
    ...pairs.filter((_, at) => at % 2 === 0),
    ...pairs.filter((_, at) => at % 2 === 1),
  ])
  emit('Pad', [input(0), pads, ...(op === 'PadV2' ? [input(2)] : [])])
}

const OPERATORS = new Map<string, Operator>([
  ['Placeholder', placeholder],
  ['Const', storedConstant],
  ['Identity', sameOfOne],
  ['Relu', sameOfOne],
  ['Sigmoid', sameOfOne],
  ['LeakyRelu', leakyRelu],
  ['Prelu', prelu],
  ['Softmax', softmax],
  ['Add', sum],
  ['AddV2', sum],
  ['Mul', sameOfTwo],
  ['Sub', sameOfTwo],
  ['_FusedMatMul', matrixProduct],
  ['Squeeze', squeeze],
  ['SparseToDense', sparseToDense],
  ['Transpose', transpose],
  ['Reshape', reshape],
  ['ConcatV2', concat],
  ['SplitV', split],
  ['Mean', mean],
  ['Pad', pad],
  ['PadV2', pad],
  ['AvgPool', pool],
  ['MaxPool', pool],
  ['ResizeBilinear', resizeBilinear],
  ['Conv2D', convolution],
  ['_FusedConv2D', convolution],
  ['DepthwiseConv2dNative', depthwiseConvolution],
  ['FusedDepthwiseConv2dNative', depthwiseConvolution],
])
