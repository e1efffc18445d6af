import { deflateRawSync, inflateRawSync } from 'node:zlib'
import { ConditionalCheckFailedException } from '@aws-sdk/client-dynamodb'
import {
  DeleteObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  NotFound,
  type S3Client,
} from '@aws-sdk/client-s3'
import { DeleteCommand, GetCommand, PutCommand, UpdateCommand } from '@aws-sdk/lib-dynamodb'
import {
  type Answers,
  type Failure,
  type FinishedImage,
  type Image,
  type ImageId,
  imageSchema,
  isExhausted,
  isFinished,
  type Kept,
  type NewImage,
  type Original,
  objectKeys,
  type PaidCalls,
  type ProcessingImage,
  type Trouble,
} from './image.ts'
import { labelKeys, unindexLabels } from './labels.ts'
import { type Job, Newer } from './messages.ts'
import { idempotencyKey, statusKey, type Table, unfinishedShard } from './table.ts'

export interface Records extends Table {
  now: () => Date
  /**
   * Milliseconds for which an unfinished image may rest before the sweeper looks after it: longer than a job that no worker
   * holds takes to come back (SWEEP_AFTER_SECONDS in config.ts).
   */
  sweepAfterMs: number
}

/** The most by which an image's time between two sweeps is stretched. */
const MAX_STRETCH = 64

/**
 * When the sweeper should look at an image that changes now. Every write that an image rests after sets it, as `dueAt`: an
 * entry of an index with another key is deleted and put, two write units each time, and most images are announced long
 * before the sweeper would come. So `sweepAt`, by which it finds them, is that of the beginning until it has come.
 *
 * @param rest.swept how often the sweeper has sent a job in this run: each time it waits twice as long for the next, so
 *   that a queue with a long backlog does not fill with copies
 * @param rest.waitMs for which the image's job is known to wait
 */
export const sweepAt = (
  { now, sweepAfterMs }: Pick<Records, 'now' | 'sweepAfterMs'>,
  { swept = 0, waitMs = 0 }: { swept?: number; waitMs?: number } = {},
): number =>
  now().getTime() + Math.max(sweepAfterMs * Math.min(2 ** swept, MAX_STRETCH), sweepAfterMs + waitMs)

/**
 * The latest version of records that this code knows. Raise it with a change that code of the version before would get
 * wrong; what it may pass over, as a further optional field, is none (docs/versions.md).
 */
const RECORD_VERSION = 2

/** What code that knows no packed results would answer without them, so it is to leave the record alone. */
const PACKED_VERSION = 2

/**
 * Rekognition's answers as an item has them with PACK_RESULTS: deflated, since a write is billed for the whole item, and two
 * are made with them in it. What lists show stays as it is.
 */
export const packResults = ({ labelModelVersion, ...answers }: Answers): object => ({
  version: PACKED_VERSION,
  packed: deflateRawSync(JSON.stringify(answers)),
  ...(labelModelVersion !== undefined && { labelModelVersion }),
})

/** @throws Newer for a record that a later version has written */
export function readImage(item: Record<string, unknown> | undefined): Image {
  const version = item?.['version']
  if (typeof version === 'number' && version > RECORD_VERSION)
    throw new Newer('record', String(item?.['imageId']), version, RECORD_VERSION)
  const packed: unknown = item?.['packed']
  return imageSchema.parse(
    packed instanceof Uint8Array ? { ...item, ...JSON.parse(inflateRawSync(packed).toString()) } : item,
  )
}

/** @returns the record; undefined where there is none, or only what a deletion has left for the sweeper */
export async function getImage(
  { dynamo, table }: Pick<Records, 'dynamo' | 'table'>,
  imageId: string,
): Promise<Image | undefined> {
  // Consistent: a client who has just been given an id must find it, and a worker must see what it has written.
  const { Item } = await dynamo.send(
    new GetCommand({ TableName: table, Key: { imageId }, ConsistentRead: true }),
  )
  return Item === undefined || Item['status'] === 'deleted' ? undefined : readImage(Item)
}

/** @returns the record, or undefined where there is none or it is another owner's: the two must look the same */
export async function getOwnImage(
  records: Records,
  owner: string,
  imageId: ImageId,
): Promise<Image | undefined> {
  const image = await getImage(records, imageId)
  return image?.owner === owner && !isExpired(image, records.now()) ? image : undefined
}

