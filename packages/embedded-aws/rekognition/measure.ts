import sharp from 'sharp'
import { blue, green, nearestColor, red } from './colors.ts'
import type { Picture } from './images.ts'

export interface DominantColor {
  css: string
  family: string
  rgb: number
  percent: number
}

/** All the pixels of one colour family, and the box around the largest connected region of them. */
export interface ColorArea {
  family: string
  percent: number
  /** As fractions of the picture's sides. */
  box: { left: number; top: number; width: number; height: number }
  /** How much of the box the region fills, in per cent. */
  fill: number
}

export interface Measurements {
  /** From 0 (black) to 100 (white). */
  brightness: number
  /** From 0 (one grey) to 100 (as spread as all greys in equal parts, or more). */
  contrast: number
  /** From 0 (no edge) towards 100. */
  sharpness: number
  /** From 0 (greys only); 15 is slightly, 33 moderately, 59 quite, 109 extremely colourful. */
  colorfulness: number
  /** Most frequent first. */
  colors: DominantColor[]
  areas: ColorArea[]
}

/** Edges are looked for at this size, so that a sharp photo means the same at any number of megapixels. */
export const SHARPNESS_SIDE = 512
/** Colours need fewer pixels; the averaging also joins what noise would tear into specks. */
const COLOR_SIDE = 128
/** What covers less than 1 % of the picture is not called dominant. */
const MIN_PERCENT = 1

const fromPicture = ({ data, width, height }: Picture) => sharp(data, { raw: { width, height, channels: 3 } })

export async function measure(picture: Picture): Promise<Measurements> {
  const [light, small] = await Promise.all([measureLight(picture), shrunk(picture)])
  return { ...light, ...measureColors(small) }
}

async function shrunk(picture: Picture): Promise<Picture> {
  const { data, info } = await fromPicture(picture)
    .resize(COLOR_SIDE, COLOR_SIDE, { fit: 'inside', withoutEnlargement: true })
    .toColourspace('srgb')
    .raw({ depth: 'uchar' })
    .toBuffer({ resolveWithObject: true })
  return { data, width: info.width, height: info.height }
}

/**
 * Brightness, contrast and sharpness of the grey picture, with m the mean of the greys (0–255), s their
 * standard deviation and v the variance of the Laplacian (each grey's difference from its four neighbours):
 * - brightness = 100 · m / 255
 * - contrast = 100 · s / 73.6, at most 100; 73.6 = 255 / √12 is the deviation of all greys in equal parts
 * - sharpness = 100 · v / (v + 100); a variance of 100 is the usual border between blurry and sharp
 */
async function measureLight(picture: Picture) {
  const { width, height } = picture
  const grey = await fromPicture(picture).greyscale().raw().toBuffer()
  const { channels, sharpness } = await sharp(grey, { raw: { width, height, channels: 1 } }).stats()
  const [{ mean, stdev } = { mean: 0, stdev: 0 }] = channels
  const variance = (9 * sharpness) ** 2 // sharp gives the Laplacian's standard deviation, divided by 9
  return {
    brightness: (100 * mean) / 255,
    contrast: Math.min(100, (100 * stdev) / (255 / Math.sqrt(12))),
    sharpness: (100 * variance) / (variance + 100),
  }
}

/**
 * Colours by the nearest name in Oklab. Colourfulness is Hasler and Süsstrunk's (2003): with rg = R − G and
 * yb = (R + G) / 2 − B it is √(σ²rg + σ²yb) + 0.3 · √(μ²rg + μ²yb).
 */
function measureColors({ data, width, height }: Picture) {
  const values = Array.from({ length: width * height }, (_, at) => data.readUIntBE(at * 3, 3))
  const rg = moments(values.map((rgb) => red(rgb) - green(rgb)))
  const yb = moments(values.map((rgb) => (red(rgb) + green(rgb)) / 2 - blue(rgb)))
  const named = values.map(nearestColor)
  const families = named.map((color) => color.family)
  const regions = largestRegions(families, width)
  const percent = (count: number) => (100 * count) / named.length
  return {
    colorfulness: Math.sqrt(rg.variance + yb.variance) + 0.3 * Math.hypot(rg.mean, yb.mean),
    colors: frequent(named).map(([{ css, family, rgb }, count]) => ({
      css,
      family,
      rgb,
      percent: percent(count),
    })),
    areas: frequent(families).flatMap(([family, count]) => {
      const region = regions.get(family)
      if (!region) return []
      const across = region.right - region.left + 1
      const down = region.bottom - region.top + 1
      const box = {
        left: region.left / width,
        top: region.top / height,
        width: across / width,
        height: down / height,
      }
      return [{ family, percent: percent(count), box, fill: (100 * region.pixels) / (across * down) }]
    }),
  }
}

/** How often each item occurs, most frequent first, without those under 1 %. */
function frequent<T>(items: T[]): [T, number][] {
  const counts = new Map<T, number>()
  for (const item of items) counts.set(item, (counts.get(item) ?? 0) + 1)
  return [...counts]
    .filter(([, count]) => (100 * count) / items.length >= MIN_PERCENT)
    .sort(([, a], [, b]) => b - a)
}

interface Region {
  pixels: number
  left: number
  top: number
  right: number
  bottom: number
}

/** The largest region of each name: pixels connected by their sides, found by flood fill. */
function largestRegions(names: string[], width: number): Map<string, Region> {
  const seen = new Uint8Array(names.length)
  const largest = new Map<string, Region>()
  for (const [start, name] of names.entries()) {
    if (seen[start]) continue
    const region = { pixels: 0, left: width, top: names.length, right: 0, bottom: 0 }
    const open = [start]
    seen[start] = 1
    for (let at = open.pop(); at !== undefined; at = open.pop()) {
      const x = at % width
      const y = Math.floor(at / width)
      region.pixels += 1
      region.left = Math.min(region.left, x)
      region.right = Math.max(region.right, x)
      region.top = Math.min(region.top, y)
      region.bottom = Math.max(region.bottom, y)
      const beside = [x > 0 ? at - 1 : at, x < width - 1 ? at + 1 : at, at - width, at + width]
      for (const next of beside) {
        if (names[next] !== name || seen[next]) continue
        seen[next] = 1
        open.push(next)
      }
    }
    if (region.pixels > (largest.get(name)?.pixels ?? 0)) largest.set(name, region)
  }
  return largest
}

function moments(values: number[]) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  return { mean, variance: values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length }
}
