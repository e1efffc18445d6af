import { rmSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import type { Resources } from '../infrastructure/resources.ts'
import type { AwsTarget } from '../shared/aws.ts'
import type { Log } from '../shared/log.ts'
import { StartError } from '../shared/machine.ts'
import type { Settings } from './environment.ts'

/** What works behind the API: AWS, the worker, and what comes by a schedule. */
export interface Background {
  target: AwsTarget
  /** Whether AWS is the embedded one, and no other endpoint. */
  isEmbedded: boolean
  /** The folder of what is gone after the end, also where the thread has no time to remove it. */
  temporary: string | undefined
  resources: Resources
  /** Who answers as Rekognition. */
  rekognition: string
  /** What people are to know of that, in brackets; empty where there is no more to say. */
  explanation: string
  /** Gives the worker its jobs. */
  begin: () => void
  /** Loads the models, where there are any, so that the first image need not wait for them. */
  warm: () => void
  /** What the worker has not finished within 4 seconds stays in the queue. */
  stop: () => Promise<void>
}

/** @throws StartError */
export type OpenBackground = (settings: Settings, log: Log) => Promise<Background>

/** To the thread of what works behind the API, and from it. A line of the log has the names of its errors: a copy loses them. */
export type Asked = { open: Settings } | 'begin' | 'warm' | 'stop'
export type Said =
  | { opened: Omit<Background, 'begin' | 'warm' | 'stop'> }
  | { refused: string }
  | { failed: unknown }
  | {
      level: 'info' | 'warn' | 'error'
      message: string
      facts: [key: string, value: unknown, name?: string][]
    }

/**
 * What works behind the API, in a thread of its own: while AWS and the worker are busy, the API answers. The thread loads
 * its code at once, and opens when it is asked to.
 *
 * @param onLost hears why the thread has ended, when it was open and was not to end
 */
export function inThread(onLost: (why: unknown) => void): OpenBackground {
  const stripTypes = new URL('../build/strip-types.js', import.meta.url).href
  const thread = new Worker(new URL('./background-main.ts', import.meta.url), {
    // The models' threads inherit these. What else this process imports first (run.js) is not meant for a thread.
    execArgv: ['--disable-warning=ExperimentalWarning', '--import', stripTypes],
  })
  // Windows removes no file that the thread has open.
  process.once('exit', () => thread.terminate())
  const ask = (asked: Asked): void => thread.postMessage(asked)
  const ended = new Promise<void>((resolve, reject) => {
    thread.once('error', reject)
    thread.once('exit', () => resolve())
  })
  ended.catch(() => {})

  return async (settings, log) => {
    const { promise, resolve, reject } = Promise.withResolvers<Background>()
    let isToEnd = false
    const stop = async (): Promise<void> => {
      isToEnd = true
      ask('stop')
      await ended
    }
    thread.on('message', (said: Said) => {
      if ('level' in said) write(log, said)
      else if ('opened' in said) {
        const { temporary } = said.opened
        if (temporary !== undefined)
          process.once('exit', () => rmSync(temporary, { recursive: true, force: true, maxRetries: 3 }))
        resolve({ ...said.opened, begin: () => ask('begin'), warm: () => ask('warm'), stop })
      } else {
        isToEnd = true
        reject('refused' in said ? new StartError(said.refused) : said.failed)
      }
    })
    const lose = (why: unknown): void => {
      reject(why)
      if (!isToEnd) onLost(why)
    }
    ended.then(() => lose(new Error('The thread of AWS and the worker has ended.')), lose)
    ask({ open: settings })
    return promise
  }
}

function write(log: Log, { level, message, facts }: Extract<Said, { level: string }>): void {
  const named = (value: unknown, name?: string): unknown =>
    value instanceof Error ? Object.assign(value, { name }) : value
  log[level](message, Object.fromEntries(facts.map(([key, value, name]) => [key, named(value, name)])))
}