/** DynamoDB deletes what has expired within a few days; until then it is not there for anybody. */
export const isExpired = ({ expiresAt }: Pick<Image, 'expiresAt'>, now: Date): boolean =>
  expiresAt !== undefined && expiresAt * 1_000 <= now.getTime()

/** @returns whether the condition of the write held */
async function unlessRefused(write: Promise<unknown>): Promise<boolean> {
  try {
    await write
    return true
  } catch (error) {
    if (error instanceof ConditionalCheckFailedException) return false
    throw error
  }
}

interface Write {
  set: Record<string, unknown>
  remove?: string[]
  add?: Record<string, number>
  /** May name `#status`. */
  condition: string
  values: Record<string, unknown>
}

/** @param ReturnValues what DynamoDB answers; a record with its results costs more to read than to write */
function updateOf(
  table: string,
  imageId: string,
  { set, remove = [], add = {}, condition, values }: Write,
  ReturnValues: 'ALL_NEW' | 'NONE',
): UpdateCommand {
  const written = { ...set, ...add }
  const list = (values: object, between: string): string =>
    Object.keys(values)
      .map((name) => `#${name}${between}:${name}`)
      .join(', ')
  const expression = [
    `SET ${list(set, ' = ')}`,
    ...(remove.length > 0 ? [`REMOVE ${remove.join(', ')}`] : []),
    ...(Object.keys(add).length > 0 ? [`ADD ${list(add, ' ')}`] : []),
  ].join(' ')
  return new UpdateCommand({
    TableName: table,
    Key: { imageId },
    UpdateExpression: expression,
    ConditionExpression: condition,
    // DynamoDB refuses a name that is not used.
    ExpressionAttributeNames: {
      ...(condition.includes('#status') ? { '#status': 'status' } : {}),
      ...Object.fromEntries(Object.keys(written).map((name) => [`#${name}`, name])),
    },
    ExpressionAttributeValues: {
      ...values,
      ...Object.fromEntries(Object.entries(written).map(([name, value]) => [`:${name}`, value])),
    },
    ReturnValues,
  })
}

/** @returns whether the condition holds */
const changeImage = (
  { dynamo, table }: Pick<Records, 'dynamo' | 'table'>,
  imageId: string,
  write: Write,
): Promise<boolean> => unlessRefused(dynamo.send(updateOf(table, imageId, write, 'NONE')))

/** @returns the record after the write, or undefined where the condition does not hold */
async function updateImage(
  { dynamo, table }: Pick<Records, 'dynamo' | 'table'>,
  imageId: string,
  write: Write,
): Promise<Image | undefined> {
  try {
    const { Attributes } = await dynamo.send(updateOf(table, imageId, write, 'ALL_NEW'))
    return readImage(Attributes)
  } catch (error) {
    if (error instanceof ConditionalCheckFailedException) return undefined
    throw error
  }
}

/**
 * Writes a new record. One that is there already and waits for its job or its upload stays as it is, and is due for the
 * sweeper later: so the sweeper does not take it for left behind while the request that repeats its submission is under way.
 *
 * @param graceMs milliseconds more than usual before the sweeper looks after it
 * @returns false where there is one that has gone further: the image was submitted before
 */
export async function createImage(records: Records, image: NewImage, graceMs = 0): Promise<boolean> {
  const { dynamo, table } = records
  const item = {
    ...image,
    version: 1,
    statusKey: statusKey(image.status, image.imageId),
    unfinished: unfinishedShard(image.imageId),
    sweepAt: sweepAt(records) + graceMs,
  }
  // Twice, because the sweeper may remove it in between.
  for (let look = 0; look < 2; look += 1) {
    try {
      await dynamo.send(
        new PutCommand({
          TableName: table,
          Item: item,
          ConditionExpression: 'attribute_not_exists(imageId)',
        }),
      )
      return true
    } catch (error) {
      if (!(error instanceof ConditionalCheckFailedException)) throw error
    }
    const waiting = await changeImage(records, image.imageId, {
      set: { dueAt: item.sweepAt },
      // It is seen for the first time again.
      remove: ['swept'],
      condition: '#status = :waiting AND attempts = :none',
      values: { ':waiting': image.status, ':none': 0 },
    })
    if (waiting) return true
  }
  return false
}

