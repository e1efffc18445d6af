import * as z from 'zod'
import { parseJson } from '../json.ts'
import { invalid } from './errors.ts'
import { arn, headerName, headerValue, name64 } from './schemas.ts'

export const targetSchema = z.strictObject({
  Id: name64,
  Arn: arn,
  RoleArn: arn.optional(),
  /** For API destinations. */
  HttpParameters: z
    .strictObject({
      PathParameterValues: z.array(z.string()).optional(),
      HeaderParameters: z.record(headerName, headerValue).optional(),
      QueryStringParameters: z.record(z.string().max(512), z.string().max(512)).optional(),
    })
    .optional(),
  Input: z.string().max(8192).optional(),
  InputPath: z.string().max(256).optional(),
  DeadLetterConfig: z.strictObject({ Arn: arn.optional() }).optional(),
  RetryPolicy: z
    .strictObject({
      MaximumRetryAttempts: z.int().min(0).max(185).optional(),
      MaximumEventAgeInSeconds: z.int().min(60).max(86_400).optional(),
    })
    .optional(),
})
export type Target = z.infer<typeof targetSchema>

/** The service that an ARN names; empty for any other text. */
const serviceOf = (text: string): string => /^arn:aws[\w-]*:([\w-]+):/.exec(text)?.[1] ?? ''

/** Which kind of target an ARN names: a service, or the one part of EventBridge that is supported. */
export const kindOf = (text: string): string =>
  /^arn:aws[\w-]*:events:[^:]*:[^:]*:api-destination\//.test(text) ? 'api-destination' : serviceOf(text)
const TARGET_KINDS = ['sqs', 'api-destination']

/** @throws AwsError for what a target must not have or must have */
export function checkTarget(target: Target): void {
  const invalidArn = (reason: string) => invalid(`Parameter ${target.Arn} is not valid. Reason: ${reason}`)
  const kind = kindOf(target.Arn)
  if (kind === '') throw invalidArn('Provided Arn is not in correct format.')
  if (!TARGET_KINDS.includes(kind))
    throw invalidArn(
      `targets of type ${kind} are not supported by the embedded EventBridge, only ${TARGET_KINDS}.`,
    )
  if (kind === 'api-destination') checkHttpTarget(target)
  else if (target.RoleArn !== undefined || target.HttpParameters !== undefined)
    throw invalid(
      `RoleArn and HttpParameters of target ${target.Id} are not supported by the embedded EventBridge: they are for API destinations.`,
    )
  if (target.Arn.endsWith('.fifo'))
    throw invalidArn('FIFO queues are not supported by the embedded EventBridge.')
  if (target.Input !== undefined && target.InputPath !== undefined)
    throw invalid(
      `Only one of Input, InputPath, or InputTransformer must be provided for target ${target.Id}.`,
    )
  if (target.Input !== undefined && parseJson(target.Input) === undefined)
    throw invalid(`JSON syntax error in input for target ${target.Id}.`)
  if (target.InputPath !== undefined && !/^\$(\.[^.[\]'"\s]+(\[\d+\])*)*$/.test(target.InputPath))
    throw invalid(`InputPath for target ${target.Id} is invalid.`)
  const deadLetters = target.DeadLetterConfig?.Arn
  if (deadLetters !== undefined && serviceOf(deadLetters) !== 'sqs')
    throw invalid(`${serviceOf(deadLetters) || deadLetters} is not supported as a dead letter resource.`)
  if (deadLetters?.endsWith('.fifo')) throw invalid('SQS FIFO is not supported by Dead Letter Queues.')
}

function checkHttpTarget(target: Target): void {
  if (target.RoleArn === undefined) throw invalid(`RoleArn is required for target ${target.Arn}.`)
  const {
    PathParameterValues = [],
    HeaderParameters = {},
    QueryStringParameters = {},
  } = target.HttpParameters ?? {}
  const values = [PathParameterValues, HeaderParameters, QueryStringParameters].flatMap(Object.values)
  if (values.some((value) => value.startsWith('$.')))
    throw invalid(
      'HttpParameters with values from the event ($.…) are not supported by the embedded EventBridge.',
    )
}
