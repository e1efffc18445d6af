import { setTimeout as timer } from 'node:timers/promises'

/** A monotonic clock: setting the wall clock does not change it. */
export interface Clock {
  /** Milliseconds since some moment. */
  elapsed: () => number
  /** Resolves after so many milliseconds; rejects when the signal is aborted, and then leaves nothing behind. */
  sleep: (ms: number, signal?: AbortSignal) => Promise<void>
}

export const machineClock: Clock = {
  elapsed: () => performance.now(),
  sleep: (ms, signal) => timer(ms, undefined, { signal }),
}
