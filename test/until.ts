import { cpus } from 'node:os'
import { deflateSync } from 'node:zlib'

/** The real ones, also where a test makes time up. */
const { setTimeout, setInterval, clearInterval } = globalThis
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

/** A deadline that is over when this process has had its time of the machine. */
export class Patience {
  readonly #ms: number
  #spent = 0
  #last = now()
  #machine = machineTime()

  /** @param ms on an idle machine; ten times as long at the most */
  constructor(ms: number) {
    this.#ms = ms
  }

  /** Milliseconds that count, so far. @param pauseMs how long the last pause of 50 ms took */
  spent(pauseMs = PAUSE_MS): number {
    const [present, machine] = [now(), machineTime()]
    this.#spent += counted(present - this.#last, pauseMs, {
      idle: machine.idle - this.#machine.idle,
      all: machine.all - this.#machine.all,
    })
    this.#last = present
    this.#machine = machine
    return this.#spent
  }

  isOver(pauseMs?: number): boolean {
    return this.spent(pauseMs) > this.#ms
  }

  /** Begins again, because something has moved. */
  restart(): void {
    this.spent()
    this.#spent = 0
  }
}

export class OutOfPatience extends Error {
  override readonly name = 'OutOfPatience'
  constructor(what: string, ms: number) {
    super(`Not within ${ms} ms of an idle machine: ${what}`)
  }
}

/**
 * Waits for a condition, never for a time. It fails when the machine had the time for it and nothing came of it, not
 * because other processes keep the machine busy.
 *
 * @throws OutOfPatience
 */
export async function until<T>(
  what: string,
  look: () => Promise<T | undefined>,
  ms = PATIENCE_MS,
): Promise<T> {
  const patience = new Patience(ms)
  for (let isOver = false; ; ) {
    const found = await look()
    if (found !== undefined) return found
    if (isOver) throw new OutOfPatience(what, ms)
    const paused = now()
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
    // There is one more look after that.
    isOver = patience.isOver(now() - paused)
  }
}

/** Work whose signal is aborted, with OutOfPatience, when the machine had the time for it. */
export async function patiently<T>(
  what: string,
  ms: number,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const late = new AbortController()
  const patience = new Patience(ms)
  const timer = setInterval(() => {
    if (patience.isOver()) late.abort(new OutOfPatience(what, ms))
  }, 5 * PAUSE_MS)
  try {
    return await work(late.signal)
  } finally {
    clearInterval(timer)
  }
}

/** Milliseconds of the processor that this process has had. */
export function processorMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1_000
}

/** Milliseconds of the processor that `slowdown` took, by turns, on two quiet cores of a server. */
const QUIET_MS = 110

/** How many times as long as there the processor takes for the same work at this moment, beside other programs; at least 1. */
function slowdown(): number {
  const noise = Buffer.alloc(4_000_000)
  let seed = 1
  for (let index = 0; index < noise.length; index += 1) {
    seed ^= seed << 13
    seed ^= seed >>> 17
    seed ^= seed << 5
    noise[index] = seed & 63
  }
  const before = processorMs()
  deflateSync(noise)
  return Math.max(1, (processorMs() - before) / QUIET_MS)
}

/**
 * Milliseconds of the processor as they would be on a quiet machine, where the caches are not shared with other programs. It
 * is looked at only where it matters.
 *
 * @param most what is expected at the most
 */
export const quietMs = (ms: number, most: number): number => (ms < most ? ms : ms / slowdown())
