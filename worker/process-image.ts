import { randomUUID } from 'node:crypto'
import type { Image as RekognitionImage } from '@aws-sdk/client-rekognition'
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  NoSuchKey,
  NotFound,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3'
import {
  analysisKey,
  type FinishedImage,
  type ImageId,
  type Kept,
  objectKeys,
  type ProcessingImage,
  thumbnailKey,
  Verdict,
} from '../shared/image.ts'
import type { Job } from '../shared/job.ts'
import {
  claimImage,
  commitOutcome,
  getImage,
  type Outcome,
  type Records,
  releaseImage,
} from '../shared/records.ts'
import {
  type Analysis,
  analyse,
  ObjectUnreadable,
  type Rekognition,
  Throttled,
  type Time,
} from './analysis.ts'
import { type Rendered, THUMBNAIL_SIDE } from './thumbnail.ts'

export interface ProcessDeps extends Records, Rekognition {
  s3: S3Client
  bucket: string
  rekognitionSource: 's3' | 'bytes'
  /** Makes the thumbnail and, where Rekognition needs one, a rendition: `render` of thumbnail.ts. */
  render: (original: Buffer, source: 's3' | 'bytes', signal?: AbortSignal) => Promise<Rendered>
  /** Attempts after which transient trouble is taken for lasting. */
  maxAttempts: number
  log: {
    info: (message: string, extra: Record<string, unknown>) => void
    warn: (message: string, extra: Record<string, unknown>) => void
  }
}

/** Another worker is at this image; whoever asks should come back in `waitMs` milliseconds. */
export class Held extends Error {
  readonly waitMs: number
  constructor(waitMs: number) {
    super('Another worker holds the image.')
    this.name = 'Held'
    this.waitMs = waitMs
  }
}

/** Milliseconds by which the clocks of two workers may differ. */
const CLOCK_SKEW_MS = 2_000

/**
 * Bytes of JSON that the results in an item may have. DynamoDB takes items of 400 KB, counted more tightly than JSON
 * is written (names and values without quotes); all else in a record is under 20 KB.
 */
const MAX_RESULT_BYTES = 350_000

/**
 * One image from top to bottom: claim, fetch, render, analyse, commit. The caller announces what is returned, and
 * acknowledges the job only after: the job in the queue is what remembers an announcement that is still to come.
 *
 * @param deadline ms since 1970 at which this worker will be stopped
 * @returns the finished record to announce and whether it was so before; undefined when there is nothing to do
 * @throws Held, Throttled, the reason of `time.signal`, or what went wrong in the surroundings: deliver the job again
 */
export async function processImage(
  deps: ProcessDeps,
  job: Job,
  deadline: number,
  time: Time,
): Promise<{ image: FinishedImage; before: boolean } | undefined> {
  time.signal.throwIfAborted()
  const lease = { id: randomUUID(), until: deadline + CLOCK_SKEW_MS }
  const claim = await claimImage(deps, job, lease)
  if (claim.kind === 'replaced') return undefined
  if (claim.kind === 'deleted') {
    await removeLeftovers(deps, job.imageId)
    return undefined
  }
  if (claim.kind === 'finished') return { image: claim.image, before: true }
  if (claim.kind === 'held') throw new Held(claim.leaseUntil - deps.now().getTime())

  const { image } = claim
  const kept: Kept = { ...image.kept }
  try {
    if (image.attempts - (image.throttled ?? 0) > deps.maxAttempts) {
      const message = `The image was not analysed in ${deps.maxAttempts} attempts; try again later.`
      return await commit(deps, image, { status: 'failed', failure: { code: 'EXHAUSTED', message } })
    }
    const results = await examine(deps, image, kept, time)
    return await commit(deps, image, { status: 'completed', ...results })
  } catch (error) {
    if (error instanceof Verdict) {
      deps.log.info('the image failed', {
        imageId: image.imageId,
        code: error.failure.code,
        cause: error.cause,
      })
      return await commit(deps, image, { status: 'failed', failure: error.failure })
    }
    await release(deps, image, kept, error)
    // What was broken off because the time is up says so in many ways.
    if (!(error instanceof Throttled)) time.signal.throwIfAborted()
    throw error
  }
}

/** Commits; where the image was deleted meanwhile, what was stored for it goes after it. */
async function commit(
  deps: ProcessDeps,
  image: ProcessingImage,
  outcome: Outcome,
): Promise<{ image: FinishedImage; before: boolean } | undefined> {
  const finished = await commitOutcome(deps, image, outcome, {
    condition: '#status = :processing AND leaseId = :mine',
    values: { ':processing': 'processing', ':mine': image.leaseId },
  })
  if (finished !== undefined) return { image: finished, before: false }
  if ((await getImage(deps, image.imageId)) === undefined) await removeLeftovers(deps, image.imageId)
  return undefined
}

