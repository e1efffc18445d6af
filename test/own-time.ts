import type { Sleep } from '../shared/aws.ts'
import { limitersFor } from '../worker/limiter.ts'
import type { TestSystem } from './context.ts'
import { until } from './until.ts'

export interface OwnTime {
  /** Milliseconds since it began. */
  now: () => number
  /** Lets time go by, and wakes in order of their times who waits for it. */
  pass: (ms: number) => void
  /** The milliseconds for which those sleep who do now. */
  asleep: () => number[]
}

/**
 * Gives the system's worker a time of its own, which stands still while there is work, however slow the machine is. It
 * goes by where a test says so, and where a call waits for the limiter.
 *
 * @param firstRate calls a second that the limiters begin with
 */
export function ownTime(system: TestSystem, firstRate?: number): OwnTime {
  const began = system.worker.now().getTime()
  let time = 0
  let sleepers: { until: number; ms: number; wake: () => void }[] = []
  const pass = (ms: number): void => {
    const end = time + ms
    for (;;) {
      const [next] = sleepers.filter(({ until }) => until <= end).sort((a, b) => a.until - b.until)
      if (next === undefined) break
      time = Math.max(time, next.until)
      sleepers = sleepers.filter((other) => other !== next)
      next.wake()
    }
    time = end
  }
  const sleep: Sleep = (ms, signal) =>
    new Promise((resolve, reject) => {
      const sleeper = { until: time + ms, ms, wake: resolve }
      sleepers.push(sleeper)
      signal?.addEventListener('abort', () => {
        sleepers = sleepers.filter((other) => other !== sleeper)
        reject(signal.reason)
      })
    })
  const clock = { now: () => new Date(began + time), elapsed: () => time, sleep }
  Object.assign(system.worker, clock)
  /** When the limiters' naps end: time goes to the first of these, and not past it. */
  const naps: number[] = []
  system.worker.limiters = limitersFor({
    ...clock,
    ...{ random: Math.random, ...(firstRate === undefined ? {} : { firstRate }) },
    sleep: async (ms) => {
      const end = time + ms
      naps.push(end)
      while (time < end) {
        await new Promise(setImmediate)
        pass(Math.max(0, Math.min(...naps) - time))
      }
      naps.splice(naps.indexOf(end), 1)
    },
  })
  return { now: () => time, pass, asleep: () => sleepers.map(({ ms }) => ms) }
}

/** What comes of it, or `hangs` where nothing does. */
export const orHangs = async <T>(work: Promise<T>): Promise<T | 'hangs'> => {
  let outcome: { value: T } | undefined
  const ended = work.then((value) => {
    outcome = { value }
  })
  await Promise.race([ended, until('an end', async () => outcome).catch(() => 'hangs')])
  return outcome === undefined ? 'hangs' : (outcome as { value: T }).value
}
