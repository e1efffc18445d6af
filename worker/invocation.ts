import { AsyncLocalStorage } from 'node:async_hooks'
import type {
  Message,
  SendMessageBatchCommandInput,
  SendMessageBatchRequestEntry,
  SendMessageCommandInput,
  SQSClient,
} from '@aws-sdk/client-sqs'
import type { Context, SQSRecord } from 'aws-lambda'

/** What Lambda makes of messages for a function, of the function's answer, and of a chain of messages. */

/** What an event source mapping of Lambda says, by the same names. */
export interface EventSourceMapping {
  queueUrl: string
  queueArn: string
  /** 1 to 10,000. */
  batchSize: number
  /** 0 to 300 seconds to wait for a full batch, from the first message on. */
  maximumBatchingWindowInSeconds: number
  /** Invocations at once. */
  maximumConcurrency: number
  functionName: string
  functionTimeoutMs: number
  functionResponseTypes: ['ReportBatchItemFailures'] | []
  /** Seconds that a receive waits for a message; 20 without it, the most that SQS takes. */
  waitTimeSeconds?: number
}

/** How the worker takes its jobs where it is no Lambda function: in `npm start` and in `npm run worker`. */
export const mappingOfJobs = (
  own: Omit<EventSourceMapping, 'maximumBatchingWindowInSeconds' | 'functionName' | 'functionResponseTypes'>,
): EventSourceMapping => ({
  ...own,
  maximumBatchingWindowInSeconds: 0,
  functionName: 'image-analyzer-worker',
  functionResponseTypes: ['ReportBatchItemFailures'],
})

/**
 * Which messages of a batch a response reports as failed, by Lambda's rules for `ReportBatchItemFailures`
 * (AWS Lambda developer guide, "Success and failure conditions"): nothing, null, an empty object, and a list that is
 * null or empty mean success; an identifier that is empty, null, under a wrong name or not of this batch means that
 * the whole batch failed.
 */
export function failedMessages(response: unknown, messageIds: string[]): Set<string> {
  const everything = new Set(messageIds)
  if (response === undefined || response === null) return new Set()
  if (typeof response !== 'object') return everything
  const failures = (response as { batchItemFailures?: unknown }).batchItemFailures
  if (failures === undefined || failures === null) return new Set()
  if (!Array.isArray(failures)) return everything
  const failed = failures.map((failure) => failure?.itemIdentifier)
  return failed.every((id) => everything.has(id)) ? new Set(failed) : everything
}

/** A message as Lambda hands it to a function. */
export function toRecord(message: Message, queueArn: string): SQSRecord {
  const {
    ApproximateReceiveCount = '1',
    SentTimestamp = '',
    SenderId = '',
    ...others
  } = message.Attributes ?? {}
  return {
    messageId: message.MessageId ?? '',
    receiptHandle: message.ReceiptHandle ?? '',
    body: message.Body ?? '',
    attributes: {
      ApproximateFirstReceiveTimestamp: SentTimestamp,
      ...others,
      ApproximateReceiveCount,
      SentTimestamp,
      SenderId,
    },
    messageAttributes: {},
    md5OfBody: message.MD5OfBody ?? '',
    eventSource: 'aws:sqs',
    eventSourceARN: queueArn,
    awsRegion: queueArn.split(':')[3] ?? '',
  }
}

/** The part of Lambda's context that batch handlers read. */
export function contextFor({ functionName, functionTimeoutMs, queueArn }: EventSourceMapping): Context {
  const deadline = performance.now() + functionTimeoutMs
  const [region, account] = queueArn.split(':').slice(3)
  const id = crypto.randomUUID()
  return {
    callbackWaitsForEmptyEventLoop: false,
    functionName,
    functionVersion: '$LATEST',
    invokedFunctionArn: `arn:aws:lambda:${region}:${account}:function:${functionName}`,
    memoryLimitInMB: '1769',
    awsRequestId: id,
    logGroupName: `/aws/lambda/${functionName}`,
    logStreamName: id,
    getRemainingTimeInMillis: () => Math.max(0, deadline - performance.now()),
    done: () => {},
    fail: () => {},
    succeed: () => {},
  }
}

/**
 * Lambda invokes a function about 16 times in one chain of requests, in which each message was sent while it handled the
 * one before. It refuses the next one each time that SQS delivers it (AWS Lambda developer guide, recursive loop
 * detection).
 */
export const LONGEST_CHAIN = 16
/** Where a message carries how long its chain is: to AWS it is a part of the system attribute AWSTraceHeader. */
const CHAIN_ATTRIBUTE = 'Lineage'
/** Of the messages that an invocation sends. */
const chains = new AsyncLocalStorage<number>()

export const chainOf = ({ MessageAttributes }: Message): number =>
  Number(MessageAttributes?.[CHAIN_ATTRIBUTE]?.StringValue ?? 0)

/** As the SDK does with the trace header on Lambda. */
export function passChainOn(sqs: SQSClient): void {
  const withChain = <T extends SendMessageBatchRequestEntry | SendMessageCommandInput>(message: T): T => ({
    ...message,
    MessageAttributes: {
      ...message.MessageAttributes,
      [CHAIN_ATTRIBUTE]: { DataType: 'Number', StringValue: String(chains.getStore()) },
    },
  })
  sqs.middlewareStack.add(
    (next, { commandName }) =>
      (args) => {
        if (chains.getStore() === undefined) return next(args)
        if (commandName === 'SendMessageCommand') {
          return next({ ...args, input: withChain(args.input as SendMessageCommandInput) })
        }
        if (commandName === 'SendMessageBatchCommand') {
          const input = args.input as SendMessageBatchCommandInput
          return next({ ...args, input: { ...input, Entries: input.Entries?.map(withChain) } })
        }
        return next(args)
      },
    { step: 'initialize', name: 'passChainOn', override: true },
  )
}

/** Handles messages; what is sent meanwhile belongs to a chain that is one longer than the longest of theirs. */
export const inChain = <T>(messages: Message[], work: () => T): T =>
  chains.run(1 + Math.max(...messages.map(chainOf)), work)
