import { createHash } from 'node:crypto'
import type { FinishedImage, Image } from './image.ts'

/** What the functions write to the log: one line for each fact, under a name that stays. docs/log.md has the same list. */

export interface Log {
  info: (message: string, extra: Record<string, unknown>) => void
  warn: (message: string, extra: Record<string, unknown>) => void
  error: (message: string, extra: Record<string, unknown>) => void
}

/** What a line may have. Names of files, tokens, URLs and bodies are not among it. */
interface Facts {
  imageId: string
  epoch: number
  /** Of this run, counted from 1. */
  attempt?: number | undefined
  /** Of the request that submitted the image or, in a line about a request, of that one. */
  requestId?: string | undefined
  /** What a caller has called the request. */
  clientRequestId?: string | undefined
  /** The first 16 hex digits of the owner's SHA-256. */
  owner: string
  /** Of the original. */
  bytes: number
  pixels: number
  contentType: string
  /** The request was sent before, with the same idempotency key. */
  repeated?: true | undefined
  method: string
  /** With names in place of values. */
  route: string
  status: number
  /** Of the problem, or of the image's failure. */
  code: string
  error?: unknown
  reason: string
  /** After which SQS delivers the job again. */
  seconds?: number | undefined
  messageId: string
  /** How often SQS has delivered the message. */
  receives: number
  /** From the submission to the claim, by the wall clock. */
  queuedMs: number
  /** From the submission to the commit, by the wall clock. */
  totalMs: number
  workMs: number
  fetchMs?: number | undefined
  decodeMs?: number | undefined
  analyseMs?: number | undefined
  /** The results are those of another image with the same bytes. */
  reused?: true | undefined
  outcome: FinishedImage['status']
  requeued: number
  exhausted: number
  announced: number
  removed: number
  failed: number
  wanted: string
  has: string[]
}

const REQUEST = ['requestId', 'clientRequestId'] as const
const RUN = ['imageId', 'epoch', 'attempt', 'requestId'] as const
const TIMES = ['queuedMs', 'fetchMs', 'decodeMs', 'analyseMs', 'workMs', 'totalMs'] as const
const WAITING = [...RUN, 'messageId', 'receives', 'seconds'] as const

