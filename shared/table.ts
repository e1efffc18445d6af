import { createHash } from 'node:crypto'
import { ConditionalCheckFailedException } from '@aws-sdk/client-dynamodb'
import {
  BatchGetCommand,
  type DynamoDBDocumentClient,
  GetCommand,
  UpdateCommand,
} from '@aws-sdk/lib-dynamodb'
import type { Sleep } from './aws.ts'
import { type ImageId, PAID_ANALYSES, type PaidCalls, paidCallsSchema, type Status } from './image.ts'

/**
 * The two tables: their keys, their indexes, and each kind of item by its key. infrastructure/resources.ts makes them of this, and a
 * test holds Terraform to it (infrastructure/modules/image-analyzer/storage.tf).
 */

/** The table of records, and how to wait before asking it once more. */
export interface Table {
  dynamo: DynamoDBDocumentClient
  table: string
  sleep: Sleep
}

/**
 * What a list shows of an image, and what both its indexes have. Not why it waits (`waits`): each release of an image would
 * write to both of them, and to add an attribute to an existing index DynamoDB has to build it again.
 */
export const LISTED_ATTRIBUTES = [
  'status',
  'createdAt',
  'updatedAt',
  'completedAt',
  'attempts',
  'original',
  'thumbnail',
  'labels',
  'faceCount',
  'labelModelVersion',
  'failure',
  'expiresAt',
] as const

/** Partition, and sort key where there is one; of an index also what it has beside the keys. */
export interface Shape {
  key: readonly [partition: string, sort?: string]
  indexes: Record<string, { key: readonly [partition: string, sort: string]; shown: readonly string[] }>
}

export const RECORDS = {
  key: ['imageId'],
  indexes: {
    /** An owner's images, newest first: a UUID of version 7 sorts by its time (RFC 9562, section 5.7). */
    byOwner: { key: ['owner', 'imageId'], shown: LISTED_ATTRIBUTES },
    /** The same of one status. Completed images, the most of all, are not in it. */
    byStatus: { key: ['owner', 'statusKey'], shown: LISTED_ATTRIBUTES },
    /** What the sweeper looks through, by the time at which each is due, until its event is acknowledged. */
    unfinished: { key: ['unfinished', 'sweepAt'], shown: [] },
    /** Of the version before, which kept labels here. Nothing is written into it. */
    byLabel: { key: ['ownerLabel', 'target'], shown: ['confidence'] },
  },
} as const satisfies Shape
export type RecordsIndex = keyof typeof RECORDS.indexes

/**
 * The search by label has a table of its own: an item for each label of an image, in the partition of its owner and label,
 * by the image's id, so newest last. It has all that a list shows, so a page is read there and nowhere else. The emotions
 * of faces, and that there is a face, are found as labels are.
 *
 * An image costs a write unit a label when it is completed, and one when it is deleted: an item is about 600 bytes at 20
 * labels, and over a KB from about 60 on. In the table of records, whose key is an id alone, it took an index as well, so
 * two units a label; and a page read each record, half a unit or more, where 7 items are half a unit here.
 */
export const LABELS = { key: ['ownerLabel', 'target'], indexes: {} } as const satisfies Shape
export const labelTable = (table: string): string => `${table}-labels`

/** Keys that are numbers; all others are text. */
export const NUMBERS: readonly string[] = ['sweepAt']
/** DynamoDB deletes an item in the days after this time, in seconds since 1970. */
export const TIME_TO_LIVE = 'expiresAt'

/*
 * Items of the table of records. That of an image has its id as the key, and so has what a deletion leaves of it; all
 * others begin with their kind. What a caller or a model says is hashed, so it is never a name in the table.
 */

/** The sort key of the index `byStatus`, which a claim leaves as it is. Completed images, the most of all, are not in it. */
export const statusKey = (status: Exclude<Status, 'completed'>, imageId: ImageId | ''): string =>
  `${status === 'failed' ? 'failed' : 'open'}#${imageId}`

/**
 * Partitions of the index `unfinished`, in which an image is until its event is acknowledged: one takes 1,000 writes a second.
 */
export const UNFINISHED_SHARDS = ['0', '1', '2', '3'] as const
export const unfinishedShard = (imageId: ImageId): string =>
  String(Number.parseInt(imageId.slice(-1), 16) % UNFINISHED_SHARDS.length)

