import { AwsError, isObject, parseJson } from '../json.ts'
import { invalid } from './errors.ts'
import type { Queue } from './queues.ts'

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

/** @throws AwsError for what only a FIFO queue has (as recorded from AWS) */
export function requireKind(names: string[], isFifo: boolean): void {
  const [wrong] = isFifo ? [] : names.filter((name) => OF_FIFO.has(name))
  if (wrong === undefined) return
  throw new AwsError(
    'InvalidAttributeName',
    wrong === 'FifoQueue' || wrong === 'ContentBasedDeduplication'
      ? `Unknown Attribute ${wrong}.`
      : `You can specify the ${wrong} only when FifoQueue is set to true.`,
  )
}
const OF_FIFO = new Set([
  'FifoQueue',
  'ContentBasedDeduplication',
  'DeduplicationScope',
  'FifoThroughputLimit',
])

/** An empty text is how an attribute is unset; without a key of KMS, there is no time for which one is used. */
export function leaveOutEmpty(answer: { Attributes?: Record<string, string> }): void {
  const { Attributes = {} } = answer
  if (Attributes['KmsMasterKeyId'] === '') delete Attributes['KmsDataKeyReusePeriodSeconds']
  for (const [name, value] of Object.entries(Attributes)) if (value === '') delete Attributes[name]
}

/** A switch may be written in any case, and is kept in lower case. */
export function normalizeSwitches(attributes: Record<string, string>): void {
  for (const name of ['FifoQueue', 'ContentBasedDeduplication', 'SqsManagedSseEnabled'])
    if (attributes[name] !== undefined) attributes[name] = attributes[name].toLowerCase()
}

const isSwitch = (value: string): boolean => value === 'true' || value === 'false'
/** What the emulator keeps as it comes, or reads as `Number` does. An empty text ends a policy. */
const FORMS: Record<string, (value: string) => boolean> = {
  Policy: (value) => value === '' || parse(value) !== null,
  RedriveAllowPolicy: (value) =>
    value === '' || ['allowAll', 'denyAll', 'byQueue'].includes(String(parse(value)?.['redrivePermission'])),
  SqsManagedSseEnabled: isSwitch,
  FifoQueue: isSwitch,
  ContentBasedDeduplication: isSwitch,
  DeduplicationScope: (value) => ['queue', 'messageGroup'].includes(value),
  FifoThroughputLimit: (value) => ['perQueue', 'perMessageGroupId'].includes(value),
  KmsDataKeyReusePeriodSeconds: (value) =>
    /^\d{1,5}$/.test(value) && Number(value) >= 60 && Number(value) <= 86_400,
  ...Object.fromEntries(
    'DelaySeconds MaximumMessageSize MessageRetentionPeriod ReceiveMessageWaitTimeSeconds VisibilityTimeout'
      .split(' ')
      .map((name) => [name, (value: string) => /^\d{1,10}$/.test(value)]),
  ),
}

/** @throws AwsError */
export function requireForms(attributes: Record<string, string>): void {
  const wrong = Object.entries(attributes).find(([name, value]) => FORMS[name]?.(value) === false)
  if (wrong !== undefined)
    throw new AwsError('InvalidAttributeValue', `Invalid value for the parameter ${wrong[0]}.`)
}

/** The emulator would give a queue that is there what it has not, until a restart. @throws AwsError */
export function requireSame(attributes: Record<string, string>, queue: Queue): void {
  const other = Object.entries(attributes).find(([name, value]) => value !== (queue.getAttribute(name) ?? ''))
  if (other !== undefined)
    throw new AwsError(
      'QueueNameExists',
      `A queue already exists with the same name and a different value for attribute ${other[0]}`,
    )
}

/** @throws AwsError */
export function requireRedrivePolicy(
  policy: string | undefined,
  isFifo: boolean,
  findQueue: (queueArn: string) => Queue | undefined,
): void {
  // An empty one ends the redrive.
  if (policy === undefined || policy === '') return
  const refuse = (reason: string) =>
    invalid(`Value ${policy} for parameter RedrivePolicy is invalid. Reason: ${reason}`)
  const {
    deadLetterTargetArn,
    maxReceiveCount,
  }: { deadLetterTargetArn?: unknown; maxReceiveCount?: unknown } = parse(policy) ?? {}
  if (deadLetterTargetArn === undefined) throw refuse('Redrive policy does not contain deadLetterTargetArn.')
  if (
    !(
      Number.isInteger(Number(maxReceiveCount)) &&
      Number(maxReceiveCount) >= 1 &&
      Number(maxReceiveCount) <= 1_000
    )
  )
    throw refuse('Invalid value for maxReceiveCount, which must be an integer between 1 and 1000.')
  const target = findQueue(String(deadLetterTargetArn))
  if (target === undefined) throw refuse('Dead letter target does not exist.')
  if (target.isFifo() !== isFifo) throw refuse('Dead-letter queue must be same type of queue as the source.')
}

/** @returns null for what is no JSON object */
function parse(policy: string): Record<string, unknown> | null {
  const parsed = parseJson(policy)
  return isObject(parsed) ? parsed : null
}
