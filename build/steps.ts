import type { Emulator } from './emulators.ts'
import type { Step } from './emulators-seen.ts'

/** Runs steps, prints a line for each, and counts. */
export class Steps {
  readonly ended: Step[] = []
  readonly #print: (text: string) => void

  constructor(print: (text: string) => void) {
    this.#print = print
  }

  /** @returns what the work gives, and undefined where it has failed */
  async run<T>(name: string, work: () => Promise<T>, say: (done: T) => string): Promise<T | undefined> {
    this.#print(`${name.padEnd(12)} `)
    const began = performance.now()
    try {
      const done = await work()
      const said = say(done)
      this.ended.push({ name, end: 'passed', said })
      this.#print(`${said} (${((performance.now() - began) / 1000).toFixed(1)} s)\n`)
      return done
    } catch (error) {
      const said = (error as Error).message
      this.ended.push({ name, end: 'failed', said })
      this.#print(`FAILED: ${said}\n`)
      return undefined
    }
  }

  skip(name: string, reason: string): void {
    this.ended.push({ name, end: 'skipped', said: reason })
    this.#print(`${name.padEnd(12)} skipped: ${reason}\n`)
  }

  summary(): string {
    const skipped = this.#count('skipped')
    return `${this.#count('passed')} passed, ${this.#count('failed')} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`
  }

  get hasFailed(): boolean {
    return this.#count('failed') > 0
  }

  #count(end: Step['end']): number {
    return this.ended.filter((step) => step.end === end).length
  }
}

/** What a check works with. */
export interface Check {
  endpoint: string
  emulator: Emulator
  /** What all its resources have in their names. */
  name: string
  /** For Terraform. */
  variables: string[]
  env: Record<string, string>
  steps: Steps
  signal: AbortSignal
}

export interface Deployed {
  apiUrl: string
  subscriberQueueUrl: string
  /** The published version that is called, by function. */
  versions: Record<string, string>
}

/** For an emulator, which takes any credentials. */
export const TARGET = { region: 'us-east-1', credentials: { accessKeyId: 'test', secretAccessKey: 'test' } }

export function demand<T>(what: string, found: T, expected: T): void {
  if (found !== expected) throw new Error(`${what} is ${found} and not ${expected}`)
}
