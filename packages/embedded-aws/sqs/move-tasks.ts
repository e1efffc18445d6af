import { randomUUID } from 'node:crypto'
import type { Clock } from '../clock.ts'
import type { FauxqsModules } from '../fauxqs.ts'
import { AwsError, type JsonService } from '../json.ts'

/**
 * SQS's redrive of dead letters, which the emulator lacks: API reference (2012-11-05), StartMessageMoveTask,
 * ListMessageMoveTasks, CancelMessageMoveTask; names and messages as recorded from AWS by LocalStack's validated tests.
 *
 * It differs from AWS in these ways: no FIFO queues; a task ends with the process, and leaves what it has not moved;
 * a message whose source is not known goes to the one queue that names this one, where AWS gives up.
 */
export interface MessageMover {
  operations: ReadonlySet<string>
  service: JsonService
  stop: () => Promise<void>
}

interface Task {
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
const MAX_LISTED = 10
const MAX_PER_SECOND = 500
/** Moved without a pause where no rate is given; then others have their turn. */
const MOVED_AT_ONCE = 10

const invalid = (message: string): AwsError => new AwsError('InvalidParameterValue', message)
const notFound = (message: string): AwsError => new AwsError('ResourceNotFoundException', message, 404)

export function createMessageMover(
  queues: Pick<FauxqsModules, 'hasQueue' | 'deadLetterSources' | 'visibleMessages' | 'moveMessage'>,
  { elapsed, sleep }: Clock,
): MessageMover {
  /** By source queue, the newest first. */
  const tasks = new Map<string, Task[]>()
  const stopping = new AbortController()
  const running = new Set<Promise<void>>()

  function queueArn(name: 'SourceArn' | 'DestinationArn', arn: unknown): string {
    if (typeof arn !== 'string' || !/^arn:aws[\w-]*:sqs:[^:]+:\d{12}:[\w.-]+$/.test(arn))
      throw invalid(
        `You must use this format to specify the ${name}: arn:<partition>:<service>:<region>:<account-id>:<resource-id>`,
      )
    if (!queues.hasQueue(arn))
      throw notFound(`The resource that you specified for the ${name} parameter doesn't exist.`)
    return arn
  }
  function sourceArn(input: Record<string, unknown>): string {
    if (input['SourceArn'] === undefined)
      throw new AwsError('MissingParameter', 'The request must contain the parameter SourceArn.')
    return queueArn('SourceArn', input['SourceArn'])
  }

  function start(input: Record<string, unknown>): { TaskHandle: string } {
    const source = sourceArn(input)
    const given = input['DestinationArn'] ?? undefined
    const perSecond = wholeNumber('MaxNumberOfMessagesPerSecond', input, MAX_PER_SECOND)
    if (queues.deadLetterSources(source).length === 0)
      throw invalid('Source queue must be configured as a Dead Letter Queue.')
    const destination = given === undefined ? undefined : queueArn('DestinationArn', given)
    if (destination === source)
      throw invalid('Source queue arn and destination queue arn cannot be the same.')
    if (destination !== undefined && destination.endsWith('.fifo') !== source.endsWith('.fifo'))
      throw invalid('The source queue and destination queue must be of the same queue type.')
    if (source.endsWith('.fifo'))
      throw new AwsError('UnsupportedOperation', 'The embedded SQS moves no messages of FIFO queues.')
    const earlier = tasks.get(source) ?? []
    if (earlier.some((task) => task.status === 'RUNNING'))
      throw invalid(
        'There is already a task running. Only one active task is allowed for a source queue arn at a given time.',
      )
    const toMove = queues.visibleMessages(source)
    const base = { id: randomUUID(), source, destination, perSecond, startedAt: Date.now() }
    const task: Task = { ...base, status: 'RUNNING', toMove, moved: 0 }
    tasks.set(source, [task, ...earlier].slice(0, MAX_LISTED))
    const run = move(task).finally(() => running.delete(run))
    running.add(run)
    return { TaskHandle: handleOf(task) }
  }

  /** What was visible when it began, and no more: a message that comes back as a dead letter meanwhile stays. */
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

  function list(input: Record<string, unknown>): object {
    const source = sourceArn(input)
    const count = wholeNumber('MaxResults', input, MAX_LISTED) ?? 1
    return {
      Results: (tasks.get(source) ?? []).slice(0, count).map((task) => ({
        // As on AWS, only a task that can still be cancelled has a handle.
        TaskHandle: task.status === 'RUNNING' ? handleOf(task) : undefined,
        Status: task.status,
        SourceArn: task.source,
        DestinationArn: task.destination,
        MaxNumberOfMessagesPerSecond: task.perSecond,
        ApproximateNumberOfMessagesMoved: task.moved,
        ApproximateNumberOfMessagesToMove: task.toMove,
        FailureReason: task.failureReason,
        StartedTimestamp: task.startedAt,
      })),
    }
  }

  function cancel(input: Record<string, unknown>): object {
    const { taskId, source } = parseHandle(input['TaskHandle'])
    queueArn('SourceArn', source)
    const task = tasks.get(source)?.find(({ id }) => id === taskId)
    if (task === undefined) throw notFound('Task does not exist.')
    if (task.status !== 'RUNNING')
      throw new AwsError(
        'UnsupportedOperation',
        `Only a running task can be cancelled; this is ${task.status}.`,
      )
    task.status = 'CANCELLED'
    return { ApproximateNumberOfMessagesMoved: task.moved }
  }

  const operations = new Map(
    Object.entries({
      StartMessageMoveTask: start,
      ListMessageMoveTasks: list,
      CancelMessageMoveTask: cancel,
    }),
  )
  return {
    operations: new Set(operations.keys()),
    service: async (name, input) => {
      const run = operations.get(name)
      if (run === undefined) throw new AwsError('InvalidAction', `Unknown action: ${name}`)
      return run(input ?? {})
    },
    stop: async () => {
      stopping.abort()
      await Promise.all(running)
    },
  }
}

function wholeNumber(name: string, input: Record<string, unknown>, most: number): number | undefined {
  const value = input[name] ?? undefined
  if (value === undefined) return undefined
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 1 || value > most)
    throw invalid(
      `Value for parameter ${name} is invalid. Reason: You must enter a number that's between 1 and ${most}.`,
    )
  return value
}

const handleOf = ({ id, source }: Task): string =>
  Buffer.from(JSON.stringify({ taskId: id, sourceArn: source })).toString('base64')

function parseHandle(handle: unknown): { taskId: string; source: string } {
  try {
    const { taskId, sourceArn } = JSON.parse(Buffer.from(String(handle), 'base64').toString('utf8'))
    if (typeof taskId === 'string' && typeof sourceArn === 'string') return { taskId, source: sourceArn }
  } catch {
    // It is no handle, as one of other contents is none.
  }
  throw invalid('Value for parameter TaskHandle is invalid.')
}
