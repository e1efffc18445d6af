import { createHash } from 'node:crypto'
import { PutObjectCommand, type S3Client } from '@aws-sdk/client-s3'
import { v7 as uuidv7 } from 'uuid'
import { formatOf, refusalOf } from '../packages/image-guard/format.ts'
import type { Elapsed } from '../shared/aws.ts'
import {
  type AnalysisName,
  type Image,
  type ImageId,
  imageIdSchema,
  originalKey,
  type Status,
  uploadKey,
} from '../shared/image.ts'
import { labelKeys, unindexLabels } from '../shared/labels.ts'
import { createImage, deleteObjects, deleteRecord, getImage, retryImage } from '../shared/lifecycle.ts'
import { type Log, ownerTag, say } from '../shared/log.ts'
import { type JobQueue, sendJob, xraySpan } from '../shared/messages.ts'
import {
  claimIdempotencyKey,
  deletedMeanwhile,
  demandBudget,
  demandRoom,
  type RoomDeps,
  statusOf,
  statusOnceWritten,
} from './records.ts'
import { ApiError } from './schemas.ts'
import { type Announced, type PostForm, type PresignPost, UPLOAD_SECONDS, type Upload } from './upload.ts'

export interface SubmitDeps extends RoomDeps, JobQueue {
  log: Log
  elapsed: Elapsed
  s3: S3Client
  bucket: string
  /** Whether HEIC comes in. */
  heic: boolean
  /** The most bytes of an original that is uploaded to S3 directly. */
  maxUploadBytes: number
  /** A form that lets its bearer store one object of this type and size, for UPLOAD_SECONDS. */
  presignPost: PresignPost
  /** Days after which an image is deleted. */
  retentionDays?: number | undefined
  /** Whether the position is overwritten in an original before it is stored. */
  stripGps?: boolean
  /** A version 7 UUID of this time. */
  newImageId: (now: Date) => ImageId
}

/** Who asks, and by which request. */
export interface Asker {
  owner: string
  requestId: string
  traceId?: string | undefined
  /** What the caller calls it: for the log only. */
  clientRequestId?: string | undefined
}

/** What every line about a caller's image has. */
const factsOf = ({ owner, ...request }: Asker, { imageId, epoch }: Pick<Image, 'imageId' | 'epoch'>) => ({
  imageId,
  epoch,
  ...request,
  owner: ownerTag(owner),
})

/** What the record remembers of the request that made it: the job carries nothing of it. */
const originOf = async ({ requestId, traceId }: Asker) => ({
  requestId,
  ...(traceId === undefined ? {} : { traceId, spanId: (await xraySpan())?.spanId }),
})

export const newImageId = (now: Date): ImageId => imageIdSchema.parse(uuidv7({ msecs: now.getTime() }))

const sha256 = (data: Uint8Array | string): string => createHash('sha256').update(data).digest('hex')

/**
 * Accepts an image. The record comes first: from then on the sweeper knows of all that may be stored for it. The
 * job is sent when the original is acknowledged, so that no worker finds half an image; and the caller is answered
 * when the job is acknowledged, so that an accepted image always has a job.
 *
 * What breaks off before the job has no 202: the sweeper sends the job, if the original is there, or removes the
 * record. Every step may be repeated, so a client that got no answer can send the same again with its idempotency key.
 *
 * @throws ApiError UNSUPPORTED_FORMAT, IDEMPOTENCY_KEY_REUSED, IMAGE_NOT_FOUND, TOO_MANY_REQUESTS, BUDGET_EXHAUSTED
 */
