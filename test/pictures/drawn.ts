/// <reference lib="dom" />
import sharp from 'sharp'
import { startBrowser } from '../browser.ts'
import { PATCH } from './picture-cases.ts'

/** Colours at points of a picture, as a browser draws it and as the worker does. */

export type Colour = [red: number, green: number, blue: number]
export interface Drawn {
  width: number
  height: number
  /** At the points of `pointsOf`. */
  colours: Colour[]
}

/** From the edge of a patch and of what a thumbnail shows, where JPEG, chroma and scaling blur. */
const MARGIN = 10

/** One point in each patch that a thumbnail shows: its middle, or what is nearest to that. */
function pointsOf(width: number, height: number): [x: number, y: number][] {
  const side = Math.min(width, height)
  const along = (length: number): number[] => {
    const first = (length - side) / 2 + MARGIN
    return Array.from({ length: Math.round(length / PATCH) }, (_, patch) => (patch + 0.5) * PATCH)
      .map((middle) => [middle, Math.min(Math.max(middle, first), length - first)] as const)
      .filter(([middle, point]) => Math.abs(point - middle) <= PATCH / 2 - MARGIN)
      .map(([, point]) => point)
  }
  return along(height).flatMap((y) => along(width).map((x): [number, number] => [x, y]))
}

/** @param of the size of the whole picture, where `picture` is its middle square, or is scaled */
export async function coloursOf(
  picture: Buffer,
  { width, height }: { width: number; height: number },
  isThumbnail = false,
): Promise<Colour[]> {
  const { data, info } = await sharp(picture)
    .toColourspace('srgb')
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true })
  const side = Math.min(width, height)
  const cut = isThumbnail ? { x: (width - side) / 2, y: (height - side) / 2 } : { x: 0, y: 0 }
  const scale = isThumbnail
    ? { x: info.width / side, y: info.height / side }
    : { x: info.width / width, y: info.height / height }
  return pointsOf(width, height).map(([x, y]): Colour => {
    const column = Math.floor((x - cut.x) * scale.x)
    const row = Math.floor((y - cut.y) * scale.y)
    const at = (row * info.width + column) * info.channels
    return [data[at] ?? -1, data[at + 1] ?? -1, data[at + 2] ?? -1]
  })
}

/** PNGs of what a browser draws of each file on white; undefined where it draws nothing. */
export async function drawnByBrowser(
  files: { type: string; bytes: Buffer }[],
): Promise<(Buffer | undefined)[]> {
  const browser = await startBrowser('--force-color-profile=srgb')
  try {
    const page = await browser.newPage()
    const drawn = await page.evaluate(
      async (all) => {
        const canvas = document.createElement('canvas')
        const context = canvas.getContext('2d', { willReadFrequently: true })
        const pictures: string[] = []
        for (const { type, base64 } of all) {
          const image = new Image()
          image.src = `data:${type};base64,${base64}`
          const shown = await image.decode().then(
            () => true,
            () => false,
          )
          canvas.width = image.naturalWidth
          canvas.height = image.naturalHeight
          if (context === null || !shown) {
            pictures.push('')
            continue
          }
          context.fillStyle = 'white'
          context.fillRect(0, 0, canvas.width, canvas.height)
          context.drawImage(image, 0, 0)
          pictures.push(canvas.toDataURL('image/png').split(',')[1] ?? '')
        }
        return pictures
      },
      files.map(({ type, bytes }) => ({ type, base64: bytes.toString('base64') })),
    )
    return drawn.map((base64) => (base64 === '' ? undefined : Buffer.from(base64, 'base64')))
  } finally {
    await browser.close()
  }
}
