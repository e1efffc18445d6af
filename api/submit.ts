import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { DeleteObjectCommand, PutObjectCommand, type S3Client } from '@aws-sdk/client-s3'
import { SendMessageCommand, type SQSClient } from '@aws-sdk/client-sqs'
import { v7 as uuidv7 } from 'uuid'
import { sniffContentType } from '../shared/format.ts'
import { type Image, type ImageId, imageIdSchema, originalKey, thumbnailKey } from '../shared/image.ts'
import type { Job } from '../shared/job.ts'
import { ApiError } from './errors.ts'
import {
  claimIdempotencyKey,
  createImage,
  deleteRecord,
  getImage,
  retryImage,
  type Table,
} from './records.ts'
import type { Upload } from './upload.ts'

export interface SubmitDeps extends Table {
  s3: S3Client
  sqs: SQSClient
  bucket: string
  jobQueueUrl: string
  now: () => Date
}

const sha256 = (data: Uint8Array | string): string => createHash('sha256').update(data).digest('hex')

/**
 * Accepts an image. Original and record are written side by side, since neither is seen before the job is;
 * the job is sent when both are acknowledged, so that no worker finds half an image; and the caller is
 * answered when the job is acknowledged, so that an accepted image always has a job.
 *
 * Every step may be repeated, so a client that got no answer can send the same again with its idempotency key.
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
    imageId: imageIdSchema.parse(uuidv7({ msecs: now.getTime() })),
    sha256: hash,
    createdAt: now.toISOString(),
  }
  const keyHash = idempotencyKey === undefined ? undefined : sha256(`${owner}\n${idempotencyKey}`)
  const { imageId, createdAt, ...known } =
    keyHash === undefined ? candidate : await claimIdempotencyKey(deps, keyHash, candidate)
  if (known.sha256 !== hash) {
    throw new ApiError('IDEMPOTENCY_KEY_REUSED', 'This idempotency key belongs to an image with other bytes.')
  }

  if (imageId !== candidate.imageId) {
    const image = await getImage(deps, owner, imageId)
    // While it is pending, the request before may have died between record and job; so do it all again.
    if (image !== undefined && image.status !== 'pending') return imageId
  }

  const original = {
    bucket: deps.bucket,
    key: originalKey(imageId),
    contentType,
    bytes: upload.bytes.length,
    sha256: hash,
    ...(upload.filename === undefined ? {} : { filename: upload.filename }),
  }
  const written = await Promise.allSettled([
    deps.s3.send(
      new PutObjectCommand({
        Bucket: deps.bucket,
        Key: original.key,
        Body: upload.bytes,
        ContentType: contentType,
      }),
    ),
    createImage(deps, {
      imageId,
      owner,
      status: 'pending',
      createdAt,
      updatedAt: createdAt,
      attempts: 0,
      epoch: 1,
      original,
      ...(keyHash === undefined ? {} : { keyHash }),
    }),
  ])
  for (const outcome of written) if (outcome.status === 'rejected') throw outcome.reason

  await sendJob(deps, { version: 1, imageId, epoch: 1 })
  return imageId
}

async function sendJob({ sqs, jobQueueUrl }: SubmitDeps, job: Job): Promise<void> {
  await sqs.send(new SendMessageCommand({ QueueUrl: jobQueueUrl, MessageBody: JSON.stringify(job) }))
}

/** Looks and milliseconds for which a retry waits for the failure's own event, which is under way when a client sees it. */
const ANNOUNCEMENT = { looks: 15, everyMs: 200 }

/**
 * Starts a failed image anew. If the job cannot be sent, the image is pending all the same and the sweeper sends one.
 *
 * @throws ApiError NOT_FAILED; UNAVAILABLE while the failure cannot be announced
 */
export async function resubmitImage(deps: SubmitDeps, failed: Image): Promise<void> {
  const { imageId, owner } = failed
  let image: Image | undefined = failed
  for (let look = 0; look < ANNOUNCEMENT.looks; look += 1) {
    if (image?.status !== 'failed' || image.epoch !== failed.epoch) {
      throw new ApiError('NOT_FAILED', 'Only an image that has failed can be tried again.')
    }
    const now = deps.now()
    const begun = await retryImage(deps, image, now)
    image = await getImage(deps, owner, imageId)
    // By its time it is this request's write, of which only the answer was lost: that looks like a refusal.
    const own = image?.status === 'pending' && image.updatedAt === now.toISOString()
    if (begun || own) {
      return sendJob(deps, { version: 1, imageId, epoch: failed.epoch + 1 })
    }
    await sleep(ANNOUNCEMENT.everyMs)
  }
  throw new ApiError('UNAVAILABLE', 'The failure is still being announced; try again in a moment.')
}

/**
 * Deletes an image for good. Objects go first, so that a deletion which breaks off can be repeated; then the record,
 * which tells a worker under way that there is nothing to commit to; then what such a worker has stored in between.
 */
export async function deleteImage(deps: SubmitDeps, image: Image): Promise<void> {
  const { imageId } = image
  const remove = (Key: string) => deps.s3.send(new DeleteObjectCommand({ Bucket: deps.bucket, Key }))
  await remove(originalKey(imageId))
  await remove(thumbnailKey(imageId))
  await deleteRecord(deps, image)
  await remove(thumbnailKey(imageId))
}
