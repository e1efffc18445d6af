import { createHash } from 'node:crypto'
import { BatchWriteCommand } from '@aws-sdk/lib-dynamodb'
import type { Image } from './image.ts'
import { inRounds, type Records, type Rounds } from './records.ts'

/**
 * The search by label: an item for each label of an image, in the same table, found by the index `byLabel`
 * (`ownerLabel`, newest `target` first). So a search reads what it finds and nothing else, however many images there are.
 *
 * An image costs two write units a label (its item, and the item's entry in the index; each is under 1 KB) when it is
 * completed, and as many when it is deleted: 200 at most.
 */
export const MAX_INDEXED_LABELS = 100
/** Amazon DynamoDB quotas, BatchWriteItem. */
const MAX_WRITES = 25
/** Rounds in which DynamoDB may leave some of a batch undone. */
const WRITE_ROUNDS: Rounds = { most: 5, firstPauseMs: 50 }

const hash = (text: string): string => createHash('sha256').update(text).digest('hex')

/** A label as keys have it: a hash, as all that others have written, and the same for `dog` and `Dog`. */
const labelHash = (label: string): string => hash(label.normalize('NFC').toLowerCase())

/** The partition of an owner's images with a label. */
export const ownerLabel = (owner: string, label: string): string => `${hash(owner)}#${labelHash(label)}`

export const labelItemId = (imageId: string, label: string): string => `label#${imageId}#${labelHash(label)}`

/** The surest labels of an image, each once: two that differ in case are one. */
function indexedLabels(image: Image): { Name: string; Confidence: number }[] {
  const labels = image.status === 'completed' ? (image.rekognitionLabels ?? []) : []
  const surestFirst = labels.toSorted((a, b) => b.Confidence - a.Confidence)
  const byHash = new Map<string, (typeof labels)[number]>()
  for (const label of surestFirst) {
    const key = labelHash(label.Name)
    if (!byHash.has(key)) byHash.set(key, label)
  }
  return [...byHash.values()].slice(0, MAX_INDEXED_LABELS)
}

/** The keys of an image's items in the index, which a deletion has to take out. */
export const labelKeys = (image: Image): string[] =>
  indexedLabels(image).map(({ Name }) => labelItemId(image.imageId, Name))

/** Puts a finished image into the index. Doing it again changes nothing. */
export async function indexLabels(records: Records, image: Image): Promise<void> {
  const { imageId, owner, expiresAt } = image
  await write(
    records,
    indexedLabels(image).map(({ Name, Confidence }) => ({
      PutRequest: {
        Item: {
          imageId: labelItemId(imageId, Name),
          ownerLabel: ownerLabel(owner, Name),
          target: imageId,
          confidence: Confidence,
          // DynamoDB deletes it together with the record. Where it is undefined, the item has no such attribute.
          expiresAt,
        },
      },
    })),
  )
}

/** @param keys what `labelKeys` says of the image */
export const unindexLabels = (records: Records, keys: readonly string[]): Promise<void> =>
  write(
    records,
    keys.map((imageId) => ({ DeleteRequest: { Key: { imageId } } })),
  )

type WriteRequest =
  | { PutRequest: { Item: Record<string, unknown> } }
  | { DeleteRequest: { Key: Record<string, unknown> } }

/** @throws Error where DynamoDB leaves something undone in every round */
const write = ({ dynamo, table, sleep }: Records, requests: WriteRequest[]): Promise<void> =>
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
