import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { SQSBatchResponse, SQSEvent } from 'aws-lambda'
import sharp from 'sharp'
import { createDecoder, createRender, THUMBNAIL_SIDE } from '../packages/image-guard/index.ts'
import { BATCH, deploy } from './deployed.ts'
import { median, round, spread } from './figures.ts'
import { photoOf } from './preview.ts'

/**
 * The worker as it is built, in batches of ten photos of 12 megapixels, beside what cannot be left out: a thumbnail by
 * sharp alone. Both take turns in one process, with the embedded AWS and a Rekognition that takes 150 ms in another; so
 * the time of the processor is the worker's own, and the clock has what both of them take of the machine.
 */
const ROUNDS = 10
const WARM_UP = 2
const REKOGNITION_MS = 150
/** About 4 MB. */
const PHOTO = { width: 4_000, height: 3_000 }
/** Thumbnails at once: as many as the worker makes on two cores. */
const AT_ONCE = 3

const WAYS = ['sharp alone', 'render()', 'worker, one batch', 'worker, two batches at once'] as const
type Way = (typeof WAYS)[number]
/** Batches of the queue that a way takes. */
const TAKES: Record<Way, number> = {
  'sharp alone': 0,
  'render()': 0,
  'worker, one batch': 1,
  'worker, two batches at once': 2,
}
/** Milliseconds of each image, round by round. */
type Times = Record<Way, { wall: number[]; cpu: number[] }>

export async function pipeline(rounds = ROUNDS, size = PHOTO, warmUp = WARM_UP): Promise<object[]> {
  const worker = await deploy({ latencyMs: REKOGNITION_MS })
  const folder = mkdtempSync(join(tmpdir(), 'pipeline-'))
  try {
    const photo = await photoOf(size.width, size.height)
    const file = join(folder, 'photo.jpg')
    writeFileSync(file, photo)
    const batches = (rounds + warmUp) * WAYS.reduce((sum, way) => sum + TAKES[way], 0)
    // Decoders pass over what is behind a picture, and no two have the same bytes.
    const tail = Buffer.alloc(8)
    for (let image = 0; image < batches * BATCH; image += 1) {
      tail.writeUInt32BE(image)
      await worker.submit(Buffer.concat([photo, tail]))
    }
    const jobs = await worker.batches(batches * BATCH)
    const times = await worker.run<Times>([import.meta.filename, file, String(warmUp)], jobs, {
      PREVIEW: 'off',
    })
    const alone = times['sharp alone']
    return WAYS.map((way) => ({
      what: way,
      'images/s': round(1_000 / median(times[way].wall)),
      'of sharp alone': round(median(alone.wall) / median(times[way].wall)),
      'cpu ms': round(median(times[way].cpu)),
      'cpu of sharp alone': round(median(alone.cpu) / median(times[way].cpu)),
      'cpu ms of the middle half': spread(times[way].cpu),
    }))
  } finally {
    await worker.stop()
    rmSync(folder, { recursive: true })
  }
}

async function measure(file: string, warmUp: number, index: string, lines: string): Promise<Times> {
  const { handler } = (await import(index)) as {
    handler: (event: SQSEvent, context: object) => Promise<SQSBatchResponse>
  }
  const photo = readFileSync(file)
  const render = createRender(createDecoder())
  const batches = readFileSync(lines, 'utf8')
    .split('\n')
    .map((line): SQSEvent => JSON.parse(line))
  const settle = async (): Promise<void> => {
    const end = performance.now() + 600_000
    const batch = batches.shift()
    if (batch === undefined) throw new Error('There are too few batches.')
    const answer = await handler(batch, { getRemainingTimeInMillis: () => end - performance.now() })
    if (answer.batchItemFailures.length > 0) throw new Error('The worker has given images back.')
  }
  const each = async (make: () => Promise<unknown>): Promise<void> => {
    let left = BATCH
    const some = async (): Promise<void> => {
      while (left-- > 0) await make()
    }
    await Promise.all(Array.from({ length: AT_ONCE }, some))
  }
  const side = THUMBNAIL_SIDE
  const ways: Record<Way, () => Promise<unknown>> = {
    'sharp alone': () => each(() => sharp(photo).autoOrient().resize(side, side).jpeg().toBuffer()),
    'render()': () => each(() => render(photo, 's3')),
    'worker, one batch': settle,
    'worker, two batches at once': () => Promise.all([settle(), settle()]),
  }
  const times = Object.fromEntries(WAYS.map((way) => [way, { wall: [], cpu: [] }])) as unknown as Times
  for (let turn = 0; batches.length > 0; turn += 1) {
    for (const way of WAYS) {
      const [began, before] = [performance.now(), process.cpuUsage()]
      await ways[way]()
      const { user, system } = process.cpuUsage(before)
      if (turn < warmUp) continue
      const images = BATCH * Math.max(1, TAKES[way])
      times[way].wall.push((performance.now() - began) / images)
      times[way].cpu.push((user + system) / 1_000 / images)
    }
  }
  return times
}

if (process.argv[1] === import.meta.filename) {
  const [, , file = '', warmUp, index = '', lines = ''] = process.argv
  process.stdout.write(JSON.stringify(await measure(file, Number(warmUp), index, lines)))
  process.exit()
}
