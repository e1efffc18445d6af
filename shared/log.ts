import { createHash } from 'node:crypto'
import { LogFormatter, Logger, LogItem } from '@aws-lambda-powertools/logger'
import type { FinishedImage, Image, PaidAnalysis } from './image.ts'

/** What the functions write to the log: one line for each fact, under a name that stays. docs/log.md has the same list. */

export interface Log {
  info: (message: string, extra: Record<string, unknown>) => void
  warn: (message: string, extra: Record<string, unknown>) => void
  error: (message: string, extra: Record<string, unknown>) => void
  /** The namespace of CloudWatch's metrics, which it makes of the lines; without one there are none. */
  namespace?: string | undefined
  /** Takes counts that go out later, with others. */
  gather?: ((counts: Counts) => void) | undefined
}

/** A line's message, where it is not its event. */
export const unlessEvent = (message: string, facts: object): object => ('event' in facts ? {} : { message })

/** Without what is there twice: `message` is `event`, and X-Ray's trace of the invocation is not that of the request. */
class Lines extends LogFormatter {
  override formatAttributes(
    { logLevel, timestamp, serviceName, message }: Parameters<LogFormatter['formatAttributes']>[0],
    facts: Parameters<LogFormatter['formatAttributes']>[1],
  ): LogItem {
    // What a worker gathers (worker/outcomes.ts): only CloudWatch reads it.
    const { functionRequestId: _, ...own } = facts
    if (message === '') return new LogItem({ attributes: { service: serviceName, ...own } })
    const base = { level: logLevel, timestamp: this.formatTimestamp(timestamp), service: serviceName }
    // `claimed` of the same message has that of `completed`.
    const said = message === 'completed' ? own : facts
    return new LogItem({ attributes: { ...base, ...unlessEvent(message, facts) } }).addAttributes(said)
  }
}

/** The log of a function. POWERTOOLS_LOG_LEVEL is the least that it writes. */
export const createLog = (serviceName: string, namespace: string | undefined) =>
  Object.assign(new Logger({ serviceName, logFormatter: new Lines() }), { namespace })

/** What a line may have; names of files, tokens, URLs and bodies are not among it. The time of an analysis has its turn in it. */
interface Facts
  extends Partial<Record<`${PaidAnalysis}Ms`, number | undefined>>,
    Record<'requeued' | 'exhausted' | 'announced' | 'removed' | 'failed', number> {
  imageId: string
  epoch: number
  /** Of this run, counted from 1. */
  attempt?: number | undefined
  /** Of the request that submitted the image or, in a line about a request, of that one. */
  requestId?: string | undefined
  /** Of X-Ray's trace of that request. */
  traceId?: string | undefined
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
  /** SQS's SenderId of the message; the worker itself sends its copy to the dead-letter queue. */
  sender: string
  /** From the submission to the claim, by the wall clock; an upload is submitted when it is there. */
  queuedMs: number
  /** It has waited for the month's budget. */
  parked?: true | undefined
  /** From the submission to the commit, by the wall clock. */
  totalMs: number
  workMs: number
  fetchMs?: number | undefined
  decodeMs?: number | undefined
  analyseMs?: number | undefined
  /** From the commit until the record has it that EventBridge took the event. */
  announceMs?: number | undefined
  /** From the body of the request until its job is sent. */
  acceptMs: number
  /** Answers of Rekognition in all attempts of this run: each is billed. */
  paidCalls: number
  /** The results are those of another image with the same bytes. */
  reused?: true | undefined
  outcome: FinishedImage['status']
  analysis: PaidAnalysis
  callsPerSecond: number
  /** Calls of Rekognition a month. */
  budget: number
  wanted: string
  has: string[]
}

const REQUEST = ['requestId', 'traceId', 'clientRequestId'] as const
const RUN = ['imageId', 'epoch', 'attempt', 'requestId', 'traceId'] as const
const TAKEN = [...RUN, 'messageId'] as const
const JOB = ['imageId', 'epoch'] as const
const TROUBLE = [...RUN, 'error'] as const
const OWN = [...JOB, ...REQUEST, 'owner'] as const
const SUBMITTED = [...OWN, 'bytes', 'contentType'] as const
const ACCEPTED = [...SUBMITTED, 'acceptMs', 'repeated'] as const
const ROUTE = [...REQUEST, 'method', 'route'] as const
const SPENT = [
  ...['queuedMs', 'fetchMs', 'decodeMs', 'analyseMs', 'labelsMs', 'facesMs', 'moderationMs', 'textMs'],
  ...['workMs', 'totalMs', 'paidCalls'],
] as const
const WAITING = [...TAKEN, 'receives', 'seconds'] as const
const RETURNED = [...WAITING, 'error'] as const
const RATE = ['analysis', 'callsPerSecond'] as const
const MESSAGE = ['messageId', 'receives', 'reason'] as const

const lines =
  (by: string, level: 'info' | 'warn' | 'error') =>
  <const Has extends readonly (keyof Facts)[]>(when: string, has: Has) => ({ by, level, when, has })
