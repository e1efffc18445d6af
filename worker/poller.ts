import {
  type BatchResultErrorEntry,
  ChangeMessageVisibilityBatchCommand,
  DeleteMessageBatchCommand,
  type Message,
  QueueDoesNotExist,
  ReceiveMessageCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs'
import type { Context, SQSBatchResponse, SQSEvent, SQSRecord } from 'aws-lambda'
import {
  chainOf,
  contextFor,
  type EventSourceMapping,
  failedMessages,
  inChain,
  LONGEST_CHAIN,
  passChainOn,
  toRecord,
} from './invocation.ts'

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

/** Said after the restart of an emulator that keeps nothing: table, bucket and bus are gone with the queue. */
const GONE = 'the queue of the jobs is gone: terraform apply, or a new npm start, makes what is missing'
/** Milliseconds before another try when the queue cannot be read; each further one waits twice as long, up to a limit. */
const RETRY_MS = 1_000
const LONGEST_RETRY_MS = 30_000
/** An empty receive that is answered sooner was not held open, as some emulators do not: the next one waits. */
const HASTY_MS = 100
const rest = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, RETRY_MS))
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
  onError: PollerDeps['onError'],
  isEnabled = true,
): Poller {
  passChainOn(sqs)
  const start = () => new Run({ sqs, mapping, handler, onError })
  let current = isEnabled ? start() : undefined
  return {
    enable: async (enabled) => {
      const ending = current
      if (enabled) current ??= start()
      else if (ending !== undefined) {
        current = undefined
        await ending.end(RECEIVE_GRACE_MS)
      }
    },
    stop: async (graceMs) => current?.stop(graceMs),
    drain: async (breakOffMs) => current?.drain(breakOffMs),
  }
}

interface PollerDeps {
  sqs: SQSClient
  mapping: EventSourceMapping
  handler: BatchHandler
  onError: (message: string, error: unknown) => void
}

/** From when messages are taken until they are not. */
class Run {
  readonly #deps: PollerDeps
  readonly #receiving = new AbortController()
  readonly #ending = new AbortController()
  readonly #loops: Promise<unknown>
  #isEnding = false
  /** Whether messages go back to the queue that come now. */
  #givesBack = false

  constructor(deps: PollerDeps) {
    this.#deps = deps
    this.#loops = Promise.all(Array.from({ length: deps.mapping.maximumConcurrency }, () => this.#poll()))
  }

  async stop(graceMs: number): Promise<void> {
    const { waitTimeSeconds = 20 } = this.#deps.mapping
    const askedMs = Math.max(0, graceMs - BREAK_OFF_MS)
    this.#givesBack = true
    const timer = setTimeout(() => this.#ending.abort(), askedMs)
    await this.end(waitTimeSeconds * 1_000 > askedMs ? 0 : graceMs, graceMs)
    clearTimeout(timer)
  }

  async drain(breakOffMs: number): Promise<void> {
    this.#isEnding = true
    this.#givesBack = true
    const timer = setTimeout(() => this.#ending.abort(), breakOffMs)
    await this.#loops
    clearTimeout(timer)
  }

  /** Ends the receives under way after so long, and never what they have brought. */
  async end(receivesMs: number, graceMs?: number): Promise<void> {
    this.#isEnding = true
    const timers = [setTimeout(() => this.#receiving.abort(), receivesMs)]
    const grace = new Promise((resolve) => {
      if (graceMs !== undefined) timers.push(setTimeout(resolve, graceMs))
    })
    await Promise.race([this.#loops, grace])
    for (const timer of timers) clearTimeout(timer)
  }

  async #poll(): Promise<void> {
    let pauseMs = RETRY_MS
    while (!this.#isEnding) {
      try {
        const messages = await this.#receiveBatch()
        pauseMs = RETRY_MS
        if (this.#givesBack) await giveBack(this.#deps, messages)
        else if (messages.length > 0) await invoke(this.#deps, messages, this.#ending.signal)
      } catch (error) {
        if (this.#receiving.signal.aborted) return
        this.#deps.onError(error instanceof QueueDoesNotExist ? GONE : 'the queue cannot be polled', error)
        // In steps, so that an end need not wait for it.
        for (let waited = 0; waited < pauseMs && !this.#isEnding; waited += RETRY_MS) await rest()
        pauseMs = Math.min(pauseMs * 2, LONGEST_RETRY_MS)
      }
    }
  }

  async #receiveBatch(): Promise<Message[]> {
    const { batchSize, maximumBatchingWindowInSeconds } = this.#deps.mapping
    const batch: Message[] = []
    let closes = Number.POSITIVE_INFINITY
    while (batch.length < batchSize && performance.now() < closes && !this.#isEnding) {
      try {
        const from = performance.now()
        const { Messages = [] } = await this.#receive(batchSize - batch.length, closes - from)
        batch.push(...Messages)
        if (batch.length === 0 && performance.now() - from < HASTY_MS) await rest()
      } catch (error) {
        // What has come is hidden in the queue by now; the next receive meets the same trouble.
        if (batch.length > 0) break
        throw error
      }
      if (batch.length > 0)
        closes = Math.min(closes, performance.now() + maximumBatchingWindowInSeconds * 1000)
    }
    return batch
  }

  #receive(wanted: number, leftMs: number) {
    const { sqs, mapping } = this.#deps
    return sqs.send(
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
        ? { abortSignal: this.#receiving.signal, requestTimeout: 30_000 }
        : { requestTimeout: 30_000 },
    )
  }
}

async function giveBack(deps: PollerDeps, messages: Message[]): Promise<void> {
  for (const batch of inBatches(messages)) {
    const answer = deps.sqs.send(
      new ChangeMessageVisibilityBatchCommand({
        QueueUrl: deps.mapping.queueUrl,
        Entries: batch.map(({ ReceiptHandle }, index) => ({
          Id: String(index),
          ReceiptHandle,
          VisibilityTimeout: 0,
        })),
      }),
    )
    await sayRefused(deps, 'messages could not be given back to the queue', answer)
  }
}

async function invoke(deps: PollerDeps, received: Message[], ending: AbortSignal): Promise<void> {
  const { mapping, handler, onError } = deps
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
    response = await inChain(messages, () =>
      withinTimeout(mapping, handler({ Records: records }, contextFor(mapping), ending)),
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
  await deleteMessages(deps, done)
}

async function deleteMessages(deps: PollerDeps, records: SQSRecord[]): Promise<void> {
  for (const batch of inBatches(records)) {
    const answer = deps.sqs.send(
      new DeleteMessageBatchCommand({
        QueueUrl: deps.mapping.queueUrl,
        Entries: batch.map(({ receiptHandle }, index) => ({
          Id: String(index),
          ReceiptHandle: receiptHandle,
        })),
      }),
    )
    await sayRefused(deps, 'messages are done and could not be deleted', answer)
  }
}

/** What SQS refuses of a call, some messages or all, is delivered again when its visibility timeout is over. */
async function sayRefused(
  { onError }: PollerDeps,
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

function withinTimeout<T>({ functionTimeoutMs }: EventSourceMapping, work: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(
    () => reject(new Error(`Task timed out after ${functionTimeoutMs / 1000} seconds`)),
    functionTimeoutMs,
  )
  return Promise.race([work, promise]).finally(() => clearTimeout(timer))
}
