import { type BuiltInName, builtIn, filesOf } from './built-in.ts'
import { type GraphModel, toOnnx } from './graph-to-onnx.ts'
import { type BuiltIn, NotUsable } from './manifest.ts'
import { tfliteToOnnx } from './tflite-to-onnx.ts'

/** A model that takes a square picture and gives lists of numbers, in the order of its outputs. */
export interface Model {
  /** Pixels of a side. */
  size: number
  input: BuiltIn['input']
  run: (input: Float32Array) => Promise<Float32Array[]>
}

/**
 * A model that is a graph of TensorFlow.js, or in TensorFlow Lite's format.
 *
 * @throws NotUsable
 */
export async function loadModel(name: BuiltInName, folder: string | undefined): Promise<Model> {
  const manifest = builtIn(name)
  const { input, output, format } = manifest
  const [first = Buffer.alloc(0), ...rest] = filesOf(manifest, folder)
  const outputs = output.kind === 'classifier' ? [output.scores] : output.names
  const isScript = format === 'TensorFlow.js in scripts'
  const onnx = (): Uint8Array => {
    if (format === 'TensorFlow Lite') return tfliteToOnnx(first, outputs[0] ?? '')
    const graph: GraphModel = JSON.parse(isScript ? graphIn(first.toString()) : first.toString())
    const weights = Buffer.concat(isScript ? rest.map((script) => base64In(script.toString())) : rest)
    return toOnnx(graph, weights, outputs)
  }
  const runtime = await loadRuntime()
  const session = await runtime.InferenceSession.create(onnx(), {
    // Errors only; one thread, as each picture has a worker of its own.
    logSeverityLevel: 3,
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
  })
  const [inputName = ''] = session.inputNames
  const [metadata] = session.inputMetadata
  const dims = (metadata?.shape ?? []).map(Number)
  return {
    size: input.size ?? 0,
    input,
    run: async (values) => {
      const results = await session.run({ [inputName]: new runtime.Tensor('float32', values, dims) })
      return outputs.map((named) => {
        const data = results[named]?.data
        if (!(data instanceof Float32Array)) throw new Error(`${name} gives no floats as ${named}.`)
        return data
      })
    },
  }
}

/**
 * The graph is written as an object of JavaScript in a script that is known to the byte: with its names in quotes and
 * its numbers with a zero before the point, it is JSON.
 */
function graphIn(script: string): string {
  const from = script.indexOf('{format:"graph-model"')
  const end = '}]}]}'
  return script
    .slice(from, script.lastIndexOf(end) + end.length)
    .replaceAll(/([{,])([A-Za-z]\w*):/g, '$1"$2":')
    .replaceAll(/:(-?)\./g, ':$10.')
    .replaceAll(':!0', ':true')
    .replaceAll(':!1', ':false')
}

/** The weights are the longest text of their script. */
const base64In = (script: string): Buffer =>
  Buffer.from(
    script.split('"').reduce((longest, text) => (text.length > longest.length ? text : longest)),
    'base64',
  )

/** Of ONNX Runtime's interface what is used here: both runtimes have it. */
export interface Runtime {
  InferenceSession: { create: (model: Uint8Array, options: object) => Promise<Session> }
  Tensor: new (type: 'float32', values: Float32Array, dims: readonly number[]) => object
  env: { wasm: { numThreads?: number } }
}
export interface Session {
  inputNames: readonly string[]
  inputMetadata: readonly { shape?: readonly (number | string)[] }[]
  run: (inputs: Record<string, object>) => Promise<Record<string, { dims: readonly number[]; data: unknown }>>
}

/** The native runtime where it is installed, which is two to three times as fast; otherwise the portable one. */
export async function loadRuntime(): Promise<Runtime> {
  const [native, portable] = ['onnxruntime-node', 'onnxruntime-web']
  try {
    return await import(native)
  } catch {
    // It is not installed, or not for this machine.
  }
  try {
    const runtime: Runtime = await import(portable)
    runtime.env.wasm.numThreads = 1
    return runtime
  } catch (error) {
    throw new NotUsable(
      `onnxruntime-web cannot be loaded (${(error as Error).message}); "npm ci" installs it again.`,
    )
  }
}
