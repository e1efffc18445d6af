import { readFileSync } from 'node:fs'
import { crc32, deflateSync } from 'node:zlib'
import sharp, { type Sharp } from 'sharp'

/** Pictures made for the tests. Every test that needs an odd one makes it, so a reader need not guess what a file holds. */

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

/** Four quarters of different colours, so that the pixels show every way of lying. */
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

const photo = (width = 200, height = 160): Sharp =>
  sharp(readFileSync(new URL('../fixtures/grace-hopper.jpg', import.meta.url))).resize(width, height, {
    fit: 'fill',
  })
export const flat = (width: number, height: number): Sharp =>
  sharp({ create: { width, height, channels: 3, background: '#48c' }, limitInputPixels: false })

/** A small valid file of every format and kind that is accepted, by its name. */
export async function validFiles(): Promise<Map<string, Buffer>> {
  const frames = await Promise.all(['#d02020', '#20a020', '#2020d0'].map((color) => square(100, color)))
  const animation = () => sharp(frames, { join: { animated: true } })
  const files: Record<string, Sharp> = {
    'baseline.jpg': photo().jpeg(),
    'full-chroma.jpg': photo().jpeg({ chromaSubsampling: '4:4:4', quality: 95 }),
    'progressive.jpg': photo().jpeg({ progressive: true }),
    'grey.jpg': photo().greyscale().jpeg(),
    'cmyk.jpg': photo().toColourspace('cmyk').jpeg(),
    'exif.jpg': photo()
      .withExif({ IFD0: { Artist: 'a', Copyright: 'b' } })
      .jpeg(),
    'p3.jpg': photo().withIccProfile('p3').jpeg(),
    'rgb.png': photo().png(),
    'alpha.png': photo().ensureAlpha(0.5).png(),
    'grey.png': photo().greyscale().png(),
    '16-bit.png': photo().toColourspace('rgb16').png(),
    'interlaced.png': photo().png({ progressive: true }),
    'interlaced-16-bit.png': photo().ensureAlpha(0.5).toColourspace('rgb16').png({ progressive: true }),
    'palette.png': photo().png({ palette: true }),
    '1-bit.png': photo().png({ palette: true, colours: 2 }),
    'p3.png': photo().withIccProfile('p3').png(),
    'lossy.webp': photo().webp(),
    'lossless.webp': photo().ensureAlpha(0.5).webp({ lossless: true, effort: 0 }),
    'alpha.webp': photo().ensureAlpha(0.5).webp({ effort: 0 }),
    'exif.webp': photo().withMetadata({ orientation: 6 }).webp({ effort: 0 }),
    'animated.webp': animation().webp({ effort: 0 }),
    'still.gif': photo().gif({ effort: 1 }),
    'interlaced.gif': photo().gif({ effort: 1, progressive: true }),
    'animated.gif': animation().gif({ effort: 1 }),
    '8-bit.avif': photo().avif({ effort: 0 }),
    '10-bit.avif': photo().avif({ effort: 0, bitdepth: 10 }),
    '12-bit.avif': photo().avif({ effort: 0, bitdepth: 12, chromaSubsampling: '4:2:0' }),
    'alpha.avif': photo().ensureAlpha(0.5).avif({ effort: 0 }),
  }
  const made = new Map<string, Buffer>()
  for (const [name, picture] of Object.entries(files)) made.set(name, await picture.toBuffer())
  made.set('grid.avif', await grid(128, 2, 2, 256))
  made.set('nclx.avif', readFileSync(new URL('../fixtures/odd/avif8-nclx-p3.avif', import.meta.url)))
  const png = await photo().png().toBuffer()
  const hdr = [pngChunk('cICP', Buffer.from([9, 16, 0, 1])), pngChunk('cLLI', Buffer.alloc(8, 1))]
  made.set('hdr.png', withChunks(png, ...hdr))
  const chromaticities = [31_270, 32_900, 68_000, 32_000, 26_500, 69_000, 15_000, 6_000].map(u32)
  const gamma = [pngChunk('gAMA', u32(50_000)), pngChunk('cHRM', Buffer.concat(chromaticities))]
  made.set('gamma.png', withChunks(png, ...gamma))
  return made
}

