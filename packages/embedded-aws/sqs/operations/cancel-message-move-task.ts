import { notFound, unsupported } from '../errors.ts'
import { type Operation, queueArn } from '../operation.ts'
import { parseHandle } from '../state.ts'

export const cancelMessageMoveTask: Operation = (input, context) => {
  const { taskId, source } = parseHandle(input['TaskHandle'])
  queueArn(context, 'SourceArn', source)
  const task = context.tasks.of(source).find(({ id }) => id === taskId)
  if (task === undefined) throw notFound('Task does not exist.')
  if (task.status !== 'RUNNING')
    throw unsupported(`Only a running task can be cancelled; this is ${task.status}.`)
  task.status = 'CANCELLED'
  return { ApproximateNumberOfMessagesMoved: task.moved }
}
