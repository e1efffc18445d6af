import { type EventBridgeClient, PutEventsCommand } from '@aws-sdk/client-eventbridge'
import { DETAIL_TYPES, EVENT_SOURCE, type EventDetail } from '../shared/event.ts'

/** Entries that one PutEvents call takes (Amazon EventBridge quotas); each is under 8 KB, so size is no limit. */
const MAX_ENTRIES = 10
/** Milliseconds that a finished image's event waits for the rest of its batch, before it goes without them. */
const LINGER_MS = 2_000

interface Waiting {
  detail: EventDetail
  resolve: () => void
  reject: (error: unknown) => void
}

/**
 * The events of one batch, sent in as few calls as possible: they go when every image of the batch has either an
 * event or none to give, when a call is full, or when the first has waited long enough.
 */
export class Announcements {
  readonly #eventBridge: EventBridgeClient
  readonly #bus: string
  #waiting: Waiting[] = []
  #expected: number
  #timer: NodeJS.Timeout | undefined

  /** @param expected how many images there are; each has to call `announce` or `pass` once */
  constructor(eventBridge: EventBridgeClient, bus: string, expected: number) {
    this.#eventBridge = eventBridge
    this.#bus = bus
    this.#expected = expected
  }

  /** Resolves when EventBridge has acknowledged this event; another one's refusal does not matter to it. */
  announce(detail: EventDetail): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ detail, resolve, reject })
      this.#timer ??= setTimeout(() => this.#send(), LINGER_MS)
      this.#arrived()
    })
  }

  /** One image fewer to wait for. */
  pass(): void {
    this.#arrived()
  }

  #arrived(): void {
    this.#expected -= 1
    if (this.#expected === 0 || this.#waiting.length === MAX_ENTRIES) this.#send()
  }

  #send(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const sent = this.#waiting
    this.#waiting = []
    if (sent.length > 0) void this.#put(sent)
  }

  async #put(sent: Waiting[]): Promise<void> {
    try {
      const { Entries = [] } = await this.#eventBridge.send(
        new PutEventsCommand({
          Entries: sent.map(({ detail }) => ({
            EventBusName: this.#bus,
            Source: EVENT_SOURCE,
            DetailType: DETAIL_TYPES[detail.status],
            Time: new Date(detail.completedAt),
            Detail: JSON.stringify(detail),
          })),
        }),
      )
      // A call can succeed with entries that failed; they are told by position.
      sent.forEach(({ resolve, reject }, index) => {
        const entry = Entries[index]
        if (entry?.EventId !== undefined) resolve()
        else
          reject(new Error(`EventBridge did not take the event: ${entry?.ErrorCode ?? 'no answer for it'}.`))
      })
    } catch (error) {
      for (const { reject } of sent) reject(error)
    }
  }
}
