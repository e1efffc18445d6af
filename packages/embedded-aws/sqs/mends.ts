import type { ServerResponse } from 'node:http'
import type { Storage } from '../storage.ts'
import { mendDeduplication, receiveInGroups } from './fifo.ts'
import { followClock, listInOrder, moveDeadLetters, type SqsStore, skipGoneReceivers } from './queues.ts'
import { rememberReceipts } from './receipts.ts'
import { keepSource, keepSystemAttributes } from './system-attributes.ts'
import { wakeInTurn, wakeWhenDue } from './waits.ts'

/**
 * Gives the store, and each queue that is made from now on, also of those that are stored, what the emulator's own lack.
 *
 * @returns does the rest of a request that is answered by this response
 */
export function mendQueues(
  store: SqsStore,
  storage: Storage,
): (response: ServerResponse, work: () => void) => void {
  listInOrder(store)
  receiveInGroups(store)
  moveDeadLetters(store, storage.atomically, keepSource)
  keepSystemAttributes(store)
  mendDeduplication(store, storage)
  followClock(store)
  rememberReceipts(store)
  wakeInTurn(store)
  wakeWhenDue(store)
  return skipGoneReceivers(store)
}
