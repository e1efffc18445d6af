import { invalid, missing, notFound } from './errors.ts'
import type { MoveTasks, Queues } from './state.ts'

/** What operations work on. */
export interface Context {
  queues: Queues
  tasks: MoveTasks
}

type Input = Record<string, unknown>
export type Operation = (input: Input, context: Context) => object

export function queueArn({ queues }: Context, name: 'SourceArn' | 'DestinationArn', arn: unknown): string {
  if (typeof arn !== 'string' || !/^arn:aws[\w-]*:sqs:[^:]+:\d{12}:[\w.-]+$/.test(arn))
    throw invalid(
      `You must use this format to specify the ${name}: arn:<partition>:<service>:<region>:<account-id>:<resource-id>`,
    )
  if (!queues.hasQueue(arn))
    throw notFound(`The resource that you specified for the ${name} parameter doesn't exist.`)
  return arn
}

export function sourceArn(context: Context, input: Input): string {
  if (input['SourceArn'] === undefined) throw missing('SourceArn')
  return queueArn(context, 'SourceArn', input['SourceArn'])
}

export function wholeNumber(name: string, input: Input, most: number): number | undefined {
  const value = input[name] ?? undefined
  if (value === undefined) return undefined
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 1 || value > most)
    throw invalid(
      `Value for parameter ${name} is invalid. Reason: You must enter a number that's between 1 and ${most}.`,
    )
  return value
}
