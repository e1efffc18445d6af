import { deflateRawSync, inflateRawSync } from 'node:zlib'
import { BatchWriteCommand } from '@aws-sdk/lib-dynamodb'
import type { Image, RekognitionFace } from './image.ts'
import {
  folded,
  inRounds,
  isOldItem,
  LISTED_ATTRIBUTES,
  labelTable,
  oldItem,
  ownerNames,
  partitionOf,
  type Rounds,
  type Table,
} from './table.ts'

const MAX_INDEXED_LABELS = 100

/** What an image with a face is found by. No name of a label begins so, nor that of an emotion. */
export const FACES = '\0faces'
/** @param type as Rekognition gives it, in any case */
export const emotionTerm = (type: string): string => `\0emotion ${type}`

/** The strongest emotion of each face, each once, with the highest confidence in per cent that a face has of it. */
export function emotionsOf(faces: readonly RekognitionFace[] = []): Map<string, number> {
  const emotions = new Map<string, number>()
  for (const { Emotions = [] } of faces) {
    const [top] = Emotions.toSorted((a, b) => (b.Confidence ?? 0) - (a.Confidence ?? 0))
    if (top?.Type !== undefined)
      emotions.set(top.Type, Math.max(emotions.get(top.Type) ?? 0, top.Confidence ?? 0))
  }
  return emotions
}

/** Where an image is in the index of labels, or what its owner calls a label: two items of it never have the same key. */
interface Key {
  ownerLabel: string
  target: string
}

/** Confidences are compared in hundredths of a per cent, which are shorter to store. */
const hundredths = (confidence: number): number => Math.floor(confidence * 100)

/** What an image is found by, each with its confidence in hundredths. */
export type Terms = Map<string, number>
export const hasTerm = (terms: Terms, name: string, least: number): boolean =>
  (terms.get(folded(name)) ?? -1) >= hundredths(least)

interface Label {
  Name: string
  Confidence: number
}

/** What the index has of an image: all that a list shows, and all that it is found by. */
export const shownOf = (
  image: Image,
  labels = indexedLabels(image),
): { shown: Record<string, unknown>; terms: Terms } => ({
  shown: Object.fromEntries(
    LISTED_ATTRIBUTES.flatMap((name) => (name in image ? [[name, image[name as keyof Image]]] : [])),
  ),
  terms: new Map(labels.map(({ Name, Confidence }) => [folded(Name), hundredths(Confidence)])),
})

/** Deflated, since most of it is names of attributes: 0.4 KB instead of 1.1 at 20 labels. */
function pack(image: Image, labels: Label[]): Uint8Array {
  const { shown, terms } = shownOf(image, labels)
  return deflateRawSync(JSON.stringify([shown, [...terms]]))
}
export function unpack(packed: Uint8Array): ReturnType<typeof shownOf> {
  const [shown, terms] = JSON.parse(inflateRawSync(packed).toString())
  return { shown, terms: new Map(terms) }
}

/** The surest labels of an image, each once: two that differ in case are one. Then its emotions and faces. */
function indexedLabels(image: Image): Label[] {
  if (image.status !== 'completed') return []
  const { rekognitionLabels = [], rekognitionFaces: faces = [] } = image
  const byName = new Map<string, Label>()
  for (const label of rekognitionLabels.toSorted((a, b) => b.Confidence - a.Confidence)) {
    if (!byName.has(folded(label.Name))) byName.set(folded(label.Name), label)
  }
  const emotions = [...emotionsOf(faces)].map(([type, Confidence]) => ({
    Name: emotionTerm(type),
    Confidence,
  }))
  const surest = Math.max(...faces.map(({ Confidence = 0 }) => Confidence))
  return [
    ...[...byName.values()].slice(0, MAX_INDEXED_LABELS),
    ...emotions,
    ...(faces.length > 0 ? [{ Name: FACES, Confidence: surest }] : []),
  ]
}

