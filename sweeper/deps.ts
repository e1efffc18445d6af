import type { EventBridgeClient } from '@aws-sdk/client-eventbridge'
import type { S3Client } from '@aws-sdk/client-s3'
import type { SQSClient } from '@aws-sdk/client-sqs'
import type { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb'
import type { SweeperConfig } from '../shared/config.ts'
import type { Image } from '../shared/image.ts'
import type { Records } from '../shared/lifecycle.ts'
import type { Log } from '../shared/log.ts'
import type { DeadLetterQueue, EventBus, JobQueue } from '../shared/messages.ts'

export interface SweeperDeps extends Records, JobQueue, DeadLetterQueue, EventBus {
  s3: S3Client
  bucket: string
  /** Attempts after which an image that met nothing but transient trouble is given up. */
  maxAttempts: number
  /** Milliseconds after which an unfinished image is given up, for any cause. */
  giveUpMs: number
  log: Log
  /** Whether no submission can be under way, so that what has been left behind is known at first sight. */
  isAlone?: boolean
  /** Whether the job of an image's run is in the queue, where that is known: it is not sent again. */
  isQueued?: (image: Pick<Image, 'imageId' | 'epoch'>) => boolean
}

export interface SweeperClients {
  s3: S3Client
  sqs: SQSClient
  dynamo: DynamoDBDocumentClient
  eventBridge: EventBridgeClient
}

/** The same on AWS, on one machine and in tests, but for what is passed in. */
export const sweeperDeps = (
  config: SweeperConfig,
  { s3, sqs, dynamo, eventBridge }: SweeperClients,
  { now, sleep }: Pick<SweeperDeps, 'now' | 'sleep'>,
  log: Log,
): SweeperDeps => ({
  s3,
  sqs,
  dynamo,
  eventBridge,
  now,
  sleep,
  log,
  bucket: config.IMAGE_BUCKET,
  table: config.IMAGE_TABLE,
  jobQueueUrl: config.JOB_QUEUE_URL,
  deadLetterQueueUrl: config.DEAD_LETTER_QUEUE_URL,
  eventBus: config.EVENT_BUS_NAME,
  sweepAfterMs: config.SWEEP_AFTER_SECONDS * 1_000,
  maxAttempts: config.MAX_ATTEMPTS,
  giveUpMs: config.GIVE_UP_DAYS * 86_400_000,
})
