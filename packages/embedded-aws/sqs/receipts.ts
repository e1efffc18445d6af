import { invalid } from './errors.ts'
import { amendQueues, type Message, type Queue, type SqsStore } from './queues.ts'

/** By which handles a message was received, also before it became visible again; the emulator knows the one that hides it. */
const receipts = new WeakMap<Message, Set<string>>()

export function rememberReceipts(store: SqsStore): void {
  amendQueues(store, (queue) => {
    const { dequeue } = queue
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
    }
  })
}

/** The emulator refuses a message that is visible and one that is deleted alike. @throws AwsError for the latter */
export function requireMessage(queue: Queue, handle: string): void {
  const { messages, fifoMessages, inflightMessages } = queue
  if (inflightMessages.has(handle)) return
  const inFlight = [...inflightMessages.values()].map(({ message }) => message)
  const all = [...messages, ...[...fifoMessages.values()].flat(), ...inFlight]
  if (all.some((message) => receipts.get(message)?.has(handle))) return
  throw invalid(
    `Value ${handle} for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available for visibility timeout change.`,
  )
}
