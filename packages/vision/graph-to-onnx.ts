import { stepOf, type TfNode } from './graph-node.ts'
import { addNode } from './graph-operators.ts'
import { readWeights, type Weight } from './graph-weights.ts'
import { type Graph, writeModel } from './onnx.ts'

/**
 * Turns a TensorFlow.js graph model (its JSON and its weights) into an ONNX model. Only operators that the models here
 * have; another one is refused by name. What depends on integers alone, as shapes do, is worked out here.
 */
export interface GraphModel {
  modelTopology: { node: TfNode[] }
  weightsManifest: { weights: Weight[] }[]
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
    addNode(stepOf(node, inputs, stored, graph))
  }
  for (const output of outputs) visit(output.split(':')[0] ?? '')
  // Many constants were for this file alone.
  const used = new Set(graph.nodes.flatMap((node) => node.inputs))
  for (const name of graph.constants.keys()) if (!used.has(name)) graph.constants.delete(name)
  return graph
}

/** The first output of a node goes by the name of the node. */
const withoutPort = (input: string): string => input.replace(/:0$/, '')
