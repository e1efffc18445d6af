import { AwsError } from '../json.ts'

export const invalid = (message: string) => new AwsError('ValidationException', message)
export const notFound = (message: string) => new AwsError('ResourceNotFoundException', message)
export const alreadyExists = (message: string) => new AwsError('ResourceAlreadyExistsException', message)

export function refusePattern(reason: string): never {
  throw new AwsError('InvalidEventPatternException', `Event pattern is not valid. Reason: ${reason}`)
}

export function checkQuota(count: number, most: number): void {
  if (count > most)
    throw new AwsError(
      'LimitExceededException',
      `The requested resource exceeds the maximum number allowed: ${most}.`,
    )
}

/** Why a target has not got its event, as the attributes of a dead letter say it. */
export class Undelivered extends Error {
  readonly attributes: Record<string, string>
  constructor(code: string, message: string, more: Record<string, string> = {}) {
    super(message)
    this.attributes = { ERROR_CODE: code, ERROR_MESSAGE: message, ...more }
  }
}
