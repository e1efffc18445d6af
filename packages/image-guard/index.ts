export type { Appraisal } from './appraise.ts'
export { avifPixels, heicPixels } from './avif.ts'
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
export { createDecoder, type Decoder } from './decoder.ts'
export { readExif } from './exif.ts'
export { createGarbageCollection } from './garbage.ts'
export { decodeHeic, demandHeicDecoder } from './heic.ts'
export { isDecoderError } from './libvips.ts'
export { Refusal } from './limits.ts'
export { blankPosition } from './position.ts'
export { isOfCommonCoding, prepare } from './prepare.ts'
export { within } from './processor-time.ts'
export {
  createRender,
  isRendition,
  type Render,
  type Rendered,
  type Source,
  THUMBNAIL_SIDE,
} from './render.ts'
