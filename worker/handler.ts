import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { EventBridgeClient } from '@aws-sdk/client-eventbridge'
import { RekognitionClient } from '@aws-sdk/client-rekognition'
import { S3Client } from '@aws-sdk/client-s3'
import { SQSClient } from '@aws-sdk/client-sqs'
import { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb'
import type { Context, SQSBatchResponse, SQSEvent } from 'aws-lambda'
import * as z from 'zod'
import {
  Budget,
  createDecoder,
  createMakeRoom,
  demandHeicDecoder,
  ORIGINAL_BYTES,
} from '../packages/image-guard/index.ts'
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
import { limitersFor } from './analysis.ts'
import { processBatch, type WorkerDeps } from './batch.ts'
import { createRender } from './thumbnail.ts'

const config = readWorkerConfig(process.env)
const forS3 = s3Options()
if (config.HEIC) demandHeicDecoder()
const log = createLog('worker', config.METRICS_NAMESPACE)
const clock = { now: () => new Date(), elapsed, sleep, random: Math.random }
const deps: WorkerDeps = {
  ...clock,
  s3: readInPlace(new S3Client(forS3), forS3),
  sqs: new SQSClient(sqsOptions()),
  dynamo: DynamoDBDocumentClient.from(new DynamoDBClient(clientOptions()), dynamoTranslation),
  // The queue tries again, and waits in between; a client that did so too would outlast the function's time.
  rekognition: new RekognitionClient({ ...clientOptions(), maxAttempts: 1 }),
  eventBridge: new EventBridgeClient(clientOptions()),
  bucket: config.IMAGE_BUCKET,
  table: config.IMAGE_TABLE,
  jobQueueUrl: config.JOB_QUEUE_URL,
  deadLetterQueueUrl: config.DEAD_LETTER_QUEUE_URL,
  eventBus: config.EVENT_BUS_NAME,
  preview: config.PREVIEW,
  heic: config.HEIC,
  rekognitionSource: config.REKOGNITION_SOURCE,
  analysisSource: `Rekognition ${config.MIN_CONFIDENCE} ${config.MAX_LABELS}`,
  minConfidence: config.MIN_CONFIDENCE,
  maxLabels: config.MAX_LABELS,
  maxAttempts: config.MAX_ATTEMPTS,
  stripGps: config.STRIP_GPS,
  sweepAfterMs: config.SWEEP_AFTER_SECONDS * 1000,
  limiters: limitersFor({
    ...clock,
    ...(config.REKOGNITION_TPS === undefined ? {} : { callsPerSecond: config.REKOGNITION_TPS }),
  }),
  render: createRender(createDecoder()),
  knownNames: new Map(),
  originals: new Budget(ORIGINAL_BYTES),
  makeRoom: createMakeRoom(),
  log,
}

export const handler = async (event: unknown, context: Context): Promise<SQSBatchResponse> => {
  log.appendKeys({ functionRequestId: context.awsRequestId })
  return isBatch(event) ? processBatch(deps, event, context) : passOver(event, 'a batch of SQS', log)
}

/** What distinguishes a batch from other events, and its records from each other. */
const batchSchema = z.object({
  Records: z.array(z.object({ eventSource: z.literal('aws:sqs'), messageId: z.string(), body: z.string() })),
})
const isBatch = (event: unknown): event is SQSEvent => batchSchema.safeParse(event).success
