import type { SQSEvent } from 'aws-lambda'
import sharp from 'sharp'
import { formatOf } from '../packages/image-guard/format.ts'
import {
  BYTES_PER_BYTE,
  BYTES_PER_PIXEL,
  MAX_DECODE_BYTES,
  MAX_PIXELS,
} from '../packages/image-guard/index.ts'
import { jpegSegment, pngChunk, validFiles, withChunks, withSegments } from '../test/pictures/pictures.ts'
import { draw, megabytes, VARIANTS } from './decode-memory.ts'
import { BATCH, type Deployed, deploy } from './deployed.ts'

/**
 * Memory of the Lambda function itself (worker/handler.ts), in a process of its own, with the embedded AWS in another:
 * - `worker-memory`: its peak over one batch of ten of the worst uploads of 50 MB of each kind, which is to stay under
 *   700 MB;
 * - `memory`: its resident size while it works through thousands of images of mixed kinds, as a ratio: the mean of
 *   the last third of the batches over that of the first third.
 */
const MAX_RSS = 700e6
const UPLOAD_BYTES = 50_000_000
const IMAGES = 3_000
/** Batches before memory is looked at: the decoders' own tables and the compiled code come with the first ones. */
const WARM_UP = 20

interface Measured {
  peak: number
  /** Jobs that were given back. */
  returned: number
  /** After each batch. */
  sizes: number[]
}

/**
 * The function alone, as it is deployed: works through the batches in a file, a line each, and prints its memory. A
 * batch may take longer than a real one, so that a slow machine has its peak seen.
 */
const PROCESS = `
import { readFileSync } from 'node:fs'
const [index, file] = process.argv.slice(1)
const { handler } = await import(index)
const sizes = []
let returned = 0
for (const line of readFileSync(file, 'utf8').split('\\n')) {
  const end = performance.now() + 600_000
  const answer = await handler(JSON.parse(line), { getRemainingTimeInMillis: () => end - performance.now() })
  returned += answer.batchItemFailures.length
  sizes.push(process.memoryUsage.rss())
}
const kept = /VmHWM:\\s+(\\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))
console.log(JSON.stringify({ peak: Number(kept[1]) * 1024, returned, sizes }))
process.exit()
`

const measure = (bench: Deployed, batches: SQSEvent[]): Promise<Measured> =>
  bench.run(['--input-type=module', '--eval', PROCESS], batches)

/** A file grown to so many bytes by what decoders pass over, where each format has room for it. */
function grown(bytes: Buffer, size: number): Buffer {
  const left = size - bytes.length
  if (left < 100) return bytes
  const filling = Buffer.alloc(left - 100, 0x20)
  const type = bytes.toString('latin1', 1, 4)
  if (bytes[0] === 0xff) {
    const comments = []
    for (let at = 0; at < left - 70_000; at += 65_000) comments.push(jpegSegment(0xfe, Buffer.alloc(64_996)))
    return withSegments(bytes, ...comments)
  }
  if (type === 'PNG') return withChunks(bytes, pngChunk('tEXt', filling))
  if (type === 'IFF') {
    const chunk = Buffer.concat([Buffer.from('FILL\0\0\0\0'), filling])
    chunk.writeUInt32LE(filling.length, 4)
    const webp = Buffer.concat([bytes, chunk])
    webp.writeUInt32LE(webp.length - 8, 4)
    return webp
  }
  if (type === 'IF8') return Buffer.concat([bytes, filling])
  const free = Buffer.concat([Buffer.from('\0\0\0\0free'), filling])
  free.writeUInt32BE(free.length)
  return Buffer.concat([bytes, free])
}

const variant = async (name: string, sigma = 0): Promise<Buffer> => {
  const found = VARIANTS[name]
  if (found === undefined) throw new Error(`There is no variant ${name}.`)
  const room = MAX_DECODE_BYTES - UPLOAD_BYTES * BYTES_PER_BYTE
  const pixels = Math.min(MAX_PIXELS[found.kind], room / BYTES_PER_PIXEL[found.kind])
  const side = Math.floor(Math.sqrt(pixels))
  return found.encode(await draw(side, sigma)).toBuffer()
}
const strip = (width: number, height: number): Promise<Buffer> =>
  sharp({ create: { width, height, channels: 4, background: '#48c8' }, limitInputPixels: false })
    .toColourspace('rgb16')
    .png({ compressionLevel: 1 })
    .toBuffer()

