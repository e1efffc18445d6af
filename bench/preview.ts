import { readFileSync } from 'node:fs'
import sharp from 'sharp'
import { createDecoder, createRender } from '../packages/image-guard/index.ts'

const PHOTO = { width: 4_000, height: 3_000 }
const TIMES = 15

/**
 * What a preview costs for a JPEG of 12 megapixels (a photo with the noise of a camera): processor time of `render` with
 * it over that without, and bytes; and what its pixels would cost as WebP. In turns, so that all see the same machine.
 */
export async function preview(size = PHOTO, times = TIMES): Promise<object[]> {
  const render = createRender(createDecoder())
  const photo = await photoOf(size.width, size.height)
  const { preview } = await render(photo, 's3', { preview: true })
  if (preview === undefined) throw new Error('There is no preview.')
  const { width, height } = preview
  const pixels = await sharp(photo).resize(width, height).raw().toBuffer()
  const raw = () => sharp(pixels, { raw: { width, height, channels: 3 } })
  const ways = {
    'render without': () => render(photo, 's3').then(({ thumbnail }) => thumbnail),
    'render with': () => render(photo, 's3', { preview: true }).then(() => preview.bytes),
    'JPEG, quality 85': () => raw().jpeg({ quality: 85 }).toBuffer(),
    'WebP, quality 80, effort 0': () => raw().webp({ quality: 80, effort: 0 }).toBuffer(),
    'WebP, quality 80, effort 4': () => raw().webp({ quality: 80 }).toBuffer(),
  }
  const spent = new Map<string, number[]>()
  const bytes = new Map<string, number>()
  for (let time = 0; time < times; time += 1) {
    for (const [name, way] of Object.entries(ways)) {
      const before = process.cpuUsage()
      bytes.set(name, (await way()).length)
      const { user, system } = process.cpuUsage(before)
      spent.set(name, [...(spent.get(name) ?? []), user + system])
    }
  }
  const median = (name: string): number =>
    (spent.get(name) ?? []).sort((a, b) => a - b)[Math.floor(times / 2)] ?? Number.NaN
  const without = median('render without')
  return Object.keys(ways).map((name) => ({
    name,
    'CPU ÷ render without': Number((median(name) / without).toFixed(2)),
    bytes: bytes.get(name),
  }))
}

export async function photoOf(width: number, height: number): Promise<Buffer> {
  const file = readFileSync(new URL('../test/fixtures/grace-hopper.jpg', import.meta.url))
  const noise = { type: 'gaussian' as const, mean: 128, sigma: 12 }
  return sharp(file)
    .resize(width, height)
    .composite([
      {
        input: await sharp({ create: { width, height, channels: 3, background: '#000', noise } })
          .png({ compressionLevel: 1 })
          .toBuffer(),
        blend: 'overlay',
      },
    ])
    .jpeg({ quality: 92 })
    .toBuffer()
}
