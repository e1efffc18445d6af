import { createHash } from 'node:crypto'
import { DeleteObjectCommand, PutObjectCommand, type S3Client } from '@aws-sdk/client-s3'
import { v7 as uuidv7 } from 'uuid'
import type { Sleep } from '../shared/aws.ts'
import { sniffContentType } from '../shared/format.ts'
import { type Image, type ImageId, imageIdSchema, objectKeys, originalKey } from '../shared/image.ts'
import { type JobQueue, sendJob } from '../shared/job.ts'
import { getImage, nextRun, type Records, updateImage } from '../shared/records.ts'
import { ApiError } from './errors.ts'
import { claimIdempotencyKey, createImage, deleteRecord } from './records.ts'
import type { Upload } from './upload.ts'

export interface SubmitDeps extends Records, JobQueue {
  s3: S3Client
  bucket: string
  sleep: Sleep
  /** A version 7 UUID of this time. */
  newImageId: (now: Date) => ImageId
}

export const newImageId = (now: Date): ImageId => imageIdSchema.parse(uuidv7({ msecs: now.getTime() }))

const sha256 = (data: Uint8Array | string): string => createHash('sha256').update(data).digest('hex')

/**
 * Accepts an image. The record comes first: from then on the sweeper knows of all that may be stored for it. The
 * job is sent when the original is acknowledged, so that no worker finds half an image; and the caller is answered
 * when the job is acknowledged, so that an accepted image always has a job.
 *
 * What breaks off before the job has no 202: the sweeper sends the job, if the original is there, or else removes the
 * record. Every step may be repeated, so a client that got no answer can send the same again with its idempotency key.
 *
 * @throws ApiError UNSUPPORTED_FORMAT, IDEMPOTENCY_KEY_REUSED
 */
export async function submitImage(
  deps: SubmitDeps,
  owner: string,
  upload: Upload,
  idempotencyKey?: string,
): Promise<ImageId> {
  const contentType = sniffContentType(upload.bytes)
  if (contentType === undefined) {
    throw new ApiError(
      'UNSUPPORTED_FORMAT',
      'Accepted are JPEG, PNG, WebP, GIF and AVIF, told by their content.',
    )
  }
  const now = deps.now()
  const hash = sha256(upload.bytes)
  const candidate = {
    imageId: deps.newImageId(now),
    sha256: hash,
    createdAt: now.toISOString(),
  }
  const keyHash = idempotencyKey === undefined ? undefined : sha256(`${owner}\n${idempotencyKey}`)
  const { imageId, createdAt, ...known } =
    keyHash === undefined ? candidate : await claimIdempotencyKey(deps, keyHash, candidate)
  if (known.sha256 !== hash) {
    throw new ApiError('IDEMPOTENCY_KEY_REUSED', 'This idempotency key belongs to an image with other bytes.')
  }

  const original = {
    bucket: deps.bucket,
    key: originalKey(imageId),
    contentType,
    bytes: upload.bytes.length,
    sha256: hash,
    ...(upload.filename === undefined ? {} : { filename: upload.filename }),
  }
  const waits = await createImage(deps, {
    imageId,
    owner,
    status: 'pending',
    createdAt,
    updatedAt: createdAt,
    submittedAt: now.getTime(),
    attempts: 0,
    epoch: 1,
    original,
    ...(keyHash === undefined ? {} : { keyHash }),
  })
  // Otherwise a request before has done it all; while nobody has taken the image up it may have died half-way.
  if (waits) {
    await deps.s3.send(
      new PutObjectCommand({
        Bucket: deps.bucket,
        Key: original.key,
        Body: upload.bytes,
        ContentType: contentType,
      }),
    )
    await sendJob(deps, { version: 1, imageId, epoch: 1 })
  }
  return imageId
}

/** Looks and milliseconds for which a retry waits for the failure's own event, which is under way when a client sees it. */
const ANNOUNCEMENT = { looks: 15, everyMs: 200 }

/**
 * Starts a failed image anew. If the job cannot be sent, the image is pending all the same and the sweeper sends one.
 *
 * @throws ApiError NOT_FAILED; UNAVAILABLE while the failure cannot be announced
 */
export async function resubmitImage(deps: SubmitDeps, failed: Image): Promise<void> {
  const { imageId } = failed
  let image: Image | undefined = failed
  for (let look = 0; look < ANNOUNCEMENT.looks; look += 1) {
    if (image?.status !== 'failed' || image.epoch !== failed.epoch) {
      throw new ApiError('NOT_FAILED', 'Only an image that has failed can be tried again.')
    }
    const run = nextRun(deps, image)
    image = (await updateImage(deps, imageId, run)) ?? (await getImage(deps, imageId))
    // By its time it is this request's write, also where only the answer was lost and the repetition refused.
    if (image?.status === 'pending' && image.submittedAt === run.set['submittedAt']) {
      return sendJob(deps, { version: 1, imageId, epoch: image.epoch })
    }
    await deps.sleep(ANNOUNCEMENT.everyMs)
  }
  throw new ApiError('UNAVAILABLE', 'The failure is still being announced; try again in a moment.')
}

/**
 * Deletes an image for good. The record goes first: from then on it is there for nobody, and no worker can commit to
 * it. Should this break off after that, or a worker store something late, the sweeper removes the objects.
 */
export async function deleteImage(deps: SubmitDeps, image: Image): Promise<void> {
  await deleteRecord(deps, image)
  for (const Key of objectKeys(image.imageId)) {
    await deps.s3.send(new DeleteObjectCommand({ Bucket: deps.bucket, Key }))
  }
}
