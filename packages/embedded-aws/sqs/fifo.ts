import { createHash } from 'node:crypto'
import type { AwsError } from '../json.ts'
import type { Storage } from '../storage.ts'
import { invalid } from './errors.ts'
import type { Entry } from './messages.ts'
import { amendQueues, type Message, type Queue, type SqsStore } from './queues.ts'

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

/** @returns why nothing of a batch is sent: what a FIFO queue must know of each message (as recorded from AWS) */
export function refusalOfBatch(entries: Entry[], queue: Queue): AwsError | undefined {
  const lacks = (name: 'MessageGroupId' | 'MessageDeduplicationId') =>
    entries.some(({ [name]: value }) => value === undefined)
  if (!queue.isFifo()) return undefined
  if (lacks('MessageGroupId')) return invalid('The request must contain the parameter MessageGroupId.')
  return queue.attributes.ContentBasedDeduplication !== 'true' && lacks('MessageDeduplicationId')
    ? invalid(
        'The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly',
      )
    : undefined
}

/** Developer guide, "Exactly-once processing". */
const DEDUPLICATION_MS = 5 * 60 * 1_000

/** What is a duplicate is kept with the queue, since a producer may repeat over a restart; the emulator would forget it. */
export function mendDeduplication(store: SqsStore, { database, atomically, guard }: Storage): void {
  database.exec(`CREATE TABLE IF NOT EXISTS sqs_deduplication (
    queue TEXT NOT NULL REFERENCES sqs_queues(name) ON DELETE CASCADE,
    id TEXT NOT NULL,
    message_id TEXT NOT NULL,
    sequence_number TEXT NOT NULL,
    sent INTEGER NOT NULL,
    PRIMARY KEY (queue, id)
  );
  CREATE INDEX IF NOT EXISTS sqs_deduplication_sent ON sqs_deduplication (queue, sent)`)
  const select = database.prepare(
    'SELECT message_id, sequence_number FROM sqs_deduplication WHERE queue = ? AND id = ? AND sent > ?',
  )
  const insert = database.prepare('INSERT OR REPLACE INTO sqs_deduplication VALUES (?, ?, ?, ?, ?)')
  const forget = database.prepare('DELETE FROM sqs_deduplication WHERE queue = ? AND sent <= ?')
  amendQueues(store, (queue) => {
    const { enqueue, purge } = queue
    /** Of the message that comes next. */
    let sent: { id: string; messageId: string; sequenceNumber: string } | undefined
    return {
      checkDeduplication: (id) => {
        const row = select.get(queue.name, id, Date.now() - DEDUPLICATION_MS)
        if (row === undefined) return { isDuplicate: false }
        const originalMessageId = String(row['message_id'])
        return {
          isDuplicate: true,
          originalMessageId,
          originalSequenceNumber: String(row['sequence_number']),
        }
      },
      recordDeduplication: (id, messageId, sequenceNumber) => {
        sent = { id, messageId, sequenceNumber }
      },
      enqueue: (message) => {
        const [id, scoped] = message.messageDeduplicationId?.split(SEPARATOR) ?? []
        if (id !== undefined) message.messageDeduplicationId = scoped ?? id
        const noted = sent?.messageId === message.messageId ? sent : undefined
        sent = undefined
        if (noted === undefined) enqueue.call(queue, message)
        else
          atomically(() => {
            forget.run(queue.name, Date.now() - DEDUPLICATION_MS)
            insert.run(queue.name, noted.id, noted.messageId, noted.sequenceNumber, Date.now())
            enqueue.call(queue, message)
          })
      },
      // What is gone is no duplicate.
      purge: () => {
        purge.call(queue)
        guard(() => forget.run(queue.name, Number.MAX_SAFE_INTEGER))
      },
    }
  })
}

/**
 * A receive takes as many messages of a group as it may, in their order, and then of the next (developer guide, "FIFO delivery
 * logic"); the emulator takes one of each. What becomes visible again stands where it stood.
 */
export function receiveInGroups(store: SqsStore): void {
  amendQueues(store, (queue) => {
    const { dequeue, processTimers, changeVisibility } = queue
    return {
      dequeue: (count, ...parameters) =>
        queue.isFifo()
          ? withoutTimers(queue, () => takeGroups(queue, count, () => dequeue.call(queue, 1, ...parameters)))
          : dequeue.call(queue, count, ...parameters),
      processTimers: inOrder(queue, processTimers),
      changeVisibility: inOrder(queue, changeVisibility),
    }
  })
}

function takeGroups(queue: Queue, count: number, takeOne: () => { ReceiptHandle: string }[]) {
  const { inflightMessages, fifoLockedGroups } = queue
  const taken = new Map<string, number>()
  const received: { ReceiptHandle: string }[] = []
  while (received.length < count) {
    const [one] = takeOne()
    if (one === undefined) break
    received.push(one)
    const group = inflightMessages.get(one.ReceiptHandle)?.message.messageGroupId
    if (group === undefined) continue
    taken.set(group, (taken.get(group) ?? 0) + 1)
    fifoLockedGroups.delete(group)
  }
  for (const [group, messages] of taken) fifoLockedGroups.set(group, messages)
  return received
}

/** What is received with a visibility timeout of 0 would be received again, by the same receive. */
function withoutTimers<T>(queue: Queue, work: () => T): T {
  queue.processTimers()
  const { processTimers } = queue
  queue.processTimers = () => {}
  try {
    return work()
  } finally {
    queue.processTimers = processTimers
  }
}

/** After what may make messages visible again. */
function inOrder<P extends unknown[]>(
  queue: Queue,
  work: (...parameters: P) => void,
): (...parameters: P) => void {
  const numberOf = ({ sequenceNumber = '' }: Message): bigint => BigInt(sequenceNumber)
  return (...parameters) => {
    const { size } = queue.inflightMessages
    work.apply(queue, parameters)
    if (queue.inflightMessages.size === size) return
    for (const messages of queue.fifoMessages.values())
      messages.sort((one, other) => Number(numberOf(one) - numberOf(other)))
  }
}
