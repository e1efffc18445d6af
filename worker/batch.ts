import { BatchProcessor, EventType, processPartialResponse } from '@aws-lambda-powertools/batch'
import { ChangeMessageVisibilityCommand } from '@aws-sdk/client-sqs'
import type { Context, SQSBatchResponse, SQSEvent, SQSRecord } from 'aws-lambda'
import { type EventBus, eventDetail } from '../shared/event.ts'
import type { FinishedImage } from '../shared/image.ts'
import { type Job, type JobQueue, readJobs, sendJob } from '../shared/job.ts'
import { indexLabels } from '../shared/labels.ts'
import { getImage, markAnnounced, nextRun, updateImage } from '../shared/records.ts'
import { Throttled, type Time } from './analysis.ts'
import { Announcements } from './events.ts'
import { Held, type ProcessDeps, processImage } from './process-image.ts'

export interface WorkerDeps extends ProcessDeps, JobQueue, EventBus {
  /** From 0 to 1, as Math.random. */
  random: () => number
  log: ProcessDeps['log'] & { error: (message: string, extra: Record<string, unknown>) => void }
}

/**
 * Milliseconds before its end at which a batch breaks off the work on images, to give them back and to announce what is
 * done; and at which it answers, whatever hangs: unanswered, all of it would come back. Of a short time, a fifth and
 * a fifteenth.
 */
const BREAK_OFF_MS = 6_000
const ANSWER_MS = 2_000

class OutOfTime extends Error {
  override readonly name = 'OutOfTime'
}

/** Seconds: the first wait, by how much each further one is longer, and the longest. */
interface Backoff {
  first: number
  factor: number
  longest: number
}
const AFTER_FAILURE: Backoff = { first: 2, factor: 3, longest: 300 }
const AFTER_THROTTLING: Backoff = { first: 2, factor: 2, longest: 60 }
/** The most seconds that SQS delays a message (Amazon SQS quotas). */
const MAX_DELAY_SECONDS = 900

/** Seconds to wait after the given time: at random, from half of its step on, so that jobs do not come back together. */
const pause = ({ first, factor, longest }: Backoff, times: number, random: () => number): number =>
  Math.ceil(Math.min(first * factor ** (times - 1), longest) * (0.5 + random() / 2))

/**
 * One SQS batch: every record is settled by itself, and only those that failed are reported back, so that a bad
 * image costs its neighbours nothing. A record is settled when its outcome is committed and announced.
 */
