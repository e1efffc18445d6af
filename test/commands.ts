import type { EventEmitter } from 'node:events'
import { resolve } from 'node:path'
import { vi } from 'vitest'
import { root } from './started.ts'

/** For each run the file that is started is loaded again. */
let loads = 0

class Exit extends Error {
  readonly code: unknown
  constructor(code: unknown) {
    super(`exit ${code}`)
    this.code = code
  }
}

/** What a command listens to until its process ends. */
const LISTENED: [EventEmitter, name: string][] = [
  [process, 'SIGINT'],
  [process, 'SIGTERM'],
  [process.stdout, 'error'],
  [process.stderr, 'error'],
]

/**
 * What a command that soon ends says to its standard error and prints, and its exit code: in this process, which has loaded nearly
 * all of it, for those of whom only that is tested. One at a time: all of them have the same standard output.
 *
 * @param file what Node would start, from the root on
 */
export async function outcome(
  file: string,
  args: string[],
  env: Record<string, string> = {},
): Promise<{ exit: unknown; said: string; printed: string }> {
  const said: string[] = []
  const printed: string[] = []
  const write = (text: unknown): boolean => said.push(String(text).trimEnd()) > 0
  const { argv, exitCode } = process
  const before = LISTENED.map(([emitter, name]) => emitter.listeners(name))
  const spies = [
    vi.spyOn(console, 'error').mockImplementation(write),
    vi.spyOn(process.stderr, 'write').mockImplementation(write),
    vi.spyOn(console, 'log').mockImplementation((text) => void printed.push(`${text}\n`)),
    vi.spyOn(process.stdout, 'write').mockImplementation((text) => printed.push(String(text)) > 0),
    vi.spyOn(process, 'exit').mockImplementation((code) => {
      throw new Exit(code)
    }),
  ]
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value)
  try {
    process.argv = [process.execPath, resolve(root, file), ...args]
    loads += 1
    const exit = await import(`${resolve(root, file)}?${loads}`).then(
      () => process.exitCode,
      (error: unknown) => {
        if (error instanceof Exit) return error.code
        said.push((error as Error).stack ?? '')
        return 1
      },
    )
    return { exit, said: said.join('\n'), printed: printed.join('') }
  } finally {
    for (const spy of spies) spy.mockRestore()
    for (const [at, [emitter, name]] of LISTENED.entries())
      for (const listener of emitter.listeners(name))
        if (!before[at]?.includes(listener)) emitter.removeListener(name, listener as () => void)
    vi.unstubAllEnvs()
    process.argv = argv
    process.exitCode = exitCode
  }
}
