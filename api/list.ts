import { BatchGetCommand, QueryCommand } from '@aws-sdk/lib-dynamodb'
import * as z from 'zod'
import {
  type Failure,
  type ImageId,
  imageIdSchema,
  type Status,
  statusKey,
  statusSchema,
} from '../shared/image.ts'
import {
  emotionTerm,
  FACES,
  folded,
  inRounds,
  nameOf,
  namesFrom,
  ownerLabel,
  ownerNames,
  type Rounds,
} from '../shared/labels.ts'
import { isExpired, type Records } from '../shared/lifecycle.ts'

/** What a list shows: the attributes that both indexes carry (infrastructure/ and local/resources.ts project the same). */
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

const listedSchema = z.looseObject({
  imageId: imageIdSchema,
  status: statusSchema,
  expiresAt: z.number().optional(),
  original: z.looseObject({ filename: z.string().optional() }).optional(),
  faceCount: z.number().optional(),
  failure: z.looseObject({ code: z.string() }).optional(),
})
export type ListedImage = z.infer<typeof listedSchema>

/** The most items that one request may look through for matches, so that nothing rare can hold it up. */
const MAX_LOOKED_AT = 1_000
/** Items of an index that are read at once where most of them may be passed over: one of labels has 0.2 KB. */
const PAGE = 100
/** Amazon DynamoDB quotas, BatchGetItem. */
const MAX_READS = 100
/** Rounds in which DynamoDB may leave some of a batch unread, which it does over 16 MB of records. */
const READ_ROUNDS: Rounds = { most: 8, firstPauseMs: 20 }

export interface ListQuery {
  limit: number
  /** The last image of the page before. */
  after?: ImageId | undefined
  status?: Status | undefined
  /** An image has all of them. */
  labels?: string[] | undefined
  /** Of each label, in per cent. */
  minConfidence?: number | undefined
  /** Whether there is a face. */
  faces?: boolean | undefined
  /** The strongest one of a face, as Rekognition names it. */
  emotion?: string | undefined
  failure?: Failure['code'] | undefined
  /** A part of the file's name, in any case. */
  filename?: string | undefined
  /** Milliseconds since 1970, both included. */
  from?: number | undefined
  to?: number | undefined
}

/** Ids of images from the newest to the oldest, both included. As time comes first in an id, a time is one too. */
interface Range {
  newest: string
  oldest: string
}

/**
 * One page of an owner's images, newest first. Labels and times are looked up in an index; for other filters the images
 * of that range are looked through.
 *
 * @returns fewer than `limit` items with a `last` when one request has looked through enough
 */
export async function listImages(
  records: Records,
  owner: string,
  query: ListQuery,
): Promise<{ items: ListedImage[]; last?: ImageId }> {
  const { limit, after, from = 0, to = MAX_TIME } = query
  const terms = termsOf(query)
  const statuses = [
    ...(query.status === undefined ? [] : [query.status]),
    // Only completed images have labels and faces, and only failed ones a failure.
    ...(terms.length > 0 || query.faces !== undefined ? ['completed' as const] : []),
    ...(query.failure === undefined ? [] : ['failed' as const]),
  ]
  const [status] = statuses
  const items: ListedImage[] = []
  if (statuses.some((other) => other !== status)) return { items }

  const look =
    terms.length === 0 ? lookAtOwned(records, owner, status) : lookAtLabelled(records, owner, terms)
  const wanted = filterOf(query)
  const newest = idAt(to, 'f')
  const range = {
    newest: after !== undefined && after <= newest ? neighbour(after, -1n) : newest,
    oldest: idAt(from, '0'),
  }
  for (let lookedAt = 0; lookedAt < MAX_LOOKED_AT; ) {
    if (range.newest < range.oldest) return { items }
    // One more than asked for shows whether there is a next page.
    const page = await look(wanted === undefined ? limit + 1 - items.length : PAGE, range)
    const found = page.items.filter((item) => !isExpired(item, records.now()) && (wanted?.(item) ?? true))
    items.push(...found)
    lookedAt += page.lookedAt
    if (items.length > limit) {
      const shown = items.slice(0, limit)
      return { items: shown, last: shown[limit - 1]?.imageId as ImageId }
    }
    if (page.next === undefined) return { items }
    range.newest = page.next
  }
  return { items, last: neighbour(range.newest, 1n) as ImageId }
}

/** What the index of labels has: also emotions and faces (shared/labels.ts), each with its least confidence. */
interface Term {
  name: string
  least: number
}

const termsOf = ({ labels = [], minConfidence = 0, faces, emotion }: ListQuery): Term[] => [
  ...labels.map((name) => ({ name, least: minConfidence })),
  ...(emotion === undefined ? [] : [{ name: emotionTerm(emotion), least: 0 }]),
  ...(faces === true ? [{ name: FACES, least: 0 }] : []),
]

