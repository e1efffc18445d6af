import sharp from 'sharp'
import { expect } from 'vitest'

/** Four plain areas, as in test/fixtures/odd and in heic-files.ts, and what is seen of them. */

export type Colour = [red: number, green: number, blue: number]
export const RED: Colour = [200, 30, 30]
export const GREEN: Colour = [30, 160, 40]
export const BLUE: Colour = [30, 40, 200]
export const YELLOW: Colour = [230, 220, 60]
export const WHITE: Colour = [255, 255, 255]
/** BLUE at half transparency, over white. */
export const PALE_BLUE: Colour = [142, 147, 228]

/** The numbers of the four areas as those of Display P3: out of sRGB's reach, so that a channel ends at 0. */
export const P3: Record<'red' | 'green' | 'blue' | 'yellow', Colour> = {
  red: [218, 0, 9],
  green: [0, 163, 0],
  blue: [28, 40, 208],
  yellow: [232, 220, 0],
}

/** Colours in the middle of the four quarters: top left, top right, bottom left, bottom right. */
export async function coloursOfQuarters(picture: Uint8Array): Promise<Colour[]> {
  const { data, info } = await sharp(picture).removeAlpha().raw().toBuffer({ resolveWithObject: true })
  return [0.25, 0.75].flatMap((y) =>
    [0.25, 0.75].map((x): Colour => {
      const at = (Math.floor(y * info.height) * info.width + Math.floor(x * info.width)) * info.channels
      return [data[at] ?? -1, data[at + 1] ?? -1, data[at + 2] ?? -1]
    }),
  )
}

/** Out of 255: what JPEG, HEVC and chroma in half resolution may do to plain areas. */
const TOLERANCE = 12

/** @param wanted in the middle of the four quarters: top left, top right, bottom left, bottom right */
export async function expectColours(picture: Uint8Array, wanted: Colour[]): Promise<void> {
  const seen = await coloursOfQuarters(picture)
  const off = seen.flat().map((value, index) => Math.abs(value - (wanted.flat()[index] ?? -1)))
  expect(Math.max(...off), `${JSON.stringify(seen)} and not ${JSON.stringify(wanted)}`).toBeLessThanOrEqual(
    TOLERANCE,
  )
}
