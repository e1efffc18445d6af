import { AwsError } from '../json.ts'

export const notFound = (): AwsError =>
  new AwsError('ResourceNotFoundException', 'The resource you requested does not exist.', 404)
export const invalid = (message: string): AwsError => new AwsError('InvalidParameterValueException', message)
export const inUse = (state: string): AwsError =>
  new AwsError(
    'ResourceInUseException',
    `The operation cannot be performed because the event source mapping is ${state}.`,
  )
