import { diagonal, inverse, type Matrix, product, type Triple, times } from './matrix.ts'

/**
 * Profiles (ICC.1:2010, version 4.3) for colours that a file only says by numbers, since libvips converts by profiles alone.
 * What the numbers mean is what Chromium draws, and so is how more light than a screen has is brought down to it.
 */

/** By their numbers in ITU-T H.273, tables 2 and 3. */
export interface Cicp {
  primaries: number
  transfer: number
}

/** x and y of red, green, blue and white (CIE 1931). */
export type Chromaticities = readonly [
  ...[rx: number, ry: number, gx: number, gy: number, bx: number, by: number],
  ...[wx: number, wy: number],
]
/** Light by number: (ax + b) ^ g, and cx below d. */
type Curve = readonly [g: number, a: number, b: number, c: number, d: number]

const D65 = [0.3127, 0.329] as const
const C = [0.31, 0.316] as const
export const SRGB_CHROMATICITIES: Chromaticities = [0.64, 0.33, 0.3, 0.6, 0.15, 0.06, ...D65]
const BT2020: Chromaticities = [0.708, 0.292, 0.17, 0.797, 0.131, 0.046, ...D65]
const PRIMARIES: Record<number, Chromaticities> = {
  1: SRGB_CHROMATICITIES,
  4: [0.67, 0.33, 0.21, 0.71, 0.14, 0.08, ...C],
  5: [0.64, 0.33, 0.29, 0.6, 0.15, 0.06, ...D65],
  6: [0.63, 0.34, 0.31, 0.595, 0.155, 0.07, ...D65],
  7: [0.63, 0.34, 0.31, 0.595, 0.155, 0.07, ...D65],
  8: [0.681, 0.319, 0.243, 0.692, 0.145, 0.049, ...C],
  9: BT2020,
  10: [1, 0, 0, 1, 0, 0, 1 / 3, 1 / 3],
  11: [0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.314, 0.351],
  12: [0.68, 0.32, 0.265, 0.69, 0.15, 0.06, ...D65],
  22: [0.63, 0.34, 0.295, 0.605, 0.155, 0.077, ...D65],
}

/** For numbers that are amounts of light to the power of 1 / `exponent`. */
export const gamma = (exponent: number): Curve => [exponent, 1, 0, 0, 0]
/** What BT.709 and BT.2020 are shown with (ITU-R BT.1886), which is not the inverse of what cameras do. */
const BT1886 = gamma(2.4)
const SRGB: Curve = [2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045]
const CURVES: Record<number, Curve> = {
  1: BT1886,
  4: gamma(2.2),
  5: gamma(2.8),
  6: BT1886,
  7: [1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4, 0.0912],
  8: gamma(1),
  11: BT1886,
  13: SRGB,
  14: BT1886,
  15: BT1886,
  17: [2.6, (52.37 / 48) ** (1 / 2.6), 0, 0, 0],
}
const PQ = 16
const HLG = 18

export interface Colours {
  chromaticities: Chromaticities
  curve: Curve | typeof PQ | typeof HLG
  /** Of PQ and HLG: the brightest that there is, in candela per square metre, where it is said. */
  peak?: number | undefined
}

/** Undefined for numbers that stand for no colours. */
export function coloursOf({ primaries, transfer }: Cicp): Colours | undefined {
  const chromaticities = PRIMARIES[primaries]
  const curve = transfer === PQ || transfer === HLG ? transfer : CURVES[transfer]
  return chromaticities && curve && { chromaticities, curve }
}

/** How the numbers of a picture are to be read. */
interface Numbers {
  isGrey?: boolean
  /** Black is 16 of 255, and white 235. */
  isLimited?: boolean
}

/** @returns undefined where no profile is needed, or none can be made */
export function profileOf(
  { chromaticities, curve, peak }: Colours,
  { isGrey = false, isLimited = false }: Numbers,
): Buffer | undefined {
  const full = (value: number): number =>
    isLimited ? Math.min(1, Math.max(0, (value * 255 - 16) / (235 - 16))) : value
  if (curve === PQ || curve === HLG) return hdrProfile(chromaticities, curve, dimmer(peak), isGrey, full)
  if (!isLimited && curve === SRGB && (isGrey || chromaticities === SRGB_CHROMATICITIES)) return undefined
  const light = isLimited ? tableOf((value) => lightOf(curve, full(value))) : parametersOf(curve)
  return isGrey ? icc('GRAY', { kTRC: light }) : matrixProfile(chromaticities, light)
}

const lightOf = ([g, a, b, c, d]: Curve, value: number): number =>
  value < d ? c * value : (a * value + b) ** g
const parametersOf = (curve: Curve): Buffer =>
  Buffer.concat([Buffer.from('para\0\0\0\0\0\x03\0\0', 'latin1'), ...curve.map(fixed)])

