import { AwsError } from '../json.ts'
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

/** @returns why a message cannot be hidden for another time: one that is deleted for another reason than one that is visible */
export function whyNotChanged(queue: Queue, handle: string): AwsError | undefined {
  const { messages, fifoMessages, inflightMessages } = queue
  if (inflightMessages.has(handle)) return undefined
  const inFlight = [...inflightMessages.values()].map(({ message }) => message)
  const all = [...messages, ...[...fifoMessages.values()].flat(), ...inFlight]
  const why = 'Message does not exist or is not available for visibility timeout change.'
  return all.some((message) => receipts.get(message)?.has(handle))
    ? new AwsError('MessageNotInflight', why)
    : invalid(`Value ${handle} for parameter ReceiptHandle is invalid. Reason: ${why}`)
}