export type Claim =
  | { kind: 'claimed'; image: ProcessingImage }
  /** The outcome is there; only its event may be missing. */
  | { kind: 'finished'; image: FinishedImage }
  /** Another worker holds it, at most until then (ms since 1970). */
  | { kind: 'held'; leaseUntil: number; image: Image }
  /** Its run has not begun: the image is as the run before has left it. */
  | { kind: 'early'; image: Image }
  /** A run that a later retry has replaced. */
  | { kind: 'replaced' }
  | { kind: 'deleted' }

/**
 * Takes an image up for one worker, by a lease rather than a flag: a worker that dies leaves nothing to
 * clear away.
 *
 * @param lease whose it is, and until when (ms since 1970; not before the worker must be dead)
 * @throws Newer for a record of a later version, which stays as it is
 */
export async function claimImage(
  records: Records,
  job: Job,
  lease: { id: string; until: number },
): Promise<Claim> {
  const now = records.now()
  const claimed = await updateImage(records, job.imageId, {
    set: {
      status: 'processing',
      statusKey: statusKey('processing', job.imageId),
      leaseId: lease.id,
      leaseUntil: lease.until,
      updatedAt: now.toISOString(),
      dueAt: sweepAt(records),
    },
    add: { attempts: 1 },
    remove: ['waits', 'rates'],
    // AND binds more closely than OR. With parentheses in parentheses the parser of the embedded DynamoDB takes 30 times as
    // long, in which npm start answers nothing.
    condition:
      'epoch = :epoch AND (#status = :pending OR #status = :awaiting OR #status = :processing AND leaseUntil < :now OR #status = :processing AND leaseId = :leaseId) AND (attribute_not_exists(version) OR version <= :version)',
    values: {
      ':version': RECORD_VERSION,
      ':epoch': job.epoch,
      ':pending': 'pending',
      ':awaiting': 'awaiting_upload',
      ':processing': 'processing',
      ':now': now.getTime(),
    },
  })
  if (claimed?.status === 'processing') return { kind: 'claimed', image: claimed }

  const image = await getImage(records, job.imageId)
  if (image === undefined) return { kind: 'deleted' }
  if (image.epoch > job.epoch) return { kind: 'replaced' }
  if (image.epoch < job.epoch) return { kind: 'early', image }
  if (isFinished(image)) return { kind: 'finished', image }
  return { kind: 'held', leaseUntil: image.status === 'processing' ? image.leaseUntil : now.getTime(), image }
}

/** What each write of the worker that holds an image depends on. */
const heldBy = (leaseId: string) => ({
  condition: '#status = :processing AND leaseId = :mine',
  values: { ':processing': 'processing', ':mine': leaseId },
})

/**
 * Notes what the original of a direct upload turned out to be, and when it came: from then on these bytes count, even if others
 * are posted with the form before the next attempt.
 *
 * @returns false where another worker holds the image by now
 */
export function settleOriginal(
  records: Records,
  { imageId, leaseId, submittedAt }: ProcessingImage,
  original: Original,
): Promise<boolean> {
  return changeImage(records, imageId, { set: { original, submittedAt }, ...heldBy(leaseId) })
}

/**
 * Ends a lease early, so that the next attempt need not wait for it. Clients go on seeing `processing`.
 *
 * @param left.throttled how many attempts of this image have been throttled
 * @param left.kept what the next attempt need not ask for again
 * @param left.paidCalls of all attempts of this run
 * @param left.rates that the worker allows itself, where its calls were throttled
 * @param left.trouble what this attempt met, or the one before where this one does not count
 * @param rest.waitMs for which the job will wait
 */
