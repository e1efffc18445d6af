import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { EventBridgeClient } from '@aws-sdk/client-eventbridge'
import { RekognitionClient } from '@aws-sdk/client-rekognition'
import { S3Client } from '@aws-sdk/client-s3'
import { SQSClient } from '@aws-sdk/client-sqs'
import { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb'
import type { Context, SQSBatchResponse, SQSEvent } from 'aws-lambda'
import * as z from 'zod'
import { createDecoder, createMakeRoom, demandHeicDecoder } from '../packages/image-guard/index.ts'
import {
  clientOptions,
  dynamoTranslation,
  elapsed,
  readInPlace,
  s3Options,
  sleep,
  sqsOptions,
} from '../shared/aws.ts'
import { readWorkerConfig } from '../shared/config.ts'
import { createLog } from '../shared/log.ts'
import { passOver } from '../shared/messages.ts'
import { processBatch } from './batch.ts'
import { workerDeps } from './deps.ts'
import { createRender } from './thumbnail.ts'

const config = readWorkerConfig(process.env)
const forS3 = s3Options()
if (config.HEIC) demandHeicDecoder()
const log = createLog('worker', config.METRICS_NAMESPACE)
const deps = workerDeps(
  config,
  {
    s3: readInPlace(new S3Client(forS3), forS3),
    sqs: new SQSClient(sqsOptions()),
    dynamo: DynamoDBDocumentClient.from(new DynamoDBClient(clientOptions()), dynamoTranslation),
    // The queue tries again, and waits in between; a client that did so too would outlast the function's time.
    rekognition: new RekognitionClient({ ...clientOptions(), maxAttempts: 1 }),
    eventBridge: new EventBridgeClient(clientOptions()),
  },
  { now: () => new Date(), elapsed, sleep, random: Math.random },
  { log, render: createRender(createDecoder()), makeRoom: createMakeRoom() },
)

export const handler = async (event: unknown, context: Context): Promise<SQSBatchResponse> => {
  log.appendKeys({ functionRequestId: context.awsRequestId })
  return isBatch(event) ? processBatch(deps, event, context) : passOver(event, 'a batch of SQS', log)
}

/** What distinguishes a batch from other events, and its records from each other. */
const batchSchema = z.object({
  Records: z.array(z.object({ eventSource: z.literal('aws:sqs'), messageId: z.string(), body: z.string() })),
})
const isBatch = (event: unknown): event is SQSEvent => batchSchema.safeParse(event).success
