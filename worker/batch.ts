import { BatchProcessor, EventType, processPartialResponse } from '@aws-lambda-powertools/batch'
import type { EventBridgeClient } from '@aws-sdk/client-eventbridge'
import { ChangeMessageVisibilityCommand, SendMessageCommand, type SQSClient } from '@aws-sdk/client-sqs'
import type { Context, SQSBatchResponse, SQSEvent, SQSRecord } from 'aws-lambda'
import { eventDetail } from '../shared/event.ts'
import type { FinishedImage } from '../shared/image.ts'
import { jobSchema } from '../shared/job.ts'
import { Throttled } from './analysis.ts'
import { Announcements } from './events.ts'
import { Held, type ProcessDeps, processImage } from './process-image.ts'
import { markAnnounced } from './records.ts'

export interface WorkerDeps extends ProcessDeps {
  sqs: SQSClient
  jobQueueUrl: string
  eventBridge: EventBridgeClient
  eventBus: string
  log: ProcessDeps['log'] & { error: (message: string, extra: Record<string, unknown>) => void }
}

/** Seconds: the first wait, by how much each further one is longer, and the longest. */
interface Backoff {
  first: number
  factor: number
  longest: number
}
const AFTER_FAILURE: Backoff = { first: 2, factor: 3, longest: 300 }
const AFTER_THROTTLING: Backoff = { first: 2, factor: 2, longest: 60 }

/** Seconds to wait after the given time: at random, from half of its step on, so that jobs do not come back together. */
const pause = ({ first, factor, longest }: Backoff, times: number): number =>
  Math.ceil(Math.min(first * factor ** (times - 1), longest) * (0.5 + Math.random() / 2))

/**
 * One SQS batch: every record is settled by itself, and only those that failed are reported back, so that a bad
 * image costs its neighbours nothing. A record is settled when its outcome is committed and announced.
 */
export async function processBatch(
  deps: WorkerDeps,
  event: SQSEvent,
  context: Context,
): Promise<SQSBatchResponse> {
  const deadline = deps.now().getTime() + context.getRemainingTimeInMillis()
  const runs = new Map<string, Promise<void>>()
  const announcements = new Announcements(deps.eventBridge, deps.eventBus, event.Records.length)

  const settle = async (record: SQSRecord): Promise<void> => {
    try {
      // SQS may put two copies of a job into one batch; the second shares the first one's fate.
      const repeated = runs.get(record.body)
      if (repeated !== undefined) announcements.pass()
      const run = repeated ?? runAndAnnounce(record.body)
      runs.set(record.body, run)
      await run
    } catch (error) {
      await report(deps, record, error)
      throw error
    }
  }

  const runAndAnnounce = async (body: string): Promise<void> => {
    let image: FinishedImage | undefined
    try {
      image = await processImage(deps, jobSchema.parse(JSON.parse(body)), deadline)
    } catch (error) {
      if (!(error instanceof Throttled)) throw error
      await postpone(deps, body, error.times)
    } finally {
      // Whatever comes of it, the other images' events must not wait for it.
      if (image === undefined) announcements.pass()
    }
    if (image === undefined) return
    await announcements.announce(eventDetail(image))
    await markAnnounced(deps, image)
    deps.log.info('the image is finished', {
      imageId: image.imageId,
      status: image.status,
      attempts: image.attempts,
    })
  }

  return processPartialResponse(event, settle, new BatchProcessor(EventType.SQS), {
    context,
    // Thrown, a full failure would be logged as a crash of the function; reported, it is the same to SQS.
    throwOnFullBatchFailure: false,
  })
}

/**
 * Puts a job that was throttled back into the queue as a new message, whose deliveries count from one: so however
 * long the throttling lasts, it takes no good image to the dead-letter queue.
 */
async function postpone(deps: WorkerDeps, body: string, times: number): Promise<void> {
  const DelaySeconds = pause(AFTER_THROTTLING, times)
  await deps.sqs.send(new SendMessageCommand({ QueueUrl: deps.jobQueueUrl, MessageBody: body, DelaySeconds }))
  deps.log.info('Rekognition has been asked too much; the job waits', { times, seconds: DelaySeconds })
}

/**
 * Says once what went wrong, and has SQS deliver the job again sooner than its visibility timeout would. That is a
 * favour only: if it fails, the timeout does it.
 */
async function report(deps: WorkerDeps, record: SQSRecord, error: unknown): Promise<void> {
  const receives = Number(record.attributes.ApproximateReceiveCount)
  // A holder is most likely about to finish, so the first look comes soon; then its lease is waited out.
  const wait =
    error instanceof Held
      ? receives === 1
        ? AFTER_FAILURE.first
        : Math.ceil(Math.max(error.waitMs, 1_000) / 1_000)
      : pause(AFTER_FAILURE, receives)
  if (error instanceof Held) deps.log.info('the image is held', { messageId: record.messageId, wait })
  else deps.log.error('an attempt failed', { messageId: record.messageId, body: record.body, error, wait })
  try {
    await deps.sqs.send(
      new ChangeMessageVisibilityCommand({
        QueueUrl: deps.jobQueueUrl,
        ReceiptHandle: record.receiptHandle,
        VisibilityTimeout: wait,
      }),
    )
  } catch (cause) {
    deps.log.warn('the visibility timeout stays as it is', { messageId: record.messageId, cause })
  }
}
