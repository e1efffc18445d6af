import * as z from 'zod'
import { findMapping, operation, uuid, viewOf } from '../operation.ts'

export const getEventSourceMapping = operation(z.strictObject({ UUID: uuid }), ({ UUID }, context) =>
  viewOf(context, findMapping(context, UUID)),
)
