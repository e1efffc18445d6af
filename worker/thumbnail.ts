import sharp, { type Metadata, type OutputInfo, type Sharp, type SharpOptions } from 'sharp'
import {
  BYTES_PER_BYTE,
  BYTES_PER_PIXEL,
  bytesOfLines,
  DECODE_BYTES,
  DECODE_SECONDS,
  decodes,
  HEIC_THREAD_BYTES,
  type Kind,
  MAX_CHANNELS,
  MAX_DECODE_BYTES,
  MAX_PIXELS,
  ORIGINAL_BYTES,
  PIPELINE_SECONDS,
  within,
} from '../packages/image-guard/budget.ts'
import { type ContentType, formatOf, refusalOf } from '../packages/image-guard/format.ts'
import {
  isOfCommonCoding,
  isPremultiplied,
  prepare,
  Refusal,
  refuseManyScans,
  tagged,
  withScanMended,
} from '../packages/image-guard/index.ts'
import { Verdict } from '../shared/image.ts'
import { decodeHeic, Undecodable } from './heic.ts'

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

export interface AppraiseOptions {
  /** Whether HEIC comes in; then `demandHeicDecoder` was asked before. */
  heic?: boolean
  /** Seconds of the processor that a decode may have. */
  decodeSeconds?: number
  /** Aborted when it is too late to begin decoding. */
  signal?: AbortSignal
}

export interface Appraisal {
  contentType: ContentType
  /** Without what does not show, and without slips. */
  bytes: Buffer
  metadata: Metadata
  /** Pixels of the upright picture. */
  width: number
  height: number
  /** Bytes of memory that it takes to decode the image: its weight in the budget `decodes`. */
  memory: number
}

export interface Decoder {
  /**
   * Reads an image through to its last pixel (only that proves it whole), and makes its thumbnail: 128 × 128, the
   * middle of the upright picture, or of a long one the part that the eye goes to; sRGB, on white where it was
   * transparent, with no metadata.
   *
   * @throws the signal's reason; Verdict UNSUPPORTED_FORMAT, CORRUPT_IMAGE, IMAGE_TOO_SMALL, TOO_MANY_PIXELS; Error
   *   where libvips would read other formats
   */
  render: (original: Buffer, source: Source, options?: RenderOptions) => Promise<Rendered>
  /**
   * What is known of an image before it is decoded, from boxes, chunks, markers and the header.
   *
   * @throws as `render`
   */
  appraise: (original: Uint8Array, options?: AppraiseOptions) => Promise<Appraisal>
}

let decoder: Decoder | undefined

/**
 * Sets libvips up, once in a process: to block loaders again would fail the images that are being opened.
 * The formats that are left are checked with the first image.
 */
export function createDecoder(): Decoder {
  if (decoder !== undefined) return decoder
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
  let checked: Promise<void> | undefined
  const check = (): Promise<void> => {
    checked ??= refuseStrangers()
    return checked
  }
  decoder = {
    render: async (...image) => {
      await check()
      return render(...image).catch(asVerdict)
    },
    appraise: async (...image) => {
      await check()
      return appraise(...image).catch(asVerdict)
    },
  }
  return decoder
}

function asVerdict(error: unknown): never {
  throw error instanceof Refusal ? new Verdict(error.code, error.message, error) : error
}

const tooMuch = (message: string): Verdict => new Verdict('TOO_MANY_PIXELS', message)

