import { Logger } from '@aws-lambda-powertools/logger'
import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { SQSClient } from '@aws-sdk/client-sqs'
import { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb'
import { clientOptions, dynamoTranslation, sqsOptions } from '../shared/aws.ts'
import { readSweeperConfig } from '../shared/config.ts'
import { type SweeperDeps, sweep } from './sweep.ts'

const config = readSweeperConfig(process.env)
const log = new Logger({ serviceName: 'image-analyzer-sweeper' })
const deps: SweeperDeps = {
  dynamo: DynamoDBDocumentClient.from(new DynamoDBClient(clientOptions()), dynamoTranslation),
  sqs: new SQSClient(sqsOptions()),
  table: config.IMAGE_TABLE,
  jobQueueUrl: config.JOB_QUEUE_URL,
  now: () => new Date(),
}

/** Called by a schedule. */
export const handler = async (): Promise<{ swept: number }> => {
  const swept = await sweep(deps, config.STALE_SECONDS)
  log.info('swept', { swept })
  return { swept }
}
