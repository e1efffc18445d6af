import * as z from 'zod'
import { invalid, notFound } from './errors.ts'
import type { Mapping, Mappings } from './state.ts'

/** What operations work on. */
export interface Context {
  region: string
  accountId: string
  mappings: Mappings
}

export type Operation = (input: Record<string, unknown>, context: Context) => object

/** An operation whose input is parsed first: what its schema does not have is refused by name. */
export const operation =
  <T extends z.ZodType>(schema: T, run: (input: z.infer<T>, context: Context) => object): Operation =>
  (input, context) => {
    const { success, data, error } = schema.safeParse(input)
    if (success) return run(data, context)
    const [issue] = error.issues
    throw invalid(
      issue?.code === 'unrecognized_keys'
        ? `${issue.keys.join(', ')} is not supported by the embedded Lambda.`
        : `Value at '${issue?.path.join('.')}' failed to satisfy constraint: ${issue?.message}`,
    )
  }

export const uuid = z.string().min(1)

export function findMapping({ mappings }: Context, id: string): Mapping {
  const mapping = mappings.find(id)
  if (mapping === undefined) throw notFound()
  return mapping
}

export const functionArn = ({ region, accountId }: Context, name: string): string =>
  `arn:aws:lambda:${region}:${accountId}:function:${name}`

/** A mapping as Lambda shows it. */
export const viewOf = (context: Context, mapping: Mapping) => ({
  UUID: mapping.uuid,
  EventSourceMappingArn: `arn:aws:lambda:${context.region}:${context.accountId}:event-source-mapping:${mapping.uuid}`,
  EventSourceArn: mapping.queueArn,
  FunctionArn: functionArn(context, mapping.functionName),
  BatchSize: mapping.batchSize,
  MaximumBatchingWindowInSeconds: mapping.maximumBatchingWindowInSeconds,
  FunctionResponseTypes: mapping.functionResponseTypes,
  ScalingConfig: { MaximumConcurrency: mapping.maximumConcurrency },
  State: mapping.state,
  StateTransitionReason: 'USER_INITIATED',
  LastModified: mapping.lastModified,
})