export async function submitImage(
  deps: SubmitDeps,
  asker: Asker,
  upload: Upload,
  analyses: AnalysisName[],
  idempotencyKey?: string,
): Promise<ImageId> {
  const began = deps.elapsed()
  const contentType = formatOf(upload.bytes, deps.heic)?.contentType
  if (contentType === undefined) throw new ApiError('UNSUPPORTED_FORMAT', refusalOf(upload.bytes, deps.heic))
  const now = deps.now()
  // Of what was sent, so that the same request is the same again; the record has that of what is stored.
  const sent = sha256(upload.bytes)
  const request = sha256(JSON.stringify(['image', sent, upload.filename, analyses]))
  const { owner } = asker
  const asked = { sha256: sent, request }
  const known = await imageOf(deps, owner, now, asked, analyses, idempotencyKey)
  const { imageId, createdAt, keyHash, repeated } = known
  const isChanged = deps.stripGps === true && (await blankPosition(upload.bytes))
  const original = {
    bucket: deps.bucket,
    key: originalKey(imageId),
    contentType,
    bytes: upload.bytes.length,
    sha256: isChanged ? sha256(upload.bytes) : sent,
    ...(upload.filename === undefined ? {} : { filename: upload.filename }),
  }
  const waits = await createImage(deps, {
    imageId,
    owner,
    status: 'pending',
    createdAt,
    updatedAt: createdAt,
    submittedAt: now.getTime(),
    ...firstState(deps, now),
    analyses,
    original,
    origin: await originOf(asker),
    ...(keyHash === undefined ? {} : { keyHash }),
  })
  // Otherwise a request before has done it all; while no worker has claimed the image it may have died half-way.
  if (waits) {
    await deps.s3.send(
      new PutObjectCommand({
        Bucket: deps.bucket,
        Key: original.key,
        Body: upload.bytes,
        ContentType: contentType,
      }),
    )
    // Deleted since the request before, perhaps; then the deletion has the last word. (Of an image that only this request
    // knows, the worker finds that out.)
    if (repeated && (await statusOf(deps, imageId)) === 'deleted') {
      await deleteObjects(deps, imageId)
      throw deletedMeanwhile()
    }
    await sendJob(deps, { version: 1, imageId, epoch: 1 }, owner)
  }
  say(deps.log, 'accepted', {
    ...factsOf(asker, { imageId, epoch: 1 }),
    bytes: original.bytes,
    contentType,
    acceptMs: Math.round(deps.elapsed() - began),
    ...(waits ? {} : { repeated: true }),
  })
  return imageId
}

/** In place. */
async function blankPosition(bytes: Uint8Array): Promise<boolean> {
  // Loaded where it is needed, not by every cold start.
  const position = await import('../packages/image-guard/position.ts')
  return position.blankPosition(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length))
}

/**
 * The image that a request is for: one of its own, or that of the request before with the same idempotency key. The keys
 * of an owner are one namespace for all routes, since a key stands for one request.
 *
 * @param asked hashes of what is the same each time the request is sent
 * @throws ApiError IDEMPOTENCY_KEY_REUSED, IMAGE_NOT_FOUND, TOO_MANY_REQUESTS, BUDGET_EXHAUSTED
 */
async function imageOf(
  deps: SubmitDeps,
  owner: string,
  now: Date,
  asked: { sha256: string; request: string },
  analyses: AnalysisName[],
  idempotencyKey: string | undefined,
): Promise<{ imageId: ImageId; createdAt: string; keyHash?: string; repeated: boolean }> {
  const candidate = { imageId: deps.newImageId(now), ...asked, createdAt: now.toISOString() }
  if (idempotencyKey === undefined) {
    await demandRoom(deps, owner, now, analyses)
    return { ...candidate, repeated: false }
  }
  const keyHash = sha256(`${owner}\n${idempotencyKey}`)
  const known = await claimIdempotencyKey(deps, keyHash, candidate)
  const isSame = known.request === undefined ? known.sha256 === asked.sha256 : known.request === asked.request
  if (!isSame) {
    throw new ApiError(
      'IDEMPOTENCY_KEY_REUSED',
      'This Idempotency-Key belongs to a request with other content, another file name or other analyses: use another key.',
    )
  }
  const { imageId, createdAt } = known
  const repeated = imageId !== candidate.imageId
  if (known.deleted) throw deletedMeanwhile()
  const status = repeated ? await statusOnceWritten(deps, imageId) : undefined
  if (status === 'deleted') throw deletedMeanwhile()
  // What has a record has been counted.
  if (status === undefined) await demandRoom(deps, owner, now, analyses)
  return { imageId, createdAt, keyHash, repeated }
}

/** What every new record begins with. */
const firstState = ({ retentionDays: days }: SubmitDeps, now: Date) => ({
  attempts: 0,
  epoch: 1,
  ...(days !== undefined && { expiresAt: Math.floor(now.getTime() / 1_000) + days * 86_400 }),
})

