import { availableParallelism } from 'node:os'
import sharp, { type Metadata, type OutputInfo, type Sharp } from 'sharp'
import { type ContentType, sniffContentType } from '../shared/format.ts'
import { Verdict } from '../shared/image.ts'
import { Budget } from './budget.ts'
import { withoutText } from './png.ts'

// Only the loaders of accepted formats, and only from memory, are within reach of a stranger's bytes.
sharp.block({ operation: ['VipsForeignLoad'] })
sharp.unblock({
  operation: [
    'VipsForeignLoadJpegBuffer',
    'VipsForeignLoadPngBuffer',
    'VipsForeignLoadWebpBuffer',
    'VipsForeignLoadNsgifBuffer',
    'VipsForeignLoadHeifBuffer',
  ],
})
// Every image is decoded once, so a cache of operations would only hold memory.
sharp.cache(false)
// One thread per image and several images at once do more work than several threads on one image.
sharp.concurrency(1)

/** Pixels of each side of a thumbnail. */
export const THUMBNAIL_SIDE = 128
/** Rekognition takes sides from 80 to 10,000 pixels (Amazon Rekognition guidelines and quotas). */
const MIN_SIDE = 80
const MAX_REKOGNITION_SIDE = 10_000
/**
 * Pixels that the scaled picture may have from which a thumbnail is cut. A strip of 1,250,000 × 80 would be scaled to
 * 256 million; such a one is read once to its end, and then once more for its middle.
 */
const MAX_COVERING_PIXELS = 4_000_000
/** Bytes that Rekognition takes by S3 reference and in a request (Amazon Rekognition guidelines and quotas). */
const MAX_REFERENCED_BYTES = 15_728_640
const MAX_SENT_BYTES = 5_242_880
/** Pixels of the longer side of a rendition: a face of 40 px in a 1920-px picture, the smallest found, stays one. */
const RENDITION_SIDE = 2_560

type Kind = 'jpeg' | 'progressive jpeg' | 'png' | 'interlaced png' | 'webp' | 'gif' | 'avif'

/** Bytes of memory that all decodes under way may take together. One image may take them all. */
const DECODE_BYTES = 480_000_000

/**
 * Bytes of memory per pixel while an image of each kind is decoded: the worst of its variants as
 * `npm run bench -- decode-memory` measured them, rounded up. Baseline JPEG, PNG and most WebP are read line by line.
 */
const BYTES_PER_PIXEL: Record<Kind, number> = {
  jpeg: 0.5, //              0.25
  'progressive jpeg': 6, //  5.71 with full chroma, 3.06 without
  png: 1, //                 0.84 with 16 bits and alpha
  'interlaced png': 8, //    5.16 with 16 bits and alpha, which is 8 when libvips keeps it all
  webp: 8, //                6.35 lossless with alpha
  gif: 4, //                 0.90; the canvas is RGBA
  avif: 19, //               18.66 with full chroma and 10 bits
}

/**
 * The most pixels of each kind: what DECODE_BYTES has room for, and never more than a worker decodes in about a
 * second. 250 million are for the 200-megapixel JPEGs of telephones; Rekognition's own 10,000 × 10,000 for the rest.
 */
const MAX_PIXELS: Record<Kind, number> = {
  jpeg: 250_000_000, //              × 0.5 = 125 MB
  'progressive jpeg': 80_000_000, // × 6   = 480 MB
  png: 100_000_000, //               × 1   = 100 MB
  'interlaced png': 60_000_000, //   × 8   = 480 MB
  webp: 60_000_000, //               × 8   = 480 MB
  gif: 100_000_000, //               × 4   = 400 MB
  avif: 25_000_000, //               × 19  = 475 MB
}

/** One more decode than cores keeps the cores busy while another one waits for memory. */
const decodes = new Budget(DECODE_BYTES, availableParallelism() + 1)

export interface Rendered {
  contentType: ContentType
  /** Pixels of the upright picture. */
  width: number
  height: number
  thumbnail: Buffer
  /** A JPEG for Rekognition, where it would not take the original or would not see it upright. */
  rendition: Buffer | undefined
}

/**
 * Reads an image through to its last pixel (only that proves it whole), and makes its thumbnail: 128 × 128, the
 * middle of the upright picture, sRGB, on white where it was transparent, with no metadata.
 *
 * @param source how Rekognition will get the image, which decides what it takes of it
 * @param signal aborted when it is too late to begin decoding
 * @throws the signal's reason; Verdict UNSUPPORTED_FORMAT, CORRUPT_IMAGE, IMAGE_TOO_SMALL, TOO_MANY_PIXELS
 */
