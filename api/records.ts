import { ConditionalCheckFailedException } from '@aws-sdk/client-dynamodb'
import {
  DeleteCommand,
  type DynamoDBDocumentClient,
  GetCommand,
  PutCommand,
  QueryCommand,
  UpdateCommand,
} from '@aws-sdk/lib-dynamodb'
import * as z from 'zod'
import {
  type Image,
  type ImageId,
  imageIdSchema,
  imageSchema,
  type PendingImage,
  type Status,
  statusKey,
  unfinishedShard,
} from '../shared/image.ts'

export interface Table {
  dynamo: DynamoDBDocumentClient
  table: string
}

/** @returns the record, or undefined where there is none or it is another owner's: the two must look the same */
export async function getImage(
  { dynamo, table }: Table,
  owner: string,
  imageId: ImageId,
): Promise<Image | undefined> {
  // Consistent, so that a client who has just been given the id never sees a 404.
  const { Item } = await dynamo.send(
    new GetCommand({ TableName: table, Key: { imageId }, ConsistentRead: true }),
  )
  if (Item === undefined) return undefined
  const image = imageSchema.parse(Item)
  return image.owner === owner ? image : undefined
}

/** Writes a new record; one that is already there stays as it is (a repeated request, or a write whose answer was lost). */
export async function createImage({ dynamo, table }: Table, image: PendingImage): Promise<void> {
  try {
    await dynamo.send(
      new PutCommand({
        TableName: table,
        Item: {
          ...image,
          statusKey: statusKey(image.status, image.imageId),
          unfinished: unfinishedShard(image.imageId),
        },
        ConditionExpression: 'attribute_not_exists(imageId)',
      }),
    )
  } catch (error) {
    if (!(error instanceof ConditionalCheckFailedException)) throw error
  }
}

/**
 * Begins a new run of a failed image: the next epoch, with none of the attempts of the one before.
 *
 * @returns false where the image has not failed (any more) or is not yet announced
 */
export async function retryImage(
  { dynamo, table }: Table,
  { imageId, epoch }: Image,
  now: Date,
): Promise<boolean> {
  try {
    await dynamo.send(
      new UpdateCommand({
        TableName: table,
        Key: { imageId },
        UpdateExpression:
          'SET #status = :pending, statusKey = :statusKey, unfinished = :shard, updatedAt = :now, attempts = :none, epoch = :next REMOVE failure, completedAt, announced',
        // Not before its failure is announced, or the event would be lost with the run.
        ConditionExpression: '#status = :failed AND epoch = :epoch AND attribute_not_exists(unfinished)',
        ExpressionAttributeNames: { '#status': 'status' },
        ExpressionAttributeValues: {
          ':pending': 'pending',
          ':failed': 'failed',
          ':statusKey': statusKey('pending', imageId),
          ':shard': unfinishedShard(imageId),
          ':now': now.toISOString(),
          ':none': 0,
          ':epoch': epoch,
          ':next': epoch + 1,
        },
      }),
    )
    return true
  } catch (error) {
    if (error instanceof ConditionalCheckFailedException) return false
    throw error
  }
}

/** Deletes a record, and the idempotency key it was made by: a request that comes late must not bring it back. */
export async function deleteRecord({ dynamo, table }: Table, { imageId, keyHash }: Image): Promise<void> {
  if (keyHash !== undefined) {
    await dynamo.send(new DeleteCommand({ TableName: table, Key: { imageId: `idempotency#${keyHash}` } }))
  }
  await dynamo.send(new DeleteCommand({ TableName: table, Key: { imageId } }))
}

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
] as const

const listedSchema = z.looseObject({ imageId: imageIdSchema })
export type ListedImage = Pick<Image, 'imageId'> & Record<string, unknown>

/** The most items that one list may look through for matches, so that a rare label cannot hold a request up. */
const MAX_LOOKED_AT = 1_000

/**
 * One page of an owner's images, newest first.
 *
 * @param after the last image of the page before
 * @returns fewer than `limit` items with a `last` when a filter has looked through enough for one request
 */
