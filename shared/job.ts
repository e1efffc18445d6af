import { SendMessageCommand, type SQSClient } from '@aws-sdk/client-sqs'
import * as z from 'zod'
import { type FinishedImage, imageIdSchema, isExhausted, UPLOADS } from './image.ts'

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

/** What S3 sends for an object that was posted with a form (Amazon S3 user guide, event message structure). */
const arrivalSchema = z.object({
  Records: z
    .array(
      z.object({
        eventName: z.string().startsWith('ObjectCreated:'),
        s3: z.object({ object: z.object({ key: z.string() }) }),
      }),
    )
    .min(1),
})
/** What S3 sends once, when its notifications are set up. */
const setUpSchema = z.object({ Event: z.literal('s3:TestEvent') })
const messageSchema = z.union([jobSchema, arrivalSchema, setUpSchema])

/**
 * The jobs that a message of the queue stands for: one of our own, or those of uploads that have arrived.
 *
 * @throws Error for a message that is of no known kind
 */
export function readJobs(body: string): Job[] {
  const message = messageSchema.parse(JSON.parse(body))
  if ('imageId' in message) return [message]
  if ('Event' in message) return []
  return message.Records.flatMap(({ s3: { object } }) => {
    // An object that no form of ours was for is none of our business.
    const key = decodeKey(object.key)
    const id = imageIdSchema.safeParse(key.startsWith(UPLOADS) ? key.slice(UPLOADS.length) : '')
    return id.success ? [{ version: 1 as const, imageId: id.data, epoch: 1 }] : []
  })
}

/** Keys come as in a URL, with + for a space (Amazon S3 user guide, event message structure). */
function decodeKey(key: string): string {
  try {
    return decodeURIComponent(key.replaceAll('+', ' '))
  } catch {
    return key
  }
}

export interface JobQueue {
  sqs: SQSClient
  jobQueueUrl: string
}

export async function sendJob({ sqs, jobQueueUrl }: JobQueue, job: Job): Promise<void> {
  await sqs.send(new SendMessageCommand({ QueueUrl: jobQueueUrl, MessageBody: JSON.stringify(job) }))
}

export interface DeadLetterQueue {
  sqs: SQSClient
  deadLetterQueueUrl: string
}

/** For an operator to look at, and to redrive. */
export async function sendDeadLetter(
  { sqs, deadLetterQueueUrl }: DeadLetterQueue,
  MessageBody: string,
): Promise<void> {
  await sqs.send(new SendMessageCommand({ QueueUrl: deadLetterQueueUrl, MessageBody }))
}

/**
 * The dead letter of an image that was given up is the job of its next run, so that to redrive it is to ask for that run;
 * and no copy of an old job, however late it comes, can be taken for one. It is sent before the image counts as
 * announced: after a crash in between it is sent again, and of two the second finds the run begun.
 */
export async function keepExhausted(queue: DeadLetterQueue, image: FinishedImage): Promise<void> {
  if (!isExhausted(image)) return
  const job: Job = { version: 1, imageId: image.imageId, epoch: image.epoch + 1 }
  await sendDeadLetter(queue, JSON.stringify(job))
}