export function pngChunk(type: string, data: Uint8Array): Buffer {
  const chunk = Buffer.alloc(12 + data.length)
  chunk.writeUInt32BE(data.length, 0)
  chunk.write(type, 4, 'latin1')
  chunk.set(data, 8)
  chunk.writeUInt32BE(crc32(chunk.subarray(4, 8 + data.length)), 8 + data.length)
  return chunk
}
export const jpegSegment = (marker: number, data: Uint8Array): Buffer => {
  const head = Buffer.from([0xff, marker, 0, 0])
  head.writeUInt16BE(data.length + 2, 2)
  return Buffer.concat([head, data])
}
export const repeat = (unit: Uint8Array, times: number): Buffer => Buffer.alloc(unit.length * times, unit)
export const insert = (file: Uint8Array, at: number, ...parts: Uint8Array[]): Buffer =>
  Buffer.concat([file.subarray(0, at), ...parts, file.subarray(at)])

/** A profile (ICC.1:2001-04) of a display whose white is that of D50. */
export function iccProfile(space: 'RGB ' | 'GRAY', tags: Record<string, Buffer>): Buffer {
  const d50 = '0000f6d6000100000000d32d'
  const all = Object.entries({ wtpt: Buffer.from(`58595a2000000000${d50}`, 'hex'), ...tags })
  const head = Buffer.alloc(128)
  head.writeUInt32BE(0x02400000, 8)
  head.write(`mntr${space}XYZ `, 12, 'latin1')
  head.write('acsp', 36, 'latin1')
  head.write(d50, 68, 'hex')
  let at = head.length + 4 + 12 * all.length
  const table = all.map(([name, data]) => {
    const entry = Buffer.concat([Buffer.from(name), u32(at), u32(data.length)])
    at += data.length
    return entry
  })
  const profile = Buffer.concat([head, u32(all.length), ...table, ...all.map(([, data]) => data)])
  profile.writeUInt32BE(profile.length, 0)
  return profile
}
/** For a profile: numbers that are amounts of light to the power of 1 / `exponent`. */
export const exponentCurve = (exponent: number): Buffer =>
  Buffer.concat([Buffer.from('curv'), u32(0), u32(1), u16(Math.round(exponent * 256)), u16(0)])
/** A profile for grey whose numbers are amounts of light. */
export const linearGrey = (): Buffer => iccProfile('GRAY', { kTRC: exponentCurve(1) })
export const withProfile = (png: Uint8Array, profile: Uint8Array): Buffer =>
  withChunks(
    png,
    pngChunk('iCCP', Buffer.concat([Buffer.from('profile\0\0', 'latin1'), deflateSync(profile)])),
  )

/** Where the chunks of a PNG begin that follow its header. */
const AFTER_IHDR = 33
export const withChunks = (png: Uint8Array, ...chunks: Uint8Array[]): Buffer =>
  insert(png, AFTER_IHDR, ...chunks)
export const withSegments = (jpeg: Uint8Array, ...segments: Uint8Array[]): Buffer =>
  insert(jpeg, 2, ...segments)

/** EXIF data with one entry, as it stands in a PNG chunk; a JPEG has `Exif\0\0` before it. */
export function exif(tag: number, type: number, count: number, value: number): Buffer {
  const data = Buffer.alloc(26)
  data.write('II*\0\b\0\0\0\x01', 'latin1')
  data.writeUInt16LE(tag, 10)
  data.writeUInt16LE(type, 12)
  data.writeUInt32LE(count, 14)
  data.writeUInt32LE(value, 18)
  return data
}
export const exifSegment = (data: Uint8Array): Buffer =>
  jpegSegment(0xe1, Buffer.concat([Buffer.from('Exif\0\0'), data]))

