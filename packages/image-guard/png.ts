import { crc32 } from 'node:zlib'

const SIGNATURE_BYTES = 8
/** Length, type and checksum around each chunk's data (PNG specification, section 5.3). */
const CHUNK_OVERHEAD = 12

/** Chunks that say how a PNG looks. All others are text, times and animation, and some of them can be inflated. */
const NEEDED = new Set([
  'IHDR',
  'PLTE',
  'IDAT',
  'IEND',
  'tRNS',
  'cHRM',
  'gAMA',
  'iCCP',
  'sBIT',
  'sRGB',
  'cICP',
  'bKGD',
  'hIST',
  'pHYs',
  'eXIf',
])

/**
 * A PNG without what does not show. Compressed text inflates whenever the file is opened, a thousandfold: 4 MB of it
 * keep a decoder busy for minutes. Of each kind of chunk but IDAT only the first counts, and each further one takes
 * libpng 200 bytes of memory.
 *
 * @param file any file; one that is not a PNG comes back as it is, and one that is broken stays as broken as it was
 */
export function withoutText(file: Uint8Array): Buffer {
  const bytes = Buffer.from(file.buffer, file.byteOffset, file.length)
  if (bytes.toString('latin1', 1, 4) !== 'PNG') return bytes
  // What is kept goes to its place at once: a list of two million pieces would take more memory than the file.
  let kept: Buffer | undefined
  let length = 0
  const seen = new Set<string>()
  let from = 0
  let at = SIGNATURE_BYTES
  while (at + CHUNK_OVERHEAD <= bytes.length) {
    const end = at + CHUNK_OVERHEAD + bytes.readUInt32BE(at)
    if (end > bytes.length) break
    const type = bytes.toString('latin1', at + 4, at + 8)
    if (!NEEDED.has(type) || (seen.has(type) && type !== 'IDAT')) {
      kept ??= Buffer.allocUnsafeSlow(bytes.length)
      length += bytes.copy(kept, length, from, at)
      from = end
    } else seen.add(type)
    at = end
  }
  if (kept === undefined) return bytes
  length += bytes.copy(kept, length, from)
  return kept.subarray(0, length)
}

/**
 * A PNG that claims a smaller window of its compressed data than the data reach back. Every viewer reads it whole with the
 * largest window there is, which is right for any; libpng refuses it.
 *
 * @param bytes any file; one that is not a PNG, or needs no change, comes back as it is
 */
export function withWholeWindow(bytes: Buffer): Buffer {
  if (bytes.toString('latin1', 1, 4) !== 'PNG') return bytes
  const at = dataFrom(bytes)
  if (at === undefined) return bytes
  const end = at + CHUNK_OVERHEAD + bytes.readUInt32BE(at)
  const [method = 0, flags = 0] = bytes.subarray(at + 8)
  // Deflate, and less than 32 KB (RFC 1950, section 2.2).
  const isSmall = (method & 15) === 8 && method >> 4 < 7 && (method * 256 + flags) % 31 === 0
  if (!isSmall || end > bytes.length || at + 10 > end - 4) return bytes
  // A chunk that is damaged stays so.
  if (crc32(bytes.subarray(at + 4, end - 4)) !== bytes.readUInt32BE(end - 4)) return bytes
  const whole = Buffer.from(bytes)
  const kept = flags & 0xe0
  whole[at + 8] = 0x78
  whole[at + 9] = kept + ((31 - ((0x7800 + kept) % 31)) % 31)
  whole.writeUInt32BE(crc32(whole.subarray(at + 4, end - 4)), end - 4)
  return whole
}

/** Where the first chunk of pixels begins. */
function dataFrom(bytes: Buffer): number | undefined {
  for (let at = SIGNATURE_BYTES; at + CHUNK_OVERHEAD <= bytes.length; ) {
    if (bytes.toString('latin1', at + 4, at + 8) === 'IDAT') return at
    at += CHUNK_OVERHEAD + bytes.readUInt32BE(at)
  }
  return undefined
}
