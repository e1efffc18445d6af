import { AwsError } from '../json.ts'
import { invalid } from './errors.ts'
import { amendQueues, type Message, type Queue, type SqsStore } from './queues.ts'

/** The handles by which a message was received, the last at the end; the emulator knows the one that hides it. */
const receipts = new WeakMap<Message, Set<string>>()
const isLast = (message: Message, handle: string): boolean =>
  [...(receipts.get(message) ?? [])].at(-1) === handle

export function rememberReceipts(store: SqsStore): void {
  amendQueues(store, (queue) => {
    const { dequeue, deleteMessage } = queue
    return {
      dequeue: (...parameters) => {
        const received = dequeue.apply(queue, parameters)
        for (const { ReceiptHandle } of received) {
          const message = queue.inflightMessages.get(ReceiptHandle)?.message
          if (message !== undefined)
            receipts.set(message, (receipts.get(message) ?? new Set()).add(ReceiptHandle))
        }
        return received
      },
      // Who was too slow may still delete what was given to none after it (as recorded from AWS).
      deleteMessage: (handle) => {
        const { inflightMessages, messages } = queue
        const at = inflightMessages.has(handle) ? -1 : messages.findIndex((one) => isLast(one, handle))
        const [message] = at === -1 ? [] : messages.splice(at, 1)
        if (message !== undefined) inflightMessages.set(handle, { message, visibilityDeadline: Date.now() })
        return deleteMessage.call(queue, handle)
      },
    }
  })
}

/** @returns why a message of a FIFO queue is not deleted: another may be at work on it by now (as recorded from AWS) */
export function whyNotDeleted(queue: Queue, handle: string): AwsError | undefined {
  if (!queue.isFifo()) return undefined
  queue.processTimers()
  return queue.inflightMessages.has(handle) || !isOfMessage(queue, handle)
    ? undefined
    : invalid(
        `Value ${handle} for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.`,
      )
}

function isOfMessage({ messages, fifoMessages, inflightMessages }: Queue, handle: string): boolean {
  const inFlight = [...inflightMessages.values()].map(({ message }) => message)
  const all = [...messages, ...[...fifoMessages.values()].flat(), ...inFlight]
  return all.some((message) => receipts.get(message)?.has(handle))
}

/** @returns why a message cannot be hidden for another time: one that is deleted for another reason than one that is visible */
export function whyNotChanged(queue: Queue, handle: string): AwsError | undefined {
  queue.processTimers()
  if (queue.inflightMessages.has(handle)) return undefined
  const why = 'Message does not exist or is not available for visibility timeout change.'
  return isOfMessage(queue, handle)
    ? new AwsError('MessageNotInflight', why)
    : invalid(`Value ${handle} for parameter ReceiptHandle is invalid. Reason: ${why}`)
}
