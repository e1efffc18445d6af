import { SendMessageCommand, type SQSClient } from '@aws-sdk/client-sqs'
import {
  DeleteCommand,
  type DynamoDBDocumentClient,
  PutCommand,
  paginateScan,
  UpdateCommand,
} from '@aws-sdk/lib-dynamodb'
import { imageIdSchema } from '../shared/image.ts'
import type { Job } from '../shared/job.ts'
import type { EmbeddedAws } from './embedded-aws.ts'
import type { ResourceNames } from './resources.ts'

/**
 * After a restart no worker of the process before is alive, whatever its leases say: they end now, and what has no
 * job in the queue gets one. (On AWS leases run out by themselves.)
 */
export async function recover(
  embedded: EmbeddedAws,
  names: ResourceNames,
  { dynamo, sqs, jobQueueUrl }: { dynamo: DynamoDBDocumentClient; sqs: SQSClient; jobQueueUrl: string },
): Promise<void> {
  await mendIndexes(dynamo, names.table)
  const queued = new Set(embedded.recoverQueue(names.jobQueue))
  const unfinished = paginateScan(
    { client: dynamo },
    {
      TableName: names.table,
      FilterExpression: '#status IN (:pending, :processing)',
      ProjectionExpression: 'imageId, #status, epoch',
      ExpressionAttributeNames: { '#status': 'status' },
      ExpressionAttributeValues: { ':pending': 'pending', ':processing': 'processing' },
    },
  )
  for await (const { Items = [] } of unfinished) {
    for (const { imageId, status, epoch } of Items) {
      if (status === 'processing') {
        await dynamo.send(
          new UpdateCommand({
            TableName: names.table,
            Key: { imageId },
            UpdateExpression: 'SET leaseUntil = :over',
            ConditionExpression: 'attribute_exists(imageId)',
            ExpressionAttributeValues: { ':over': 0 },
          }),
        )
      }
      const job: Job = { version: 1, imageId: imageIdSchema.parse(imageId), epoch }
      const body = JSON.stringify(job)
      if (!queued.has(body)) {
        await sqs.send(new SendMessageCommand({ QueueUrl: jobQueueUrl, MessageBody: body }))
      }
    }
  }
}

/**
 * The DynamoDB emulator writes an item's index entries before the item. Killed in between it leaves entries of an item
 * that is not there, or not so: such an entry goes when the item is written as the entry has it, and then as it is.
 */
async function mendIndexes(dynamo: DynamoDBDocumentClient, TableName: string): Promise<void> {
  const items = new Map<string, Record<string, unknown>>()
  for await (const { Items = [] } of paginateScan({ client: dynamo }, { TableName })) {
    for (const item of Items) items.set(item['imageId'], item)
  }
  for (const IndexName of ['byOwner', 'byStatus', 'unfinished']) {
    for await (const { Items = [] } of paginateScan({ client: dynamo }, { TableName, IndexName })) {
      for (const { imageId, ...entry } of Items) {
        const item = items.get(imageId)
        const keys = ['owner', 'statusKey', 'unfinished', 'sweepAt'].filter((key) => key in entry)
        if (keys.every((key) => item?.[key] === entry[key])) continue
        await dynamo.send(new PutCommand({ TableName, Item: { ...item, ...entry, imageId } }))
        if (item !== undefined) await dynamo.send(new PutCommand({ TableName, Item: item }))
        else await dynamo.send(new DeleteCommand({ TableName, Key: { imageId } }))
      }
    }
  }
}
