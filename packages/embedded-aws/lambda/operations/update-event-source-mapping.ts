import * as z from 'zod'
import { findMapping, operation, uuid, viewOf } from '../operation.ts'

/** All other settings are the program's, which made the mapping. */
const schema = z.strictObject({ UUID: uuid, Enabled: z.boolean().optional() })

export const updateEventSourceMapping = operation(schema, ({ UUID, Enabled }, context) => {
  const { state } = findMapping(context, UUID)
  if (Enabled !== undefined && state !== (Enabled ? 'Enabled' : 'Disabled'))
    context.mappings.change(UUID, Enabled)
  return viewOf(context, findMapping(context, UUID))
})
