import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { GetObjectCommand } from '@aws-sdk/client-s3'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  avifPixels,
  createDecoder,
  createRender,
  prepare,
  readExif,
} from '../../packages/image-guard/index.ts'
import { startTestSystem, type TestSystem } from '../context.ts'
import {
  BLUE,
  type Colour,
  coloursOfQuarters,
  expectColours,
  GREEN,
  P3,
  PALE_BLUE,
  RED,
  WHITE,
  YELLOW,
} from '../pictures/four-areas.ts'
import {
  box,
  exif,
  exponentCurve,
  flat,
  fullBox,
  grid,
  iccProfile,
  insert,
  jpegSegment,
  linearGrey,
  pngChunk,
  repeat,
  u32,
  withChunks,
  withProfile,
  withSegments,
} from '../pictures/pictures.ts'

/** Pictures that viewers show whole, and which the decoders of a pipeline are tempted to refuse or to colour wrongly. */

const render = createRender(createDecoder())
const odd = (name: string): Buffer => readFileSync(join(import.meta.dirname, '../fixtures/odd', name))

describe('a picture that is out of the ordinary ends completed, with the colours that browsers draw:', () => {
  let system: TestSystem
  beforeAll(async () => {
    system = await startTestSystem()
  })
  afterAll(() => system.stop())

  it.each<[what: string, file: string, wanted: Colour[]]>([
    ['an animated AVIF, by its first frame', 'avif-seq.avif', [RED, GREEN, BLUE, YELLOW]],
    ['transparency that is turned with its colours', 'alpha-irot.avif', [WHITE, YELLOW, RED, PALE_BLUE]],
    ['premultiplied transparency', 'avif-alpha-premult.avif', [RED, WHITE, PALE_BLUE, YELLOW]],
    ['a GIF whose first frame is small', 'gif-small-first.gif', [RED, WHITE, WHITE, WHITE]],
    ['a PNG whose window is said to be too small', 'png-window-small.png', [RED, GREEN, BLUE, YELLOW]],
    ['Display P3 of 16 bits', 'png16-rgb-p3.png', [P3.red, P3.green, P3.blue, P3.yellow]],
    [
      'Display P3 that no profile says',
      'avif8-nclx-p3.avif',
      [
        [219, 0, 6],
        [0, 163, 0],
        [27, 40, 208],
        [232, 220, 0],
      ],
    ],
  ])('%s', async (_, file, wanted) => {
    const imageId = await system.submit(odd(file))
    await system.work()
    const record = await system.record(imageId)
    expect(record).toMatchObject({ status: 'completed', attempts: 1 })
    const { Body } = await system.worker.s3.send(
      new GetObjectCommand({ Bucket: system.names.bucket, Key: record.thumbnail?.key }),
    )
    await expectColours(Buffer.from((await Body?.transformToByteArray()) ?? []), wanted)
    const { rendition } = await render(odd(file), 's3')
    if (rendition !== undefined) await expectColours(rendition, wanted)
  })
})

