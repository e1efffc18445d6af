export type Kind =
  | 'jpeg'
  | 'progressive jpeg'
  | 'progressive cmyk jpeg'
  | 'png'
  | 'interlaced or turned png'
  | 'webp'
  | 'gif'
  | 'avif'
  | 'deep avif'
  | 'heic of pieces'
  | 'heic'
  | 'deep or transparent heic'

/**
 * Bytes of memory that all decodes under way may take together. One image may take them all. With Node and libvips
 * (100 MB) and originals, a worker stays under 700 MB: `npm run bench -- decode-memory worker-memory`.
 */
export const DECODE_BYTES = 500_000_000

/**
 * Bytes of originals that are in memory together, from before they are fetched until they have been decoded; a larger one
 * is there alone. It is as much as one of the largest uploads has, and more than ten images of POST /images, so that
 * these never wait for each other.
 */
export const ORIGINAL_BYTES = 50_000_000

/**
 * Bytes of memory per pixel while an image of each kind is decoded: the worst of its variants as
 * `npm run bench -- decode-memory` measured them, rounded up. Baseline JPEG, PNG and most WebP are read line by line.
 */
export const BYTES_PER_PIXEL: Record<Kind, number> = {
  jpeg: 0.5,
  'progressive jpeg': 6.5,
  'progressive cmyk jpeg': 11.5,
  png: 1.8,
  'interlaced or turned png': 9.2,
  webp: 8,
  gif: 6,
  avif: 20,
  'deep avif': 27,
  'heic of pieces': 9,
  // Those in one piece by files of x265, 2600 × 2600 and 4300 × 4300: 4:2:0 takes 10.2, 4:4:4 14.6, that with 10 bits 27.
  heic: 15,
  'deep or transparent heic': 28,
}
/** What the thread of a HEIC takes before there is a pixel: V8's own, and the 17 MB with which libheif begins. */
export const HEIC_THREAD_BYTES = 40_000_000
/** Decoders keep a copy of the file, or of its parts, and sometimes another; and the file before may still be there. */
export const BYTES_PER_BYTE = 3
/** What one image may take. MAX_PIXELS fill DECODE_BYTES; this leaves room for such a picture by POST /images, 3 × 4.5 MB. */
export const MAX_DECODE_BYTES = DECODE_BYTES + 15_000_000

/**
 * The most pixels of each kind: what DECODE_BYTES has room for, and never more than one core decodes in 5 seconds.
 * 250 million are for the 200-megapixel JPEGs of telephones; Rekognition's own 10,000 × 10,000 for the rest.
 */
export const MAX_PIXELS: Record<Kind, number> = {
  jpeg: 250_000_000, //                     × 0.5  = 125 MB
  'progressive jpeg': 76_000_000, //        × 6.5  = 494 MB
  'progressive cmyk jpeg': 43_000_000, //   × 11.5 = 495 MB
  png: 100_000_000, //                      × 1.8  = 180 MB
  'interlaced or turned png': 54_000_000, // × 9.2 = 497 MB
  webp: 60_000_000, //                      × 8    = 480 MB
  gif: 83_000_000, //                       × 6    = 498 MB
  avif: 25_000_000, //                      × 20   = 500 MB
  'deep avif': 18_500_000, //               × 27   = 500 MB
  'heic of pieces': 50_000_000, //          × 9    = 450 MB
  heic: 30_000_000, //                      × 15   = 450 MB
  'deep or transparent heic': 16_000_000, // × 28  = 448 MB
}

/**
 * Bytes of memory for the lines of a PNG while it is read from top to bottom. libvips holds up to 1,300 of them; of a
 * strip all, twice where it is made narrower only, and up to six times where it is made lower as well. Glibc keeps as
 * much again for the next one. (Measured; 4 MB of a strip of 1,000,000 × 100 with 16 bits and alpha would take 3 GB.)
 */
export const bytesOfLines = (lineBytes: number, height: number, lower: boolean): number =>
  lineBytes * Math.min(2_800, height * (lower ? 12 : 2))

/** CMYK, or colour and transparency. */
export const MAX_CHANNELS = 4
/**
 * Seconds of the processor that a decode may have before its image is given up. The worst accepted image takes 5 s of one
 * core; the process itself may take as much in the meantime, and a processor of half the speed is allowed for.
 */
export const DECODE_SECONDS = 20