const CURVE_POINTS = 1_024
function tableOf(light: (value: number) => number): Buffer {
  const table = Buffer.alloc(12 + 2 * CURVE_POINTS)
  table.write('curv')
  table.writeUInt32BE(CURVE_POINTS, 8)
  for (let point = 0; point < CURVE_POINTS; point += 1) {
    table.writeUInt16BE(Math.round(65_535 * light(point / (CURVE_POINTS - 1))), 12 + 2 * point)
  }
  return table
}

/** Of 65,536 points: more than encoders write. */
const MAX_CURVE_BYTES = 140_000
const MAX_TAGS = 100

/** A profile of grey as one for red, green and blue that are equal; undefined for any other, and for one of tables. */
export function forEqualColours(profile: Buffer): Buffer | undefined {
  if (profile.toString('latin1', 16, 24) !== 'GRAYXYZ ') return undefined
  const first = HEADER_BYTES + 4
  for (let at = first; at < first + 12 * MAX_TAGS && at + 12 <= profile.length; at += 12) {
    if (profile.toString('latin1', at, at + 4) !== 'kTRC') continue
    const begin = profile.readUInt32BE(at + 4)
    const size = profile.readUInt32BE(at + 8)
    if (size > MAX_CURVE_BYTES || begin + size > profile.length) return undefined
    return matrixProfile(SRGB_CHROMATICITIES, profile.subarray(begin, begin + size))
  }
  return undefined
}

function matrixProfile(chromaticities: Chromaticities, light: Buffer): Buffer | undefined {
  const matrix = toD50(chromaticities)
  if (matrix === undefined) return undefined
  const column = (at: 0 | 1 | 2): Buffer =>
    Buffer.concat([Buffer.from('XYZ \0\0\0\0', 'latin1'), ...matrix.map((row) => fixed(row[at]))])
  return icc('RGB ', {
    rXYZ: column(0),
    gXYZ: column(1),
    bXYZ: column(2),
    rTRC: light,
    gTRC: light,
    bTRC: light,
  })
}

/** Of diffuse white, in candela per square metre (ITU-R BT.2408), to which light is set in proportion below. */
const WHITE = 203
/** Of what PQ and HLG are made for, where it is not said; and of what PQ can say. */
const PEAK = 1_000
const MOST = 10_000

/** SMPTE ST 2084, and ITU-R BT.2100, table 5: amounts of light by number, of which HLG's are those of the scene. */
const LIGHT = {
  [PQ]: (value: number): number => {
    const power = value ** (32 / 2_523)
    return (
      (Math.max(0, power - 107 / 128) / (2_413 / 128 - (2_392 / 128) * power)) ** (8_192 / 1_305) *
      (MOST / WHITE)
    )
  },
  [HLG]: (value: number): number =>
    value <= 0.5 ? value ** 2 / 3 : (Math.exp((value - 0.55991073) / 0.17883277) + 0.28466892) / 12,
}

/**
 * Light that is brought down to what a screen has: in proportion up to white, the less the brighter the peak is, and from
 * there along a curve (quadratic Bézier) that ends where the peak is white (SMPTE ST 2094-50, reference white tone mapping).
 */
function dimmer(said = 0): (light: number) => number {
  // A picture that is no brighter than white is only cut.
  if (said > 0 && said <= WHITE) return (light) => light
  const peak = Math.min(MOST / WHITE, Math.max(1, (said || PEAK) / WHITE))
  const white = 1 - 0.5 * Math.min(1, Math.log(peak) / Math.log(PEAK / WHITE))
  // Where the curve is drawn to: 0.65 of the way from white, along the straight line that goes up to it.
  const [x, y] = [0.35 + 0.65 / white, 0.35 * white + 0.65]
  const bend = peak - 2 * x + 1
  return (light) => {
    if (light <= 1) return light * white
    if (light >= peak) return 1
    const along = (1 - x + Math.sqrt((x - 1) ** 2 + bend * (light - 1))) / bend
    return white * (1 - along) ** 2 + 2 * y * along * (1 - along) + along ** 2
  }
}

/** Points along each side of the cube: 1 level of 255 is the most that lies between them unseen. */
const POINTS = 33

