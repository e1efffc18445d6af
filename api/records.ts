import { createHash } from 'node:crypto'
import { ConditionalCheckFailedException } from '@aws-sdk/client-dynamodb'
import { GetCommand, PutCommand, UpdateCommand } from '@aws-sdk/lib-dynamodb'
import * as z from 'zod'
import type { Elapsed, Sleep } from '../shared/aws.ts'
import type { MonthlyBudget } from '../shared/config.ts'
import {
  type AnalysisName,
  type Image,
  type ImageId,
  imageIdSchema,
  isFinished,
  paidAnalyses,
  STATUSES,
  type Status,
} from '../shared/image.ts'
import type { Records } from '../shared/lifecycle.ts'
import { dayOf, idempotencyKey, monthOf, quotaKey, reservedCalls } from '../shared/table.ts'
import { ApiError } from './schemas.ts'

/**
 * Counts an image of an owner's day, if that leaves them within their quota.
 *
 * @param ownerHash hex SHA-256, so that what a caller is called is never a name in the table
 */
async function countImage(
  { dynamo, table, now }: Records,
  ownerHash: string,
  day: string,
  quota: number,
): Promise<boolean> {
  try {
    await dynamo.send(
      new UpdateCommand({
        TableName: table,
        Key: { imageId: quotaKey(ownerHash, day) },
        UpdateExpression: 'SET expiresAt = :expiresAt ADD images :one',
        ConditionExpression: 'attribute_not_exists(images) OR images < :quota',
        ExpressionAttributeValues: {
          ':one': 1,
          ':quota': quota,
          ':expiresAt': Math.floor(now().getTime() / 1_000) + 2 * 86_400,
        },
      }),
    )
    return true
  } catch (error) {
    if (error instanceof ConditionalCheckFailedException) return false
    throw error
  }
}

/** Milliseconds for which what the table says of the budget is believed: one read for all requests of a process. */
const BELIEVED_MS = 5_000

/** @returns says whether images are refused because all calls of the month are reserved */
export function watchBudget(
  { now, elapsed, dynamo, table }: Pick<Records, 'dynamo' | 'table' | 'now'> & { elapsed: Elapsed },
  budget: MonthlyBudget | undefined,
): () => Promise<boolean> {
  let month = ''
  let until = Number.NEGATIVE_INFINITY
  let isSpent = Promise.resolve(false)
  return () => {
    if (budget?.action !== 'refuse') return isSpent
    const current = monthOf(now())
    if (current !== month || elapsed() >= until) {
      month = current
      until = elapsed() + BELIEVED_MS
      isSpent = reservedCalls({ dynamo, table }, current).then((reserved) => reserved >= budget.calls)
      isSpent.catch(() => {
        until = Number.NEGATIVE_INFINITY
      })
    }
    return isSpent
  }
}

export interface RoomDeps extends Records {
  /** Images that an owner may submit in a day of UTC. */
  dailyImageQuota?: number | undefined
  /** Whether images are refused because the month's budget is spent. */
  isBudgetSpent: () => Promise<boolean>
}

const DAY_MS = 86_400_000

/** @throws ApiError TOO_MANY_REQUESTS, BUDGET_EXHAUSTED */
export async function demandRoom(
  deps: RoomDeps,
  owner: string,
  now: Date,
  analyses: AnalysisName[],
): Promise<void> {
  await demandBudget(deps, analyses, now)
  if (deps.dailyImageQuota === undefined) return
  const day = dayOf(now)
  const ownerHash = createHash('sha256').update(owner).digest('hex')
  if (await countImage(deps, ownerHash, day, deps.dailyImageQuota)) return
  const left = Math.ceil((DAY_MS - (now.getTime() % DAY_MS)) / 1_000)
  throw new ApiError(
    'TOO_MANY_REQUESTS',
    `An owner may submit ${deps.dailyImageQuota} images a day; the next day begins at 00:00 UTC.`,
    { retryAfter: left },
  )
}

export async function demandBudget(
  { isBudgetSpent }: RoomDeps,
  analyses: AnalysisName[],
  now: Date,
): Promise<void> {
  if (paidAnalyses(analyses).length === 0 || !(await isBudgetSpent())) return
  const turn = Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1)
  throw new ApiError(
    'BUDGET_EXHAUSTED',
    `The monthly budget for analyses is spent: send the request again after ${new Date(turn).toISOString()}.`,
    { retryAfter: Math.ceil((turn - now.getTime()) / 1_000) },
  )
}

/** Seconds for which an idempotency key is remembered: a day, as long as any sensible client repeats a request. */
const KEY_LIFETIME_SECONDS = 86_400
/** A key may run out and be removed between two looks; after that it can be claimed. */
const CLAIMS = 3

/** What a request with an idempotency key has made, or is about to make. */
export interface KeyedRequest {
  imageId: ImageId
  /** Hex SHA-256 of all that the request asks for. */
  request: string
  /** Hex SHA-256 of the bytes: a key that was stored without `request`, by an older version, is compared by it. */
  sha256: string
  createdAt: string
}

const keyItemSchema = z.object({
  target: imageIdSchema,
  request: z.string().optional(),
  sha256: z.string(),
  createdAt: z.iso.datetime(),
  deleted: z.literal(true).optional(),
})

/**
 * Ties an idempotency key to a request, once: the first one decides, and all others get what it was.
 *
 * @param keyHash hex SHA-256 of owner and key, so that what a client sends is never a name in the table
 * @returns the request that the key stands for, and whether its image is deleted
 */
