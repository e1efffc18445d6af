import { type Curve, interpolate } from './curve.ts'
import { within } from './detector.ts'
import { type Class, type Manifest, NotUsable, titleOf } from './manifest.ts'
import { loadRuntime, type Runtime, type Session } from './models.ts'
import { around, type Box, cutOut, type Picture, placeIn, prepared, type Square } from './pixels.ts'

/** What a model that people have added says of a picture. */
export interface Added {
  /** As LabelModelVersion names it. */
  model: string
  found: Found[]
}
export interface Found {
  entry: Class
  confidence: number
  /** In pixels of the picture; a classifier has none. */
  box?: Box
}

export type AddedModel = (picture: Picture) => Promise<Added>

/** Boxes of one picture that are looked at, the best first. */
const MOST_BOXES = 300

/**
 * @param bytes of the model, which are those of the manifest's checksum
 * @throws NotUsable where it is no ONNX model, or not one as the manifest describes it
 */
export async function loadAdded(manifest: Manifest, bytes: Uint8Array): Promise<AddedModel> {
  const runtime = await loadRuntime()
  const { name } = manifest
  const session = await runtime.InferenceSession.create(bytes, {
    logSeverityLevel: 4,
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
  }).catch((error: unknown) => {
    throw new NotUsable(`The file of ${name} is not an ONNX model that runs here (${said(error)}).`)
  })
  const model: AddedModel = async (picture) => ({
    model: titleOf(manifest),
    found: await look(runtime, session, manifest, picture),
  })
  const { size } = manifest.input
  const blank = { data: new Uint8Array(size * size * 3), width: size, height: size }
  await model(blank).catch((error: unknown) => {
    if (error instanceof NotUsable) throw error
    throw new NotUsable(`${name} does not run as its manifest describes it (${said(error)}).`)
  })
  return model
}

const said = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).split('\n', 1)[0]?.slice(0, 200) ?? ''

async function look(
  runtime: Runtime,
  session: Session,
  { name, input, output, classes, curve }: Manifest,
  picture: Picture,
): Promise<Found[]> {
  const { size, layout } = input
  const square = squareOf(picture, input.fit)
  const dims = layout === 'NCHW' ? [1, 3, size, size] : [1, size, size, 3]
  const tensor = new runtime.Tensor('float32', prepared(cutOut(picture, square, size), input), dims)
  const results = await session.run({ [session.inputNames[0] ?? '']: tensor })
  const numbers = (of: string): number[] => {
    const data = results[of]?.data
    if (data instanceof Float32Array) return [...data]
    // The number of a class may be of whole numbers.
    if (data instanceof BigInt64Array || data instanceof Int32Array) return Array.from(data, Number)
    throw new NotUsable(`${name} has no output of numbers named ${of}, as its manifest says.`)
  }
  const scores = numbers(output.scores)
  if (output.kind === 'classifier') {
    if (scores.length !== classes.length)
      throw new NotUsable(
        `${name} scores ${scores.length} classes, and its manifest names ${classes.length}.`,
      )
    return activated(scores, output.activation).flatMap((score, at) => findingsOf(classes[at], score, curve))
  }
  const boxes = numbers(output.boxes)
  const kinds = numbers(output.classes)
  if (boxes.length !== scores.length * 4 || kinds.length !== scores.length)
    throw new NotUsable(`${name} gives ${scores.length} scores for ${boxes.length / 4} boxes.`)
  const scale = output.unit === 'pixels' ? 1 : size
  const isTopFirst = output.order === 'top left bottom right'
  return scores
    .map((score, at) => ({ score, at }))
    .sort((a, b) => b.score - a.score)
    .slice(0, MOST_BOXES)
    .flatMap(({ score, at }) => {
      const [a = 0, b = 0, c = 0, d = 0] = boxes.slice(at * 4, at * 4 + 4).map((side) => side * scale)
      const [left, top] = isTopFirst ? placeIn(square, size, b, a) : placeIn(square, size, a, b)
      const [right, bottom] = isTopFirst ? placeIn(square, size, d, c) : placeIn(square, size, c, d)
      const box = within(picture, { left, top, right, bottom })
      return findingsOf(classes[kinds[at] ?? -1], score, curve).map((found) => ({ ...found, box }))
    })
}

/** What is no class of the manifest, as a background, and what scores too low, is not said. */
function findingsOf(entry: Class | undefined, score: number, curve: Curve): Found[] {
  const by = entry?.curve ?? curve
  const [least] = by[0] ?? [1]
  return entry !== undefined && score >= least ? [{ entry, confidence: interpolate(by, score) }] : []
}

function squareOf(picture: Picture, fit: Manifest['input']['fit']): Square {
  const whole = around(picture)
  return fit === 'whole' ? whole : { ...whole, side: Math.min(picture.width, picture.height) }
}

function activated(scores: number[], activation: 'none' | 'softmax' | 'sigmoid'): number[] {
  if (activation === 'none') return scores
  if (activation === 'sigmoid') return scores.map((score) => 1 / (1 + Math.exp(-score)))
  const most = Math.max(...scores)
  const powers = scores.map((score) => Math.exp(score - most))
  const sum = powers.reduce((all, power) => all + power, 0)
  return powers.map((power) => power / sum)
}
