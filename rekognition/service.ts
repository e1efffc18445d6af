import { existsSync } from 'node:fs'
import { GetObjectCommand, NoSuchBucket, NoSuchKey, type S3Client } from '@aws-sdk/client-s3'
import sharp from 'sharp'
import {
  createRekognition as createService,
  type JsonService,
  MAX_S3_BYTES,
  type OpenImages,
  type RekognitionOptions,
  startService,
  Unreadable,
} from '../packages/embedded-aws/index.ts'
import { formatOf } from '../packages/image-guard/format.ts'
import {
  type Appraisal,
  createDecoder,
  type Decoder,
  isDecoderError,
  isOfCommonCoding,
  Refusal,
} from '../packages/image-guard/index.ts'
import {
  createVision,
  hasModeration,
  isInstalled,
  MODERATION_MODEL_VERSION,
  type ModelsEnvironment,
  modelsFolder,
  NotUsable,
  readInstalled,
  TEXT_MODEL_VERSION,
  titleOf,
  type Vision,
} from '../packages/vision/index.ts'
import { StartError } from '../shared/machine.ts'

/** Who answers as Rekognition, and how fast. */
export type StandInOptions = Omit<RekognitionOptions, 'readObject' | 'openImage'> &
  Partial<Pick<RekognitionOptions, 'openImage'>>

/** The embedded Rekognition, with the worker's eyes. */
export const createRekognition = (
  options: StandInOptions & Pick<RekognitionOptions, 'readObject'>,
): JsonService => createService({ openImage: imageOpener(), ...options })

/** Rekognition alone, for a system whose other services are elsewhere. */
export const startRekognition = ({
  readObject,
  rekognition,
  ...port
}: Pick<Parameters<typeof startService>[0], 'port' | 'host' | 'allowedHosts'> &
  Pick<RekognitionOptions, 'readObject'> & { rekognition: StandInOptions }): ReturnType<
  typeof startService
> =>
  startService({
    ...port,
    name: 'RekognitionService',
    service: createRekognition({ readObject, ...rekognition }),
  })

/** Who answers as Rekognition on this machine: open models, or the stand-in, which measures pixels. */
export const STAND_IN = 'the stand-in'
export const LOCAL_MODELS = 'local models'

/** What people are to know of them. */
export const describe = (who: string): string =>
  who === STAND_IN
    ? 'measures pixels'
    : `things, animals, scenes, faces, expressions, text${hasModeration() ? ', moderation' : ''}`

/** @returns the same for npm start, with how to have another; empty where there is no more to say */
export function explain(who: string): string {
  if (who === STAND_IN) return ` (${describe(who)}; REKOGNITION=aws uses the real service)`
  if (!who.startsWith(LOCAL_MODELS)) return ''
  return ` (${describe(who)}; REKOGNITION=stand-in measures pixels, aws uses the real service)`
}

/**
 * @param env names the folder of models that people have added
 * @returns the models, and how to name them; undefined where they cannot be used, and then it is said
 * @throws StartError
 */
export function openVision(
  env: ModelsEnvironment,
  warn: (sentence: string) => void,
): { vision: Vision; who: string } | undefined {
  const folder = modelsFolder(env)
  if (env.VISION_MODELS && !existsSync(folder))
    throw new StartError(
      `There are no models at ${folder}; set VISION_MODELS to a folder that is there, or leave it out.`,
    )
  if (!isInstalled()) {
    warn('The models are not installed, so the stand-in measures pixels; "npm ci" installs them.')
    return undefined
  }
  try {
    const added = readInstalled(folder)
    const titles = added.map(({ manifest }) => titleOf(manifest))
    return { vision: createVision({ added }), who: [LOCAL_MODELS, ...titles].join(' and ') }
  } catch (error) {
    if (!(error instanceof NotUsable)) throw error
    warn(lostVisionMessage(error.message))
    return undefined
  }
}

export const ALL_MODELS = 'all models'
const lostVisionMessage = (why: string): string =>
  `The models cannot be used, so the stand-in measures pixels from now on: ${why}`

/** @param lost gets the sentence, and what is lost: a model's version, or all of them */
export const sayWhatIsLost = (
  lost: (sentence: string, what: string) => void,
): Required<Pick<RekognitionOptions, 'onVisionLost' | 'onTextLost' | 'onModerationLost'>> => ({
  onVisionLost: (why) => lost(lostVisionMessage(why), ALL_MODELS),
  onTextLost: (why) =>
    lost(`The text models cannot be used, so no text is found from now on: ${why}`, TEXT_MODEL_VERSION),
  onModerationLost: (why) =>
    lost(
      `The moderation model cannot be used, so DetectModerationLabels finds nothing and names "stand-in" as its model: ${why}`,
      MODERATION_MODEL_VERSION,
    ),
})

/** One byte more than Rekognition takes is enough to be refused: a film need not fit into the memory. */
const Range = `bytes=0-${MAX_S3_BYTES}`

export async function readFromS3(s3: S3Client, bucket: string, key: string): Promise<Uint8Array | undefined> {
  try {
    const { Body } = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: key, Range }))
    return await Body?.transformToByteArray()
  } catch (error) {
    if (error instanceof NoSuchKey || error instanceof NoSuchBucket) return undefined
    throw error
  }
}

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