/** The largest of each kind, and files that are large by what there is to see. */
const UPLOADS: Record<string, () => Promise<Buffer>> = {
  'jpeg of noise': async () =>
    (await draw(4_000, 90)).jpeg({ quality: 100, chromaSubsampling: '4:4:4' }).toBuffer(),
  'largest jpeg': () => variant('jpeg'),
  'largest progressive jpeg': () => variant('progressive jpeg 4:4:4'),
  'largest progressive jpeg cmyk': () => variant('progressive jpeg cmyk'),
  'png of noise': async () => (await draw(4_000, 90)).png({ compressionLevel: 1 }).toBuffer(),
  'largest png 16 bit alpha': () => variant('png 16 bit alpha'),
  'png of the longest lines': () => strip(22_321, 4_400),
  'png of the longest lines, 100 high': () => strip(52_083, 100),
  'png of the longest lines, 80 high': () => strip(65_104, 80),
  'largest interlaced png': () => variant('interlaced png 16 bit alpha'),
  'largest webp': () => variant('webp lossless alpha'),
  'largest gif': () => variant('gif'),
  'largest avif': () => variant('avif 4:4:4 alpha'),
  'largest deep avif': () => variant('avif lossless 12 bit alpha'),
}

/**
 * A batch of uploads of each kind.
 *
 * @param only those whose names have it
 * @param size bytes of each
 */
export async function workerMemory(
  only = process.env['ONLY'],
  size = UPLOAD_BYTES,
  batch = BATCH,
): Promise<object[]> {
  const bench = await deploy()
  const rows = []
  try {
    for (const [name, make] of Object.entries(UPLOADS)) {
      if (only !== undefined && !name.includes(only)) continue
      const bytes = grown(await make(), size)
      const contentType = formatOf(bytes)?.contentType ?? ''
      const ids: string[] = []
      for (let times = 0; times < batch; times += 1) {
        // Of an owner of its own, or the results of the first would do for all.
        ids.push(await bench.upload(bytes, contentType, `owner-${times}`))
      }
      const began = performance.now()
      const { peak, returned } = await measure(bench, await bench.batches(batch))
      const row = {
        [`${batch} uploads`]: name,
        'MB of each': Number((bytes.length / 1e6).toFixed(1)),
        outcome: '',
        returned,
        'peak MB': megabytes(peak),
        'within 700 MB': peak < MAX_RSS,
        seconds: Math.round((performance.now() - began) / 1_000),
      }
      const outcomes = new Set<string>()
      for (const [times, imageId] of ids.entries())
        outcomes.add(await bench.outcome(imageId, `owner-${times}`))
      row.outcome = [...outcomes].join(', ')
      if (/awaiting_upload|pending|processing/.test(row.outcome))
        throw new Error(`${name}: nothing was measured, ${row.outcome}.`)
      process.stdout.write(`  ${Object.values(row).join('  ')}\n`)
      rows.push(row)
    }
    return rows
  } finally {
    await bench.stop()
  }
}

const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length

/** Thousands of images of mixed kinds and outcomes in one process. */
export async function memoryOverTime(images = IMAGES, warmUp = WARM_UP): Promise<object[]> {
  const bench = await deploy()
  try {
    const files = [...(await validFiles())]
    const photo = await (await draw(2_600, 5)).jpeg().toBuffer()
    const progressive = await (await draw(1_500, 5)).jpeg({ progressive: true }).toBuffer()
    files.push(['photo.jpg', photo], ['large-progressive.jpg', progressive])
    const tail = Buffer.alloc(8)
    const batches: SQSEvent[] = []
    const part = Math.min(images, 100)
    for (let image = 0; image < images; image += 1) {
      const [, bytes] = files[image % files.length] ?? files[0] ?? []
      tail.writeUInt32BE(image)
      const cut = image % 10 === 9 ? Math.floor((bytes?.length ?? 0) / 2) : undefined
      await bench.submit(Buffer.concat([bytes?.subarray(0, cut) ?? tail, tail]))
      if (image % part === part - 1) batches.push(...(await bench.batches(part)))
    }
    const { peak, returned, sizes } = await measure(bench, batches)
    const measured = sizes.slice(warmUp)
    const third = Math.floor(measured.length / 3)
    const [first, last] = [mean(measured.slice(0, third)), mean(measured.slice(-third))]
    return [
      {
        images,
        returned,
        'first third MB': megabytes(first),
        'last third MB': megabytes(last),
        'last ÷ first': Number((last / first).toFixed(2)),
        'peak MB': megabytes(peak),
      },
    ]
  } finally {
    await bench.stop()
  }
}
