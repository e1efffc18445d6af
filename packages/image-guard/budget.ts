interface Limits<T> {
  inTime?: (work: Promise<T>) => Promise<T>
  signal?: AbortSignal | undefined
}

/**
 * Lets work begin while the weights of what is under way stay within a total; the rest waits in order, so that a
 * heavy piece of work is not overtaken for ever by light ones.
 */
export class Budget {
  readonly #total: number
  readonly #atOnce: number
  readonly #waiting: { weight: number; begin: () => void }[] = []
  #used = 0
  /** Pieces of work under way. */
  #running = 0
  get running(): number {
    return this.#running
  }

  /**
   * @param total the sum of weights at any time; a single weight above it runs alone
   * @param atOnce the most pieces of work at any time
   */
  constructor(total: number, atOnce = Number.POSITIVE_INFINITY) {
    this.#total = total
    this.#atOnce = atOnce
  }

  /**
   * @param inTime what is answered of the work once it has begun, and by when. In any case the work keeps its share
   *   until it ends, because no thread of libvips can be stopped.
   * @param signal aborted when it is too late to begin; what has begun continues
   * @throws the signal's reason
   */
  async run<T>(
    weight: number,
    work: () => Promise<T>,
    { inTime = (begun) => begun, signal }: Limits<T> = {},
  ): Promise<T> {
    const share = Math.min(weight, this.#total)
    await this.#turn(share, signal)
    const begun = work()
    const end = (): void => {
      this.#used -= share
      this.#running -= 1
      this.#next()
    }
    begun.then(end, end)
    return inTime(begun)
  }

  #turn(weight: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted()
      const begin = (): void => {
        signal?.removeEventListener('abort', leave)
        resolve()
      }
      const turn = { weight, begin }
      const leave = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(turn), 1)
        reject(signal?.reason)
        // It may have been the heavy one that held up the others.
        this.#next()
      }
      signal?.addEventListener('abort', leave, { once: true })
      this.#waiting.push(turn)
      this.#next()
    })
  }

  #next(): void {
    for (
      let [first] = this.#waiting;
      first !== undefined && this.#running < this.#atOnce && this.#used + first.weight <= this.#total;
      [first] = this.#waiting
    ) {
      this.#waiting.shift()
      this.#used += first.weight
      this.#running += 1
      first.begin()
    }
  }
}
