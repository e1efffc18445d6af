import type { Sleep } from '../shared/aws.ts'
import { type Announcement, type EventBus, MAX_EVENTS_PER_CALL, putEvents } from '../shared/messages.ts'

/** Milliseconds that a finished image's event waits for the rest of its batch, before it goes without them. */
const LINGER_MS = 2_000

interface Waiting {
  announcement: Announcement
  resolve: () => void
  reject: (error: unknown) => void
}

/**
 * The events of one batch, sent in as few calls as possible: they go when every image of the batch has either an
 * event or none to give, when a call is full, or when the first has waited long enough.
 */
export class Announcements {
  readonly #bus: EventBus
  readonly #sleep: Sleep
  #waiting: Waiting[] = []
  #expected: number
  #lingering: AbortController | undefined

  /** @param expected how many images there are; each has to call `announce` or `pass` once */
  constructor(bus: EventBus, sleep: Sleep, expected: number) {
    this.#bus = bus
    this.#sleep = sleep
    this.#expected = expected
  }

  /** Resolves when EventBridge has acknowledged this event; another one's refusal does not matter to it. */
  announce(announcement: Announcement): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ announcement, resolve, reject })
      if (this.#lingering === undefined) {
        this.#lingering = new AbortController()
        this.#sleep(LINGER_MS, this.#lingering.signal).then(
          () => this.#send(),
          () => {},
        )
      }
      this.#arrived()
    })
  }

  /** One image fewer to wait for. */
  pass(): void {
    this.#arrived()
  }

  #arrived(): void {
    this.#expected -= 1
    if (this.#expected === 0 || this.#waiting.length === MAX_EVENTS_PER_CALL) this.#send()
  }

  #send(): void {
    this.#lingering?.abort()
    this.#lingering = undefined
    const sent = this.#waiting
    this.#waiting = []
    if (sent.length > 0) void this.#put(sent)
  }

  async #put(sent: Waiting[]): Promise<void> {
    try {
      const refused = await putEvents(
        this.#bus,
        sent.map(({ announcement }) => announcement),
      )
      sent.forEach(({ resolve, reject }, index) => {
        const reason = refused[index]
        if (reason === undefined) resolve()
        else reject(new Error(`EventBridge did not take the event: ${reason}.`))
      })
    } catch (error) {
      for (const { reject } of sent) reject(error)
    }
  }
}