function hdrProfile(
  chromaticities: Chromaticities,
  transfer: typeof PQ | typeof HLG,
  dimmed: (light: number) => number,
  isGrey: boolean,
  full: (value: number) => number,
): Buffer | undefined {
  const matrix = toD50(chromaticities)
  const [wide, narrow] = [toD50(BT2020), toD50(SRGB_CHROMATICITIES)]
  const [toWide, toNarrow] = [wide && inverse(wide), narrow && inverse(narrow)]
  if (!matrix || !toWide || !narrow || !toNarrow) return undefined
  // For HLG, a screen that can make the peak makes what is bright still brighter (ITU-R BT.2100, table 5).
  const shown = (luminance: number): number => (transfer === HLG ? (PEAK / WHITE) * luminance ** 0.2 : 1)
  const lightAt = (value: number): number => LIGHT[transfer](full(value))
  if (isGrey) {
    const grey = (value: number): number => dimmed(lightAt(value) * shown(lightAt(value)))
    return icc('GRAY', { kTRC: tableOf((value) => Math.min(1, grey(value))) })
  }
  const lights = Array.from({ length: POINTS }, (_, point) => lightAt(point / (POINTS - 1)))
  const head = Buffer.alloc(52)
  head.write('mft2')
  head.set([3, 3, POINTS], 8)
  // No matrix, and two points for each curve before and after the cube: none.
  for (const at of [12, 28, 44]) head.writeUInt32BE(0x10000, at)
  head.set([0, 2, 0, 2], 48)
  const straight = Buffer.from('0000ffff'.repeat(3), 'hex')
  const cube = Buffer.alloc(6 * POINTS ** 3)
  let at = 0
  for (const red of lights) {
    for (const green of lights) {
      for (const blue of lights) {
        const xyz = times(matrix, [red, green, blue])
        const brightness = shown(xyz[1])
        const most = Math.max(...times(toWide, xyz)) * brightness
        const scale = most > 0 ? (brightness * dimmed(most)) / most : 0
        const [r, g, b] = times(toNarrow, xyz)
        // What sRGB has no place for is cut where browsers cut it.
        const cut = (value: number): number => Math.min(1, Math.max(0, scale * value))
        for (const value of times(narrow, [cut(r), cut(g), cut(b)])) {
          // 32768 stands for 1 (ICC.1:2010, table 11).
          at = cube.writeUInt16BE(Math.max(0, Math.round(32_768 * value)), at)
        }
      }
    }
  }
  return icc('RGB ', { A2B0: Buffer.concat([head, straight, cube, straight]) })
}

/** From amounts of red, green and blue to XYZ, as seen in the light of D50 (Bradford); undefined where they span no colours. */
function toD50([rx, ry, gx, gy, bx, by, wx, wy]: Chromaticities): Matrix | undefined {
  const primaries: Matrix = [
    [rx, gx, bx],
    [ry, gy, by],
    [1 - rx - ry, 1 - gx - gy, 1 - bx - by],
  ]
  const white: Triple = [wx / wy, 1, (1 - wx - wy) / wy]
  if (wy === 0) return undefined
  const amounts = inverse(primaries)
  const cones = times(BRADFORD, white)
  const back = inverse(BRADFORD)
  if (amounts === undefined || back === undefined || !cones.every((cone) => cone > 0)) return undefined
  const d50 = times(BRADFORD, D50)
  const adapted = product(
    back,
    product(diagonal([d50[0] / cones[0], d50[1] / cones[1], d50[2] / cones[2]]), BRADFORD),
  )
  return product(adapted, product(primaries, diagonal(times(amounts, white))))
}

const D50: Triple = [0.9642, 1, 0.8249]
const BRADFORD: Matrix = [
  [0.8951, 0.2664, -0.1614],
  [-0.7502, 1.7135, 0.0367],
  [0.0389, -0.0685, 1.0296],
]
/** A number with 16 bits behind the point (ICC.1:2010, section 4.6), or the nearest that there is. */
function fixed(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(Math.max(-0x80000000, Math.min(0x7fffffff, Math.round(value * 0x10000))))
  return bytes
}

const HEADER_BYTES = 128
/** The profile of a display, by its tags (ICC.1:2010, section 7). */
function icc(space: 'RGB ' | 'GRAY', tags: Record<string, Buffer>): Buffer {
  const header = Buffer.alloc(HEADER_BYTES)
  // In version 4 the black of a table is that of paper, for which lcms would darken all that is dark.
  header.writeUInt32BE('A2B0' in tags ? 0x02400000 : 0x04300000, 8)
  header.write(`mntr${space}XYZ `, 12, 'latin1')
  header.write('acsp', 36, 'latin1')
  for (const [at, value] of D50.entries()) header.set(fixed(value), 68 + 4 * at)
  // libpng refuses a length that is not a multiple of 4.
  const white = Buffer.concat([Buffer.from('XYZ \0\0\0\0', 'latin1'), ...D50.map(fixed)])
  const entries = Object.entries({ wtpt: white, ...tags }).map(
    ([name, data]) => [name, Buffer.concat([data, Buffer.alloc(-data.length & 3)])] as const,
  )
  const table = Buffer.alloc(4 + 12 * entries.length)
  table.writeUInt32BE(entries.length)
  let end = HEADER_BYTES + table.length
  for (const [at, [name, data]] of entries.entries()) {
    table.write(name, 4 + 12 * at, 'latin1')
    table.writeUInt32BE(end, 8 + 12 * at)
    table.writeUInt32BE(data.length, 12 + 12 * at)
    end += data.length
  }
  header.writeUInt32BE(end)
  return Buffer.concat([header, table, ...entries.map(([, data]) => data)])
}
