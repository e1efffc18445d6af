import { ChangeMessageVisibilityCommand } from '@aws-sdk/client-sqs'
import type { SQSRecord } from 'aws-lambda'
import {
  type FinishedImage,
  type Image,
  type Kept,
  PAID_ANALYSES,
  type PaidCalls,
  type ProcessingImage,
  paidAnalyses,
  type Trouble,
} from '../shared/image.ts'
import { releaseImage } from '../shared/lifecycle.ts'
import { type Counts, embedded, type Log, METRICS, type Metric, runOf, say } from '../shared/log.ts'
import { Newer } from '../shared/messages.ts'
import { Throttled, type Time } from './analysis.ts'
import type { ProcessDeps, WorkerDeps } from './deps.ts'
import { Held } from './original.ts'
import { MAX_RESULT_BYTES } from './results.ts'

/**
 * Every way in which an attempt at a job ends. The batch announces a finished image; it deletes the job of that and of the
 * next three; and it has the others come back (`settleJob` in batch.ts).
 */
export type AttemptOutcome =
  /** By this attempt or by one before, whose announcement may have been lost. */
  | { kind: 'finished'; image: FinishedImage }
  /** A later retry has replaced the run. */
  | { kind: 'replaced' }
  /** The image was deleted before the claim. */
  | { kind: 'deleted' }
  /** The image was deleted or taken over before the commit. */
  | { kind: 'outcome lost' }
  | Unfinished

/** The job comes back. Each kind has its line in the log under the same name. */
export type Unfinished = Reason & {
  /** As the attempt has seen it; none where its record could not be read. */
  image?: Image
  /** Seconds for which the job stays away; without them, as long as its receives ask for. */
  seconds?: number
}

type Reason =
  /** Another worker is at the image, or the failure of the run before is still to be announced. */
  | { kind: 'held' }
  /** Rekognition throttled the calls. */
  | { kind: 'waits for quota' }
  /** The month's budget is spent. */
  | { kind: 'waits for budget' }
  /** The batch broke the attempt off. */
  | { kind: 'out of time' }
  /** A later version has written the job or the record: it stays for a worker that knows it. */
  | { kind: 'newer'; error: Newer }
  /** EventBridge has not taken the event of the image, which is finished. */
  | { kind: 'not announced'; error: unknown }
  /** All other trouble. The next attempt may have none of it. */
  | { kind: 'attempt failed'; error: unknown }

export const failed = (error: unknown): Unfinished =>
  error instanceof Newer ? { kind: 'newer', error } : { kind: 'attempt failed', error }

export const receivesOf = ({ attributes }: SQSRecord): number => Number(attributes.ApproximateReceiveCount)

/** Seconds: the first pause, by how much each further one is longer, and the longest. */
interface Backoff {
  first: number
  factor: number
  longest: number
}

/**
 * After the failures of an image. Ten of them (MAX_ATTEMPTS) pause for 2 + 6 + 18 + 54 + 162 + 486 + 4 × 600 = 3,128 s
 * at the most, and half of that at the least. `longest` is a part of SWEEP_AFTER_SECONDS (shared/config.ts, infrastructure/).
 */
const AFTER_FAILURE: Backoff = { first: 2, factor: 3, longest: 600 }

/**
 * After each receive of a message, with any end: a minute soon, so that jobs which are too many for the quota
 * leave it to a few; and from the 72nd receive on, more than that: about a twentieth of the time that it has waited by
 * then. By its own count and not by a clock, which may be wrong.
 *
 * It is what keeps a job that waits through no fault of its own (for Rekognition's quota, for another worker) from the
 * dead-letter queue, to which SQS moves it after 1,000 receives, for as long as SQS keeps it. With the shortest pauses,
 * of half a step:
 *
 *      71 receives until a step is more than a minute                2,011 s
 *      83 receives until it is an hour (2 × 1.05 ^ 154 = 3,667 s)   36,020 s
 *     651 receives of half an hour                               1,171,800 s; 14 days in all
 *
 * So 805 receives are the most, and the rest is for workers that die.
 */
