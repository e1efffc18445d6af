import { builtIn } from './built-in.ts'
import type { Model } from './models.ts'
import { cutOut, type Picture, prepared, pressed } from './pixels.ts'
import { classOf } from './taxonomy.ts'

/**
 * EfficientNet-Lite0 says of a whole picture which of ImageNet's 1,000 kinds it is, in parts of 1: scenes, animals, plants, food,
 * buildings and things that COCO's 80 kinds lack. Where it wavers between two kinds of dog it is sure of a dog, so each name gets what
 * all kinds of it have together.
 */
export interface Named {
  name: string
  score: number
}

/** Leaves, twigs and stones get a little of many animals: without a plain kind of it, each of these is wrong too often. */
const VAGUE = ['Animal', 'Invertebrate', 'Mammal', 'Pet', 'Sea Life', 'Wildlife']

export async function lookAtWhole(model: Model, picture: Picture): Promise<Named[]> {
  const { classes, curve: [[least] = [1]] = [] } = builtIn('efficientnet-lite0')
  const { size, input } = model
  const { width, height } = picture
  const middle = { x: width / 2, y: height / 2, side: Math.min(width, height), angle: 0 }
  const looks = [pressed(picture, size), cutOut(picture, middle, size)]
  const sums = new Map<string, number>()
  for (const rgb of looks) {
    const [scores = new Float32Array()] = await model.run(prepared(rgb, input))
    for (const [at, { name, parents, silent }] of classes.entries())
      if (!silent)
        for (const said of [name, ...parents])
          sums.set(said, (sums.get(said) ?? 0) + (scores[at] ?? 0) / looks.length)
  }
  const said = [...sums].flatMap(([name, score]) => (score >= least ? [{ name, score }] : []))
  const plain = said.filter(({ name }) => !VAGUE.includes(name)).map(({ name }) => classOf(name))
  return said.filter(
    ({ name }) => !VAGUE.includes(name) || plain.some(({ parents }) => parents.includes(name)),
  )
}