describe('an AVIF', () => {
  it('is counted by its pictures, and not by the bytes of its Exif', async () => {
    for (const artist of ['2222', '\x32\x00\x32\x00', '222222222222', '*2222']) {
      const bytes = await flat(100, 100)
        .withExif({ IFD0: { Artist: artist } })
        .avif({ effort: 0 })
        .toBuffer()
      expect(avifPixels(bytes)).toEqual({ largest: 10_000, decoded: 10_000 })
      await expect(render(bytes, 's3')).resolves.toMatchObject({ width: 100, height: 100 })
    }
  })

  it('is as large as its data say, whatever its boxes do', async () => {
    const bytes = await flat(120, 100).avif({ effort: 0 }).toBuffer()
    const size = bytes.indexOf('ispe') + 8
    bytes.writeUInt32BE(1, size)
    bytes.writeUInt32BE(1, size + 4)
    expect(avifPixels(bytes)).toEqual({ largest: 12_000, decoded: 12_000 })
    bytes.write('free', size - 8, 'latin1')
    expect(avifPixels(bytes)).toEqual({ largest: 12_000, decoded: 12_000 })
  })

  it('is not followed where its pieces are too many for a list of them', () => {
    const number = (value: number, size: number): Buffer => {
      const bytes = Buffer.alloc(size)
      bytes.writeUIntBE(value, 0, size)
      return bytes
    }
    // 60 KB may say ten million, since neither place nor length of a piece takes a byte.
    const pieces = (items: number): Buffer => {
      const item = (id: number): Buffer => Buffer.concat([number(id, 2), number(0, 2), number(1_000, 2)])
      const places = Array.from({ length: items }, (_, id) => item(id + 2))
      const iloc = fullBox('iloc', 0, number(0, 2), number(items, 2), ...places)
      const ftyp = box('ftyp', Buffer.from('avif\0\0\0\0avifmif1'))
      return Buffer.concat([ftyp, fullBox('meta', 0, fullBox('pitm', 0, number(1, 2)), iloc)])
    }
    expect(avifPixels(pieces(100))).toEqual({ largest: 0, decoded: 0 })
    expect(avifPixels(pieces(101))).toEqual({ largest: 0, decoded: Number.POSITIVE_INFINITY })
  })
  it('counts data that several items share once for each of them', async () => {
    const file = await grid(96, 2, 2, 192, 4)
    expect(avifPixels(file)).toEqual({ largest: 192 ** 2, decoded: 4 * 96 ** 2 })
    await expect(render(file, 's3')).resolves.toMatchObject({ width: 192, height: 192 })
  })

  it('whose data goes on to the end of the file is drawn all the same', async () => {
    const file = odd('alpha-irot.avif')
    file.writeUInt32BE(0, file.indexOf('mdat') - 4)
    await expect(render(file, 's3')).resolves.toMatchObject({ width: 240, height: 320 })
  })

  it('may list the properties of its colours and those of its transparency in a box each', async () => {
    const whole = odd('alpha-irot.avif')
    const list = whole.indexOf('ipma') - 4
    // Behind a head of 16 bytes: an id, how many properties, and those.
    const second = list + 16 + 3 + (whole[list + 18] ?? 0)
    const more = Buffer.concat([u32(0), Buffer.from('ipma'), u32(0), u32(1)])
    const file = insert(whole, second, more)
    file.writeUInt32BE(1, list + 12)
    file.writeUInt32BE(second - list, list)
    file.writeUInt32BE(file.indexOf('mdat') - 4 - second, second)
    for (const type of ['meta', 'iprp']) {
      const at = file.indexOf(type) - 4
      file.writeUInt32BE(file.readUInt32BE(at) + more.length, at)
    }
    // Where the data of each item are, behind its id.
    for (const at of [18, 32].map((behind) => file.indexOf('iloc') + behind))
      file.writeUInt32BE(file.readUInt32BE(at) + more.length, at)
    const { thumbnail } = await render(file, 's3')
    expect(thumbnail.equals((await render(whole, 's3')).thumbnail)).toBe(true)
  })

  it.each([
    ['none', 16, WHITE],
    ['all', 235, RED],
  ])(
    'whose transparency is of limited range lets %s of it be seen where its number is %i',
    async (_, alpha, colour) => {
      const background = { r: RED[0], g: RED[1], b: RED[2], alpha: alpha / 255 }
      const file = await sharp({ create: { width: 100, height: 100, channels: 4, background } })
        .avif({ effort: 0 })
        .toBuffer()
      // The last byte of the sequence header of 100 × 100 pixels of grey: one bit for each range.
      const header = file.lastIndexOf(Buffer.from('12000a061819b1e361', 'hex'))
      const range = header + 9
      expect([header > 0, (file[range] ?? 0) & 0x40]).toEqual([true, 0x40])
      file[range] = (file[range] ?? 0) & ~0x40
      await expectColours((await render(file, 's3')).thumbnail, Array(4).fill(colour))
    },
  )

  it('of moving pictures has no other data than its first frame for the decoder', async () => {
    const file = odd('avif-seq.avif')
    // A sample table without end would be read by libheif; that of a still picture is passed over.
    const moov = file.indexOf('moov') - 4
    file.fill(0xff, moov + 16, moov + 200)
    await expectColours((await render(file, 's3')).thumbnail, [RED, GREEN, BLUE, YELLOW])
  })
  it.each(['isom', 'mp41', 'mp42'])(
    'may be an AVIF that goes with films too, by the brand %s',
    async (brand) => {
      const file = odd('avif8-nclx-p3.avif')
      file.write(brand, file.readUInt32BE(0) - 4, 'latin1')
      const { thumbnail } = await render(file, 's3')
      expect(thumbnail.equals((await render(odd('avif8-nclx-p3.avif'), 's3')).thumbnail)).toBe(true)
    },
  )
  it.each(['mif1', 'miaf', 'iso8'])(
    'may be an AVIF by its second brand, where the first is %s',
    async (brand) => {
      const file = odd('avif8-nclx-p3.avif')
      file.write(brand, 8, 'latin1')
      const { thumbnail } = await render(file, 's3')
      expect(thumbnail.equals((await render(odd('avif8-nclx-p3.avif'), 's3')).thumbnail)).toBe(true)
    },
  )
  it('may be a WebP that says that it is larger than it is, unless its picture is cut off', async () => {
    const file = await sharp({ create: { width: 100, height: 120, channels: 3, background: 'red' } })
      .webp({ lossless: true })
      .toBuffer()
    file.writeUInt32LE(file.length + 100, 4)
    expect(await render(file, 's3')).toMatchObject({ width: 100, height: 120 })
    for (const missing of [1, 2]) {
      const cut = render(file.subarray(0, -missing), 's3')
      await expect(cut, `${missing}`).rejects.toMatchObject({ code: 'CORRUPT_IMAGE' })
    }
  })
  it('may be a WebP without the byte that fills up its last chunk', async () => {
    const picture = await sharp({ create: { width: 100, height: 120, channels: 3, background: 'red' } })
      .withExif({ IFD0: { Make: 'Kamerawerk' } })
      .webp()
      .toBuffer()
    const file = Buffer.concat([picture, Buffer.from('XMP \x03\0\0\0abc')])
    file.writeUInt32LE(file.length - 8, 4)
    expect(await render(file, 's3')).toMatchObject({ width: 100, height: 120 })
  })
  it('says in a PNG what its Exif says behind the pixels, and is turned by what is in front of them only', async () => {
    const picture = await sharp({ create: { width: 100, height: 120, channels: 3, background: 'red' } })
      .png()
      .toBuffer()
    const block = pngChunk('eXIf', exif(0x0112, 3, 1, 6))
    const behind = await render(insert(picture, picture.length - 12, block), 's3')
    expect(readExif(behind.exif ?? Buffer.alloc(0), { gps: false })).toEqual({ orientation: 6 })
    expect([behind.width, behind.height]).toEqual([100, 120])
    const before = await render(withChunks(picture, block), 's3')
    expect([before.width, before.height]).toEqual([120, 100])
  })
  it('of moving pictures need not say which picture is the one, since players ask the film', async () => {
    const file = odd('avif-seq.avif')
    file.write('free', file.indexOf('pitm'), 'latin1')
    await expectColours((await render(file, 's3')).thumbnail, [RED, GREEN, BLUE, YELLOW])
    // A still picture has to, for browsers too.
    const still = odd('avif8-nclx-p3.avif')
    still.write('free', still.indexOf('pitm'), 'latin1')
    await expect(render(still, 's3')).rejects.toMatchObject({ code: 'CORRUPT_IMAGE' })
  })
})

