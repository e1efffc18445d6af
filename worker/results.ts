import { readExif } from '../packages/image-guard/index.ts'
import {
  type Answers,
  analysisKey,
  analysisSchema,
  type ImageId,
  type Kept,
  type Metadata,
  PAID_ANALYSES,
  type PaidCalls,
  type ProcessingImage,
  paidAnalyses,
  type Stored,
} from '../shared/image.ts'
import { findSameBytes, getImage } from '../shared/lifecycle.ts'
import { outline, type Time } from './analysis.ts'
import type { ProcessDeps } from './deps.ts'
import { put, read } from './original.ts'

/**
 * Bytes of JSON that the results in an item may have. DynamoDB takes items of 400 KB, counted more tightly than JSON
 * is written (names and values without quotes); the rest of a record is under 20 KB.
 */
export const MAX_RESULT_BYTES = 350_000

/** What an image's own file says, of what was asked for; so it never comes from another image. */
export function metadataOf(
  { stripGps }: ProcessDeps,
  { analyses }: ProcessingImage,
  exif: Buffer | undefined,
): Metadata | undefined {
  if (!analyses.includes('metadata')) return undefined
  // An original that was stored before the switch was set has its position still.
  return exif === undefined ? {} : readExif(exif, { gps: analyses.includes('gps') && !stripGps })
}

/** @returns what the run of an image has paid for by now, with the answers that this attempt was the first to get */
export const paidCallsOf = ({ paidCalls = {}, kept: before = {} }: ProcessingImage, kept: Kept): PaidCalls =>
  Object.fromEntries(
    PAID_ANALYSES.map((name): [string, number] => {
      const isNew = kept[name] !== undefined && before[name] === undefined
      return [name, (paidCalls[name] ?? 0) + (isNew ? 1 : 0)]
    }).filter(([, calls]) => calls > 0),
  )

/** What an attempt before has stored, without a position that it read before the switch was set. */
export function withoutPosition({ stripGps }: ProcessDeps, stored: Stored): Stored {
  if (!stripGps || stored.metadata?.gps === undefined) return stored
  const { gps: _, ...metadata } = stored.metadata
  return { ...stored, metadata }
}

/** @returns asks whose answers an image may have: with all images of the batch that are claimed by then */
export const lookUp = (deps: ProcessDeps, image: ProcessingImage): (() => Promise<string | undefined>) =>
  paidAnalyses(image.analyses).length === 0 ? async () => undefined : findSameBytes(deps, image)

/**
 * The answers for the same bytes, of the same owner and by the same analyses: these are not paid for again.
 *
 * @param imageId what `lookUp` says
 */
export async function knownAnswers(
  deps: ProcessDeps,
  image: ProcessingImage,
  imageId: string | undefined,
): Promise<Answers | undefined> {
  const other = imageId === undefined ? undefined : await getImage(deps, imageId)
  if (other?.status !== 'completed' || other.owner !== image.owner) return undefined
  // Until DynamoDB deletes it, an expired image is there for no caller.
  if (other.expiresAt !== undefined && other.expiresAt * 1_000 <= deps.now().getTime()) return undefined
  // Its object may have been deleted; then these bytes are analysed again.
  const whole = other.analysis === undefined ? undefined : await read(deps, other.analysis.key)
  if (other.analysis !== undefined && whole === undefined) return undefined
  return analysisSchema.parse(whole === undefined ? other : JSON.parse(whole.toString()))
}

/** Results that are too large for an item go into an object, whole; the item keeps what lists and events show. */
export async function fitItem(
  deps: ProcessDeps,
  imageId: ImageId,
  answers: Answers,
  time: Time,
): Promise<Answers & { analysis?: object }> {
  const whole = Buffer.from(JSON.stringify(answers))
  if (whole.length <= MAX_RESULT_BYTES) return { ...answers, ...outline(answers) }
  const { rekognitionLabels, rekognitionFaces, rekognitionTextDetections: _text, ...small } = answers
  return {
    ...small,
    ...outline(answers),
    ...(rekognitionLabels && {
      rekognitionLabels: rekognitionLabels.map(({ Name, Confidence }) => ({ Name, Confidence })),
    }),
    ...(rekognitionFaces && {
      rekognitionFaces: rekognitionFaces.map(({ BoundingBox, Confidence, Emotions }) => ({
        BoundingBox,
        Confidence,
        Emotions,
      })),
    }),
    analysis: await put(deps, analysisKey(imageId), whole, 'application/json', time),
  }
}
