import { paginateScan } from '@aws-sdk/lib-dynamodb'
import * as z from 'zod'
import { CALL_USD, CALLS_PER_USD } from '../shared/config.ts'
import {
  type Image,
  type ImageId,
  imageIdSchema,
  isExhausted,
  PAID_ANALYSES,
  type PaidCalls,
} from '../shared/image.ts'
import { deleteRecord, getImage, type Records, retryImage } from '../shared/lifecycle.ts'
import { ownerTag } from '../shared/log.ts'
import { type JobQueue, sendJob } from '../shared/messages.ts'
import { dayOf, monthOf, paidOn, reservedCalls } from '../shared/table.ts'

/** What operators do with many images at once. */

export interface OpsDeps extends Records, JobQueue {}

/** Which images are meant; all that is given has to fit. */
export interface Choice {
  status: 'failed' | 'pending' | 'processing'
  /** Since then: of its end, or of its submission where it has none. ISO 8601, UTC. */
  since?: string | undefined
  code?: string | undefined
  /** The first 16 hex digits of the owner's SHA-256, as the log has it. */
  ownerHash?: string | undefined
}

const chosenSchema = z.object({
  imageId: imageIdSchema,
  owner: z.string(),
  completedAt: z.string().optional(),
  createdAt: z.string(),
  failure: z.object({ code: z.string(), message: z.string() }).optional(),
})
export type Chosen = z.infer<typeof chosenSchema>

/**
 * Looks through the whole index `byStatus`, which has no completed images (shared/table.ts): as much is read as there are
 * images that failed or wait. An index of failures alone would cost a write for each failure and each retry.
 */
export async function* choose(deps: OpsDeps, choice: Choice): AsyncGenerator<Chosen> {
  const { status, since, code, ownerHash } = choice
  const pages = paginateScan(
    { client: deps.dynamo },
    {
      TableName: deps.table,
      IndexName: 'byStatus',
      FilterExpression: `#status = :status${code === undefined ? '' : ' AND failure.code = :code'}`,
      ProjectionExpression: 'imageId, #owner, createdAt, completedAt, failure',
      ExpressionAttributeNames: { '#status': 'status', '#owner': 'owner' },
      ExpressionAttributeValues: { ':status': status, ...(code === undefined ? {} : { ':code': code }) },
    },
  )
  for await (const { Items = [] } of pages) {
    for (const item of Items) {
      const chosen = chosenSchema.parse(item)
      if (since !== undefined && (chosen.completedAt ?? chosen.createdAt) < since) continue
      if (ownerHash !== undefined && ownerTag(chosen.owner) !== ownerHash) continue
      yield chosen
    }
  }
}

export interface Failures {
  code: string
  images: number
  /** What the most recent of them says, and all of them, numbers apart. */
  message: string
  /** Of EXHAUSTED: what AWS said to the last attempt at the most recent of them; none where that ended with its worker. */
  trouble?: string
  samples: ImageId[]
}
const SAMPLES = 3

/** By their codes and causes, the most frequent first; with the newest images as samples. */
export async function countFailures(images: AsyncIterable<Chosen>): Promise<Failures[]> {
  const groups = new Map<string, { images: number; newest: Chosen[] }>()
  for await (const image of images) {
    // A cause may say how many bytes or segments a file has.
    const cause = `${image.failure?.code} ${image.failure?.message.replaceAll(/\d+/g, '0')}`
    const group = groups.get(cause) ?? { images: 0, newest: [] }
    const newest = [...group.newest, image].sort((a, b) => (endOf(a) < endOf(b) ? 1 : -1)).slice(0, SAMPLES)
    groups.set(cause, { images: group.images + 1, newest })
  }
  return [...groups.values()]
    .map(({ images, newest }) => ({
      code: newest[0]?.failure?.code ?? '',
      images,
      message: newest[0]?.failure?.message ?? '',
      samples: newest.map(({ imageId }) => imageId),
    }))
    .sort((a, b) => b.images - a.images)
}
/** With what the records of given up images have for operators alone: a read for each group of them. */
export const withTrouble = (deps: OpsDeps, groups: Failures[]): Promise<Failures[]> =>
  Promise.all(
    groups.map(async (group) => {
      const newest = group.code === 'EXHAUSTED' ? group.samples[0] : undefined
      const image = newest && (await getImage(deps, newest))
      const trouble = image && isExhausted(image) ? image.trouble : undefined
      return trouble ? { ...group, trouble: `${trouble.name}: ${trouble.message}` } : group
    }),
  )
const endOf = ({ completedAt, createdAt }: Chosen): string => completedAt ?? createdAt

/** As by `POST /images/{imageId}/retry`. @returns whether the image has begun its next run */
export async function retry(deps: OpsDeps, { imageId }: Chosen): Promise<boolean> {
  const image = await getImage(deps, imageId)
  if (image?.status !== 'failed') return false
  const begun = await retryImage(deps, image)
  if (begun === undefined) return false
  // Should this fail, the sweeper sends it.
  await sendJob(deps, { version: 1, imageId, epoch: begun.epoch }, begun.owner)
  return true
}

