import { AwsError } from '../json.ts'

export const validation = (message: string) => new AwsError('ValidationException', message)

/** DynamoDB's own names have a namespace before a `#`. */
export const isNamed = (error: unknown, name: string): boolean =>
  error instanceof AwsError && error.name.split('#').at(-1) === name
