import { AwsError } from '../json.ts'

export const invalid = (message: string): AwsError => new AwsError('InvalidParameterValue', message)
export const notFound = (message: string): AwsError => new AwsError('ResourceNotFoundException', message, 404)
export const unsupported = (message: string): AwsError => new AwsError('UnsupportedOperation', message)
export const serialization = (message: string): AwsError => new AwsError('SerializationException', message)
export const missing = (name: string): AwsError =>
  new AwsError('MissingParameter', `The request must contain the parameter ${name}.`)

const PREFIXED = new Set(
  'BatchEntryIdsNotDistinct BatchRequestTooLong EmptyBatchRequest InvalidBatchEntryId MessageNotInflight PurgeQueueInProgress QueueDeletedRecently TooManyEntriesInBatchRequest UnsupportedOperation'.split(
    ' ',
  ),
)
const RENAMED = new Map([
  ['QueueDoesNotExist', 'AWS.SimpleQueueService.NonExistentQueue'],
  ['QueueNameExists', 'QueueAlreadyExists'],
])

/** The name of an error in the old Query protocol, as the API's model has it (`awsQueryError`). */
export const queryCode = (name: string): string =>
  RENAMED.get(name) ?? (PREFIXED.has(name) ? `AWS.SimpleQueueService.${name}` : name)

/** What the JSON protocol calls some of them in a body (as recorded from AWS); its header has the name of the Query protocol. */
const IN_JSON = new Map([
  ['InvalidParameterValue', 'InvalidParameterValueException'],
  ['MissingParameter', 'MissingRequiredParameterException'],
])
export const jsonType = (name: string): string => IN_JSON.get(name) ?? name
