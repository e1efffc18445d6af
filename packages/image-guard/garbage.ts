import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** From so many bytes on, dead originals are collected before the next one comes. A collection takes 10 to 30 ms. */
const LARGE_BYTES = 10_000_000

/**
 * V8 looks after memory outside its heap late: it would leave 100 MB of dead originals. So this process gets leave to
 * collect them.
 *
 * @returns what makes room for an original of so many bytes
 */
export function createGarbageCollection(): (bytes: number) => void {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  return (bytes) => {
    if (bytes >= LARGE_BYTES) collect()
  }
}
