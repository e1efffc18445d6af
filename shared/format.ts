/**
 * The formats that come in, told by their first bytes and by nothing else: a file's name, its declared
 * content type and the extension are the sender's words.
 */
export const CONTENT_TYPES = ['image/jpeg', 'image/png', 'image/webp', 'image/gif', 'image/avif'] as const
export type ContentType = (typeof CONTENT_TYPES)[number]

const ascii = (bytes: Uint8Array, from: number, to: number): string =>
  String.fromCharCode(...bytes.subarray(from, to))

/**
 * An AVIF file is an ISO BMFF box `ftyp` whose major or compatible brands name `avif` (still) or `avis`
 * (sequence). HEIC has the same box with other brands, so the brands decide (AV1 Image File Format, section 6).
 */
function isAvif(bytes: Uint8Array): boolean {
  if (bytes.length < 16 || ascii(bytes, 4, 8) !== 'ftyp') return false
  const size = new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0)
  const end = Math.min(size, bytes.length, 256)
  for (let at = 8; at + 4 <= end; at += 4) {
    if (at === 12) continue // the minor version, which is no brand
    const brand = ascii(bytes, at, at + 4)
    if (brand === 'avif' || brand === 'avis') return true
  }
  return false
}

/**
 * The content type of an image by its magic bytes.
 *
 * @param bytes the file, or at least its first 256 bytes
 * @returns the content type, or `undefined` for anything that is not accepted (SVG, PDF, TIFF, HEIC, …)
 */
export function sniffContentType(bytes: Uint8Array): ContentType | undefined {
  if (bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff) return 'image/jpeg'
  if (ascii(bytes, 0, 8) === '\x89PNG\r\n\x1a\n') return 'image/png'
  if (ascii(bytes, 0, 6) === 'GIF87a' || ascii(bytes, 0, 6) === 'GIF89a') return 'image/gif'
  if (ascii(bytes, 0, 4) === 'RIFF' && ascii(bytes, 8, 12) === 'WEBP') return 'image/webp'
  if (isAvif(bytes)) return 'image/avif'
  return undefined
}
