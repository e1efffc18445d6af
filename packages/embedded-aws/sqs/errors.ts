import { AwsError } from '../json.ts'

export const invalid = (message: string): AwsError => new AwsError('InvalidParameterValue', message)
export const notFound = (message: string): AwsError => new AwsError('ResourceNotFoundException', message, 404)
export const unsupported = (message: string): AwsError => new AwsError('UnsupportedOperation', message)
export const missing = (name: string): AwsError =>
  new AwsError('MissingParameter', `The request must contain the parameter ${name}.`)
