/**
 * Ends this process in order at the first Ctrl-C or SIGTERM, and at once at the second.
 *
 * @returns whether it is ending
 */
export function endInOrder(stop: () => Promise<void>): () => boolean {
  let stopping = 0
  async function end(): Promise<void> {
    // One Ctrl-C can arrive twice: from the terminal, and passed on by the process that started this one.
    if (stopping > 0 && performance.now() - stopping > 500) process.exit(130)
    if (stopping > 0) return
    stopping = performance.now()
    console.log('Stopping …')
    // The contract gives 5 seconds; what hangs beyond them is left behind.
    setTimeout(() => {
      console.error('The end takes too long: what is not finished stays in the queue.')
      process.exit(1)
    }, 4_500).unref()
    await stop()
    process.exit(0)
  }
  process.on('SIGINT', end)
  process.on('SIGTERM', end)
  return () => stopping > 0
}
