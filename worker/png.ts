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
