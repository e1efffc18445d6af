import sharp, { type Sharp } from 'sharp'
import { decodes } from '../packages/image-guard/budget.ts'
import type { Appraisal } from '../worker/thumbnail.ts'

/** Pixels of an upright picture: 8-bit sRGB, three bytes each, nothing transparent. */
export interface Picture {
  data: Buffer
  width: number
  height: number
}

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
  /** From 0 (no edge at all) towards 100. */
  sharpness: number
  /** From 0 (greys only); 15 is slightly, 33 moderately, 59 quite, 109 extremely colourful. */
  colorfulness: number
  /** Most frequent first. */
  colors: DominantColor[]
  areas: ColorArea[]
}

/** Edges are looked for at this size, so that a sharp photo means the same whatever its megapixels. */
const SHARPNESS_SIDE = 512
/** Colours need fewer pixels; the averaging also joins what noise would tear into specks. */
const COLOR_SIDE = 128
/** What covers less than 1 % of the picture is not called dominant. */
const MIN_PERCENT = 1

/**
 * CSS colours by family. Rekognition answers with CSS colours in lower case and with their exact values, and
 * sorts them into 12 simplified names that its documentation does not list; these 12 are a choice.
 */
const PALETTE: Record<string, Record<string, number>> = {
  black: { black: 0x000000 },
  grey: {
    darkslategrey: 0x2f4f4f,
    dimgrey: 0x696969,
    slategrey: 0x708090,
    grey: 0x808080,
    darkgrey: 0xa9a9a9,
    silver: 0xc0c0c0,
  },
  white: { gainsboro: 0xdcdcdc, linen: 0xfaf0e6, whitesmoke: 0xf5f5f5, white: 0xffffff },
  red: { darkred: 0x8b0000, firebrick: 0xb22222, crimson: 0xdc143c, red: 0xff0000, indianred: 0xcd5c5c },
  orange: {
    orangered: 0xff4500,
    coral: 0xff7f50,
    darkorange: 0xff8c00,
    orange: 0xffa500,
    sandybrown: 0xf4a460,
  },
  yellow: { gold: 0xffd700, yellow: 0xffff00, khaki: 0xf0e68c, lightyellow: 0xffffe0 },
  brown: { saddlebrown: 0x8b4513, sienna: 0xa0522d, peru: 0xcd853f, rosybrown: 0xbc8f8f, tan: 0xd2b48c },
  green: {
    darkgreen: 0x006400,
    darkolivegreen: 0x556b2f,
    green: 0x008000,
    olive: 0x808000,
    seagreen: 0x2e8b57,
    darkseagreen: 0x8fbc8f,
    limegreen: 0x32cd32,
    yellowgreen: 0x9acd32,
    lime: 0x00ff00,
    palegreen: 0x98fb98,
  },
  cyan: { teal: 0x008080, turquoise: 0x40e0d0, cyan: 0x00ffff, paleturquoise: 0xafeeee },
  blue: {
    midnightblue: 0x191970,
    navy: 0x000080,
    darkslateblue: 0x483d8b,
    mediumblue: 0x0000cd,
    blue: 0x0000ff,
    royalblue: 0x4169e1,
    steelblue: 0x4682b4,
    cornflowerblue: 0x6495ed,
    skyblue: 0x87ceeb,
    lightsteelblue: 0xb0c4de,
  },
  purple: {
    indigo: 0x4b0082,
    purple: 0x800080,
    darkviolet: 0x9400d3,
    mediumpurple: 0x9370db,
    plum: 0xdda0dd,
  },
  pink: { palevioletred: 0xdb7093, magenta: 0xff00ff, deeppink: 0xff1493, hotpink: 0xff69b4, pink: 0xffc0cb },
}
const PALETTE_LAB = Object.entries(PALETTE).flatMap(([family, colors]) =>
  Object.entries(colors).map(([css, rgb]) => ({ css, family, rgb, lab: oklab(rgb) })),
)
type NamedColor = (typeof PALETTE_LAB)[number]

/** CSS has few greys, so that a tint may be the nearest name to a grey: what has hardly any hue is kept to these. */
const HARDLY_ANY_HUE = 0.03
const isNeutral = ([, a, b]: Lab) => Math.hypot(a, b) < HARDLY_ANY_HUE
const NEUTRAL_LAB = PALETTE_LAB.filter(({ family, lab }) => /black|grey|white/.test(family) && isNeutral(lab))

/**
 * Decodes to at most so many pixels a side (512 to measure); a JPEG is shrunk while it is loaded, which makes megapixels cheap.
 * Transparency becomes white. It takes its turn among the worker's decodes, which are likely to be in this process; and
 * since no decode waits for anything else, and no worker for Rekognition while it decodes, turns always come.
 *
 * @throws Error when the file is damaged
 */
export const decode = (
  { bytes, memory }: Appraisal,
  useExif: boolean,
  side = SHARPNESS_SIDE,
): Promise<Picture> =>
  decodes.run(memory, () => {
    const image = sharp(bytes, { failOn: 'warning', sequentialRead: true })
    return pixels((useExif ? image.autoOrient() : image).flatten({ background: 'white' }), side)
  })

async function pixels(image: Sharp, side: number): Promise<Picture> {
  const { data, info } = await image
    .resize(side, side, { fit: 'inside', withoutEnlargement: true })
    .toColourspace('srgb')
    .raw({ depth: 'uchar' })
    .toBuffer({ resolveWithObject: true })
  return { data, width: info.width, height: info.height }
}

const fromPicture = ({ data, width, height }: Picture) => sharp(data, { raw: { width, height, channels: 3 } })

export async function measure(picture: Picture): Promise<Measurements> {
  const [light, small] = await Promise.all([measureLight(picture), pixels(fromPicture(picture), COLOR_SIDE)])
  return { ...light, ...measureColors(small) }
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

const nearestByValue = new Map<number, NamedColor>()

/** Values are told apart in steps of 8 a channel, which bounds the memory of earlier answers to 32,768. */
function nearestColor(rgb: number): NamedColor {
  const value = (rgb & 0xf8f8f8) | 0x040404
  const known = nearestByValue.get(value)
  if (known) return known
  const [l, a, b] = oklab(value)
  const distance = ({ lab }: NamedColor) => Math.hypot(lab[0] - l, lab[1] - a, lab[2] - b)
  const nearest = (isNeutral([l, a, b]) ? NEUTRAL_LAB : PALETTE_LAB).reduce((best, color) =>
    distance(color) < distance(best) ? color : best,
  )
  nearestByValue.set(value, nearest)
  return nearest
}

type Lab = [lightness: number, a: number, b: number]

/** Björn Ottosson's Oklab (2020): distances in it are about as large as they look. */
function oklab(rgb: number): Lab {
  const [r, g, b] = [linear(red(rgb)), linear(green(rgb)), linear(blue(rgb))]
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b)
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b)
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b)
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ]
}

function red(rgb: number): number {
  return rgb >> 16
}
function green(rgb: number): number {
  return (rgb >> 8) & 0xff
}
function blue(rgb: number): number {
  return rgb & 0xff
}

/** The sRGB curve undone (IEC 61966-2-1). */
function linear(channel: number): number {
  const c = channel / 255
  return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4
}

function moments(values: number[]) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  return { mean, variance: values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length }
}
