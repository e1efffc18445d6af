import { type EventBridgeClient, PutEventsCommand } from '@aws-sdk/client-eventbridge'
import { SendMessageCommand, type SQSClient } from '@aws-sdk/client-sqs'
import type { Link, Span, SpanOptions } from '@opentelemetry/api'
import * as z from 'zod'
import {
  type FinishedImage,
  failureSchema,
  imageIdSchema,
  isExhausted,
  originalSchema,
  paidCallsSchema,
  thumbnailSchema,
  UPLOADS,
} from './image.ts'
import { emotionsOf } from './labels.ts'
import { type Log, ownerTag, say } from './log.ts'

/** What travels between the parts: the job of an image, in SQS, the event of its end, on the bus, and the trace of both. */

export type OpenTelemetry = typeof import('@opentelemetry/api')

/**
 * OpenTelemetry's API, where an SDK is registered (infrastructure/README.md): under this symbol each copy of the API looks for
 * one. Asked each time, as a layer may register while the function is imported; and no cold start without one loads the API.
 */
export const openTelemetry = (): Promise<OpenTelemetry> | undefined =>
  Symbol.for('opentelemetry.js.api.1') in globalThis ? import('@opentelemetry/api') : undefined

/**
 * Does a part of the work in a span, which is nothing unless an SDK is registered.
 *
 * @param tell adds to the span of work that has succeeded
 */
export const inSpan = <T>(
  name: string,
  work: () => Promise<T>,
  options: (api: OpenTelemetry) => SpanOptions = () => ({}),
  tell?: (span: Span, value: T, api: OpenTelemetry) => void,
): Promise<T> =>
  openTelemetry()?.then((api) =>
    api.trace.getTracer('image-analyzer').startActiveSpan(name, options(api), (span) => {
      const done = work()
      const end = (): void => span.end()
      // On the work's own promise, so that the span ends before its caller continues.
      done.then(
        (value) => tell?.(span, value, api),
        (error: Error) => span.setStatus({ code: api.SpanStatusCode.ERROR }).recordException(error),
      )
      done.then(end, end)
      return done
    }),
  ) ?? work()

/** The current span, if it is sampled, as X-Ray writes it (AWS X-Ray developer guide, tracing header). */
export async function xraySpan() {
  const api = await openTelemetry()
  const { traceId: id = '', spanId = '', traceFlags = 0 } = api?.trace.getActiveSpan()?.spanContext() ?? {}
  if (api === undefined || (traceFlags & api.TraceFlags.SAMPLED) === 0) return undefined
  const traceId = `1-${id.slice(0, 8)}-${id.slice(8)}`
  return { traceId, spanId, header: `Root=${traceId};Parent=${spanId};Sampled=1` }
}

export const linkTo = (traceId = '', spanId = ''): Link => ({
  context: { traceId: traceId.replace(/^1-|-/g, ''), spanId, traceFlags: 1, isRemote: true },
})

/** Links the current span to the request of an image, unless that is `known`. */
export async function linkToRequest({ origin }: Pick<FinishedImage, 'origin'>, known: Link[] = []) {
  if (origin?.spanId === undefined || known.some(({ context }) => context.spanId === origin.spanId)) return
  const span = (await openTelemetry())?.trace.getActiveSpan()
  span?.addLink(linkTo(origin.traceId, origin.spanId))
}

/**
 * What travels in SQS: which image, and which of its runs. The rest is read from the record, so a
 * message can be lost, repeated or replayed from the dead-letter queue without carrying stale facts.
 */
const JOB_VERSION = 1
const jobSchema = z.strictObject({
  version: z.literal(JOB_VERSION),
  imageId: imageIdSchema,
  /** 1 for the first run of an image, one more with each retry. */
  epoch: z.int().min(1),
})
export type Job = z.infer<typeof jobSchema>
/** What a later version has written: this code leaves it as it is, for the one that knows it. */
export class Newer extends Error {
  override readonly name = 'Newer'
  /** For the log. */
  readonly facts: { imageId: string; reason: string }
  constructor(what: 'job' | 'record', imageId: string, version: number, known: number) {
    const reason = `The ${what} is of version ${version}, and this code knows ${known} at most.`
    super(reason)
    this.facts = { imageId, reason }
  }
}

