import { BatchProcessor, EventType, processPartialResponse } from '@aws-lambda-powertools/batch'
import type { Attributes, Link, Span } from '@opentelemetry/api'
import type { Context, SQSBatchResponse, SQSEvent, SQSRecord } from 'aws-lambda'
import { runOf, say } from '../shared/log.ts'
import {
  announcementOf,
  inSpan,
  type Job,
  linkTo,
  linkToRequest,
  Newer,
  type OpenTelemetry,
  readJobs,
  sendDeadLetter,
} from '../shared/messages.ts'
import type { Message, Time } from './analysis.ts'
import type { WorkerDeps } from './deps.ts'
import { failed, gathering, postpone, receivesOf, type Unfinished } from './outcomes.ts'
import { processImage } from './process-image.ts'
import { type Announce, Announcements, announceOnce } from './results.ts'

/**
 * Milliseconds before its end at which a batch breaks off the work on images, to give them back and to announce what is
 * done; a fifth of a short time.
 */
const BREAK_OFF_MS = 6_000
/**
 * Milliseconds before its end from which it waits no longer for what hangs; a fifteenth of a short time. Halfway from there
 * it answers, even if SQS hangs too: unanswered, all of its messages would come back.
 */
const HUNG_MS = 2_000
/** Milliseconds after which the counts of a batch's claims go out where not all of its images can be claimed. */
const CLAIMS_MS = 250

/**
 * At this receive a message of no known kind goes to the dead-letter queue. Before, a few seconds apart, a newer version
 * of the worker that is being deployed may take it.
 */
const NO_JOB_RECEIVES = 3

/** Something of a job has not ended when the batch has to answer. */
class Hung extends Error {
  override readonly name = 'Hung'
}

/**
 * One SQS batch: every record is settled alone, and only those that are not are reported back, so that a bad
 * image costs its neighbours nothing. A record is settled when its outcome is committed and announced.
 *
 * A job that has to wait stays the same message, and only its visibility changes. Sent again to the queue that triggers
 * this function, it would be a recursion to Lambda, which ends one after about 16 invocations (AWS Lambda developer
 * guide, recursive loop detection).
 * @param ending breaks the work on images off before its time
 */
export async function processBatch(
  { log, ...given }: WorkerDeps,
  event: SQSEvent,
  context: Context,
  ending = new AbortController().signal,
): Promise<SQSBatchResponse> {
  // Two lines of counts, of the claims and of the outcomes: for one image they are no shorter than counts in its lines.
  const counts =
    event.Records.length > 1 ? gathering(log, event.Records.length) : { log, flush: () => {}, end: () => {} }
  const deps: WorkerDeps = { ...given, log: counts.log }
  const end = new End(deps, context.getRemainingTimeInMillis(), ending)
  if (deps.log.gather !== undefined) deps.sleep(CLAIMS_MS, end.answered.signal).then(counts.flush, () => {})
  const entered: Promise<void>[] = []
  const enter = (): void => void entered.push(deps.enterPaid(end.toAnswer.signal))
  // Beside the call of EventBridge, so that the batch takes no longer for it.
  const batch = new Batch(deps, event.Records, end, () => {
    counts.flush()
    enter()
  })
  try {
    const response = await processPartialResponse(
      event,
      (record: SQSRecord) => batch.settle(record),
      new BatchProcessor(EventType.SQS),
      {
        context,
        // Thrown, a full failure would be logged as a crash of the function; reported, it is the same to SQS.
        throwOnFullBatchFailure: false,
      },
    )
    enter()
    await Promise.all(entered)
    return response
  } finally {
    end.answer()
    counts.end()
  }
}

/** When the work on images breaks off, what hangs is waited for no longer, and the batch answers. */
class End {
  /** Aborted when the batch has answered. */
  readonly answered = new AbortController()
  /** Aborted when it has to answer. */
  readonly toAnswer = new AbortController()
  readonly #unhear: () => void
  readonly time: Time
  /** Awaited by the records only while they last. */
  readonly lastMoment: Promise<Unfinished>

