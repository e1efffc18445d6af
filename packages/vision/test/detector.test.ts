import { expect, it } from 'vitest'
import { builtIn } from '../built-in.ts'
import { detect } from '../detector.ts'
import type { Model } from '../models.ts'

const SIZE = 64
const STRIDES = [8, 16, 32]
const KINDS = 80
const STEPS = 11
const picture = { width: SIZE, height: SIZE, data: Buffer.alloc(SIZE * SIZE * 3) }

interface Seen {
  kind: number
  score: number
  /** How far the sides of the box are from the middle of the cell, in cells of 8 pixels. */
  reach: number
}

/** A model that sees these in the middle of the picture, in both looks: at the cell there, and at that in the mirror. */
function modelOf(seen: Seen[]): Model {
  const cells = SIZE / 8
  return {
    size: SIZE,
    input: builtIn('nanodet-g').input,
    run: async () => {
      const scores = STRIDES.map((stride) => new Float32Array((SIZE / stride) ** 2 * KINDS))
      const sides = STRIDES.map((stride) => new Float32Array((SIZE / stride) ** 2 * 4 * STEPS))
      for (const [row, { kind, score, reach }] of seen.entries())
        for (const column of [3, 4]) {
          const cell = (row + 3) * cells + column
          scores[0]?.fill(score, cell * KINDS + kind, cell * KINDS + kind + 1)
          for (const side of [0, 1, 2, 3])
            sides[0]?.fill(50, (cell * 4 + side) * STEPS + reach, (cell * 4 + side) * STEPS + reach + 1)
        }
      return [...scores, ...sides]
    },
  }
}

it('one thing has one name: of two kinds with nearly the same box, the one with the better score', async () => {
  const both = [
    { kind: 16, score: 0.9, reach: 10 },
    { kind: 15, score: 0.8, reach: 10 },
  ]
  expect((await detect(modelOf(both), picture)).map(({ kind }) => kind)).toEqual([16])
})

it('two things of which one is within the other have two names', async () => {
  const both = [
    { kind: 0, score: 0.9, reach: 3 },
    { kind: 16, score: 0.8, reach: 1 },
  ]
  expect((await detect(modelOf(both), picture)).map(({ kind }) => kind)).toEqual(
    expect.arrayContaining([0, 16]),
  )
})
