import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp, { type Sharp } from 'sharp'
import { BYTES_PER_PIXEL, type Kind, MAX_PIXELS } from '../packages/image-guard/index.ts'
import { DEFAULT_MAX_IMAGE_BYTES } from '../shared/config.ts'
import { grid, HEIGHT, heic, WIDTH } from '../test/pictures/heic-files.ts'

/**
 * Memory while image-guard renders images of each kind, from the highest resident size of a process of its own:
 * - per pixel of one image: that for a large image less that for a small one, over the difference in pixels. The
 *   constants BYTES_PER_PIXEL in packages/image-guard/costs.ts are these figures, rounded up.
 * - of a batch of ten of the largest images that are accepted, rendered together as the worker does. It is to stay
 *   under 700 MB, which the memory of the Lambda function leaves room for.
 */
interface Encoded {
  toBuffer: () => Promise<Buffer>
}

export const VARIANTS: Record<string, { kind: Kind; encode: (image: Sharp) => Encoded }> = {
  jpeg: { kind: 'jpeg', encode: (image) => image.jpeg() },
  'progressive jpeg': { kind: 'progressive jpeg', encode: (image) => image.jpeg({ progressive: true }) },
  'progressive jpeg 4:4:4': {
    kind: 'progressive jpeg',
    encode: (image) => image.jpeg({ progressive: true, chromaSubsampling: '4:4:4' }),
  },
  'progressive jpeg cmyk': {
    kind: 'progressive cmyk jpeg',
    encode: (image) => image.toColourspace('cmyk').jpeg({ progressive: true, chromaSubsampling: '4:4:4' }),
  },
  'jpeg turned by EXIF': {
    kind: 'jpeg',
    encode: (image) => image.withMetadata({ orientation: 6 }).jpeg(),
  },
  'progressive jpeg turned': {
    kind: 'progressive jpeg',
    encode: (image) => image.withMetadata({ orientation: 6 }).jpeg({ progressive: true }),
  },
  png: { kind: 'png', encode: (image) => image.png({ compressionLevel: 1 }) },
  'png 16 bit alpha': {
    kind: 'png',
    encode: (image) => image.ensureAlpha().toColourspace('rgb16').png({ compressionLevel: 1 }),
  },
  'interlaced png': {
    kind: 'interlaced or turned png',
    encode: (image) => image.png({ progressive: true, compressionLevel: 1 }),
  },
  'interlaced png 16 bit alpha': {
    kind: 'interlaced or turned png',
    encode: (image) =>
      image.ensureAlpha().toColourspace('rgb16').png({ progressive: true, compressionLevel: 1 }),
  },
  'png turned by EXIF': {
    kind: 'interlaced or turned png',
    encode: (image) => image.withMetadata({ orientation: 6 }).png({ compressionLevel: 1 }),
  },
  webp: { kind: 'webp', encode: (image) => image.webp({ effort: 0 }) },
  'webp lossless alpha': {
    kind: 'webp',
    encode: (image) => image.ensureAlpha(0.5).webp({ lossless: true, effort: 0 }),
  },
  'webp turned by EXIF': {
    kind: 'webp',
    encode: (image) => image.withMetadata({ orientation: 6 }).webp({ effort: 0 }),
  },
  gif: { kind: 'gif', encode: (image) => image.gif({ effort: 1, colours: 16 }) },
  avif: { kind: 'avif', encode: (image) => image.avif({ effort: 0, chromaSubsampling: '4:2:0' }) },
  'avif 4:4:4': { kind: 'avif', encode: (image) => image.avif({ effort: 0 }) },
  'avif 4:4:4 alpha': { kind: 'avif', encode: (image) => image.ensureAlpha(0.5).avif({ effort: 0 }) },
  'avif 4:4:4 10 bit': { kind: 'deep avif', encode: (image) => image.avif({ effort: 0, bitdepth: 10 }) },
  'avif lossless 12 bit alpha': {
    kind: 'deep avif',
    encode: (image) => image.ensureAlpha(0.5).avif({ effort: 0, lossless: true, bitdepth: 12 }),
  },
  // libvips encodes none: of small pieces, which are always the same.
  'heic of pieces': { kind: 'heic of pieces', encode: (image) => ({ toBuffer: () => heicLike(image) }) },
}

async function heicLike(image: Sharp): Promise<Buffer> {
  const { width, height } = await image.metadata()
  return heic(...grid(Math.round(height / HEIGHT), Math.round(width / WIDTH)))
}
/** Both so large that what is made for Rekognition has its full size. */
const SMALL = 2_600
const LARGE = 4_300
const BATCH = 10
const MAX_RSS = 700e6

