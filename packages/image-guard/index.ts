export type { Appraisal, AppraiseOptions } from './appraise.ts'
export { MIN_SIDE } from './appraise.ts'
export { avifPixels, heicPixels } from './avif.ts'
export { isPremultiplied } from './avif-rewrite.ts'
export { Budget } from './budget.ts'
export {
  BYTES_PER_BYTE,
  BYTES_PER_PIXEL,
  DECODE_BYTES,
  DECODE_SECONDS,
  type Kind,
  MAX_DECODE_BYTES,
  MAX_PIXELS,
  ORIGINAL_BYTES,
} from './costs.ts'
export { createDecoder, type Decoder, type InTime } from './decoder.ts'
export { readExif } from './exif.ts'
export { createGarbageCollection } from './garbage.ts'
export { decodeHeic, demandHeicDecoder, Undecodable } from './heic.ts'
export { damaged, decode, fromPixels, headerOf, isDecoderError, open, type Pixels } from './libvips.ts'
export { Refusal } from './limits.ts'
export { tagged } from './png.ts'
export { blankPosition } from './position.ts'
export { isOfCommonCoding, prepare } from './prepare.ts'
export { within } from './processor-time.ts'
export { withScanMended } from './scan.ts'
