import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import type { GraphModel } from './graph-to-onnx.ts'
import { type Model, NotUsable, openGraph, read } from './models.ts'
import { cutOutOf, type Picture } from './pixels.ts'

/**
 * MobileNetV2 of nsfwjs ("mid") says of a whole picture which of five kinds it is. People install its package by
 * themselves, as it is large; only the files of the model are read, and neither its code nor TensorFlow.js runs.
 */
export interface Moderation {
  drawing: number
  hentai: number
  neutral: number
  porn: number
  sexy: number
}

const PACKAGE = 'nsfwjs'
const VERSION = '4.4.0'
const INSTALL = `"npm install --no-save --legacy-peer-deps ${PACKAGE}@${VERSION}"`
const AGAIN = `${INSTALL} installs it again.`

/** What is read of the package, by SHA-256. */
const GRAPH = {
  file: 'model.min.js',
  sha256: 'a7a9e701491e2449b221dab7c424957f853e700602b5575da33cfd745616f964',
}
const WEIGHTS = [
  {
    file: 'group1-shard1of2.min.js',
    sha256: 'f2e79a209e44d668220ec5f1533a98f2be954e3953685bf074d201b82fefc29a',
  },
  {
    file: 'group1-shard2of2.min.js',
    sha256: 'f291df992a0131741372506a6072fb9f1645bff7c973c983fd6276f5f9625d5e',
  },
]
const SIZE = 224
const OUTPUT = 'Identity'

/** @returns the folder of the model; undefined where it is not installed */
export function moderationFolder(): string | undefined {
  try {
    const main = createRequire(import.meta.url).resolve(PACKAGE)
    return join(dirname(main), '../models/mobilenet_v2_mid')
  } catch {
    return undefined
  }
}

/** @throws NotUsable */
export async function loadModeration(folder: string | undefined): Promise<Model> {
  if (folder === undefined)
    throw new NotUsable(`${PACKAGE} is not installed; install it by ${INSTALL} and start again.`)
  const textOf = ({ file, sha256 }: typeof GRAPH): string =>
    read(join(folder, file), sha256, AGAIN).toString()
  const graph = graphIn(textOf(GRAPH))
  const weights = Buffer.concat(WEIGHTS.map((shard) => base64In(textOf(shard))))
  return await openGraph({ graph, weights, size: SIZE, outputs: [OUTPUT] })
}

/**
 * The graph is written as an object of JavaScript in a script that is known to the byte: with its names in quotes and
 * its numbers with a zero before the point, it is JSON.
 */
function graphIn(script: string): GraphModel {
  const from = script.indexOf('{format:"graph-model"')
  const end = '}]}]}'
  const json = script
    .slice(from, script.lastIndexOf(end) + end.length)
    .replaceAll(/([{,])([A-Za-z]\w*):/g, '$1"$2":')
    .replaceAll(/:(-?)\./g, ':$10.')
    .replaceAll(':!0', ':true')
    .replaceAll(':!1', ':false')
  return JSON.parse(json)
}

/** The weights are the longest text of their script. */
const base64In = (script: string): Buffer =>
  Buffer.from(
    script.split('"').reduce((longest, text) => (text.length > longest.length ? text : longest)),
    'base64',
  )

/** The whole picture pressed into a square, as the model was made for. */
export async function moderate(model: Model, picture: Picture): Promise<Moderation> {
  const { width, height } = picture
  const whole = { x: width / 2, y: height / 2, width, height, angle: 0 }
  const rgb = cutOutOf(picture, whole, model.size, model.size)
  const [[drawing = 0, hentai = 0, neutral = 0, porn = 0, sexy = 0] = []] = await model.run(
    rgb.map((value) => value / 255),
  )
  return { drawing, hentai, neutral, porn, sexy }
}
