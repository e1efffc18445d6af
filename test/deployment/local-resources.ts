import { CreateTableCommand, type DynamoDBClient } from '@aws-sdk/client-dynamodb'
import type { EventBridgeClient } from '@aws-sdk/client-eventbridge'
import {
  HeadBucketCommand,
  NotFound,
  PutBucketNotificationConfigurationCommand,
  type S3Client,
} from '@aws-sdk/client-s3'
import {
  CreateQueueCommand,
  GetQueueAttributesCommand,
  GetQueueUrlCommand,
  QueueDoesNotExist,
  type SQSClient,
} from '@aws-sdk/client-sqs'
import { createMissingResources, resourceNames } from '../../infrastructure/resources.ts'

/** What infrastructure/resources.ts asks AWS for, by asking an AWS that has nothing. */
export async function whatTheLocalSystemCreates() {
  const tables: Record<string, CreateTableCommand['input']> = {}
  let notifications: PutBucketNotificationConfigurationCommand['input'] | undefined
  const queues: Record<string, Record<string, string>> = {}
  const answer = async (command: unknown): Promise<unknown> => {
    if (command instanceof CreateTableCommand) tables[command.input.TableName ?? ''] = command.input
    if (command instanceof HeadBucketCommand) throw new NotFound({ message: '', $metadata: {} })
    if (command instanceof PutBucketNotificationConfigurationCommand) notifications = command.input
    if (command instanceof GetQueueUrlCommand) throw new QueueDoesNotExist({ message: '', $metadata: {} })
    if (command instanceof CreateQueueCommand) {
      queues[command.input.QueueName ?? ''] = command.input.Attributes ?? {}
      return { QueueUrl: command.input.QueueName }
    }
    if (command instanceof GetQueueAttributesCommand) return { Attributes: { QueueArn: 'arn' } }
    return { Table: { TableStatus: 'ACTIVE' } }
  }
  const stub = <T>(): T => ({ send: answer }) as T
  await createMissingResources(
    {
      s3: stub<S3Client>(),
      sqs: stub<SQSClient>(),
      dynamoDb: stub<DynamoDBClient>(),
      eventBridge: stub<EventBridgeClient>(),
      region: 'us-east-1',
    },
    resourceNames(),
  )
  const [uploads] = notifications?.NotificationConfiguration?.QueueConfigurations ?? []
  return { tables, queues, uploads }
}
