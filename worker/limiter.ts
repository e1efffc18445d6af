import type { Elapsed } from '../shared/aws.ts'
import type { MonthlyBudget } from '../shared/config.ts'
import type { PaidAnalysis } from '../shared/image.ts'
import type { Records } from '../shared/lifecycle.ts'
import { type Log, say } from '../shared/log.ts'
import { monthOf, reserveCalls } from '../shared/table.ts'

/**
 * Calls a second with which a process begins without a setting: ten of them may begin together where 5 a second are served to
 * all. Until it is throttled by a service that serves, each served answer makes the rate higher by a tenth: ten a second after 13.
 */
const FIRST_RATE = 3
const FIRST_GROWTH = 0.1
/** Calls a second: however long it is throttled, a process asks again about every ten seconds. */
const LEAST_RATE = 0.1
const LONGEST_PAUSE_MS = 10_000
/**
 * Seconds of calls that may be saved while none is wanted, so that the gap between two batches costs nothing. The
 * service saves as much (Amazon's quota and the stand-in hold one second's worth); a frozen process saves no more.
 */
const SAVED_SECONDS = 1
/** Savings are spent at three times the rate, not at once: the first throttled answers are back before all are sent. */
const SPENDING = 3
/**
 * The part of the rate that a throttled answer takes. At first 15 %, as long as little is served between two of them: 28 find a
 * hundredth of the rate (0.85 ^ 28). Then less, down to 2 %, which is about how far the rate swings around the quota in the end:
 * three quarters each time that a row of served answers came before, and a part of that where the row was short, since the rate is
 * far from the quota then. A given share begins at the last step.
 */
const FIRST_STEP = 0.15
const STEP_DECAY = 0.75
const NEAR_ROW = 10
const LAST_STEP = 0.02
/** In a longer row nothing is served to anybody. Then it is the pause that grows, and the rate is there when it ends. */
const MOST_STEPS_IN_ROW = 8
/**
 * This many served answers outweigh a throttled one, which settles the rate where about 1 in 34 is throttled: 3 %.
 * If more than so many are served in a row, the quota has grown, and growth gains speed: n of them make the rate
 * e ^ (0.02 / 33 × n² / 66) times as high, which is twice after 275, ten times after 501.
 */
const SERVED_PER_THROTTLED = 33
/**
 * The pause after a throttled answer, as a part of the time between two calls: with a given share a token is about to come; a
 * process that learns leaves the next ones to others, and the service's savings grow again.
 */
const SHARE_PAUSE = 0.125
const LEARNER_PAUSE = 1.25
const LONGEST_FIRST_PAUSE_MS = 2_000
/** Looks around at least so often, for a caller that came later and can wait less long than the others. */
const LONGEST_NAP_MS = 1_000

export interface LimiterOptions {
  /** Calls a second: this process's share of the quota, where it begins and its most. Undefined: to be learned. */
  callsPerSecond?: number | undefined
  /** Calls a second where learning begins. */
  firstRate?: number | undefined
  elapsed: Elapsed
  sleep: (ms: number) => Promise<void>
  /** 0 to 1. What keeps processes apart that were started together. */
  random: () => number
}

/** The time that a caller had was over before its turn came. */
export class TurnTooLate extends Error {
  constructor() {
    super('The calls before this one left it no time.')
    this.name = 'TurnTooLate'
  }
}

export type Ends = { until: number; signal?: AbortSignal }
interface Turn {
  number: number
  ends: Ends
  /** @param limited whether the call had to wait because the rate was too low */
  begin: (limited: boolean) => void
  giveUp: () => void
}

/**
 * Learns a quota of calls a second from throttled answers, and keeps to it: a token bucket whose rate falls by a step
 * with each throttled answer and grows by a small part of it with each served one. Calls begin in order of arrival; one
 * that was throttled keeps its place. Only served calls use up tokens, since only these use up the quota. Without
 * waiting callers it has no timer.
 */
export class Limiter {
  readonly #options: LimiterOptions
  readonly #now: Elapsed
  readonly #most: number
  readonly #waiting: Turn[] = []
  #rate: number
  #step: number
  /** A part of a token at first: processes that are started together are out of phase from the first call on. */
  #tokens: number
  #filledAt: number
  /** No call before this, even with tokens. As all moments here, by `elapsed`. */
  #pausedUntil = Number.NEGATIVE_INFINITY
  #slowedAt = Number.NEGATIVE_INFINITY
  #servedInRow = 0
  #throttledInRow = 0
  #isFirstGrowth: boolean
  #arrivals = 0
  #running = false

