import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** From so many bytes on, dead originals are collected before the next one comes. A collection takes 10 to 30 ms. */
const LARGE_BYTES = 10_000_000

/**
 * By so much a heap grows over what lives in it before V8 collects it again. Left to itself it collects a worker's 35 MB for each 3 MB
 * more, on all cores: a tenth of the processor of a batch (`npm run bench -- pipeline`).
 */
const GROWTH_PERCENT = 100

/**
 * V8 looks after memory outside its heap late: it would leave 100 MB of dead originals. So this process gets leave to
 * collect them.
 *
 * @returns what makes room for an original of so many bytes
 */
export function createGarbageCollection(): (bytes: number) => void {
  setFlagsFromString('--expose-gc')
  setFlagsFromString(`--heap-growing-percent=${GROWTH_PERCENT}`)
  const collect = runInNewContext('gc') as () => void
  return (bytes) => {
    if (bytes >= LARGE_BYTES) collect()
  }
}