export async function render(
  original: Buffer,
  source: 's3' | 'bytes',
  signal?: AbortSignal,
): Promise<Rendered> {
  const contentType = sniffContentType(original)
  if (contentType === undefined)
    throw new Verdict('UNSUPPORTED_FORMAT', 'The file is not an image of a supported format.')
  const bytes = withoutText(original)
  const metadata = await readMetadata(bytes, contentType)
  const kind = kindOf(contentType, metadata)
  const { width, height } = upright(metadata)
  if (Math.min(width, height) < MIN_SIDE) {
    throw new Verdict(
      'IMAGE_TOO_SMALL',
      `The image is ${width} × ${height}; both sides need ${MIN_SIDE} pixels.`,
    )
  }
  const limit = MAX_PIXELS[kind]
  if (width * height > limit) {
    throw new Verdict(
      'TOO_MANY_PIXELS',
      `The image is ${width} × ${height}; ${kind} may have ${limit / 1e6} million pixels.`,
    )
  }
  return decodes.run(width * height * BYTES_PER_PIXEL[kind], async () => {
    signal?.throwIfAborted()
    const picture = () =>
      open(bytes).autoOrient().flatten({ background: 'white' }).toColourspace('srgb').raw()
    const asIs = rekognitionTakes(contentType, metadata, original.length, source)
    const size = asIs ? coveringSize(width, height) : renditionSize(width, height)
    const pixels = await decode(picture().resize({ ...size, fit: 'fill' }))
    // Cut from what has been decoded, unless that is out of proportion.
    const proportional = Math.abs((size.width * height) / (size.height * width) - 1) < 0.05
    const middle = proportional ? pixels : await decode(picture().resize(THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    const [thumbnail, rendition] = await Promise.all([
      toThumbnail(middle),
      asIs ? undefined : toRendition(pixels),
    ])
    return { contentType, width, height, thumbnail, rendition }
  })
}

const open = (bytes: Buffer): Sharp =>
  sharp(bytes, {
    // Files of real cameras carry faults that decoders mend; what makes them guess at pixels is a warning.
    failOn: 'warning',
    // The caps per kind are checked first; this holds where a header lies about the size.
    limitInputPixels: MAX_PIXELS.jpeg,
    sequentialRead: true,
    pages: 1,
  })

async function readMetadata(bytes: Buffer, contentType: ContentType): Promise<Metadata> {
  let metadata: Metadata
  try {
    // Without a limit on pixels: the header is all that is read here, and its size is the answer.
    metadata = await sharp(bytes, { failOn: 'warning', limitInputPixels: false, pages: 1 }).metadata()
  } catch (error) {
    throw corrupt(error)
  }
  const format = metadata.format === 'heif' && metadata.compression === 'av1' ? 'avif' : metadata.format
  if (`image/${format}` !== contentType) {
    throw new Verdict('UNSUPPORTED_FORMAT', `The file begins as ${contentType} but is something else.`)
  }
  return metadata
}

async function decode(picture: Sharp): Promise<{ data: Buffer; info: OutputInfo }> {
  try {
    return await picture.toBuffer({ resolveWithObject: true })
  } catch (error) {
    throw corrupt(error)
  }
}

const corrupt = (cause: unknown): Verdict =>
  new Verdict('CORRUPT_IMAGE', 'The image cannot be decoded: its data is damaged or cut off.', cause)

function kindOf(contentType: ContentType, metadata: Metadata): Kind {
  if (contentType === 'image/jpeg') return metadata.isProgressive ? 'progressive jpeg' : 'jpeg'
  if (contentType === 'image/png') return metadata.isProgressive ? 'interlaced png' : 'png'
  return contentType.slice('image/'.length) as Kind
}

/** EXIF orientations 5 to 8 lie on their side. */
function upright({ width, height, orientation = 1 }: Metadata): { width: number; height: number } {
  return orientation >= 5 ? { width: height, height: width } : { width, height }
}

/** Rekognition takes JPEG and PNG, and turns a JPEG upright by its EXIF orientation but not a PNG. */
function rekognitionTakes(
  contentType: ContentType,
  { width, height, orientation = 1, space }: Metadata,
  bytes: number,
  source: 's3' | 'bytes',
): boolean {
  return (
    (contentType === 'image/jpeg' || (contentType === 'image/png' && orientation === 1)) &&
    // CMYK is for print; what Rekognition makes of it is not documented, so it gets sRGB.
    space !== 'cmyk' &&
    Math.max(width, height) <= MAX_REKOGNITION_SIDE &&
    bytes <= (source === 's3' ? MAX_REFERENCED_BYTES : MAX_SENT_BYTES)
  )
}

/** The size at which the shorter side fills the thumbnail. The whole picture is scaled and cropped after, so all of it is read. */
function coveringSize(width: number, height: number): { width: number; height: number } {
  const scale = THUMBNAIL_SIDE / Math.min(width, height)
  if (width * height * scale ** 2 > MAX_COVERING_PIXELS)
    return { width: THUMBNAIL_SIDE, height: THUMBNAIL_SIDE }
  return {
    width: Math.max(THUMBNAIL_SIDE, Math.round(width * scale)),
    height: Math.max(THUMBNAIL_SIDE, Math.round(height * scale)),
  }
}

/**
 * Within RENDITION_SIDE, but no side under MIN_SIDE: a strip of 10001 × 80 is narrowed in one direction only.
 * Boxes are fractions of each side, so they fit the original all the same.
 */
function renditionSize(width: number, height: number): { width: number; height: number } {
  const scale = Math.min(1, RENDITION_SIDE / Math.max(width, height))
  const side = (pixels: number): number => Math.max(MIN_SIDE, Math.round(pixels * scale))
  return { width: side(width), height: side(height) }
}

const fromPixels = ({ data, info: { width, height, channels } }: { data: Buffer; info: OutputInfo }): Sharp =>
  sharp(data, { raw: { width, height, channels } })

async function toThumbnail(pixels: { data: Buffer; info: OutputInfo }): Promise<Buffer> {
  return fromPixels(pixels).resize(THUMBNAIL_SIDE, THUMBNAIL_SIDE).toColourspace('srgb').jpeg().toBuffer()
}

async function toRendition(pixels: { data: Buffer; info: OutputInfo }): Promise<Buffer> {
  for (const quality of [90, 75, 50]) {
    const jpeg = await fromPixels(pixels).toColourspace('srgb').jpeg({ quality }).toBuffer()
    if (jpeg.length <= MAX_SENT_BYTES) return jpeg
  }
  // 2560 × 2560 of pure noise is 3.5 MB at quality 50.
  throw new Error('A rendition is larger than Rekognition takes.')
}
