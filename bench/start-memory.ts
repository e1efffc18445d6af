import { finished } from '../test/context.ts'
import { distinct } from '../test/pictures/pictures.ts'
import { megabytes } from './decode-memory.ts'
import { ask, type Start, startAnew } from './started.ts'

/**
 * Resident size of `npm start` while it works through thousands of images (Linux only): the mean of the last third of the
 * looks over that of the first third. The first images bring the decoders and the compiled code, and do not count.
 */
const IMAGES = 2_000
const AT_ONCE = 8
/** Images between two looks, of which the first does not count. */
const PART = 50

export async function startMemory(images = IMAGES, start: Start = startAnew): Promise<object[]> {
  const system = start({ DATA_DIR: '' })
  try {
    const url = await system.url()
    const sizes: number[] = []
    for (let from = 0; from < images; from += sizeOfPart(images)) {
      const numbers = Array.from({ length: sizeOfPart(images) }, (_, at) => from + at)
      const send = async (): Promise<void> => {
        for (let number = numbers.pop(); number !== undefined; number = numbers.pop()) {
          const { status, imageId } = await ask(`${url}/images`, await distinct(number))
          if (imageId === undefined) throw new Error(`An image is answered with ${status}.`)
          await finished(url, imageId)
        }
      }
      await Promise.all(Array.from({ length: AT_ONCE }, send))
      sizes.push(system.memory())
    }
    const looks = sizes.slice(1)
    const third = Math.max(1, Math.floor(looks.length / 3))
    const [first, last] = [mean(looks.slice(0, third)), mean(looks.slice(-third))]
    return [
      {
        images,
        'first third MB': megabytes(first),
        'last third MB': megabytes(last),
        'last ÷ first': Number((last / first).toFixed(2)),
        'peak MB': megabytes(system.peak()),
      },
    ]
  } finally {
    await system.stop()
  }
}

/** Of a short run, a quarter. */
const sizeOfPart = (images: number): number => Math.min(PART, Math.ceil(images / 4))
const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length