/**
 * Makes a record for an original that its sender will upload to S3 directly, and the form to do it with. When the
 * object is there, S3 itself sends the job. What never comes is removed by the sweeper.
 *
 * With the idempotency key of a request before, it is the same image and a form that is good for as long again. Also of
 * an image that has arrived: to post it once more changes nothing, and its status says that there is no need to.
 *
 * @throws ApiError IDEMPOTENCY_KEY_REUSED, IMAGE_NOT_FOUND, TOO_MANY_REQUESTS, BUDGET_EXHAUSTED
 */
export async function awaitUpload(
  deps: SubmitDeps,
  asker: Asker,
  announced: Announced,
  analyses: AnalysisName[],
  idempotencyKey?: string,
): Promise<{ imageId: ImageId; status: Status; upload: PostForm; expiresAt: string }> {
  const now = deps.now()
  const { contentType, bytes, filename } = announced
  // No image has this hash: its text is none.
  const content = sha256(JSON.stringify(['upload', contentType, bytes, filename, analyses]))
  const { owner } = asker
  const asked = { sha256: content, request: content }
  const { imageId, createdAt, keyHash } = await imageOf(deps, owner, now, asked, analyses, idempotencyKey)
  const waits = await createImage(
    deps,
    {
      imageId,
      owner,
      status: 'awaiting_upload',
      uploaded: true,
      createdAt,
      updatedAt: createdAt,
      submittedAt: now.getTime(),
      ...firstState(deps, now),
      analyses,
      original: { bucket: deps.bucket, key: originalKey(imageId), ...announced },
      origin: await originOf(asker),
      ...(keyHash === undefined ? {} : { keyHash }),
    },
    UPLOAD_SECONDS * 1_000,
  )
  const status = waits ? 'awaiting_upload' : await statusOf(deps, imageId)
  if (status === 'deleted') throw deletedMeanwhile()
  const upload = await deps.presignPost(uploadKey(imageId), contentType, bytes)
  say(deps.log, 'form issued', { ...factsOf(asker, { imageId, epoch: 1 }), bytes, contentType })
  return {
    imageId,
    status: status ?? 'awaiting_upload',
    upload,
    expiresAt: new Date(now.getTime() + UPLOAD_SECONDS * 1_000).toISOString(),
  }
}

/** Looks and milliseconds for which a retry waits for the failure's own event, which is under way when a client sees it. */
const ANNOUNCEMENT = { looks: 15, everyMs: 200 }

/**
 * Starts the next run of a failed image. If the job cannot be sent, the image is pending and the sweeper sends one.
 *
 * @throws ApiError NOT_FAILED, BUDGET_EXHAUSTED; UNAVAILABLE while the failure cannot be announced
 */
export async function resubmitImage(deps: SubmitDeps, asker: Asker, failed: Image): Promise<void> {
  const { imageId, analyses } = failed
  let image: Image | undefined = failed
  if (failed.status === 'failed') await demandBudget(deps, analyses, deps.now())
  for (let look = 0; look < ANNOUNCEMENT.looks; look += 1) {
    if (image?.status !== 'failed' || image.epoch !== failed.epoch) {
      throw new ApiError('NOT_FAILED', 'Only a failed image can be retried.')
    }
    const submittedAt = deps.now().getTime()
    image = (await retryImage(deps, image, submittedAt)) ?? (await getImage(deps, imageId))
    // By its time it is this request's write, also where only the answer was lost and the repetition refused.
    if (image?.status === 'pending' && image.submittedAt === submittedAt) {
      say(deps.log, 'retried', factsOf(asker, image))
      return sendJob(deps, { version: 1, imageId, epoch: image.epoch }, image.owner)
    }
    await deps.sleep(ANNOUNCEMENT.everyMs)
  }
  throw new ApiError('UNAVAILABLE', 'The failure is still being announced; retry in a moment.')
}

/**
 * Deletes an image for good; one that has changed since, if `isStill`. The record goes first: then no caller sees it, and
 * no worker can commit to it. Should this break off, or a worker store something late, the sweeper removes the objects.
 */
export async function deleteImage(deps: SubmitDeps, asker: Asker, seen: Image, isStill?: () => boolean) {
  // While the form is good, something may be uploaded.
  const image = (await deleteRecord(deps, seen, seen.uploaded ? UPLOAD_SECONDS * 1_000 : 0, isStill)) ?? seen
  say(deps.log, 'deleted', factsOf(asker, image))
  // First, because a search shows what is in the index, and asks no record.
  await unindexLabels(deps, image.imageId, labelKeys(image))
  await deleteObjects(deps, image.imageId)
}