/** What a request with an idempotency key has made. @param keyHash hex SHA-256 of owner and key */
export const idempotencyKey = (keyHash: string): string => `idempotency#${keyHash}`
/** How many images an owner has submitted on a day. */
export const quotaKey = (ownerHash: string, day: string): string => `quota#${ownerHash}#${day}`
/** A month of UTC, as in `2026-11`. */
export const monthOf = (at: Date): string => at.toISOString().slice(0, 7)
/** How many calls of Rekognition are reserved in a month. */
export const spendKey = (month: string): string => `spend#${month}`
/** @returns how many are reserved in a month, by all processes together */
export async function reservedCalls(
  { dynamo, table }: Pick<Table, 'dynamo' | 'table'>,
  month: string,
): Promise<number> {
  const Key = { imageId: spendKey(month) }
  const { Item } = await dynamo.send(new GetCommand({ TableName: table, Key, ConsistentRead: true }))
  return Number(Item?.['reserved'] ?? 0)
}
/**
 * Reserves calls.
 *
 * @param most in the month; without it there is no limit
 * @returns how many are reserved then; undefined where it would be more than `most`
 */
export async function reserveCalls(
  { dynamo, table }: Pick<Table, 'dynamo' | 'table'>,
  month: string,
  wanted: number,
  most = Number.MAX_SAFE_INTEGER,
): Promise<number | undefined> {
  if (wanted > most) return undefined
  try {
    const { Attributes } = await dynamo.send(
      new UpdateCommand({
        TableName: table,
        Key: { imageId: spendKey(month) },
        UpdateExpression: 'ADD reserved :wanted',
        ConditionExpression: 'attribute_not_exists(reserved) OR reserved <= :most',
        ExpressionAttributeValues: { ':wanted': wanted, ':most': most - wanted },
        ReturnValues: 'UPDATED_NEW',
      }),
    )
    return Number(Attributes?.['reserved'])
  } catch (error) {
    if (error instanceof ConditionalCheckFailedException) return undefined
    throw error
  }
}

/** A day of UTC, as in `2026-11-29`. */
export const dayOf = (at: Date): string => at.toISOString().slice(0, 10)
/** The calls of Rekognition that were paid for on a day, by analysis. */
const paidKey = (day: string): string => `paid#${day}`
/** So that a year can be compared with the one before. */
const PAID_LIFETIME_MS = 800 * 86_400_000
/** Enters calls that were paid for on a day. */
export async function enterPaid(
  { dynamo, table }: Pick<Table, 'dynamo' | 'table'>,
  day: string,
  calls: PaidCalls,
  abortSignal?: AbortSignal,
): Promise<void> {
  const counts = Object.entries(calls)
  await dynamo.send(
    new UpdateCommand({
      TableName: table,
      Key: { imageId: paidKey(day) },
      UpdateExpression: `SET expiresAt = :end ADD ${counts.map(([name]) => `#${name} :${name}`).join(', ')}`,
      ExpressionAttributeNames: Object.fromEntries(counts.map(([name]) => [`#${name}`, name])),
      ExpressionAttributeValues: {
        ':end': Math.floor((Date.parse(day) + PAID_LIFETIME_MS) / 1_000),
        ...Object.fromEntries(counts.map(([name, count]) => [`:${name}`, count])),
      },
      ReturnValues: 'NONE',
    }),
    abortSignal && { abortSignal },
  )
}
/** @returns what was paid for on a day */
export async function paidOn(
  { dynamo, table }: Pick<Table, 'dynamo' | 'table'>,
  day: string,
): Promise<PaidCalls> {
  const Key = { imageId: paidKey(day) }
  const { Item } = await dynamo.send(new GetCommand({ TableName: table, Key, ConsistentRead: true }))
  const has = PAID_ANALYSES.filter((name) => Item?.[name] !== undefined)
  return paidCallsSchema.parse(Object.fromEntries(has.map((name) => [name, Item?.[name]])))
}

/** Which image has results for the same bytes. @param asked all that the results depend on */
export const bytesKey = (asked: unknown[]): string => `bytes#${sha256(JSON.stringify(asked))}`

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')

/* Items of the table of labels: of an image in its partitions, and of a name in its owner's. */

/** As names are compared. */
export const folded = (label: string): string => label.normalize('NFC').toLowerCase()

