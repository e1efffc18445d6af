import { type EventBridgeClient, PutEventsCommand } from '@aws-sdk/client-eventbridge'
import * as z from 'zod'
import { type FinishedImage, failureSchema, imageIdSchema, originalSchema, thumbnailSchema } from './image.ts'

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
  /** The results are those of an image of the same owner with the same bytes. */
  reused: z.literal(true).optional(),
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
  const common = {
    version: '1' as const,
    eventId: `${image.imageId}:${image.epoch}:${image.status}`,
    imageId: image.imageId,
    owner: image.owner,
    epoch: image.epoch,
    completedAt: image.completedAt,
    original: image.original,
  }
  if (image.status === 'failed') return { ...common, status: 'failed', failure: image.failure }

  const strongest = (image.rekognitionLabels ?? [])
    .map(({ Name, Confidence }) => ({ Name, Confidence }))
    .sort((a, b) => b.Confidence - a.Confidence || (a.Name < b.Name ? -1 : 1))
  const emotions = (image.rekognitionFaces ?? []).flatMap((face) => {
    const [top] = [...(face.Emotions ?? [])].sort((a, b) => (b.Confidence ?? 0) - (a.Confidence ?? 0))
    return top?.Type === undefined ? [] : [top.Type]
  })
  const withLabels = (count: number): EventDetail => ({
    ...common,
    status: 'completed',
    thumbnail: image.thumbnail,
    ...(image.labels === undefined
      ? {}
      : {
          labels: strongest.slice(0, count).map((label) => label.Name),
          rekognitionLabels: strongest.slice(0, count),
        }),
    ...(image.faceCount === undefined
      ? {}
      : { faceCount: image.faceCount, emotions: [...new Set(emotions)] }),
    ...(image.reused === undefined ? {} : { reused: image.reused }),
  })
  let count = strongest.length
  while (count > 0 && Buffer.byteLength(JSON.stringify(withLabels(count))) >= MAX_DETAIL_BYTES) count -= 1
  return withLabels(count)
}

export interface EventBus {
  eventBridge: EventBridgeClient
  /** Name or ARN. */
  eventBus: string
}

/** Entries that one PutEvents call takes (Amazon EventBridge quotas); each is under 8 KB, so size is no limit. */
export const MAX_EVENTS_PER_CALL = 10

/**
 * @param details at most MAX_EVENTS_PER_CALL
 * @returns for each event, by position, why EventBridge did not take it; undefined where it did
 * @throws whatever made the call fail as a whole
 */
export async function putEvents(
  { eventBridge, eventBus }: EventBus,
  details: EventDetail[],
): Promise<(string | undefined)[]> {
  const { Entries = [] } = await eventBridge.send(
    new PutEventsCommand({
      Entries: details.map((detail) => ({
        EventBusName: eventBus,
        Source: EVENT_SOURCE,
        DetailType: DETAIL_TYPES[detail.status],
        Time: new Date(detail.completedAt),
        Detail: JSON.stringify(detail),
      })),
    }),
  )
  // A call can succeed with entries that failed; they are told by position.
  return details.map((_, index) => {
    const entry = Entries[index]
    return entry?.EventId !== undefined ? undefined : (entry?.ErrorCode ?? 'no answer for it')
  })
}
