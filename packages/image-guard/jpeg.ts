import { MAX_SCANNED_PIXELS, MAX_SCANS, Refusal } from './limits.ts'
import { hasAllBlocks } from './scan.ts'

/**
 * Before a progressive JPEG is decoded.
 *
 * @param pixels of the picture
 * @throws Refusal CORRUPT_IMAGE, TOO_MANY_PIXELS
 */
export function refuseManyScans(bytes: Buffer, pixels: number): void {
  const scans = jpegScans(bytes)
  if (scans > MAX_SCANS) throw new Refusal('CORRUPT_IMAGE', `The image has more than ${MAX_SCANS} scans.`)
  if (scans * pixels > MAX_SCANNED_PIXELS) {
    throw new Refusal(
      'TOO_MANY_PIXELS',
      `The image has ${scans} scans, which may have at most ${MAX_SCANNED_PIXELS / 1e6} million pixels together.`,
    )
  }
}

/** Segments before the picture of a JPEG, each of which libjpeg keeps: 5 million of them, in 50 MB, take it 1 GB. */
export function jpegSegments(bytes: Buffer): number {
  let count = 0
  for (const marker of jpegMarkers(bytes)) {
    if (marker === START_OF_SCAN) break
    count += 1
  }
  return count
}

/** Scans of a JPEG. Each goes through all pixels, in as little as 100 bytes for 80 million of them. */
function jpegScans(bytes: Buffer): number {
  let count = 0
  for (const marker of jpegMarkers(bytes)) if (marker === START_OF_SCAN) count += 1
  return count
}

/**
 * Whether a JPEG is baseline, extended or progressive with Huffman coding (SOF0 to SOF2 in ITU-T T.81, table B.1). The other
 * frames are lossless, hierarchical or of arithmetic coding, which few decoders have.
 */
export function hasCommonFrame(bytes: Buffer): boolean {
  for (const marker of jpegMarkers(bytes)) {
    const isFrame = marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc
    if (isFrame) return marker <= 0xc2
  }
  // It is for the decoder to say what is missing.
  return true
}

export const START_OF_IMAGE = 0xd8
const START_OF_SCAN = 0xda
export const END_OF_IMAGE = 0xd9
const MARKED_END = Buffer.from([0xff, END_OF_IMAGE])

/** What has a length follows it; 0xff00 and 0xffd0 to 0xffd7 belong to the data of a scan (ITU-T T.81, B.1.1). */
function* jpegMarkers(bytes: Buffer): Generator<number> {
  for (let at = 2; at + 3 < bytes.length; at += 1) {
    const marker = bytes[at + 1] ?? 0
    if (bytes[at] !== 0xff || marker < 0xc0 || (marker >= 0xd0 && marker <= 0xd7) || marker === 0xff) continue
    if (marker === END_OF_IMAGE) return
    yield marker
    at += 1 + bytes.readUInt16BE(at + 2)
  }
}

/** As many as no camera makes, and few enough to be kept in a list. */
const MAX_SLIPS = 100

/**
 * A JPEG without the slips that some cameras and editors make in its header, which change no pixel but are warnings to
 * libjpeg like those of damaged data: bytes between segments that belong to none, a second beginning, a version of JFIF
 * that there never was, colours that Adobe never had, parameters of a progressive scan where there are none, a height
 * that comes after the first scan, and no marker at the end. (Where data is missing too, there is none after it either.)
 *
 * @param file any file; one that is not a JPEG, or has no slips, comes back as it is
 */
export function withoutSlips(file: Buffer): Buffer {
  if (file[0] !== 0xff || file[1] !== START_OF_IMAGE) return file
  const edits = new Edits(file)
  const at = mendHeader(file, edits)
  const ends = file.at(-2) === 0xff && file.at(-1) === END_OF_IMAGE
  if (edits.count === 0 && ends) return file
  const mended = edits.result()
  // Without an end libvips refuses it, as it is to do where data is missing. What follows the end is of no picture.
  const isCut = (): boolean => file.indexOf(MARKED_END, at) < 0 && hasAllBlocks(mended) === false
  if (ends || isCut()) return mended
  return Buffer.concat([mended, MARKED_END])
}

/** A file with some of its bytes replaced, from its beginning on. */
class Edits {
  readonly #file: Buffer
  readonly #kept: Buffer[] = []
  #from = 0
  count = 0

  constructor(file: Buffer) {
    this.#file = file
  }

  replace(begin: number, end: number, by: number[] = []): void {
    this.#kept.push(this.#file.subarray(this.#from, begin), Buffer.from(by))
    this.#from = end
    this.count += 1
  }

