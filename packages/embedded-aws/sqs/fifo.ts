import { createHash } from 'node:crypto'
import type { Entry } from './messages.ts'
import { amendQueues, type Queue, type SqsStore } from './queues.ts'

/** Which messages of a FIFO queue are the same to it (developer guide, "High throughput for FIFO queues"). */

/** No id has one. */
const SEPARATOR = '\n'

/** Where a message is a duplicate within its group only, the emulator gets an id that names the group as well. */
export function scopeDeduplication(sent: Entry, { attributes }: Queue): void {
  if (attributes.DeduplicationScope !== 'messageGroup') return
  const byContent = attributes.ContentBasedDeduplication === 'true'
  const content = createHash('sha256')
    .update(sent.MessageBody ?? '')
    .digest('hex')
  const id = sent.MessageDeduplicationId ?? (byContent ? content : undefined)
  if (id !== undefined) sent.MessageDeduplicationId = `${sent.MessageGroupId}${SEPARATOR}${id}`
}

export function mendDeduplication(store: SqsStore): void {
  amendQueues(store, (queue) => {
    const { enqueue, purge } = queue
    return {
      enqueue: (message) => {
        const [id, scoped] = message.messageDeduplicationId?.split(SEPARATOR) ?? []
        if (id !== undefined) message.messageDeduplicationId = scoped ?? id
        enqueue.call(queue, message)
      },
      // What is gone is no duplicate.
      purge: () => {
        purge.call(queue)
        queue.deduplicationCache.clear()
      },
    }
  })
}