describe('a verdict', () => {
  const corrupt = { code: 'CORRUPT_IMAGE' }

  it.each([
    ['alpha-irot.avif', 'iprp'],
    ['alpha-irot.avif', 'ipma'],
    ['avif8-nclx-p3.avif', 'iprp'],
    ['avif8-nclx-p3.avif', 'ipco'],
    ['avif8-nclx-p3.avif', 'colr'],
  ])('is what %s gets whose box %s claims more than there is', async (name, type) => {
    const file = odd(name)
    file.writeUInt32BE(0xffffffff, file.indexOf(type) - 4)
    await expect(render(file, 's3')).rejects.toMatchObject(corrupt)
  })

  it('is what an AVIF gets whose colours are said in too few bytes', async () => {
    const file = odd('avif8-nclx-p3.avif')
    file.writeUInt32BE(13, file.indexOf('colr') - 4)
    await expect(render(file, 's3')).rejects.toMatchObject(corrupt)
  })

  it('is what an AVIF gets whose transparency has as many properties as can be counted', async () => {
    const file = odd('alpha-irot.avif')
    const ipma = file.indexOf('ipma') - 4
    const end = ipma + file.readUInt32BE(ipma)
    // The last of its four is followed by 251 of no property.
    const full = insert(file, end, Buffer.alloc(251))
    full[end - 5] = 255
    for (const type of ['meta', 'iprp', 'ipma']) {
      const at = full.indexOf(type) - 4
      full.writeUInt32BE(full.readUInt32BE(at) + 251, at)
    }
    await expect(render(full, 's3')).rejects.toMatchObject(corrupt)
  })
})