/** What a deletion of an image has to take out of the index: partitions, and items of the version before. */
export const labelKeys = (image: Image): string[] =>
  indexedLabels(image).flatMap(({ Name, Confidence }) => [
    partitionOf(image.owner, Name, Confidence),
    ...(image.status === 'completed' && image.index === 2 ? [] : [oldItem(image.imageId, Name)]),
  ])

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
    .filter(({ Name }) => Name !== '' && !Name.startsWith('\0'))
    .map(({ Name }) => ({ ownerLabel: ownerNames(owner), target: folded(Name), name: Name, expiresAt }))
    .filter((name) => (known.get(keyOf(name)) ?? 0) < (expiresAt ?? FOR_EVER) - NAME_TOLERANCE)
}
const keyOf = ({ ownerLabel, target }: Key): string => `${ownerLabel} ${target}`

/**
 * Puts a finished image into the index, and the names of its labels beside it. Doing it again changes nothing.
 *
 * @param known is read and filled
 * @param more items of the table of records that are to be written by the way
 */
export async function indexLabels(
  records: Table,
  image: Image,
  known: KnownNames = new Map(),
  more: Record<string, unknown>[] = [],
): Promise<void> {
  const { imageId, owner, expiresAt } = image
  const labels = indexedLabels(image)
  const names = newNames(image, labels, known)
  const shown = labels.length > 0 ? pack(image, labels) : undefined
  const entries = labels.map(({ Name, Confidence }) => ({
    ownerLabel: partitionOf(owner, Name, Confidence),
    target: imageId,
    shown,
    // DynamoDB deletes it together with the record. Where it is undefined, the item has no such attribute.
    expiresAt,
  }))
  const put = (table: string, Item: object): Write => [table, { PutRequest: { Item } }]
  await write(records, [
    ...[...entries, ...names].map((item) => put(labelTable(records.table), item)),
    ...more.map((item) => put(records.table, item)),
  ])
  if (known.size > MOST_KNOWN_NAMES) known.clear()
  for (const name of names) known.set(keyOf(name), expiresAt ?? FOR_EVER)
}

/** @param keys what `labelKeys` says of the image */
export const unindexLabels = (records: Table, imageId: string, keys: readonly string[]): Promise<void> =>
  write(
    records,
    keys.map((key) =>
      isOldItem(key)
        ? [records.table, { DeleteRequest: { Key: { imageId: key } } }]
        : [labelTable(records.table), { DeleteRequest: { Key: { ownerLabel: key, target: imageId } } }],
    ),
  )

/** Amazon DynamoDB quotas, BatchWriteItem. */
const MAX_WRITES = 25
/** Rounds in which DynamoDB may leave some of a batch undone. */
const WRITE_ROUNDS: Rounds = { most: 5, firstPauseMs: 50 }

/** A request of a batch, and its table. */
type Write = [table: string, request: { PutRequest: { Item: object } } | { DeleteRequest: { Key: object } }]

/** @throws Error where DynamoDB leaves something undone in every round */
const write = ({ dynamo, sleep }: Table, requests: Write[]): Promise<void> =>
  inRounds(sleep, WRITE_ROUNDS, requests, async (waiting) => {
    const batches = Array.from({ length: Math.ceil(waiting.length / MAX_WRITES) }, (_, index) =>
      waiting.slice(index * MAX_WRITES, (index + 1) * MAX_WRITES),
    )
    const undone = await Promise.all(
      batches.map(async (batch) => {
        const RequestItems: Record<string, Write[1][]> = {}
        for (const [table, request] of batch) RequestItems[table] = [...(RequestItems[table] ?? []), request]
        const { UnprocessedItems = {} } = await dynamo.send(new BatchWriteCommand({ RequestItems }))
        return Object.entries(UnprocessedItems).flatMap(([table, left]) =>
          left.map((request) => [table, request] as Write),
        )
      }),
    )
    return undone.flat()
  })
