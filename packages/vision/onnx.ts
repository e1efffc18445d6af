/**
 * Writes ONNX models (onnx.proto3, IR version 8, operators of version 18), as far as the models here need them.
 * A field in Protocol Buffers is its number and wire type, then a varint, four bytes, or a length and as many bytes.
 */
export type Values = Float32Array | BigInt64Array

export interface Tensor {
  dims: number[]
  values: Values
}

export type Attribute = number[] | string | { int: number } | { float: number }

export interface Node {
  op: string
  inputs: string[]
  outputs: string[]
  attributes?: Record<string, Attribute>
}

export interface Graph {
  inputs: { name: string; dims: number[] }[]
  outputs: string[]
  nodes: Node[]
  constants: Map<string, Tensor>
}

const IR_VERSION = 8
const OPERATORS_VERSION = 18
/** Of TensorProto. */
const FLOAT = 1
const INT64 = 7

export function writeModel({ inputs, outputs, nodes, constants }: Graph): Uint8Array {
  const graph = [
    ...nodes.flatMap((node) => message(1, writeNode(node))),
    ...text(2, 'graph'),
    ...[...constants].flatMap(([name, tensor]) => message(5, writeTensor(name, tensor))),
    ...inputs.flatMap(({ name, dims }) => message(11, [...text(1, name), ...message(2, floatsOf(dims))])),
    ...outputs.flatMap((name) => message(12, [...text(1, name), ...message(2, floatsOf())])),
  ]
  // Once: the weights are most of it.
  return Buffer.concat([
    varint(1, IR_VERSION),
    ...message(7, graph),
    ...message(8, [...text(1, ''), varint(2, OPERATORS_VERSION)]),
  ])
}

/** A type: floats, of this shape or of any. */
const floatsOf = (dims?: number[]): Uint8Array[] => {
  const shape = dims?.flatMap((dim) => message(1, [varint(1, dim)]))
  return message(1, [varint(1, FLOAT), ...(shape === undefined ? [] : message(2, shape))])
}

const writeNode = ({ op, inputs, outputs, attributes = {} }: Node): Uint8Array[] => [
  ...inputs.flatMap((name) => text(1, name)),
  ...outputs.flatMap((name) => text(2, name)),
  ...text(4, op),
  ...Object.entries(attributes).flatMap(([name, value]) =>
    message(5, [...text(1, name), ...writeAttribute(value)]),
  ),
]

function writeAttribute(value: Attribute): Uint8Array[] {
  if (typeof value === 'string') return [...text(4, value), varint(20, 3)]
  if (Array.isArray(value)) return [...value.map((item) => varint(8, item)), varint(20, 7)]
  if ('int' in value) return [varint(3, value.int), varint(20, 2)]
  return [tag(2, 5), new Uint8Array(Float32Array.of(value.float).buffer), varint(20, 1)]
}

const writeTensor = (name: string, { dims, values }: Tensor): Uint8Array[] => [
  ...dims.map((dim) => varint(1, dim)),
  varint(2, values instanceof Float32Array ? FLOAT : INT64),
  ...text(8, name),
  ...message(9, [new Uint8Array(values.buffer, values.byteOffset, values.byteLength)]),
]

const tag = (field: number, wireType: number): Uint8Array => encodeVarint(BigInt(field * 8 + wireType))
const varint = (field: number, value: number): Uint8Array =>
  Buffer.concat([tag(field, 0), encodeVarint(BigInt.asUintN(64, BigInt(value)))])
const text = (field: number, value: string): Uint8Array[] => message(field, [Buffer.from(value)])
/** A field of bytes, which these parts are together. */
function message(field: number, parts: Uint8Array[]): Uint8Array[] {
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  return [tag(field, 2), encodeVarint(BigInt(length)), ...parts]
}

function encodeVarint(value: bigint): Uint8Array {
  const out: number[] = []
  let rest = value
  for (; rest > 0x7fn; rest >>= 7n) out.push(Number(rest & 0x7fn) | 0x80)
  out.push(Number(rest))
  return Uint8Array.from(out)
}
