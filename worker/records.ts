import { ConditionalCheckFailedException } from '@aws-sdk/client-dynamodb'
import { type DynamoDBDocumentClient, GetCommand, UpdateCommand } from '@aws-sdk/lib-dynamodb'
import {
  type FinishedImage,
  type Image,
  imageSchema,
  isFinished,
  type Kept,
  type ProcessingImage,
  statusKey,
} from '../shared/image.ts'
import type { Job } from '../shared/job.ts'

export interface Records {
  dynamo: DynamoDBDocumentClient
  table: string
  now: () => Date
}

export type Claim =
  | { kind: 'claimed'; image: ProcessingImage }
  /** The outcome is there; only its event may be missing. */
  | { kind: 'finished'; image: FinishedImage }
  /** Another worker holds it, at most until then (ms since 1970). */
  | { kind: 'held'; leaseUntil: number }
  /** A run that a later retry has replaced. */
  | { kind: 'replaced' }
  | { kind: 'deleted' }

/**
 * Takes an image up for one worker, by a lease rather than a flag: a worker that dies leaves nothing that somebody
 * has to clear away.
 *
 * @param lease whose it is, and until when (ms since 1970; not before the worker is surely dead)
 */
export async function claimImage(
  records: Records,
  job: Job,
  lease: { id: string; until: number },
): Promise<Claim> {
  const now = records.now()
  const claimed = await update(records, job.imageId, {
    set: {
      status: 'processing',
      statusKey: statusKey('processing', job.imageId),
      leaseId: lease.id,
      leaseUntil: lease.until,
      updatedAt: now.toISOString(),
    },
    addAttempt: true,
    condition:
      'epoch = :epoch AND (#status = :pending OR (#status = :processing AND (leaseUntil < :now OR leaseId = :leaseId)))',
    values: {
      ':epoch': job.epoch,
      ':pending': 'pending',
      ':processing': 'processing',
      ':now': now.getTime(),
    },
  })
  if (claimed?.status === 'processing') return { kind: 'claimed', image: claimed }

  const image = await getImage(records, job.imageId)
  if (image === undefined) return { kind: 'deleted' }
  if (image.epoch > job.epoch) return { kind: 'replaced' }
  if (isFinished(image)) return { kind: 'finished', image }
  if (image.status === 'processing') return { kind: 'held', leaseUntil: image.leaseUntil }
  // Still pending, of an earlier run: the write that begins this run has not been seen yet.
  return { kind: 'held', leaseUntil: now.getTime() }
}

/**
 * Commits the outcome of a run, if the worker still holds its lease.
 *
 * @returns the record as it now stands: this outcome, or that of the worker which has taken over; undefined if it
 * is gone or still under way elsewhere
 */
export async function commitOutcome(
  records: Records,
  { imageId, epoch, leaseId }: ProcessingImage,
  outcome: Record<string, unknown> & { status: FinishedImage['status'] },
): Promise<FinishedImage | undefined> {
  const now = records.now().toISOString()
  const image =
    (await update(records, imageId, {
      set: { ...outcome, statusKey: statusKey(outcome.status, imageId), updatedAt: now, completedAt: now },
      remove: ['leaseId', 'leaseUntil', 'kept', 'throttled'],
      condition: 'epoch = :epoch AND #status = :processing AND leaseId = :mine',
      values: { ':epoch': epoch, ':processing': 'processing', ':mine': leaseId },
      // Refused also when the write was done and its answer lost; so what counts is what is there.
    })) ?? (await getImage(records, imageId))
  return image !== undefined && image.epoch === epoch && isFinished(image) ? image : undefined
}

/**
 * Takes an image whose event is acknowledged out of the index `unfinished`. Until then the sweeper finds it there, so
 * that an event is not lost with its job.
 */
export async function markAnnounced(
  records: Records,
  { imageId, epoch, status }: FinishedImage,
): Promise<void> {
  await update(records, imageId, {
    set: { announced: epoch },
    remove: ['unfinished'],
    condition: 'epoch = :epoch AND #status = :finished',
    values: { ':epoch': epoch, ':finished': status },
  })
}

/**
 * Ends a lease early, so that the next attempt need not wait for it. Clients go on seeing `processing`.
 *
 * @param throttled how many attempts of this image have been throttled
 * @param kept what the next attempt need not ask for again
 */
export async function releaseImage(
  records: Records,
  { imageId, leaseId }: ProcessingImage,
  throttled: number,
  kept: Kept,
): Promise<void> {
  await update(records, imageId, {
    set: { leaseUntil: 0, throttled, kept },
    condition: '#status = :processing AND leaseId = :mine',
    values: { ':processing': 'processing', ':mine': leaseId },
  })
}

export async function getImage({ dynamo, table }: Records, imageId: string): Promise<Image | undefined> {
  const { Item } = await dynamo.send(
    new GetCommand({ TableName: table, Key: { imageId }, ConsistentRead: true }),
  )
  return Item === undefined ? undefined : imageSchema.parse(Item)
}

/** @returns the record after the write, or undefined where the condition does not hold */
async function update(
  { dynamo, table }: Records,
  imageId: string,
  write: {
    set: Record<string, unknown>
    remove?: string[]
    addAttempt?: boolean
    condition: string
    values: Record<string, unknown>
  },
): Promise<Image | undefined> {
  const names = Object.keys(write.set)
  const remove = write.remove ?? []
  const expression = [
    `SET ${names.map((name) => `#${name} = :${name}`).join(', ')}`,
    ...(remove.length > 0 ? [`REMOVE ${remove.join(', ')}`] : []),
    ...(write.addAttempt ? ['ADD attempts :one'] : []),
  ].join(' ')
  try {
    const { Attributes } = await dynamo.send(
      new UpdateCommand({
        TableName: table,
        Key: { imageId },
        UpdateExpression: expression,
        ConditionExpression: write.condition,
        ExpressionAttributeNames: {
          '#status': 'status',
          ...Object.fromEntries(names.map((name) => [`#${name}`, name])),
        },
        ExpressionAttributeValues: {
          ...write.values,
          ...Object.fromEntries(names.map((name) => [`:${name}`, write.set[name]])),
          ...(write.addAttempt ? { ':one': 1 } : {}),
        },
        ReturnValues: 'ALL_NEW',
      }),
    )
    return imageSchema.parse(Attributes)
  } catch (error) {
    if (error instanceof ConditionalCheckFailedException) return undefined
    throw error
  }
}
