import { QueryCommand } from '@aws-sdk/lib-dynamodb'
import * as z from 'zod'
import { type Failure, type ImageId, imageIdSchema, type Status, statusSchema } from '../shared/image.ts'
import { emotionTerm, FACES, hasTerm, shownOf, unpack } from '../shared/labels.ts'
import { isExpired, type Records, readImage } from '../shared/lifecycle.ts'
import {
  folded,
  LISTED_ATTRIBUTES,
  labelTable,
  oldName,
  oldNames,
  oldPartition,
  ownerNames,
  partitionsOf,
  RECORDS,
  type RecordsIndex,
  readItems,
  statusKey,
} from '../shared/table.ts'

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
/** Items of an index that are read at once where most of them may be passed over. */
const PAGE = 100
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
  // One more than asked for shows whether there is a next page; where that was not enough, most may be passed over.
  let atOnce = wanted === undefined ? limit + 1 : PAGE
  let lookedAt = 0
  while (lookedAt < MAX_LOOKED_AT) {
    if (range.newest < range.oldest) return { items }
    const page = await look(atOnce, range)
    atOnce = PAGE
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
  const part = filename === undefined ? undefined : searchable(filename)
  const checks: ((item: ListedImage) => boolean)[] = [
    ...(faces === false ? [({ faceCount }: ListedImage) => faceCount === 0] : []),
    ...(failure === undefined ? [] : [(item: ListedImage) => item.failure?.code === failure]),
    ...(part === undefined
      ? []
      : [({ original }: ListedImage) => searchable(original?.filename ?? '').includes(part)]),
  ]
  return checks.length === 0 ? undefined : (item) => checks.every((check) => check(item))
}

/** Capital sigma has two small letters: which one depends on what follows, and a part of a name may end anywhere. */
const searchable = (filename: string): string => folded(filename).replaceAll('ς', 'σ')

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

/** Most images are completed, so those are the owner's without the others. */
function lookAtOwned(records: Records, owner: string, status: Status | undefined): Look {
  if (status === undefined || status === 'completed') return lookAtIndex(records, owner, status)
  // The version before had a key of its own for each status.
  const keys = new Set([statusKey(status, ''), `${status}#`])
  const looks = [...keys].map((key) => lookAtIndex(records, owner, status, key))
  return async (wanted, range) => {
    const pages = await Promise.all(looks.map((look) => look(wanted, range)))
    // Down to where all of them have been read.
    const next = pages.reduce((end, page) => ((page.next ?? '') > end ? (page.next ?? '') : end), '')
    return {
      items: pages
        .flatMap(({ items }) => items)
        .filter(({ imageId }) => imageId > next)
        .toSorted(newestFirst),
      lookedAt: pages.reduce((sum, page) => sum + page.lookedAt, 0),
      next: next || undefined,
    }
  }
}

/** @param prefix of keys in the index `byStatus`; undefined: all images of the owner */
const lookAtIndex =
  ({ dynamo, table }: Records, owner: string, status: Status | undefined, prefix?: string): Look =>
  async (wanted, { newest, oldest }) => {
    const index = prefix === undefined ? 'byOwner' : 'byStatus'
    const [, sortKey] = RECORDS.indexes[index].key
    const key = (id: string): string => `${prefix ?? ''}${id}`
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
      items: (page.Items ?? [])
        .map((item) => listedSchema.parse(item))
        .filter((item) => status === undefined || item.status === status),
      lookedAt: page.ScannedCount ?? 0,
      next: page.LastEvaluatedKey && neighbour(page.LastEvaluatedKey['imageId'], -1n),
    }
  }

/** Items of each partition with which a search by several labels begins: they tell which label is the rarest. */
const FIRST_LOOK = 7

/**
 * Each item of the index of labels has all labels of its image. So a search by several goes through those of the rarest,
 * which is the one whose newest items reach back the farthest.
 */
function lookAtLabelled(records: Records, owner: string, terms: Term[]): Look {
  let labelled: Labelled | undefined
  return async (wanted, range) => {
    labelled ??= await rarestOf(terms.map((term) => readLabelled(records, owner, term, range)))
    const items: ListedImage[] = []
    let lookedAt = 0
    let newest = range.newest
    let atOnce = wanted
    while (items.length < wanted && lookedAt < MAX_LOOKED_AT) {
      const found = await labelled.take(Math.min(atOnce, PAGE))
      atOnce = PAGE
      for (const { imageId, shown, terms: own } of found) {
        newest = neighbour(imageId, -1n)
        if (terms.every(({ name, least }) => hasTerm(own, name, least))) {
          items.push(listedSchema.parse({ ...shown, imageId }))
        }
      }
      lookedAt += found.length
      if (found.length === 0) return { items, lookedAt, next: undefined }
    }
    return { items, lookedAt, next: newest }
  }
}