  /** @param total milliseconds that the batch has */
  constructor(deps: WorkerDeps, total: number, ending: AbortSignal) {
    const deadline = deps.elapsed() + total
    const breakOffAfter = total - Math.min(BREAK_OFF_MS, total / 5)
    const hungAfter = total - Math.min(HUNG_MS, total / 15)
    const breakOff = new AbortController()
    const { signal } = breakOff
    // Not AbortSignal.any: of each batch it would leave something at a signal that lives as long as the process (Node 22).
    const endEarly = (): void => breakOff.abort(ending.reason)
    ending.addEventListener('abort', endEarly)
    this.#unhear = () => ending.removeEventListener('abort', endEarly)
    if (ending.aborted) endEarly()
    this.time = { until: deadline - total + breakOffAfter, signal, ending, stopped: deadline }
    deps.sleep(breakOffAfter, this.answered.signal).then(
      () => breakOff.abort(new Error('The batch is out of time.')),
      () => {},
    )
    this.lastMoment = deps
      .sleep(hungAfter, this.answered.signal)
      .then(() => failed(new Hung('The batch is out of time, and an attempt does not end.')))
    this.lastMoment
      .then(() => deps.sleep((total - hungAfter) / 2, this.answered.signal))
      .then(() => this.toAnswer.abort(new Error('The batch has to answer.')))
      .catch(() => {})
  }

  answer(): void {
    this.answered.abort()
    this.#unhear()
  }
}

/** Settles the records of a batch, each alone. */
class Batch {
  readonly #deps: WorkerDeps
  readonly #end: End
  readonly #announcements: Announcements
  /** SQS may put two copies of a job into one batch; the second shares the first one's fate. */
  readonly #jobs = new Map<string, Taken & { run?: Promise<Unfinished | undefined> }>()
  /** The keys of a record's jobs, or why it is none. */
  readonly #wanted: Map<SQSRecord, string[] | Error>

  constructor(deps: WorkerDeps, records: SQSRecord[], end: End, flush: () => void) {
    this.#deps = deps
    this.#end = end
    this.#wanted = new Map(records.map((record) => [record, this.#keysOf(record)]))
    this.#announcements = new Announcements(deps, this.#jobs.size, flush)
  }