it.each<[what: string, chunks: Buffer[]]>([
  ['no colours', [pngChunk('gAMA', u32(100_000)), pngChunk('cHRM', Buffer.alloc(32))]],
  ['no white', [pngChunk('gAMA', u32(100_000)), pngChunk('cHRM', repeat(u32(1), 8))]],
  ['no light', [pngChunk('gAMA', u32(0))]],
  ['more than there is', [pngChunk('gAMA', u32(0xffffffff)), pngChunk('cHRM', Buffer.alloc(32, 255))]],
  ['too little', [pngChunk('gAMA', Buffer.alloc(3)), pngChunk('cICP', Buffer.from([12, 13]))]],
])('a PNG whose numbers stand for %s is taken for sRGB', async (_, chunks) => {
  const plain = await flat(100, 100).png().toBuffer()
  await expectColours(
    (await render(withChunks(plain, ...chunks), 's3')).thumbnail,
    Array(4).fill([68, 136, 204]),
  )
})

it('a file in sRGB is not touched, however it says so', async () => {
  const points = [31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000]
  const [gAMA, cHRM] = [pngChunk('gAMA', u32(45_455)), pngChunk('cHRM', Buffer.concat(points.map(u32)))]
  const png = await flat(100, 100).png().toBuffer()
  for (const said of [[], [gAMA], [gAMA, cHRM], [pngChunk('cICP', Buffer.from([1, 13, 0, 1]))]]) {
    const file = withChunks(png, ...said)
    expect(prepare(file, 'image/png').bytes.equals(file)).toBe(true)
  }
  // Its AV1 data say 1 and 13.
  const avif = await flat(100, 100).avif({ effort: 0 }).toBuffer()
  expect(prepare(avif, 'image/avif').bytes.equals(avif)).toBe(true)
})

