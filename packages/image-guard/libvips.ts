import sharp, { type Metadata, type OutputInfo, type Sharp, type SharpOptions } from 'sharp'
import { MAX_CHANNELS, MAX_PIXELS } from './costs.ts'
import { Refusal } from './limits.ts'

/** Pixels that libvips has decoded, or takes as they are. */
export interface Pixels {
  data: Buffer
  info: Pick<OutputInfo, 'width' | 'height' | 'channels'>
}

let isSetUp = false

/** Sets libvips up, once in a process: to block loaders again would fail the images that are being opened. */
export function setUpLibvips(): void {
  if (isSetUp) return
  isSetUp = true
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
}

/**
 * Asks libvips itself, since a wrong name among the blocked loaders, or a libvips that names its loaders otherwise, makes
 * no error. It takes 1 to 3 ms.
 */
export async function refuseOtherFormats(): Promise<void> {
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
    `libvips ${sharp.versions.vips} would read more formats than this program allows (${reachable.join(', ')}), so no image is decoded. Run "npm ci" for the versions of sharp and libvips in package-lock.json; for others, mend the list of loaders in packages/image-guard/libvips.ts.`,
  )
}

/** Seconds, by the clock, after which libvips stops between two lines: as long as an invocation. */
const PIPELINE_SECONDS = 60

/** Files of real cameras carry faults that decoders mend; what makes them guess at pixels is a warning. */
const INPUT = { failOn: 'warning', limitInputChannels: MAX_CHANNELS, pages: 1 } as const

export const open = (bytes: Buffer, options: SharpOptions = {}): Sharp =>
  // The caps per kind are checked first; this one holds where a header lies about the size.
  sharp(bytes, { ...INPUT, ...options, limitInputPixels: MAX_PIXELS.jpeg, sequentialRead: true })
    // So that the thread of an image that has been given up is free again, at the next line.
    .timeout({ seconds: PIPELINE_SECONDS })

/** The picture of such pixels. */
export const fromPixels = ({ data, info: { width, height, channels } }: Pixels): Sharp =>
  sharp(data, { raw: { width, height, channels } }).timeout({ seconds: PIPELINE_SECONDS })

/** @throws Refusal CORRUPT_IMAGE; Error where the machine has too much to do, or too little memory or threads */
export async function decode(picture: Sharp): Promise<Pixels> {
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

/**
 * How libvips, libjpeg and GLib say that this process gets no more memory, or no more threads; sharp has no code for it. What
 * libpng calls so may be a limit of its own, which a file can exceed.
 */
const IS_SHORT = /^vips_\w+: out of memory|Insufficient memory \(case [24]\)|^glib: Error creating thread/

/** @returns a Refusal where it is the image that is at fault */
const corrupt = (cause: unknown): unknown =>
  isDecoderError(cause) && !IS_SHORT.test((cause as Error).message) ? damaged(cause) : cause

export const damaged = (cause: unknown): Refusal =>
  new Refusal('CORRUPT_IMAGE', 'The image cannot be decoded: its data is damaged or cut off.', cause)

/**
 * Without a limit on pixels: the header is all that is read here, and its size is the answer.
 *
 * @throws Refusal CORRUPT_IMAGE
 */
export const headerOf = (bytes: Buffer, unlimited = false): Promise<Metadata> =>
  sharp(bytes, { ...INPUT, limitInputPixels: false, unlimited })
    .metadata()
    .catch((error) => {
      throw corrupt(error)
    })
