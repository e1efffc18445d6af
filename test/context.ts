import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { EventBridgeClient, PutRuleCommand, PutTargetsCommand } from '@aws-sdk/client-eventbridge'
import { RekognitionClient } from '@aws-sdk/client-rekognition'
import { GetObjectCommand, S3Client } from '@aws-sdk/client-s3'
import {
  CreateQueueCommand,
  DeleteMessageBatchCommand,
  GetQueueAttributesCommand,
  type Message,
  ReceiveMessageCommand,
  SQSClient,
} from '@aws-sdk/client-sqs'
import { DynamoDBDocumentClient, GetCommand, UpdateCommand } from '@aws-sdk/lib-dynamodb'
import type { Context, SQSEvent } from 'aws-lambda'
import { buildApp } from '../api/app.ts'
import { type ApiDeps, apiDeps, loadDocs, loadPage } from '../api/deps.ts'
import { bundlePage } from '../build/page.ts'
import {
  createMissingResources,
  type ResourceNames,
  resourceNames,
  withoutLastSlash,
} from '../infrastructure/resources.ts'
import { startEmbeddedAws } from '../packages/embedded-aws/index.ts'
import { createDecoder, createGarbageCollection, createRender } from '../packages/image-guard/index.ts'
import { createRekognition, type StandInOptions, startRekognition } from '../rekognition/service.ts'
import {
  clientOptions,
  dynamoTranslation,
  elapsed,
  readInPlace,
  s3Options,
  sleep,
  sqsOptions,
} from '../shared/aws.ts'
import { DEFAULT_MAX_IMAGE_BYTES, readApiConfig, readWorkerConfig } from '../shared/config.ts'
import type { Log } from '../shared/log.ts'
import type { EventDetail } from '../shared/messages.ts'
import { processBatch } from '../worker/batch.ts'
import { type WorkerDeps, workerDeps } from '../worker/deps.ts'
import { toRecord } from '../worker/invocation.ts'
import { skipped } from './tools.ts'
import { until } from './until.ts'

export { until }

/** Answers of Rekognition that are made up, for pictures in `fixtures`: `createRecordings({ folder: MADE_UP_ANSWERS })`. */
export const MADE_UP_ANSWERS = join(import.meta.dirname, 'fixtures/answers')

/** Another emulator to test against, instead of the embedded AWS. Benchmarks measure this machine, and leave nothing elsewhere. */
export const ELSEWHERE = process.env['VITEST'] === undefined ? undefined : process.env['AWS_ENDPOINT_URL']
/** For the name of tests that only the embedded AWS passes. */
export const skippedElsewhere = skipped(ELSEWHERE === undefined ? [] : ['the embedded AWS'])

/** The embedded AWS with the API and the worker on it, and no poller that moves jobs between them. */
export interface TestSystem {
  app: ReturnType<typeof buildApp>
  /** What the app is made of, to build one that is set up otherwise. */
  api: ApiDeps
  worker: WorkerDeps
  names: ResourceNames
  endpoint: string
  rekognitionEndpoint: string
  /** Every line of the log. */
  lines: Record<string, unknown>[]
  /** Those that are warnings or errors, in short. */
  trouble: string[]
  /** Posts raw bytes and gives the id that the answer names. */
  submit: (bytes: Uint8Array, headers?: Record<string, string>) => Promise<string>
  record: (imageId: string) => Promise<ShownImage>
  /** The stored item; `{}` where there is none. */
  item: (imageId: string) => Promise<Record<string, unknown>>
  setItem: (imageId: string, values: Record<string, unknown>) => Promise<void>
  /** Takes jobs from the queue and runs them as one batch, until the queue has none that is visible. */
  work: () => Promise<void>
  receiveJobs: () => Promise<SQSEvent>
  /** Bodies of what is in the dead-letter queue, which is taken. */
  deadLetters: () => Promise<string[]>
  /** Events that have arrived at a queue subscribed to everything on the bus. */
  events: () => Promise<EventDetail[]>
  stop: () => Promise<void>
}