describe('a slip that changes no pixel is mended, and a cut beside it is not:', () => {
  const photo = readFileSync(join(import.meta.dirname, '../fixtures/grace-hopper.jpg'))
  const corrupt = { code: 'CORRUPT_IMAGE' }

  it('no marker at the end of a JPEG', async () => {
    const whole = await render(photo, 's3')
    const without = await render(photo.subarray(0, photo.lastIndexOf(Buffer.from('ffd9', 'hex'))), 's3')
    expect(without.thumbnail.equals(whole.thumbnail)).toBe(true)
    await expect(render(photo.subarray(0, photo.length - 2_000), 's3')).rejects.toMatchObject(corrupt)
    await expect(render(photo.subarray(0, photo.length / 2), 's3')).rejects.toMatchObject(corrupt)
  })

  /** Every second row of blocks is followed by a restart marker. */
  const restarting = odd('jpeg-restarts.jpg')
  const scan = restarting.indexOf(Buffer.from('ffda', 'hex'))
  const restarts = [...restarting.keys()].filter(
    (at) =>
      at > scan &&
      restarting[at] === 0xff &&
      [0xd0, 0xd1, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7].includes(restarting[at + 1] ?? 0),
  )
  const [, , , fourth = 0, fifth = 0] = restarts
  const inserted = (file: Buffer, at: number, ...bytes: number[]): Buffer =>
    Buffer.concat([file.subarray(0, at), Buffer.from(bytes), file.subarray(at)])
  const without = (file: Buffer, from: number, to: number): Buffer =>
    Buffer.concat([file.subarray(0, from), file.subarray(to)])
  /** As a frame of Motion JPEG: the tables are those of the standard. */
  const withoutTables = (file: Buffer): Buffer =>
    without(file, file.indexOf(Buffer.from('ffc4', 'hex')), file.indexOf(Buffer.from('ffdd', 'hex')))
  const renumbered = (file: Buffer, at: number, number: number): Buffer => {
    const copy = Buffer.from(file)
    copy[at + 1] = 0xd0 + number
    return copy
  }

  it.each<[slip: string, slipped: Buffer, cut: Buffer]>([
    [
      'bytes before a restart marker',
      inserted(restarting, fourth, 0, 1, 2),
      without(restarting, fourth - 40, fourth),
    ],
    [
      'bytes before every restart marker',
      restarts.toReversed().reduce((file, at) => inserted(file, at, 7, 8, 9), restarting),
      restarts
        .toReversed()
        .reduce((file, at) => inserted(file, at, 7, 8, 9), restarting)
        .subarray(0, fourth),
    ],
    [
      'bytes before a restart marker, and no Huffman tables,',
      withoutTables(inserted(restarting, fourth, 0, 1, 2)),
      withoutTables(without(restarting, fourth - 40, fourth)),
    ],
    [
      'a restart marker with the next number',
      renumbered(restarting, fourth, 4),
      without(restarting, fourth, fifth),
    ],
    [
      'a restart marker with another number',
      renumbered(restarting, fourth, 7),
      without(restarting, fourth, fourth + 2),
    ],
    [
      'restart markers that are all the same',
      restarts.reduce((file, at) => renumbered(file, at, 0), restarting),
      without(restarting, fifth - 30, fifth),
    ],
  ])('%s of a JPEG', async (_, slipped, cut) => {
    const whole = await render(restarting, 's3')
    expect(restarts).toHaveLength(7)
    expect((await render(slipped, 's3')).thumbnail.equals(whole.thumbnail)).toBe(true)
    await expect(render(cut, 's3')).rejects.toMatchObject(corrupt)
  })

  it('and bytes that are rather left of damaged data stay a damage', async () => {
    const [last = 0] = restarting.subarray(fourth - 1)
    const otherwisePadded = Buffer.from(restarting)
    otherwisePadded[fourth - 1] = last & 0xfe
    const many = Array.from({ length: 9 }, (_, index) => index)
    await expect(render(inserted(otherwisePadded, fourth, 0, 1), 's3')).rejects.toMatchObject(corrupt)
    await expect(render(inserted(restarting, fourth, ...many), 's3')).rejects.toMatchObject(corrupt)
  })

  it('bytes before the end of a progressive JPEG', async () => {
    const progressive = await sharp(photo).jpeg({ progressive: true }).toBuffer()
    const slipped = inserted(progressive, progressive.length - 2, 0, 1, 2)
    const whole = await render(progressive, 's3')
    expect((await render(slipped, 's3')).thumbnail.equals(whole.thumbnail)).toBe(true)
    const cut = without(slipped, slipped.length - 500, slipped.length - 5)
    await expect(render(cut, 's3')).rejects.toMatchObject(corrupt)
  })

  it('the height of a JPEG after its first scan', async () => {
    const late = Buffer.from(restarting)
    const frame = late.indexOf(Buffer.from('ffc0', 'hex'))
    const height = late.readUInt16BE(frame + 5)
    late.writeUInt16BE(0, frame + 5)
    const slipped = inserted(late, late.length - 2, 0xff, 0xdc, 0, 4, height >> 8, height & 0xff)
    const whole = await render(restarting, 's3')
    expect((await render(slipped, 's3')).thumbnail.equals(whole.thumbnail)).toBe(true)
    await expect(render(late, 's3')).rejects.toMatchObject(corrupt)
    await expect(render(without(slipped, fifth, slipped.length - 8), 's3')).rejects.toMatchObject(corrupt)
  })

  it('colours of a JPEG that Adobe never had', async () => {
    const adobe = (transform: number): Buffer =>
      withSegments(
        restarting,
        jpegSegment(0xee, Buffer.from([...Buffer.from('Adobe'), 0, 100, 0, 0, 0, 0, transform])),
      )
    const whole = await render(adobe(1), 's3')
    expect((await render(adobe(7), 's3')).thumbnail.equals(whole.thumbnail)).toBe(true)
    await expect(render(adobe(7).subarray(0, 3_000), 's3')).rejects.toMatchObject(corrupt)
    const print = await sharp(photo).toColourspace('cmyk').jpeg().toBuffer()
    const transform = print.indexOf('Adobe') + 11
    const inks = async (said: number): Promise<Buffer> => {
      const copy = Buffer.from(print)
      copy[transform] = said
      return (await render(copy, 's3')).thumbnail
    }
    expect((await inks(9)).equals(await inks(2))).toBe(true)
  })

  it('no end of a GIF', async () => {
    const gif = await sharp(photo).resize(100, 100).gif({ effort: 1 }).toBuffer()
    const whole = await render(gif, 's3')
    for (const missing of [1, 2])
      expect((await render(gif.subarray(0, -missing), 's3')).thumbnail.equals(whole.thumbnail)).toBe(true)
    await expect(render(gif.subarray(0, -40), 's3')).rejects.toMatchObject(corrupt)
  })

  it('no room on its screen for the frame of a GIF', async () => {
    const gif = await flat(100, 100).gif().toBuffer()
    const control = gif.indexOf(Buffer.from('21f904', 'hex'))
    // Not transparent; 60 pixels to the right and 40 down.
    gif[control + 3] = 0
    gif.set([60, 0, 40, 0], control + 9)
    const { width, height, thumbnail, rendition } = await render(gif, 's3')
    expect({ width, height }).toEqual({ width: 160, height: 140 })
    for (const picture of [thumbnail, rendition ?? thumbnail]) {
      const { data } = await sharp(picture).raw().toBuffer({ resolveWithObject: true })
      expect(data[0], 'around the frame').toBeGreaterThan(250)
    }
  })

  it('a segment of a JPEG that is too short for what is said in it', async () => {
    const whole = await render(photo, 's3')
    for (const short of [jpegSegment(0xe0, Buffer.from('JFIF\0')), jpegSegment(0xee, Buffer.from('Adobe'))]) {
      const frame = photo.indexOf(Buffer.from('ffdb', 'hex'))
      expect((await render(inserted(photo, frame, ...short), 's3')).thumbnail.equals(whole.thumbnail)).toBe(
        true,
      )
    }
  })

  it('another GIF behind the first, which has no end', async () => {
    const [first = photo, second = photo] = await Promise.all(
      [photo, restarting].map((file) => sharp(file).resize(100, 100).gif({ effort: 1 }).toBuffer()),
    )
    const whole = await render(first, 's3')
    const both = Buffer.concat([first.subarray(0, -1), second])
    expect((await render(both, 's3')).thumbnail.equals(whole.thumbnail)).toBe(true)
    const cut = Buffer.concat([first.subarray(0, -40), second])
    await expect(render(cut, 's3')).rejects.toMatchObject(corrupt)
  })

  it('a lossless WebP that is said not to be transparent, and is', async () => {
    const clear = sharp({ create: { width: 100, height: 100, channels: 4, background: '#00000000' } })
    const file = await clear.webp({ lossless: true, exact: true }).toBuffer()
    const flags = file.indexOf('VP8L') + 12
    expect((file[flags] ?? 0) & 0x10).toBe(0x10)
    file[flags] = (file[flags] ?? 0) & ~0x10
    await expectColours((await render(file, 's3')).thumbnail, Array(4).fill(WHITE))
  })

  it('another AVIF behind the first', async () => {
    const [first, second] = await Promise.all(
      [photo, restarting].map((file) => sharp(file).resize(100, 100).avif({ effort: 0 }).toBuffer()),
    )
    const both = Buffer.concat([first ?? photo, second ?? photo])
    const whole = await render(first ?? photo, 's3')
    expect((await render(both, 's3')).thumbnail.equals(whole.thumbnail)).toBe(true)
    await expect(render((first ?? photo).subarray(0, -100), 's3')).rejects.toMatchObject(corrupt)
  })

  it('a window of compressed data that is said to be too small', async () => {
    const file = odd('png-window-small.png')
    await expectColours((await render(file, 's3')).thumbnail, [RED, GREEN, BLUE, YELLOW])
    await expect(render(file.subarray(0, file.length - 1_000), 's3')).rejects.toMatchObject(corrupt)
    const damaged = Buffer.from(file)
    damaged[file.length - 600] = (damaged[file.length - 600] ?? 0) ^ 1
    await expect(render(damaged, 's3')).rejects.toMatchObject(corrupt)
  })
})