/** Noise, because what a decoder keeps of a picture depends on what there is to see. */
export async function draw(side: number, sigma: number): Promise<Sharp> {
  const noise = { type: 'gaussian' as const, mean: 128, sigma }
  const size = Math.min(side, 500)
  const tile = await sharp({ create: { width: size, height: size, channels: 3, background: '#000', noise } })
    .png()
    .toBuffer()
  const picture = { width: side, height: side, channels: 3 as const, background: '#48c' }
  return sharp({ create: picture, limitInputPixels: false })
    .composite([{ input: tile, tile: true }])
    .removeAlpha()
}

/** In a process of its own, since the highest resident size never falls. */
async function peakOf(file: string, times: number): Promise<number> {
  const { createDecoder, createRender } = await import('../packages/image-guard/index.ts')
  const render = createRender(createDecoder())
  // As from S3: each image of a batch has memory of its own.
  const originals = Array.from({ length: times }, () => readFileSync(file))
  await Promise.all(originals.map((bytes) => render(bytes, 's3', { preview: true, heic: true })))
  return highestResidentSize()
}

/** What Linux counts as maxRSS begins with that of the process which started this one. */
function highestResidentSize(): number {
  if (process.platform !== 'linux') return process.resourceUsage().maxRSS * 1024
  return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * 1024
}

const measure = (file: string, times: number): number =>
  Number(
    execFileSync(process.execPath, [import.meta.filename, file, String(times)], {
      env: { ...process.env, MALLOC_ARENA_MAX: '2', NODE_NO_WARNINGS: '1' },
    }),
  )

async function withFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'decode-memory-'))
  try {
    return await work(folder)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

export const megabytes = (bytes: number): number => Math.round(bytes / 1e6)

/** @param largest side in pixels of the images of a batch; those that are accepted, if it is not given */
export const decodeMemory = (
  variants = VARIANTS,
  [small, large] = [SMALL, LARGE],
  batch = BATCH,
  largest?: number,
): Promise<object[]> =>
  withFolder(async (folder) => {
    const file = join(folder, 'image')
    const perPixel = new Map<string, number>()
    for (const [variant, { encode }] of Object.entries(variants)) {
      const peaks = []
      // Without loss, noise of so many pixels makes a file that is refused for its size.
      const sigma = variant.startsWith('avif lossless') ? 0 : 5
      for (const side of [small, large]) {
        const bytes = await encode(await draw(side, sigma)).toBuffer()
        writeFileSync(file, bytes)
        peaks.push(measure(file, 1) - bytes.length)
      }
      const [least = 0, most = 0] = peaks
      const cost = (most - least) / (large ** 2 - small ** 2)
      process.stdout.write(`  ${variant}: ${cost.toFixed(2)} bytes per pixel\n`)
      perPixel.set(variant, cost)
    }
    const rows = []
    for (const [variant, { kind }] of Object.entries(variants)) {
      const cost = perPixel.get(variant) ?? 0
      const row = { variant, 'bytes per pixel': Number(cost.toFixed(2)), allowed: BYTES_PER_PIXEL[kind] }
      const same = Object.entries(variants).filter(([, other]) => other.kind === kind)
      const costliest = same.every(([other]) => cost >= (perPixel.get(other) ?? 0))
      rows.push(costliest ? { ...row, ...(await worstBatch(variant, file, batch, largest)) } : row)
    }
    return rows
  })

/** Of the costliest variant of a kind, with as much to see as POST /images takes. */
async function worstBatch(variant: string, file: string, batch: number, largest?: number): Promise<object> {
  const found = VARIANTS[variant]
  if (found === undefined) throw new Error(`There is no variant ${variant}.`)
  const side = largest ?? Math.floor(Math.sqrt(MAX_PIXELS[found.kind]))
  let bytes: Buffer = Buffer.alloc(0)
  for (const sigma of [5, 0]) {
    bytes = await found.encode(await draw(side, sigma)).toBuffer()
    if (bytes.length <= DEFAULT_MAX_IMAGE_BYTES) break
  }
  writeFileSync(file, bytes)
  const began = performance.now()
  const peak = measure(file, batch)
  process.stdout.write(`  ${batch} of ${variant}, ${side} × ${side}: ${megabytes(peak)} MB\n`)
  return {
    largest: `${side} × ${side}`,
    'MB of each': Number((bytes.length / 1e6).toFixed(1)),
    'peak MB of a batch': megabytes(peak),
    'within 700 MB': peak < MAX_RSS,
    seconds: Math.round((performance.now() - began) / 1000),
  }
}

// Started with a file, this is the process that is measured.
const [, script, file, times] = process.argv
if (script === import.meta.filename && file !== undefined) {
  process.stdout.write(String(await peakOf(file, Number(times))))
}