async function rarestOf(all: Labelled[]): Promise<Labelled> {
  if (all.length > 1) await Promise.all(all.map((one) => one.read(FIRST_LOOK)))
  const [rarest] = all.toSorted((a, b) => (a.reach() < b.reach() ? -1 : 1))
  if (rarest === undefined) throw new Error('A search by label has no label.')
  return rarest
}

/** An image in the index of labels. */
type Indexed = ReturnType<typeof unpack> & { imageId: string }

/** A part of an owner's images with a label, from the newest on. */
interface Part {
  ahead: Indexed[]
  /** The oldest id that has been read; nothing where all are. */
  at: string | undefined
  read: (newest: string, limit: number) => Promise<{ items: Indexed[]; at: string | undefined }>
}

/** An owner's images with a label, newest first, each once. */
interface Labelled {
  /** The next so many; fewer at the end. */
  take: (count: number) => Promise<Indexed[]>
  /** Reads ahead, in each part in which nothing is ahead. */
  read: (limit: number) => Promise<void>
  /** The oldest id down to which all are read. */
  reach: () => string
}

function readLabelled(
  records: Records,
  owner: string,
  { name, least }: Term,
  { newest, oldest }: Range,
): Labelled {
  const partitions = partitionsOf(owner, name, least)
  const parts: Part[] = [
    ...partitions.map((partition) => partOf(records, partition, oldest)),
    partOfBefore(records, owner, name, oldest),
  ].map((read) => ({ ahead: [], at: newest, read }))
  let isBegun = false
  const read = async (limit: number): Promise<void> => {
    isBegun = true
    await Promise.all(
      parts.map(async (part) => {
        if (part.ahead.length > 0 || part.at === undefined) return
        const { items, at } = await part.read(part.at, limit)
        part.ahead = items
        part.at = at === undefined || at <= oldest ? undefined : neighbour(at, -1n)
      }),
    )
  }
  return {
    read,
    reach: () => parts.reduce((reach, { at = '' }) => (at > reach ? at : reach), ''),
    take: async (count) => {
      const taken: Indexed[] = []
      while (taken.length < count) {
        // At first each part has its share of them; the one that has run out has the most, and so perhaps all the rest.
        const share = isBegun ? 1 : partitions.length
        await read(Math.ceil((count - taken.length) / share))
        if (parts.some(({ ahead, at }) => ahead.length === 0 && at !== undefined)) continue
        const next = parts.flatMap(({ ahead }) => ahead[0] ?? []).toSorted(newestFirst)[0]
        if (next === undefined) break
        taken.push(next)
        for (const part of parts) if (part.ahead[0]?.imageId === next.imageId) part.ahead.shift()
      }
      return taken
    },
  }
}

const newestFirst = (a: { imageId: string }, b: { imageId: string }): number =>
  a.imageId < b.imageId ? 1 : -1

const indexedSchema = z.object({ target: imageIdSchema, shown: z.instanceof(Uint8Array) })

const partOf =
  ({ dynamo, table }: Records, partition: string, oldest: string): Part['read'] =>
  async (newest, Limit) => {
    const { Items = [], LastEvaluatedKey } = await dynamo.send(
      new QueryCommand({
        TableName: labelTable(table),
        KeyConditionExpression: 'ownerLabel = :partition AND target BETWEEN :oldest AND :newest',
        ExpressionAttributeValues: { ':partition': partition, ':oldest': oldest, ':newest': newest },
        ScanIndexForward: false,
        Limit,
      }),
    )
    return {
      items: Items.map((item) => {
        const { target, shown } = indexedSchema.parse(item)
        return { imageId: target, ...unpack(shown) }
      }),
      at: LastEvaluatedKey?.['target'],
    }
  }

/** Images of the version before: an index names them, and what a list shows of them is in their records. */
const partOfBefore =
  (records: Records, owner: string, name: string, oldest: string): Part['read'] =>
  async (newest, Limit) => {
    const { Items = [], LastEvaluatedKey } = await records.dynamo.send(
      new QueryCommand({
        TableName: records.table,
        IndexName: 'byLabel' satisfies RecordsIndex,
        KeyConditionExpression: 'ownerLabel = :partition AND target BETWEEN :oldest AND :newest',
        ExpressionAttributeValues: {
          ':partition': oldPartition(owner, name),
          ':oldest': oldest,
          ':newest': newest,
        },
        ScanIndexForward: false,
        Limit,
      }),
    )
    const ids = Items.map(({ target }) => imageIdSchema.parse(target))
    const found = await readItems(records, ids)
    return {
      items: ids.flatMap((imageId) => {
        const item = found.get(imageId)
        return item?.['owner'] === owner ? [{ imageId, ...shownOf(readImage(item)) }] : []
      }),
      at: LastEvaluatedKey?.['target'],
    }
  }

