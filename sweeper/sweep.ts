import { GetCommand, paginateQuery } from '@aws-sdk/lib-dynamodb'
import type { Span } from '@opentelemetry/api'
import * as z from 'zod'
import {
  type FinishedImage,
  type Image,
  type ImageId,
  imageIdSchema,
  isFinished,
  uploadKey,
} from '../shared/image.ts'
import { indexLabels, unindexLabels } from '../shared/labels.ts'
import {
  absenceOf,
  closeIdempotencyKey,
  deferSweep,
  deleteObjects,
  dueAt,
  exhaust,
  giveUpImage,
  markAnnounced,
  moveSweep,
  readImage,
  removeRecord,
  type Seen,
} from '../shared/lifecycle.ts'
import { runOf, say } from '../shared/log.ts'
import {
  announcementOf,
  inSpan,
  keepExhausted,
  linkToRequest,
  putEvents,
  readJobs,
  sendJob,
} from '../shared/messages.ts'
import { type RecordsIndex, UNFINISHED_SHARDS } from '../shared/table.ts'
import type { SweeperDeps } from './deps.ts'

/** What became of the images that were due. */
export interface Swept {
  requeued: number
  exhausted: number
  announced: number
  /** Records of deleted images, and of submissions that never came. */
  removed: number
  /** Those that met trouble; the next sweep finds them again. */
  failed: number
}

/** Images looked after side by side. */
const AT_ONCE = 10
/**
 * Looks after every image that has rested for too long, since no other part does.
 *
 * @param before ms since 1970; images that are due before it are looked after, which may be all that are unfinished
 */
export const sweep = (deps: SweeperDeps, before = deps.now().getTime()): Promise<Swept> =>
  inSpan('sweep', () => sweepAll(deps, before))

async function sweepAll(deps: SweeperDeps, before: number): Promise<Swept> {
  const swept: Swept = { requeued: 0, exhausted: 0, announced: 0, removed: 0, failed: 0 }
  for (const shard of UNFINISHED_SHARDS) {
    const pages = paginateQuery(
      { client: deps.dynamo },
      {
        TableName: deps.table,
        IndexName: 'unfinished' satisfies RecordsIndex,
        KeyConditionExpression: 'unfinished = :shard AND sweepAt < :before',
        ExpressionAttributeValues: { ':shard': shard, ':before': before },
      },
    )
    for await (const { Items = [] } of pages) {
      const ids = Items.map((item) => imageIdSchema.parse(item['imageId']))
      for (let from = 0; from < ids.length; from += AT_ONCE) {
        const some = ids.slice(from, from + AT_ONCE)
        const done = await Promise.all(some.map((imageId) => sweepImage(deps, imageId, before)))
        for (const one of done) if (one !== undefined) swept[one] += 1
      }
    }
  }
  return swept
}

async function sweepImage(
  deps: SweeperDeps,
  imageId: ImageId,
  before: number,
): Promise<keyof Swept | undefined> {
  const options = () => ({ attributes: { 'image_analyzer.image_id': imageId } })
  const tell = (span: Span, became?: keyof Swept): void => {
    if (became !== undefined) span.setAttribute('image_analyzer.swept', became)
  }
  try {
    return await inSpan('sweep image', () => settle(deps, imageId, before), options, tell)
  } catch (error) {
    say(deps.log, 'not swept', { imageId, error })
    return 'failed'
  }
}

const seenSchema = z.object({
  imageId: imageIdSchema,
  sweepAt: z.number(),
  dueAt: z.number().optional(),
  /** How often the sweeper has seen it. */
  swept: z.int().min(0).optional(),
})
const deletedSchema = seenSchema.extend({
  status: z.literal('deleted'),
  /** What `labelKeys` said of it. */
  labels: z.array(z.string()).default([]),
  /** Of the idempotency key that it was submitted with. */
  keyHash: z.string().optional(),
})

