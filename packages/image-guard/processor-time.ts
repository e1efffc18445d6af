/** How often it is looked how many decodes share the processor. */
const LOOK_MS = 1_000

/**
 * What the work gives, or the error where it takes longer. Time counts only as far as the work had the processor: that a
 * machine has too much to do, or this process other work, is not the picture's fault.
 *
 * @param sharers pieces of work that now share the time of this process
 */
export async function within<T>(
  seconds: number,
  late: () => Error,
  work: Promise<T>,
  sharers: () => number = () => 1,
): Promise<T> {
  let left = seconds * 1_000
  let last = performance.now()
  let before = process.cpuUsage()
  let timer: NodeJS.Timeout | undefined
  const limit = new Promise<never>((_, reject) => {
    const look = (): void => {
      const { user, system } = process.cpuUsage(before)
      // One thread has no more than the time that has passed.
      left -= Math.min(performance.now() - last, (user + system) / 1_000 / sharers())
      last = performance.now()
      before = process.cpuUsage()
      if (left > 0) timer = setTimeout(look, Math.min(LOOK_MS, left))
      else reject(late())
    }
    timer = setTimeout(look, Math.min(LOOK_MS, left))
  })
  try {
    return await Promise.race([work, limit])
  } finally {
    clearTimeout(timer)
  }
}
