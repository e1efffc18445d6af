import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp, { type Sharp } from 'sharp'

/**
 * Memory per pixel while worker/thumbnail.ts renders an image of each kind: the highest resident size of a
 * process of its own for a large image, less that for a small one, over the difference in pixels.
 * The constants BYTES_PER_PIXEL there are these figures, rounded up.
 */
const KINDS: Record<string, (image: Sharp) => Sharp> = {
  jpeg: (image) => image.jpeg(),
  'progressive jpeg': (image) => image.jpeg({ progressive: true }),
  'progressive jpeg 4:4:4': (image) => image.jpeg({ progressive: true, chromaSubsampling: '4:4:4' }),
  'jpeg turned by EXIF': (image) => image.withMetadata({ orientation: 6 }).jpeg(),
  'progressive jpeg turned': (image) => image.withMetadata({ orientation: 6 }).jpeg({ progressive: true }),
  png: (image) => image.png({ compressionLevel: 1 }),
  'png 16 bit alpha': (image) => image.ensureAlpha().toColourspace('rgb16').png({ compressionLevel: 1 }),
  'interlaced png': (image) => image.png({ progressive: true, compressionLevel: 1 }),
  'interlaced png 16 bit alpha': (image) =>
    image.ensureAlpha().toColourspace('rgb16').png({ progressive: true, compressionLevel: 1 }),
  'png turned by EXIF': (image) => image.withMetadata({ orientation: 6 }).png({ compressionLevel: 1 }),
  webp: (image) => image.webp({ effort: 0 }),
  'webp lossless alpha': (image) => image.ensureAlpha(0.5).webp({ lossless: true, effort: 0 }),
  'webp turned by EXIF': (image) => image.withMetadata({ orientation: 6 }).webp({ effort: 0 }),
  gif: (image) => image.gif({ effort: 1, colours: 16 }),
  avif: (image) => image.avif({ effort: 0 }),
  'avif 4:4:4 10 bit': (image) => image.avif({ effort: 0, chromaSubsampling: '4:4:4', bitdepth: 10 }),
  'avif alpha': (image) => image.ensureAlpha(0.5).avif({ effort: 0 }),
  'avif lossless 12 bit': (image) => image.avif({ effort: 0, lossless: true, bitdepth: 12 }),
}
const SMALL = 1_000
const LARGE = 5_000

const draw = (side: number): Sharp =>
  sharp({
    create: { width: side, height: side, channels: 3, background: '#48c' },
    limitInputPixels: false,
  })

/** In a process of its own, since the highest resident size never falls. */
async function peakOf(file: string): Promise<number> {
  const { render } = await import('../worker/thumbnail.ts')
  const bytes = readFileSync(file)
  await render(bytes, 's3')
  return process.resourceUsage().maxRSS * 1024 - bytes.length
}

export async function decodeMemory(): Promise<{ kind: string; 'bytes per pixel': number }[]> {
  const folder = mkdtempSync(join(tmpdir(), 'decode-memory-'))
  try {
    const rows = []
    for (const [kind, encode] of Object.entries(KINDS)) {
      process.stdout.write(`  ${kind}\n`)
      const peaks = []
      for (const side of [SMALL, LARGE]) {
        const file = join(folder, `${rows.length}-${side}`)
        writeFileSync(file, await encode(draw(side)).toBuffer())
        const peak = execFileSync(process.execPath, [import.meta.filename, file], {
          env: { ...process.env, MALLOC_ARENA_MAX: '2', NODE_NO_WARNINGS: '1' },
        })
        peaks.push(Number(peak))
      }
      const [small = 0, large = 0] = peaks
      rows.push({
        kind,
        'bytes per pixel': Number(((large - small) / (LARGE ** 2 - SMALL ** 2)).toFixed(2)),
      })
    }
    return rows
  } finally {
    rmSync(folder, { recursive: true })
  }
}

// Started with a file, this is the process that is measured.
const [, script, file] = process.argv
if (script === import.meta.filename && file !== undefined) process.stdout.write(String(await peakOf(file)))