export async function listImages(
  { dynamo, table }: Table,
  owner: string,
  query: { limit: number; after?: ImageId; status?: Status; label?: string },
): Promise<{ items: ListedImage[]; last?: ImageId }> {
  const { limit, status, label } = query
  const items: ListedImage[] = []
  let after = query.after
  for (let lookedAt = 0; ; ) {
    const page = await dynamo.send(
      new QueryCommand({
        TableName: table,
        IndexName: status === undefined ? 'byOwner' : 'byStatus',
        KeyConditionExpression:
          status === undefined ? '#owner = :owner' : '#owner = :owner AND begins_with(statusKey, :status)',
        ProjectionExpression: ['imageId', ...LISTED_ATTRIBUTES.map((name) => `#${name}`)].join(', '),
        ExpressionAttributeNames: {
          '#owner': 'owner',
          ...Object.fromEntries(LISTED_ATTRIBUTES.map((name) => [`#${name}`, name])),
        },
        ExpressionAttributeValues: {
          ':owner': owner,
          ...(status === undefined ? {} : { ':status': statusKey(status, '') }),
          ...(label === undefined ? {} : { ':label': label }),
        },
        ...(label === undefined ? {} : { FilterExpression: 'contains(#labels, :label)' }),
        ...(after === undefined
          ? {}
          : {
              ExclusiveStartKey: {
                imageId: after,
                owner,
                ...(status === undefined ? {} : { statusKey: statusKey(status, after) }),
              },
            }),
        ScanIndexForward: false,
        // One more than asked for tells whether there is a next page.
        Limit: label === undefined ? limit + 1 - items.length : 100,
      }),
    )
    items.push(...(page.Items ?? []).map((item) => listedSchema.parse(item)))
    lookedAt += page.ScannedCount ?? 0
    if (items.length > limit) {
      const shown = items.slice(0, limit)
      return { items: shown, last: shown[limit - 1]?.imageId as ImageId }
    }
    if (page.LastEvaluatedKey === undefined) return { items }
    after = imageIdSchema.parse(page.LastEvaluatedKey['imageId'])
    if (lookedAt >= MAX_LOOKED_AT) return { items, last: after }
  }
}

/** Seconds for which an idempotency key is remembered: a day, as long as any sensible client repeats a request. */
const KEY_LIFETIME_SECONDS = 86_400

const keyItemSchema = z.object({ target: imageIdSchema, sha256: z.string(), createdAt: z.iso.datetime() })

/**
 * Ties an idempotency key to an image, once: whoever asks first decides, and everybody else is told what it was.
 *
 * @param keyHash hex SHA-256 of owner and key, so that what a client sends is never a name in the table
 * @returns the image that the key stands for, with the hash of its bytes
 */
export async function claimIdempotencyKey(
  { dynamo, table }: Table,
  keyHash: string,
  candidate: { imageId: ImageId; sha256: string; createdAt: string },
): Promise<{ imageId: ImageId; sha256: string; createdAt: string }> {
  const key = { imageId: `idempotency#${keyHash}` }
  const now = Math.floor(Date.parse(candidate.createdAt) / 1000)
  try {
    await dynamo.send(
      new PutCommand({
        TableName: table,
        Item: {
          ...key,
          target: candidate.imageId,
          sha256: candidate.sha256,
          createdAt: candidate.createdAt,
          expiresAt: now + KEY_LIFETIME_SECONDS,
        },
        // DynamoDB deletes expired items only within days, so the condition looks at the time too.
        ConditionExpression: 'attribute_not_exists(imageId) OR expiresAt < :now',
        ExpressionAttributeValues: { ':now': now },
      }),
    )
    return candidate
  } catch (error) {
    if (!(error instanceof ConditionalCheckFailedException)) throw error
  }
  const { Item } = await dynamo.send(new GetCommand({ TableName: table, Key: key, ConsistentRead: true }))
  const { target, sha256, createdAt } = keyItemSchema.parse(Item)
  return { imageId: target, sha256, createdAt }
}
