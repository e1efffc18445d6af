import { readdirSync, readFileSync } from 'node:fs'
import { getPriority, setPriority } from 'node:os'
import { parentPort } from 'node:worker_threads'
import type { Log } from '../shared/log.ts'
import { StartError } from '../shared/machine.ts'
import { openBackground } from './background.ts'
import type { Settings } from './environment.ts'
import type { Asked, Background, Said } from './thread.ts'

/** The thread of local/thread.ts. */
const say = (said: Said): void => parentPort?.postMessage(said)

const write =
  (level: keyof Omit<Log, 'namespace' | 'gather'>) =>
  (message: string, extra: Record<string, unknown>): void =>
    say({
      level,
      message,
      facts: Object.entries(extra).map(([key, value]) =>
        value instanceof Error ? [key, copyOf(value), value.name] : [key, copyOf(value)],
      ),
    })
const log: Log = { info: write('info'), warn: write('warn'), error: write('error') }

/** What cannot be copied to another thread, like a socket in an error's cause, is not worth the line. */
function copyOf(value: unknown): unknown {
  try {
    return structuredClone(value)
  } catch {
    return value instanceof Error ? new Error(value.message) : String(value)
  }
}

let background: Background | undefined

async function open(settings: Settings): Promise<void> {
  try {
    background = await openBackground(settings, log)
    const { begin, warm, stop, ...opened } = background
    say({ opened })
  } catch (error) {
    say(error instanceof StartError ? { refused: error.message } : { failed: copyOf(error) })
    process.exit()
  }
}

/**
 * How much lower than that of the API and of AWS the priority of what decodes is, on Linux, which alone has one for each
 * thread: on a busy machine people's requests come first. (That of the models: packages/vision/worker.ts.)
 */
const DECODERS = 10
function lowerDecoders(): void {
  if (process.platform !== 'linux') return
  const lower = Math.min(19, getPriority() + DECODERS)
  try {
    for (const id of readdirSync('/proc/self/task')) {
      const name = readFileSync(`/proc/self/task/${id}/comm`, 'utf8')
      if (/^lib(uv|vips)/.test(name)) setPriority(Number(id), lower)
    }
  } catch {
    // A thread has just ended, or there is no /proc: answers take longer under load, and are the same.
  }
}

parentPort?.on('message', async (asked: Asked) => {
  if (asked === 'begin') {
    background?.begin()
    lowerDecoders()
  } else if (asked === 'warm') background?.warm()
  else if (asked === 'stop') {
    await background?.stop()
    // Of this thread alone: connections that rest would keep it.
    process.exit()
  } else await open(asked.open)
})
