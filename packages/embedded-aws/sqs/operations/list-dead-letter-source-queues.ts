import { AwsError } from '../../json.ts'
import { missing } from '../errors.ts'
import { type Operation, wholeNumber } from '../operation.ts'

export const listDeadLetterSourceQueues: Operation = (input, { queues }) => {
  if (typeof input['QueueUrl'] !== 'string') throw missing('QueueUrl')
  const urls = queues.deadLetterSourceUrls(input['QueueUrl'])
  if (urls === undefined) throw new AwsError('QueueDoesNotExist', 'The specified queue does not exist.')
  const first = Number(input['NextToken'] ?? 0) || 0
  const end = first + (wholeNumber('MaxResults', input, 1_000) ?? 1_000)
  return { queueUrls: urls.slice(first, end), NextToken: end < urls.length ? String(end) : undefined }
}