/** A grey progressive JPEG whose scans all say that there is nothing: each is short, and goes through every pixel. */
export function scanBomb(side: number, scans: number): Buffer {
  const blocks = Math.ceil(side / 8) ** 2
  const table = (kind: number, symbol: number) =>
    jpegSegment(0xc4, Buffer.from([kind, 1, ...Array(15).fill(0), symbol]))
  const scan = (first: number, last: number, high: number, low: number) =>
    jpegSegment(0xda, Buffer.from([1, 1, 0, first, last, (high << 4) | low]))
  const dc = Buffer.alloc(Math.ceil(blocks / 8))
  // A run of 32,767 empty blocks: the symbol EOB14, which is one bit, and 14 more.
  const runs = Math.ceil(blocks / 32_767)
  const bits = Array.from({ length: runs }, (_, run) => {
    const length = Math.min(32_767, blocks - run * 32_767)
    return `0${Math.max(0, length - 16_384)
      .toString(2)
      .padStart(14, '0')}`
  }).join('')
  const bytes = bits.padEnd(Math.ceil(bits.length / 8) * 8, '1').match(/.{8}/g) ?? []
  const ac = Buffer.from(
    bytes.flatMap((byte) => (byte === '11111111' ? [255, 0] : [Number.parseInt(byte, 2)])),
  )
  const parts = [
    Buffer.from([0xff, 0xd8]),
    jpegSegment(0xdb, Buffer.from([0, ...Array(64).fill(1)])),
    jpegSegment(0xc2, Buffer.from([8, side >> 8, side & 255, side >> 8, side & 255, 1, 1, 0x11, 0])),
    table(0x00, 0),
    table(0x10, 0xe0),
    scan(0, 0, 0, 0),
    dc,
  ]
  for (let number = 1; number < scans; number += 1) {
    const low = 13 - ((number - 1) % 14)
    const coefficient = 1 + Math.floor((number - 1) / 14)
    parts.push(scan(coefficient, coefficient, low === 13 ? 0 : low + 1, low), ac)
  }
  return Buffer.concat([...parts, Buffer.from([0xff, 0xd9])])
}

/** An animation of tiny frames, each of which takes a few bytes. */
export async function frameBomb(format: 'gif' | 'webp', frames: number): Promise<Buffer> {
  if (format === 'gif') {
    const still = await flat(100, 100).gif().toBuffer()
    const frame = Buffer.from([0x2c, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 1, 0x44, 0])
    return insert(still, still.length - 1, repeat(frame, frames - 1))
  }
  const chunk = (type: string, data: Buffer) => {
    const head = Buffer.alloc(8)
    head.write(type)
    head.writeUInt32LE(data.length, 4)
    return Buffer.concat([head, data, Buffer.alloc(data.length % 2)])
  }
  const frame = async (side: number): Promise<Buffer> => {
    const head = Buffer.alloc(16)
    head.writeUIntLE(side - 1, 6, 3)
    head.writeUIntLE(side - 1, 9, 3)
    const still = await flat(side, side).webp({ lossless: true, effort: 0 }).toBuffer()
    return chunk('ANMF', Buffer.concat([head, still.subarray(12)]))
  }
  const canvas = Buffer.from([2, 0, 0, 0, 99, 0, 0, 99, 0, 0])
  const parts = [chunk('VP8X', canvas), chunk('ANIM', Buffer.alloc(6)), await frame(100)]
  return chunk(
    'RIFF',
    Buffer.concat([Buffer.from('WEBP'), ...parts, repeat(await frame(1), Math.max(0, frames - 1))]),
  )
}

export const u16 = (value: number): Buffer => Buffer.from([value >> 8, value & 255])
export const u32 = (value: number): Buffer => Buffer.concat([u16(value >>> 16), u16(value & 0xffff)])
export const box = (type: string, ...parts: Uint8Array[]): Buffer => {
  const data = Buffer.concat(parts)
  return Buffer.concat([u32(data.length + 8), Buffer.from(type, 'latin1'), data])
}
export const fullBox = (type: string, version: number, ...parts: Uint8Array[]): Buffer =>
  box(type, Buffer.from([version, 0, 0, 0]), ...parts)