export async function releaseImage(
  records: Records,
  { imageId, leaseId, swept = 0 }: ProcessingImage,
  left: { throttled: number; kept: Kept; paidCalls: PaidCalls } & Pick<
    ProcessingImage,
    'rates' | 'parked' | 'trouble'
  >,
  rest: { for: NonNullable<ProcessingImage['waits']>['for']; waitMs: number },
): Promise<void> {
  const until = new Date(records.now().getTime() + rest.waitMs).toISOString()
  const waits = { for: rest.for, until }
  await changeImage(records, imageId, {
    set: { leaseUntil: 0, ...left, waits, dueAt: sweepAt(records, { swept, waitMs: rest.waitMs }) },
    ...heldBy(leaseId),
  })
}

/** Ends the lease of a worker that is known to be dead. */
export async function endLease(
  { dynamo, table }: Pick<Records, 'dynamo' | 'table'>,
  imageId: ImageId,
): Promise<void> {
  await dynamo.send(
    new UpdateCommand({
      TableName: table,
      Key: { imageId },
      UpdateExpression: 'SET leaseUntil = :over',
      ConditionExpression: 'attribute_exists(imageId)',
      ExpressionAttributeValues: { ':over': 0 },
    }),
  )
}

/** What a run has come to, beside what each finished image has. */
export type Outcome = Record<string, unknown> &
  ({ status: 'completed' } | { status: 'failed'; failure: Failure; trouble?: Trouble })

/**
 * Commits what the worker that holds an image has found out.
 *
 * @returns the record as it now stands: this outcome or another one of the same run; undefined if it is gone, still
 * under way elsewhere, or in a later run
 */
export const commitImage = (
  records: Records,
  image: ProcessingImage,
  outcome: Outcome,
): Promise<FinishedImage | undefined> =>
  endRun(
    records,
    image,
    { ...outcome, ...(outcome.status === 'completed' ? { index: 2 } : {}) },
    heldBy(image.leaseId),
  )

/** @param still what must hold as well as the epoch */
async function endRun(
  records: Records,
  { imageId, epoch }: Image,
  outcome: Outcome,
  still: Pick<Write, 'condition' | 'values'>,
): Promise<FinishedImage | undefined> {
  const now = records.now().toISOString()
  const image =
    (await updateImage(records, imageId, {
      set: {
        ...outcome,
        ...(outcome.status === 'failed' ? { statusKey: statusKey('failed', imageId) } : {}),
        updatedAt: now,
        completedAt: now,
        dueAt: sweepAt(records),
      },
      remove: [
        'leaseId',
        'leaseUntil',
        'waits',
        'rates',
        'parked',
        'throttled',
        'swept',
        ...(outcome.status === 'completed' ? ['statusKey'] : []),
        // What was paid for in vain is kept for a retry.
        ...(isExhausted(outcome) ? [] : ['kept']),
        ...('trouble' in outcome ? [] : ['trouble']),
      ],
      condition: `epoch = :epoch AND ${still.condition}`,
      values: { ':epoch': epoch, ...still.values },
      // Refused also when the write was done and its answer lost; so what counts is what is there.
    })) ?? (await getImage(records, imageId))
  return image !== undefined && image.epoch === epoch && isFinished(image) ? image : undefined
}

interface Exhausted {
  failure: Failure
  trouble?: Trouble
}
/**
 * Why an image is given up, with what the last attempt met. Of that nothing is known where it ended with its worker.
 *
 * @param ended how many attempts of the run have ended
 */
export function exhaust({ trouble }: Image, ended: number, what: string): Exhausted {
  const isLast = trouble?.attempt === ended
  const met = isLast ? ` (the last attempt met ${trouble.name})` : ''
  const failure: Failure = { code: 'EXHAUSTED', message: `${what}${met}; try again later.` }
  return { failure, ...(isLast && { trouble }) }
}

/** A change of an image sets the time of its next sweep, so an unchanged time means an unchanged image. */
const unchanged = ({ sweepAt, dueAt }: Pick<Image, 'sweepAt' | 'dueAt'>) =>
  dueAt === undefined
    ? { condition: 'sweepAt = :seen AND attribute_not_exists(dueAt)', values: { ':seen': sweepAt } }
    : { condition: 'sweepAt = :seen AND dueAt = :due', values: { ':seen': sweepAt, ':due': dueAt } }

/**
 * Ends the run of an image that no worker holds: the sweeper gives it up.
 *
 * @returns as for `commitImage`
 */
