import type { EventBridgeEvent } from 'aws-lambda'
import type { DETAIL_TYPES, EventDetail } from '../../shared/messages.ts'

/** What arrives: EventBridge's envelope around a detail as ../../shared/event.schema.json has it. */
export type ImageEvent = EventBridgeEvent<(typeof DETAIL_TYPES)[keyof typeof DETAIL_TYPES], EventDetail>

/** What a subscriber is for. It throws, and is asked again, if it could not do it. */
export type React = (event: ImageEvent) => Promise<void>

/** @throws Error where it is no event of a finished image: one without an `eventId` cannot be told from another */
export function checkEvent(event: ImageEvent | undefined): ImageEvent {
  if (
    event?.source !== 'image-analyzer' ||
    !event.detail?.eventId ||
    typeof event.detail.eventId !== 'string'
  )
    throw new Error('This is no event of a finished image.')
  return event
}

/** @throws Error where the text is no event of a finished image */
export const readEvent = (text: string): ImageEvent => checkEvent(JSON.parse(text))

/** As text for a log. */
export const inWords = ({ detail }: ImageEvent): string =>
  `${detail.status}  ${detail.imageId}  ${detail.failure?.code ?? detail.labels?.join(', ') ?? ''}`