export async function claimIdempotencyKey(
  { dynamo, table }: Records,
  keyHash: string,
  candidate: KeyedRequest,
): Promise<Omit<KeyedRequest, 'request'> & { request?: string | undefined; deleted?: true | undefined }> {
  const key = { imageId: idempotencyKey(keyHash) }
  const { imageId, ...own } = candidate
  const now = Math.floor(Date.parse(candidate.createdAt) / 1000)
  for (let look = 0; look < CLAIMS; look += 1) {
    try {
      await dynamo.send(
        new PutCommand({
          TableName: table,
          Item: { ...key, target: imageId, ...own, expiresAt: now + KEY_LIFETIME_SECONDS },
          // DynamoDB deletes expired items only within days, so the condition looks at the time too.
          ConditionExpression: 'attribute_not_exists(imageId) OR expiresAt <= :now',
          ExpressionAttributeValues: { ':now': now },
        }),
      )
      return candidate
    } catch (error) {
      if (!(error instanceof ConditionalCheckFailedException)) throw error
    }
    const { Item } = await dynamo.send(new GetCommand({ TableName: table, Key: key, ConsistentRead: true }))
    if (Item === undefined) continue
    const { target, ...known } = keyItemSchema.parse(Item)
    return { imageId: target, ...known }
  }
  throw new Error('The idempotency key comes and goes faster than it can be claimed.')
}

/** What has become of an image that a request before may have made. */
export async function statusOf(
  { dynamo, table }: Pick<Records, 'dynamo' | 'table'>,
  imageId: ImageId,
): Promise<Status | 'deleted' | undefined> {
  const { Item } = await dynamo.send(
    new GetCommand({ TableName: table, Key: { imageId }, ConsistentRead: true }),
  )
  return z
    .enum([...STATUSES, 'deleted'])
    .optional()
    .parse(Item?.['status'])
}

export const deletedMeanwhile = (): ApiError =>
  new ApiError(
    'IMAGE_NOT_FOUND',
    'The image of this Idempotency-Key was deleted. To submit it again, use another key.',
  )

/** Looks and milliseconds for which a repetition waits for the record of the request before, which may be under way. */
const FIRST_REQUEST = { looks: 4, everyMs: 100 }

/** @returns undefined where there is no record: the request before has broken off */
export async function statusOnceWritten(
  deps: Records,
  imageId: ImageId,
): Promise<Status | 'deleted' | undefined> {
  for (let look = 1; ; look += 1) {
    const status = await statusOf(deps, imageId)
    if (status !== undefined || look === FIRST_REQUEST.looks) return status
    await deps.sleep(FIRST_REQUEST.everyMs)
  }
}

/** Milliseconds between two looks at a record: short at first, since most images take under a second. */
const STEPS_MS = [100, 200, 300, 500] as const
/**
 * The least of them for each image that is waited for: all images together are looked at 200 times a second at most. In one
 * process for everybody (`npm start`), a thousand of them would leave nothing for those who submit.
 */
const MS_PER_IMAGE = 5

interface Waiter {
  /** When it gets its answer at the latest, by `elapsed`. */
  until: number
  client: AbortSignal
  answer: (image: Image) => void
  fail: (error: unknown) => void
}

/**
 * @param key the same for all who may see the same image
 * @param look reads the record
 * @param client aborted when the client is gone
 * @returns the record when it is finished, the time is up or the client is gone
 * @throws what `look` throws
 */
export type WaitUntilFinished = (
  key: string,
  look: () => Promise<Image>,
  waitMs: number,
  client: AbortSignal,
) => Promise<Image>

/** However many clients wait for an image, it is looked at once a step, and no more when they are gone. */
export function createWaiting({ elapsed, sleep }: { elapsed: Elapsed; sleep: Sleep }): WaitUntilFinished {
  const waiting = new Map<string, Set<Waiter>>()

  async function follow(key: string, waiters: Set<Waiter>, look: () => Promise<Image>): Promise<void> {
    /** Answers those of the waiters, and returns whether all have their answer. */
    const settle = (those: Waiter[], answer: (waiter: Waiter) => void): boolean => {
      for (const waiter of those) {
        waiters.delete(waiter)
        answer(waiter)
      }
      return waiters.size === 0 && waiting.delete(key)
    }
    for (let step = 0; ; step += 1) {
      // Not those who come while this look is under way: they may know of something newer than it shows.
      const asking = [...waiters]
      try {
        const image = await look()
        const over = asking.filter(({ until }) => isFinished(image) || until <= elapsed())
        if (settle(over, ({ answer }) => answer(image))) return
        const left = Math.min(...[...waiters].map(({ until }) => until)) - elapsed()
        const pause = Math.max(STEPS_MS[step] ?? STEPS_MS[3], waiting.size * MS_PER_IMAGE)
        await sleep(Math.max(STEPS_MS[0], Math.min(left, pause)))
        const gone = [...waiters].filter(({ client }) => client.aborted)
        if (settle(gone, ({ answer }) => answer(image))) return
      } catch (error) {
        if (settle(asking, ({ fail }) => fail(error))) return
      }
    }
  }

  return (key, look, waitMs, client) =>
    new Promise((answer, fail) => {
      const waiter = { until: elapsed() + waitMs, client, answer, fail }
      const others = waiting.get(key)
      if (others !== undefined) {
        others.add(waiter)
        return
      }
      const waiters = new Set<Waiter>([waiter])
      waiting.set(key, waiters)
      void follow(key, waiters, look)
    })
}
