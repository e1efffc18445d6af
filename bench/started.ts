import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { request } from 'node:http'
import { text } from 'node:stream/consumers'
import { ROOT } from '../build/bundle.ts'
import { until } from '../test/context.ts'

/** `npm start` in a process of its own, and what it takes of the machine (Linux only). */
export class Started {
  readonly #child: ChildProcess
  #output = ''

  constructor(env: Record<string, string> = {}, options: readonly string[] = []) {
    // By run.js, as npm does: it sets how glibc keeps memory.
    const args = ['--disable-warning=ExperimentalWarning', ...options, 'run.js', 'local/main.ts']
    this.#child = spawn(process.execPath, args, {
      cwd: ROOT,
      env: {
        ...process.env,
        REKOGNITION: 'stand-in',
        PORT: '0',
        AWS_PORT: '0',
        INIT_CWD: import.meta.dirname,
        ...env,
      },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    this.#child.stdout?.on('data', (chunk) => {
      this.#output += chunk
    })
  }

  url = (): Promise<string> =>
    until('npm start is ready', async () => /Page and API +(\S+)[\s\S]*Ready in/.exec(this.#output)?.[1])

  aws = (): Promise<string> =>
    until('npm start is ready', async () => /AWS endpoint +(\S+)[\s\S]*Ready in/.exec(this.#output)?.[1])

  /** The most bytes of memory that it has had. */
  peak = (): number => this.#status('VmHWM')
  /** Those that it has now. */
  memory = (): number => this.#status('VmRSS')

  #status(name: string): number {
    const status = readFileSync(`/proc/${this.#child.pid}/status`, 'utf8')
    return Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)?.[1]) * 1024
  }

  /** Milliseconds of the processor. Linux counts in hundredths of a second. */
  processorMs(): number {
    const fields = readFileSync(`/proc/${this.#child.pid}/stat`, 'utf8').split(' ')
    return (Number(fields[13]) + Number(fields[14])) * 10
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGTERM')
    await once(this.#child, 'exit')
  }
}

/** How a benchmark comes by one, which it stops: its test has one for several. */
export type Start = (env?: Record<string, string>, options?: readonly string[]) => Started
export const startAnew: Start = (env, options) => new Started(env, options)

export interface Answer {
  status: number | string
  imageId?: string
}

/** On a connection of its own, as 200 clients would. */
export const ask = (url: string, body?: Buffer, contentType = 'image/png'): Promise<Answer> =>
  new Promise((resolve) => {
    request(url, {
      agent: false,
      method: body === undefined ? 'GET' : 'POST',
      headers: body === undefined ? {} : { 'content-type': contentType, 'content-length': body.length },
    })
      .once('response', async (response) => {
        const { imageId } = JSON.parse(await text(response)) as { imageId?: string }
        resolve({ status: response.statusCode ?? 0, ...(imageId === undefined ? {} : { imageId }) })
      })
      .once('error', (error: NodeJS.ErrnoException) => resolve({ status: error.code ?? 'error' }))
      .end(body)
  })