async function render(
  original: Buffer,
  source: Source,
  { preview: isWanted = false, ...options }: RenderOptions = {},
): Promise<Rendered> {
  const { contentType, bytes, metadata, width, height, memory } = await appraise(original, options)
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
    const isTaken = preview !== undefined && Math.min(preview.width, preview.height) >= MIN_SIDE
    const rendition = isTaken ? preview.bytes : analysed && (await toJpeg(decoded, analysed))
    const { exif } = metadata
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
  if (contentType === 'image/avif' && isPremultiplied(bytes)) {
    const stored = await decode(open(bytes, { ignoreIcc: true }).toColourspace('srgb').raw())
    const { data } = await decode(fromPixels(unpremultiplied(stored)).png({ compressionLevel: 1 }))
    const png = metadata.icc === undefined ? data : tagged(data, metadata.icc)
    return () => open(png)
  }
  if (metadata.depth !== 'ushort' || !metadata.hasProfile) return () => open(bytes)
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
    throw damaged('It is of another size than it says.')
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
  const isUsable = await sharp(profiled, INPUT)
    .metadata()
    .then(
      () => true,
      () => false,
    )
  return () => open(isUsable ? profiled : png)
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

async function appraise(original: Uint8Array, options: AppraiseOptions = {}): Promise<Appraisal> {
  const { heic = false, signal } = options
  const inTime = inTimeOf(options)
  const contentType = formatOf(original, heic)?.contentType
  if (contentType === undefined) {
    throw new Verdict('UNSUPPORTED_FORMAT', refusalOf(original, heic))
  }
  const { bytes, coded } = prepare(original, contentType)
  // In its turn as well, so that its time is not spent waiting for a thread.
  const metadata = await decodes.run(bytes.length, () => readMetadata(bytes, contentType), { inTime, signal })
  const kind = kindOf(contentType, metadata, coded?.piece)
  const { width, height } = upright(metadata)
  if (Math.min(width, height) < MIN_SIDE) {
    throw new Verdict(
      'IMAGE_TOO_SMALL',
      `The image is ${width} × ${height}; both sides need ${MIN_SIDE} pixels.`,
    )
  }
  return {
    contentType,
    bytes,
    metadata,
    width,
    height,
    memory: weigh(bytes, original.length, kind, metadata, coded?.largest),
  }
}

/**
 * Bytes of memory that it takes to decode an image.
 *
 * @param size of the whole file, which is in memory too where `bytes` are only what shows
 * @param coded pixels of the largest picture within an AVIF or a HEIC
 * @throws Verdict TOO_MANY_PIXELS, CORRUPT_IMAGE
 */
function weigh(bytes: Buffer, size: number, kind: Kind, metadata: Metadata, coded = 0): number {
  const { width, height, channels, depth } = metadata
  const limit = MAX_PIXELS[kind]
  const isHeic = kind.endsWith('heic') || kind === 'heic of pieces'
  // What is cropped away, or only says how transparent the rest is, is decoded too.
  const pixels = Math.max(width * height, coded)
  if (pixels > limit) {
    throw tooMuch(`The image is ${width} × ${height}; ${kind} may have ${limit / 1e6} million pixels.`)
  }
  const memory = pixels * BYTES_PER_PIXEL[kind] + size * BYTES_PER_BYTE + (isHeic ? HEIC_THREAD_BYTES : 0)
  // Room for what is still larger is provided by whoever lets it be uploaded.
  if (memory - Math.max(0, size - ORIGINAL_BYTES) * BYTES_PER_BYTE > MAX_DECODE_BYTES) {
    const megabytes = Math.ceil(size / 1e6)
    throw tooMuch(
      `The image is ${width} × ${height} in ${megabytes} MB; ${kind} of so many bytes may have fewer pixels.`,
    )
  }
  if (kind === 'progressive jpeg' || kind === 'progressive cmyk jpeg') refuseManyScans(bytes, pixels)
  if (kind !== 'png') return memory
  const lineBytes = width * channels * (depth === 'ushort' ? 2 : 1)
  const lines = bytesOfLines(lineBytes, height, renditionSize(width, height).height < height)
  if (lines > DECODE_BYTES) throw tooMuch(`The image is ${width} × ${height}; its lines are too long.`)
  return Math.max(memory, lines)
}

/**
 * A picture that takes too long is a verdict on it, although the machine has a part in it: tried again, it would take as
 * long, and hold up its neighbours each time. Whoever knows better can ask for another run (POST /images/{id}/retry).
 */
const inTimeOf =
  ({ decodeSeconds = DECODE_SECONDS }: AppraiseOptions): InTime =>
  (work) =>
    within(
      decodeSeconds,
      () => new Verdict('CORRUPT_IMAGE', `The image cannot be decoded within ${decodeSeconds} seconds.`),
      work,
      () => decodes.running,
    )
type InTime = <T>(work: Promise<T>) => Promise<T>

/** Files of real cameras carry faults that decoders mend; what makes them guess at pixels is a warning. */
const INPUT = { failOn: 'warning', limitInputChannels: MAX_CHANNELS, pages: 1 } as const

const open = (bytes: Buffer, options: SharpOptions = {}): Sharp =>
  // The caps per kind are checked first; this one holds where a header lies about the size.
  sharp(bytes, { ...INPUT, ...options, limitInputPixels: MAX_PIXELS.jpeg, sequentialRead: true })
    // So that the thread of an image that has been given up is free again, at the next line.
    .timeout({ seconds: PIPELINE_SECONDS })

const HEIF_CODINGS: Record<string, string> = { av1: 'avif', hevc: 'heic' }

async function readMetadata(bytes: Buffer, contentType: ContentType): Promise<Metadata> {
  // Without a limit on pixels: the header is all that is read here, and its size is the answer.
  // A telephone's 48 megapixels are more pieces than libheif takes without `unlimited`, and `prepare` has counted them.
  const unlimited = contentType === 'image/heic'
  const metadata = await sharp(bytes, { ...INPUT, limitInputPixels: false, unlimited })
    .metadata()
    .catch((error) => {
      throw corrupt(error)
    })
  const { compression = '' } = metadata
  const format = metadata.format === 'heif' ? HEIF_CODINGS[compression] : metadata.format
  if (`image/${format}` !== contentType) {
    throw new Verdict('UNSUPPORTED_FORMAT', `The file begins as ${contentType} but is something else.`)
  }
  return metadata
}

async function decode(picture: Sharp): Promise<{ data: Buffer; info: OutputInfo }> {
  const began = performance.now()
  try {
    return await picture.toBuffer({ resolveWithObject: true })
  } catch (error) {
    // Stopped by the time of day, and not given up before: it is the machine that has too much to do.
    if (performance.now() - began >= PIPELINE_SECONDS * 1_000) throw error
    throw corrupt(error)
  }
}

/** How sharp says that an image cannot be decoded: by a plain Error, which none of our own faults is. */
export const isDecoderError = (error: unknown): boolean => Object.getPrototypeOf(error) === Error.prototype

/** @returns a Verdict where it is the image that is at fault */
const corrupt = (cause: unknown): unknown => (isDecoderError(cause) ? damaged(cause) : cause)

const damaged = (cause: unknown): Verdict =>
  new Verdict('CORRUPT_IMAGE', 'The image cannot be decoded: its data is damaged or cut off.', cause)

/** Pixels of a piece that is small beside the picture: those of telephones have 512 × 512 or 1024 × 1024. */
const MAX_PIECE = 1_100_000

/** @param piece pixels of the largest picture within a HEIC that is coded in one piece */
function kindOf(contentType: ContentType, metadata: Metadata, piece = 0): Kind {
  const { isProgressive, space, orientation = 1, bitsPerSample = 8 } = metadata
  if (contentType === 'image/jpeg') {
    if (!isProgressive) return 'jpeg'
    return space === 'cmyk' ? 'progressive cmyk jpeg' : 'progressive jpeg'
  }
  // Its last line may be needed first.
  if (contentType === 'image/png')
    return isProgressive || orientation > 1 ? 'interlaced or turned png' : 'png'
  if (contentType === 'image/avif') return bitsPerSample > 8 ? 'deep avif' : 'avif'
  if (contentType === 'image/heic') {
    if (bitsPerSample > 8 || metadata.hasAlpha) return 'deep or transparent heic'
    return piece <= MAX_PIECE ? 'heic of pieces' : 'heic'
  }
  return contentType === 'image/webp' ? 'webp' : 'gif'
}

/** EXIF orientations 5 to 8 lie on their side. */
function upright({ width, height, orientation = 1 }: Metadata): { width: number; height: number } {
  return orientation >= 5 ? { width: height, height: width } : { width, height }
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

const fromPixels = ({ data, info: { width, height, channels } }: Pixels): Sharp =>
  sharp(data, { raw: { width, height, channels } }).timeout({ seconds: PIPELINE_SECONDS })

/**
 * The longer side by the shorter one above which a thumbnail shows the part that the eye goes to. It costs 5 ms of the
 * processor, a tenth of what a picture of 12 megapixels takes; where less than a quarter is cut off, the middle will do.
 */
const ELONGATED = 4 / 3 + 0.01

interface Pixels {
  data: Buffer
  info: Pick<OutputInfo, 'width' | 'height' | 'channels'>
}

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

/**
 * Asks libvips itself, since a wrong name among the blocked loaders, or a libvips that names its loaders otherwise, makes
 * no error. It takes 1 to 3 ms.
 */
async function refuseStrangers(): Promise<void> {
  const strangers = {
    SVG: '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    PDF: '%PDF-1.0\n1 0 obj<</Pages 2 0 R>>endobj 2 0 obj<</Kids[3 0 R]/Count 1>>endobj 3 0 obj<</MediaBox[0 0 9 9]>>endobj trailer<</Root 1 0 R>>',
    PPM: 'P6 1 1 255\nrgb',
    'Radiance HDR': '#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 1\nrgbe',
    // One grey pixel: width, height, bits, photometric, offset of the strip, its length.
    TIFF: 'II*\0\b\0\0\0\x06\0\0\x01\x03\0\x01\0\0\0\x01\0\0\0\x01\x01\x03\0\x01\0\0\0\x01\0\0\0\x02\x01\x03\0\x01\0\0\0\b\0\0\0\x06\x01\x03\0\x01\0\0\0\x01\0\0\0\x11\x01\x04\0\x01\0\0\0\b\0\0\0\x17\x01\x04\0\x01\0\0\0\x01\0\0\0\0\0\0\0',
  }
  const opened = await Promise.all(
    Object.entries(strangers).map(([name, file]) =>
      sharp(Buffer.from(file, 'latin1'))
        .metadata()
        .then(
          () => [name],
          () => [],
        ),
    ),
  )
  const reachable = opened.flat()
  if (reachable.length === 0) return
  throw new Error(
    `libvips ${sharp.versions.vips} would read ${reachable.join(', ')} from strangers, so no image is decoded. The versions of sharp and libvips are those of package-lock.json after "npm ci"; with others, see the list of loaders in worker/thumbnail.ts.`,
  )
}
