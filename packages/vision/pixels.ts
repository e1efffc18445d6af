import type { Input } from './manifest.ts'

/** An upright picture: 8-bit sRGB, three bytes a pixel, nothing transparent. */
export interface Picture {
  data: Uint8Array
  width: number
  height: number
}

/** A square of a picture in its pixels, which may lie askew and reach beyond the picture. */
export interface Square {
  x: number
  y: number
  side: number
  /** Radians, clockwise. */
  angle: number
}

/** The same with two sides: one along the lines of what is in it, and one across them. */
export interface Rectangle {
  x: number
  y: number
  width: number
  height: number
  angle: number
}

export interface Box {
  left: number
  top: number
  right: number
  bottom: number
}

/** The smallest square around the whole picture. */
export const around = ({ width, height }: Picture): Square => ({
  x: width / 2,
  y: height / 2,
  side: Math.max(width, height),
  angle: 0,
})

/** Where a point of a cut-out of so many pixels a side lies in the picture. */
export const placeIn = (
  { x, y, side, angle }: Square,
  size: number,
  column: number,
  row: number,
): [number, number] =>
  pointOf({ x, y, width: side, height: side, angle }, column / size - 0.5, row / size - 0.5)

/** Where a point of a rectangle lies in the picture; its sides are at one half from its middle. */
export function pointOf(
  { x, y, width, height, angle }: Rectangle,
  along: number,
  down: number,
): [number, number] {
  const [right, below] = [along * width, down * height]
  return [
    x + right * Math.cos(angle) - below * Math.sin(angle),
    y + right * Math.sin(angle) + below * Math.cos(angle),
  ]
}

/** Points looked at for each pixel of a cut-out, in each direction: enough to average what is shrunk to a quarter. */
const MOST_SAMPLES = 4

/** The square, turned upright, as red, green and blue from 0 to 255; black where the picture has ended. */
export const cutOut = (picture: Picture, { x, y, side, angle }: Square, size: number): Float32Array =>
  cutOutOf(picture, { x, y, width: side, height: side, angle }, size, size)

/** The whole picture pressed into a square. */
export const pressed = (picture: Picture, size: number): Float32Array => {
  const { width, height } = picture
  return cutOutOf(picture, { x: width / 2, y: height / 2, width, height, angle: 0 }, size, size)
}

export function cutOutOf(
  picture: Picture,
  rectangle: Rectangle,
  columns: number,
  rows: number,
): Float32Array {
  const { data, width, height } = picture
  const samples = Math.min(MOST_SAMPLES, Math.max(1, Math.round(rectangle.width / columns)))
  const out = new Float32Array(columns * rows * 3)
  const share = 1 / (samples * samples)
  const step = rectangle.width / columns / samples
  const stepX = step * Math.cos(rectangle.angle)
  const stepY = step * Math.sin(rectangle.angle)
  for (let row = 0; row < rows * samples; row += 1) {
    let [x, y] = pointOf(rectangle, 0.5 / (columns * samples) - 0.5, (row + 0.5) / (rows * samples) - 0.5)
    for (let column = 0; column < columns * samples; column += 1, x += stepX, y += stepY) {
      if (x < 0 || y < 0 || x >= width || y >= height) continue
      // The centre of the first pixel is at one half.
      const left = Math.min(Math.max(x - 0.5, 0), width - 1)
      const top = Math.min(Math.max(y - 0.5, 0), height - 1)
      const x0 = Math.floor(left)
      const y0 = Math.floor(top)
      const fx = left - x0
      const fy = top - y0
      const a = (y0 * width + x0) * 3
      const b = x0 + 1 < width ? a + 3 : a
      const below = y0 + 1 < height ? width * 3 : 0
      const to = (Math.floor(row / samples) * columns + Math.floor(column / samples)) * 3
      for (let channel = 0; channel < 3; channel += 1) {
        const high = (data[a + channel] ?? 0) * (1 - fx) + (data[b + channel] ?? 0) * fx
        const low = (data[a + below + channel] ?? 0) * (1 - fx) + (data[b + below + channel] ?? 0) * fx
        out[to + channel] = (out[to + channel] ?? 0) + (high * (1 - fy) + low * fy) * share
      }
    }
  }
  return out
}

/** The same in the mirror, of so many pixels a side. */
export const mirrored = (rgb: Float32Array, size: number): Float32Array =>
  rgb.map((_, at) => {
    const pixel = Math.floor(at / 3)
    const column = pixel % size
    return rgb[(pixel - column + size - 1 - column) * 3 + (at % 3)] ?? 0
  })

/** Red, green and blue of each pixel one after the other become what a model takes. */
export function prepared(rgb: Float32Array, { layout, colours, mean, deviation }: Omit<Input, 'fit'>) {
  const [less = 0, by = 1] = [mean[0], deviation[0]]
  if (colours === 'grey') return greys(rgb).map((grey) => (grey - less) / by)
  const plane = rgb.length / 3
  const out = new Float32Array(rgb.length)
  for (let channel = 0; channel < 3; channel += 1) {
    const from = colours === 'RGB' ? channel : 2 - channel
    const [less, by] = [mean[channel] ?? 0, deviation[channel] ?? 1]
    for (let at = 0; at < plane; at += 1) {
      const to = layout === 'NCHW' ? channel * plane + at : at * 3 + channel
      out[to] = ((rgb[at * 3 + from] ?? 0) - less) / by
    }
  }
  return out
}

export const greys = (rgb: Float32Array): Float32Array =>
  Float32Array.from(
    { length: rgb.length / 3 },
    (_, at) => 0.299 * (rgb[at * 3] ?? 0) + 0.587 * (rgb[at * 3 + 1] ?? 0) + 0.114 * (rgb[at * 3 + 2] ?? 0),
  )

const areaOf = ({ left, top, right, bottom }: Box): number =>
  Math.max(0, right - left) * Math.max(0, bottom - top)

/** How much two boxes agree: what they share, of what they cover. */
export function overlap(a: Box, b: Box): number {
  const shared = areaOf({
    left: Math.max(a.left, b.left),
    top: Math.max(a.top, b.top),
    right: Math.min(a.right, b.right),
    bottom: Math.min(a.bottom, b.bottom),
  })
  const all = areaOf(a) + areaOf(b) - shared
  return all > 0 ? shared / all : 0
}

/** The best first, without those that agree with a better one by more than `most`. */
export function distinct<T extends { box: Box; score: number }>(
  found: T[],
  most: number,
  same: (a: T, b: T) => boolean = () => true,
): T[] {
  const kept: T[] = []
  for (const one of found.toSorted((a, b) => b.score - a.score)) {
    if (!kept.some((better) => same(better, one) && overlap(better.box, one.box) > most)) kept.push(one)
  }
  return kept
}
