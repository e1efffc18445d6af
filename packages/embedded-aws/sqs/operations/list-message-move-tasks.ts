import { type Operation, sourceArn, wholeNumber } from '../operation.ts'
import { handleOf, MAX_LISTED } from '../state.ts'

export const listMessageMoveTasks: Operation = (input, context) => {
  const source = sourceArn(context, input)
  const count = wholeNumber('MaxResults', input, MAX_LISTED) ?? 1
  return {
    Results: context.tasks
      .of(source)
      .slice(0, count)
      .map((task) => ({
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
