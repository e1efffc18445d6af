interface Due {
  at: number
  order: number
  run: () => void
}

/**
 * A clock that stands still while anything runs, and then jumps to what is due next. What is due at the same time runs
 * in an order that the seed decides.
 */
export class VirtualClock {
  /** Milliseconds since 1970; the true time, which is never set. */
  time = Date.UTC(2026, 0, 1)
  readonly #random: () => number
  /** A binary heap: the earliest first. */
  readonly #due: Due[] = []

  constructor(random: () => number) {
    this.#random = random
  }

  after(ms: number, run: () => void): void {
    const heap = this.#due
    const due = { at: this.time + Math.max(0, ms), order: this.#random(), run }
    let index = heap.push(due) - 1
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (!earlier(due, heap[parent] as Due)) break
      heap[index] = heap[parent] as Due
      index = parent
    }
    heap[index] = due
  }

  sleep = (ms: number): Promise<void> => new Promise((resolve) => this.after(ms, resolve))

  /**
   * Goes from one due time to the next.
   *
   * @param until looked at after each step
   * @param limit ms since 1970 at which it stops in any case
   * @returns whether `until` came true
   */
  async run(until: () => boolean, limit = Number.POSITIVE_INFINITY): Promise<boolean> {
    await settled()
    while (!until()) {
      const next = this.#due[0]
      if (next === undefined || next.at > limit) {
        this.time = Math.max(this.time, Math.min(limit, next?.at ?? limit))
        return false
      }
      this.#takeFirst()
      this.time = next.at
      next.run()
      await settled()
    }
    return true
  }

  #takeFirst(): void {
    const heap = this.#due
    const last = heap.pop() as Due
    if (heap.length === 0) return
    let index = 0
    for (;;) {
      let child = 2 * index + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && earlier(heap[child + 1] as Due, heap[child] as Due)) child += 1
      if (!earlier(heap[child] as Due, last)) break
      heap[index] = heap[child] as Due
      index = child
    }
    heap[index] = last
  }
}

const earlier = (one: Due, other: Due): boolean =>
  one.at < other.at || (one.at === other.at && one.order < other.order)

/** Comes after every promise and every nextTick that is on its way. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
