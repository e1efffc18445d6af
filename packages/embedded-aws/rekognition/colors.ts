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
const MAX_NEUTRAL_CHROMA = 0.03
const isNeutral = ([, a, b]: Lab) => Math.hypot(a, b) < MAX_NEUTRAL_CHROMA
const NEUTRAL_LAB = PALETTE_LAB.filter(({ family, lab }) => /black|grey|white/.test(family) && isNeutral(lab))

const nearestByValue = new Map<number, NamedColor>()

/** Values differ in steps of 8 a channel, which bounds the memory of earlier answers to 32,768. */
export function nearestColor(rgb: number): NamedColor {
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

export function red(rgb: number): number {
  return rgb >> 16
}
export function green(rgb: number): number {
  return (rgb >> 8) & 0xff
}
export function blue(rgb: number): number {
  return rgb & 0xff
}

/** The sRGB curve undone (IEC 61966-2-1). */
function linear(channel: number): number {
  const c = channel / 255
  return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4
}