const api = lines('API', 'info')
const worker = lines('worker', 'info')
const warning = lines('worker', 'warn')
const trouble = lines('worker', 'error')
const sweeper = lines('sweeper', 'info')

/** Every line: who writes it, at which level, when, and what it has. */
export const LINES = {
  accepted: api('`POST /images` has stored the image and sent its job.', ACCEPTED),
  'form issued': api('`POST /uploads` has made the record and the form.', SUBMITTED),
  refused: api('A request is answered with a problem whose code names the cause.', [
    ...ROUTE,
    'status',
    'code',
  ]),
  'request failed': lines('API', 'error')(
    'A request meets an unexpected error and is answered with 503 `UNAVAILABLE`.',
    [...ROUTE, 'error'],
  ),
  retried: api('A caller has begun the next run of a failed image.', OWN),
  deleted: api('A caller has deleted the image.', OWN),
  claimed: worker('A worker has taken the image up.', [...TAKEN, 'queuedMs', 'parked']),
  redriven: worker('A dead letter has begun the next run of the image.', RUN),
  completed: worker('The results are committed.', [...TAKEN, 'owner', 'bytes', 'pixels', 'reused', ...SPENT]),
  failed: worker('The failure is committed.', [...TAKEN, 'owner', 'bytes', 'code', 'error', ...SPENT]),
  announced: lines('worker, sweeper', 'info')('EventBridge has taken the event, and the record says so.', [
    ...RUN,
    'outcome',
    'announceMs',
  ]),
  'waits for quota': worker('Rekognition throttled the calls; the attempt does not count.', WAITING),
  'waits for budget': worker('The month’s budget is spent; the attempt does not count.', WAITING),
  'budget spent': warning('The month’s calls of Rekognition have come to the budget.', ['budget']),
  'limiter rate': worker(
    'The calls a second that this worker allows itself have changed; once a minute.',
    RATE,
  ),
  held: worker('Another worker holds the image.', WAITING),
  'out of time': worker('The worker’s time was over, so the attempt ended early.', WAITING),
  'attempt failed': trouble('An attempt met an error that may pass.', RETURNED),
  'not announced': trouble('EventBridge has not taken the event; it is sent again.', RETURNED),
  'outcome lost': worker('The image was deleted or taken over before the commit.', RUN),
  'job replaced': worker('A job is of a run that a later retry has replaced; it ends.', JOB),
  'job without image': worker('The image of a job was deleted; the job ends.', JOB),
  'no job': trouble('A message is not a job; after three receives the dead-letter queue has it.', [
    ...MESSAGE,
    'sender',
    'error',
  ]),
  'not entered': warning('Calls that were paid for are not in the ledger of the day yet.', ['error']),
  newer: warning('The job or its record is of a later version; both stay.', ['imageId', ...MESSAGE]),
  'not delayed': warning('The visibility timeout of a message could not be changed.', ['messageId', 'error']),
  'not released': warning('A lease could not be ended; it expires by itself.', TROUBLE),
  'not tidy': warning('The image is finished, but its upload could not be deleted.', TROUBLE),
  requeued: sweeper('An image was unfinished for too long; its job is sent again.', RUN),
  exhausted: sweeper('An image is given up: its failure `EXHAUSTED` is committed.', [...TROUBLE, 'code']),
  removed: sweeper('The record of an image that was deleted, or never came, is gone.', ['imageId']),
  'not swept': lines('sweeper', 'error')('An image met trouble; the next sweep finds it again.', [
    'imageId',
    'error',
  ]),
  swept: sweeper('A sweep has ended.', ['requeued', 'exhausted', 'announced', 'removed', 'failed']),
  'passed over': lines('all', 'warn')(
    'A function was invoked with an event of a kind that it does not handle.',
    ['wanted', 'has'],
  ),
}
export type Line = keyof typeof LINES

/** The metrics, by their units (Amazon CloudWatch API, MetricDatum). Each is one to pay for; some are one for each code or analysis. */
export const METRICS = {
  ...{ Accepted: 'Count', AcceptMs: 'Milliseconds', BytesIn: 'Bytes' },
  ...{ Refused: 'Count', RequestsFailed: 'Count', Retried: 'Count' },
  /** Seconds that an image has waited for when it is taken up: no metric of the queue has this for jobs that come back. */
  ...{ Claimed: 'Count', ImageAge: 'Seconds', WorkMs: 'Milliseconds', TotalMs: 'Milliseconds' },
  ...{ Completed: 'Count', Reused: 'Count', Failed: 'Count', PaidCalls: 'Count' },
  /** Of each worker, by the analysis. */
  LimiterRate: 'Count/Second',
  ...{ Throttled: 'Count', OverBudget: 'Count', BudgetSpent: 'Count' },
  ...{ Held: 'Count', OutOfTime: 'Count', AttemptsFailed: 'Count' },
  ...{ NotAnnounced: 'Count', NoJob: 'Count', Requeued: 'Count', Exhausted: 'Count', NotSwept: 'Count' },
} as const
export type Metric = keyof typeof METRICS
export type Counts = Partial<Record<Metric, number | undefined>>
/** Which fact of its line tells the values of a metric apart. In CloudWatch `Refused` has none, as each code would be one to pay for. */
export const BY = { Failed: 'code', Refused: 'code', LimiterRate: 'analysis' } as const

