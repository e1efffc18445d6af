import { expect, it } from 'vitest'
import { readText, type TextModels } from '../text.ts'

const WIDTH = 320
const HEIGHT = 704
const picture = { width: WIDTH, height: HEIGHT, data: Buffer.alloc(WIDTH * HEIGHT * 3) }

/** Models that see so many lines one below the other, and read five words in each. */
const modelsOf = (lines: number): TextModels => ({
  detection: {
    run: async (_, dims) => {
      const [, , rows = 0, columns = 0] = dims
      const values = new Float32Array(rows * columns)
      for (let line = 0; line < lines; line += 1)
        for (let row = 0; row < 16; row += 1) {
          const from = (line * 32 + 8 + row) * columns + 40
          values.fill(0.9, from, from + 200)
        }
      return { dims, values }
    },
  },
  recognition: {
    run: async () => {
      const classes = [1, 2, 1, 2, 1, 2, 1, 2, 1]
      const values = classes.flatMap((read) => [0, 1, 2].map((one) => (one === read ? 0.9 : 0)))
      return { dims: [1, classes.length, 3], values: Float32Array.from(values) }
    },
  },
  alphabet: ['', 'a', ' '],
})

it('reads lines with their words, of which it gives at most 100, in whole lines', async () => {
  for (const [there, read] of [
    [20, 20],
    [21, 20],
  ] as const) {
    const lines = await readText(modelsOf(there), picture)
    expect(lines.map(({ text }) => text)).toEqual(Array(read).fill('a a a a a'))
    expect(lines.flatMap(({ words }) => words.map(({ text }) => text))).toEqual(Array(5 * read).fill('a'))
  }
})
