import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { finished } from '../test/context.ts'
import { distinct } from '../test/pictures/pictures.ts'
import { megabytes } from './decode-memory.ts'
import { type Answer, ask, type Start, type Started, startAnew } from './started.ts'

/**
 * - `overload`: what becomes of 200 images of 4.4 MB that are posted to `npm start` at once, and of 1,000 clients that
 *   wait at once: how they are answered, how many of the accepted are completed, and the most memory that it took (Linux
 *   only; what decoding takes is in it).
 * - `durability`: what it costs that what was answered is on the disk: with DATA_DIR, the time and the processor's time
 *   for an image, over those without it.
 */
const IMAGES = 200
const IMAGE_BYTES = 4_400_000
const WAITERS = 1_000

function counted(answers: Answer[]): string {
  const counts = new Map<Answer['status'], number>()
  for (const { status } of answers) counts.set(status, (counts.get(status) ?? 0) + 1)
  return [...counts].map(([status, count]) => `${count} × ${status}`).join(', ')
}

/** Decoders pass over what is behind a picture. */
const pictureOf = async (number: number, bytes: number): Promise<Buffer> =>
  Buffer.concat([await distinct(number)], bytes)

export async function overload(
  images = IMAGES,
  clients = WAITERS,
  start: Start = startAnew,
): Promise<object[]> {
  const system = start()
  try {
    const url = await system.url()
    const idle = system.peak()
    const pictures = await Promise.all(Array.from({ length: images }, (_, at) => pictureOf(at, IMAGE_BYTES)))
    const answers = await Promise.all(pictures.map((picture) => ask(`${url}/images`, picture)))
    const accepted = answers.flatMap(({ imageId }) => imageId ?? [])
    const ends = await Promise.all(accepted.map((imageId) => finished(url, imageId)))
    const peak = system.peak()
    const waited = await waiters(url, clients)
    return [
      {
        what: `${images} images of ${IMAGE_BYTES / 1e6} MB at once`,
        answers: counted(answers),
        completed: ends.filter(({ status }) => status === 'completed').length,
        'MB at most': megabytes(peak),
        'MB before': megabytes(idle),
      },
      { what: `${clients} clients that wait at once`, answers: counted(waited) },
    ]
  } finally {
    await system.stop()
  }
}

async function waiters(url: string, clients: number): Promise<Answer[]> {
  const { imageId } = await ask(`${url}/images`, await distinct(IMAGES))
  return Promise.all(Array.from({ length: clients }, () => ask(`${url}/images/${imageId}?wait=20`)))
}

const ROUNDS = 3
const A_ROUND = 60
const AT_ONCE = 8

/** Milliseconds for an image: by the clock, and of the processor. */
async function costOf(
  system: Started,
  from: number,
  count: number,
): Promise<{ clock: number; processor: number }> {
  const url = await system.url()
  const numbers = Array.from({ length: count }, (_, at) => from + at)
  const ids: string[] = []
  const [began, used] = [performance.now(), system.processorMs()]
  const send = async (): Promise<void> => {
    for (let number = numbers.pop(); number !== undefined; number = numbers.pop())
      ids.push((await ask(`${url}/images`, await distinct(number))).imageId ?? '')
  }
  await Promise.all(Array.from({ length: AT_ONCE }, send))
  for (const id of ids) await finished(url, id)
  return {
    clock: (performance.now() - began) / count,
    processor: (system.processorMs() - used) / count,
  }
}

export async function durability(
  rounds = ROUNDS,
  aRound = A_ROUND,
  start: Start = startAnew,
): Promise<object[]> {
  const folder = mkdtempSync(join(tmpdir(), 'durability-'))
  const [kept, passing] = [start({ DATA_DIR: join(folder, 'data') }), start({ DATA_DIR: '' })]
  try {
    for (const system of [kept, passing]) await costOf(system, 0, aRound)
    const rows: object[] = []
    for (let round = 1; round <= rounds; round += 1) {
      // In turns, so that other work of the machine slows both.
      const [withDisk, without] = [
        await costOf(kept, round * aRound, aRound),
        await costOf(passing, round * aRound, aRound),
      ]
      rows.push({
        round,
        'time, with DATA_DIR over without': Number((withDisk.clock / without.clock).toFixed(2)),
        "processor's time": Number((withDisk.processor / without.processor).toFixed(2)),
      })
    }
    return rows
  } finally {
    await Promise.all([kept.stop(), passing.stop()])
    rmSync(folder, { recursive: true })
  }
}
