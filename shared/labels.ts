import { createHash } from 'node:crypto'
import { BatchWriteCommand } from '@aws-sdk/lib-dynamodb'
import type { Image } from './image.ts'
import type { Records } from './records.ts'

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
/** Rounds in which DynamoDB may leave some of a batch undone, and milliseconds to the second of them. */
const ROUNDS = 5
const FIRST_PAUSE_MS = 50

/** The same for `dog` and `Dog`: people type as they like. */
const plainLabel = (label: string): string => label.normalize('NFC').toLowerCase()

/** The partition of an owner's images with a label. Hashed, so that no owner's name can be mistaken for another's. */
export const ownerLabel = (owner: string, label: string): string =>
  `${createHash('sha256').update(owner).digest('hex')}#${plainLabel(label)}`

export const labelItemId = (imageId: string, label: string): string => `label#${imageId}#${plainLabel(label)}`

/** The names under which an image is found, strongest first. */
const indexedLabels = (image: Image): Map<string, number> => {
  const labels = image.status === 'completed' ? (image.rekognitionLabels ?? []) : []
  const strongest = labels.toSorted((a, b) => b.Confidence - a.Confidence).slice(0, MAX_INDEXED_LABELS)
  // Two that differ in case only are one, as sure as the surer of them.
  return new Map(strongest.toReversed().map(({ Name, Confidence }) => [plainLabel(Name), Confidence]))
}

/** What a deletion has to take out of the index. */
export const indexedNames = (image: Image): string[] => [...indexedLabels(image).keys()]

/** Puts a finished image into the index. Doing it again changes nothing. */
export async function indexLabels(records: Records, image: Image): Promise<void> {
  const { imageId, owner, expiresAt } = image
  await write(
    records,
    [...indexedLabels(image)].map(([label, confidence]) => ({
      PutRequest: {
        Item: {
          imageId: labelItemId(imageId, label),
          ownerLabel: ownerLabel(owner, label),
          target: imageId,
          confidence,
          // DynamoDB deletes it together with the record.
          ...(expiresAt === undefined ? {} : { expiresAt }),
        },
      },
    })),
  )
}

/** @param labels what `indexedNames` says of the image */
export const unindexLabels = (records: Records, imageId: string, labels: readonly string[]): Promise<void> =>
  write(
    records,
    labels.map((label) => ({ DeleteRequest: { Key: { imageId: labelItemId(imageId, label) } } })),
  )

type WriteRequest =
  | { PutRequest: { Item: Record<string, unknown> } }
  | { DeleteRequest: { Key: Record<string, unknown> } }

/** @throws Error where DynamoDB leaves something undone in every round */
async function write({ dynamo, table, sleep }: Records, requests: WriteRequest[]): Promise<void> {
  let waiting = requests
  for (let round = 0; waiting.length > 0; round += 1) {
    if (round === ROUNDS) throw new Error(`DynamoDB leaves ${waiting.length} writes of labels undone.`)
    if (round > 0) await sleep(FIRST_PAUSE_MS * 2 ** (round - 1))
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
    waiting = undone.flat()
  }
}
