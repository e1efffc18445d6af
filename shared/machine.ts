import type { clientOptions } from './aws.ts'

/** What the programs for one machine share, `npm start` and `npm run rekognition`: how they fail to start, end, and ask AWS. */

/** Trouble at the start that a person can mend, in one sentence. */
export class StartError extends Error {}

/**
 * @param wanted the port that could not be had
 * @param another how to choose another one
 */
export const portTrouble =
  (wanted: number, another: (port: number) => string) =>
  (error: NodeJS.ErrnoException): never => {
    if (error.code === 'EADDRINUSE') {
      throw new StartError(
        `Port ${wanted} is in use, perhaps by another image-analyzer; choose another with ${another(wanted + 1)}.`,
      )
    }
    if (error.code === 'EACCES') {
      throw new StartError(
        `Port ${wanted} needs rights that you do not have; choose one above 1023, as with ${another(wanted + 8_000)}.`,
      )
    }
    throw new StartError(error.message)
  }

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
    process.stdout.write('Stopping …\n')
    // The contract gives 5 seconds. What a busy machine does not finish by then stays in the queue, as after a crash.
    setTimeout(() => process.exit(0), 4_500).unref()
    await stop()
    process.exit(0)
  }
  process.on('SIGINT', end)
  process.on('SIGTERM', end)
  return () => stopping > 0
}

/** What ends a part of a program. */
export type Undo = (() => Promise<void> | void)[]

/**
 * Opens what can be stopped: its parts end in reverse order, also where the last of them cannot be opened.
 *
 * @param open adds what ends each part
 */
export async function stoppable<T>(
  open: (undo: Undo) => Promise<T>,
): Promise<T & { stop: () => Promise<void> }> {
  const undo: Undo = []
  const stop = async (): Promise<void> => {
    for (const step of undo.splice(0).reverse()) await step()
  }
  try {
    return { ...(await open(undo)), stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** Connections to each service: at least three for each image in flight (two batches of ten). */
export const SOCKETS = 64
/** For a turn at a socket and for an answer, where AWS is another endpoint; for 5 MB a line at home needs some seconds. */
export const ELSEWHERE_TIMEOUT_MS = 30_000
const PATIENCE_MS = 300_000

/**
 * Options of a client whose emulator is in the same process: what it waits for is its own turn, and for one of its
 * sockets, which the SDK counts as the time to connect. With the usual second for that, the 65th request at a time would
 * fail as soon as the first ones take longer.
 *
 * @param ms to wait for a turn, and for an answer
 */
export const patient = <Options extends ReturnType<typeof clientOptions>>(
  options: Options,
  ms = PATIENCE_MS,
): Options => ({
  ...options,
  requestHandler: { ...options.requestHandler, connectionTimeout: ms, requestTimeout: ms },
})