async function settle(deps: SweeperDeps, imageId: ImageId, before: number): Promise<keyof Swept | undefined> {
  // The index may lag behind, and even this read may be stale: every write here holds only if the image is as it was seen,
  // and to send a job or an event once too often is harmless.
  const { Item } = await deps.dynamo.send(new GetCommand({ TableName: deps.table, Key: { imageId } }))
  if (Item?.['sweepAt'] === undefined) return undefined
  const seen = seenSchema.parse(Item)
  if (Number(dueAt(seen)) >= before) {
    if (seen.sweepAt < before) await moveSweep(deps, seen)
    return undefined
  }
  const deleted = deletedSchema.safeParse(Item)
  if (deleted.success) {
    await deleteObjects(deps, imageId)
    await unindexLabels(deps, imageId, deleted.data.labels)
    if (deleted.data.keyHash !== undefined) await closeIdempotencyKey(deps, deleted.data.keyHash, imageId)
    return remove(deps, deleted.data)
  }
  const image = readImage(Item)
  await linkToRequest(image)
  if (isFinished(image)) return announce(deps, image)
  const isQueued = deps.isQueued?.(image) ?? false
  // A later run was asked for, or its job is there: what it lacks, the worker says.
  if (!isQueued && image.epoch === 1 && image.attempts === 0 && !(await hasOriginal(deps, image))) {
    // Its submission broke off, and was answered with no 202; or it is an upload that never came, and cannot come now.
    const mayCome = image.status === 'awaiting_upload' && Number(dueAt(image)) >= deps.now().getTime()
    return mayCome ? undefined : remove(deps, image)
  }
  const attempts = image.attempts - (image.throttled ?? 0)
  const age = deps.now().getTime() - image.submittedAt
  if (attempts >= deps.maxAttempts || age > deps.giveUpMs) return giveUp(deps, image)
  return isQueued ? undefined : requeue(deps, image)
}

/**
 * Says for each run whether its job is among the messages of a queue. What is no job, or one of a later version, is for a
 * worker to report.
 */
export function queuedRuns(bodies: string[]): NonNullable<SweeperDeps['isQueued']> {
  const nameOf = ({ imageId, epoch }: Pick<Image, 'imageId' | 'epoch'>) => `${imageId} ${epoch}`
  const runsOf = (body: string): string[] => {
    try {
      return readJobs(body).map(nameOf)
    } catch {
      return []
    }
  }
  const runs = new Set(bodies.flatMap(runsOf))
  return (image) => runs.has(nameOf(image))
}

/**
 * A new job: its own was never sent, or SQS has lost it, or given it up. Or it still waits in a long backlog; a job too
 * many is harmless, and as the image is swept after twice the time each time, there are few.
 */
async function requeue(deps: SweeperDeps, image: Image): Promise<'requeued'> {
  const { imageId, epoch, owner } = image
  await sendJob(deps, { version: 1, imageId, epoch }, owner)
  say(deps.log, 'requeued', runOf(image))
  await deferSweep(deps, image)
  return 'requeued'
}

async function giveUp(deps: SweeperDeps, image: Image): Promise<'exhausted' | undefined> {
  const exhausted = exhaust(image, image.attempts, 'The image could not be analysed in time')
  const finished = await giveUpImage(deps, image, exhausted)
  if (finished === undefined) return undefined
  say(deps.log, 'exhausted', { ...runOf(image), code: 'EXHAUSTED', error: exhausted.trouble })
  await announce(deps, finished)
  return 'exhausted'
}

async function announce(deps: SweeperDeps, image: FinishedImage): Promise<'announced'> {
  await indexLabels(deps, image)
  const [refused] = await putEvents(deps, [announcementOf(image)])
  if (refused !== undefined)
    throw new Error(`The event bus ${deps.eventBus} did not take the event: ${refused}.`)
  await keepExhausted(deps, image)
  await markAnnounced(deps, image)
  say(deps.log, 'announced', { ...runOf(image), outcome: image.status })
  return 'announced'
}

async function hasOriginal(deps: SweeperDeps, image: Image): Promise<boolean> {
  const key = image.status === 'awaiting_upload' ? uploadKey(image.imageId) : image.original.key
  return (await absenceOf(deps, deps.bucket, key)) === undefined
}

/**
 * Not at first sight: where a clock is wrong, that of the sweeper or that of the API, what it seems to have left behind
 * for long may have begun a moment ago. Until the second look it has ended.
 */
async function remove(deps: SweeperDeps, seen: Seen): Promise<'removed' | undefined> {
  if ((seen.swept ?? 0) === 0 && !deps.isAlone) {
    await deferSweep(deps, seen)
    return undefined
  }
  if (!(await removeRecord(deps, seen))) return undefined
  say(deps.log, 'removed', { imageId: seen.imageId })
  return 'removed'
}
