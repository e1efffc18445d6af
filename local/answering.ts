import { existsSync } from 'node:fs'
import { GetObjectCommand, NoSuchBucket, NoSuchKey, type S3Client } from '@aws-sdk/client-s3'
import { MAX_S3_BYTES } from '../packages/embedded-aws/index.ts'
import {
  createVision,
  hasModeration,
  isInstalled,
  type ModelsEnvironment,
  modelsFolder,
  NotUsable,
  readInstalled,
  titleOf,
  type Vision,
} from '../packages/vision/index.ts'
import { StartError } from './trouble.ts'

/** Who answers as Rekognition on this machine: open models, or the stand-in, which measures pixels. */
export const STAND_IN = 'the stand-in'
export const LOCAL_MODELS = 'local models'

/** What people are to know of them. */
export const describe = (who: string): string =>
  who === STAND_IN
    ? 'measures pixels'
    : `80 kinds of things, faces, expressions, text${hasModeration() ? ', moderation' : ''}`

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
  if (env.VISION_MODELS && !existsSync(folder)) throw new StartError(`There are no models at ${folder}.`)
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
    warn(visionIsLost(error.message))
    return undefined
  }
}

export const visionIsLost = (why: string): string =>
  `The models cannot be used, so the stand-in measures pixels from now on: ${why}`
export const textIsLost = (why: string): string =>
  `The models of text cannot be used, so no text is found from now on: ${why}`
export const moderationIsLost = (why: string): string =>
  `DetectModerationLabels looks for nothing and says so ("stand-in"): ${why}`

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
