import * as z from 'zod'
import { TEXT_MODEL_VERSION, type TextDetection, textOf } from '../../../vision/index.ts'
import { imageSchema } from '../images.ts'
import { MODEL_VERSION, operation, percent, ratio, type Seen } from '../operation.ts'

const regionSchema = z
  .object({
    BoundingBox: z
      .object({
        Left: ratio.default(0),
        Top: ratio.default(0),
        Width: ratio.default(0),
        Height: ratio.default(0),
      })
      .optional(),
    Polygon: z
      .array(z.object({ X: ratio.default(0), Y: ratio.default(0) }))
      .min(3)
      .max(10)
      .optional(),
  })
  .refine(({ BoundingBox, Polygon }) => (BoundingBox === undefined) !== (Polygon === undefined))

const textSchema = z.object({
  Image: imageSchema,
  Filters: z
    .object({
      WordFilter: z
        .object({
          MinConfidence: percent.default(80),
          MinBoundingBoxHeight: ratio.default(0),
          MinBoundingBoxWidth: ratio.default(0),
        })
        .optional(),
      RegionsOfInterest: z.array(regionSchema).max(10).default([]),
    })
    .prefault({}),
})

export const detectText = operation(textSchema, answer, () => 'reading')

function answer({ Filters }: z.infer<typeof textSchema>, { reading }: Seen) {
  if (reading === undefined) return { TextDetections: [], TextModelVersion: MODEL_VERSION }
  const { WordFilter, RegionsOfInterest } = Filters
  const passes = ({ Confidence, Geometry: { BoundingBox: box } }: Word): boolean =>
    (WordFilter === undefined ||
      (Confidence >= WordFilter.MinConfidence &&
        box.Width >= WordFilter.MinBoundingBoxWidth &&
        box.Height >= WordFilter.MinBoundingBoxHeight)) &&
    (RegionsOfInterest.length === 0 || RegionsOfInterest.some((region) => containsMostOf(region, box)))
  return { TextDetections: textOf(reading, passes), TextModelVersion: TEXT_MODEL_VERSION }
}
type Word = Pick<TextDetection, 'Confidence' | 'Geometry'>

/** A word is in a region when more than half of the word is (API reference, RegionOfInterest): of so many points a side. */
const POINTS = 10
function containsMostOf(
  { BoundingBox: region, Polygon = [] }: z.infer<typeof regionSchema>,
  { Left, Top, Width, Height }: Word['Geometry']['BoundingBox'],
): boolean {
  let within = 0
  for (let at = 0; at < POINTS * POINTS; at += 1) {
    const x = Left + (((at % POINTS) + 0.5) / POINTS) * Width
    const y = Top + ((Math.floor(at / POINTS) + 0.5) / POINTS) * Height
    const isIn =
      region === undefined
        ? isWithin(Polygon, x, y)
        : x >= region.Left &&
          x <= region.Left + region.Width &&
          y >= region.Top &&
          y <= region.Top + region.Height
    if (isIn) within += 1
  }
  return within > (POINTS * POINTS) / 2
}

/** A line from the point to the right crosses the sides an odd number of times. */
const isWithin = (polygon: { X: number; Y: number }[], x: number, y: number): boolean =>
  polygon.filter((from, at) => {
    const to = polygon[(at + 1) % polygon.length] ?? from
    return from.Y > y !== to.Y > y && x < from.X + ((y - from.Y) / (to.Y - from.Y)) * (to.X - from.X)
  }).length %
    2 ===
  1