/** What each later version of a job has in any case. */
const newerJobSchema = z.looseObject({ version: z.int().gt(JOB_VERSION), imageId: imageIdSchema })

/** What S3 sends for an object that was posted with a form (Amazon S3 user guide, event message structure). */
const createdSchema = z.object({
  eventName: z.string().startsWith('ObjectCreated:'),
  s3: z.object({ object: z.object({ key: z.string() }) }),
})
const arrivalSchema = z.object({ Records: z.array(createdSchema).min(1) })
/** The last is what S3 sends once, when its notifications are set up. */
const messageSchema = z.union([jobSchema, arrivalSchema, z.object({ Event: z.literal('s3:TestEvent') })])

/**
 * The jobs that a message of the queue stands for: one of our own, or those of uploads that have arrived.
 *
 * @throws Newer for a job of a later version, Error for a message that is of no known kind
 */
export function readJobs(body: string): Job[] {
  const said: unknown = JSON.parse(body)
  const newer = newerJobSchema.safeParse(said)
  if (newer.success) throw new Newer('job', newer.data.imageId, newer.data.version, JOB_VERSION)
  const message = messageSchema.parse(said)
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

/** The group has SQS take turns between owners (fair queues of a standard queue), so that no backlog holds up another owner's. */
export async function sendJob({ sqs, jobQueueUrl }: JobQueue, job: Job, owner: string): Promise<void> {
  const MessageBody = JSON.stringify(job)
  const MessageGroupId = ownerTag(owner)
  const StringValue = (await xraySpan())?.header
  // Without it the SDK sends that of the function's own invocation.
  const AWSTraceHeader = StringValue && { DataType: 'String', StringValue }
  const traced = AWSTraceHeader ? { MessageSystemAttributes: { AWSTraceHeader } } : {}
  await sqs.send(new SendMessageCommand({ QueueUrl: jobQueueUrl, MessageBody, MessageGroupId, ...traced }))
}

export interface DeadLetterQueue {
  sqs: SQSClient
  deadLetterQueueUrl: string
}

/** For an operator to look at, and to redrive. */
export async function sendDeadLetter(queue: DeadLetterQueue, MessageBody: string): Promise<void> {
  await queue.sqs.send(new SendMessageCommand({ QueueUrl: queue.deadLetterQueueUrl, MessageBody }))
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

/**
 * What answers an event of a kind that a function is not made for (a test of the console, a ping that keeps it warm, a
 * queue that was connected to it by mistake): a line in the log, and SQS keeps its messages.
 */
export function passOver(event: unknown, wanted: string, log: Log) {
  const { Records }: { Records?: unknown } = Object(event)
  say(log, 'passed over', { wanted, has: Object.keys(Object(event)) })
  const ids = (Array.isArray(Records) ? Records : []).map((record) => record?.messageId)
  const known = ids.filter((id) => typeof id === 'string')
  return { batchItemFailures: known.map((itemIdentifier) => ({ itemIdentifier })) }
}

export const EVENT_SOURCE = 'image-analyzer'
export const DETAIL_TYPES = {
  completed: 'Image Analysis Completed',
  failed: 'Image Analysis Failed',
} as const

/** What other systems subscribe to. Published as JSON Schema; a field may be added, none changes its meaning. */
export const eventDetailSchema = z.object({
  version: z.literal('1'),
  /** The same for every repetition of one outcome, so that a subscriber can drop what it has seen. */
  eventId: z.string(),
  imageId: imageIdSchema,
  owner: z.string(),
  status: z.enum(['completed', 'failed']),
  epoch: z.int().min(1),
  completedAt: z.iso.datetime(),
  original: originalSchema,
  thumbnail: thumbnailSchema.optional(),
  /** Flat, so that a rule can match it: `{"detail": {"labels": ["Dog"]}}`. */
  labels: z.array(z.string()).optional(),
  rekognitionLabels: z.array(z.object({ Name: z.string(), Confidence: z.number() })).optional(),
  faceCount: z.int().min(0).optional(),
  /** The strongest emotion of each face, each named once. */
  emotions: z.array(z.string()).optional(),
  /** The labels show no person, so faces were not asked for. */
  facesSkipped: z.literal(true).optional(),
  /** The results are those of an image of the same owner with the same bytes. */
  reused: z.literal(true).optional(),
  /** Calls of Rekognition that were billed in this run, by analysis. */
  paidCalls: paidCallsSchema.optional(),
  failure: failureSchema.optional(),
})
export type EventDetail = z.infer<typeof eventDetailSchema>

/** Bytes of JSON that a detail stays under: small enough for any rule target, and 10 fit one PutEvents call. */
export const MAX_DETAIL_BYTES = 8_192

/**
 * The event of a finished image. It depends on the stored record alone, so announcing twice says the same twice.
 * Labels are given strongest first and as many as fit; the record has them all.
 */
export function eventDetail(image: FinishedImage): EventDetail {
  const { imageId, owner, epoch, completedAt, original } = image
  const eventId = `${imageId}:${epoch}:${image.status}`
  const paid = image.paidCalls === undefined ? {} : { paidCalls: image.paidCalls }
  const common = { version: '1' as const, eventId, imageId, owner, epoch, completedAt, original, ...paid }
  if (image.status === 'failed') return { ...common, status: 'failed', failure: image.failure }

  const strongest = (image.rekognitionLabels ?? []).map(({ Name, Confidence }) => ({ Name, Confidence }))
  strongest.sort((a, b) => b.Confidence - a.Confidence || (a.Name < b.Name ? -1 : 1))
  const emotions = emotionsOf(image.rekognitionFaces)
  const withLabels = (count: number): EventDetail => ({
    ...common,
    status: 'completed',
    thumbnail: image.thumbnail,
    ...(image.labels && {
      labels: strongest.slice(0, count).map((label) => label.Name),
      rekognitionLabels: strongest.slice(0, count),
    }),
    ...(image.faceCount === undefined ? {} : { faceCount: image.faceCount, emotions: [...emotions.keys()] }),
    ...(image.facesSkipped === undefined ? {} : { facesSkipped: image.facesSkipped }),
    ...(image.reused === undefined ? {} : { reused: image.reused }),
  })
  let count = 0
  let most = strongest.length
  for (let tried = most; count < most; tried = Math.ceil((count + most) / 2)) {
    if (Buffer.byteLength(JSON.stringify(withLabels(tried))) < MAX_DETAIL_BYTES) count = tried
    else most = tried - 1
  }
  return withLabels(count)
}

export interface EventBus {
  eventBridge: EventBridgeClient
  /** Name or ARN. */
  eventBus: string
}

/** Entries that one PutEvents call takes (Amazon EventBridge quotas); each is under 8 KB, so size is no limit. */
export const MAX_EVENTS_PER_CALL = 10

/** An event, and the request that submitted the image. */
export type Announcement = { detail: EventDetail } & Pick<FinishedImage, 'origin'>

export const announcementOf = (image: FinishedImage) => ({ detail: eventDetail(image), origin: image.origin })

/**
 * @param announcements at most MAX_EVENTS_PER_CALL
 * @returns for each event, by position, why EventBridge did not take it; undefined where it did
 * @throws Error where the call fails as a whole
 */
export async function putEvents(
  { eventBridge, eventBus }: EventBus,
  announcements: Announcement[],
): Promise<(string | undefined)[]> {
  const { Entries = [] } = await eventBridge.send(
    new PutEventsCommand({
      Entries: announcements.map(({ detail, origin: { traceId, spanId } = {} }) => ({
        EventBusName: eventBus,
        Source: EVENT_SOURCE,
        DetailType: DETAIL_TYPES[detail.status],
        Time: new Date(detail.completedAt),
        Detail: JSON.stringify(detail),
        ...(traceId && { TraceHeader: `Root=${traceId}${spanId ? `;Parent=${spanId};Sampled=1` : ''}` }),
      })),
    }),
  )
  // A call can succeed with entries that failed; the answer has them by position.
  return announcements.map((_, index) => {
    const entry = Entries[index]
    return entry?.EventId !== undefined ? undefined : (entry?.ErrorCode ?? 'no answer for it')
  })
}
