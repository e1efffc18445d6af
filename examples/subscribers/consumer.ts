import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { DeleteMessageCommand, type Message, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs'
import { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb'
import { inWords, type React, readEvent } from './event.ts'
import { onceIn } from './once.ts'

/** Before another try where the queue cannot be read. */
const PAUSE_MS = 1_000

/**
 * Reads a queue of events until it is stopped. A message is deleted once its event is dealt with, and not before: what
 * fails, and what a killed process had, becomes visible again, and goes to the dead-letter queue after the receives that
 * the queue allows. So does what is no event.
 */
export function startConsumer(options: {
  sqs: SQSClient
  queueUrl: string
  handle: React
  onError: (error: unknown) => void
}): { stop: () => Promise<void> } {
  const { sqs, queueUrl: QueueUrl, handle, onError } = options
  const stopping = new AbortController()

  async function settle({ Body = '', ReceiptHandle }: Message): Promise<void> {
    try {
      await handle(readEvent(Body))
      await sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle }))
    } catch (error) {
      onError(error)
    }
  }

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      try {
        const { Messages = [] } = await sqs.send(
          new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 20 }),
          { abortSignal: stopping.signal },
        )
        await Promise.all(Messages.map(settle))
      } catch (error) {
        if (stopping.signal.aborted) return
        onError(error)
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
      }
    }
  }

  const running = run()
  return {
    stop: () => {
      stopping.abort()
      return running
    },
  }
}

// node consumer.ts
if (process.argv[1] === import.meta.filename) {
  const { QUEUE_URL: queueUrl, SEEN_TABLE: table } = process.env
  if (!queueUrl || !table) throw new Error('QUEUE_URL and SEEN_TABLE must be set.')
  const once = onceIn(DynamoDBDocumentClient.from(new DynamoDBClient()), table, 'queue')
  const consumer = startConsumer({
    sqs: new SQSClient(),
    queueUrl,
    handle: async (event) => {
      await once(event.detail.eventId, async () => console.log(inWords(event)))
    },
    onError: console.error,
  })
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, consumer.stop)
}
