import { readWeights, type Weight } from './graph-weights.ts'
import { type Attribute, type Graph, type Tensor, writeModel } from './onnx.ts'

/**
 * Turns a TensorFlow.js graph model (its JSON and its weights) into an ONNX model. Only operators that the models here
 * have; another one is refused by name. What depends on integers alone, as shapes do, is worked out here.
 */
export interface GraphModel {
  modelTopology: { node: TfNode[] }
  weightsManifest: { weights: Weight[] }[]
}

interface TfNode {
  name: string
  op: string
  input?: string[]
  attr?: Record<string, TfAttribute>
}

interface TfAttribute {
  b?: boolean
  f?: number
  i?: string
  s?: string
  list?: { i?: string[]; s?: string[] }
  shape?: { dim?: { size: string }[] }
}

/** The model that computes these outputs, named as in the graph. Dimensions of the input that are open become 1. */
export function toOnnx(model: GraphModel, weights: Uint8Array, outputs: string[]): Uint8Array {
  return writeModel(convert(model, weights, outputs))
}

function convert(model: GraphModel, weights: Uint8Array, outputs: string[]): Graph {
  const nodes = new Map(model.modelTopology.node.map((node) => [node.name, node]))
  const graph: Graph = { inputs: [], outputs, nodes: [], constants: new Map() }
  const stored = readWeights(
    model.weightsManifest.flatMap((group) => group.weights),
    weights,
  )
  const done = new Set<string>()
  // In the graph a node may come before what it depends on.
  const visit = (name: string): void => {
    if (done.has(name)) return
    done.add(name)
    const node = nodes.get(name)
    if (node === undefined) throw new Error(`The graph has no node ${name}.`)
    const inputs = (node.input ?? []).filter((input) => !input.startsWith('^')).map(withoutPort)
    for (const input of inputs) visit(input.split(':')[0] ?? '')
    add(node, inputs, stored, graph)
  }
  for (const output of outputs) visit(output.split(':')[0] ?? '')
  // Many constants were for this file alone.
  const used = new Set(graph.nodes.flatMap((node) => node.inputs))
  for (const name of graph.constants.keys()) if (!used.has(name)) graph.constants.delete(name)
  return graph
}

/** The first output of a node goes by the name of the node. */
const withoutPort = (input: string): string => input.replace(/:0$/, '')

