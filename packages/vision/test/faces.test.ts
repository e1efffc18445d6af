import { expect, it } from 'vitest'
import type { Thing } from '../detector.ts'
import { type Face, withoutAnimals } from '../faces.ts'
import { kinds } from '../taxonomy.ts'

const KINDS = kinds().map(({ name }) => name)

const around = (x: number, y: number, side: number) => ({
  left: x - side / 2,
  top: y - side / 2,
  right: x + side / 2,
  bottom: y + side / 2,
})
const thing = (name: string, x: number, score = 0.7): Thing => ({
  kind: KINDS.indexOf(name),
  score,
  box: around(x, 100, 100),
})
const face = (x: number): Face => ({
  score: 0.9,
  box: around(x, 90, 20),
  landmarks: [],
  pose: { yaw: 0, pitch: 0, roll: 0 },
  quality: { brightness: 50, sharpness: 50 },
  emotions: [],
})

it.each<[string, Thing[], number]>([
  ['within a dog is none', [thing('Dog', 100)], 0],
  ['within a dog and a person is one', [thing('Dog', 100), thing('Person', 120)], 1],
  ['beside a dog is one', [thing('Dog', 200)], 1],
  ['within what may be a dog is one', [thing('Dog', 100, 0.45)], 1],
  ['within a car is one', [thing('Car', 100)], 1],
])('a face %s', (_, things, count) => {
  expect(withoutAnimals([face(100)], things)).toHaveLength(count)
})