/** 32 bytes, since each item of a page has one. */
const partition = (...parts: string[]): string =>
  createHash('sha256').update(JSON.stringify(parts)).digest('base64url')

/** Per cent. Surer labels have a partition of their own, so that a search for them alone passes over no others. */
const SURE = 90
export const partitionOf = (owner: string, label: string, confidence: number): string =>
  partition(owner, folded(label), confidence >= SURE ? 'sure' : 'unsure')
/** The partitions in which an owner's images with a label of this confidence or more are. */
export const partitionsOf = (owner: string, label: string, least = 0): string[] =>
  (least >= SURE ? [SURE] : [SURE, 0]).map((confidence) => partitionOf(owner, label, confidence))
/** The names of an owner's labels, in alphabetical order, in any case: each once. */
export const ownerNames = (owner: string): string => partition(owner)

/*
 * The version before kept an item for each label in the table of records, `label#…`, found by the index `byLabel`; and one
 * for each name of a label, `name#…`. They are read and deleted still, and written no more.
 */
const OLD_ITEM = 'label#'
export const isOldItem = (key: string): boolean => key.startsWith(OLD_ITEM)
export const oldItem = (imageId: string, label: string): string =>
  `${OLD_ITEM}${imageId}#${sha256(folded(label))}`
export const oldPartition = (owner: string, label: string): string =>
  `${sha256(owner)}#${sha256(folded(label))}`
export const oldNames = (owner: string): string => `${sha256(owner)}#names`
/** Such a name has its beginning, folded, for its place in the alphabet. */
export const oldName = (target: string): string => target.slice(target.indexOf('\n') + 1)

/* Batches, of either table. */

/** How often something is asked for in the end, and milliseconds to the second time; each pause is twice the one before. */
export interface Rounds {
  most: number
  firstPauseMs: number
}

/**
 * DynamoDB may leave some of a batch undone, which is no error: it is to be sent again.
 *
 * @param send answers what is left
 * @throws Error where something is left in every round
 */
export async function inRounds<T>(
  sleep: Sleep,
  { most, firstPauseMs }: Rounds,
  all: T[],
  send: (waiting: T[]) => Promise<T[]>,
): Promise<void> {
  let waiting = all
  for (let round = 0; waiting.length > 0; round += 1) {
    if (round === most) throw new Error(`DynamoDB leaves ${waiting.length} parts of a batch undone.`)
    if (round > 0) await sleep(firstPauseMs * 2 ** (round - 1))
    waiting = await send(waiting)
  }
}

/** Rounds in which DynamoDB may leave some of a batch unread, which it does over 16 MB of records. */
const READ_ROUNDS: Rounds = { most: 8, firstPauseMs: 20 }
/** Amazon DynamoDB quotas, BatchGetItem. */
const MAX_READS = 100

/**
 * Items of the table of records, by their ids, those that are there.
 *
 * @param ids a hundred at most
 * @throws Error where DynamoDB leaves something unread in every round
 */
export async function readItems(
  { dynamo, table, sleep }: Table,
  ids: string[],
): Promise<Map<string, Record<string, unknown>>> {
  const found = new Map<string, Record<string, unknown>>()
  const keys: Record<string, unknown>[] = ids.map((imageId) => ({ imageId }))
  await inRounds(sleep, READ_ROUNDS, keys, async (waiting) => {
    const { Responses, UnprocessedKeys } = await dynamo.send(
      new BatchGetCommand({ RequestItems: { [table]: { Keys: waiting } } }),
    )
    for (const item of Responses?.[table] ?? []) found.set(item['imageId'], item)
    return UnprocessedKeys?.[table]?.Keys ?? []
  })
  return found
}

/** Reads an item when it is needed, with all that have been announced by then: of a batch, by one request instead of ten. */
export type Read = (id: string) => () => Promise<Record<string, unknown> | undefined>

export function gatherReads(table: Table): Read {
  interface Gathered {
    ids: Set<string>
    found?: Promise<Map<string, Record<string, unknown>>>
  }
  let gathering: Gathered = { ids: new Set() }
  return (id) => {
    // Some are announced and never needed.
    if (gathering.ids.size === MAX_READS) gathering = { ids: new Set() }
    const own = gathering
    own.ids.add(id)
    return async () => {
      if (own === gathering) gathering = { ids: new Set() }
      own.found ??= readItems(table, [...own.ids])
      return (await own.found).get(id)
    }
  }
}