async function release(deps: ProcessDeps, image: ProcessingImage, kept: Kept, error: unknown): Promise<void> {
  // What is too large to be kept has been paid for in vain, and then the attempt counts, so that there is an end to it.
  const keeps = JSON.stringify(kept).length <= MAX_RESULT_BYTES
  const throttled = (image.throttled ?? 0) + (error instanceof Throttled && keeps ? 1 : 0)
  if (error instanceof Throttled) error.times = throttled
  try {
    await releaseImage(deps, image, throttled, keeps ? kept : {})
  } catch (cause) {
    deps.log.warn('a lease could not be released; it runs out by itself', { imageId: image.imageId, cause })
  }
}

/** A worker that was at a deleted image may have stored something after the deletion. */
async function removeLeftovers({ s3, bucket }: ProcessDeps, imageId: ImageId): Promise<void> {
  for (const Key of objectKeys(imageId)) await s3.send(new DeleteObjectCommand({ Bucket: bucket, Key }))
}

/** Everything that is found out about an image. No paid call is made before its last pixel has been decoded. */
async function examine(deps: ProcessDeps, image: ProcessingImage, kept: Kept, time: Time) {
  const { bucket, key } = image.original
  const bytes = await fetchOriginal(deps, image, time)
  const { contentType, width, height, thumbnail, rendition } = await deps.render(
    bytes,
    deps.rekognitionSource,
    time.signal,
  )
  time.signal.throwIfAborted()
  const forRekognition: RekognitionImage =
    rendition !== undefined || deps.rekognitionSource === 'bytes'
      ? { Bytes: rendition ?? bytes }
      : { S3Object: { Bucket: bucket, Name: key } }

  const [stored, analysed] = await Promise.allSettled([
    put(deps, thumbnailKey(image.imageId), thumbnail, 'image/jpeg', time),
    analyse(deps, forRekognition, kept, time),
  ])
  if (analysed.status === 'rejected') {
    if (analysed.reason instanceof ObjectUnreadable) await demandOriginal(deps, image)
    throw analysed.reason
  }
  if (stored.status === 'rejected') throw stored.reason
  return {
    original: { ...image.original, contentType, width, height },
    thumbnail: { ...stored.value, width: THUMBNAIL_SIDE, height: THUMBNAIL_SIDE },
    ...(await fitItem(deps, image.imageId, analysed.value, time)),
  }
}

/** Results that are too large for an item go into an object, whole; the item keeps what lists and events show. */
async function fitItem(
  deps: ProcessDeps,
  imageId: ImageId,
  analysis: Analysis,
  time: Time,
): Promise<Analysis & { analysis?: object }> {
  const { rekognitionLabels, rekognitionFaces } = analysis
  const whole = Buffer.from(JSON.stringify({ rekognitionLabels, rekognitionFaces }))
  if (whole.length <= MAX_RESULT_BYTES) return analysis
  return {
    ...analysis,
    rekognitionLabels: rekognitionLabels.map(({ Name, Confidence }) => ({ Name, Confidence })),
    rekognitionFaces: rekognitionFaces.map(({ BoundingBox, Confidence, Emotions }) => ({
      BoundingBox,
      Confidence,
      Emotions,
    })),
    analysis: await put(deps, analysisKey(imageId), whole, 'application/json', time),
  }
}

async function put<T extends string>(
  { s3, bucket }: ProcessDeps,
  key: string,
  bytes: Buffer,
  contentType: T,
  { signal }: Time,
): Promise<{ bucket: string; key: string; contentType: T; bytes: number }> {
  await s3.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: bytes, ContentType: contentType }), {
    abortSignal: signal,
  })
  return { bucket, key, contentType, bytes: bytes.length }
}

const missing = (cause: unknown): Verdict =>
  new Verdict('ORIGINAL_MISSING', 'The original is not in the bucket.', cause)

async function fetchOriginal(
  { s3 }: ProcessDeps,
  { original }: ProcessingImage,
  { signal }: Time,
): Promise<Buffer> {
  try {
    const { Body } = await s3.send(new GetObjectCommand({ Bucket: original.bucket, Key: original.key }), {
      abortSignal: signal,
    })
    if (Body === undefined) throw new Error('S3 answered without a body.')
    return Buffer.from(await Body.transformToByteArray())
  } catch (error) {
    // Only this one: a missing right or bucket is trouble of the surroundings, not the image's.
    throw error instanceof NoSuchKey ? missing(error) : error
  }
}

async function demandOriginal({ s3 }: ProcessDeps, { original }: ProcessingImage): Promise<void> {
  try {
    await s3.send(new HeadObjectCommand({ Bucket: original.bucket, Key: original.key }))
  } catch (error) {
    throw error instanceof NotFound ? missing(error) : error
  }
}