/** A record as GET /images/{imageId} shows it. */
export interface ShownImage {
  imageId: string
  status: string
  attempts: number
  createdAt: string
  completedAt?: string
  original: {
    bucket: string
    key: string
    contentType: string
    bytes: number
    width?: number
    height?: number
    sha256: string
    filename?: string
  }
  thumbnail?: {
    bucket: string
    key: string
    contentType: string
    bytes: number
    width: number
    height: number
  }
  preview?: ShownImage['thumbnail']
  rekognitionLabels?: { Name: string; Confidence: number }[]
  rekognitionFaces?: unknown[]
  labelModelVersion?: string
  failure?: { code: string; message: string }
}

/** Headers that say a request is signed, as every request to the embedded AWS has to be; it verifies none of a program. */
export const signed = (service: string) => ({
  authorization: `AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/${service}/aws4_request, SignedHeaders=host, Signature=${'0'.repeat(64)}`,
  'x-amz-date': '20260101T000000Z',
})

/** A batch that no queue has sent, as Lambda would have it of one that has. */
export const eventOf = (...bodies: string[]): SQSEvent => ({
  Records: bodies.map((Body, index) =>
    toRecord({ MessageId: `message-${index}`, ReceiptHandle: 'gone', Body }, ''),
  ),
})

/**
 * A batch asks once, at its beginning, for the time that it has: by no clock, which a busy machine would move on.
 *
 * @param remainingMs of the function's time; as much as a busy machine may need, where it does not matter
 */
export const lambdaContext = (remainingMs = 600_000): Context =>
  ({ functionName: 'worker', getRemainingTimeInMillis: () => remainingMs }) as Context

const bundled: { page?: string; docs?: string } = {}
/** The same for every system of a file. */
function bundledOnce(name: 'page' | 'docs'): string {
  bundled[name] ??= bundlePage(name)
  return bundled[name]
}

