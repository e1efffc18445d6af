import type { Failure } from '../shared/image.ts'

/**
 * A finding about the image itself: final, whoever looks again. Everything else that is thrown is trouble of
 * the surroundings and is tried again.
 */
export class Verdict extends Error {
  readonly failure: Failure
  constructor(code: Exclude<Failure['code'], 'EXHAUSTED'>, message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'Verdict'
    this.failure = { code, message }
  }
}
