import { DynamoDBServiceException } from '@aws-sdk/client-dynamodb'
import { SQSServiceException } from '@aws-sdk/client-sqs'
import { hintOf } from '../shared/machine.ts'
import { LambdaError } from './queue.ts'

/** Why a command does nothing, or no more, in one sentence. */
export class NothingDone extends Error {}
/** What a command does not take. */
export class UsageError extends NothingDone {}

const EXPIRED = ['ExpiredToken', 'ExpiredTokenException', 'RequestExpired']
/** AWS's names, in each of its services, for a caller that it does not know, or that lacks a right. */
const DENIALS = [
  'AccessDenied',
  'AccessDeniedException',
  ...EXPIRED,
  'InvalidClientTokenId',
  'InvalidSignatureException',
  'SignatureDoesNotMatch',
  'UnrecognizedClientException',
]
/** Whether AWS does not let the operator do it: what is asked next would be refused as well. */
export const isDenied = (error: unknown): boolean =>
  DENIALS.includes(Object(error).name) || (error instanceof LambdaError && error.status === 403)

/** AWS's names, in each of its services, for too many requests at a time. */
const THROTTLED = [
  'ProvisionedThroughputExceededException',
  'RequestLimitExceeded',
  'RequestThrottled',
  'Throttling',
  'ThrottlingException',
]
const isThrottled = (error: unknown): boolean =>
  THROTTLED.includes(Object(error).name) || (error instanceof LambdaError && error.status === 429)

/** @returns what a person reads of it; a stack only where it is a fault of this program */
export function explain(error: unknown): string {
  if (error instanceof UsageError)
    return `${error.message}\nnpm run ops -- --help lists the commands and options.`
  if (error instanceof NothingDone) return error.message
  const isOfAws = [DynamoDBServiceException, SQSServiceException, LambdaError].some(
    (one) => error instanceof one,
  )
  const { name, message, stack, cause = error }: Error = Object(error)
  // A proxy, or the port of another program: HTML, or an error that has none of AWS's words.
  const isWordless = isOfAws && (name === 'Unknown' || /^UnknownError\b/.test(message))
  if (isWordless || (error instanceof SyntaxError && '$response' in error))
    return 'What answers is not AWS. AWS_ENDPOINT_URL and AWS_REGION say where it is.'
  if (EXPIRED.includes(name))
    return `Your AWS credentials have expired: get new ones, as by aws sso login. (${message})`
  if (isDenied(error)) return `AWS does not let you do this: ${message}`
  if (isThrottled(error))
    return `AWS throttles the command, also when it asks again: ${message.replace(/\.$/, '')}. Run it again in a minute.`
  // Of the SDK, and of AbortSignal.timeout.
  if (name === 'TimeoutError')
    return 'AWS does not answer in time. AWS_ENDPOINT_URL and AWS_REGION say where it is; where they are right, run the command again.'
  if (isOfAws) return `${name}: ${message}`
  const network = networkTrouble(error, cause)
  if (network === undefined) return stack ?? String(error)
  return `AWS cannot be reached: ${network}.${hintOf(cause)} AWS_ENDPOINT_URL and AWS_REGION say where.`
}

/** Of the system, of TLS, and of fetch, which names it as a cause. For several addresses of a name it has a code alone. */
function networkTrouble(error: unknown, cause: unknown): string | undefined {
  const { message, code }: NodeJS.ErrnoException = Object(cause)
  return cause !== error || /^(E(?!RR_)[A-Z_]+|ERR_INVALID_URL|UNABLE_TO_.*|.*CERT.*)$/.test(code ?? '')
    ? message || code
    : undefined
}

/** @param one what there is one of, such as `dead letter` */
export const counted = (count: number, one: string): string => `${count} ${one}${count === 1 ? '' : 's'}`
