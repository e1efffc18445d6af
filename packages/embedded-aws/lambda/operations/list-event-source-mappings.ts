import * as z from 'zod'
import { functionArn, operation, viewOf } from '../operation.ts'

const schema = z.strictObject({
  EventSourceArn: z.string().optional(),
  FunctionName: z.string().optional(),
  /** A page has 100 of them, which are more than there are here. */
  MaxItems: z.coerce.number().int().min(1).max(10_000).optional(),
})

export const listEventSourceMappings = operation(schema, ({ EventSourceArn, FunctionName }, context) => ({
  EventSourceMappings: context.mappings
    .all()
    .filter(({ queueArn }) => [undefined, queueArn].includes(EventSourceArn))
    .filter(({ functionName }) =>
      [undefined, functionName, functionArn(context, functionName)].includes(FunctionName),
    )
    .map((mapping) => viewOf(context, mapping)),
}))
