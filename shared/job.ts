import * as z from 'zod'
import { imageIdSchema } from './image.ts'

/**
 * What travels in SQS: which image, and which of its runs. Everything else is read from the record, so a
 * message can be lost, repeated or replayed from the dead-letter queue without carrying stale facts.
 */
export const jobSchema = z.strictObject({
  version: z.literal(1),
  imageId: imageIdSchema,
  /** 1 for the first run of an image, one more with each retry that a client asks for. */
  epoch: z.int().min(1),
})
export type Job = z.infer<typeof jobSchema>
