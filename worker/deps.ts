import type { EventBridgeClient } from '@aws-sdk/client-eventbridge'
import type { RekognitionClient } from '@aws-sdk/client-rekognition'
import type { S3Client } from '@aws-sdk/client-s3'
import type { SQSClient } from '@aws-sdk/client-sqs'
import type { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb'
import { Budget, ORIGINAL_BYTES } from '../packages/image-guard/index.ts'
import type { Clock } from '../shared/aws.ts'
import type { WorkerConfig } from '../shared/config.ts'
import type { WorkerDeps } from './batch.ts'
import { limitersFor } from './limiter.ts'

export interface WorkerClients {
  s3: S3Client
  sqs: SQSClient
  dynamo: DynamoDBDocumentClient
  rekognition: RekognitionClient
  eventBridge: EventBridgeClient
}

/** Results of one Rekognition count for another only where both are asked the same. */
export const analysisSource = (
  rekognition: string,
  { MIN_CONFIDENCE, MAX_LABELS }: Pick<WorkerConfig, 'MIN_CONFIDENCE' | 'MAX_LABELS'>,
): string => `${rekognition} ${MIN_CONFIDENCE} ${MAX_LABELS}`

/**
 * The same on AWS, on one machine and in tests, but for what is passed in.
 *
 * @param firstRate calls a second of each operation of Rekognition to begin with, where nothing says its share
 */
export const workerDeps = (
  config: WorkerConfig,
  clients: WorkerClients,
  clock: Clock & Pick<WorkerDeps, 'now' | 'random'>,
  { firstRate, ...rest }: Pick<WorkerDeps, 'log' | 'render' | 'makeRoom'> & { firstRate?: number },
): WorkerDeps => ({
  ...clients,
  ...{ now: clock.now, elapsed: clock.elapsed, sleep: clock.sleep, random: clock.random },
  bucket: config.IMAGE_BUCKET,
  table: config.IMAGE_TABLE,
  jobQueueUrl: config.JOB_QUEUE_URL,
  deadLetterQueueUrl: config.DEAD_LETTER_QUEUE_URL,
  eventBus: config.EVENT_BUS_NAME,
  sweepAfterMs: config.SWEEP_AFTER_SECONDS * 1_000,
  preview: config.PREVIEW,
  heic: config.HEIC,
  stripGps: config.STRIP_GPS,
  rekognitionSource: 's3',
  analysisSource: analysisSource('Rekognition', config),
  minConfidence: config.MIN_CONFIDENCE,
  maxLabels: config.MAX_LABELS,
  maxAttempts: config.MAX_ATTEMPTS,
  limiters: limitersFor({
    ...{ elapsed: clock.elapsed, sleep: clock.sleep, random: clock.random },
    ...(firstRate === undefined ? {} : { firstRate }),
    ...(config.REKOGNITION_TPS === undefined ? {} : { callsPerSecond: config.REKOGNITION_TPS }),
  }),
  knownNames: new Map(),
  originals: new Budget(ORIGINAL_BYTES),
  ...rest,
})