export interface IsoBox {
  type: string
  at: number
  bytes: Buffer
}
export function isoBoxes(bytes: Buffer, from = 0): IsoBox[] {
  const found: IsoBox[] = []
  for (let at = from; at + 8 <= bytes.length; ) {
    const size = bytes.readUInt32BE(at)
    if (size < 8) break
    found.push({ type: bytes.toString('latin1', at + 4, at + 8), at, bytes: bytes.subarray(at, at + size) })
    at += size
  }
  return found
}
const boxOf = (boxes: IsoBox[], type: string): IsoBox => {
  const found = boxes.find((candidate) => candidate.type === type)
  if (found === undefined) throw new Error(`There is no box ${type}.`)
  return found
}

/**
 * An AVIF whose picture is that of `side` pixels, shown as the cells of a grid (ISO/IEC 23008-12, 6.6.2.3).
 *
 * @param cells how many items the cells are; all of them have the same bytes
 */
export async function grid(
  side: number,
  rows: number,
  columns: number,
  shown: number,
  cells = 1,
): Promise<Buffer> {
  const cell = await flat(side, side).avif({ effort: 0 }).toBuffer()
  const top = isoBoxes(cell)
  const items = isoBoxes(boxOf(top, 'meta').bytes, 12)
  const properties = isoBoxes(boxOf(isoBoxes(boxOf(items, 'iprp').bytes, 8), 'ipco').bytes, 8)
  const data = boxOf(top, 'mdat').bytes.subarray(8)
  const layout = Buffer.concat([Buffer.from([0, 1, rows - 1, columns - 1]), u32(shown), u32(shown)])
  const ftyp = box('ftyp', Buffer.from('avif'), u32(0), Buffer.from('avifmif1miaf'))
  const item = (id: number, type: string) => fullBox('infe', 2, u16(id), u16(0), Buffer.from(`${type}\0`))
  const uses = properties.map(({ type }, index) => (index + 1) | (type === 'av1C' ? 0x80 : 0))
  const ids = Array.from({ length: cells }, (_, index) => index + 1)
  const canvas = cells + 1
  const shownAs = Array.from({ length: rows * columns }, (_, index) => u16((index % cells) + 1))
  const meta = (at: number) =>
    fullBox(
      'meta',
      0,
      fullBox('hdlr', 0, u32(0), Buffer.from('pict'), Buffer.alloc(13)),
      fullBox('pitm', 0, u16(canvas)),
      fullBox(
        'iloc',
        0,
        ...[Buffer.from([0x44, 0]), u16(canvas)],
        ...ids.flatMap((id) => [u16(id), u16(0), u16(1), u32(at), u32(data.length)]),
        ...[u16(canvas), u16(0), u16(1), u32(at + data.length), u32(layout.length)],
      ),
      fullBox('iinf', 0, u16(canvas), ...ids.map((id) => item(id, 'av01')), item(canvas, 'grid')),
      fullBox('iref', 0, box('dimg', u16(canvas), u16(rows * columns), ...shownAs)),
      box(
        'iprp',
        box('ipco', ...properties.map(({ bytes }) => bytes), fullBox('ispe', 0, u32(shown), u32(shown))),
        fullBox(
          'ipma',
          0,
          u32(canvas),
          ...ids.flatMap((id) => [u16(id), Buffer.from([uses.length, ...uses])]),
          ...[u16(canvas), Buffer.from([1, properties.length + 1])],
        ),
      ),
    )
  return Buffer.concat([ftyp, meta(ftyp.length + meta(0).length + 8), box('mdat', data, layout)])
}

/** An AVIF whose picture is coded many times over: decoders go through all of its frames to show one. */
export async function frameRepeatingAvif(side: number, times: number): Promise<Buffer> {
  const still = await flat(side, side).avif({ effort: 0 }).toBuffer()
  const top = isoBoxes(still)
  const { at, bytes } = boxOf(top, 'mdat')
  const meta = boxOf(top, 'meta')
  const data = bytes.subarray(8)
  const place = boxOf(isoBoxes(meta.bytes, 12), 'iloc').at + meta.at
  const file = Buffer.concat([still.subarray(0, at), box('mdat', repeat(data, times))])
  // The length of the only extent is the last field of the box.
  file.writeUInt32BE(data.length * times, place + still.readUInt32BE(place) - 4)
  return file
}
