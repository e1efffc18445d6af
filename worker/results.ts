import type { Image as RekognitionImage } from '@aws-sdk/client-rekognition'
import * as z from 'zod'
import { isRendition, type Rendered, readExif, THUMBNAIL_SIDE } from '../packages/image-guard/index.ts'
import {
  ANSWERS,
  type AnalysisName,
  type Answers,
  analysisKey,
  analysisSchema,
  type FinishedImage,
  type Image,
  type ImageId,
  type Kept,
  type Metadata,
  PAID_ANALYSES,
  type PaidAnalysis,
  type PaidCalls,
  type ProcessingImage,
  paidAnalyses,
  previewKey,
  type Stored,
  type Trouble,
  thumbnailKey,
} from '../shared/image.ts'
import { indexLabels } from '../shared/labels.ts'
import { getImage, markAnnounced, packResults } from '../shared/lifecycle.ts'
import { runOf, say } from '../shared/log.ts'
import { keepExhausted } from '../shared/messages.ts'
import { bytesKey } from '../shared/table.ts'
import { outline, type Time } from './analysis.ts'
import type { ProcessDeps, WorkerDeps } from './deps.ts'
import { put, read } from './original.ts'

/**
 * Bytes of JSON that the results in an item may have. DynamoDB takes items of 400 KB, counted more tightly than JSON
 * is written (names and values without quotes); the rest of a record is under 20 KB.
 */
export const MAX_RESULT_BYTES = 350_000

