import { builtIn } from './built-in.ts'
import type { Model } from './models.ts'
import { around, type Box, cutOut, distinct, mirrored, type Picture, placeIn, prepared } from './pixels.ts'

/**
 * NanoDet-g: things of COCO's 80 kinds, on three grids. Each cell has a score for each kind, and for each side of the box
 * eleven weights, whose mean is the distance of that side in cells. It looks twice, once in the mirror, and the means
 * count: much of what is not there is seen only once (MODELS.md).
 */
export interface Thing {
  /** The number of its kind, in COCO's order. */
  kind: number
  score: number
  /** In pixels of the picture. */
  box: Box
  /** What another model has for its kind, in parts of 1, when it sees the thing alone; absent where it does not know the kind. */
  backing?: number
}

const STEPS = 11
const STRIDES = [8, 16, 32]
/** As NanoDet itself has it, within a kind. */
const SAME_THING = 0.6
/** The same across kinds: one thing has one name. */
const ONE_NAME = 0.8
export async function detect(model: Model, picture: Picture): Promise<Thing[]> {
  const square = around(picture)
  const { size, input } = model
  const { classes, curve: [[least] = [1]] = [] } = builtIn('nanodet-g')
  const rgb = cutOut(picture, square, size)
  const outputs = await model.run(prepared(rgb, input))
  const twins = await model.run(prepared(mirrored(rgb, size), input))
  const found: Thing[] = []
  for (const [level, stride] of STRIDES.entries()) {
    const cells = size / stride
    const scores = outputs[level] ?? new Float32Array()
    const sides = outputs[level + STRIDES.length] ?? new Float32Array()
    const twinScores = twins[level] ?? new Float32Array()
    const twinSides = twins[level + STRIDES.length] ?? new Float32Array()
    for (let cell = 0; cell < cells * cells; cell += 1) {
      const row = Math.floor(cell / cells)
      const column = cell % cells
      const twin = row * cells + cells - 1 - column
      const distance = (side: number, twinSide: number): number =>
        (stride * (distanceOf(sides, cell * 4 + side) + distanceOf(twinSides, twin * 4 + twinSide))) / 2
      for (let kind = 0; kind < classes.length; kind += 1) {
        const score =
          ((scores[cell * classes.length + kind] ?? 0) + (twinScores[twin * classes.length + kind] ?? 0)) / 2
        // Scores below say nothing.
        if (score < least) continue
        const x = (column + 0.5) * stride
        const y = (row + 0.5) * stride
        const [left, top] = placeIn(square, size, x - distance(0, 2), y - distance(1, 1))
        const [right, bottom] = placeIn(square, size, x + distance(2, 0), y + distance(3, 3))
        found.push({ kind, score, box: within(picture, { left, top, right, bottom }) })
      }
    }
  }
  return distinct(
    distinct(found, SAME_THING, (a, b) => a.kind === b.kind),
    ONE_NAME,
  )
}

export const within = ({ width, height }: Picture, { left, top, right, bottom }: Box): Box => ({
  left: Math.min(Math.max(0, left), width),
  top: Math.min(Math.max(0, top), height),
  right: Math.min(Math.max(0, right), width),
  bottom: Math.min(Math.max(0, bottom), height),
})

/** The mean of 0, 1, 2 … by weights that are given as logarithms. */
function distanceOf(sides: Float32Array, at: number): number {
  let most = Number.NEGATIVE_INFINITY
  for (let step = 0; step < STEPS; step += 1) most = Math.max(most, sides[at * STEPS + step] ?? 0)
  let sum = 0
  let weighted = 0
  for (let step = 0; step < STEPS; step += 1) {
    const weight = Math.exp((sides[at * STEPS + step] ?? 0) - most)
    sum += weight
    weighted += weight * step
  }
  return weighted / sum
}
