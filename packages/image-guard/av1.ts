import type { Cicp } from './colour.ts'
import { Unclear } from './heif.ts'

/** Units of coded data to look at, and bytes between them to pass over: a tenth of a second. */
export const MAX_STEPS = 10_000_000
/** A header that is read bit by bit takes as long as a hundred of them. */
export const HEADER_STEPS = 100
export interface Steps {
  left: number
}
/** @throws Unclear where there are no more */
export function step(steps: Steps, count = 1): void {
  steps.left -= count
  if (steps.left < 0) throw new Unclear()
}

/** Frames in AV1 data, and the pixels that one of them may have (AV1 Bitstream & Decoding Process Specification, 5.3). */
export function av1(
  data: Buffer,
  steps: Steps,
): { frames: number; area: number; sequence?: Sequence | undefined } {
  const SEQUENCE_HEADER = 1
  const FRAME_HEADER = 3
  const FRAME = 6
  let frames = 0
  let area = 0
  let first: Sequence | undefined
  for (let at = 0; at < data.length; ) {
    step(steps)
    const header = data[at] ?? 0
    at += 1
    // Decoders pass over zeros between frames.
    if (header === 0) continue
    const type = (header >> 3) & 15
    if (type === FRAME || type === FRAME_HEADER) frames += 1
    if ((header & 4) !== 0) at += 1
    let size = data.length - at
    // Without a size it is the last.
    if ((header & 2) !== 0) {
      size = 0
      for (let shift = 0; shift < 56; shift += 7) {
        const byte = data[at] ?? 0
        at += 1
        size += (byte & 127) * 2 ** shift
        if (byte < 128) break
      }
    }
    if (type === SEQUENCE_HEADER) {
      step(steps, HEADER_STEPS)
      const sequence = readSequence(data.subarray(at, at + size))
      area = Math.max(area, sequence.area)
      first ??= sequence
    }
    at += size
  }
  return { frames, area, sequence: first }
}

interface Sequence {
  /** Pixels of the largest frame that is allowed. */
  area: number
  cicp: Cicp | undefined
  isGrey: boolean
  /** Of grey alone is it right, and so of transparency. */
  isLimited: boolean
}

/** What a sequence header says (AV1 specification, sections 5.5.1 and 5.5.2). Past its end are zeros. */
function readSequence(header: Buffer): Sequence {
  let at = 0
  const bits: ReadBits = (count) => {
    let value = 0
    for (let end = at + count; at < end; at += 1) {
      value = value * 2 + (((header[at >> 3] ?? 0) >> (7 - (at & 7))) & 1)
    }
    return value
  }
  const profile = bits(3)
  bits(1) // still picture
  const isShort = bits(1) === 1
  // Of a still picture with the short header there is a level only.
  if (isShort) bits(5)
  else passOperatingPoints(bits, passTiming(bits))
  const widthBits = bits(4) + 1
  const heightBits = bits(4) + 1
  const area = (bits(widthBits) + 1) * (bits(heightBits) + 1)
  // Lengths of the numbers that frames have.
  if (!isShort && bits(1) === 1) bits(7)
  bits(3) // tools
  if (!isShort) passToolsBetweenFrames(bits)
  bits(3) // more tools
  const isDeep = bits(1) === 1
  if (isDeep && profile === 2) bits(1) // whether 12 bits
  const isGrey = profile !== 1 && bits(1) === 1
  const cicp = bits(1) === 1 ? { primaries: bits(8), transfer: bits(8) } : undefined
  if (cicp !== undefined) bits(8) // matrix
  return { area, cicp, isGrey, isLimited: bits(1) === 0 }
}

/** Reads the next so many bits of a header as a number. */
type ReadBits = (count: number) => number

/** @returns bits that a delay of the decoder has in the operating points; 0 where they have none */
function passTiming(bits: ReadBits): number {
  const hasTiming = bits(1) === 1
  if (!hasTiming) return 0
  bits(64) // units of time
  // An equal interval, whose length begins with as many zeros as bits follow.
  if (bits(1) === 1) {
    let zeros = 0
    while (zeros < 32 && bits(1) === 0) zeros += 1
    bits(zeros)
  }
  const hasDecoderModel = bits(1) === 1
  if (!hasDecoderModel) return 0
  const delayBits = bits(5) + 1
  bits(42) // a unit of time and two lengths
  return delayBits
}

function passOperatingPoints(bits: ReadBits, delayBits: number): void {
  const hasDisplayDelay = bits(1) === 1
  for (let points = bits(5) + 1; points > 0; points -= 1) {
    bits(12)
    if (bits(5) > 7) bits(1)
    if (delayBits > 0 && bits(1) === 1) bits(2 * delayBits + 1)
    if (hasDisplayDelay && bits(1) === 1) bits(4)
  }
}

function passToolsBetweenFrames(bits: ReadBits): void {
  bits(4)
  const isOrdered = bits(1) === 1
  if (isOrdered) bits(2)
  const forScreens = bits(1) === 1 || bits(1) === 1
  if (forScreens && bits(1) === 0) bits(1)
  if (isOrdered) bits(3)
}
