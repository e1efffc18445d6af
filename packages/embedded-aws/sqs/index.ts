import type { Clock } from '../clock.ts'
import { AwsError, type JsonService } from '../json.ts'
import type { Operation } from './operation.ts'
import { cancelMessageMoveTask } from './operations/cancel-message-move-task.ts'
import { listDeadLetterSourceQueues } from './operations/list-dead-letter-source-queues.ts'
import { listMessageMoveTasks } from './operations/list-message-move-tasks.ts'
import { startMessageMoveTask } from './operations/start-message-move-task.ts'
import { createMoveTasks, type Queues } from './state.ts'

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

const OPERATIONS = new Map<string, Operation>(
  Object.entries({
    StartMessageMoveTask: startMessageMoveTask,
    ListMessageMoveTasks: listMessageMoveTasks,
    ListDeadLetterSourceQueues: listDeadLetterSourceQueues,
    CancelMessageMoveTask: cancelMessageMoveTask,
  }),
)

export function createMessageMover(queues: Queues, clock: Clock): MessageMover {
  const tasks = createMoveTasks(queues, clock)
  return {
    operations: new Set(OPERATIONS.keys()),
    service: async (name, input) => {
      const run = OPERATIONS.get(name)
      if (run === undefined) throw new AwsError('InvalidAction', `Unknown action: ${name}`)
      return run(input ?? {}, { queues, tasks })
    },
    stop: tasks.stop,
  }
}