/** Names that one request may look at: of each it is looked up whether an image still has it. */
const MAX_NAMES = 200

/**
 * Names of labels that an owner's images have, in alphabetical order. Read units: one for the names, and one or two for each
 * of them.
 *
 * @param query.after the last name that was looked at
 * @returns fewer than `limit` names with a `last` when one request has looked at enough
 */
export async function listLabels(
  records: Records,
  owner: string,
  { prefix, limit, after }: { prefix: string; limit: number; after?: string | undefined },
): Promise<{ names: string[]; last?: string }> {
  const names: string[] = []
  let last = after
  for (let lookedAt = 0; lookedAt < MAX_NAMES; ) {
    const { candidates, isEnd } = await readNames(records, owner, prefix, last, limit + 1 - names.length)
    const isHere = await Promise.all(candidates.map((name) => hasLabel(records, owner, name)))
    for (const [index, name] of candidates.entries()) {
      if (!isHere[index]) continue
      if (names.length === limit) return { names, last: names.at(-1) ?? name }
      names.push(name)
    }
    lookedAt += candidates.length
    last = candidates.at(-1) ?? last
    if (isEnd) return { names }
  }
  return { names, ...(last === undefined ? {} : { last }) }
}

/** The names with this beginning that come after the last one, down to where they are known without a gap. */
async function readNames(
  { dynamo, table }: Records,
  owner: string,
  prefix: string,
  last: string | undefined,
  Limit: number,
): Promise<{ candidates: string[]; isEnd: boolean }> {
  const to = `${folded(prefix)}${BEHIND}`
  const read = async (source: { TableName: string; IndexName?: string }, names: string, from: string) => {
    // DynamoDB refuses what a cursor of another origin may make of this: a range that ends before it begins, and long keys.
    const keys = [from, to].map((key) => Buffer.from(key)) as [Buffer, Buffer]
    // DynamoDB compares bytes, and the embedded one UTF-16 here.
    const isBackwards = Buffer.compare(...keys) > 0 || from > to
    if (isBackwards || keys.some(({ length }) => length > MAX_KEY_BYTES)) return { found: [], end: BEHIND }
    const { Items = [], LastEvaluatedKey } = await dynamo.send(
      new QueryCommand({
        ...source,
        KeyConditionExpression: 'ownerLabel = :names AND target BETWEEN :from AND :to',
        ExpressionAttributeValues: {
          // Text that is no key, and the smallest that is one.
          ':names': names,
          ':from': from || '\0',
          ':to': to,
        },
        Limit,
      }),
    )
    const found = Items.map(({ name, target }) => String(name ?? oldName(target)))
    return { found, end: LastEvaluatedKey === undefined ? BEHIND : folded(found.at(-1) ?? '') }
  }
  const behind = (between: string): string =>
    last === undefined ? folded(prefix) : `${folded(last)}${between}`
  const pages = await Promise.all([
    read({ TableName: labelTable(table) }, ownerNames(owner), behind('\0')),
    read(
      { TableName: table, IndexName: 'byLabel' satisfies RecordsIndex },
      oldNames(owner),
      behind(`\n${BEHIND}`),
    ),
  ])
  const end = pages.reduce((first, page) => (page.end < first ? page.end : first), BEHIND)
  const byName = new Map(pages.flatMap(({ found }) => found.map((name) => [folded(name), name])))
  const candidates = [...byName].filter(([name]) => name <= end).toSorted(([a], [b]) => (a < b ? -1 : 1))
  return { candidates: candidates.map(([, name]) => name), isEnd: end === BEHIND }
}
/** Behind every name. */
const BEHIND = '\u{10ffff}'
/** Of a sort key (Amazon DynamoDB quotas). */
const MAX_KEY_BYTES = 1_024

async function hasLabel({ dynamo, table }: Records, owner: string, name: string): Promise<boolean> {
  const places = [
    ...partitionsOf(owner, name).map((partition) => ({ TableName: labelTable(table), partition })),
    { TableName: table, IndexName: 'byLabel' satisfies RecordsIndex, partition: oldPartition(owner, name) },
  ]
  for (const { partition, ...place } of places) {
    const { Count = 0 } = await dynamo.send(
      new QueryCommand({
        ...place,
        KeyConditionExpression: 'ownerLabel = :partition',
        ExpressionAttributeValues: { ':partition': partition },
        Limit: 1,
        Select: 'COUNT',
      }),
    )
    if (Count > 0) return true
  }
  return false
}
