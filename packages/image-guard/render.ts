import type { Metadata, Sharp } from 'sharp'
import { type AppraiseOptions, MIN_SIDE } from './appraise.ts'
import { hasLimitedAlpha, isPremultiplied } from './avif-rewrite.ts'
import type { Decoder, InTime } from './decoder.ts'
import type { ContentType } from './format.ts'
import { decodeHeic, Undecodable } from './heic.ts'
import { damaged, decode, fromPixels, headerOf, open, type Pixels } from './libvips.ts'
import { exifBehindPixels, tagged } from './png.ts'
import { isOfCommonCoding } from './prepare.ts'
import { withScanMended } from './scan.ts'

/** Pixels of each side of a thumbnail. */
export const THUMBNAIL_SIDE = 128
/** Rekognition takes sides from MIN_SIDE to 10,000 pixels (Amazon Rekognition guidelines and quotas). */
const MAX_REKOGNITION_SIDE = 10_000
/**
 * Pixels that the scaled picture may have from which a thumbnail is cut. A strip of 1,250,000 × 80 would be scaled to
 * 256 million; such a one is read once to its end, and then once more for its middle.
 */
const MAX_COVERING_PIXELS = 4_000_000
/** Bytes that Rekognition takes by S3 reference and in a request (Amazon Rekognition guidelines and quotas). */
const MAX_REFERENCED_BYTES = 15_728_640
const MAX_SENT_BYTES = 5_242_880
/**
 * The most pixels of the longer side of a preview. It is also what Rekognition gets where it does not take the original,
 * so that one JPEG does for both, and PREVIEW changes no result. Rekognition finds faces from 40 of 1,920 pixels on, in
 * larger pictures in proportion (its guidelines): 1/48 of the longer side. Of 1,600 pixels 40 are 1/40, so faces between
 * the two are missed here. The 2,560 pixels before found no more than 1,920 would, for 2.6 times the pixels to encode.
 */
const PREVIEW_SIDE = 1_600
/** Of a photo of 1600 × 1200 it makes 0.28 MB; 90, for a third more, shows nothing more to the eye. */
const PREVIEW_QUALITY = 85

export interface Size {
  width: number
  height: number
}

export interface Rendered {
  contentType: ContentType
  /** Pixels of the upright picture. */
  width: number
  height: number
  thumbnail: Buffer
  /** Where one is wanted: a JPEG of the whole upright picture within PREVIEW_SIDE, sRGB, with no metadata. */
  preview: (Size & { bytes: Buffer }) | undefined
  /** Whether Rekognition takes the original, and sees it upright. */
  takesOriginal: boolean
  /** A JPEG for Rekognition: where it does not take the original, and where the preview is one that it would take. */
  rendition: Buffer | undefined
  /** The Exif block, as it is in the file. */
  exif: Buffer | undefined
}

/** How Rekognition will get an image, which decides what it takes of it; `jpeg`: as one of ours, even where it takes the original. */
export type Source = 's3' | 'bytes' | 'jpeg'

export interface RenderOptions extends AppraiseOptions {
  /** Whether a preview is wanted. */
  preview?: boolean
}

/**
 * Reads an image through to its last pixel (only that proves it whole), and makes its thumbnail: 128 × 128, the
 * middle of the upright picture, or of a long one the part that the eye goes to; sRGB, on white where it was
 * transparent, with no metadata.
 *
 * @throws the signal's reason; Refusal; Error where libvips would read other formats
 */
export type Render = (original: Buffer, source: Source, options?: RenderOptions) => Promise<Rendered>

export const createRender =
  (decoder: Decoder): Render =>
  (...image) =>
    render(decoder, ...image)

