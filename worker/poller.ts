import { AsyncLocalStorage } from 'node:async_hooks'
import {
  type BatchResultErrorEntry,
  ChangeMessageVisibilityBatchCommand,
  DeleteMessageBatchCommand,
  type Message,
  QueueDoesNotExist,
  ReceiveMessageCommand,
  type SendMessageBatchCommandInput,
  type SendMessageBatchRequestEntry,
  type SendMessageCommandInput,
  type SQSClient,
} from '@aws-sdk/client-sqs'
import type { Context, SQSBatchResponse, SQSEvent } from 'aws-lambda'
import { contextFor, type EventSourceMapping, failedMessages, toRecord } from './invocation.ts'

/** @param ending aborted when the poller wants an end of what is under way */
export type BatchHandler = (
  event: SQSEvent,
  context: Context,
  ending: AbortSignal,
) => Promise<SQSBatchResponse | undefined | null>

export interface Poller {
  /** Takes messages, or takes no more; done when it is so, and what was taken before is settled. */
  enable: (enabled: boolean) => Promise<void>
  /**
   * Takes no more messages and waits for the invocations under way, for at most `graceMs`; two seconds before, handlers
   * are asked for an end. Receives that last no longer than until then are awaited too, as by `drain`; others are broken off.
   */
  stop: (graceMs: number) => Promise<void>
  /**
   * Takes no more messages. What the receives under way still bring goes back to the queue at once, for a receive that is
   * broken off would hide its messages for the visibility timeout; what the handlers do is to end after so long.
   */
  drain: (breakOffMs: number) => Promise<void>
}

/**
 * Lambda invokes a function about 16 times in one chain of requests, in which each message was sent while it handled the
 * one before. It refuses the next one each time that SQS delivers it (AWS Lambda developer guide, recursive loop
 * detection).
 */
const LONGEST_CHAIN = 16
/** Where a message carries how long its chain is: to AWS it is a part of the system attribute AWSTraceHeader. */
const CHAIN_ATTRIBUTE = 'Lineage'
/** Of the messages that an invocation sends. */
const chains = new AsyncLocalStorage<number>()

const chainOf = ({ MessageAttributes }: Message): number =>
  Number(MessageAttributes?.[CHAIN_ATTRIBUTE]?.StringValue ?? 0)

/** As the SDK does with the trace header on Lambda. */
function passChainOn(sqs: SQSClient): void {
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

/** As after an emulator's restart, which has nothing of before; then table, bucket and bus are gone too. */
const GONE = 'the queue is gone; npm start makes what is missing when it is started again'
/** Milliseconds before another try when the queue cannot be read; each further one waits twice as long, up to a limit. */
const RETRY_MS = 1_000
const LONGEST_RETRY_MS = 30_000
/** An empty receive that is answered sooner was not held open, as some emulators do not: the next one waits. */
const HASTY_MS = 100
const rest = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, RETRY_MS))
/** From when messages are taken until they are not. */
interface Run {
  isEnding: boolean
  receiving: AbortController
  /** Whether messages go back to the queue that come now. */
  givesBack: boolean
  ending: AbortController
  loops: Promise<unknown>
}
/** Messages of a batch to or from SQS (Amazon SQS quotas). */
const MOST_MESSAGES = 10
const inBatches = <T>(items: T[]): T[][] =>
  Array.from({ length: Math.ceil(items.length / MOST_MESSAGES) }, (_, at) =>
    items.slice(at * MOST_MESSAGES, (at + 1) * MOST_MESSAGES),
  )
/** Milliseconds that handlers have to give back what they are at: a few calls of AWS, on a machine that may be busy. */
const BREAK_OFF_MS = 2_000
/** Milliseconds after which a receive brings nothing that was there when it began. */
const RECEIVE_GRACE_MS = 1_000

/**
 * Feeds a queue to a handler by the rules of Lambda's event source mapping: what the handler does not report as
 * failed is deleted; the rest becomes visible again by its visibility timeout.
 *
 * @param sqs also what the handler sends with: a chain of messages that it sends to its own queue is ended
 */
