/** Frames of a GIF or WebP. Only the first is decoded, but libvips keeps a list, and looks through all of it each time. */
export function frames(bytes: Buffer): number {
  return bytes.toString('latin1', 0, 3) === 'GIF' ? gifFrames(bytes) : webpFrames(bytes)
}

function webpFrames(bytes: Buffer): number {
  const frame = Buffer.from('ANMF').readUInt32BE()
  let count = 0
  for (const { begin } of webpChunks(bytes)) if (bytes.readUInt32BE(begin) === frame) count += 1
  return count
}

/** Where each chunk of a WebP begins and ends, with the byte that fills up an odd one (RFC 9649, section 2.3). */
function* webpChunks(bytes: Buffer): Generator<{ begin: number; end: number; filled: number }> {
  let begin = 12
  while (begin + 8 <= bytes.length) {
    const size = bytes.readUInt32LE(begin + 4)
    const filled = size % 2
    const end = begin + 8 + size + filled
    yield { begin, end, filled }
    begin = end
  }
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

/** The end of a picture's data, and of the file. */
const GIF_END = Buffer.from('003b', 'hex')

/**
 * A still GIF that ends with its data, or is followed by another GIF, has its end; where data are missing, libvips sees that
 * as before.
 */
export function withGifEnd(bytes: Buffer): Buffer {
  if (bytes.toString('latin1', 0, 3) !== 'GIF') return bytes
  const [first, second] = gifFrameEnds(bytes)
  if (first !== undefined && bytes.toString('latin1', first.end, first.end + 4) === 'GIF8')
    return Buffer.concat([bytes.subarray(0, first.end), GIF_END])
  if (bytes.at(-1) === GIF_END.at(-1)) return bytes
  return second === undefined ? Buffer.concat([bytes, GIF_END]) : bytes
}

/** A frame of one transparent pixel: its control, its place and size, and its data. */
const TRANSPARENT_FRAME = Buffer.from(
  '21f9040100000000 2c0000000001000100 00 0202440100'.replaceAll(' ', ''),
  'hex',
)

/**
 * A GIF whose first frame does not cover its screen shows nothing around it. libvips makes that black, unless a frame is
 * transparent: such a one is added, after the first. Any other file comes back as it is.
 */
export function withClearSurround(bytes: Buffer): Buffer {
  if (bytes.toString('latin1', 0, 3) !== 'GIF') return bytes
  const [first] = gifFrameEnds(bytes)
  if (first === undefined || first.end > bytes.length) return bytes
  // Place and size of the frame, as the screen has them in the file: from its corner on, so wide and so high.
  const frame = bytes.subarray(first.begin + 1, first.begin + 9)
  if (frame.equals(Buffer.concat([Buffer.alloc(4), bytes.subarray(6, 10)]))) return bytes
  return Buffer.concat([bytes.subarray(0, first.end), TRANSPARENT_FRAME, bytes.subarray(first.end)])
}

/** In a simple lossless WebP: after the heads of file and chunk, a signature, and 14 bits for each side (RFC 9649, 3.4). */
const WEBP_ALPHA = { at: 24, bit: 0x10 }

/**
 * A simple lossless WebP that says that it may be transparent. That it is not is a hint that changes no pixel (RFC 9649,
 * section 3.4), but libvips drops the transparency for it. Any other file comes back as it is.
 */
export function withWebpAlpha(bytes: Buffer): Buffer {
  if (bytes.toString('latin1', 8, 16) !== 'WEBPVP8L' || bytes[20] !== 0x2f) return bytes
  const { at, bit } = WEBP_ALPHA
  const flags = bytes[at]
  if (flags === undefined || (flags & bit) !== 0) return bytes
  const copy = Buffer.from(bytes)
  copy[at] = flags | bit
  return copy
}

/**
 * A WebP of the size that it says, where it says more than the file has, or where its last chunk is of an odd length and lacks
 * the byte that fills it up: browsers draw what there is. Where that chunk is cut off, and any other file, comes back as it is.
 */
export function withWebpSize(bytes: Buffer): Buffer {
  if (bytes.toString('latin1', 8, 12) !== 'WEBP' || bytes.readUInt32LE(4) < bytes.length - 8) return bytes
  let last = { end: 12, filled: 0 }
  for (const chunk of webpChunks(bytes)) last = chunk
  const missing = last.end - bytes.length
  const isRight = missing === 0 && bytes.readUInt32LE(4) === bytes.length - 8
  if (isRight || missing < 0 || missing > last.filled) return bytes
  const whole = Buffer.concat([bytes, Buffer.alloc(missing)])
  whole.writeUInt32LE(whole.length - 8, 4)
  return whole
}
