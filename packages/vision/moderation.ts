import { builtIn } from './built-in.ts'
import type { Model } from './models.ts'
import { type Picture, prepared, pressed } from './pixels.ts'

/**
 * MobileNetV2 of nsfwjs ("mid") says of a whole picture which of five kinds it is, by their names. Users install its
 * package, because it is large; only the files of the model are read, and neither its code nor TensorFlow.js runs.
 */
export type Moderation = Record<string, number>

/** The whole picture pressed into a square, as the model was made for. */
export async function moderate(model: Model, picture: Picture): Promise<Moderation> {
  const rgb = pressed(picture, model.size)
  const [scores = new Float32Array()] = await model.run(prepared(rgb, model.input))
  return Object.fromEntries(builtIn('nsfwjs').classes.map(({ name }, at) => [name, scores[at] ?? 0]))
}
