import sharp from 'sharp'
import { type OpenImages, Unreadable } from '../packages/embedded-aws/index.ts'
import { formatOf } from '../packages/image-guard/format.ts'
import {
  type Appraisal,
  createDecoder,
  type Decoder,
  isDecoderError,
  isOfCommonCoding,
  Refusal,
} from '../packages/image-guard/index.ts'

/**
 * Images for the embedded Rekognition, judged and decoded as the worker does it.
 *
 * @param decoder the worker's, where the worker is in this process: no decode waits for anything but its turn, and no
 *   worker for Rekognition while it decodes, so turns always come
 */
export function imageOpener({ appraise, decodes }: Decoder = createDecoder()): OpenImages {
  return async (bytes) => {
    const contentType = formatOf(bytes)?.contentType
    if (contentType !== 'image/jpeg' && contentType !== 'image/png') throw new Unreadable('format')
    // The real service is said to refuse these, though sharp decodes them. Whether it refuses 16 bits a channel is not
    // documented; here they are measured.
    if (!isOfCommonCoding(bytes, contentType)) throw new Unreadable('format')
    const isJpeg = contentType === 'image/jpeg'
    const image = await appraise(bytes).catch(asUnreadable)
    // As Rekognition: boxes fit the upright picture of a JPEG; the orientation of a PNG is ignored.
    const { width, height } = isJpeg ? image : image.metadata
    return {
      width,
      height,
      pixels: (side) => decodes.run(image.memory, () => decode(image, isJpeg, side)).catch(asUnreadable),
    }
  }
}

function asUnreadable(error: unknown): never {
  const code = error instanceof Refusal ? error.code : undefined
  if (code === undefined && !isDecoderError(error)) throw error
  const why = code === 'IMAGE_TOO_SMALL' ? 'too small' : 'format'
  throw new Unreadable(code === 'TOO_MANY_PIXELS' ? 'too many pixels' : why)
}

/**
 * At most so many pixels a side; a JPEG is shrunk while it is loaded, which makes megapixels cheap. Transparency becomes
 * white.
 */
async function decode({ bytes }: Appraisal, useExif: boolean, side: number) {
  const image = sharp(bytes, { failOn: 'warning', sequentialRead: true })
  const { data, info } = await (useExif ? image.autoOrient() : image)
    .flatten({ background: 'white' })
    .resize(side, side, { fit: 'inside', withoutEnlargement: true })
    .toColourspace('srgb')
    .raw({ depth: 'uchar' })
    .toBuffer({ resolveWithObject: true })
  return { data, width: info.width, height: info.height }
}