/**
 * What each line adds to metrics: so a fact is counted where it is committed, and nowhere twice. Where an alarm compares two
 * metrics the noughts are there for it: without one of the two it would have nothing to compare (alarms.json of infrastructure/).
 */
const COUNTS: { [L in Line]?: (facts: Partial<Facts>) => Counts } = {
  accepted: ({ bytes, repeated, acceptMs }) =>
    repeated ? {} : { AcceptMs: acceptMs, Accepted: 1, BytesIn: bytes },
  refused: () => ({ Refused: 1 }),
  'request failed': () => ({ RequestsFailed: 1 }),
  retried: () => ({ Retried: 1 }),
  claimed: ({ queuedMs = 0, parked }) => ({
    ...{ Claimed: 1, ...(!parked && { ImageAge: queuedMs / 1_000 }), Completed: 0 },
  }),
  completed: ({ reused, workMs, totalMs, paidCalls }) => ({
    ...{ Completed: 1, Failed: 0, WorkMs: workMs, TotalMs: totalMs },
    ...(reused ? { Reused: 1 } : { PaidCalls: paidCalls }),
  }),
  failed: ({ workMs, totalMs, paidCalls }) => ({
    ...{ Failed: 1, Completed: 0, WorkMs: workMs, TotalMs: totalMs, PaidCalls: paidCalls },
  }),
  'limiter rate': ({ callsPerSecond }) => ({ LimiterRate: callsPerSecond }),
  'waits for quota': () => ({ Throttled: 1 }),
  // It waits by intent, and what is claimed is to be completed.
  'waits for budget': () => ({ OverBudget: 1, Claimed: -1 }),
  'budget spent': () => ({ BudgetSpent: 1 }),
  held: () => ({ Held: 1 }),
  'out of time': () => ({ OutOfTime: 1 }),
  'attempt failed': () => ({ AttemptsFailed: 1 }),
  'not announced': () => ({ NotAnnounced: 1 }),
  'no job': () => ({ NoJob: 1 }),
  requeued: () => ({ Requeued: 1 }),
  exhausted: () => ({ Exhausted: 1, Failed: 1 }),
  'not swept': () => ({ NotSwept: 1 }),
}

/** What a line adds to metrics; nothing where it is none of those of LINES. */
export const countsOf = (facts: Record<string, unknown>): Counts => {
  const event = String(facts['event'])
  return Object.hasOwn(COUNTS, event) ? (COUNTS[event as Line]?.(facts) ?? {}) : {}
}

/**
 * What makes a line one of the embedded metric format (Amazon CloudWatch user guide, specification). The dimension is
 * the name of the function, `service`, which the logger puts into every line.
 */
export function embedded(Namespace: string, counted: Record<string, number | number[] | undefined>): object {
  const names = Object.keys(counted) as Metric[]
  if (names.length === 0) return {}
  const directive = (Dimensions: string[][], chosen: Metric[]) => ({
    Namespace,
    Dimensions,
    Metrics: chosen.map((Name) => (METRICS[Name] === 'Count' ? { Name } : { Name, Unit: METRICS[Name] })),
  })
  // A line that completes an image has `Failed` as a nought, and no code.
  const failed = names.filter((name) => name === 'Failed' && counted[name] === 1)
  const CloudWatchMetrics = [
    directive([names[0] === 'LimiterRate' ? ['service', BY.LimiterRate] : ['service']], names),
    ...(failed.length > 0 ? [directive([['service', BY.Failed]], failed)] : []),
  ]
  return { ...counted, _aws: { Timestamp: Date.now(), CloudWatchMetrics } }
}

/** The one way to write a line. */
export function say<L extends Line>(
  log: Log,
  event: L,
  facts: Pick<Facts, (typeof LINES)[L]['has'][number]>,
): void {
  const { namespace, gather } = log
  const counted = (namespace !== undefined && COUNTS[event]?.(facts)) || {}
  const goLater = gather !== undefined && (event === 'claimed' || event === 'completed')
  if (goLater) gather(counted)
  log[LINES[event].level](event, { event, ...facts, ...(goLater ? {} : embedded(namespace ?? '', counted)) })
}

/** An owner's name may be a person's; this distinguishes two of them. */
export const ownerTag = (owner: string): string =>
  createHash('sha256').update(owner).digest('hex').slice(0, 16)

/** Which run of which image a line is about. */
export const runOf = ({ imageId, epoch, attempts, origin }: Image) => ({
  imageId,
  epoch,
  attempt: attempts,
  requestId: origin?.requestId,
  traceId: origin?.traceId,
})