  result(): Buffer {
    return Buffer.concat([...this.#kept, this.#file.subarray(this.#from)])
  }
}

/** @returns where the first scan begins, or where the header makes no sense any more */
function mendHeader(file: Buffer, edits: Edits): number {
  const mendSegment = segmentMender(file, edits)
  let isSequential = false
  let at = 2
  while (edits.count < MAX_SLIPS) {
    const begin = markerFrom(file, at)
    if (begin === undefined) break
    const marker = file[begin + 1] ?? 0
    // Any number of 0xff may come before a marker.
    if (file.subarray(at, begin).some((byte) => byte !== 0xff)) edits.replace(at, begin)
    at = begin + 2
    if (marker === START_OF_IMAGE) edits.replace(begin, at)
    if (marker === END_OF_IMAGE || at + 2 > file.length) break
    if (marker === START_OF_IMAGE || marker === 0x01 || isRestart(marker)) continue
    const data = at + 2
    at += Math.max(2, file.readUInt16BE(at))
    if (marker === 0xc0 || marker === 0xc1) isSequential = true
    mendSegment(marker, data, at)
    if (marker !== START_OF_SCAN) continue
    const parameters = data + 1 + 2 * (file[data] ?? 0)
    const isWrong = file.toString('hex', parameters, parameters + 3) !== '003f00'
    if (isSequential && isWrong && parameters + 3 === at) edits.replace(parameters, at, [0, 63, 0])
    break
  }
  return at
}

/** @returns mends the slips within the segment of a marker, whose data begin and end there */
function segmentMender(file: Buffer, edits: Edits): (marker: number, data: number, end: number) => void {
  const componentsFrom = ahead((at) => componentsAhead(file, at))
  const linesAfterScan = ahead((at) => linesAhead(file, at))
  return (marker, data, end) => {
    // What a segment is too short for is not in it.
    const has = (bytes: number): boolean => data + bytes <= Math.min(end, file.length)
    if (marker >= 0xc0 && marker <= 0xc2 && has(3) && file.readUInt16BE(data + 1) === 0) {
      const lines = linesAfterScan(end)
      if (lines !== undefined) edits.replace(data + 1, data + 3, [lines >> 8, lines & 0xff])
    }
    const isJfif = marker === 0xe0 && file.toString('latin1', data, data + 5) === 'JFIF\0'
    if (isJfif && has(6) && file[data + 5] !== 1) edits.replace(data + 5, data + 6, [1])
    const isAdobe = marker === 0xee && file.toString('latin1', data, data + 5) === 'Adobe'
    if (!isAdobe || !has(12)) return
    const [taken, ...others] = COLOUR_TRANSFORMS[componentsFrom(end)] ?? []
    const said = file[data + 11] ?? 0
    if (taken !== undefined && said !== taken && !others.includes(said))
      edits.replace(data + 11, data + 12, [taken])
  }
}

/** What Adobe's segment may say of the colours of so many components; decoders take the first one where it says another. */
const COLOUR_TRANSFORMS: Record<number, number[]> = { 3: [1, 0], 4: [2, 0] }

/** What there is ahead, and where: it is the same for all places before. */
interface Ahead<T> {
  found: T
  at: number
}

/** Looks ahead once for all the segments that want the same: when each looked for itself, 20,000 of them took 3 seconds. */
function ahead<T>(look: (from: number) => Ahead<T>): (from: number) => T {
  let known: Ahead<T> | undefined
  return (from) => {
    if (known === undefined || from > known.at) known = look(from)
    return known.found
  }
}

/** How many components the next frame has. */
function componentsAhead(file: Buffer, from: number): Ahead<number> {
  for (let at = markerFrom(file, from); at !== undefined && at + 10 <= file.length; ) {
    const marker = file[at + 1] ?? 0
    if (marker >= 0xc0 && marker <= 0xc2) return { found: file[at + 9] ?? 0, at }
    if (marker === START_OF_SCAN || marker === END_OF_IMAGE) return { found: 0, at }
    at = markerFrom(file, at + 2 + file.readUInt16BE(at + 2))
  }
  return { found: 0, at: file.length }
}

/** The height that follows the first scan, of a JPEG whose header does not know it yet (ITU-T T.81, B.2.5). */
function linesAhead(file: Buffer, from: number): Ahead<number | undefined> {
  const scan = file.indexOf(Buffer.from([0xff, START_OF_SCAN]), from)
  if (scan < 0) return { found: undefined, at: file.length }
  let end = markerFrom(file, scan + 2)
  while (end !== undefined && isRestart(file[end + 1] ?? 0)) end = markerFrom(file, end + 2)
  const isSaid =
    end !== undefined && file.toString('hex', end, end + 4) === 'ffdc0004' && end + 6 <= file.length
  return { found: isSaid ? file.readUInt16BE((end ?? 0) + 4) : undefined, at: scan }
}

const isRestart = (marker: number): boolean => marker >= 0xd0 && marker <= 0xd7

/** Where the next marker begins: 0xff, and neither a zero nor another 0xff after it. */
export function markerFrom(file: Buffer, at: number): number | undefined {
  for (let begin = file.indexOf(0xff, at); begin >= 0; begin = file.indexOf(0xff, begin + 1)) {
    const next = file[begin + 1]
    if (next !== undefined && next !== 0 && next !== 0xff) return begin
  }
  return undefined
}
