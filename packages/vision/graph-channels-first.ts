import { decodeText, type Step, type TfAttribute } from './graph-node.ts'
import type { Attribute, Tensor } from './onnx.ts'

/** The operators of ONNX that look at a neighbourhood have channels before rows and columns. */
function channelsFirst({ name, input, emit }: Step, work: (from: string) => string): void {
  const from = emit('Transpose', [input(0)], `${name}/nchw`, { perm: [0, 3, 1, 2] })
  emit('Transpose', [work(from)], name, { perm: [0, 2, 3, 1] })
}

export const convolution = (step: Step): void => convolve(step, permuted(step.constant(1), [3, 2, 0, 1]), 1)

export function depthwiseConvolution(step: Step): void {
  // Rows, columns, channels, multiplier: each channel is a group, with as many kernels as the multiplier says.
  const { dims, values } = permuted(step.constant(1), [2, 3, 0, 1])
  const [channels = 0, multiplier = 0, rows = 0, columns = 0] = dims
  convolve(step, { dims: [channels * multiplier, 1, rows, columns], values }, channels)
}

function convolve(step: Step, kernel: Tensor, group: number): void {
  const { name, attr, bias, activations, emit, keep } = step
  const weights = keep('kernel', kernel)
  channelsFirst(step, (from) => {
    const convolved = emit('Conv', [from, weights, ...bias], `${name}/conv`, {
      ...window(attr, name),
      dilations: rowsAndColumns(attr['dilations']),
      group: { int: group },
    })
    return activations.reduce(
      (result, activation, at) => activate(step, activation, result, `${name}/fused${at}`),
      convolved,
    )
  })
}

function activate(step: Step, activation: string, from: string, to: string): string {
  const { name, op, constant, emit, keep } = step
  if (activation === 'Relu') return emit('Relu', [from], to)
  if (activation === 'Relu6') return emit('Clip', [from, keep('zero', scalar(0)), keep('six', scalar(6))], to)
  if (activation === 'Prelu') return emit('PRelu', [from, keep('slope', slopeOf(constant(3)))], to)
  throw new Error(`${op} ${name} has ${activation} fused into it, which is not known here.`)
}

export const pool = (step: Step): void =>
  channelsFirst(step, (from) => {
    const { name, op, attr, emit } = step
    return emit(op === 'MaxPool' ? op : 'AveragePool', [from], `${name}/pool`, {
      ...window(attr, name),
      kernel_shape: rowsAndColumns(attr['ksize']),
    })
  })

export const resizeBilinear = (step: Step): void =>
  channelsFirst(step, (from) => {
    const { name, attr, integers, emit, list } = step
    const kept = emit('Shape', [from], `${name}/kept`, { start: { int: 0 }, end: { int: 2 } })
    const sizes = emit('Concat', [kept, list('rowsAndColumns', integers(1))], `${name}/sizes`, {
      axis: { int: 0 },
    })
    return emit('Resize', [from, '', '', sizes], `${name}/resize`, {
      mode: 'linear',
      coordinate_transformation_mode: coordinates(attr),
    })
  })

const scalar = (value: number): Tensor => ({ dims: [], values: Float32Array.of(value) })
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
