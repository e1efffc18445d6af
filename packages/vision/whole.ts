import { builtIn } from './built-in.ts'
import type { Thing } from './detector.ts'
import { animalsAmong, type Face, isWithin } from './faces.ts'
import type { Model } from './models.ts'
import { cutOut, type Picture, prepared, pressed } from './pixels.ts'
import { classOf, isAnimal, nameOf } from './taxonomy.ts'

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

/**
 * Close-ups of people have been taken for a dog and for a fish. So beside a person the whole is no animal that the detector does not
 * see as well, and nothing with a face in it is surer of being an animal. (Monkeys and apes are silent in any picture.)
 */
export function withoutPeopleAsAnimals(
  faces: Pick<Face, 'box'>[],
  { things, whole }: { things: Thing[]; whole: Named[] },
): { things: Thing[]; whole: Named[] } {
  const people = faces.length > 0 || things.some(({ kind }) => nameOf(kind) === 'Person')
  return {
    things: things.map((thing) => {
      const { backing: _, ...unbacked } = thing
      return isAnimal(nameOf(thing.kind)) && faces.some((face) => isWithin(face, thing)) ? unbacked : thing
    }),
    whole: people && animalsAmong(things).length === 0 ? whole.filter(({ name }) => !isAnimal(name)) : whole,
  }
}

/** Things of a picture that are looked at once more, the best first: each takes as long as half a look at the whole. */
const MOST_LOOKS = 6
/** Sides of the square that is cut out around a thing, in those of its box. */
const AROUND = 1.1

/**
 * Looks at each thing alone, where some of the 1,000 kinds are of its kind, and says what these have of it. People are left out: the
 * detector is sure of them, and a scuba diver and a baseball player are all that is known here.
 */
export async function lookAgain(model: Model, picture: Picture, things: Thing[]): Promise<Thing[]> {
  const seen: Thing[] = []
  let left = MOST_LOOKS
  for (const thing of things) {
    const name = nameOf(thing.kind)
    const members = name === 'Person' || left === 0 ? [] : membersOf(name)
    if (members.length === 0) {
      seen.push(thing)
      continue
    }
    left -= 1
    const { box } = thing
    const side = Math.max(box.right - box.left, box.bottom - box.top) * AROUND
    const square = { x: (box.left + box.right) / 2, y: (box.top + box.bottom) / 2, side, angle: 0 }
    const [scores] = await model.run(prepared(cutOut(picture, square, model.size), model.input))
    seen.push({ ...thing, backing: members.reduce((sum, at) => sum + (scores?.[at] ?? 0), 0) })
  }
  return seen
}

/** Of which classes a name is, or what they are kinds of; silent ones as well. */
const membersOf = (name: string): number[] =>
  builtIn('efficientnet-lite0').classes.flatMap((one, at) =>
    one.name === name || one.parents.includes(name) ? [at] : [],
  )
