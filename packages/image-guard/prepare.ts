import { frames, withClearSurround, withGifEnd, withWebpAlpha, withWebpSize } from './animation.ts'
import { type AvifPixels, avifPixels, type HeicPixels, heicPixels } from './avif.ts'
import { stillOf, withAvifProfile, withOneMeta, withTurnedAlpha } from './avif-rewrite.ts'
import { boxes, MAX_BOXES } from './heif.ts'
import { hasCommonFrame, jpegSegments, withoutSlips } from './jpeg.ts'
import { MAX_AVIF_PIXELS, MAX_FRAMES, MAX_HEIC_PIXELS, MAX_SEGMENTS, Refusal } from './limits.ts'
import { hasCommonChunks, withoutText, withPngProfile, withWholeWindow } from './png.ts'

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

export interface Prepared {
  /** The file without what does not show, and without slips. */
  bytes: Buffer
  /** What a decoder has to do for the pictures within an AVIF or a HEIC. */
  coded?: AvifPixels & Partial<HeicPixels>
}

/**
 * Prepares a file for libvips: refuses what a few bytes can ask of a decoder beyond the pixels that they show, and mends
 * what every viewer shows whole. Only boxes, chunks and markers are read, before libvips sees the file, since libvips does
 * much of the hidden work to open it.
 *
 * @param original any file
 * @param contentType what the file begins as, like `image/avif`
 * @throws Refusal CORRUPT_IMAGE, TOO_MANY_PIXELS, UNSUPPORTED_FORMAT
 */
export function prepare(original: Uint8Array, contentType: string): Prepared {
  const file = Buffer.from(original.buffer, original.byteOffset, original.length)
  if (contentType === 'image/avif' || contentType === 'image/heic') refuseManyBoxes(file)
  if (contentType === 'image/heic') return prepareHeic(file)
  const still = stillOf(withoutSlips(withPngProfile(withWholeWindow(withoutText(original)))))
  const bytes = contentType === 'image/avif' ? withOneMeta(still) : still
  if (contentType === 'image/jpeg' && jpegSegments(bytes) > MAX_SEGMENTS) {
    throw new Refusal('CORRUPT_IMAGE', `The image has more than ${MAX_SEGMENTS} segments of metadata.`)
  }
  if ((contentType === 'image/gif' || contentType === 'image/webp') && frames(bytes) > MAX_FRAMES) {
    throw new Refusal('TOO_MANY_PIXELS', `The animation has more than ${MAX_FRAMES} frames.`)
  }
  if (contentType !== 'image/avif')
    return { bytes: withClearSurround(withGifEnd(withWebpAlpha(withWebpSize(bytes)))) }
  return prepareCoded(bytes, avifPixels(bytes), MAX_AVIF_PIXELS)
}

/** They are walked through several times: 6 million of them, in 50 MB, took 12 seconds and more. */
function refuseManyBoxes(file: Buffer): void {
  let count = 0
  for (const _ of boxes(file)) {
    count += 1
    if (count > MAX_BOXES) throw new Refusal('CORRUPT_IMAGE', `The image has more than ${MAX_BOXES} boxes.`)
  }
}

function prepareHeic(original: Buffer): Prepared {
  const bytes = withOneMeta(stillOf(original, 'heic'))
  return prepareCoded(bytes, heicPixels(bytes), MAX_HEIC_PIXELS)
}

function prepareCoded(bytes: Buffer, coded: AvifPixels & Partial<HeicPixels>, most: number): Prepared {
  if (coded.decoded > most) {
    throw new Refusal(
      'TOO_MANY_PIXELS',
      `The pictures within the image may have at most ${most / 1e6} million pixels together.`,
    )
  }
  return { bytes: withAvifProfile(withTurnedAlpha(bytes)), coded }
}
