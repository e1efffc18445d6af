import { AwsError } from '../json.ts'
import { invalid } from './errors.ts'

/** Names and attributes of queues (API reference, CreateQueue). */

const COUNTS = ['', 'NotVisible', 'Delayed'].map((kind) => `ApproximateNumberOfMessages${kind}`)
const GIVEN = new Set(
  'DelaySeconds MaximumMessageSize MessageRetentionPeriod Policy ReceiveMessageWaitTimeSeconds VisibilityTimeout RedrivePolicy RedriveAllowPolicy KmsMasterKeyId KmsDataKeyReusePeriodSeconds SqsManagedSseEnabled FifoQueue ContentBasedDeduplication DeduplicationScope FifoThroughputLimit'.split(
    ' ',
  ),
)
const TOLD = new Set(['All', 'QueueArn', 'CreatedTimestamp', 'LastModifiedTimestamp', ...COUNTS, ...GIVEN])

/** @throws AwsError */
export function requireQueueName(name: string, isFifo: boolean): void {
  const isName = name.length <= 80 && (isFifo ? /^[\w-]+\.fifo$/ : /^[\w-]+$/).test(name)
  if (isName) return
  throw invalid(
    isFifo
      ? 'The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with .fifo suffix and be 1 to 80 in length.'
      : 'Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length',
  )
}

/** @throws AwsError */
export function requireKnown(names: string[], known: 'given' | 'told'): void {
  const unknown = names.find((name) => !(known === 'given' ? GIVEN : TOLD).has(name))
  if (unknown !== undefined) throw new AwsError('InvalidAttributeName', `Unknown Attribute ${unknown}.`)
}

/** @throws AwsError */
export function requireRedrivePolicy(
  policy: string | undefined,
  hasQueue: (queueArn: string) => boolean,
): void {
  // An empty one ends the redrive.
  if (policy === undefined || policy === '') return
  const refuse = (reason: string) =>
    invalid(`Value ${policy} for parameter RedrivePolicy is invalid. Reason: ${reason}`)
  const { deadLetterTargetArn, maxReceiveCount } = parse(policy) ?? {}
  if (deadLetterTargetArn === undefined) throw refuse('Redrive policy does not contain deadLetterTargetArn.')
  if (
    !(
      Number.isInteger(Number(maxReceiveCount)) &&
      Number(maxReceiveCount) >= 1 &&
      Number(maxReceiveCount) <= 1_000
    )
  )
    throw refuse('Invalid value for maxReceiveCount, which must be an integer between 1 and 1000.')
  if (!hasQueue(String(deadLetterTargetArn))) throw refuse('Dead letter target does not exist.')
}

function parse(policy: string): { deadLetterTargetArn?: unknown; maxReceiveCount?: unknown } | null {
  try {
    return Object(JSON.parse(policy))
  } catch {
    return null
  }
}