export async function startTestSystem(
  options: {
    rekognition?: StandInOptions
    maxImageBytes?: number
    heic?: boolean
    api?: Partial<ApiDeps>
  } = {},
): Promise<TestSystem> {
  const region = 'us-east-1'
  const credentials = { accessKeyId: 'test', secretAccessKey: 'test' }
  const trouble: string[] = []
  // With AWS_ENDPOINT_URL the same tests run against another emulator, each in resources of its own.
  const names = resourceNames(
    ELSEWHERE === undefined ? undefined : `image-analyzer-test-${randomUUID().slice(0, 8)}`,
  )
  const folder = mkdtempSync(join(tmpdir(), 'image-analyzer-test-'))
  const rekognition = options.rekognition ?? {}
  const aws =
    ELSEWHERE === undefined
      ? await startEmbeddedAws({
          port: 0,
          region,
          folder,
          credentials: [credentials],
          rekognition: (readObject) => createRekognition({ readObject, ...rekognition }),
          onDropped: (dropped) => trouble.push(JSON.stringify(dropped)),
        })
      : { endpoint: ELSEWHERE, stop: async () => {} }
  const target = { endpoint: aws.endpoint, region, credentials }
  const forS3 = s3Options(target)
  const s3 = readInPlace(withoutLastSlash(new S3Client(forS3)), forS3)
  const sqs = new SQSClient(sqsOptions(target))
  const dynamoDb = new DynamoDBClient(clientOptions(target))
  const eventBridge = new EventBridgeClient(clientOptions(target))
  const dynamo = DynamoDBDocumentClient.from(dynamoDb, dynamoTranslation)
  const { jobQueueUrl, jobQueueArn, deadLetterQueueUrl } = await createMissingResources(
    { s3, sqs, dynamoDb, eventBridge, region },
    names,
  )

  // By a client of its own: calls of the worker's are counted.
  const objects = new S3Client(forS3)
  const standIn =
    ELSEWHERE === undefined
      ? undefined
      : await startRekognition({
          port: 0,
          rekognition,
          readObject: async (Bucket, Key) => {
            const found = await objects.send(new GetObjectCommand({ Bucket, Key })).catch(() => undefined)
            return found?.Body?.transformToByteArray()
          },
        })
  const rekognitionEndpoint = standIn?.endpoint ?? aws.endpoint
  const lines: Record<string, unknown>[] = []
  const note = (message: string, extra: Record<string, unknown>) => {
    lines.push(extra)
    trouble.push(`${message} ${String(extra['error'] ?? '')}`)
  }
  const log: Log = { info: (_message, extra) => lines.push(extra), warn: note, error: note }
  const clock = { now: () => new Date(), elapsed, sleep, random: Math.random }
  const resources = {
    IMAGE_BUCKET: names.bucket,
    IMAGE_TABLE: names.table,
    JOB_QUEUE_URL: jobQueueUrl,
    HEIC: options.heic ? 'on' : 'off',
  }
  const rekognitionClient = new RekognitionClient({
    ...clientOptions({ ...target, endpoint: rekognitionEndpoint }),
    maxAttempts: 1,
  })
  const worker = workerDeps(
    readWorkerConfig({
      ...resources,
      DEAD_LETTER_QUEUE_URL: deadLetterQueueUrl,
      EVENT_BUS_NAME: names.eventBus,
    }),
    { s3, sqs, dynamo, eventBridge, rekognition: rekognitionClient },
    clock,
    { log, render: createRender(createDecoder()), collectGarbage: createGarbageCollection() },
  )
  const config = readApiConfig({
    ...resources,
    ...(options.maxImageBytes === undefined ? {} : { MAX_IMAGE_BYTES: String(options.maxImageBytes) }),
  })
  const page = loadPage(() => bundledOnce('page'), aws.endpoint, {
    ...config,
    MAX_IMAGE_BYTES: DEFAULT_MAX_IMAGE_BYTES,
  })
  const docs = loadDocs(() => bundledOnce('docs'))
  const api: ApiDeps = {
    ...apiDeps(config, { AUTH: 'none' }, { s3, sqs, dynamo }, clock, { log, page, docs }),
    ...options.api,
    identify: async (c) => c.req.header('x-test-owner') ?? 'anonymous',
  }
  const app = buildApp(api)

  const subscriber = await subscribe(sqs, eventBridge, names.eventBus)
  const { receive, remove, takeAll } = queuesBy(sqs)
  const receiveJobs = async (): Promise<SQSEvent> => ({
    Records: (await receive(jobQueueUrl)).map((message) => toRecord(message, jobQueueArn)),
  })
  // Of S3's notifications, which others than the embedded S3 try out when they are set up.
  for (const { body, receiptHandle } of (await receiveJobs()).Records) {
    if (JSON.parse(body).Event === 's3:TestEvent') await remove(jobQueueUrl, [receiptHandle])
  }

  return {
    app,
    api,
    worker,
    names,
    endpoint: aws.endpoint,
    rekognitionEndpoint,
    lines,
    trouble,
    submit: async (bytes, headers = {}) => {
      const response = await app.request('/images', {
        method: 'POST',
        headers: { 'content-type': 'application/octet-stream', ...headers },
        body: new Uint8Array(bytes),
      })
      const body = (await response.json()) as { imageId: string }
      if (response.status !== 202) throw new Error(`${response.status} ${JSON.stringify(body)}`)
      return body.imageId
    },
    item: async (imageId) => {
      const { Item } = await dynamo.send(
        new GetCommand({ TableName: names.table, Key: { imageId }, ConsistentRead: true }),
      )
      return Item ?? {}
    },
    setItem: async (imageId, values) => {
      const list = Object.keys(values)
      await dynamo.send(
        new UpdateCommand({
          TableName: names.table,
          Key: { imageId },
          UpdateExpression: `SET ${list.map((name) => `#${name} = :${name}`).join(', ')}`,
          ExpressionAttributeNames: Object.fromEntries(list.map((name) => [`#${name}`, name])),
          ExpressionAttributeValues: Object.fromEntries(list.map((name) => [`:${name}`, values[name]])),
        }),
      )
    },
    record: async (imageId) => (await (await app.request(`/images/${imageId}`)).json()) as ShownImage,
    receiveJobs,
    work: async () => {
      for (;;) {
        const batch = await receiveJobs()
        if (batch.Records.length === 0) return
        const { batchItemFailures } = await processBatch(worker, batch, lambdaContext())
        const failed = new Set(batchItemFailures.map((failure) => failure.itemIdentifier))
        const done = batch.Records.filter((record) => !failed.has(record.messageId))
        await remove(
          jobQueueUrl,
          done.map((record) => record.receiptHandle),
        )
      }
    },
    deadLetters: () => takeAll(deadLetterQueueUrl),
    events: async () => (await takeAll(subscriber)).map((body) => JSON.parse(body).detail as EventDetail),
    stop: async () => {
      for (const client of [s3, objects, sqs, dynamoDb, eventBridge, worker.rekognition]) client.destroy()
      await aws.stop()
      await standIn?.stop()
      rmSync(folder, { recursive: true })
    },
  }
}

