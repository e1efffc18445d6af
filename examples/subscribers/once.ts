import { ConditionalCheckFailedException } from '@aws-sdk/client-dynamodb'
import {
  DeleteCommand,
  type DynamoDBDocumentClient,
  GetCommand,
  PutCommand,
  UpdateCommand,
} from '@aws-sdk/lib-dynamodb'

/**
 * An event comes at least once, always with the same `eventId`. This runs the work for it once.
 *
 * @throws what the work throws, and an Error while another run has the event in hand: both are for trying again
 */
export type Once = (eventId: string, work: () => Promise<void>) => Promise<'done' | 'repeated'>

/** Longer than the work takes, and shorter than the pause before a delivery is tried again. */
const LEASE_SECONDS = 50
/** As long as an event can come again: 1 day from EventBridge, 14 days from a queue, and as many from dead letters. */
const KEPT_SECONDS = 30 * 86_400

/**
 * Remembers in a DynamoDB table with the key `id` and the time to live `expiresAt`. `leaseUntil` is there while the
 * work is being done: a run that was killed holds the event no longer than that. What it had done by then is done again;
 * so where the work is itself a write to DynamoDB, put that and this into one transaction instead.
 *
 * @param subscriber each does its own work for an event, so several can share a table
 */
export const onceIn =
  (dynamo: DynamoDBDocumentClient, TableName: string, subscriber: string): Once =>
  async (eventId, work) => {
    const now = Math.floor(Date.now() / 1000)
    const leaseUntil = now + LEASE_SECONDS
    const Key = { id: `${subscriber}#${eventId}` }
    try {
      await dynamo.send(
        new PutCommand({
          TableName,
          Item: { ...Key, leaseUntil, expiresAt: now + KEPT_SECONDS },
          ConditionExpression: 'attribute_not_exists(id) OR leaseUntil < :now',
          ExpressionAttributeValues: { ':now': now },
        }),
      )
    } catch (error) {
      if (!(error instanceof ConditionalCheckFailedException)) throw error
      const { Item } = await dynamo.send(new GetCommand({ TableName, Key, ConsistentRead: true }))
      if (Item !== undefined && Item['leaseUntil'] === undefined) return 'repeated'
      throw new Error(`Another run has the event ${eventId} in hand.`)
    }
    try {
      await work()
    } catch (error) {
      // For the next try at once. If it cannot be said, or another run has taken over since, the lease says it in time.
      const mine = {
        ConditionExpression: 'leaseUntil = :mine',
        ExpressionAttributeValues: { ':mine': leaseUntil },
      }
      await dynamo.send(new DeleteCommand({ TableName, Key, ...mine })).catch(() => undefined)
      throw error
    }
    await dynamo.send(new UpdateCommand({ TableName, Key, UpdateExpression: 'REMOVE leaseUntil' }))
    return 'done'
  }
