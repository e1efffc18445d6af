import type { Metadata } from 'sharp'
import {
  BYTES_PER_BYTE,
  BYTES_PER_PIXEL,
  bytesOfLines,
  DECODE_BYTES,
  HEIC_THREAD_BYTES,
  type Kind,
  MAX_DECODE_BYTES,
  MAX_PIXELS,
  ORIGINAL_BYTES,
} from './costs.ts'
import { type ContentType, formatOf, refusalOf } from './format.ts'
import { refuseManyScans } from './jpeg.ts'
import { headerOf } from './libvips.ts'
import { Refusal } from './limits.ts'
import { prepare } from './prepare.ts'

/** Rekognition takes sides from 80 pixels on (Amazon Rekognition guidelines and quotas). */
export const MIN_SIDE = 80

export interface AppraiseOptions {
  /** Whether HEIC comes in. */
  heic?: boolean
  /** The most pixels of the longer side of what is made of the image; its shorter one stays MIN_SIDE at least. */
  longest?: number
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
  /** Bytes of memory that it takes to decode the image: its weight among the decodes. */
  memory: number
}

/** @param inTurn reads the header when it is its turn */
export async function appraise(
  original: Uint8Array,
  { heic = false, longest = MIN_SIDE }: AppraiseOptions,
  inTurn: (bytes: Buffer, read: () => Promise<Metadata>) => Promise<Metadata>,
): Promise<Appraisal> {
  const contentType = formatOf(original, heic)?.contentType
  if (contentType === undefined) {
    throw new Refusal('UNSUPPORTED_FORMAT', refusalOf(original, heic))
  }
  const { bytes, coded } = prepare(original, contentType)
  const metadata = await inTurn(bytes, () => readMetadata(bytes, contentType))
  const kind = kindOf(contentType, metadata, coded?.piece)
  const { width, height } = upright(metadata)
  if (Math.min(width, height) < MIN_SIDE) {
    throw new Refusal(
      'IMAGE_TOO_SMALL',
      `The image is ${width} × ${height}; each side needs at least ${MIN_SIDE} pixels.`,
    )
  }
  return {
    contentType,
    bytes,
    metadata,
    width,
    height,
    memory: weigh(bytes, original.length, kind, metadata, longest, coded?.largest),
  }
}

/**
 * Bytes of memory that it takes to decode an image.
 *
 * @param size of the whole file, which is in memory too where `bytes` are only what shows
 * @param longest as in the options
 * @param coded pixels of the largest picture within an AVIF or a HEIC
 * @throws Refusal TOO_MANY_PIXELS, CORRUPT_IMAGE
 */
function weigh(
  bytes: Buffer,
  size: number,
  kind: Kind,
  metadata: Metadata,
  longest: number,
  coded = 0,
): number {
  const { width, height, channels, depth } = metadata
  const limit = MAX_PIXELS[kind]
  const isHeic = kind.endsWith('heic') || kind === 'heic of pieces'
  // What is cropped away, or only says how transparent the rest is, is decoded too.
  const pixels = Math.max(width * height, coded)
  if (pixels > limit) {
    throw tooMuch(
      `The image is ${width} × ${height}; ${kind} may have at most ${limit / 1e6} million pixels.`,
    )
  }
  const memory = pixels * BYTES_PER_PIXEL[kind] + size * BYTES_PER_BYTE + (isHeic ? HEIC_THREAD_BYTES : 0)
  // Room for what is still larger is provided by the deployment that accepts it.
  if (memory - Math.max(0, size - ORIGINAL_BYTES) * BYTES_PER_BYTE > MAX_DECODE_BYTES) {
    const megabytes = Math.ceil(size / 1e6)
    throw tooMuch(
      `The image is ${width} × ${height} in ${megabytes} MB; ${kind} of that file size may not have so many pixels.`,
    )
  }
  if (kind === 'progressive jpeg' || kind === 'progressive cmyk jpeg') refuseManyScans(bytes, pixels)
  if (kind !== 'png') return memory
  const lineBytes = width * channels * (depth === 'ushort' ? 2 : 1)
  const isScaledDown = Math.max(width, height) > longest && height > MIN_SIDE
  const lines = bytesOfLines(lineBytes, height, isScaledDown)
  if (lines > DECODE_BYTES) throw tooMuch(`The image is ${width} × ${height}; that is too wide for a PNG.`)
  return Math.max(memory, lines)
}

const tooMuch = (message: string): Refusal => new Refusal('TOO_MANY_PIXELS', message)

const HEIF_CODINGS: Record<string, string> = { av1: 'avif', hevc: 'heic' }

async function readMetadata(bytes: Buffer, contentType: ContentType): Promise<Metadata> {
  // A telephone's 48 megapixels are more pieces than libheif takes without `unlimited`, and `prepare` has counted them.
  const unlimited = contentType === 'image/heic'
  const metadata = await headerOf(bytes, unlimited)
  const { compression = '' } = metadata
  const format = metadata.format === 'heif' ? HEIF_CODINGS[compression] : metadata.format
  if (`image/${format}` !== contentType) {
    throw new Refusal('UNSUPPORTED_FORMAT', `The file begins as ${contentType} but holds another format.`)
  }
  return metadata
}

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
