import { createHash } from 'node:crypto'
import { BatchWriteCommand, type DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb'
import type { Sleep } from './aws.ts'
import type { Image } from './image.ts'
import { emotionsOf } from './messages.ts'

/** The one table, and how to wait before asking it once more. */
export interface Table {
  dynamo: DynamoDBDocumentClient
  table: string
  sleep: Sleep
}

/**
 * The search by label: an item for each label of an image, in the same table, found by the index `byLabel`
 * (`ownerLabel`, newest `target` first). So a search reads only what it finds, however many images there are.
 * The emotions of faces, and that there is a face, are found as labels are.
 *
 * An image costs two write units a label (its item, and the item's entry in the index; each is under 1 KB) when it is
 * completed, and as many when it is deleted: 200 at most, and 18 more for faces of eight emotions. A label that an owner
 * has for the first time costs two more, as its name is found by its beginning; each worker writes a name once.
 */
export const MAX_INDEXED_LABELS = 100
/** Amazon DynamoDB quotas, BatchWriteItem. */
const MAX_WRITES = 25
/** Rounds in which DynamoDB may leave some of a batch undone. */
const WRITE_ROUNDS: Rounds = { most: 5, firstPauseMs: 50 }

/** What an image with a face is found by. No name of a label begins so, nor that of an emotion. */
export const FACES = '\0faces'
/** @param type as Rekognition gives it, in any case */
export const emotionTerm = (type: string): string => `\0emotion ${type}`

const hash = (text: string): string => createHash('sha256').update(text).digest('hex')
/** As names are compared. */
export const folded = (label: string): string => label.normalize('NFC').toLowerCase()

/** A label as keys have it: a hash, as all that others have written, and the same for `dog` and `Dog`. */
const labelHash = (label: string): string => hash(folded(label))

/** The partition of an owner's images with a label. */
export const ownerLabel = (owner: string, label: string): string => `${hash(owner)}#${labelHash(label)}`

export const labelItemId = (imageId: string, label: string): string => `label#${imageId}#${labelHash(label)}`

/** The partition of the names of an owner's labels, in the same index: by it they are found from their beginning on. */
export const ownerNames = (owner: string): string => `${hash(owner)}#names`
export const nameItemId = (owner: string, label: string): string => `name#${hash(owner)}#${labelHash(label)}`
/** Where a name stands in its partition: in alphabetical order, in any case, with itself at the end. */
const nameTarget = (label: string): string => `${folded(label)}\n${label}`
export const nameOf = (target: string): string => target.slice(target.indexOf('\n') + 1)
/** Bounds of the sort key: of the names with this beginning, behind the one that was last. */
export const namesFrom = (prefix: string, last: string | undefined): [from: string, to: string] => [
  // Text that is no key, and the smallest that is one.
  last === undefined ? folded(prefix) || '\0' : `${nameTarget(last)}\0`,
  `${folded(prefix)}\u{10ffff}`,
]

/** The surest labels of an image, each once: two that differ in case are one. Then its emotions and faces. */
function indexedLabels(image: Image): { Name: string; Confidence: number }[] {
  if (image.status !== 'completed') return []
  const { rekognitionLabels = [], rekognitionFaces: faces = [] } = image
  const byHash = new Map<string, { Name: string; Confidence: number }>()
  for (const label of rekognitionLabels.toSorted((a, b) => b.Confidence - a.Confidence)) {
    const key = labelHash(label.Name)
    if (!byHash.has(key)) byHash.set(key, label)
  }
  const emotions = [...emotionsOf(faces)].map(([type, Confidence]) => ({
    Name: emotionTerm(type),
    Confidence,
  }))
  const surest = Math.max(...faces.map(({ Confidence = 0 }) => Confidence))
  return [
    ...[...byHash.values()].slice(0, MAX_INDEXED_LABELS),
    ...emotions,
    ...(faces.length > 0 ? [{ Name: FACES, Confidence: surest }] : []),
  ]
}

/** The keys of an image's items in the index, which a deletion has to take out. */
export const labelKeys = (image: Image): string[] =>
  indexedLabels(image).map(({ Name }) => labelItemId(image.imageId, Name))

/**
 * Names of labels that the table has, by their keys, and until when (seconds since 1970): what one process has
 * written it does not write again with every image.
 */
export type KnownNames = Map<string, number>
const FOR_EVER = Number.POSITIVE_INFINITY
/** About 3 MB. */
const MOST_KNOWN_NAMES = 20_000
/** Seconds by which a name may expire before the last image that has it. */
const NAME_TOLERANCE = 86_400

/** The names that are not known yet; of terms that are no names, none. They stay when the last such image is gone. */
function newNames(image: Image, labels: { Name: string }[], known: KnownNames) {
  const { owner, expiresAt } = image
  return labels
    .filter(({ Name }) => !Name.startsWith('\0'))
    .map(({ Name }) => ({
      imageId: nameItemId(owner, Name),
      ownerLabel: ownerNames(owner),
      target: nameTarget(Name),
      expiresAt,
    }))
    .filter(({ imageId }) => (known.get(imageId) ?? 0) < (expiresAt ?? FOR_EVER) - NAME_TOLERANCE)
}

/**
 * Puts a finished image into the index, and the names of its labels beside it. Doing it again changes nothing.
 *
 * @param known is read and filled
 */
export async function indexLabels(
  records: Table,
  image: Image,
  known: KnownNames = new Map(),
): Promise<void> {
  const { imageId, owner, expiresAt } = image
  const labels = indexedLabels(image)
  const names = newNames(image, labels, known)
  const entries = labels.map(({ Name, Confidence }) => ({
    imageId: labelItemId(imageId, Name),
    ownerLabel: ownerLabel(owner, Name),
    target: imageId,
    confidence: Confidence,
    // DynamoDB deletes it together with the record. Where it is undefined, the item has no such attribute.
    expiresAt,
  }))
  await write(
    records,
    [...entries, ...names].map((Item) => ({ PutRequest: { Item } })),
  )
  if (known.size > MOST_KNOWN_NAMES) known.clear()
  for (const name of names) known.set(name.imageId, expiresAt ?? FOR_EVER)
}

/** @param keys what `labelKeys` says of the image */
export const unindexLabels = (records: Table, keys: readonly string[]): Promise<void> =>
  write(
    records,
    keys.map((imageId) => ({ DeleteRequest: { Key: { imageId } } })),
  )

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

type WriteRequest =
  | { PutRequest: { Item: Record<string, unknown> } }
  | { DeleteRequest: { Key: Record<string, unknown> } }

/** @throws Error where DynamoDB leaves something undone in every round */
const write = ({ dynamo, table, sleep }: Table, requests: WriteRequest[]): Promise<void> =>
  inRounds(sleep, WRITE_ROUNDS, requests, async (waiting) => {
    const batches = Array.from({ length: Math.ceil(waiting.length / MAX_WRITES) }, (_, index) =>
      waiting.slice(index * MAX_WRITES, (index + 1) * MAX_WRITES),
    )
    const undone = await Promise.all(
      batches.map(async (batch) => {
        const { UnprocessedItems } = await dynamo.send(
          new BatchWriteCommand({ RequestItems: { [table]: batch } }),
        )
        return (UnprocessedItems?.[table] ?? []) as WriteRequest[]
      }),
    )
    return undone.flat()
  })