/** Once it was taken up, an image is `processing`, also while no worker has it: it waits for a quota, the budget, a retry. */
const isWaiting = (image: Image | undefined): image is Image =>
  image?.status === 'pending' || (image?.status === 'processing' && image.leaseUntil === 0)

/** Images that no worker has. */
export async function* chooseWaiting(deps: OpsDeps, choice: Omit<Choice, 'status'>): AsyncGenerator<Chosen> {
  yield* choose(deps, { ...choice, status: 'pending' })
  const takenUp = choose(deps, { ...choice, status: 'processing' })
  for await (const { chosen, image } of inWhole(deps, takenUp)) if (isWaiting(image)) yield chosen
}

/** As by `DELETE /images/{imageId}`; the sweeper removes what is stored. @returns whether the image waited until then */
export async function cancel(deps: OpsDeps, { imageId }: Chosen): Promise<boolean> {
  const image = await getImage(deps, imageId)
  return isWaiting(image) && (await deleteRecord(deps, image, 0, isWaiting)) !== undefined
}

const HOUR_MS = 3_600_000

/**
 * What waits for Rekognition, by the records: they have the calls a second that a worker allowed itself when it let an image go,
 * of which the newest count. What waits for the month's budget is not among what is throttled: no quota mends it.
 */
export async function quotaOf(deps: OpsDeps) {
  const hourAgo = new Date(deps.now().getTime() - HOUR_MS).toISOString()
  const facts = { waiting: 0, inWork: 0, throttled: 0, lastHour: 0, overBudget: 0 }
  const learned = new Map<string, { rate: number; at: string }>()
  for await (const _ of choose(deps, { status: 'pending' })) facts.waiting += 1
  // Once it was taken up, an image is shown as processing, also while its job waits.
  for await (const { image } of inWhole(deps, choose(deps, { status: 'processing' }))) {
    if (image?.status !== 'processing') continue
    const isOverBudget = image.waits?.for === 'budget'
    const isThrottled = !isOverBudget && (image.waits?.for === 'quota' || (image.throttled ?? 0) > 0)
    facts[image.leaseUntil > deps.now().getTime() ? 'inWork' : 'waiting'] += 1
    if (isOverBudget) facts.overBudget += 1
    if (!isThrottled) continue
    facts.throttled += 1
    if (image.updatedAt >= hourAgo) facts.lastHour += 1
    for (const [name, rate] of Object.entries(image.rates ?? {}))
      if (image.updatedAt > (learned.get(name)?.at ?? '')) learned.set(name, { rate, at: image.updatedAt })
  }
  return { ...facts, rates: Object.fromEntries([...learned].map(([name, { rate }]) => [name, rate])) }
}

/** Records that are read side by side. */
const READ_TOGETHER = 25

/** Images with their records, which a list has not in whole. */
async function* inWhole(deps: OpsDeps, all: AsyncIterable<Chosen>) {
  let part: Chosen[] = []
  const read = () =>
    Promise.all(part.map(async (chosen) => ({ chosen, image: await getImage(deps, chosen.imageId) })))
  for await (const chosen of all) {
    part.push(chosen)
    if (part.length < READ_TOGETHER) continue
    yield* await read()
    part = []
  }
  yield* await read()
}

/** Of a million calls of a month the first price is asked; the rest costs less. */
const FIRST_CALLS = 1_000_000
/** @returns US dollars */
export const priceOf = (calls: number, { first, rest } = CALL_USD): number =>
  Math.min(calls, FIRST_CALLS) * first + Math.max(0, calls - FIRST_CALLS) * rest
const inUsd = (amount: number): number => Number(amount.toFixed(3))
const sumOf = (calls: PaidCalls): number => PAID_ANALYSES.reduce((sum, name) => sum + (calls[name] ?? 0), 0)

/** What this month's calls of Rekognition cost: those that were reserved of its budget, and those that were paid for, by the day. */
export async function costOf(deps: OpsDeps) {
  const at = deps.now()
  const month = monthOf(at)
  const calls = await reservedCalls(deps, month)
  const turnOf = (more: number): number => Date.UTC(at.getUTCFullYear(), at.getUTCMonth() + more)
  // In its first hour a month foretells nothing, and in its first moment that would be a division by 0.
  const gone = Math.max(at.getTime() - turnOf(0), HOUR_MS) / (turnOf(1) - turnOf(0))
  const days: ({ day: string; calls: number; usd: number } & PaidCalls)[] = []
  let paid = 0
  const dates = Array.from({ length: at.getUTCDate() }, (_, before) =>
    dayOf(new Date(turnOf(0) + before * 24 * HOUR_MS)),
  )
  const ledger = await Promise.all(dates.map(async (day) => ({ day, entered: await paidOn(deps, day) })))
  for (const { day, entered } of ledger) {
    const before = paid
    paid += sumOf(entered)
    if (paid > before)
      days.push({ day, calls: paid - before, usd: inUsd(priceOf(paid) - priceOf(before)), ...entered })
  }
  const reserved = {
    calls,
    usd: inUsd(calls / CALLS_PER_USD),
    forecastUsd: inUsd(calls / gone / CALLS_PER_USD),
  }
  const forecastUsd = inUsd(priceOf(paid / gone))
  return { month, ...reserved, paid: { calls: paid, usd: inUsd(priceOf(paid)), forecastUsd }, days }
}