describe('of a long picture the thumbnail shows', () => {
  const person = sharp(readFileSync(join(import.meta.dirname, '../fixtures/grace-hopper.jpg')))
  const GROUND = '#334455'
  const around = async (width: number, height: number, left: number, top: number): Promise<Buffer> => {
    const input = await person.clone().resize(256, 300).png().toBuffer()
    const ground = sharp({ create: { width, height, channels: 3, background: GROUND } })
    return ground.composite([{ input, left, top }]).png().toBuffer()
  }
  /** The part of the thumbnail that is not the ground. */
  const shown = async (picture: Buffer): Promise<number> => {
    const { thumbnail } = await render(picture, 's3')
    const { data, info } = await sharp(thumbnail).raw().toBuffer({ resolveWithObject: true })
    let others = 0
    for (let at = 0; at < data.length; at += info.channels)
      if (Math.abs((data[at] ?? 0) - 0x33) > 16) others += 1
    return others / (info.width * info.height)
  }

  it.each([
    ['at the top', 256, 900, 0, 0],
    ['at the bottom', 256, 900, 0, 600],
    ['at the left', 1_500, 300, 0, 0],
    ['at the right', 1_500, 300, 1_244, 0],
  ])('the head that is %s, and the same part each time', async (_, width, height, left, top) => {
    const picture = await around(width, height, left, top)
    expect(await shown(picture)).toBeGreaterThan(0.7)
    const [first, second] = await Promise.all([render(picture, 's3'), render(picture, 's3')])
    expect(first?.thumbnail.equals(second?.thumbnail ?? picture)).toBe(true)
  })
})

