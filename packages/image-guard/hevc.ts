import { HEADER_STEPS, type Steps, step } from './av1.ts'

/** What the HEVC data of an item ask of a decoder (ITU-T H.265). */
export interface Coded {
  /** Coded pictures: all of them are decoded for one that is shown. */
  frames: number
  /** Pixels that one of them may have. */
  area: number
}

/** Kinds of units (ITU-T H.265, table 7-1): up to the first, pieces of pictures; and what says how large those are. */
const PARAMETERS_FROM = 32
const SEQUENCE_PARAMETERS = 33

/** Of the box `hvcC` (ISO/IEC 14496-15, section 8.3.3.1), whose units come before those of the item. @throws Unclear, RangeError */
export function areaOfConfiguration(hvcC: Buffer, steps: Steps): number {
  let area = 0
  let at = 23
  for (let arrays = hvcC.readUInt8(22); arrays > 0; arrays -= 1) {
    let units = hvcC.readUInt16BE(at + 1)
    for (at += 3; units > 0; units -= 1) {
      step(steps)
      const size = hvcC.readUInt16BE(at)
      area = Math.max(area, areaOfUnit(hvcC.subarray(at + 2, at + 2 + size), steps))
      at += 2 + size
    }
  }
  return area
}

/**
 * Of an item: units with their lengths before them, of 4 bytes, which libheif reads with any length in `hvcC`.
 *
 * @param steps that may be taken yet
 * @throws Unclear
 */
export function codedIn(data: Buffer, steps: Steps): Coded {
  const coded: Coded = { frames: 0, area: 0 }
  for (let at = 0; at + 6 <= data.length; ) {
    step(steps)
    const unit = data.subarray(at + 4, at + 4 + data.readUInt32BE(at))
    at += 4 + unit.length
    if (unit.length < 3) continue
    // The first bit after the header says that a picture begins here.
    if (typeOf(unit) < PARAMETERS_FROM && unit.readUInt8(2) >= 0x80) coded.frames += 1
    coded.area = Math.max(coded.area, areaOfUnit(unit, steps))
  }
  return coded
}

const typeOf = (unit: Buffer): number => ((unit[0] ?? 0) >> 1) & 63

/** Bytes of sequence parameters before the size of the picture: a profile for each of eight layers, at the most. */
const MAX_HEAD_BYTES = 200

/** Zero for a unit that says no size. Past its end are zeros. */
function areaOfUnit(unit: Buffer, steps: Steps): number {
  if (typeOf(unit) !== SEQUENCE_PARAMETERS) return 0
  step(steps, HEADER_STEPS)
  const bytes: number[] = []
  // After two zeros a 3 is there only so that no marker begins (section 7.4.2).
  let zeros = 0
  for (const byte of unit.subarray(2, MAX_HEAD_BYTES)) {
    if (zeros < 2 || byte !== 3) bytes.push(byte)
    zeros = byte === 0 ? zeros + 1 : 0
  }
  let at = 0
  const bits = (count: number): number => {
    let value = 0
    for (let end = at + count; at < end; at += 1) {
      value = value * 2 + (((bytes[at >> 3] ?? 0) >> (7 - (at & 7))) & 1)
    }
    return value
  }
  /** Exp-Golomb (section 9.2): as many zeros as bits follow the one. */
  const number = (): number => {
    let zeros = 0
    while (zeros < 32 && bits(1) === 0) zeros += 1
    return 2 ** zeros - 1 + bits(zeros)
  }
  bits(4) // id of the video parameters
  const layers = bits(3)
  bits(1) // nesting
  // Section 7.3.3: profile and level of all, and then of each lower layer that has its own.
  bits(96)
  const own = Array.from({ length: layers }, () => bits(2))
  if (layers > 0) bits(2 * (8 - layers))
  for (const has of own) bits((has & 2 ? 88 : 0) + (has & 1 ? 8 : 0))
  number() // id
  if (number() === 3) bits(1) // chroma, and whether its planes are apart
  return number() * number()
}
