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
import { sweeperDeps } from './deps.ts'
import { type Swept, sweep } from './sweep.ts'

const config = readSweeperConfig(process.env)
const log = createLog('sweeper', config.METRICS_NAMESPACE)
const deps = sweeperDeps(
  config,
  {
    s3: new S3Client(s3Options()),
    dynamo: DynamoDBDocumentClient.from(new DynamoDBClient(clientOptions()), dynamoTranslation),
    sqs: new SQSClient(sqsOptions()),
    eventBridge: new EventBridgeClient(clientOptions()),
  },
  { now: () => new Date(), sleep },
  log,
)

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