/** Every line, with when it is written and what it has. */
export const LINES = {
  accepted: {
    ...{ by: 'API', level: 'info', when: '`POST /images` has stored the image and sent its job.' },
    has: ['imageId', 'epoch', ...REQUEST, 'owner', 'bytes', 'contentType', 'repeated'],
  },
  'form issued': {
    ...{ by: 'API', level: 'info', when: '`POST /uploads` has made the record and the form.' },
    has: ['imageId', 'epoch', ...REQUEST, 'owner', 'bytes', 'contentType'],
  },
  refused: {
    ...{
      by: 'API',
      level: 'info',
      when: 'A request is answered with a problem that has a cause of its own.',
    },
    has: [...REQUEST, 'method', 'route', 'status', 'code'],
  },
  'request failed': {
    ...{
      by: 'API',
      level: 'error',
      when: 'A request meets an error that no code foresees: 503 `UNAVAILABLE`.',
    },
    has: [...REQUEST, 'method', 'route', 'error'],
  },
  retried: {
    ...{ by: 'API', level: 'info', when: 'A caller has begun the next run of a failed image.' },
    has: ['imageId', 'epoch', ...REQUEST, 'owner'],
  },
  deleted: {
    ...{ by: 'API', level: 'info', when: 'A caller has deleted the image.' },
    has: ['imageId', 'epoch', ...REQUEST, 'owner'],
  },
  claimed: {
    ...{ by: 'worker', level: 'info', when: 'A worker has taken the image up.' },
    has: [...RUN, 'queuedMs'],
  },
  completed: {
    ...{ by: 'worker', level: 'info', when: 'The results are committed.' },
    has: [...RUN, 'owner', 'bytes', 'pixels', 'reused', ...TIMES],
  },
  failed: {
    ...{ by: 'worker', level: 'info', when: 'The failure is committed.' },
    has: [...RUN, 'owner', 'bytes', 'code', 'error', ...TIMES],
  },
  announced: {
    ...{
      by: 'worker, sweeper',
      level: 'info',
      when: 'EventBridge has taken the event, and the record says so.',
    },
    has: [...RUN, 'outcome'],
  },
  'waits for quota': {
    ...{ by: 'worker', level: 'info', when: 'Rekognition was asked too much; the attempt does not count.' },
    has: WAITING,
  },
  held: {
    ...{ by: 'worker', level: 'info', when: 'Another worker is at the image.' },
    has: WAITING,
  },
  'out of time': {
    ...{ by: 'worker', level: 'info', when: 'The end of the function’s time has broken the attempt off.' },
    has: WAITING,
  },
  'attempt failed': {
    ...{ by: 'worker', level: 'error', when: 'An attempt met trouble that may pass.' },
    has: [...WAITING, 'error'],
  },
  'outcome lost': {
    ...{ by: 'worker', level: 'info', when: 'The image was deleted or taken over before the commit.' },
    has: RUN,
  },
  'job replaced': {
    ...{ by: 'worker', level: 'info', when: 'A job is of a run that a later retry has replaced; it ends.' },
    has: ['imageId', 'epoch'],
  },
  'job without image': {
    ...{ by: 'worker', level: 'info', when: 'The image of a job was deleted; the job ends.' },
    has: ['imageId', 'epoch'],
  },
  'no job': {
    ...{
      by: 'worker',
      level: 'error',
      when: 'A message is of no known kind; after three receives the dead-letter queue has it.',
    },
    has: ['messageId', 'receives', 'reason'],
  },
  'not delayed': {
    ...{ by: 'worker', level: 'warn', when: 'The visibility timeout of a message stays as it is.' },
    has: ['messageId', 'error'],
  },
  'not released': {
    ...{ by: 'worker', level: 'warn', when: 'A lease could not be ended; it runs out by itself.' },
    has: [...RUN, 'error'],
  },
  'not tidy': {
    ...{
      by: 'worker',
      level: 'warn',
      when: 'The image is finished, but an upload is left or its bytes are not remembered.',
    },
    has: [...RUN, 'error'],
  },
  requeued: {
    ...{ by: 'sweeper', level: 'info', when: 'An unfinished image that rested for too long has a new job.' },
    has: RUN,
  },
  exhausted: {
    ...{ by: 'sweeper', level: 'info', when: 'An image is given up: its failure `EXHAUSTED` is committed.' },
    has: RUN,
  },
  removed: {
    ...{
      by: 'sweeper',
      level: 'info',
      when: 'The record of an image that was deleted, or never came, is gone.',
    },
    has: ['imageId'],
  },
  'not swept': {
    ...{ by: 'sweeper', level: 'error', when: 'An image met trouble; the next sweep finds it again.' },
    has: ['imageId', 'error'],
  },
  swept: {
    ...{ by: 'sweeper', level: 'info', when: 'A sweep has ended.' },
    has: ['requeued', 'exhausted', 'announced', 'removed', 'failed'],
  },
  'passed over': {
    ...{
      by: 'all',
      level: 'warn',
      when: 'A function was called with an event of a kind that it is not made for.',
    },
    has: ['wanted', 'has'],
  },
} as const satisfies Record<
  string,
  { by: string; level: keyof Log; when: string; has: readonly (keyof Facts)[] }
>
export type Line = keyof typeof LINES

/** The one way to write a line. Its name is there twice, since loggers have their own place for a message. */
export function say<L extends Line>(
  log: Log,
  event: L,
  facts: Pick<Facts, (typeof LINES)[L]['has'][number]>,
): void {
  log[LINES[event].level](event, { event, ...facts })
}

/** An owner's name may be a person's; this tells two of them apart. */
export const ownerTag = (owner: string): string =>
  createHash('sha256').update(owner).digest('hex').slice(0, 16)

/** Which run of which image a line is about. */
export const runOf = ({ imageId, epoch, attempts, origin }: Image) => ({
  ...{ imageId, epoch, attempt: attempts },
  requestId: origin?.requestId,
})

/**
 * What answers an event of a kind that a function is not made for (a test of the console, a ping that keeps it warm, a
 * queue that was connected to it by mistake): a line in the log, and SQS keeps its messages.
 */
export function passOver(
  event: unknown,
  wanted: string,
  log: Log,
): { batchItemFailures: { itemIdentifier: string }[] } {
  const { Records }: { Records?: unknown } = Object(event)
  say(log, 'passed over', { wanted, has: Object.keys(Object(event)) })
  const ids = (Array.isArray(Records) ? Records : []).map((record) => record?.messageId)
  return {
    batchItemFailures: ids
      .filter((id) => typeof id === 'string')
      .map((itemIdentifier) => ({ itemIdentifier })),
  }
}