async function render(
  { appraise, decodes, inTimeOf }: Decoder,
  original: Buffer,
  source: Source,
  { preview: isWanted = false, ...options }: RenderOptions = {},
): Promise<Rendered> {
  const { contentType, bytes, metadata, width, height, memory } = await appraise(original, {
    ...options,
    longest: PREVIEW_SIDE,
  })
  const { signal } = options
  const inTime = inTimeOf(options)
  const renderAll = async (file: Buffer): Promise<Rendered> => {
    const opened =
      contentType === 'image/heic'
        ? await openerOfHeic(file, metadata, memory, inTime)
        : await openerOf(file, contentType, metadata)
    const picture = () => opened().autoOrient().flatten({ background: 'white' }).toColourspace('srgb').raw()
    const takesOriginal = rekognitionTakes(contentType, metadata, original, source)
    const shown = isWanted ? previewSize(width, height) : undefined
    const analysed = takesOriginal ? undefined : renditionSize(width, height)
    // Decoded once, as large as the largest; the others are made of its pixels.
    const size = largest(coveringSize(width, height), shown, analysed)
    const decoded = await decode(picture().resize({ ...size, fit: 'fill' }))
    // Cut from what has been decoded, unless that is out of proportion.
    const proportional = Math.abs((size.width * height) / (size.height * width) - 1) < 0.05
    const middle = proportional ? decoded : await decode(picture().resize(THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    const [thumbnail, preview] = await Promise.all([
      toThumbnail(middle),
      shown && toJpeg(decoded, shown).then((bytes) => ({ ...shown, bytes })),
    ])
    const rendition =
      preview !== undefined && isRendition(preview)
        ? preview.bytes
        : analysed && (await toJpeg(decoded, analysed))
    const exif = metadata.exif ?? exifBehindPixels(bytes)
    return { contentType, width, height, thumbnail, preview, takesOriginal, rendition, exif }
  }
  const work = (): Promise<Rendered> =>
    renderAll(bytes).catch((error) => {
      const { cause } = error as Error
      const mended = cause instanceof Error ? withScanMended(bytes, cause.message) : undefined
      if (mended === undefined) throw error
      return renderAll(mended)
    })
  return decodes.run(memory, work, { inTime, signal })
}

/** What opens a picture whose numbers libvips would take for others. */
async function openerOf(bytes: Buffer, contentType: ContentType, metadata: Metadata): Promise<() => Sharp> {
  const isLimited = contentType === 'image/avif' && hasLimitedAlpha(bytes)
  const isMultiplied = contentType === 'image/avif' && isPremultiplied(bytes)
  if (isLimited || isMultiplied) {
    const stored = await decode(open(bytes, { ignoreIcc: true }).toColourspace('srgb').raw())
    if (isLimited) spreadAlpha(stored)
    const shown = isMultiplied ? unpremultiplied(stored) : stored
    const { data } = await decode(fromPixels(shown).png({ compressionLevel: 1 }))
    const png = metadata.icc === undefined ? data : tagged(data, metadata.icc)
    return () => open(png)
  }
  // Of a grey JPEG sharp passes over a profile of colours, unless it is to work in sRGB.
  const isGreyByColours = metadata.space === 'b-w' && metadata.icc?.toString('latin1', 16, 20) === 'RGB '
  if (!isGreyByColours && (metadata.depth !== 'ushort' || !metadata.hasProfile)) return () => open(bytes)
  // Of 16 bits a channel sharp makes Display P3, unless it is to work in sRGB; and it passes over the profile of grey.
  if (metadata.space !== 'grey16') return () => open(bytes).pipelineColourspace('srgb')
  const shallow = await decode(open(bytes).toColourspace('b-w').keepIccProfile().png({ compressionLevel: 1 }))
  return () => open(shallow.data)
}

/**
 * What opens a HEIC, which libvips does not decode: as a PNG of the size at the most that anything made of it has, with
 * the same profile.
 */
async function openerOfHeic(
  bytes: Buffer,
  { width, height, icc }: Metadata,
  memory: number,
  inTime: InTime,
): Promise<() => Sharp> {
  const decoded = await decodeHeic(bytes, memory, inTime).catch((error) => {
    throw error instanceof Undecodable ? damaged(error) : error
  })
  if (decoded.width !== width || decoded.height !== height)
    throw damaged('The decoded picture has a different size than its header says.')
  const { data, ...info } = decoded
  const pixels = { data: Buffer.from(data.buffer), info }
  const scale = Math.max(PREVIEW_SIDE / Math.max(width, height), THUMBNAIL_SIDE / Math.min(width, height))
  const size = scaled({ width, height }, Math.min(1, scale))
  const { data: png } = await decode(
    fromPixels(isPremultiplied(bytes) ? unpremultiplied(pixels) : pixels)
      .resize({ ...size, fit: 'fill' })
      .png({ compressionLevel: 1 }),
  )
  if (icc === undefined) return () => open(png)
  const profiled = tagged(png, icc)
  // A profile that cannot be used is none, as in an AVIF.
  const isUsable = await headerOf(profiled).then(
    () => true,
    () => false,
  )
  return () => open(isUsable ? profiled : png)
}

/** From 16 to 235 for none to all, to the full range, in place. */
function spreadAlpha({ data, info: { channels } }: Pixels): void {
  if (channels % 2 !== 0) return
  for (let at = channels - 1; at < data.length; at += channels)
    data[at] = Math.min(255, Math.max(0, Math.round((((data[at] ?? 0) - 16) * 255) / 219)))
}

/** Colours that were stored as the transparency lets them through. */
function unpremultiplied({ data, info }: Pixels): Pixels {
  for (let at = 0; info.channels === 4 && at < data.length; at += 4) {
    const alpha = data[at + 3] ?? 255
    if (alpha === 0 || alpha === 255) continue
    for (let channel = at; channel < at + 3; channel += 1) {
      data[channel] = Math.min(255, Math.round(((data[channel] ?? 0) * 255) / alpha))
    }
  }
  return { data, info }
}

/** Rekognition takes JPEG and PNG, and turns a JPEG upright by its EXIF orientation but not a PNG. */
function rekognitionTakes(
  contentType: ContentType,
  { width, height, orientation = 1, space, depth }: Metadata,
  original: Buffer,
  source: Source,
): boolean {
  return (
    source !== 'jpeg' &&
    (contentType === 'image/jpeg' || (contentType === 'image/png' && orientation === 1)) &&
    // CMYK is for print; what Rekognition makes of it is not documented, so it gets sRGB.
    space !== 'cmyk' &&
    Math.max(width, height) <= MAX_REKOGNITION_SIDE &&
    // It is said to refuse 16 bits a channel, and what most decoders do not read.
    depth !== 'ushort' &&
    isOfCommonCoding(original, contentType) &&
    original.length <= (source === 's3' ? MAX_REFERENCED_BYTES : MAX_SENT_BYTES)
  )
}

/**
 * The size at which the shorter side fills the thumbnail, where the picture has as much. The whole picture is scaled and
 * cropped after, so all of it is read.
 */
function coveringSize(width: number, height: number): Size {
  const scale = Math.min(1, THUMBNAIL_SIDE / Math.min(width, height))
  if (width * height * scale ** 2 > MAX_COVERING_PIXELS)
    return { width: THUMBNAIL_SIDE, height: THUMBNAIL_SIDE }
  return scaled({ width, height }, scale)
}

/** Whether Rekognition takes a preview of this size. */
export const isRendition = ({ width, height }: Size): boolean => Math.min(width, height) >= MIN_SIDE

/** Never enlarged. Of a strip one pixel is left of the shorter side at the least. */
const previewSize = (width: number, height: number): Size =>
  scaled({ width, height }, Math.min(1, PREVIEW_SIDE / Math.max(width, height)))

/**
 * As a preview, and larger where a side would be under MIN_SIDE: a strip of 10500 × 90 becomes 9333 × 80. Only one that is
 * longer than Rekognition takes even so loses its shape; boxes are fractions of each side, so they fit.
 */
function renditionSize(width: number, height: number): Size {
  const longer = Math.max(width, height)
  const enough = Math.max(PREVIEW_SIDE / longer, MIN_SIDE / Math.min(width, height))
  return scaled({ width, height }, Math.min(1, enough, MAX_REKOGNITION_SIDE / longer), MIN_SIDE)
}

const scaled = ({ width, height }: Size, scale: number, least = 1): Size => ({
  width: Math.max(least, Math.round(width * scale)),
  height: Math.max(least, Math.round(height * scale)),
})

/** Of sizes of one picture, which differ in shape for strips only. */
const largest = (...sizes: (Size | undefined)[]): Size => ({
  width: Math.max(...sizes.map((size) => size?.width ?? 1)),
  height: Math.max(...sizes.map((size) => size?.height ?? 1)),
})

/**
 * The longer side by the shorter one above which a thumbnail shows the part that the eye goes to. It costs 5 ms of the
 * processor, a tenth of what a picture of 12 megapixels takes; where less than a quarter is cut off, the middle will do.
 */
const ELONGATED = 4 / 3 + 0.01

function toThumbnail(pixels: Pixels): Promise<Buffer> {
  const { width, height } = pixels.info
  const isElongated = Math.max(width, height) / Math.min(width, height) > ELONGATED
  return fromPixels(pixels)
    .resize(THUMBNAIL_SIDE, THUMBNAIL_SIDE, { position: isElongated ? 'attention' : 'centre' })
    .toColourspace('srgb')
    .jpeg()
    .toBuffer()
}

/** A picture of pure noise, 1600 × 1600, is 1.9 MB: well within MAX_SENT_BYTES. */
const toJpeg = (pixels: Pixels, { width, height }: Size): Promise<Buffer> =>
  fromPixels(pixels)
    .resize({ width, height, fit: 'fill' })
    .toColourspace('srgb')
    .jpeg({ quality: PREVIEW_QUALITY })
    .toBuffer()
