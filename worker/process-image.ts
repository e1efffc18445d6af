import { randomUUID } from 'node:crypto'
import type { RekognitionClient, Image as RekognitionImage } from '@aws-sdk/client-rekognition'
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
  type FinishedImage,
  type ImageId,
  type Kept,
  type ProcessingImage,
  thumbnailKey,
} from '../shared/image.ts'
import type { Job } from '../shared/job.ts'
import { analyse, ObjectUnreadable, Throttled } from './analysis.ts'
import { claimImage, commitOutcome, getImage, type Records, releaseImage } from './records.ts'
import { render, THUMBNAIL_SIDE } from './thumbnail.ts'
import { Verdict } from './verdict.ts'

export interface ProcessDeps extends Records {
  s3: S3Client
  rekognition: RekognitionClient
  bucket: string
  rekognitionSource: 's3' | 'bytes'
  minConfidence: number
  maxLabels: number
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
 * One image from top to bottom: claim, fetch, render, analyse, commit. The caller announces what is returned, and
 * acknowledges the job only after: the job in the queue is what remembers an announcement that is still to come.
 *
 * @param deadline ms since 1970 at which this worker will be stopped
 * @returns the finished record to announce, or undefined when there is nothing left to do for this job
 * @throws Held, or whatever went wrong in the surroundings; both mean: deliver the job again
 */
export async function processImage(
  deps: ProcessDeps,
  job: Job,
  deadline: number,
): Promise<FinishedImage | undefined> {
  const lease = { id: randomUUID(), until: deadline + CLOCK_SKEW_MS }
  const claim = await claimImage(deps, job, lease)
  if (claim.kind === 'replaced') return undefined
  if (claim.kind === 'deleted') {
    await removeThumbnail(deps, job.imageId)
    return undefined
  }
  // Told again, because nobody knows whether the announcement before this redelivery arrived.
  if (claim.kind === 'finished') return claim.image
  if (claim.kind === 'held') throw new Held(claim.leaseUntil - deps.now().getTime())

  const { image } = claim
  const kept: Kept = { ...image.kept }
  try {
    if (image.attempts - (image.throttled ?? 0) > deps.maxAttempts) {
      const message = `The image was not analysed in ${deps.maxAttempts} attempts; try again later.`
      return await commit(deps, image, { status: 'failed', failure: { code: 'EXHAUSTED', message } })
    }
    const results = await examine(deps, image, kept)
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
    const throttled = (image.throttled ?? 0) + (error instanceof Throttled ? 1 : 0)
    if (error instanceof Throttled) error.times = throttled
    await releaseImage(deps, image, throttled, kept).catch((cause) =>
      deps.log.warn('a lease could not be released; it runs out by itself', {
        imageId: image.imageId,
        cause,
      }),
    )
    throw error
  }
}

/** Commits; where the image was deleted meanwhile, its thumbnail goes after it. */
async function commit(
  deps: ProcessDeps,
  image: ProcessingImage,
  outcome: Parameters<typeof commitOutcome>[2],
): Promise<FinishedImage | undefined> {
  const finished = await commitOutcome(deps, image, outcome)
  if (finished === undefined && (await getImage(deps, image.imageId)) === undefined) {
    await removeThumbnail(deps, image.imageId)
  }
  return finished
}

/** A worker that was at a deleted image may have stored its thumbnail after the deletion. */
const removeThumbnail = (deps: ProcessDeps, imageId: ImageId) =>
  deps.s3.send(new DeleteObjectCommand({ Bucket: deps.bucket, Key: thumbnailKey(imageId) }))

/** Everything that is found out about an image. No paid call is made before its last pixel has been decoded. */
async function examine(deps: ProcessDeps, image: ProcessingImage, kept: Kept) {
  const { bucket, key } = image.original
  const bytes = await fetchOriginal(deps, image)
  const { contentType, width, height, thumbnail, rendition } = await render(bytes, deps.rekognitionSource)
  const forRekognition: RekognitionImage =
    rendition !== undefined || deps.rekognitionSource === 'bytes'
      ? { Bytes: rendition ?? bytes }
      : { S3Object: { Bucket: bucket, Name: key } }

  const thumbnailObject = {
    bucket: deps.bucket,
    key: thumbnailKey(image.imageId),
    contentType: 'image/jpeg' as const,
  }
  const [stored, analysed] = await Promise.allSettled([
    deps.s3.send(
      new PutObjectCommand({
        Bucket: thumbnailObject.bucket,
        Key: thumbnailObject.key,
        Body: thumbnail,
        ContentType: thumbnailObject.contentType,
      }),
    ),
    analyse(deps.rekognition, forRekognition, deps, kept),
  ])
  if (analysed.status === 'rejected') {
    if (analysed.reason instanceof ObjectUnreadable) await demandOriginal(deps, image)
    throw analysed.reason
  }
  if (stored.status === 'rejected') throw stored.reason
  return {
    original: { ...image.original, contentType, width, height },
    thumbnail: { ...thumbnailObject, bytes: thumbnail.length, width: THUMBNAIL_SIDE, height: THUMBNAIL_SIDE },
    ...analysed.value,
  }
}

const missing = (cause: unknown): Verdict =>
  new Verdict('ORIGINAL_MISSING', 'The original is not in the bucket.', cause)

async function fetchOriginal({ s3 }: ProcessDeps, { original }: ProcessingImage): Promise<Buffer> {
  try {
    const { Body } = await s3.send(new GetObjectCommand({ Bucket: original.bucket, Key: original.key }))
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
