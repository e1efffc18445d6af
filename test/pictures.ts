import sharp, { type Sharp } from 'sharp'

/** Pictures made for the tests. Every test that needs an odd one makes it, so nobody has to guess what a file holds. */

/** The colours of the four corners: clockwise from the top left. */
export const CORNERS = {
  topLeft: '#d02020',
  topRight: '#20a020',
  bottomRight: '#2020d0',
  bottomLeft: '#d0d020',
}

const square = (side: number, background: string) =>
  sharp({ create: { width: side, height: side, channels: 3, background } })
    .png()
    .toBuffer()

/** Four quarters of different colours, so that every way of lying is told by its pixels. */
export async function quarters(width = 200, height = 160): Promise<Sharp> {
  const tile = async (background: string) =>
    sharp(await square(16, background))
      .resize(width / 2, height / 2, { fit: 'fill' })
      .png()
      .toBuffer()
  const { data, info } = await sharp({ create: { width, height, channels: 3, background: '#000' } })
    .composite([
      { input: await tile(CORNERS.topLeft), left: 0, top: 0 },
      { input: await tile(CORNERS.topRight), left: width / 2, top: 0 },
      { input: await tile(CORNERS.bottomRight), left: width / 2, top: height / 2 },
      { input: await tile(CORNERS.bottomLeft), left: 0, top: height / 2 },
    ])
    .raw()
    .toBuffer({ resolveWithObject: true })
  return sharp(data, { raw: { width: info.width, height: info.height, channels: info.channels } })
}

/** A small valid picture that differs from every other one in its bytes. */
export async function distinct(number: number, width = 96, height = 96): Promise<Buffer> {
  const background = { r: number % 256, g: (number * 7) % 256, b: (number >> 8) % 256 }
  return sharp({ create: { width, height, channels: 3, background } })
    .png()
    .toBuffer()
}

const FORMATS = {
  'image/jpeg': (picture: Sharp) => picture.jpeg(),
  'image/png': (picture: Sharp) => picture.png(),
  'image/webp': (picture: Sharp) => picture.webp(),
  'image/gif': (picture: Sharp) => picture.gif(),
  'image/avif': (picture: Sharp) => picture.avif({ effort: 0 }),
}
export const formats = Object.entries(FORMATS)

/** The mean colour of a corner's inner part, as [r, g, b]. */
export async function cornerColour(image: Buffer, corner: keyof typeof CORNERS): Promise<number[]> {
  const { width, height } = await sharp(image).metadata()
  const size = { width: Math.floor(width / 8), height: Math.floor(height / 8) }
  const left = corner.endsWith('Right') ? width - size.width * 2 : size.width
  const top = corner.startsWith('bottom') ? height - size.height * 2 : size.height
  const { channels } = await sharp(
    await sharp(image)
      .extract({ left, top, ...size })
      .toBuffer(),
  ).stats()
  return channels.map((channel) => Math.round(channel.mean))
}

export const rgb = (hex: string): number[] =>
  [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16))
