import { DynamoDBServiceException } from '@aws-sdk/client-dynamodb'
import { SQSServiceException } from '@aws-sdk/client-sqs'
import { LambdaError } from './queue.ts'

/** What a command is not meant for, or finds nothing to do for, in one sentence. */
export class UsageError extends Error {}

/** @returns what a person reads of it; a stack only where it is a fault of this program */
export function explain(error: unknown): string {
  if (error instanceof UsageError)
    return `${error.message}\nnpm run ops -- --help lists the commands and options.`
  const isOfAws = [DynamoDBServiceException, SQSServiceException, LambdaError].some(
    (one) => error instanceof one,
  )
  const { name, message, stack, cause = error }: Error = Object(error)
  if (isOfAws) return `${name}: ${message}`
  const network = networkTrouble(error, cause)
  if (network === undefined) return stack ?? String(error)
  return `AWS cannot be reached: ${network}. AWS_ENDPOINT_URL and AWS_REGION say where.`
}

/** Of the system, and of fetch, which names it as a cause. For several addresses of a name it has a code alone. */
function networkTrouble(error: unknown, cause: unknown): string | undefined {
  const { message, code }: NodeJS.ErrnoException = Object(cause)
  return cause !== error || /^(E(?!RR_)[A-Z_]+|ERR_INVALID_URL)$/.test(code ?? '')
    ? message || code
    : undefined
}