  constructor(options: LimiterOptions) {
    this.#options = options
    this.#now = options.elapsed
    this.#most = options.callsPerSecond ?? Number.POSITIVE_INFINITY
    this.#rate = options.callsPerSecond ?? options.firstRate ?? FIRST_RATE
    this.#step = options.callsPerSecond === undefined ? FIRST_STEP : LAST_STEP
    this.#isFirstGrowth = options.callsPerSecond === undefined
    this.#tokens = options.random()
    this.#filledAt = this.#now()
  }

  /** Calls a second, as a person reads them. */
  get rate(): number {
    return Number(this.#rate.toPrecision(3))
  }

  /**
   * Makes the call when its turn comes, and again after each throttled answer.
   *
   * @param ends until when, by `elapsed`, the call may begin, and what ends that before; one under way is not cut short
   * @throws the last throttling error, or TurnTooLate without one, when that is over (at most a second after it);
   *   any other error of the call, at once
   */
  async run<T>(call: () => Promise<T>, isThrottled: (error: unknown) => boolean, ends: Ends): Promise<T> {
    const number = this.#arrivals++
    let reason: unknown = new TurnTooLate()
    for (;;) {
      const limited = await this.#turn(number, ends, reason)
      const begunAt = this.#now()
      try {
        const answer = await call()
        this.#served(limited)
        return answer
      } catch (error) {
        if (!isThrottled(error)) throw error
        reason = error
        this.#throttled(begunAt)
      }
    }
  }

  #isOver = ({ until, signal }: Ends): boolean => until <= this.#now() || signal?.aborted === true

  #turn(number: number, ends: Ends, reason: unknown): Promise<boolean> {
    if (this.#isOver(ends)) return Promise.reject(reason)
    return new Promise((begin, reject) => {
      const after = this.#waiting.findIndex((other) => other.number > number)
      const turn = { number, ends, begin, giveUp: () => reject(reason) }
      this.#waiting.splice(after === -1 ? this.#waiting.length : after, 0, turn)
      if (!this.#running) void this.#serveWaiting()
    })
  }

  async #serveWaiting(): Promise<void> {
    this.#running = true
    for (let napped = false; ; napped = true) {
      this.#dismissLate()
      for (let wait = this.#waitMs(); this.#waiting.length > 0 && wait <= 0; wait = this.#waitMs()) {
        // A wait with savings in hand was for the pace or a pause, and no sign that the rate is too low.
        this.#waiting.shift()?.begin(napped && this.#tokens < 2)
        this.#tokens -= 1
        this.#pausedUntil = this.#now() + 1_000 / (this.#rate * SPENDING)
      }
      if (this.#waiting.length === 0) break
      const left = Math.min(...this.#waiting.map(({ ends }) => ends.until)) - this.#now()
      await this.#options.sleep(Math.ceil(Math.min(this.#waitMs(), left, LONGEST_NAP_MS)))
    }
    this.#running = false
  }

  #dismissLate(): void {
    for (const turn of this.#waiting.filter(({ ends }) => this.#isOver(ends))) {
      this.#waiting.splice(this.#waiting.indexOf(turn), 1)
      turn.giveUp()
    }
  }

  /** Milliseconds until the next call may begin. */
  #waitMs(): number {
    const now = this.#now()
    const earned = (Math.max(0, now - this.#filledAt) / 1_000) * this.#rate
    this.#tokens = Math.min(this.#tokens + earned, Math.max(1, this.#rate * SAVED_SECONDS))
    this.#filledAt = now
    return Math.max(this.#pausedUntil - now, ((1 - this.#tokens) / this.#rate) * 1_000)
  }

  #served(limited: boolean): void {
    this.#throttledInRow = 0
    // Who asks for less than the rate learns nothing about the quota.
    if (!limited) return
    this.#servedInRow += 1
    const usual = (this.#step / SERVED_PER_THROTTLED) * Math.max(1, this.#servedInRow / SERVED_PER_THROTTLED)
    const growth = this.#isFirstGrowth ? Math.max(usual, FIRST_GROWTH) : usual
    this.#rate = Math.min(this.#rate * (1 + growth), this.#most)
  }

  #throttled(begunAt: number): void {
    const now = this.#now()
    // The token comes back, but savings are gone: the service has none left.
    this.#tokens = Math.min(this.#tokens + 1, 1)
    const part = this.#most === Number.POSITIVE_INFINITY ? LEARNER_PAUSE : SHARE_PAUSE
    const first = Math.min((1_000 / this.#rate) * part, LONGEST_FIRST_PAUSE_MS)
    // Twice as long each time that no token has come.
    const pause = first * 2 ** this.#throttledInRow * (0.5 + this.#options.random())
    this.#pausedUntil = now + Math.min(pause, LONGEST_PAUSE_MS)
    // Calls that were under way when the rate was last lowered say the same thing again.
    if (begunAt < this.#slowedAt) return
    this.#slowedAt = now
    this.#throttledInRow += 1
    if (this.#throttledInRow <= MOST_STEPS_IN_ROW) {
      this.#rate = Math.max(this.#rate * (1 - this.#step), Math.min(LEAST_RATE, this.#most))
    }
    const nearness = Math.min(1, this.#servedInRow / NEAR_ROW)
    this.#step = Math.max(this.#step * STEP_DECAY ** nearness, LAST_STEP)
    if (this.#servedInRow > 0) this.#isFirstGrowth = false
    this.#servedInRow = 0
  }
}

/** One for each operation of Rekognition. */
export const forEachPaid = <T>(make: (name: PaidAnalysis) => T): Record<PaidAnalysis, T> => ({
  labels: make('labels'),
  faces: make('faces'),
  moderation: make('moderation'),
  text: make('text'),
})
export const limitersFor = (options: LimiterOptions) => forEachPaid(() => new Limiter(options))

/** Calls that a process reserves at a time, and so the most that a killed one has taken from the budget for nothing. */
const RESERVED = 10
/** No more than this part of what is left, so the last 199 one by one: a process keeps none of those from the others. */
const RESERVED_PART = 1 / 100
/** Milliseconds for which a process believes that the budget is spent, before it asks again. */
const SPENT_MS = 60_000

/** The image waits, as where its turn comes too late; the attempt does not count. */
export class OverBudget extends TurnTooLate {
  override readonly message = 'The monthly budget of Rekognition is spent.'
}

export type PurseDeps = Pick<Records, 'now' | 'dynamo' | 'table'> & { elapsed: Elapsed; log: Log }

/**
 * A month's calls. They are reserved before they are made, some at a time, so that all processes together never make more;
 * where the budget only rings they do, and the log says so.
 *
 * @returns takes one, and gives what puts it back where it was not billed. @throws OverBudget
 */
export function createPurse(
  { log, now, elapsed, dynamo, table }: PurseDeps,
  { calls, action }: MonthlyBudget,
): () => Promise<() => void> {
  const most = action === 'alarm' ? undefined : calls
  /** How much of a month's budget is left is not known before the first of its calls is reserved. */
  const unopened = (month: string) => ({ month, left: 0, next: 1, spentUntil: Number.NEGATIVE_INFINITY })
  let purse = unopened('')
  let reserving: Promise<void> | undefined
  /** What is of a month that is over is lost. */
  const add = (of: string, count: number): void => {
    if (of === purse.month) purse.left += count
  }

  const reserve = async (): Promise<void> => {
    const of = purse.month
    // One, where other processes have reserved the rest.
    for (const wanted of new Set([purse.next, 1])) {
      const reserved = await reserveCalls({ dynamo, table }, of, wanted, most)
      if (reserved === undefined) continue
      add(of, wanted)
      const part = Math.floor(Math.abs(calls - reserved) * RESERVED_PART)
      purse.next = Math.min(Math.max(part, 1), RESERVED)
      if (reserved <= calls) return
      break
    }
    if (elapsed() < purse.spentUntil) return
    purse.spentUntil = elapsed() + SPENT_MS
    say(log, 'budget spent', { budget: calls })
  }

  return async () => {
    for (;;) {
      const current = monthOf(now())
      if (current !== purse.month) purse = unopened(current)
      if (purse.left > 0) {
        purse.left -= 1
        return () => add(current, 1)
      }
      if (action !== 'alarm' && elapsed() < purse.spentUntil) throw new OverBudget()
      reserving ??= reserve().finally(() => {
        reserving = undefined
      })
      await reserving
    }
  }
}
