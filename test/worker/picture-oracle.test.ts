import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { createDecoder, createRender, type Rendered } from '../../packages/image-guard/index.ts'
import { CHROMIUM, skippedWithoutBrowser } from '../browser.ts'
import { type Colour, coloursOf, drawnByBrowser } from '../pictures/drawn.ts'
import { type Case, pictureCases } from '../pictures/picture-cases.ts'

/** `PICTURES=all npm test -- test/worker/picture-oracle.test.ts` takes all of them. */
const EVERY = process.env['PICTURES'] === 'all' ? 1 : 3

/** Out of 255: what JPEG does to plain areas, and what decoders differ in. */
const TOLERANCE = 8

/** Where the browser is not followed, and why. Each of them must differ, as long as it is listed. */
const APART: [name: RegExp, reason: string][] = [
  [/^webp: orientation [2-8]$/, 'Browsers do not turn a WebP by its EXIF.'],
  [/^png: animated, without/, 'A PNG has a picture for those who show no animation, as we do.'],
  [/^jpeg: CMYK$/, 'Chromium multiplies colours where there is no profile; libvips assumes a common one.'],
  [
    /^jpeg: CMYK with a profile$/,
    'Chromium and lcms differ near black and for colours that sRGB does not have.',
  ],
  [/^avif: nclx 1 1[12]$/, 'Chromium draws nothing of these transfer characteristics.'],
  [/^avif: matrix [19], limited range$/, 'Chromium multiplies blue by 2, and not by 2.11 or 2.14 (libyuv).'],
  [/^avif: clap( |$)(?!from the corner)/, 'Chromium crops only what begins at the corner.'],
]

const render = createRender(createDecoder())

/** How two pictures differ; undefined where they do not. */
function differing(what: string, seen: Colour[], wanted: Colour[]): string | undefined {
  const off = Math.max(...wanted.flat().map((value, index) => Math.abs(value - (seen.flat()[index] ?? -1))))
  return off <= TOLERANCE
    ? undefined
    : `${what} is ${off} off: ${seen.join(' ')}, and not ${wanted.join(' ')}`
}

async function faultOf(
  { bytes }: Case,
  drawn: Buffer | undefined,
  withPreview: boolean,
): Promise<string | undefined> {
  const rendered = await render(bytes, 's3', { preview: withPreview }).catch((error: unknown) => error)
  if (!isRendered(rendered)) return String(rendered)
  if (drawn === undefined) return 'The browser draws nothing.'
  const { width, height } = await sharp(drawn).metadata()
  const { thumbnail, preview, rendition } = rendered
  const larger = preview?.bytes ?? rendition
  if (rendered.width !== width || rendered.height !== height) {
    return `It is ${rendered.width} × ${rendered.height}, and not ${width} × ${height}.`
  }
  const wanted = await coloursOf(drawn, rendered)
  const cut = differing('The thumbnail', await coloursOf(thumbnail, rendered, true), wanted)
  if (cut !== undefined || larger === undefined) return cut
  return differing('What is larger', await coloursOf(larger, rendered), wanted)
}
const isRendered = (value: unknown): value is Rendered =>
  typeof value === 'object' && value !== null && 'thumbnail' in value

describe.skipIf(CHROMIUM === undefined)(`pictures of every kind${skippedWithoutBrowser}`, () => {
  it('look like what a browser draws of them', async () => {
    const cases = await pictureCases(EVERY)
    expect(cases.length).toBeGreaterThan(300 / EVERY)
    const drawn = await drawnByBrowser(cases)
    const wrong: string[] = []
    for (const [index, picture] of cases.entries()) {
      const fault = await faultOf(picture, drawn[index], index % 2 === 0)
      const apart = APART.find(([name]) => name.test(picture.name))
      if (apart === undefined && fault !== undefined) wrong.push(`${picture.name}: ${fault}`)
      if (apart !== undefined && fault === undefined) wrong.push(`${picture.name} is as in the browser.`)
    }
    expect(wrong).toEqual([])
  })
})