/** What an image's own file says, of what was asked for; so it never comes from another image. */
function metadataOf(
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

/** Characters of an error's message in a record. */
const MAX_SAID = 300
/** The name is for callers too. A name of Node's own errors is in `code`, and some libraries have none but Error. */
const nameOf = (error: unknown): string => {
  const { code, name }: NodeJS.ErrnoException = Object(error)
  const isName = (word: unknown) => word !== 'Error' && /^[A-Z][A-Za-z_]{2,63}$/.test(String(word))
  return [code, name].find(isName) ?? 'an unexpected error'
}

/** What the record has of the trouble of an attempt; of an attempt that does not count, that of the one before. */
export function troubleOf(
  { attempts: attempt, trouble }: ProcessingImage,
  why: { kind: string; error?: unknown },
  isFree: boolean,
): { trouble?: Trouble } {
  if (isFree) return trouble?.attempt === attempt - 1 ? { trouble: { ...trouble, attempt } } : {}
  // Without an error it has the name of its line in the log, as in OutOfTime.
  const kind = why.kind.replaceAll(/(?:^| )(.)/g, (_, letter: string) => letter.toUpperCase())
  const { error = { name: kind, message: `The attempt ended: ${why.kind}.` } } = why
  const message = String(Object(error).message)
    .replaceAll(/\p{Cc}+/gu, ' ')
    .slice(0, MAX_SAID)
  return { trouble: { attempt, name: nameOf(error), message } }
}

/** An original that was decoded to its last pixel. */
export interface Picture {
  takesOriginal: boolean
  /** Stores what is made of it, where that is not done yet. */
  store: () => Promise<Stored>
  /** What Rekognition gets. */
  sent: () => Promise<RekognitionImage>
  /** What it gets where it refuses that. */
  inJpeg: () => Promise<RekognitionImage>
}

/** An object that Rekognition reads itself. */
export const inS3 = ({ bucket, key }: { bucket: string; key: string }): RekognitionImage => ({
  S3Object: { Bucket: bucket, Name: key },
})

/** Stores what is made of an original. */
export async function storePictures(
  deps: ProcessDeps,
  image: ProcessingImage,
  {
    thumbnail,
    preview,
    takesOriginal,
    exif,
  }: Pick<Rendered, 'thumbnail' | 'preview' | 'takesOriginal' | 'exif'>,
  time: Time,
): Promise<Stored> {
  const { imageId, original } = image
  const [stored, previewed] = await Promise.allSettled([
    put(deps, thumbnailKey(imageId), thumbnail, 'image/jpeg', time),
    preview && put(deps, previewKey(imageId), preview.bytes, 'image/jpeg', time),
  ])
  if (stored.status === 'rejected') throw stored.reason
  if (previewed.status === 'rejected') throw previewed.reason
  const metadata = metadataOf(deps, image, exif)
  return {
    original,
    takesOriginal,
    thumbnail: { ...stored.value, width: THUMBNAIL_SIDE, height: THUMBNAIL_SIDE },
    ...(preview &&
      previewed.value && {
        preview: { ...previewed.value, width: preview.width, height: preview.height },
      }),
    ...(metadata === undefined ? {} : { metadata }),
  }
}

/**
 * What an attempt before has made of the same original and stored: this one needs no byte of it, where Rekognition reads objects.
 *
 * @param again what is fetched where it does not, or takes no preview
 */
export function storedPicture(
  deps: ProcessDeps,
  stored: Stored,
  again: Record<'original' | 'jpeg', () => Promise<Buffer>>,
): Picture {
  const { original, preview, takesOriginal } = stored
  const isRead = deps.rekognitionSource === 's3'
  const inJpeg = async (): Promise<RekognitionImage> =>
    isRead && preview !== undefined && isRendition(preview) ? inS3(preview) : { Bytes: await again.jpeg() }
  const whole = async (): Promise<RekognitionImage> =>
    isRead ? inS3(original) : { Bytes: await again.original() }
  const store = async () => withoutPosition(deps, stored)
  return { takesOriginal, store, sent: takesOriginal ? whole : inJpeg, inJpeg }
}

/** The position may have been read before the switch was set. */
function withoutPosition({ stripGps }: ProcessDeps, stored: Stored): Stored {
  if (!stripGps || stored.metadata?.gps === undefined) return stored
  const { gps: _, ...metadata } = stored.metadata
  return { ...stored, metadata }
}

type Results = Pick<ProcessDeps, 'now' | 'analysisSource' | 'read'>

/** Seconds for which results count for the same bytes (30 days): Rekognition's models change. */
const RESULTS_LIFETIME_SECONDS = 2_592_000

/** By owner, so that no caller finds out what others have submitted. */
const sameBytesKey = (
  { analysisSource }: Pick<ProcessDeps, 'analysisSource'>,
  { owner, original }: Image,
  found: readonly string[],
): string => bytesKey([owner, original.sha256, found.toSorted(), analysisSource])

/** What results are of. Those without faces are none for an image that is to have them. */
const foundBy = (names: readonly PaidAnalysis[], facesSkipped = false): string[] =>
  names.map((name) => (name === 'faces' && facesSkipped ? 'faces-when-person' : name))

/** What results may be of that have all that an image asks for: no more first. */
function enoughFor(analyses: AnalysisName[]): string[][] {
  const wanted = paidAnalyses(analyses)
  const sets = [wanted]
  for (const name of PAID_ANALYSES)
    if (!wanted.includes(name)) sets.push(...sets.map((set) => [...set, name]))
  const needsFaces = wanted.includes('faces') && !analyses.includes('faces-when-person')
  return sets.flatMap((set) =>
    set.includes('faces') && !needsFaces ? [foundBy(set), foundBy(set, true)] : [foundBy(set)],
  )
}

/** @returns asks for a finished image of the same owner with the same bytes and all the paid analyses; it may be gone */
export function findSameBytes(deps: Results, image: Image): () => Promise<string | undefined> {
  const reads = enoughFor(image.analyses).map((found) => deps.read(sameBytesKey(deps, image, found)))
  return async () => {
    const items = await Promise.all(reads.map((read) => read()))
    const now = deps.now().getTime()
    const known = items.map((item) => bytesSchema.optional().parse(item))
    return known.find((item) => item !== undefined && item.expiresAt * 1_000 >= now)?.target
  }
}
const bytesSchema = z.object({ target: z.string(), expiresAt: z.number() })

/** What the table is to remember of a finished image: whose results the same bytes may have. Of results that were paid for. */
export function bytesOf(deps: Results, image: FinishedImage): Record<string, unknown>[] {
  const wasPaid = image.status === 'completed' && image.reused === undefined
  if (!wasPaid || paidAnalyses(image.analyses).length === 0) return []
  const found = foundBy(paidAnalyses(image.analyses), image.facesSkipped)
  const expiresAt = Math.floor(deps.now().getTime() / 1_000) + RESULTS_LIFETIME_SECONDS
  return [{ imageId: sameBytesKey(deps, image, found), target: image.imageId, expiresAt }]
}

/** @returns asks whose answers an image may have: with all images of the batch that are claimed by then */
export const lookUp = (deps: ProcessDeps, image: ProcessingImage): (() => Promise<string | undefined>) =>
  paidAnalyses(image.analyses).length === 0 ? async () => undefined : findSameBytes(deps, image)

/**
 * The answers for the same bytes, of the same owner, by the analyses that the image asks for: these are not paid for again.
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
  const { facesSkipped, ...answers } = analysisSchema.parse(
    whole === undefined ? other : JSON.parse(whole.toString()),
  )
  const names = paidAnalyses(image.analyses)
  const fields = names.flatMap((name) => Object.keys(ANSWERS[name].shape))
  return {
    ...Object.fromEntries(Object.entries(answers).filter(([field]) => fields.includes(field))),
    ...(facesSkipped && names.includes('faces') && { facesSkipped }),
  }
}

/** Results that are too large for an item go into an object, whole; the item keeps what lists and events show. */
export async function fitItem(
  deps: ProcessDeps,
  imageId: ImageId,
  answers: Answers,
  time: Time,
): Promise<object> {
  const whole = Buffer.from(JSON.stringify(answers))
  if (whole.length <= MAX_RESULT_BYTES)
    return { ...(deps.packResults ? packResults(answers) : answers), ...outline(answers) }
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

export type Announce = (image: FinishedImage) => Promise<void>

/**
 * Has a finished image found and announced: again unless the record has the announcement, because one before may have been lost.
 *
 * @returns why it is not announced
 */
export async function announceOnce(
  deps: WorkerDeps,
  image: FinishedImage,
  announce: Announce,
): Promise<{ error: unknown } | undefined> {
  if (image.announced === image.epoch) return undefined
  const from = deps.elapsed()
  // Before the event, so that a subscriber's search finds it.
  await indexLabels(deps, image, deps.knownNames, bytesOf(deps, image))
  const refused = await announce(image).then(
    () => undefined,
    (error) => ({ error }),
  )
  if (refused !== undefined) return refused
  await keepExhausted(deps, image)
  await markAnnounced(deps, image)
  const announceMs = Math.round(deps.elapsed() - from)
  say(deps.log, 'announced', { ...runOf(image), outcome: image.status, announceMs })
  return undefined
}