/** Whether an image is wanted by what no index knows. */
function filterOf({ faces, failure, filename }: ListQuery): ((item: ListedImage) => boolean) | undefined {
  const part = filename === undefined ? undefined : folded(filename)
  const checks: ((item: ListedImage) => boolean)[] = [
    ...(faces === false ? [({ faceCount }: ListedImage) => faceCount === 0] : []),
    ...(failure === undefined ? [] : [(item: ListedImage) => item.failure?.code === failure]),
    ...(part === undefined
      ? []
      : [({ original }: ListedImage) => folded(original?.filename ?? '').includes(part)]),
  ]
  return checks.length === 0 ? undefined : (item) => checks.every((check) => check(item))
}

/** The last that an id can say: 48 bits of milliseconds (RFC 9562, section 5.7). */
const MAX_TIME = 2 ** 48 - 1

/** @param rest what stands for all that is not the time: `0` before every id of this millisecond, `f` behind */
function idAt(time: number, rest: '0' | 'f'): string {
  const hex = Math.min(Math.max(time, 0), MAX_TIME).toString(16).padStart(12, '0').padEnd(32, rest)
  return dashed(hex)
}
const dashed = (hex: string): string => hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
/** The id just before or behind an id. */
const neighbour = (id: string, step: 1n | -1n): string =>
  dashed((BigInt(`0x${id.replaceAll('-', '')}`) + step).toString(16).padStart(32, '0'))

/** Some images of an index within a range, and where to go on in it: nowhere at the end. */
type Look = (
  wanted: number,
  range: Range,
) => Promise<{ items: ListedImage[]; lookedAt: number; next: string | undefined }>

const projection = {
  ProjectionExpression: ['imageId', ...LISTED_ATTRIBUTES.map((name) => `#${name}`)].join(', '),
  ExpressionAttributeNames: Object.fromEntries(LISTED_ATTRIBUTES.map((name) => [`#${name}`, name])),
}

const lookAtOwned =
  ({ dynamo, table }: Records, owner: string, status: Status | undefined): Look =>
  async (wanted, { newest, oldest }) => {
    const [index, sortKey] = status === undefined ? ['byOwner', 'imageId'] : ['byStatus', 'statusKey']
    const key = (id: string): string => (status === undefined ? id : `${statusKey(status, '')}${id}`)
    const page = await dynamo.send(
      new QueryCommand({
        TableName: table,
        IndexName: index,
        KeyConditionExpression: `#owner = :owner AND ${sortKey} BETWEEN :oldest AND :newest`,
        ProjectionExpression: projection.ProjectionExpression,
        ExpressionAttributeNames: { '#owner': 'owner', ...projection.ExpressionAttributeNames },
        ExpressionAttributeValues: { ':owner': owner, ':oldest': key(oldest), ':newest': key(newest) },
        ScanIndexForward: false,
        Limit: wanted,
      }),
    )
    return {
      items: (page.Items ?? []).map((item) => listedSchema.parse(item)),
      lookedAt: page.ScannedCount ?? 0,
      next: page.LastEvaluatedKey && neighbour(page.LastEvaluatedKey['imageId'], -1n),
    }
  }

/**
 * The index of labels names the images; what a list shows of them is in their records, if they are still there. Each of
 * several labels continues where the one before is, so that a rare one passes over most entries of a frequent one.
 */
function lookAtLabelled(records: Records, owner: string, terms: Term[]): Look {
  const lists = terms.map(({ name }) => readEntries(records, ownerLabel(owner, name)))
  return async (wanted, { newest: begin, oldest }) => {
    const most = Math.min(wanted, MAX_READS)
    // Of one label every entry that is read is found.
    const atOnce = terms.length === 1 && terms[0]?.least === 0 ? most : PAGE
    const ids: string[] = []
    let newest = begin
    let lookedAt = 0
    let isEnd = false
    while (!isEnd && ids.length < most && lookedAt < MAX_LOOKED_AT) {
      const entries: Entry[] = []
      for (const next of lists) {
        const { entry, read } = await next({ newest, oldest }, atOnce)
        lookedAt += read
        if (entry === undefined) {
          isEnd = true
          break
        }
        entries.push(entry)
        newest = entry.target
      }
      // None comes before the one of the list before it: the first and the last are the same only if all are.
      if (isEnd || entries[0]?.target !== newest) continue
      if (entries.every(({ confidence }, index) => confidence >= (terms[index]?.least ?? 0))) ids.push(newest)
      newest = neighbour(newest, -1n)
    }
    const found = await readRecords(records, ids)
    return {
      items: ids.flatMap((imageId) => {
        const item = found.get(imageId)
        return item?.['owner'] === owner ? [listedSchema.parse(item)] : []
      }),
      lookedAt,
      next: isEnd ? undefined : newest,
    }
  }
}