  #keysOf(record: SQSRecord): string[] | Error {
    try {
      return readJobs(record.body).map((job) => {
        const key = JSON.stringify(job)
        const { messageId } = record
        const receives = Math.max(this.#jobs.get(key)?.receives ?? 1, receivesOf(record))
        const sentAt = Number(record.attributes.SentTimestamp) || 0
        const links = [...(this.#jobs.get(key)?.links ?? []), ...linksTo(record.attributes.AWSTraceHeader)]
        this.#jobs.set(key, { job, messageId, receives, sentAt, links })
        return key
      })
    } catch (error) {
      return error as Error
    }
  }

  /** @throws Error for a record that is not settled: Powertools reports it */
  async settle(record: SQSRecord): Promise<void> {
    const keys = this.#wanted.get(record) ?? []
    const settled =
      keys instanceof Error
        ? Promise.race([setAside(this.#deps, record, keys), this.#end.lastMoment])
        : this.#settleJobs(keys)
    const unfinished = await settled.catch(failed)
    if (unfinished === undefined) return
    await postpone(this.#deps, record, unfinished, this.#end.toAnswer.signal)
    throw new Error(unfinished.kind)
  }

  /** @returns why the first of them is unfinished; undefined where all are settled */
  async #settleJobs(keys: string[]): Promise<Unfinished | undefined> {
    const taken = keys.flatMap((key) => this.#jobs.get(key) ?? [])
    for (const job of taken) job.run ??= this.#settleJob(job)
    const runs = taken.map(({ run }) => run)
    // All of them: what is not waited for would be frozen with the function, and go on in a later invocation.
    const settled = await Promise.race([Promise.all(runs), this.#end.lastMoment])
    if (Array.isArray(settled)) return settled.find((one) => one !== undefined)
    for (const job of taken) logUnfinished(this.#deps, job, settled)
    return settled
  }

  async #settleJob(taken: Taken): Promise<Unfinished | undefined> {
    let hasEvent = false
    const announce: Announce = (image) => {
      hasEvent = true
      return this.#announcements.announce(announcementOf(image))
    }
    const name = `process ${queueOf(this.#deps)}`
    const options = ({ SpanKind }: OpenTelemetry) => ({
      kind: SpanKind.CONSUMER,
      links: taken.links,
      attributes: attributesOf(this.#deps, taken),
    })
    const unfinished = await inSpan(name, () => this.#finish(taken, announce), options, tell).catch(failed)
    // Frozen with the function, it would speak in a later invocation, of a job that is long postponed.
    if (unfinished !== undefined && !this.#end.answered.signal.aborted)
      logUnfinished(this.#deps, taken, unfinished)
    // After any end of this image, the other images' events must not wait for it.
    if (!hasEvent) this.#announcements.pass()
    return unfinished
  }

  async #finish({ job, links, ...message }: Taken, announce: Announce): Promise<Unfinished | undefined> {
    const outcome = await processImage(this.#deps, job, message, this.#end.time)
    if ('image' in outcome) await linkToRequest(outcome.image, links)
    switch (outcome.kind) {
      case 'finished':
        return inSpan('announce', async () => {
          const refused = await announceOnce(this.#deps, outcome.image, announce)
          return refused && { kind: 'not announced', image: outcome.image, ...refused }
        })
      case 'replaced':
      case 'deleted':
      case 'outcome lost':
        return undefined
      default:
        return outcome
    }
  }
}

/** A job of the batch, in a message. */
interface Taken extends Message {
  job: Job
  /** Whether the log has it why the job is not settled. */
  said?: boolean
  /** To the spans that have sent the message and its copies. */
  links: Link[]
}

/** Once for each job that is not settled. */
function logUnfinished({ log }: WorkerDeps, taken: Taken, unfinished: Unfinished): void {
  if (taken.said || unfinished.kind === 'newer') return
  taken.said = true
  const { job, messageId, receives } = taken
  const { image, seconds } = unfinished
  const facts = {
    ...(image === undefined ? { imageId: job.imageId, epoch: job.epoch } : runOf(image)),
    messageId,
    receives,
    seconds,
  }
  if ('error' in unfinished) say(log, unfinished.kind, { ...facts, error: unfinished.error })
  else say(log, unfinished.kind, facts)
}

/** Has a message that is no job come back a few times, and then sends it to the dead-letter queue. */
async function setAside(deps: WorkerDeps, record: SQSRecord, why: Error): Promise<Unfinished | undefined> {
  if (why instanceof Newer) return failed(why)
  const receives = receivesOf(record)
  const isLast = receives >= NO_JOB_RECEIVES
  let error: Error | undefined
  if (isLast) await sendDeadLetter(deps, record.body).catch((refusal: Error) => (error = refusal))
  const reason = why instanceof SyntaxError ? 'It is not JSON.' : 'It is neither a job nor an S3 event.'
  const { messageId, attributes } = record
  say(deps.log, 'no job', { messageId, receives, reason, sender: attributes.SenderId, error })
  return isLast && error === undefined ? undefined : failed(error ?? why)
}

/** A span has one parent, and a batch many messages; so a job's span links to what has sent it. */
function linksTo(header = ''): Link[] {
  const part = (name: string) => new RegExp(`(?:^|;)${name}=([0-9a-f-]+)`).exec(header)?.[1]
  const [root, parent] = [part('Root'), part('Parent')]
  return root === undefined || parent === undefined ? [] : [linkTo(root, parent)]
}

const queueOf = ({ jobQueueUrl }: WorkerDeps): string => jobQueueUrl.replace(/.*\//, '')

/** By OpenTelemetry's semantic conventions for messaging, where these have a name. */
const attributesOf = (deps: WorkerDeps, { job, messageId }: Taken): Attributes => ({
  'messaging.system': 'aws_sqs',
  'messaging.operation.type': 'process',
  'messaging.operation.name': 'process',
  'messaging.destination.name': queueOf(deps),
  'messaging.message.id': messageId,
  'image_analyzer.image_id': job.imageId,
  'image_analyzer.epoch': job.epoch,
})

const tell = (span: Span, unfinished: Unfinished | undefined, { SpanStatusCode }: OpenTelemetry): void => {
  if (unfinished === undefined) return
  span.setAttribute('image_analyzer.unfinished', unfinished.kind)
  if (!('error' in unfinished)) return
  span.setStatus({ code: SpanStatusCode.ERROR }).recordException(unfinished.error as Error)
}
