import type { ContentType } from '../shared/format.ts'
import { Verdict } from '../shared/image.ts'
import { avifPixels } from './avif.ts'
import { MAX_AVIF_PIXELS, MAX_FRAMES, MAX_SCANNED_PIXELS, MAX_SCANS, MAX_SEGMENTS } from './budget.ts'

/**
 * What a few bytes can ask of a decoder beyond the pixels that they show. Each of these is found by reading boxes,
 * chunks and markers only, in one pass, before libvips sees the file.
 */

export const tooMuch = (message: string): Verdict => new Verdict('TOO_MANY_PIXELS', message)

/** Before libvips opens the file, since it does much of that work to open it. */
export function refuseHiddenWork(bytes: Buffer, contentType: ContentType): void {
  if (contentType === 'image/jpeg' && jpegSegments(bytes) > MAX_SEGMENTS) {
    throw new Verdict('CORRUPT_IMAGE', `The image has more than ${MAX_SEGMENTS} segments of metadata.`)
  }
  if ((contentType === 'image/gif' || contentType === 'image/webp') && frames(bytes) > MAX_FRAMES) {
    throw tooMuch(`The animation has more than ${MAX_FRAMES} frames.`)
  }
  if (contentType === 'image/avif' && avifPixels(bytes).decoded > MAX_AVIF_PIXELS) {
    throw tooMuch(`The pictures within the image may have ${MAX_AVIF_PIXELS / 1e6} million pixels together.`)
  }
}

/** After it, since only then it is known which JPEG has scans. */
export function refuseManyScans(bytes: Buffer, pixels: number): void {
  const scans = jpegScans(bytes)
  if (scans > MAX_SCANS) throw new Verdict('CORRUPT_IMAGE', `The image has more than ${MAX_SCANS} scans.`)
  if (scans * pixels > MAX_SCANNED_PIXELS) {
    throw tooMuch(
      `The image has ${scans} scans, which may have ${MAX_SCANNED_PIXELS / 1e6} million pixels together.`,
    )
  }
}

/** Segments before the picture of a JPEG, each of which libjpeg keeps: 5 million of them, in 50 MB, take it 1 GB. */
function jpegSegments(bytes: Buffer): number {
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

const START_OF_IMAGE = 0xd8
const START_OF_SCAN = 0xda
const END_OF_IMAGE = 0xd9

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
 * that there never was, parameters of a progressive scan where there are none, and no marker at the end. (Where data is
 * missing too, the marker comes before its time, and libjpeg warns as before.)
 *
 * @param file any file; one that is not a JPEG, or has no slips, comes back as it is
 */
export function withoutSlips(file: Buffer): Buffer {
  if (file[0] !== 0xff || file[1] !== START_OF_IMAGE) return file
  const kept: Buffer[] = []
  let from = 0
  const replace = (begin: number, end: number, by?: number[]): void => {
    kept.push(file.subarray(from, begin), Buffer.from(by ?? []))
    from = end
  }
  let sequential = false
  for (let at = 2; kept.length < 2 * MAX_SLIPS; ) {
    const begin = markerFrom(file, at)
    if (begin === undefined) break
    const marker = file[begin + 1] ?? 0
    // Any number of 0xff may come before a marker.
    if (file.subarray(at, begin).some((byte) => byte !== 0xff)) replace(at, begin)
    at = begin + 2
    if (marker === START_OF_IMAGE) replace(begin, at)
    if (marker === END_OF_IMAGE || at + 2 > file.length) break
    if (marker === START_OF_IMAGE || marker === 0x01 || (marker >= 0xd0 && marker <= 0xd7)) continue
    const data = at + 2
    at += Math.max(2, file.readUInt16BE(at))
    if (marker === 0xc0 || marker === 0xc1) sequential = true
    const jfif = marker === 0xe0 && file.toString('latin1', data, data + 5) === 'JFIF\0'
    if (jfif && file[data + 5] !== 1) replace(data + 5, data + 6, [1])
    if (marker !== START_OF_SCAN) continue
    const parameters = data + 1 + 2 * (file[data] ?? 0)
    const wrong = file.toString('hex', parameters, parameters + 3) !== '003f00'
    if (sequential && wrong && parameters + 3 === at) replace(parameters, at, [0, 63, 0])
    break
  }
  const ends = file.at(-2) === 0xff && file.at(-1) === END_OF_IMAGE
  if (from === 0 && ends) return file
  return Buffer.concat([
    ...kept,
    file.subarray(from),
    ends ? Buffer.alloc(0) : Buffer.from([0xff, END_OF_IMAGE]),
  ])
}

/** Where the next marker begins: 0xff, and neither a zero nor another 0xff after it. */
function markerFrom(file: Buffer, at: number): number | undefined {
  for (let begin = file.indexOf(0xff, at); begin >= 0; begin = file.indexOf(0xff, begin + 1)) {
    const next = file[begin + 1]
    if (next !== undefined && next !== 0 && next !== 0xff) return begin
  }
  return undefined
}

/** Frames of a GIF or WebP. Only the first is decoded, but libvips keeps a list, and looks through all of it each time. */
function frames(bytes: Buffer): number {
  return bytes.toString('latin1', 0, 3) === 'GIF' ? gifFrames(bytes) : webpFrames(bytes)
}

function webpFrames(bytes: Buffer): number {
  const frame = Buffer.from('ANMF').readUInt32BE()
  let count = 0
  for (let at = 12; at + 8 <= bytes.length; ) {
    if (bytes.readUInt32BE(at) === frame) count += 1
    const size = bytes.readUInt32LE(at + 4)
    at += 8 + size + (size % 2)
  }
  return count
}

function gifFrames(bytes: Buffer): number {
  let count = 0
  for (const _ of gifFrameEnds(bytes)) count += 1
  return count
}

/** Where each frame of a GIF begins and ends (GIF89a specification, sections 18 to 25). */
function* gifFrameEnds(bytes: Buffer): Generator<{ begin: number; end: number }> {
  const table = (flags = 0): number => (flags & 0x80 ? 3 << ((flags & 7) + 1) : 0)
  let at = 13 + table(bytes[10])
  while (at < bytes.length) {
    const begin = at
    const block = bytes[at]
    if (block === 0x2c) at += 11 + table(bytes[at + 9])
    else if (block === 0x21) at += 2
    else if (block === 0x3b) break
    else {
      at += 1
      continue
    }
    for (let size = bytes[at] ?? 0; size > 0; size = bytes[at] ?? 0) at += 1 + size
    at += 1
    if (block === 0x2c) yield { begin, end: at }
  }
}

/** A frame of one transparent pixel: its control, its place and size, and its data. */
const TRANSPARENT_FRAME = Buffer.from(
  '21f9040100000000 2c0000000001000100 00 0202440100'.replaceAll(' ', ''),
  'hex',
)

/**
 * A GIF whose first frame is smaller than its screen shows nothing around it. libvips makes that black, unless a frame is
 * transparent: such a one is added, after the first. Any other file comes back as it is.
 */
export function withClearSurround(bytes: Buffer): Buffer {
  if (bytes.toString('latin1', 0, 3) !== 'GIF') return bytes
  const [first] = gifFrameEnds(bytes)
  if (first === undefined || first.end > bytes.length) return bytes
  // Width and height, of the screen and of the frame, which come as they are stored.
  const screen = bytes.subarray(6, 10)
  const frame = bytes.subarray(first.begin + 5, first.begin + 9)
  if (screen.equals(frame)) return bytes
  return Buffer.concat([bytes.subarray(0, first.end), TRANSPARENT_FRAME, bytes.subarray(first.end)])
}