export async function processBatch(
  deps: WorkerDeps,
  event: SQSEvent,
  context: Context,
): Promise<SQSBatchResponse> {
  const total = context.getRemainingTimeInMillis()
  const deadline = deps.elapsed() + total
  const breakOffAfter = total - Math.min(BREAK_OFF_MS, total / 5)
  const answerAfter = total - Math.min(ANSWER_MS, total / 15)
  const breakOff = new AbortController()
  const answered = new AbortController()
  const time: Time = { until: deadline - total + breakOffAfter, signal: breakOff.signal }
  const atBreakOff = deps.sleep(breakOffAfter, answered.signal)
  atBreakOff.then(
    () => breakOff.abort(new OutOfTime('The batch is out of time.')),
    () => {},
  )
  const lastMoment = deps.sleep(answerAfter, answered.signal).then(() => {
    throw new Error('The batch is out of time, and something does not end.')
  })
  // Heard by the records only while they last.
  lastMoment.catch(() => {})

  // SQS may put two copies of a job into one batch; the second shares the first one's fate.
  const jobs = new Map<string, { job: Job; sentAt: number; run?: Promise<void> }>()
  const wanted = event.Records.map(({ body, attributes }) => {
    try {
      return readJobs(body).map((job) => {
        const key = JSON.stringify(job)
        const sentAt = Math.max(jobs.get(key)?.sentAt ?? 0, Number(attributes.SentTimestamp))
        jobs.set(key, { job, sentAt })
        return key
      })
    } catch (error) {
      return error as Error
    }
  })
  const announcements = new Announcements(deps, deps.sleep, jobs.size)

  const settle = async (record: SQSRecord): Promise<void> => {
    try {
      const keys = wanted[event.Records.indexOf(record)]
      if (keys === undefined || keys instanceof Error) throw keys
      const runs = keys.map((key) => {
        const entry = jobs.get(key)
        if (entry !== undefined) entry.run ??= settleJob(entry.job, entry.sentAt)
        return entry?.run
      })
      await Promise.race([Promise.all(runs), lastMoment])
    } catch (error) {
      await report(deps, record, error)
      throw error
    }
  }

  const settleJob = async (job: Job, sentAt: number): Promise<void> => {
    let told = false
    const tell = (image: FinishedImage): Promise<void> => {
      told = true
      return announcements.announce(eventDetail(image))
    }
    try {
      await work(job, sentAt, tell)
    } catch (error) {
      const delay = delayOf(deps, error)
      if (delay === undefined) throw error
      await sendJob(deps, job, delay)
    } finally {
      // Whatever came of this image, the other images' events must not wait for it.
      if (!told) announcements.pass()
    }
  }

  const work = async (
    job: Job,
    sentAt: number,
    tell: (image: FinishedImage) => Promise<void>,
  ): Promise<void> => {
    const found = await processImage(deps, job, deadline, time)
    if (found === undefined) return
    const { image, before } = found
    // Told again unless the record says so, because nobody knows whether an announcement before arrived.
    if (image.announced !== image.epoch) {
      // Whoever hears of it finds it.
      await indexLabels(deps, image)
      await tell(image)
      await markAnnounced(deps, image)
    }
    deps.log.info('the image is finished', {
      imageId: image.imageId,
      status: image.status,
      attempts: image.attempts,
    })
    if (before && isRedriven(image, sentAt)) await beginAnew(deps, image)
  }

  try {
    return await processPartialResponse(event, settle, new BatchProcessor(EventType.SQS), {
      context,
      // Thrown, a full failure would be logged as a crash of the function; reported, it is the same to SQS.
      throwOnFullBatchFailure: false,
    })
  } finally {
    answered.abort()
  }
}

/**
 * Jobs that come back through no fault of theirs come as new messages, whose deliveries count from one: so however
 * long the throttling lasts, it takes no good image to the dead-letter queue.
 *
 * @returns seconds; undefined for an error that counts
 */
function delayOf({ random, log }: WorkerDeps, error: unknown): number | undefined {
  if (error instanceof OutOfTime) return pause(AFTER_FAILURE, 1, random)
  if (error instanceof Held) return Math.min(Math.max(Math.ceil(error.waitMs / 1_000), 1), MAX_DELAY_SECONDS)
  if (!(error instanceof Throttled)) return undefined
  const seconds = pause(AFTER_THROTTLING, error.times, random)
  log.info('Rekognition has been asked too much; the job waits', { times: error.times, seconds })
  return seconds
}

/**
 * A job sent after its image was given up can only come from the dead-letter queue: to move it back is to ask for
 * another run. (SQS gives moved messages a new time; all other jobs are sent before the end.)
 */
const isRedriven = (image: FinishedImage, sentAt: number): boolean =>
  image.status === 'failed' && image.failure.code === 'EXHAUSTED' && sentAt > Date.parse(image.completedAt)

async function beginAnew(deps: WorkerDeps, image: FinishedImage): Promise<void> {
  const { imageId } = image
  const begun = (await updateImage(deps, imageId, nextRun(deps, image))) ?? (await getImage(deps, imageId))
  if (begun?.status !== 'pending' || begun.epoch !== image.epoch + 1) return
  await sendJob(deps, { version: 1, imageId, epoch: begun.epoch })
  deps.log.info('the image is analysed anew', { imageId, epoch: begun.epoch })
}

/**
 * Says once what went wrong, and has SQS deliver the job again sooner than its visibility timeout would. That is a
 * favour only: if it fails, the timeout does it.
 */
async function report(deps: WorkerDeps, record: SQSRecord, error: unknown): Promise<void> {
  const wait = pause(AFTER_FAILURE, Number(record.attributes.ApproximateReceiveCount), deps.random)
  deps.log.error('an attempt failed', { messageId: record.messageId, body: record.body, error, wait })
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
