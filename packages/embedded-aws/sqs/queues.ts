import { AsyncLocalStorage } from 'node:async_hooks'
import type { ServerResponse } from 'node:http'
import type { Storage } from '../storage.ts'

/** The emulator's queues, and what is mended of them here. */

export interface Message {
  messageId: string
  body: string
  messageAttributes: object
  messageGroupId?: string
  messageDeduplicationId?: string
  /** Of a FIFO queue: in the order in which it took them. */
  sequenceNumber?: string
  approximateReceiveCount: number
  delayUntil?: number
}
export interface Queue {
  name: string
  url: string
  arn: string
  attributes: {
    DelaySeconds: string
    RedrivePolicy?: string
    ContentBasedDeduplication?: string
    DeduplicationScope?: string
  }
  messages: Message[]
  delayedMessages: Message[]
  inflightMessages: Map<string, { message: Message; visibilityDeadline: number }>
  fifoMessages: Map<string, Message[]>
  fifoDelayed: Map<string, Message[]>
  fifoLockedGroups: Map<string, number>
  persistence: unknown
  isFifo(): boolean
  /** Also one that has not been set, where there is a value for it. */
  getAttribute(name: string): string | undefined
  enqueue(message: Message): void
  dequeue(
    count: number,
    visibilityTimeout: number | undefined,
    deadLetterQueue: (arn: string) => Pick<Queue, 'enqueue'> | undefined,
  ): { ReceiptHandle: string }[]
  /** Makes visible what is due. */
  processTimers(): void
  changeVisibility(receiptHandle: string, seconds: number): void
  deleteMessage(receiptHandle: string): boolean
  purge(): void
  checkDeduplication(
    id: string,
  ): { isDuplicate: false } | { isDuplicate: true; originalMessageId: string; originalSequenceNumber: string }
  recordDeduplication(id: string, messageId: string, sequenceNumber: string): void
}
export interface SqsStore {
  host: string
  queues: Map<string, Queue>
  persistence: unknown
  createQueue(...definition: unknown[]): Queue
  allQueues(): Iterable<Queue>
  listQueues(
    prefix?: string,
    count?: number,
    after?: string,
  ): { queues: Queue[]; nextToken?: string | undefined }
  getQueue(url: string): Queue | undefined
  getQueueByArn(arn: string): Queue | undefined
  getQueueByName(name: string): Queue | undefined
}

/** Gives each queue, when it is made, other methods than those of the emulator. */
export function amendQueues<Q extends Queue>(store: SqsStore, amend: (queue: Q) => Partial<Q>): void {
  const createQueue = store.createQueue.bind(store)
  store.createQueue = (...definition) => {
    const queue = createQueue(...definition) as Q
    return Object.assign(queue, amend(queue))
  }
}

/** The emulator sorts by a language, and so loses queues between two pages. */
export function listInOrder(store: SqsStore): void {
  store.listQueues = (prefix = '', count = Number.POSITIVE_INFINITY, after = '') => {
    const wanted = [...store.allQueues()]
      .filter(({ name }) => name.startsWith(prefix) && name > after)
      .sort((a, b) => (a.name < b.name ? -1 : 1))
    const queues = wanted.slice(0, count)
    return { queues, nextToken: wanted.length > count ? queues.at(-1)?.name : undefined }
  }
}

/**
 * The emulator takes a dead letter out of the one queue before it puts it into the other: killed in between, it lost it.
 * Nor does it note where it came from.
 */
export function moveDeadLetters(
  store: SqsStore,
  atomically: Storage['atomically'],
  keepSource: (message: Message, queueArn: string) => void,
): void {
  amendQueues(store, (queue) => {
    const dequeue = queue.dequeue.bind(queue)
    return {
      dequeue: (count, visibilityTimeout, deadLetterQueue) => {
        const noting = (arn: string) => {
          const target = deadLetterQueue(arn)
          const enqueue = (message: Message): void => {
            keepSource(message, queue.arn)
            // The receive that finds it dead is none.
            message.approximateReceiveCount -= 1
            target?.enqueue(message)
          }
          return target && { enqueue }
        }
        return atomically(() => dequeue(count, visibilityTimeout, noting))
      },
    }
  })
}

/** Milliseconds that the wall clock may drift before the queues follow it. */
export const CLOCK_STEP_MS = 1_000

/**
 * The emulator hides messages until a time of the wall clock. Where that is set, these times are set with it: otherwise a
 * message that is hidden for seconds could stay so for hours. Those in the database follow at the next start.
 */
export function followClock(store: SqsStore): void {
  const offset = () => Date.now() - performance.now()
  let known = offset()
  const follow = (): void => {
    const step = offset() - known
    if (Math.abs(step) < CLOCK_STEP_MS) return
    known += step
    for (const { inflightMessages, delayedMessages } of store.allQueues()) {
      for (const inflight of inflightMessages.values()) inflight.visibilityDeadline += step
      for (const message of delayedMessages) if (message.delayUntil !== undefined) message.delayUntil += step
    }
  }
  amendQueues(store, (queue) => {
    const { enqueue, changeVisibility, processTimers } = queue
    // The last is also what begins a receive.
    return {
      enqueue: followed(enqueue),
      changeVisibility: followed(changeVisibility),
      processTimers: followed(processTimers),
    }
    function followed<P extends unknown[], R>(work: (...parameters: P) => R): (...parameters: P) => R {
      return (...parameters) => {
        follow()
        return work.apply(queue, parameters)
      }
    }
  })
}

/**
 * A receive whose caller has gone takes no message; the emulator would hide it for the whole visibility timeout.
 * @returns does the rest of a request that is answered by this response
 */
export function skipGoneReceivers(store: SqsStore): (response: ServerResponse, work: () => void) => void {
  const responses = new AsyncLocalStorage<ServerResponse>()
  amendQueues(store, (queue) => {
    const { dequeue } = queue
    return {
      dequeue: (...parameters) => (responses.getStore()?.destroyed ? [] : dequeue.apply(queue, parameters)),
    }
  })
  return (response, work) => responses.run(response, work)
}

export function deadLetterTarget(queue: Queue): string | undefined {
  try {
    return JSON.parse(queue.attributes.RedrivePolicy ?? '{}')?.deadLetterTargetArn
  } catch {
    // A queue in a folder of an earlier version may have any text.
    return undefined
  }
}
