import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { type GraphModel, toOnnx } from './graph-to-onnx.ts'

const MEDIAPIPE = { licence: 'Apache-2.0', source: 'https://github.com/google-ai-edge/mediapipe' }

/** What is read of the package of models: two files each, by their SHA-256. See MODELS.md for what they are. */
const MODELS = {
  nanodet: {
    ...{ licence: 'Apache-2.0', source: 'https://github.com/RangiLyu/nanodet' },
    graph: '4495eb0ec74bd33ee40a79aa06ebc1ccd7e28be1bf7355d93ffb570b8d77f45d',
    weights: '5d0e4f8c4eded666287330be03017d494787d35f523fd77ca23f59db984a4ad9',
    size: 416,
    outputs: ['Identity', 'Identity_1', 'Identity_2', 'Identity_3', 'Identity_4', 'Identity_5'],
  },
  blazeface: {
    ...MEDIAPIPE,
    graph: 'cd7bbfc078270572beb39f9e5ae67aadbd50b5e67cff37e6d4f6b3ea39312e5f',
    weights: 'dc9a97fdc50bc43216554bdd69aa3e7b9361a519ee7bdd996a2f69a98a6f9b72',
    size: 256,
    outputs: ['Identity', 'Identity_1', 'Identity_2', 'Identity_3'],
  },
  facemesh: {
    ...MEDIAPIPE,
    graph: 'f4a8d1595ed22acc7cec0773d6752710b17f1e48be12f08a01e1d422812906cd',
    weights: 'f4a7075c1fff12ceafd2cd6fc000a464da90b1e0c35236971ed5bb3b343366cb',
    size: 192,
    outputs: ['Identity', 'Identity_2'],
  },
  iris: {
    ...MEDIAPIPE,
    graph: '49038ac9dcc09aa05474d91d98e9db5b47af4830929bcf102ed5a56bfbabb465',
    weights: 'd7f296d184274213d4642681ae186112cbbec77fd2ab066257d3c56a1940bc71',
    size: 64,
    outputs: ['Identity'],
  },
  emotion: {
    ...{ licence: 'MIT', source: 'https://github.com/oarriaga/face_classification' },
    graph: '56f7e557eb0c863a8b9ab04ac7ccba756e93bf2c27dce135ef0e8712b80b7ad2',
    weights: '927ac8224f356ab1e68c2bcfbfa07b0c8567047d1bcf817388ba6e38214c4987',
    size: 64,
    outputs: ['Identity'],
  },
} as const
export type ModelName = keyof typeof MODELS

/** Those that come along, for a list of all. */
export const BUILT_IN = [
  ...Object.entries(MODELS).map(([name, { licence, source }]) => ({ name, licence, source })),
  { name: 'ppocr-v4', licence: 'Apache-2.0', source: 'https://github.com/PaddlePaddle/PaddleOCR' },
]

/** The models or their runtime are not as they were when they were chosen: in one sentence, for people. */
export class NotUsable extends Error {}

const AGAIN = '"npm ci" installs it again.'

const { resolve } = createRequire(import.meta.url)

/** @returns the folder of the models; undefined where they, or the runtime, are not installed */
export function modelFolder(): string | undefined {
  try {
    resolve('onnxruntime-web')
    return join(dirname(resolve('@vladmandic/human/package.json')), 'models')
  } catch {
    return undefined
  }
}

/** A model that takes a square picture and gives lists of numbers, in the order of its outputs. */
export interface Model {
  /** Pixels of a side. */
  size: number
  run: (input: Float32Array) => Promise<Float32Array[]>
}

/** @throws NotUsable */
export async function loadModel(folder: string, name: ModelName): Promise<Model> {
  const { graph, weights, size, outputs } = MODELS[name]
  const json = read(join(folder, `${name}.json`), graph)
  return await openGraph({
    graph: JSON.parse(json.toString()),
    weights: read(join(folder, `${name}.bin`), weights),
    ...{ size, outputs },
  })
}

/** A model that is a graph of TensorFlow.js. */
export async function openGraph({
  graph,
  weights,
  size,
  outputs,
}: {
  graph: GraphModel
  weights: Uint8Array
  size: number
  outputs: readonly string[]
}): Promise<Model> {
  const onnx = toOnnx(graph, weights, [...outputs])
  const runtime = await loadRuntime()
  const session = await runtime.InferenceSession.create(onnx, {
    // Errors only; one thread, as each picture has a worker of its own.
    ...{ logSeverityLevel: 3, intraOpNumThreads: 1, interOpNumThreads: 1 },
  })
  const [input = ''] = session.inputNames
  const [metadata] = session.inputMetadata
  const dims = (metadata?.shape ?? []).map(Number)
  return {
    size,
    run: async (values) => {
      const results = await session.run({ [input]: new runtime.Tensor('float32', values, dims) })
      return outputs.map((output) => {
        const data = results[output]?.data
        if (!(data instanceof Float32Array)) throw new Error(`The model gives no floats as ${output}.`)
        return data
      })
    },
  }
}

/** @throws NotUsable */
export function read(file: string, sha256: string, again = AGAIN): Buffer {
  let bytes: Buffer
  try {
    bytes = readFileSync(file)
  } catch (error) {
    throw new NotUsable(`${file} cannot be read (${(error as Error).message}); ${again}`)
  }
  if (createHash('sha256').update(bytes).digest('hex') !== sha256)
    throw new NotUsable(`${file} is damaged or another file: its SHA-256 is not the expected one; ${again}`)
  return bytes
}

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
    throw new NotUsable(`onnxruntime-web cannot be loaded (${(error as Error).message}); ${AGAIN}`)
  }
}
