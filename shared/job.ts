import { SendMessageCommand, type SQSClient } from '@aws-sdk/client-sqs'
import * as z from 'zod'
import { imageIdSchema } from './image.ts'

/**
 * What travels in SQS: which image, and which of its runs. Everything else is read from the record, so a
 * message can be lost, repeated or replayed from the dead-letter queue without carrying stale facts.
 */
export const jobSchema = z.strictObject({
  version: z.literal(1),
  imageId: imageIdSchema,
  /** 1 for the first run of an image, one more with each retry. */
  epoch: z.int().min(1),
})
export type Job = z.infer<typeof jobSchema>

export interface JobQueue {
  sqs: SQSClient
  jobQueueUrl: string
}

/** @param DelaySeconds 0 to 900 (Amazon SQS quotas) */
export async function sendJob({ sqs, jobQueueUrl }: JobQueue, job: Job, DelaySeconds = 0): Promise<void> {
  await sqs.send(
    new SendMessageCommand({ QueueUrl: jobQueueUrl, MessageBody: JSON.stringify(job), DelaySeconds }),
  )
}
