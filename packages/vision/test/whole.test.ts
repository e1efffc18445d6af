import { expect, it } from 'vitest'
import { builtIn } from '../built-in.ts'
import type { Thing } from '../detector.ts'
import type { Model } from '../models.ts'
import type { Picture } from '../pixels.ts'
import { kinds } from '../taxonomy.ts'
import { lookAgain, lookAtWhole, withoutPeopleAsAnimals } from '../whole.ts'

const { classes, input } = builtIn('efficientnet-lite0')
const at = (name: string): number => classes.findIndex((one) => one.name === name)
/** Red on the left, green in the middle, blue on the right: the square in its middle is green. */
const picture: Picture = {
  width: 12,
  height: 4,
  data: Uint8Array.from({ length: 12 * 4 * 3 }, (_, byte) =>
    byte % 3 === Math.floor((Math.floor(byte / 3) % 12) / 4) ? 255 : 0,
  ),
}

/** Scores that depend on what it is shown. */
const modelOf = (scores: (shown: Float32Array) => Record<string, number>): Model => ({
  size: 4,
  input,
  run: async (shown) => {
    const given = new Float32Array(classes.length)
    for (const [name, score] of Object.entries(scores(shown))) given[at(name)] = score
    return [given]
  },
})
const namesOf = async (scores: (shown: Float32Array) => Record<string, number>) =>
  Object.fromEntries((await lookAtWhole(modelOf(scores), picture)).map(({ name, score }) => [name, score]))

it('two kinds of dog together are a dog, and neither is said where neither is sure', async () => {
  const names = await namesOf(() => ({ Pug: 0.45, Beagle: 0.4, Daisy: 0.1 }))
  const near = expect.closeTo(0.85, 5)
  expect(names).toEqual({ Dog: near, Canine: near, Mammal: near, Animal: near, Pet: near })
})

it('a silent kind names nothing, nor does what it is a kind of', async () => {
  expect(classes[at('Wig')]).toMatchObject({ silent: true })
  expect(await namesOf(() => ({ Wig: 0.99 }))).toEqual({})
  expect(await namesOf(() => ({ Daisy: 0.99 }))).toMatchObject({ Daisy: expect.closeTo(0.99, 5) })
})

it('many animals that are each unlikely are none', async () => {
  const unlikely = ['Pug', 'Tench', 'Penguin', 'Zebra', 'Ladybug', 'Jellyfish', 'Koala', 'Cat']
  expect(await namesOf(() => Object.fromEntries(unlikely.map((name) => [name, 0.12])))).toEqual({})
})

it('it looks at the whole picture and at the square in its middle, and the mean counts', async () => {
  const looks: number[][] = []
  const names = await namesOf((shown) => {
    const points = shown.length / 3
    const means = [0, 1, 2].map((channel) => {
      const plane = shown.subarray(channel * points, (channel + 1) * points)
      return Math.round((plane.reduce((sum, value) => sum + value, 0) / points) * 128 + 127)
    })
    looks.push(means)
    return { Daisy: looks.length === 1 ? 1 : 0.6 }
  })
  expect(looks).toEqual([
    [85, 85, 85],
    [0, 255, 0],
  ])
  expect(names['Daisy']).toBeCloseTo(0.8, 5)
})

const thing = (name: string, left: number) => ({
  kind: kinds().findIndex((one) => one.name === name),
  score: 0.6,
  box: { left, top: 0, right: left + 4, bottom: 4 },
})

it('each thing is looked at alone, and backed by all that is of its kind, silent or not', async () => {
  const shown: number[][] = []
  const model = modelOf((rgb) => {
    const middle = (channel: number): number => Math.round((rgb[channel * 16 + 5] ?? 0) * 128 + 127)
    shown.push([0, 1, 2].map(middle))
    return { Pug: 0.2, Beagle: 0.3, Cat: 0.1, Handbag: 0.4 }
  })
  expect(classes[at('Handbag')]).toMatchObject({ silent: true })
  const things = [thing('Dog', 0), thing('Person', 0), thing('Giraffe', 4), thing('Handbag', 8)]
  const [dog, ...others] = await lookAgain(model, picture, things)
  expect(dog).toEqual({ ...thing('Dog', 0), backing: expect.closeTo(0.5, 5) })
  // People are left out, and no giraffe is among the 1,000 kinds.
  expect(others.slice(0, 2)).toEqual([thing('Person', 0), thing('Giraffe', 4)])
  expect(others[2]).toEqual({ ...thing('Handbag', 8), backing: expect.closeTo(0.4, 5) })
  expect(shown).toEqual([
    [255, 0, 0],
    [0, 0, 255],
  ])
})

it('of many things the best are looked at', async () => {
  const cats = Array.from({ length: 9 }, () => thing('Cat', 0))
  const looked = await lookAgain(
    modelOf(() => ({})),
    picture,
    cats,
  )
  expect(looked.map(({ backing }) => backing)).toEqual([0, 0, 0, 0, 0, 0, ...Array(3).fill(undefined)])
})

const face = { box: thing('Person', 0).box }

it('an animal with a face of a person in it is no surer by its backing', () => {
  const things = ['Dog', 'Cup'].flatMap((name) =>
    [0, 8].map((left) => ({ ...thing(name, left), backing: 0.9 })),
  )
  const sight = withoutPeopleAsAnimals([face], { whole: [], things })
  expect(sight.things.map(({ backing }) => backing)).toEqual([undefined, 0.9, 0.9, 0.9])
})

it('nothing is an animal beside a person, where the detector sees none, and no picture is of a monkey or an ape', () => {
  const dog = ['Animal', 'Canine', 'Dog', 'Pug'].map((name) => ({ name, score: 0.9 }))
  const beach = [{ name: 'Beach', score: 0.9 }]
  const all = [...dog, ...beach]
  const wholeOf = (things: Thing[], faces: (typeof face)[] = []) =>
    withoutPeopleAsAnimals(faces, { whole: all, things }).whole
  expect(wholeOf([thing('Person', 0)])).toEqual(beach)
  expect(wholeOf([], [face])).toEqual(beach)
  expect(wholeOf([{ ...thing('Cat', 0), score: 0.45 }], [face])).toEqual(beach)
  expect(wholeOf([thing('Person', 0), thing('Cat', 0)])).toEqual(all)
  expect(wholeOf([])).toEqual(all)
  const primates = classes.filter(({ name, parents }) => [name, ...parents].includes('Primate'))
  expect(primates).toHaveLength(20)
  for (const { name, silent } of primates) expect(silent, name).toBe(true)
})
