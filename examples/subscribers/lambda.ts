import { checkEvent, type ImageEvent, type React } from './event.ts'
import type { Once } from './once.ts'

/**
 * A Lambda function that EventBridge invokes for the events of a rule, here those with the label `Dog`. What it throws is
 * tried twice more by Lambda; then the event goes to the dead-letter queue.
 */
export const buildHandler =
  (once: Once, react: React) =>
  async (event: ImageEvent): Promise<void> => {
    await once(checkEvent(event).detail.eventId, () => react(event))
  }