function add(node: TfNode, inputs: string[], stored: Map<string, Tensor>, graph: Graph): void {
  const { name, op } = node
  const attr = node.attr ?? {}
  const input = (at: number): string => {
    const found = inputs[at]
    if (found === undefined) throw new Error(`${op} ${name} has no input ${at}.`)
    return found
  }
  const constant = (at: number): Tensor => {
    const found = graph.constants.get(input(at))
    if (found === undefined) throw new Error(`${op} ${name} needs a constant as input ${at}.`)
    return found
  }
  const integers = (at: number): number[] => [...constant(at).values].map(Number)
  const emit = (
    onnx: string,
    from: string[],
    to = name,
    attributes: Record<string, Attribute> = {},
  ): string => {
    graph.nodes.push({ op: onnx, inputs: from, outputs: [to], attributes })
    return to
  }
  const keep = (suffix: string, tensor: Tensor): string => {
    graph.constants.set(`${name}/${suffix}`, tensor)
    return `${name}/${suffix}`
  }
  const list = (suffix: string, values: number[]): string =>
    keep(suffix, { dims: [values.length], values: BigInt64Array.from(values, BigInt) })

  /** The operators of ONNX that look at a neighbourhood have channels before rows and columns. */
  const channelsFirst = (work: (from: string) => string): void => {
    const from = emit('Transpose', [input(0)], `${name}/nchw`, { perm: [0, 3, 1, 2] })
    emit('Transpose', [work(from)], name, { perm: [0, 2, 3, 1] })
  }
  const fused = (attr['fused_ops']?.list?.s ?? []).map(decodeText)
  const bias = fused[0] === 'BiasAdd' ? [input(2)] : []
  const convolve = (weightsName: string, group: number): void =>
    channelsFirst((from) => {
      let result = emit('Conv', [from, weightsName, ...bias], `${name}/conv`, {
        ...window(attr, name),
        dilations: rowsAndColumns(attr['dilations']),
        group: { int: group },
      })
      for (const [at, activation] of fused.slice(bias.length).entries()) {
        const to = `${name}/fused${at}`
        if (activation === 'Relu') result = emit('Relu', [result], to)
        else if (activation === 'Relu6')
          result = emit('Clip', [result, keep('zero', scalar(0)), keep('six', scalar(6))], to)
        else if (activation === 'Prelu')
          result = emit('PRelu', [result, keep('slope', slopeOf(constant(3)))], to)
        else throw new Error(`${op} ${name} has ${activation} fused into it, which is not known here.`)
      }
      return result
    })

  switch (op) {
    case 'Placeholder':
      graph.inputs.push({ name, dims: sizes(attr['shape']).map((size) => Math.max(1, size)) })
      return
    case 'Const': {
      const tensor = stored.get(name)
      if (tensor === undefined) throw new Error(`The weights have no ${name}.`)
      graph.constants.set(name, tensor)
      return
    }
    case 'Identity':
    case 'Relu':
    case 'Sigmoid':
      emit(op, [input(0)])
      return
    case 'LeakyRelu':
      emit('LeakyRelu', [input(0)], name, { alpha: { float: attr['alpha']?.f ?? 0.2 } })
      return
    case 'Prelu':
      emit('PRelu', [input(0), input(1)])
      return
    case 'Softmax':
      emit('Softmax', [input(0)], name, { axis: { int: -1 } })
      return
    case 'Add':
    case 'AddV2': {
      const known = [graph.constants.get(input(0)), graph.constants.get(input(1))]
      const [a, b] = known.map((tensor) => tensor?.values)
      if (a instanceof BigInt64Array && b instanceof BigInt64Array && a.length === b.length)
        graph.constants.set(name, {
          dims: known[0]?.dims ?? [],
          values: a.map((value, at) => value + (b[at] ?? 0n)),
        })
      else emit('Add', [input(0), input(1)])
      return
    }
    case 'Mul':
    case 'Sub':
      emit(op, [input(0), input(1)])
      return
    case '_FusedMatMul':
      if (attr['transpose_a']?.b === true || attr['transpose_b']?.b === true)
        throw new Error(`${op} ${name} turns a matrix round, which is not known here.`)
      if (fused.length !== bias.length)
        throw new Error(`${op} ${name} has ${fused.at(-1)} fused into it, which is not known here.`)
      if (bias.length === 0) emit('MatMul', [input(0), input(1)])
      else emit('Add', [emit('MatMul', [input(0), input(1)], `${name}/product`), ...bias])
      return
    case 'Squeeze':
      emit('Squeeze', [input(0), list('axes', (attr['squeeze_dims']?.list?.i ?? []).map(Number))])
      return
    case 'SparseToDense': {
      // Of integers in one dimension: a value, or one for each of the places that are named.
      const values = integers(2)
      const dense = new Array<number>(integers(1)[0] ?? 0).fill(integers(3)[0] ?? 0)
      for (const [at, place] of integers(0).entries()) dense[place] = values[at] ?? values[0] ?? 0
      graph.constants.set(name, { dims: [dense.length], values: BigInt64Array.from(dense, BigInt) })
      return
    }
    case 'Transpose':
      emit('Transpose', [input(0)], name, { perm: integers(1) })
      return
    case 'Reshape':
      emit('Reshape', [input(0), list('shape', integers(1))])
      return
    case 'ConcatV2':
      emit('Concat', inputs.slice(0, -1), name, { axis: { int: integers(inputs.length - 1)[0] ?? 0 } })
      return
    case 'SplitV': {
      const parts = integers(1)
      graph.nodes.push({
        op: 'Split',
        inputs: [input(0), list('parts', parts)],
        outputs: parts.map((_, at) => (at === 0 ? name : `${name}:${at}`)),
        attributes: { axis: { int: integers(2)[0] ?? 0 } },
      })
      return
    }
    case 'Mean':
      emit('ReduceMean', [input(0), list('axes', integers(1))], name, {
        keepdims: { int: attr['keep_dims']?.b === true ? 1 : 0 },
      })
      return
    case 'Pad':
    case 'PadV2': {
      const pairs = integers(1)
      const pads = list('pads', [
        ...pairs.filter((_, at) => at % 2 === 0),
        ...pairs.filter((_, at) => at % 2 === 1),
      ])
      emit('Pad', [input(0), pads, ...(op === 'PadV2' ? [input(2)] : [])])
      return
    }
    case 'AvgPool':
    case 'MaxPool':
      channelsFirst((from) =>
        emit(op === 'MaxPool' ? op : 'AveragePool', [from], `${name}/pool`, {
          ...window(attr, name),
          kernel_shape: rowsAndColumns(attr['ksize']),
        }),
      )
      return
    case 'ResizeBilinear':
      channelsFirst((from) => {
        const kept = emit('Shape', [from], `${name}/kept`, { start: { int: 0 }, end: { int: 2 } })
        const sizes = emit('Concat', [kept, list('rowsAndColumns', integers(1))], `${name}/sizes`, {
          axis: { int: 0 },
        })
        return emit('Resize', [from, '', '', sizes], `${name}/resize`, {
          mode: 'linear',
          coordinate_transformation_mode: coordinates(attr),
        })
      })
      return
    case 'Conv2D':
    case '_FusedConv2D': {
      const kernel = constant(1)
      convolve(keep('kernel', permuted(kernel, [3, 2, 0, 1])), 1)
      return
    }
    case 'DepthwiseConv2dNative':
    case 'FusedDepthwiseConv2dNative': {
      // Rows, columns, channels, multiplier: each channel is a group, with as many kernels as the multiplier says.
      const { dims, values } = permuted(constant(1), [2, 3, 0, 1])
      const [channels = 0, multiplier = 0, rows = 0, columns = 0] = dims
      convolve(keep('kernel', { dims: [channels * multiplier, 1, rows, columns], values }), channels)
      return
    }
    default:
      throw new Error(`${op} (${name}) is not known here.`)
  }
}

