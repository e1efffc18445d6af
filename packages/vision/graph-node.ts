import type { Attribute, Graph, Tensor } from './onnx.ts'

export interface TfNode {
  name: string
  op: string
  input?: string[]
  attr?: Record<string, TfAttribute>
}

export interface TfAttribute {
  b?: boolean
  f?: number
  i?: string
  s?: string
  list?: { i?: string[]; s?: string[] }
  shape?: { dim?: { size: string }[] }
}

/** What an operator reads of its node, and how it writes to the graph of ONNX. */
export type Step = ReturnType<typeof stepOf>

export function stepOf(node: TfNode, inputs: string[], stored: Map<string, Tensor>, graph: Graph) {
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
  const list = (suffix: string, values: number[]): string => keep(suffix, integersOf(values))

  // The names of operators that are fused into this one: a bias comes before activations.
  const fused = (attr['fused_ops']?.list?.s ?? []).map(decodeText)
  const bias = fused[0] === 'BiasAdd' ? [input(2)] : []
  const activations = fused.slice(bias.length)

  return {
    name,
    op,
    attr,
    inputs,
    bias,
    activations,
    stored,
    graph,
    input,
    constant,
    integers,
    emit,
    keep,
    list,
  }
}

export const integersOf = (values: number[]): Tensor => ({
  dims: [values.length],
  values: BigInt64Array.from(values, BigInt),
})

export const decodeText = (base64: string): string => Buffer.from(base64, 'base64').toString()
