import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { styleText } from 'node:util'
import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { EventBridgeClient } from '@aws-sdk/client-eventbridge'
import { SQSClient } from '@aws-sdk/client-sqs'
import { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb'
import { startConsumer } from './consumer.ts'
import { resourcesIn } from './emulator.ts'
import { type ImageEvent, inWords, type React } from './event.ts'
import { buildHandler } from './lambda.ts'
import { type Once, onceIn } from './once.ts'
import { startWebhook } from './webhook.ts'

/** The first, and the two more that Lambda makes of an asynchronous invocation that fails. */
const MAX_RECEIVES = 3

export type Subscriber = 'lambda' | 'queue' | 'webhook'
export interface LocalOptions {
  endpoint: string
  region: string
  credentials?: { accessKeyId: string; secretAccessKey: string }
  eventBus: string
  /** What the Lambda function hears of: images with any of them. */
  labels: string[]
  react: (subscriber: Subscriber, event: ImageEvent) => Promise<void>
  onError: (subscriber: Subscriber, error: unknown) => void
  /** Before what failed is tried again. Lambda waits one minute, then two. */
  retrySeconds?: number
}

/**
 * The three subscribers on an emulator. The embedded AWS has no Lambda, so a queue stands in for it: EventBridge puts
 * there what it would invoke the function with, and the function is invoked with that.
 */
export async function startSubscribers(options: LocalOptions): Promise<{ stop: () => Promise<void> }> {
  const { endpoint, region, credentials, eventBus, react, onError, retrySeconds = 60 } = options
  // A person's profile may ask for endpoints that AWS alone has.
  const ofAws = { useFipsEndpoint: false, useDualstackEndpoint: false }
  const aws = { endpoint, region, ...ofAws, ...(credentials === undefined ? {} : { credentials }) }
  const events = new EventBridgeClient(aws)
  const sqs = new SQSClient({ ...aws, useQueueUrlAsEndpoint: false })
  const dynamoDb = new DynamoDBClient(aws)
  const dynamo = DynamoDBDocumentClient.from(dynamoDb)
  const undo: (() => unknown)[] = [() => events.destroy(), () => sqs.destroy(), () => dynamoDb.destroy()]
  const create = resourcesIn({ events, sqs, dynamoDb }, undo)
  const stop = async (): Promise<void> => {
    const errors: unknown[] = []
    // Where the emulator has ended, what is on this machine still goes.
    for (const step of undo.splice(0).reverse())
      await (async () => step())().catch((error) => errors.push(error))
    if (errors.length > 0) throw errors[0]
  }
  const consume = (name: Subscriber, queueUrl: string, handle: React): void => {
    const consumer = startConsumer({ sqs, queueUrl, handle, onError: (error) => onError(name, error) })
    undo.push(consumer.stop)
  }

  try {
    const table = await create.table()
    const once = (name: Subscriber): Once => onceIn(dynamo, table, name)
    const dead = await create.queue('dead', {})
    const DeadLetterConfig = { Arn: dead.arn }
    const attributes = {
      VisibilityTimeout: String(retrySeconds),
      RedrivePolicy: JSON.stringify({ deadLetterTargetArn: dead.arn, maxReceiveCount: MAX_RECEIVES }),
    }
    const everything = { source: ['image-analyzer'] }

    const invocations = await create.queue('lambda', attributes)
    const withLabels = { ...everything, detail: { labels: options.labels } }
    await create.rule(eventBus, 'lambda', withLabels, { Arn: invocations.arn, DeadLetterConfig })
    const handler = buildHandler(once('lambda'), (event) => react('lambda', event))
    consume('lambda', invocations.url, handler)

    const queue = await create.queue('queue', attributes)
    await create.rule(eventBus, 'queue', everything, { Arn: queue.arn, DeadLetterConfig })
    consume('queue', queue.url, async (event) => {
      await once('queue')(event.detail.eventId, () => react('queue', event))
    })

    const folder = mkdtempSync(join(tmpdir(), 'image-analyzer-webhook-'))
    undo.push(() => rmSync(folder, { recursive: true }))
    const key = randomBytes(32).toString('hex')
    const webhook = await startWebhook({
      port: 0,
      key,
      inbox: join(folder, 'inbox.db'),
      react: (event) => react('webhook', event),
      onError: (error) => onError('webhook', error),
    })
    undo.push(webhook.stop)
    const destination = await create.apiDestination(webhook.url, key)
    await create.rule(eventBus, 'webhook', everything, { ...destination, DeadLetterConfig })
    return { stop }
  } catch (error) {
    await stop()
    throw error
  }
}

// npm run subscribers [label …]
if (process.argv[1] === import.meta.filename) {
  const { AWS_ENDPOINT_URL, AWS_REGION, AWS_DEFAULT_REGION, EVENT_BUS_NAME, AWS_ACCESS_KEY_ID, AWS_PROFILE } =
    process.env
  const endpoint = AWS_ENDPOINT_URL || 'http://127.0.0.1:4566'
  const labels = process.argv.length > 2 ? process.argv.slice(2) : ['Dog']
  const option = labels.find((label) => label.startsWith('-'))
  if (option === '--help' || option === '-h') {
    console.log(`npm run subscribers [-- label …]

Three subscribers beside npm start: a function that gets images with one of the labels (Dog), a queue and a webhook that get
all. Ctrl-C ends them and removes what they have made. AWS_ENDPOINT_URL and EVENT_BUS_NAME name another endpoint and bus.`)
    process.exit(0)
  }
  if (option !== undefined) {
    console.error(`There is no option ${option}: npm run subscribers takes labels, such as Dog Cat.`)
    process.exit(2)
  }
  const line = (subscriber: Subscriber, text: string): string => `${subscriber.padEnd(8)} ${text}`
  const subscribers = await startSubscribers({
    endpoint,
    region: AWS_REGION || AWS_DEFAULT_REGION || 'us-east-1',
    // Emulators take any.
    ...(AWS_ACCESS_KEY_ID || AWS_PROFILE
      ? {}
      : { credentials: { accessKeyId: 'test', secretAccessKey: 'test' } }),
    eventBus: EVENT_BUS_NAME || 'image-analyzer',
    labels,
    react: async (subscriber, event) => console.log(line(subscriber, inWords(event))),
    onError: (subscriber, error) => console.error(styleText('red', line(subscriber, String(error)))),
  }).catch((error) => {
    console.error(`The subscribers cannot start at ${endpoint} (is "npm start" running?): ${error}`)
    process.exit(1)
  })
  console.log(`lambda   waits for images with: ${labels.join(', ')}
queue    waits for every image
webhook  waits for every image
Ready. Submit one; Ctrl-C removes what this has created.
`)
  let stopping = false
  const end = async (): Promise<void> => {
    // One Ctrl-C can arrive twice: from the terminal, and passed on by the process that started this one.
    if (stopping) return
    stopping = true
    await subscribers.stop().catch((error) => {
      console.error(`Not everything could be removed at ${endpoint}: ${error}`)
      process.exit(1)
    })
    process.exit(0)
  }
  process.on('SIGINT', end)
  process.on('SIGTERM', end)
}