const AT_FIRST: Backoff = { first: 2, factor: 2, longest: 60 }
const IN_THE_END: Backoff = { first: 2, factor: 1.05, longest: 3_600 }

const step = ({ first, factor, longest }: Backoff, times: number): number =>
  times < 1 ? 0 : Math.min(first * factor ** (times - 1), longest)

/**
 * Seconds for which a job stays away: at random, from half of its step on, so that jobs do not come back together.
 *
 * @param receives of its message
 * @param failures of its image; none where it only waits
 */
export function pause(random: () => number, receives: number, failures = 0): number {
  const longest = Math.max(
    step(AT_FIRST, receives),
    step(IN_THE_END, receives),
    step(AFTER_FAILURE, failures),
  )
  return Math.ceil(longest * (0.5 + random() / 2))
}

/** The same after an attempt; but what the end of a process has broken off, another worker takes up soon. */
export const pauseAfterAttempt = (
  random: () => number,
  { ending }: Time,
  receives: number,
  failures?: number,
): number => (ending.aborted ? pause(random, 1) : pause(random, receives, failures))

/** @returns what the run of an image has paid for by now, with the answers that this attempt was the first to get */
export const paidCallsOf = ({ paidCalls = {}, kept: before = {} }: ProcessingImage, kept: Kept): PaidCalls =>
  Object.fromEntries(
    PAID_ANALYSES.map((name): [string, number] => {
      const isNew = kept[name] !== undefined && before[name] === undefined
      return [name, (paidCalls[name] ?? 0) + (isNew ? 1 : 0)]
    }).filter(([, calls]) => calls > 0),
  )

/** Characters of an error's message in a record. */
const MAX_SAID = 300
/** The name is for callers too. A name of Node's own errors is in `code`, and some libraries have none but Error. */
const nameOf = (error: unknown): string => {
  const { code, name }: NodeJS.ErrnoException = Object(error)
  const isName = (word: unknown) => word !== 'Error' && /^[A-Z][A-Za-z_]{2,63}$/.test(String(word))
  return [code, name].find(isName) ?? 'an unexpected error'
}

/** What the record has of the trouble of an attempt; of an attempt that does not count, that of the one before. */
function troubleOf(
  { attempts: attempt, trouble }: ProcessingImage,
  why: { kind: string; error?: unknown },
  isFree: boolean,
): { trouble?: Trouble } {
  if (isFree) return trouble?.attempt === attempt - 1 ? { trouble: { ...trouble, attempt } } : {}
  // Without an error it has the name of its line in the log, as in OutOfTime.
  const kind = why.kind.replaceAll(/(?:^| )(.)/g, (_, letter: string) => letter.toUpperCase())
  const { error = { name: kind, message: `The attempt ended: ${why.kind}.` } } = why
  const message = String(Object(error).message)
    .replaceAll(/\p{Cc}+/gu, ' ')
    .slice(0, MAX_SAID)
  return { trouble: { attempt, name: nameOf(error), message } }
}

/**
 * Gives back an image that has no outcome yet, so that the next attempt need not wait for the end of the lease.
 *
 * @param kept what that attempt need not pay for or store again
 */
export async function release(
  deps: ProcessDeps,
  image: ProcessingImage,
  kept: Kept,
  receives: number,
  error: unknown,
  time: Time,
): Promise<Unfinished> {
  const why = reason(error, time)
  // What is too large to be kept has been paid for in vain, and then the attempt counts, so that there is an end to it.
  const keeps = Buffer.byteLength(JSON.stringify(kept)) <= MAX_RESULT_BYTES
  const stored: Kept = kept.stored === undefined ? {} : { stored: kept.stored }
  const isFree = keeps && (error instanceof Throttled || time.ending.aborted)
  const throttled = (image.throttled ?? 0) + (isFree ? 1 : 0)
  // A copy of the job, which the sweeper has sent, waits no less than the job itself.
  const times = Math.max(receives, throttled)
  const seconds = pauseAfterAttempt(deps.random, time, times, isFree ? 0 : image.attempts - throttled)
  try {
    const waitsFor = error instanceof Throttled ? error.by : 'retry'
    const rates = waitsFor === 'quota' ? { rates: ratesOf(deps, image, kept) } : {}
    const parked = waitsFor === 'budget' ? { parked: true as const } : {}
    const known = { kept: keeps ? kept : stored, paidCalls: paidCallsOf(image, kept) }
    const left = { throttled, ...known, ...rates, ...parked, ...troubleOf(image, why, isFree) }
    await releaseImage(deps, image, left, { for: waitsFor, waitMs: seconds * 1_000 })
  } catch (cause) {
    say(deps.log, 'not released', { ...runOf(image), error: cause })
  }
  return { ...why, image, seconds }
}

