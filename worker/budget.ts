/**
 * Lets work begin while the weights of what is under way stay within a total; the rest waits in order, so that a
 * heavy piece of work is not overtaken for ever by light ones.
 */
export class Budget {
  readonly #total: number
  readonly #atOnce: number
  readonly #waiting: { weight: number; begin: () => void }[] = []
  #used = 0
  #running = 0

  /**
   * @param total the sum of weights at any time; a single weight above it runs alone
   * @param atOnce the most pieces of work at any time
   */
  constructor(total: number, atOnce: number) {
    this.#total = total
    this.#atOnce = atOnce
  }

  async run<T>(weight: number, work: () => Promise<T>): Promise<T> {
    const share = Math.min(weight, this.#total)
    await new Promise<void>((begin) => {
      this.#waiting.push({ weight: share, begin })
      this.#next()
    })
    try {
      return await work()
    } finally {
      this.#used -= share
      this.#running -= 1
      this.#next()
    }
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
