import { amendQueues, type Message, type Queue, type SqsStore } from './queues.ts'

/** What the emulator has for receives that wait. */
interface WaitingQueue extends Queue {
  /** The longest first. */
  pollWaiters: { resolve: () => void; timer: NodeJS.Timeout }[]
  pollTimer: NodeJS.Timeout | undefined
  startPollTimerIfNeeded(): void
  notifyWaiters(): void
}

/** The longest time that a timer of Node can be set to, in milliseconds. */
const LONGEST_TIMER_MS = 2 ** 31 - 1

/**
 * While a receive waits, the emulator looks fifty times a second whether a message has become visible. Here it looks when the
 * first one is due, so that a system without work lets the machine rest.
 */
export function wakeWhenDue(store: SqsStore): void {
  amendQueues<WaitingQueue>(store, (queue) => {
    const { enqueue, dequeue, changeVisibility } = queue
    const look = (): void => {
      clearTimeout(queue.pollTimer)
      queue.pollTimer = undefined
      const due = queue.pollWaiters.length > 0 ? firstDue(queue) : undefined
      if (due === undefined) return
      const ms = Math.min(Math.max(due - Date.now(), 1), LONGEST_TIMER_MS)
      queue.pollTimer = setTimeout(() => {
        queue.processTimers()
        look()
      }, ms)
    }
    const thenLook =
      <P extends unknown[], R>(work: (...parameters: P) => R): ((...parameters: P) => R) =>
      (...parameters) => {
        const result = work.apply(queue, parameters)
        look()
        return result
      }
    // What one receives may be the next that another waits for.
    return {
      startPollTimerIfNeeded: look,
      enqueue: thenLook(enqueue),
      dequeue: thenLook(dequeue),
      changeVisibility: thenLook(changeVisibility),
    }
  })
}

/** When the next hidden message becomes visible: ms since 1970; undefined where none is hidden. */
function firstDue({ inflightMessages, delayedMessages, fifoDelayed }: Queue): number | undefined {
  let first: number | undefined
  const consider = (time: number | undefined): void => {
    if (time !== undefined && time < (first ?? Number.POSITIVE_INFINITY)) first = time
  }
  const delayed = (messages: Message[]): void => {
    for (const { delayUntil } of messages) consider(delayUntil)
  }
  for (const { visibilityDeadline } of inflightMessages.values()) consider(visibilityDeadline)
  delayed(delayedMessages)
  for (const messages of fifoDelayed.values()) delayed(messages)
  return first
}

/**
 * A message wakes one receiver that waits. The emulator wakes all, and those that find nothing left answer long before
 * their time is over.
 */
export function wakeInTurn(store: SqsStore): void {
  amendQueues<WaitingQueue>(store, (queue) => {
    let isAwake = false
    const notifyWaiters = (): void => {
      if (isAwake || !isAnyVisible(queue)) return
      const waiter = queue.pollWaiters.shift()
      if (waiter === undefined) return
      isAwake = true
      clearTimeout(waiter.timer)
      waiter.resolve()
      // By then it has taken what it wants.
      setImmediate(() => {
        isAwake = false
        notifyWaiters()
      })
    }
    return { notifyWaiters }
  })
}

const isAnyVisible = ({ messages, fifoMessages, fifoLockedGroups }: Queue): boolean =>
  messages.length > 0 || [...fifoMessages.keys()].some((group) => !fifoLockedGroups.has(group))
