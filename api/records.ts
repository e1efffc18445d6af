import { ConditionalCheckFailedException } from '@aws-sdk/client-dynamodb'
import { DeleteCommand, GetCommand, PutCommand, QueryCommand, UpdateCommand } from '@aws-sdk/lib-dynamodb'
import * as z from 'zod'
import {
  type Image,
  type ImageId,
  imageIdSchema,
  type NewImage,
  type Status,
  statusKey,
  unfinishedShard,
} from '../shared/image.ts'
import { getImage, type Records, sweepAt, updateImage } from '../shared/records.ts'

/** @returns the record, or undefined where there is none or it is another owner's: the two must look the same */
export async function getOwnImage(
  records: Records,
  owner: string,
  imageId: ImageId,
): Promise<Image | undefined> {
  const image = await getImage(records, imageId)
  return image?.owner === owner && !isExpired(image, records.now()) ? image : undefined
}

/** DynamoDB deletes what has expired within a few days; until then it is not there for anybody. */
const isExpired = ({ expiresAt }: Pick<Image, 'expiresAt'>, now: Date): boolean =>
  expiresAt !== undefined && expiresAt * 1_000 <= now.getTime()

/**
 * Writes a new record. One that is there already and waits for its job stays as it is, and is due for the sweeper anew:
 * so the sweeper does not take it for left behind while the request that repeats its submission is under way.
 *
 * @param graceMs milliseconds more than usual before the sweeper looks after it
 * @returns false where there is one that has gone further: the image was submitted before
 */
export async function createImage(records: Records, image: NewImage, graceMs = 0): Promise<boolean> {
  const { dynamo, table } = records
  const item = {
    ...image,
    statusKey: statusKey(image.status, image.imageId),
    unfinished: unfinishedShard(image.imageId),
    sweepAt: sweepAt(records) + graceMs,
  }
  // Twice, because the sweeper may remove it in between.
  for (let look = 0; look < 2; look += 1) {
    try {
      await dynamo.send(
        new PutCommand({
          TableName: table,
          Item: item,
          ConditionExpression: 'attribute_not_exists(imageId)',
        }),
      )
      return true
    } catch (error) {
      if (!(error instanceof ConditionalCheckFailedException)) throw error
    }
    const waiting = await updateImage(records, image.imageId, {
      set: { sweepAt: item.sweepAt },
      condition: '#status = :pending AND attempts = :none',
      values: { ':pending': 'pending', ':none': 0 },
    })
    if (waiting !== undefined) return true
  }
  return false
}

/**
 * Deletes a record: what is left of it belongs to nobody and says nothing, and only has the sweeper look for objects
 * once more when whatever was under way has surely ended. First goes the idempotency key it was made by: a request
 * that comes late must not bring it back.
 *
 * @param graceMs milliseconds more than usual for which something may still come
 */
export async function deleteRecord(
  records: Records,
  { imageId, owner, keyHash }: Image,
  graceMs = 0,
): Promise<void> {
  const { dynamo, table } = records
  if (keyHash !== undefined) {
    await dynamo.send(new DeleteCommand({ TableName: table, Key: { imageId: `idempotency#${keyHash}` } }))
  }
  try {
    await dynamo.send(
      new PutCommand({
        TableName: table,
        Item: {
          imageId,
          status: 'deleted',
          unfinished: unfinishedShard(imageId),
          sweepAt: sweepAt(records) + graceMs,
        },
        ConditionExpression: '#owner = :owner',
        ExpressionAttributeNames: { '#owner': 'owner' },
        ExpressionAttributeValues: { ':owner': owner },
      }),
    )
  } catch (error) {
    // Deleted already, perhaps by this very write, of which only the answer was lost.
    if (!(error instanceof ConditionalCheckFailedException)) throw error
  }
}

/**
 * Counts an image of an owner's day, if that leaves them within their quota.
 *
 * @param ownerHash hex SHA-256, so that what a caller is called is never a name in the table
 */
export async function countImage(
  { dynamo, table, now }: Records,
  ownerHash: string,
  day: string,
  quota: number,
): Promise<boolean> {
  try {
    await dynamo.send(
      new UpdateCommand({
        TableName: table,
        Key: { imageId: `quota#${ownerHash}#${day}` },
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
  { dynamo, table, now }: Records,
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
    items.push(
      ...(page.Items ?? [])
        .map((item) => listedSchema.parse(item))
        .filter((item) => !isExpired(item as Pick<Image, 'expiresAt'>, now())),
    )
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
  { dynamo, table }: Records,
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
        ConditionExpression: 'attribute_not_exists(imageId) OR expiresAt <= :now',
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
