import { frames, withClearSurround, withGifEnd } from './animation.ts'
import { avifPixels, heicPixels, stillOf, withAvifProfile, withOneMeta, withTurnedAlpha } from './avif.ts'
import { hasCommonFrame, jpegSegments, withoutSlips } from './jpeg.ts'
import { MAX_AVIF_PIXELS, MAX_FRAMES, MAX_HEIC_PIXELS, MAX_SEGMENTS, Refusal } from './limits.ts'
import { hasCommonChunks, withoutText, withPngProfile, withWholeWindow } from './png.ts'

export { avifPixels, heicPixels, isPremultiplied } from './avif.ts'
export { readExif } from './exif.ts'
export { refuseManyScans } from './jpeg.ts'
export { MAX_AVIF_PIXELS, MAX_HEIC_PIXELS, Refusal } from './limits.ts'
export { tagged } from './png.ts'
export { blankPosition } from './position.ts'
export { withScanMended } from './scan.ts'

/**
 * Whether a JPEG or PNG is coded as every decoder expects. libvips reads more: JPEG with arithmetic coding, and
 * (without them, as `prepare` leaves it) PNG with critical chunks that are not of the standard.
 *
 * @param file as it came
 */
export function isOfCommonCoding(file: Uint8Array, contentType: 'image/jpeg' | 'image/png'): boolean {
  const bytes = Buffer.from(file.buffer, file.byteOffset, file.length)
  return contentType === 'image/jpeg' ? hasCommonFrame(bytes) : hasCommonChunks(bytes)
}

/**
 * Prepares a file for libvips: refuses what a few bytes can ask of a decoder beyond the pixels that they show, and mends
 * what every viewer shows whole. Only boxes, chunks and markers are read, before libvips sees the file, since libvips does
 * much of the hidden work to open it.
 *
 * @param original any file
 * @param contentType what the file begins as, like `image/avif`
 * @returns the file without what does not show, and without slips
 * @throws Refusal CORRUPT_IMAGE, TOO_MANY_PIXELS, UNSUPPORTED_FORMAT
 */
export function prepare(original: Uint8Array, contentType: string): Buffer {
  if (contentType === 'image/heic')
    return prepareHeic(Buffer.from(original.buffer, original.byteOffset, original.length))
  const still = stillOf(withoutSlips(withPngProfile(withWholeWindow(withoutText(original)))))
  const bytes = contentType === 'image/avif' ? withOneMeta(still) : still
  if (contentType === 'image/jpeg' && jpegSegments(bytes) > MAX_SEGMENTS) {
    throw new Refusal('CORRUPT_IMAGE', `The image has more than ${MAX_SEGMENTS} segments of metadata.`)
  }
  if ((contentType === 'image/gif' || contentType === 'image/webp') && frames(bytes) > MAX_FRAMES) {
    throw new Refusal('TOO_MANY_PIXELS', `The animation has more than ${MAX_FRAMES} frames.`)
  }
  if (contentType !== 'image/avif') return withClearSurround(withGifEnd(bytes))
  refuseMore(avifPixels(bytes).decoded, MAX_AVIF_PIXELS)
  return withAvifProfile(withTurnedAlpha(bytes))
}

function prepareHeic(original: Buffer): Buffer {
  const bytes = withOneMeta(stillOf(original, 'heic'))
  refuseMore(heicPixels(bytes).decoded, MAX_HEIC_PIXELS)
  return withAvifProfile(withTurnedAlpha(bytes))
}

function refuseMore(pixels: number, most: number): void {
  if (pixels <= most) return
  throw new Refusal(
    'TOO_MANY_PIXELS',
    `The pictures within the image may have ${most / 1e6} million pixels together.`,
  )
}