/** How tests receive and delete messages of any queue. */
function queuesBy(sqs: SQSClient) {
  const receive = async (queueUrl: string): Promise<Message[]> => {
    const { Messages = [] } = await sqs.send(
      new ReceiveMessageCommand({
        QueueUrl: queueUrl,
        MaxNumberOfMessages: 10,
        MessageSystemAttributeNames: ['All'],
      }),
    )
    return Messages
  }
  const remove = async (queueUrl: string, handles: (string | undefined)[]): Promise<void> => {
    if (handles.length === 0) return
    await sqs.send(
      new DeleteMessageBatchCommand({
        QueueUrl: queueUrl,
        Entries: handles.map((ReceiptHandle, index) => ({ Id: String(index), ReceiptHandle })),
      }),
    )
  }
  const takeAll = async (queueUrl: string): Promise<string[]> => {
    const bodies: string[] = []
    for (;;) {
      const messages = await receive(queueUrl)
      if (messages.length === 0) return bodies
      bodies.push(...messages.map(({ Body = '' }) => Body))
      await remove(
        queueUrl,
        messages.map((message) => message.ReceiptHandle),
      )
    }
  }
  return { receive, remove, takeAll }
}

async function subscribe(sqs: SQSClient, eventBridge: EventBridgeClient, bus: string): Promise<string> {
  const { QueueUrl = '' } = await sqs.send(new CreateQueueCommand({ QueueName: `${bus}-subscriber` }))
  const { Attributes } = await sqs.send(
    new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['QueueArn'] }),
  )
  await eventBridge.send(
    new PutRuleCommand({
      EventBusName: bus,
      Name: 'everything',
      EventPattern: JSON.stringify({ source: ['image-analyzer'] }),
    }),
  )
  await eventBridge.send(
    new PutTargetsCommand({
      EventBusName: bus,
      Rule: 'everything',
      Targets: [{ Id: 'subscriber', Arn: Attributes?.QueueArn }],
    }),
  )
  return QueueUrl
}

/** What to do with each command of the system's clients: an error thrown is what its caller sees. */
export interface Watcher {
  /** When it is about to be sent: throw, and it never leaves. */
  before?: (command: string, input: Record<string, unknown>) => void | Promise<void>
  /** When its answer is there, which may be changed. */
  after?: (command: string, output: Record<string, unknown>) => void | Promise<void>
}

/** @returns what watches from now on, and may be changed at any time */
export function watchCalls(system: TestSystem): Watcher {
  const watcher: Watcher = {}
  const { s3, sqs, dynamo, eventBridge, rekognition } = system.worker
  for (const client of [s3, sqs, dynamo, eventBridge, rekognition]) {
    const stack = client.middlewareStack as typeof s3.middlewareStack
    stack.add(
      (next, { commandName = '' }) =>
        async (args) => {
          await watcher.before?.(commandName, args.input as Record<string, unknown>)
          const result = await next(args)
          await watcher.after?.(commandName, result.output as unknown as Record<string, unknown>)
          return result
        },
      { step: 'initialize', name: 'watched' },
    )
  }
  return watcher
}

/** The record of an image at a started system, when it is finished. */
export const finished = (url: string, imageId: string): Promise<ShownImage & Record<string, unknown>> =>
  until(`the image ${imageId} is finished`, async () => {
    const image = (await (await fetch(`${url}/images/${imageId}?wait=20`)).json()) as ShownImage
    return image.completedAt === undefined ? undefined : { ...image }
  })
