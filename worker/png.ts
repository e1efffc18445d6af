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
  const kept: Buffer[] = []
  const seen = new Set<string>()
  let from = 0
  let at = SIGNATURE_BYTES
  while (at + CHUNK_OVERHEAD <= bytes.length) {
    const end = at + CHUNK_OVERHEAD + bytes.readUInt32BE(at)
    if (end > bytes.length) break
    const type = bytes.toString('latin1', at + 4, at + 8)
    if (!NEEDED.has(type) || (seen.has(type) && type !== 'IDAT')) {
      if (from < at) kept.push(bytes.subarray(from, at))
      from = end
    } else seen.add(type)
    at = end
  }
  if (from === 0) return bytes
  kept.push(bytes.subarray(from))
  return Buffer.concat(kept)
}