const scalar = (value: number): Tensor => ({ dims: [], values: Float32Array.of(value) })
const decodeText = (base64: string): string => Buffer.from(base64, 'base64').toString()
const sizes = (attribute: TfAttribute | undefined): number[] =>
  (attribute?.shape?.dim ?? []).map(({ size }) => Number(size))
/** Of four numbers for images, rows, columns and channels. */
const rowsAndColumns = (attribute: TfAttribute | undefined): number[] => {
  const all = (attribute?.list?.i ?? []).map(Number)
  return all.length === 0 ? [1, 1] : all.slice(1, 3)
}

function window(attr: Record<string, TfAttribute>, name: string): Record<string, Attribute> {
  const padding = decodeText(attr['padding']?.s ?? '')
  const strides = rowsAndColumns(attr['strides'])
  if (decodeText(attr['data_format']?.s ?? 'TkhXQw==') !== 'NHWC')
    throw new Error(`${name} has its channels first, which is not known here.`)
  if (padding === 'VALID') return { strides }
  // TensorFlow's, too, puts the odd one of the pixels that it adds below and to the right.
  if (padding === 'SAME') return { strides, auto_pad: 'SAME_UPPER' }
  throw new Error(`${name} has ${padding} padding, which is not known here.`)
}

function coordinates(attr: Record<string, TfAttribute>): string {
  if (attr['align_corners']?.b === true) return 'align_corners'
  return attr['half_pixel_centers']?.b === true ? 'half_pixel' : 'asymmetric'
}

/** A slope for each channel, for what has its channels before rows and columns. */
const slopeOf = ({ dims, values }: Tensor): Tensor => {
  const channels = dims.at(-1) ?? 0
  if (values.length !== channels) throw new Error('A slope for each pixel is not known here.')
  return { dims: [channels, 1, 1], values }
}

function permuted({ dims, values }: Tensor, order: number[]): Tensor {
  if (!(values instanceof Float32Array)) throw new Error('A kernel has to be of floats.')
  const strides = dims.map((_, at) => dims.slice(at + 1).reduce((product, dim) => product * dim, 1))
  const to = order.map((at) => dims[at] ?? 0)
  const steps = order.map((at) => strides[at] ?? 0)
  const [d1 = 0, d2 = 0, d3 = 0, d4 = 0] = to
  const [s1 = 0, s2 = 0, s3 = 0, s4 = 0] = steps
  const out = new Float32Array(values.length)
  let at = 0
  for (let a = 0; a < d1; a += 1)
    for (let b = 0; b < d2; b += 1)
      for (let c = 0; c < d3; c += 1)
        for (let d = 0; d < d4; d += 1) out[at++] = values[a * s1 + b * s2 + c * s3 + d * s4] ?? 0
  return { dims: to, values: out }
}
