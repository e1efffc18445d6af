import { expect, it } from 'vitest'
import { builtIn } from '../built-in.ts'
import type { Model } from '../models.ts'
import type { Picture } from '../pixels.ts'
import { lookAtWhole } from '../whole.ts'

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
