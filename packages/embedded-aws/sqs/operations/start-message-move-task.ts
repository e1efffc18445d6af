import { invalid, unsupported } from '../errors.ts'
import { type Operation, queueArn, sourceArn, wholeNumber } from '../operation.ts'
import { handleOf } from '../state.ts'

const MAX_PER_SECOND = 500

export const startMessageMoveTask: Operation = (input, context) => {
  const { queues, tasks } = context
  const source = sourceArn(context, input)
  const given = input['DestinationArn'] ?? undefined
  const perSecond = wholeNumber('MaxNumberOfMessagesPerSecond', input, MAX_PER_SECOND)
  if (queues.deadLetterSources(source).length === 0)
    throw invalid('Source queue must be configured as a Dead Letter Queue.')
  const destination = given === undefined ? undefined : queueArn(context, 'DestinationArn', given)
  if (destination === source) throw invalid('Source queue arn and destination queue arn cannot be the same.')
  if (destination !== undefined && destination.endsWith('.fifo') !== source.endsWith('.fifo'))
    throw invalid('The source queue and destination queue must be of the same queue type.')
  if (source.endsWith('.fifo')) throw unsupported('The embedded SQS moves no messages of FIFO queues.')
  if (tasks.of(source).some((task) => task.status === 'RUNNING'))
    throw invalid(
      'There is already a task running. Only one active task is allowed for a source queue arn at a given time.',
    )
  return { TaskHandle: handleOf(tasks.begin({ source, destination, perSecond })) }
}
