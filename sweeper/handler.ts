import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { EventBridgeClient } from '@aws-sdk/client-eventbridge'
import { S3Client } from '@aws-sdk/client-s3'
import { SQSClient } from '@aws-sdk/client-sqs'
import { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb'
import type { Context } from 'aws-lambda'
import { clientOptions, dynamoTranslation, s3Options, sleep, sqsOptions } from '../shared/aws.ts'
import { readSweeperConfig } from '../shared/config.ts'
import { createLog, say } from '../shared/log.ts'
import { passOver } from '../shared/messages.ts'
import { type SweeperDeps, type Swept, sweep } from './sweep.ts'

const config = readSweeperConfig(process.env)
const log = createLog('sweeper', config.METRICS_NAMESPACE)
const deps: SweeperDeps = {
  s3: new S3Client(s3Options()),
  dynamo: DynamoDBDocumentClient.from(new DynamoDBClient(clientOptions()), dynamoTranslation),
  sqs: new SQSClient(sqsOptions()),
  eventBridge: new EventBridgeClient(clientOptions()),
  bucket: config.IMAGE_BUCKET,
  table: config.IMAGE_TABLE,
  jobQueueUrl: config.JOB_QUEUE_URL,
  deadLetterQueueUrl: config.DEAD_LETTER_QUEUE_URL,
  eventBus: config.EVENT_BUS_NAME,
  sweepAfterMs: config.SWEEP_AFTER_SECONDS * 1000,
  maxAttempts: config.MAX_ATTEMPTS,
  giveUpMs: config.GIVE_UP_DAYS * 86_400_000,
  now: () => new Date(),
  sleep,
  log,
}

/** Called by a schedule, or by hand with any event that is not a batch of records. */
export const handler = async (
  event?: unknown,
  context?: Context,
): Promise<Swept | ReturnType<typeof passOver>> => {
  log.appendKeys({ functionRequestId: context?.awsRequestId })
  if (event instanceof Object && 'Records' in event) return passOver(event, 'a schedule', log)
  const swept = await sweep(deps)
  say(log, 'swept', swept)
  // The next sweep finds them again; but that sweeps meet trouble again and again must be seen.
  if (swept.failed > 0) throw new Error(`${swept.failed} images could not be looked after.`)
  return swept
}