export function startPoller(
  sqs: SQSClient,
  mapping: EventSourceMapping,
  handler: BatchHandler,
  onError: (message: string, error: unknown) => void,
  isEnabled = true,
): Poller {
  passChainOn(sqs)

  async function poll(run: Run): Promise<void> {
    let pauseMs = RETRY_MS
    while (!run.isEnding) {
      try {
        const messages = await receiveBatch(run)
        pauseMs = RETRY_MS
        if (run.givesBack) await giveBack(messages)
        else if (messages.length > 0) await invoke(messages, run.ending.signal)
      } catch (error) {
        if (run.receiving.signal.aborted) return
        onError(error instanceof QueueDoesNotExist ? GONE : 'the queue cannot be polled', error)
        // In steps, so that an end need not wait for it.
        for (let waited = 0; waited < pauseMs && !run.isEnding; waited += RETRY_MS) await rest()
        pauseMs = Math.min(pauseMs * 2, LONGEST_RETRY_MS)
      }
    }
  }

  const receive = (run: Run, wanted: number, leftMs: number) =>
    sqs.send(
      new ReceiveMessageCommand({
        QueueUrl: mapping.queueUrl,
        // SQS waits at most 20 seconds for a message.
        MaxNumberOfMessages: Math.min(MOST_MESSAGES, wanted),
        WaitTimeSeconds: Math.min(mapping.waitTimeSeconds ?? 20, Math.ceil(leftMs / 1000)),
        MessageSystemAttributeNames: ['All'],
        MessageAttributeNames: ['All'],
      }),
      // A receive that is under way when the poller stops could still take messages; a batch begun is kept.
      wanted === mapping.batchSize
        ? { abortSignal: run.receiving.signal, requestTimeout: 30_000 }
        : { requestTimeout: 30_000 },
    )

  async function receiveBatch(run: Run): Promise<Message[]> {
    const batch: Message[] = []
    let closes = Number.POSITIVE_INFINITY
    while (batch.length < mapping.batchSize && performance.now() < closes && !run.isEnding) {
      try {
        const from = performance.now()
        const { Messages = [] } = await receive(run, mapping.batchSize - batch.length, closes - from)
        batch.push(...Messages)
        if (batch.length === 0 && performance.now() - from < HASTY_MS) await rest()
      } catch (error) {
        // What has come is hidden in the queue by now; the next receive meets the same trouble.
        if (batch.length > 0) break
        throw error
      }
      if (batch.length > 0)
        closes = Math.min(closes, performance.now() + mapping.maximumBatchingWindowInSeconds * 1000)
    }
    return batch
  }

  /** What SQS refuses of a call, some messages or all, is delivered again when its visibility timeout is over. */
  async function sayRefused(
    what: string,
    answer: Promise<{ Failed?: BatchResultErrorEntry[] | undefined }>,
  ): Promise<void> {
    try {
      const { Failed = [] } = await answer
      const [first] = Failed
      if (first !== undefined) onError(`${what}: ${Failed.length}`, new Error(first.Message ?? first.Code))
    } catch (error) {
      onError(what, error)
    }
  }

  async function giveBack(messages: Message[]): Promise<void> {
    for (const batch of inBatches(messages)) {
      const answer = sqs.send(
        new ChangeMessageVisibilityBatchCommand({
          QueueUrl: mapping.queueUrl,
          Entries: batch.map(({ ReceiptHandle }, index) => ({
            Id: String(index),
            ReceiptHandle,
            VisibilityTimeout: 0,
          })),
        }),
      )
      await sayRefused('messages could not be given back to the queue', answer)
    }
  }

  async function invoke(received: Message[], ending: AbortSignal): Promise<void> {
    const messages = received.filter((message) => chainOf(message) < LONGEST_CHAIN)
    if (messages.length < received.length) {
      onError(
        `the function was invoked ${LONGEST_CHAIN} times in one chain of messages; the next one is not handled`,
        new Error('RecursiveInvocationException'),
      )
    }
    if (messages.length === 0) return
    const records = messages.map((message) => toRecord(message, mapping.queueArn))
    let response: unknown
    try {
      response = await chains.run(1 + Math.max(...messages.map(chainOf)), () =>
        withinTimeout(handler({ Records: records }, contextFor(mapping), ending)),
      )
    } catch (error) {
      onError('the function failed; its whole batch will be delivered again', error)
      return
    }
    const failed = failedMessages(
      mapping.functionResponseTypes.length > 0 ? response : undefined,
      records.map((record) => record.messageId),
    )
    const done = records.filter((record) => !failed.has(record.messageId))
    for (const batch of inBatches(done)) {
      const answer = sqs.send(
        new DeleteMessageBatchCommand({
          QueueUrl: mapping.queueUrl,
          Entries: batch.map(({ receiptHandle }, index) => ({
            Id: String(index),
            ReceiptHandle: receiptHandle,
          })),
        }),
      )
      await sayRefused('messages are done and could not be deleted', answer)
    }
  }

  function withinTimeout<T>(work: Promise<T>): Promise<T> {
    const { promise, reject } = Promise.withResolvers<never>()
    const timer = setTimeout(
      () => reject(new Error(`Task timed out after ${mapping.functionTimeoutMs / 1000} seconds`)),
      mapping.functionTimeoutMs,
    )
    return Promise.race([work, promise]).finally(() => clearTimeout(timer))
  }

  function start(): Run {
    const run: Run = {
      ...{ isEnding: false, givesBack: false, loops: Promise.resolve() },
      ...{ receiving: new AbortController(), ending: new AbortController() },
    }
    run.loops = Promise.all(Array.from({ length: mapping.maximumConcurrency }, () => poll(run)))
    return run
  }

  /** Ends the receives under way after so long, and never what they have brought. */
  async function end(run: Run, receivesMs: number, graceMs?: number): Promise<void> {
    run.isEnding = true
    const timers = [setTimeout(() => run.receiving.abort(), receivesMs)]
    const grace = new Promise((resolve) => {
      if (graceMs !== undefined) timers.push(setTimeout(resolve, graceMs))
    })
    await Promise.race([run.loops, grace])
    for (const timer of timers) clearTimeout(timer)
  }

  let current = isEnabled ? start() : undefined
  return {
    enable: async (enabled) => {
      const ending = current
      if (enabled) current ??= start()
      else if (ending !== undefined) {
        current = undefined
        await end(ending, RECEIVE_GRACE_MS)
      }
    },
    stop: async (graceMs) => {
      if (current === undefined) return
      const [run, askedMs] = [current, Math.max(0, graceMs - BREAK_OFF_MS)]
      run.givesBack = true
      const timer = setTimeout(() => run.ending.abort(), askedMs)
      await end(run, (mapping.waitTimeSeconds ?? 20) * 1_000 > askedMs ? 0 : graceMs, graceMs)
      clearTimeout(timer)
    },
    drain: async (breakOffMs) => {
      if (current === undefined) return
      Object.assign(current, { isEnding: true, givesBack: true })
      const { ending, loops } = current
      const timer = setTimeout(() => ending.abort(), breakOffMs)
      await loops
      clearTimeout(timer)
    },
  }
}