const entrySchema = z.looseObject({ target: imageIdSchema, confidence: z.number() })
type Entry = z.infer<typeof entrySchema>

/** @returns what finds the newest entry of a label within a range, which only moves on, and how many it read for that */
function readEntries(
  { dynamo, table }: Records,
  partition: string,
): (range: Range, atOnce: number) => Promise<{ entry: Entry | undefined; read: number }> {
  let ahead: Entry[] = []
  let isLast = false
  return async ({ newest, oldest }, atOnce) => {
    ahead = ahead.filter(({ target }) => target <= newest)
    if (ahead.length > 0 || isLast || newest < oldest) return { entry: ahead[0], read: 0 }
    const { Items = [], LastEvaluatedKey } = await dynamo.send(
      new QueryCommand({
        TableName: table,
        IndexName: 'byLabel',
        KeyConditionExpression: 'ownerLabel = :partition AND target BETWEEN :oldest AND :newest',
        ExpressionAttributeValues: { ':partition': partition, ':oldest': oldest, ':newest': newest },
        ScanIndexForward: false,
        Limit: atOnce,
      }),
    )
    ahead = Items.map((item) => entrySchema.parse(item))
    isLast = LastEvaluatedKey === undefined
    return { entry: ahead[0], read: ahead.length }
  }
}

/** @throws Error where DynamoDB leaves something unread in every round */
async function readRecords({ dynamo, table, sleep }: Records, ids: string[]) {
  const found = new Map<string, Record<string, unknown>>()
  const keys: Record<string, unknown>[] = ids.map((imageId) => ({ imageId }))
  await inRounds(sleep, READ_ROUNDS, keys, async (waiting) => {
    const { Responses, UnprocessedKeys } = await dynamo.send(
      new BatchGetCommand({
        RequestItems: {
          [table]: {
            Keys: waiting,
            ProjectionExpression: `#owner, ${projection.ProjectionExpression}`,
            ExpressionAttributeNames: { '#owner': 'owner', ...projection.ExpressionAttributeNames },
          },
        },
      }),
    )
    for (const item of Responses?.[table] ?? []) found.set(item['imageId'], item)
    return UnprocessedKeys?.[table]?.Keys ?? []
  })
  return found
}

/** Names that one request may look at: of each it is looked up whether an image still has it. */
const MAX_NAMES = 200

/**
 * Names of labels that an owner's images have, in alphabetical order. Read units: half a one for the names, and half a one
 * for each of them.
 *
 * @param query.after the last name that was looked at
 * @returns fewer than `limit` names with a `last` when one request has looked at enough
 */
export async function listLabels(
  records: Records,
  owner: string,
  { prefix, limit, after }: { prefix: string; limit: number; after?: string | undefined },
): Promise<{ names: string[]; last?: string }> {
  const { dynamo, table } = records
  const names: string[] = []
  let last = after
  for (let lookedAt = 0; lookedAt < MAX_NAMES; ) {
    const [from, to] = namesFrom(prefix, last)
    const { Items = [], LastEvaluatedKey } = await dynamo.send(
      new QueryCommand({
        TableName: table,
        IndexName: 'byLabel',
        KeyConditionExpression: 'ownerLabel = :names AND target BETWEEN :from AND :to',
        ExpressionAttributeValues: { ':names': ownerNames(owner), ':from': from, ':to': to },
        Limit: limit + 1 - names.length,
      }),
    )
    const candidates = Items.map(({ target }) => nameOf(target))
    const isHere = await Promise.all(candidates.map((name) => hasLabel(records, owner, name)))
    for (const [index, name] of candidates.entries()) {
      if (!isHere[index]) continue
      if (names.length === limit) return { names, last: names.at(-1) ?? name }
      names.push(name)
    }
    lookedAt += candidates.length
    last = candidates.at(-1) ?? last
    if (LastEvaluatedKey === undefined) return { names }
  }
  return { names, ...(last === undefined ? {} : { last }) }
}

async function hasLabel({ dynamo, table }: Records, owner: string, name: string): Promise<boolean> {
  const { Count = 0 } = await dynamo.send(
    new QueryCommand({
      TableName: table,
      IndexName: 'byLabel',
      KeyConditionExpression: 'ownerLabel = :partition',
      ExpressionAttributeValues: { ':partition': ownerLabel(owner, name) },
      Limit: 1,
      Select: 'COUNT',
    }),
  )
  return Count > 0
}