export function giveUpImage(
  records: Records,
  image: Image,
  exhausted: Exhausted,
): Promise<FinishedImage | undefined> {
  const { condition, values } = unchanged(image)
  return endRun(
    records,
    image,
    { status: 'failed', ...exhausted },
    {
      condition: [condition, '(attribute_not_exists(leaseUntil) OR leaseUntil < :now)'].join(' AND '),
      values: { ...values, ':now': records.now().getTime() },
    },
  )
}

/**
 * Takes an image whose event is acknowledged out of the index `unfinished`. Until then the sweeper finds it there, so
 * that an event is not lost with its job.
 */
export async function markAnnounced(records: Records, image: FinishedImage): Promise<void> {
  const { imageId, epoch, status } = image
  const marked = await changeImage(records, imageId, {
    set: { announced: epoch },
    remove: ['unfinished', 'sweepAt', 'dueAt'],
    condition: 'epoch = :epoch AND #status = :finished',
    values: { ':epoch': epoch, ':finished': status },
  })
  // Deleted while it was put into the index of labels, where a search would show it until the sweeper comes.
  if (!marked) await unindexLabels(records, imageId, labelKeys(image))
}

/**
 * Begins a new run of an image that has failed: the next epoch, with none of the attempts of the one before.
 *
 * @param submittedAt milliseconds since 1970, by which the caller knows its own write
 * @returns the record after it; undefined where the image is not as it was, or its failure is still to be announced
 */
export const retryImage = (
  records: Records,
  { imageId, epoch }: Image,
  submittedAt = records.now().getTime(),
): Promise<Image | undefined> =>
  updateImage(records, imageId, {
    set: {
      status: 'pending',
      statusKey: statusKey('pending', imageId),
      unfinished: unfinishedShard(imageId),
      updatedAt: new Date(submittedAt).toISOString(),
      submittedAt,
      sweepAt: sweepAt(records),
      attempts: 0,
      epoch: epoch + 1,
    },
    remove: ['failure', 'completedAt', 'announced', 'throttled', 'swept', 'dueAt', 'paidCalls', 'trouble'],
    // Not before its failure is announced, or the event would be lost with the run.
    condition: '#status = :failed AND epoch = :ended AND attribute_not_exists(unfinished)',
    values: { ':failed': 'failed', ':ended': epoch },
  })

/** More often than an image's status changes in the moment of its deletion. */
const DELETIONS = 5

/**
 * Deletes a record: what is left of it has no owner, and only has the sweeper look once more for objects and for
 * entries in the index of labels, when all that was under way must have ended. Until then it keeps a request that is
 * repeated from making the record again; after that, the sweeper's note at the idempotency key does.
 *
 * @param graceMs milliseconds more than usual for which something may still come
 * @param isStill whether a record that has changed since it was seen is to be deleted all the same
 * @returns the record as it was at its end; undefined where it was gone already, or is no longer to be deleted
 */
export async function deleteRecord(
  records: Records,
  seen: Image,
  graceMs = 0,
  isStill: (image: Image) => boolean = () => true,
): Promise<Image | undefined> {
  const { dynamo, table } = records
  const { imageId, owner, keyHash } = seen
  let image: Image | undefined = seen
  for (let look = 0; look < DELETIONS; look += 1) {
    const labels = labelKeys(image)
    try {
      await dynamo.send(
        new PutCommand({
          TableName: table,
          Item: {
            imageId,
            status: 'deleted',
            unfinished: unfinishedShard(imageId),
            sweepAt: sweepAt(records) + graceMs,
            ...(labels.length > 0 ? { labels } : {}),
            ...(keyHash === undefined ? {} : { keyHash }),
          },
          // Completed in this moment, it would leave entries in the index that the note does not have. A claim adds an attempt.
          ConditionExpression: '#owner = :owner AND #status = :status AND attempts = :attempts',
          ExpressionAttributeNames: { '#owner': 'owner', '#status': 'status' },
          ExpressionAttributeValues: {
            ':owner': owner,
            ':status': image.status,
            ':attempts': image.attempts,
          },
        }),
      )
      return image
    } catch (error) {
      if (!(error instanceof ConditionalCheckFailedException)) throw error
    }
    image = await getOwnImage(records, owner, imageId)
    // Deleted already, perhaps by this very write, of which only the answer was lost.
    if (image === undefined || !isStill(image)) return undefined
  }
  throw new Error('The image changes faster than it can be deleted.')
}

