import {
  CreateTableCommand,
  type DynamoDBClient,
  DynamoDBServiceException,
  type KeySchemaElement,
  ResourceInUseException,
  UpdateTimeToLiveCommand,
  waitUntilTableExists,
} from '@aws-sdk/client-dynamodb'
import {
  CreateEventBusCommand,
  type EventBridgeClient,
  ResourceAlreadyExistsException,
} from '@aws-sdk/client-eventbridge'
import {
  type CORSRule,
  CreateBucketCommand,
  GetBucketCorsCommand,
  GetBucketNotificationConfigurationCommand,
  HeadBucketCommand,
  NotFound,
  PutBucketCorsCommand,
  PutBucketNotificationConfigurationCommand,
  type S3Client,
  S3ServiceException,
} from '@aws-sdk/client-s3'
import {
  CreateQueueCommand,
  GetQueueAttributesCommand,
  GetQueueUrlCommand,
  QueueDoesNotExist,
  SetQueueAttributesCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs'
import { VISIBILITY_FACTOR } from '../shared/config.ts'
import { UPLOADS } from '../shared/image.ts'
import type { Log } from '../shared/log.ts'
import { namingSilence } from '../shared/machine.ts'
import { LABELS, labelTable, NUMBERS, RECORDS, type Shape, TIME_TO_LIVE } from '../shared/table.ts'

/** @param prefix another one gives a system of its own at the same endpoint */
export const resourceNames = (prefix = 'image-analyzer') => ({
  bucket: `${prefix}-images`,
  table: `${prefix}-images`,
  jobQueue: `${prefix}-jobs`,
  deadQueue: `${prefix}-jobs-dead`,
  eventBus: prefix,
})
export type ResourceNames = ReturnType<typeof resourceNames>

/** Seconds that a worker has for a batch, here as on AWS (infrastructure/). */
export const WORKER_TIMEOUT_SECONDS = 60
/** The most that SQS takes (Amazon SQS, redrive policy); what worker/outcomes.ts makes of it. */
const MAX_RECEIVE_COUNT = 1_000

export interface ResourceClients {
  s3: S3Client
  sqs: SQSClient
  dynamoDb: DynamoDBClient
  eventBridge: EventBridgeClient
  region: string
}

export interface Resources {
  jobQueueUrl: string
  jobQueueArn: string
  deadLetterQueueUrl: string
}

/**
 * Creates what is missing at an endpoint and leaves the rest as it is: here what Terraform does on AWS.
 *
 * @param warn gets what the endpoint does not answer for long, or refuses and images can do without
 */
export async function createMissingResources(
  clients: ResourceClients,
  names: ResourceNames,
  { warn }: Pick<Log, 'warn'> = UNHEARD,
): Promise<Resources> {
  const create = () =>
    Promise.all([
      createQueues(clients.sqs, names),
      createBucket(clients, names.bucket),
      createTable(clients.dynamoDb, names.table, RECORDS),
      createTable(clients.dynamoDb, labelTable(names.table), LABELS),
      createBus(clients.eventBridge, names.eventBus),
    ])
  const [queue, bucketIsNew] = await namingSilence((sentence) => warn(sentence, {}), create)
  try {
    // An earlier start may have ended behind the bucket. One that says something already is someone's own.
    if (bucketIsNew || !(await announcesAny(clients.s3, names.bucket)))
      await announceUploads(clients.s3, names.bucket, queue.jobQueueArn)
  } catch (error) {
    warn(`S3 announces no uploads: images of POST /uploads wait for the sweep. (${wordsOf(error)})`, {})
  }
  return queue
}

const UNHEARD = { warn: () => {} }
const wordsOf = (error: unknown): string => String(Object(error).message)

/** Origins that a rule has at most, the latest first: with PORT=0 each start has another one. */
const MOST_ORIGINS = 100

/**
 * Pages of these origins may post the forms of POST /uploads to the bucket, as on AWS (storage.tf of infrastructure/).
 *
 * @param isOwn whether the bucket's rules are for this system alone, and go; elsewhere others have theirs beside them
 */
export async function openForPages(
  s3: S3Client,
  Bucket: string,
  origins: string[],
  isOwn: boolean,
  { warn }: Pick<Log, 'warn'>,
): Promise<void> {
  const rule = { AllowedMethods: ['POST'], AllowedOrigins: origins, MaxAgeSeconds: 3_600 }
  const isLike = ({ AllowedMethods, MaxAgeSeconds }: CORSRule): boolean =>
    String(AllowedMethods) === 'POST' && MaxAgeSeconds === rule.MaxAgeSeconds
  try {
    const rules = isOwn ? [] : await rulesFor(s3, Bucket)
    const before = rules.filter(isLike).flatMap(({ AllowedOrigins = [] }) => AllowedOrigins)
    if (origins.every((origin) => before.includes(origin))) return
    const all = [...new Set([...origins, ...before])].slice(0, MOST_ORIGINS)
    const CORSRules = [...rules.filter((one) => !isLike(one)), { ...rule, AllowedOrigins: all }]
    await s3.send(new PutBucketCorsCommand({ Bucket, CORSConfiguration: { CORSRules } }))
  } catch (error) {
    warn(`S3 lets no page post to it: the page cannot send large images. (${wordsOf(error)})`, {})
  }
}

async function rulesFor(s3: S3Client, Bucket: string): Promise<CORSRule[]> {
  try {
    return (await s3.send(new GetBucketCorsCommand({ Bucket }))).CORSRules ?? []
  } catch (error) {
    if (error instanceof S3ServiceException && error.$metadata.httpStatusCode === 404) return []
    throw error
  }
}

/**
 * The SDK asks for /bucket/, which some emulators refuse, or take for an object without a name. AWS takes /bucket too.
 *
 * @returns the same client
 */
export function withoutLastSlash(s3: S3Client): S3Client {
  s3.middlewareStack.add(
    (next) => (args) => {
      const request = args.request as { path: string }
      request.path = request.path.replace(/^(\/[^/]+)\/$/, '$1')
      return next(args)
    },
    // It is signed behind this step.
    { step: 'build', name: 'withoutLastSlash' },
  )
  return s3
}

/** Whether the bucket has a notification, to whom it may be. */
async function announcesAny(s3: S3Client, Bucket: string): Promise<boolean> {
  const { $metadata: _, ...said } = await s3.send(new GetBucketNotificationConfigurationCommand({ Bucket }))
  return Object.values(said).some((one) => one !== undefined && Object.keys(one).length > 0)
}

/** What has been posted to the bucket is a job. Some emulators announce a form as a Put, and only forms store uploads. */
async function announceUploads(s3: S3Client, Bucket: string, QueueArn: string): Promise<void> {
  await s3.send(
    new PutBucketNotificationConfigurationCommand({
      Bucket,
      SkipDestinationValidation: true,
      NotificationConfiguration: {
        QueueConfigurations: [
          {
            QueueArn,
            Events: ['s3:ObjectCreated:*'],
            Filter: { Key: { FilterRules: [{ Name: 'prefix', Value: UPLOADS }] } },
          },
        ],
      },
    }),
  )
}

/** @returns whether it was missing */
async function createBucket({ s3, region }: ResourceClients, bucket: string): Promise<boolean> {
  try {
    await s3.send(new HeadBucketCommand({ Bucket: bucket }))
    return false
  } catch (error) {
    if (!(error instanceof NotFound)) throw error
    await s3.send(
      new CreateBucketCommand({
        Bucket: bucket,
        // us-east-1 is the one region that must not be named.
        ...(region === 'us-east-1'
          ? {}
          : { CreateBucketConfiguration: { LocationConstraint: region as 'eu-west-1' } }),
      }),
    )
    return true
  }
}

const schemaOf = ([partition, sort]: Shape['key']): KeySchemaElement[] => [
  { AttributeName: partition, KeyType: 'HASH' },
  ...(sort === undefined ? [] : [{ AttributeName: sort, KeyType: 'RANGE' as const }]),
]

async function createTable(
  dynamoDb: DynamoDBClient,
  TableName: string,
  { key, indexes }: Shape,
): Promise<void> {
  const keys = [key, ...Object.values(indexes).map((index) => index.key)]
  const attributes = new Set(keys.flat().filter((name) => name !== undefined))
  const secondary = Object.entries(indexes).map(([IndexName, { key, shown }]) => ({
    IndexName,
    KeySchema: schemaOf(key),
    Projection:
      shown.length === 0
        ? { ProjectionType: 'KEYS_ONLY' as const }
        : { ProjectionType: 'INCLUDE' as const, NonKeyAttributes: [...shown] },
  }))
  try {
    await dynamoDb.send(
      new CreateTableCommand({
        TableName,
        BillingMode: 'PAY_PER_REQUEST',
        AttributeDefinitions: [...attributes].map((AttributeName) => ({
          AttributeName,
          AttributeType: NUMBERS.includes(AttributeName) ? 'N' : 'S',
        })),
        KeySchema: schemaOf(key),
        ...(secondary.length === 0 ? {} : { GlobalSecondaryIndexes: secondary }),
      }),
    )
  } catch (error) {
    if (!(error instanceof ResourceInUseException)) throw error
  }
  await waitUntilTableExists(
    { client: dynamoDb, maxWaitTime: 30, minDelay: 0.05, maxDelay: 1 },
    { TableName },
  )
  try {
    const TimeToLiveSpecification = { AttributeName: TIME_TO_LIVE, Enabled: true }
    await dynamoDb.send(new UpdateTimeToLiveCommand({ TableName, TimeToLiveSpecification }))
  } catch (error) {
    // It is so already, or nothing expires at this endpoint: what is past its time is not shown in any case.
    if (!(error instanceof DynamoDBServiceException)) throw error
  }
}

async function createQueues(
  sqs: SQSClient,
  names: ResourceNames,
): Promise<{ jobQueueUrl: string; jobQueueArn: string; deadLetterQueueUrl: string }> {
  const dead = await createQueue(sqs, names.deadQueue, { MessageRetentionPeriod: '1209600' })
  const RedrivePolicy = JSON.stringify({ deadLetterTargetArn: dead.arn, maxReceiveCount: MAX_RECEIVE_COUNT })
  const jobs = await createQueue(sqs, names.jobQueue, {
    VisibilityTimeout: String(VISIBILITY_FACTOR * WORKER_TIMEOUT_SECONDS),
    MessageRetentionPeriod: '1209600',
    RedrivePolicy,
  })
  // That of an earlier version gives a job up after five receives, and those of one that only waits count too.
  if (JSON.parse(jobs.redrivePolicy).maxReceiveCount !== MAX_RECEIVE_COUNT) {
    await sqs.send(new SetQueueAttributesCommand({ QueueUrl: jobs.url, Attributes: { RedrivePolicy } }))
  }
  return { jobQueueUrl: jobs.url, jobQueueArn: jobs.arn, deadLetterQueueUrl: dead.url }
}

async function createQueue(
  sqs: SQSClient,
  name: string,
  attributes: Record<string, string>,
): Promise<{ url: string; arn: string; redrivePolicy: string }> {
  const url = await sqs.send(new GetQueueUrlCommand({ QueueName: name })).then(
    (found) => found.QueueUrl,
    async (error) => {
      if (!(error instanceof QueueDoesNotExist)) throw error
      return (await sqs.send(new CreateQueueCommand({ QueueName: name, Attributes: attributes }))).QueueUrl
    },
  )
  const { Attributes } = await sqs.send(
    new GetQueueAttributesCommand({ QueueUrl: url, AttributeNames: ['QueueArn', 'RedrivePolicy'] }),
  )
  if (url === undefined || Attributes?.QueueArn === undefined)
    throw new Error(`SQS gives no URL or ARN of the queue ${name}.`)
  return { url, arn: Attributes.QueueArn, redrivePolicy: Attributes.RedrivePolicy ?? '{}' }
}

async function createBus(eventBridge: EventBridgeClient, name: string): Promise<void> {
  try {
    await eventBridge.send(new CreateEventBusCommand({ Name: name }))
  } catch (error) {
    if (!(error instanceof ResourceAlreadyExistsException)) throw error
  }
}
