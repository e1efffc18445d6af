import { cpus } from 'node:os'

/** The real ones, also where a test makes time up. */
const { setTimeout } = globalThis
const now = performance.now.bind(performance)

const PAUSE_MS = 50

/** What a second counts where no core is idle: the machine has ten times as long for what it is slow at. */
const LEAST_SHARE = 0.1

/** How long to wait on an idle machine for what takes a second there. */
const PATIENCE_MS = 20_000

/** The deadline for tools that know only the time of day: the longest that `until` waits. */
export const LONGEST_MS = PATIENCE_MS / LEAST_SHARE

/**
 * How much of the time that has passed was there for what is waited for: all of it on an idle machine, a tenth on one
 * whose cores are all busy, or that lets this process itself come late.
 *
 * @param pauseMs how long a pause of 50 ms took
 */
export function counted(ms: number, pauseMs: number, machine: { idle: number; all: number }): number {
  const idle = machine.all > 0 ? machine.idle / machine.all : 0
  return ms * Math.max(LEAST_SHARE, Math.min(idle, PAUSE_MS / pauseMs))
}

/** Milliseconds of all cores since they started. */
function machineTime(): { idle: number; all: number } {
  const times = cpus().map((cpu) => cpu.times)
  const idle = times.reduce((sum, time) => sum + time.idle, 0)
  return { idle, all: times.reduce((sum, time) => sum + time.user + time.nice + time.sys + time.irq, idle) }
}

/** Milliseconds of the processor that this process has had, whatever else the machine has to do. */
export function processorMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1_000
}

/**
 * Waits for a condition, never for a time. It fails when the machine had the time for it and nothing came of it, not
 * because other processes keep the machine busy.
 *
 * @param ms on an idle machine; ten times as long at the most
 */
export async function until<T>(
  what: string,
  look: () => Promise<T | undefined>,
  ms = PATIENCE_MS,
): Promise<T> {
  let last = now()
  let machine = machineTime()
  for (let waited = 0; ; ) {
    const found = await look()
    if (found !== undefined) return found
    if (waited > ms) throw new Error(`Not within ${ms} ms of an idle machine: ${what}`)
    const paused = now()
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
    const [present, after] = [now(), machineTime()]
    const spent = { idle: after.idle - machine.idle, all: after.all - machine.all }
    waited += counted(present - last, present - paused, spent)
    last = present
    machine = after
  }
}