/** What the sweeper may see of a record, or of what a deletion has left of one. */
export type Seen = Pick<Image, 'imageId' | 'sweepAt' | 'dueAt' | 'swept'>

/** When the sweeper should look at it. */
export const dueAt = ({ sweepAt, dueAt = sweepAt }: Pick<Seen, 'sweepAt' | 'dueAt'>): number | undefined =>
  dueAt

/** Has the sweeper look at an image once more, after twice the time; unless the image has changed since it was seen. */
export const deferSweep = (records: Records, seen: Seen): Promise<boolean> => {
  const swept = (seen.swept ?? 0) + 1
  return setSweep(records, seen, { sweepAt: sweepAt(records, { swept }), swept })
}

/** Has the sweeper find an image when it is due, where that is later by now; unless it has changed since it was seen. */
export const moveSweep = (records: Records, seen: Seen): Promise<boolean> =>
  setSweep(records, seen, { sweepAt: Number(dueAt(seen)) })

const setSweep = (
  { dynamo, table }: Records,
  seen: Seen,
  set: { sweepAt: number; swept?: number },
): Promise<boolean> => {
  const { condition, values } = unchanged(seen)
  return unlessRefused(
    dynamo.send(
      new UpdateCommand({
        TableName: table,
        Key: { imageId: seen.imageId },
        UpdateExpression: `SET ${Object.keys(set).map((name) => `${name} = :new_${name}`)} REMOVE dueAt`,
        ConditionExpression: condition,
        ExpressionAttributeValues: {
          ...values,
          ...Object.fromEntries(Object.entries(set).map(([name, value]) => [`:new_${name}`, value])),
        },
      }),
    ),
  )
}

/** Removes the last trace of an image, unless it has changed since it was seen. @returns whether it is removed */
export const removeRecord = (
  { dynamo, table }: Pick<Records, 'dynamo' | 'table'>,
  seen: Seen,
): Promise<boolean> => {
  const { condition, values } = unchanged(seen)
  return unlessRefused(
    dynamo.send(
      new DeleteCommand({
        TableName: table,
        Key: { imageId: seen.imageId },
        ConditionExpression: condition,
        ExpressionAttributeValues: values,
      }),
    ),
  )
}

/**
 * Notes at an idempotency key that its image was deleted, before the last trace of the record goes: or a request
 * that is repeated after that would make the image again. Unless the key has run out, or stands for another image by now.
 */
export async function closeIdempotencyKey(
  { dynamo, table }: Pick<Records, 'dynamo' | 'table'>,
  keyHash: string,
  imageId: ImageId,
): Promise<void> {
  await unlessRefused(
    dynamo.send(
      new UpdateCommand({
        TableName: table,
        Key: { imageId: idempotencyKey(keyHash) },
        UpdateExpression: 'SET deleted = :true',
        ConditionExpression: '#target = :imageId',
        ExpressionAttributeNames: { '#target': 'target' },
        ExpressionAttributeValues: { ':true': true, ':imageId': imageId },
      }),
    ),
  )
}

/** Everything in the bucket that an image may have: of a deleted one, or of one that never came. */
export async function deleteObjects(
  { s3, bucket }: { s3: S3Client; bucket: string },
  imageId: ImageId,
): Promise<void> {
  for (const Key of objectKeys(imageId)) await s3.send(new DeleteObjectCommand({ Bucket: bucket, Key }))
}

/**
 * @returns what S3 says where there is no such object; undefined where there is one
 * @throws Error also where there is no such bucket: under a wrong name, perhaps, and then no image is to suffer for it
 */
export async function absenceOf(
  { s3 }: { s3: S3Client },
  bucket: string,
  key: string,
): Promise<NotFound | undefined> {
  try {
    await s3.send(new HeadObjectCommand({ Bucket: bucket, Key: key }))
    return undefined
  } catch (error) {
    if (!(error instanceof NotFound)) throw error
    // S3 says the same where the bucket is not there.
    await s3.send(new HeadBucketCommand({ Bucket: bucket }))
    return error
  }
}
