import { randomUUID } from 'node:crypto'
import type { Clock } from '../clock.ts'
import { invalid } from './errors.ts'

/** How moving one message went. The last two are the failure reasons that SQS gives for its move tasks. */
export type Moved =
  | 'moved'
  | 'nothing to move'
  | 'AWS.SimpleQueueService.NonExistentQueue'
  | 'CouldNotDetermineMessageSource'

/** The queues, as move tasks need them. */
export interface Queues {
  hasQueue: (queueArn: string) => boolean
  /** ARNs of the queues whose RedrivePolicy names this one. */
  deadLetterSources: (queueArn: string) => string[]
  /** URLs of the same queues; undefined if the queue with this URL is not there. */
  deadLetterSourceUrls: (queueUrl: string) => string[] | undefined
  visibleMessages: (queueArn: string) => number
  /**
   * Moves the oldest visible message, which becomes a new one.
   * @param toArn without it, the queue from which the message came here as a dead letter
   */
  moveMessage: (fromArn: string, toArn: string | undefined) => Moved
}

export interface Task {
  id: string
  source: string
  /** Without one, every message goes back to where it came from. */
  destination: string | undefined
  perSecond: number | undefined
  startedAt: number
  status: 'RUNNING' | 'COMPLETED' | 'CANCELLED' | 'FAILED'
  failureReason?: string
  toMove: number
  moved: number
}

/** "Up to 10" of each queue are listed. */
export const MAX_LISTED = 10
/** Moved without a pause where no rate is given; then others have their turn. */
const MOVED_AT_ONCE = 10

export type MoveTasks = ReturnType<typeof createMoveTasks>

export function createMoveTasks(queues: Queues, { elapsed, sleep }: Clock) {
  /** By source queue, the newest first. */
  const tasks = new Map<string, Task[]>()
  const stopping = new AbortController()
  const running = new Set<Promise<void>>()

  /** What was visible when it began, and no more: a message that becomes a dead letter after that stays. */
  async function move(task: Task): Promise<void> {
    const interval = task.perSecond === undefined ? 0 : 1000 / task.perSecond
    const began = elapsed()
    try {
      while (task.status === 'RUNNING') {
        if (interval > 0 || task.moved % MOVED_AT_ONCE === 0) {
          const due = began + (task.moved + 1) * interval
          await sleep(Math.max(0, due - elapsed()), stopping.signal)
          if (task.status !== 'RUNNING') return
        }
        const result =
          task.moved < task.toMove ? queues.moveMessage(task.source, task.destination) : undefined
        if (result === 'moved') task.moved += 1
        else if (result === undefined || result === 'nothing to move') task.status = 'COMPLETED'
        else Object.assign(task, { status: 'FAILED', failureReason: result })
      }
    } catch (error) {
      Object.assign(task, { status: 'FAILED', failureReason: String(error) })
    }
  }

  return {
    /** Of one source queue, the newest first. */
    of: (source: string): readonly Task[] => tasks.get(source) ?? [],
    begin: (given: Pick<Task, 'source' | 'destination' | 'perSecond'>): Task => {
      const toMove = queues.visibleMessages(given.source)
      const task: Task = {
        ...given,
        id: randomUUID(),
        startedAt: Date.now(),
        status: 'RUNNING',
        toMove,
        moved: 0,
      }
      tasks.set(task.source, [task, ...(tasks.get(task.source) ?? [])].slice(0, MAX_LISTED))
      const run = move(task).finally(() => running.delete(run))
      running.add(run)
      return task
    },
    stop: async (): Promise<void> => {
      stopping.abort()
      await Promise.all(running)
    },
  }
}

export const handleOf = ({ id, source }: Task): string =>
  Buffer.from(JSON.stringify({ taskId: id, sourceArn: source })).toString('base64')

export function parseHandle(handle: unknown): { taskId: string; source: string } {
  try {
    const { taskId, sourceArn } = JSON.parse(Buffer.from(String(handle), 'base64').toString('utf8'))
    if (typeof taskId === 'string' && typeof sourceArn === 'string') return { taskId, source: sourceArn }
  } catch {
    // It is no handle, as one of other contents is none.
  }
  throw invalid('Value for parameter TaskHandle is invalid.')
}