it('a strip keeps its shape for Rekognition where both of its limits can be kept', async () => {
  const strip = await flat(10_500, 90).png().toBuffer()
  const { rendition } = await render(strip, 's3')
  const { width, height } = await sharp(rendition).metadata()
  expect(width).toBeLessThanOrEqual(10_000)
  expect(height).toBeGreaterThanOrEqual(80)
  expect(Math.abs(width / height / (10_500 / 90) - 1)).toBeLessThan(0.01)
})

it('grey of 16 bits is converted by its profile', async () => {
  const raw = { width: 100, height: 100, channels: 1 } as const
  const half = new Uint16Array(raw.width * raw.height).fill(0x8000)
  const grey = await sharp(half, { raw }).toColourspace('grey16').png().toBuffer()
  expect((await sharp(grey).metadata()).depth).toBe('ushort')
  const linear = withProfile(grey, linearGrey())
  // Half of the light is 188 of 255 in sRGB (IEC 61966-2-1: 1.055 × 0.5 ^ (1 / 2.4) − 0.055).
  const [first] = await coloursOfQuarters((await render(linear, 's3')).thumbnail)
  expect(
    first?.every((value) => Math.abs(value - 188) <= 3),
    JSON.stringify(first),
  ).toBe(true)
})

it('grey of a JPEG is converted by a profile of colours', async () => {
  const half = sharp({ create: { width: 100, height: 100, channels: 3, background: '#808080' } })
  const grey = await half.toColourspace('b-w').jpeg().toBuffer()
  expect((await sharp(grey).metadata()).channels).toBe(1)
  const xyz = (...values: number[]): Buffer =>
    Buffer.concat([Buffer.from('XYZ '), u32(0), ...values.map((value) => u32(Math.round(value * 0x10000)))])
  // Those of sRGB; its numbers are amounts of light.
  const columns = {
    rXYZ: xyz(0.43607, 0.22249, 0.01392),
    gXYZ: xyz(0.38515, 0.71687, 0.09708),
    bXYZ: xyz(0.14307, 0.06061, 0.7141),
  }
  const linear = exponentCurve(1)
  const profile = iccProfile('RGB ', { ...columns, rTRC: linear, gTRC: linear, bTRC: linear })
  const said = Buffer.concat([Buffer.from('ICC_PROFILE\0\x01\x01', 'latin1'), profile])
  const { thumbnail } = await render(withSegments(grey, jpegSegment(0xe2, said)), 's3')
  const [first] = await coloursOfQuarters(thumbnail)
  expect(
    first?.every((value) => Math.abs(value - 188) <= 3),
    JSON.stringify(first),
  ).toBe(true)
})
