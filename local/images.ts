import sharp from 'sharp'
import { type OpenImages, Unreadable } from '../packages/embedded-aws/index.ts'
import { decodes } from '../packages/image-guard/budget.ts'
import { formatOf } from '../packages/image-guard/format.ts'
import { isOfCommonCoding } from '../packages/image-guard/index.ts'
import { Verdict } from '../shared/image.ts'
import { type Appraisal, createDecoder, isDecoderError } from '../worker/thumbnail.ts'

/** Images for the embedded Rekognition, judged and decoded as the worker does it. */
export function imageOpener(): OpenImages {
  const { appraise } = createDecoder()
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
    return { width, height, pixels: (side) => decode(image, isJpeg, side).catch(asUnreadable) }
  }
}

function asUnreadable(error: unknown): never {
  const code = error instanceof Verdict ? error.failure.code : undefined
  if (code === undefined && !isDecoderError(error)) throw error
  const why = code === 'IMAGE_TOO_SMALL' ? 'too small' : 'format'
  throw new Unreadable(code === 'TOO_MANY_PIXELS' ? 'too many pixels' : why)
}

/**
 * At most so many pixels a side; a JPEG is shrunk while it is loaded, which makes megapixels cheap. Transparency becomes
 * white. It takes its turn among the worker's decodes, which are likely to be in this process; and since no decode waits
 * for anything else, and no worker for Rekognition while it decodes, turns always come.
 */
const decode = ({ bytes, memory }: Appraisal, useExif: boolean, side: number) =>
  decodes.run(memory, async () => {
    const image = sharp(bytes, { failOn: 'warning', sequentialRead: true })
    const { data, info } = await (useExif ? image.autoOrient() : image)
      .flatten({ background: 'white' })
      .resize(side, side, { fit: 'inside', withoutEnlargement: true })
      .toColourspace('srgb')
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true })
    return { data, width: info.width, height: info.height }
  })
