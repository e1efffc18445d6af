import { availableParallelism } from 'node:os'
import { type Appraisal, type AppraiseOptions, appraise } from './appraise.ts'
import { Budget } from './budget.ts'
import { DECODE_BYTES, DECODE_SECONDS } from './costs.ts'
import { refuseOtherFormats, setUpLibvips } from './libvips.ts'
import { Refusal } from './limits.ts'
import { within } from './processor-time.ts'

export type InTime = <T>(work: Promise<T>) => Promise<T>

export interface Decoder {
  /**
   * What is known of an image before it is decoded, from boxes, chunks, markers and the header.
   *
   * @throws the signal's reason; Refusal; Error where libvips would read other formats
   */
  appraise: (original: Uint8Array, options?: AppraiseOptions) => Promise<Appraisal>
  /** Turns to decode: the weight of a decode is the memory of its appraisal. */
  decodes: Budget
  /** Ends the wait for a decode with a Refusal when its time of the processor is up. */
  inTimeOf: (options?: Pick<AppraiseOptions, 'decodeSeconds'>) => InTime
}

/**
 * Sets libvips up, and checks with the first image which formats libvips still reads. One decoder serves a process: its
 * turns share the memory that all decodes may take together.
 */
export function createDecoder(): Decoder {
  setUpLibvips()
  // One more decode than cores keeps the cores busy while another one waits for memory.
  const decodes = new Budget(DECODE_BYTES, availableParallelism() + 1)
  // A picture that takes too long is a verdict on it, although the machine has a part in it: tried again, it would take
  // as long, and hold up its neighbours each time. A caller can ask for another run (POST /images/{id}/retry).
  const inTimeOf: Decoder['inTimeOf'] =
    ({ decodeSeconds = DECODE_SECONDS } = {}) =>
    (work) =>
      within(
        decodeSeconds,
        () => new Refusal('CORRUPT_IMAGE', `The image cannot be decoded within ${decodeSeconds} seconds.`),
        work,
        () => decodes.running,
      )
  let checked: Promise<void> | undefined
  return {
    decodes,
    inTimeOf,
    appraise: async (original, options = {}) => {
      checked ??= refuseOtherFormats()
      await checked
      const { signal } = options
      const inTime = inTimeOf(options)
      // In its turn as well, so that its time is not spent waiting for a thread.
      return appraise(original, options, (bytes, read) => decodes.run(bytes.length, read, { inTime, signal }))
    },
  }
}