/** What the limiters allow of the calls that are still to be made. */
const ratesOf = ({ limiters }: ProcessDeps, { analyses }: ProcessingImage, kept: Kept) => {
  const missing = paidAnalyses(analyses).filter((name) => kept[name] === undefined)
  return Object.fromEntries(missing.map((name) => [name, limiters[name].rate]))
}

function reason(error: unknown, { signal }: Time): Unfinished {
  if (error instanceof Throttled) return { kind: `waits for ${error.by}` }
  // What was broken off because the time is up says so in many ways.
  if (signal.aborted) return { kind: 'out of time' }
  return error instanceof Held ? { kind: 'held' } : { kind: 'attempt failed', error }
}

/** Sets when SQS delivers the job again. If that fails or is aborted, it does so when the visibility timeout is over. */
export async function postpone(
  deps: WorkerDeps,
  record: SQSRecord,
  unfinished: Unfinished,
  abortSignal: AbortSignal,
): Promise<void> {
  const { messageId, receiptHandle } = record
  const receives = receivesOf(record)
  // Neither is a fault of the image.
  const failures = unfinished.kind === 'out of time' || unfinished.kind === 'newer' ? 0 : receives
  const { seconds = pause(deps.random, receives, failures) } = unfinished
  if (unfinished.kind === 'newer') say(deps.log, 'newer', { messageId, receives, ...unfinished.error.facts })
  try {
    await deps.sqs.send(
      new ChangeMessageVisibilityCommand({
        QueueUrl: deps.jobQueueUrl,
        ReceiptHandle: receiptHandle,
        VisibilityTimeout: seconds,
      }),
      { abortSignal },
    )
  } catch (error) {
    say(deps.log, 'not delayed', { messageId, error })
  }
}

/** Values of a metric that CloudWatch takes in one line (embedded metric format, specification). */
const MOST_VALUES = 100

/**
 * Gathers what `claimed` and `completed` count: a third of such a line, and one line does for many. What is gathered goes when
 * so many lines are, and by `flush`, or is lost with the process. After `end` every line has its own counts again.
 */
export function gathering(log: Log, lines: number): { log: Log; flush: () => void; end: () => void } {
  const { info, warn, error, namespace } = log
  const most = Math.min(lines, MOST_VALUES)
  let gathered: Record<string, number[]> = {}
  const flush = (): void => {
    const counts = Object.entries(gathered).map(([name, values]) => {
      const sum = values.reduce((all, value) => all + value)
      return [name, METRICS[name as Metric] === 'Count' ? sum : values]
    })
    gathered = {}
    if (counts.length > 0) log.info('', { ...embedded(namespace ?? '', Object.fromEntries(counts)) })
  }
  const gather = (counts: Counts): void => {
    for (const [name, value = 0] of Object.entries(counts))
      gathered[name] = [...(gathered[name] ?? []), value]
    if (Object.values(gathered).some(({ length }) => length === most)) flush()
  }
  const same = { info: info.bind(log), warn: warn.bind(log), error: error.bind(log), namespace }
  const own: Log = { ...same, gather: namespace === undefined ? undefined : gather }
  const end = (): void => {
    own.gather = undefined
    flush()
  }
  return { log: own, flush, end }
}
