import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { crc32, deflateSync } from 'node:zlib'
import { GetObjectCommand } from '@aws-sdk/client-s3'
import fc from 'fast-check'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildApp } from '../../api/app.ts'
import { blankPosition, readExif } from '../../packages/image-guard/index.ts'
import { startTestSystem, type TestSystem } from '../context.ts'
import {
  CAMERA,
  EXIF_FORMATS,
  EXIF_HEADER,
  type ExifFormat,
  exifBlock,
  FULL,
  GPS,
  PHOTO,
  picture,
  rational,
  withExif,
} from '../pictures/exif-blocks.ts'
import { heic, picture as picturePart } from '../pictures/heic-files.ts'
import { box, jpegSegment, pngChunk, u16, u32, withChunks, withSegments } from '../pictures/pictures.ts'
import { startSystem } from '../system.ts'
import { SILENT, sendForm, skipped } from '../tools.ts'

/** What must not be left of a position: parts of its text in XMP, and of its numbers in either order of bytes. */
const TEXT = ['33,54.1949S', '54.1949S', '18,25.3690E', '-33.9116', '18.4228', '1234567/100000']
const NUMBERS = [98_765_431, 2_345_678, 76_543_219, 3_456_789, 1_234_567].flatMap((number) => {
  const [little, big] = [Buffer.alloc(4), Buffer.alloc(4)]
  little.writeUInt32LE(number)
  big.writeUInt32BE(number)
  return [little, big]
})
const leftIn = (file: Buffer): string[] =>
  [...TEXT.map((text) => Buffer.from(text)), ...NUMBERS]
    .filter((part) => file.includes(part))
    .map((part) => part.toString('latin1'))

const XMP_NAME = Buffer.from('http://ns.adobe.com/xap/1.0/\0')
const xmp = (attributes: string, elements = ''): Buffer =>
  Buffer.from(
    `<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:drone="http://www.dji.com/drone-dji/1.0/" xmlns:geo="http://www.w3.org/2003/01/geo/wgs84_pos#" xmlns:dwc="http://rs.tdwg.org/dwc/index.htm" xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmlns:dc="http://purl.org/dc/elements/1.1/" tiff:Model="Kept in XMP" ${attributes}>${elements}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>`,
  )
const PACKET = xmp(
  'exif:GPSLatitude="33,54.1949S" exif:GPSLongitude = \'18,25.3690E\' drone:GpsLatitude="-33.9116" drone:Longitude="18.4228" drone:LRFTargetLon="18.4228" geo:lat="-33.9116" dwc:verbatimCoordinates="-33.9116, 18.4228"',
  '<georss:point xmlns:georss="http://www.georss.org/georss">-33.9116 18.4228</georss:point><exif:GPSAltitude>1234567/100000</exif:GPSAltitude><exif:GPSMapDatum/><exif:GPSTimeStamp rdf:parseType="Resource"><rdf:value>33,54.1949S</rdf:value></exif:GPSTimeStamp><dc:description><rdf:Alt><rdf:li xml:lang="x-default">GPS of the latitude</rdf:li></rdf:Alt></dc:description>',
)

/** What does not fit into the segment of a packet. */
const extended = (attributes: string): Buffer => xmp(attributes, `<dc:title>${'t'.repeat(900)}</dc:title>`)
const EXTENDED = 'exif:GPSLatitude="33,54.1949S"'

const profile = (block: Buffer, name = 'exif'): string =>
  `\n${name}\n${String(block.length).padStart(8)}\n${block.toString('hex').replaceAll(/(.{72})/g, '$1\n')}\n`

async function bySharp(format: ExifFormat): Promise<Buffer> {
  return sharp(await picture(format))
    .withExif({
      IFD0: { Make: 'Kamerawerk', Model: 'Prüfgerät 7' },
      IFD2: { DateTimeOriginal: '2026:05:01 12:34:56' },
      IFD3: {
        ...{ GPSLatitudeRef: 'S', GPSLatitude: '33/1 54/1 98765431/2345678' },
        ...{ GPSLongitudeRef: 'E', GPSLongitude: '18/1 25/1 76543219/3456789' },
        ...{ GPSAltitudeRef: '1', GPSAltitude: '1234567/100000' },
      },
    })
    .withXmp(PACKET.toString())
    .toFormat(format)
    .toBuffer()
}

/** Of Photoshop, without a name. */
const resource = (id: number, data: Buffer): Buffer =>
  Buffer.concat([
    ...[Buffer.from('8BIM'), u16(id), u16(0), u32(data.length), data],
    Buffer.alloc(data.length % 2),
  ])
/** Of a thermal camera: the second of two records says where. In two segments, of which each has its number. */
function thermal(little: boolean): Buffer[] {
  const word = (value: number): Buffer => (little ? Buffer.from(u32(value)).swap32() : u32(value))
  const half = (value: number): Buffer => (little ? Buffer.from(u16(value)).swap16() : u16(value))
  const record = (kind: number, from: number, size: number): Buffer =>
    Buffer.concat([half(kind), half(1), word(100), word(1), word(from), word(size), Buffer.alloc(12)])
  const data = Buffer.concat([
    ...[Buffer.from('FFF\0'), Buffer.alloc(16), word(101), word(0x40), word(2), Buffer.alloc(32)],
    ...[record(0x23, 0x80, 8), record(0x2b, 0x88, 0xb4), Buffer.from('SeenWarm')],
    ...[word(1), Buffer.from('\x02\x02\0\0S\0E\0'), word(98_765_431), Buffer.alloc(16), Buffer.alloc(0x94)],
  ])
  const parts = [data.subarray(0, 0x90), data.subarray(0x90)]
  return parts.map((part, index) =>
    jpegSegment(0xe1, Buffer.concat([Buffer.from('FLIR\0'), Buffer.from([1, index, 1]), part])),
  )
}
const KEY = Buffer.from('mdtacom.apple.quicktime.location.ISO6709')
/** As phones put it behind a photo, with its place as QuickTime has it, in two ways, and 3GPP. */
const FILM = Buffer.concat([
  box('ftyp', Buffer.from('isom\0\0\0\0isom')),
  box(
    'moov',
    box(
      'udta',
      box('\xa9xyz', u16(18), u16(0x15c7), Buffer.from('-33.9116+018.4228/')),
      box(
        'loci',
        u32(0),
        u16(0x15c7),
        Buffer.from('\0\0'),
        u32(98_765_431),
        u32(2_345_678),
        u32(0),
        Buffer.from('\0\0'),
      ),
    ),
    box(
      'meta',
      u32(0),
      box('hdlr', u32(0), u32(0), Buffer.from('mdta'), Buffer.alloc(13)),
      box('keys', u32(0), u32(1), u32(KEY.length + 4), KEY),
      box('ilst', box('\0\0\0\x01', box('data', u32(1), u32(0), Buffer.from('-33.9116+018.4228+012/')))),
    ),
  ),
])

function withChunkNamed(webp: Buffer, from: string, to: string): Buffer {
  webp.write(to, webp.indexOf(from), 'latin1')
  return webp
}

/** Files in which a position stands in every way that there is. */
async function files(): Promise<Record<string, Buffer>> {
  const jpeg = await picture('jpeg')
  const png = await picture('png')
  const block = exifBlock(FULL)
  const again = exifBlock({ image: CAMERA, gps: GPS }, false)
  const long = exifBlock({ image: { 270: 'x'.repeat(90_000), ...CAMERA }, photo: PHOTO, gps: GPS })
  const whole = extended(EXTENDED)
  const hash = createHash('md5').update(whole).digest('hex').toUpperCase()
  const part = (from: number, to: number): Buffer => {
    const head = Buffer.alloc(8)
    head.writeUInt32BE(whole.length)
    head.writeUInt32BE(from, 4)
    const name = `http://ns.adobe.com/xmp/extension/\0${hash}`
    return jpegSegment(0xe1, Buffer.concat([Buffer.from(name), head, whole.subarray(from, to)]))
  }
  // In the middle of the value.
  const cut = whole.indexOf('54.1949')
  const second = withExif(await picture('jpeg', 9), exifBlock(FULL, false))
  const gif = await sharp(png).gif().toBuffer()
  const trailer = Buffer.concat([
    Buffer.from([1]),
    Buffer.from(Array.from({ length: 256 }, (_, at) => 255 - at)),
  ])
  return {
    ...Object.fromEntries(
      await Promise.all(EXIF_FORMATS.map(async (format) => [`${format} of sharp`, await bySharp(format)])),
    ),
    'jpeg with two blocks, in both orders of bytes': withExif(withExif(jpeg, again), block),
    'jpeg with a block in two segments': withSegments(
      jpeg,
      jpegSegment(0xe1, Buffer.concat([EXIF_HEADER, long.subarray(0, 60_000)])),
      jpegSegment(0xe1, Buffer.concat([EXIF_HEADER, long.subarray(60_000)])),
    ),
    'jpeg with an extended packet': withSegments(
      jpeg,
      jpegSegment(0xe1, Buffer.concat([XMP_NAME, xmp(`xmpNote:HasExtendedXMP="${hash}"`)])),
      part(0, cut),
      part(cut, whole.length),
    ),
    'jpeg with a second picture behind it': Buffer.concat([jpeg, second]),
    'jpeg with one in a trailer, behind what looks like a picture': Buffer.concat([
      jpeg,
      Buffer.from([7, 0xff, 0xd8, 0xff, 0xe0, 0xff, 0xf0, 7]),
      second,
    ]),
    ...Object.fromEntries(
      ['EXIF\0\0', '\xff\xe1\0\0Exif\0\0', 'Exif\0\xff'].map((name, index) => [
        `jpeg with a block of another name, ${index}`,
        withSegments(jpeg, jpegSegment(0xe1, Buffer.concat([Buffer.from(name, 'latin1'), block]))),
      ]),
    ),
    'jpeg with a packet without its name': withSegments(jpeg, jpegSegment(0xe1, PACKET)),
    'jpeg with a packet of another name': withSegments(
      jpeg,
      jpegSegment(0xe1, Buffer.concat([Buffer.from('XMP\0://ns.adobe.com/xap/1.0/\0'), PACKET])),
    ),
    'jpeg with a block and a packet among resources of Photoshop': withSegments(
      jpeg,
      ...[resource(0x0404, Buffer.from('kept!')), resource(0x0422, block), resource(0x0424, PACKET)].map(
        (data) => jpegSegment(0xed, Buffer.concat([Buffer.from('Photoshop 3.0\0'), data])),
      ),
    ),
    'avif with a packet in a box of its own': Buffer.concat([
      await picture('avif'),
      box('uuid', Buffer.from('be7acfcb97a942e89c71999491e3afac', 'hex'), PACKET),
    ]),
    'webp with a packet whose chunk ends with a zero': withChunkNamed(await bySharp('webp'), 'XMP ', 'XMP\0'),
    'jpeg with a packet within its block': withExif(jpeg, exifBlock({ image: { ...CAMERA, 700: PACKET } })),
    'jpeg with the place of its pixels': withExif(
      jpeg,
      exifBlock({ image: { ...CAMERA, 33922: rational(98_765_431, 2_345_678) }, gps: GPS }),
    ),
    'jpeg of a thermal camera': withSegments(jpeg, ...thermal(false)),
    'jpeg of a thermal camera, in the other order of bytes': withSegments(jpeg, ...thermal(true)),
    'jpeg with a film behind it': Buffer.concat([jpeg, FILM]),
    'png with a packet of other names': withChunks(
      png,
      pngChunk('tXMP', PACKET),
      pngChunk('tEXt', Buffer.concat([Buffer.from('xmp\0'), PACKET])),
    ),
    'png with a compressed block': withChunks(
      png,
      pngChunk('zxIf', Buffer.concat([Buffer.from([0]), u32(block.length), deflateSync(block)])),
    ),
    'png with text of ImageMagick': withChunks(
      png,
      pngChunk(
        'zTXt',
        Buffer.concat([Buffer.from('Raw profile type exif\0\0'), deflateSync(profile(block))]),
      ),
      pngChunk('tEXt', Buffer.from(`Raw profile type APP1\0${profile(block)}`)),
      pngChunk('tEXt', Buffer.from('exif:GPSLatitude\x0033,54.1949S')),
      pngChunk('iTXt', Buffer.concat([Buffer.from('XML:com.adobe.xmp\0\x01\0\0\0'), deflateSync(PACKET)])),
      pngChunk(
        'zTXt',
        Buffer.concat([
          Buffer.from('Raw profile type 8bim\0\0'),
          deflateSync(profile(resource(0x0424, PACKET), '8bim')),
        ]),
      ),
      pngChunk('tEXt', Buffer.from('Title\0kept')),
    ),
    'gif with a packet': Buffer.concat([
      gif.subarray(0, -1),
      ...[Buffer.from('!\xff\x0bXMP DataXMP', 'latin1'), PACKET, trailer, Buffer.from([0])],
      gif.subarray(-1),
    ]),
  }
}

const pixelsOf = (file: Buffer): Promise<Buffer> => sharp(file, { failOn: 'warning' }).raw().toBuffer()
const EXIFTOOL = spawnSync('exiftool', ['-ver']).status === 0

describe('a file with a position', async () => {
  const made = await files()

  it.each(Object.entries(made))(
    '%s keeps its length, its pixels and its camera, and loses it',
    async (name, file) => {
      if (!/ImageMagick|compressed/.test(name)) expect(leftIn(file)).not.toEqual([])
      const blanked = Buffer.from(file)
      expect(blankPosition(blanked)).toBe(true)
      expect(blanked.length).toBe(file.length)
      expect(leftIn(blanked)).toEqual([])
      expect(await pixelsOf(blanked)).toEqual(await pixelsOf(file))
      const { exif, xmp: packet } = await sharp(blanked).metadata()
      const before = await sharp(file).metadata()
      if (before.exif !== undefined) {
        const { gps: _gone, ...kept } = readExif(before.exif, { gps: true })
        expect(readExif(exif ?? Buffer.alloc(0), { gps: true })).toEqual(kept)
        // What is in the second of two segments libvips passes over.
        if (!name.includes('two segments')) expect(kept.make).toBe('Kamerawerk')
      }
      // libvips compresses it in a PNG, where it cannot be changed in place and goes as a whole.
      if (name.startsWith('png')) expect(packet).toBeUndefined()
      else if (before.xmp !== undefined) {
        expect(packet?.toString()).toContain('tiff:Model="Kept in XMP"')
        expect(packet?.toString()).not.toMatch(/:gps|:longitude/i)
      }
      expect(blankPosition(Buffer.from(blanked))).toBe(false)
    },
  )
  it.skipIf(!EXIFTOOL)(`shows none to another reader${skipped(EXIFTOOL ? [] : ['exiftool'])}`, () => {
    const folder = mkdtempSync(join(tmpdir(), 'image-analyzer-position-'))
    try {
      const paths: string[] = []
      const write = (name: string, bytes: Buffer): void => {
        const path = join(folder, name)
        writeFileSync(path, bytes)
        paths.push(path)
      }
      for (const [index, file] of Object.values(made).entries()) {
        const blanked = Buffer.from(file)
        blankPosition(blanked)
        write(`before-${index}`, file)
        write(`after-${index}`, blanked)
      }
      const { stdout } = spawnSync('exiftool', ['-j', '-a', '-u', '-G1', '-ee', ...paths], {
        encoding: 'utf8',
      })
      const seen = JSON.parse(stdout) as Record<string, unknown>[]
      const of = (path: string) => seen.find(({ SourceFile }) => SourceFile === join(folder, path)) ?? {}
      const positions = (path: string) =>
        Object.keys(of(path)).filter((tag) => /gps|latitude|longitude/i.test(tag))
      for (const [index, name] of Object.keys(made).entries()) {
        // It looks no further than the first picture, unless a list of pictures says where the next is; nor at such a zero.
        if (!/behind|zero/.test(name)) expect(positions(`before-${index}`), name).not.toEqual([])
        expect(positions(`after-${index}`), name).toEqual([])
        expect(of(`after-${index}`), name).not.toHaveProperty('ExifTool:Error')
        expect(of(`after-${index}`)['ExifTool:Warning'], name).toBe(of(`before-${index}`)['ExifTool:Warning'])
      }
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
  it('that only decoders take for a JPEG, since its first segment is damaged, loses it too', async () => {
    const jfif = jpegSegment(0xe0, Buffer.from('JFIF\0\x01\x01\0\0\x01\0\x01\0\0', 'latin1'))
    const file = withSegments(made['jpeg of sharp'] ?? Buffer.alloc(0), jfif)
    file[2] = 0x02
    expect((await sharp(file, { failOn: 'none' }).metadata()).exif).toBeDefined()
    blankPosition(file)
    expect(leftIn(file)).toEqual([])
  })
  it('whose extended packet has changed names it by its new hash', () => {
    const file = Buffer.from(made['jpeg with an extended packet'] ?? '')
    blankPosition(file)
    const text = file.toString('latin1')
    const named = /HasExtendedXMP="(\w{32})"/.exec(text)?.[1]
    const parts = text.split('http://ns.adobe.com/xmp/extension/\0').slice(1)
    expect(parts.map((part) => part.slice(0, 32))).toEqual([named, named])
    const whole = extended(' '.repeat(EXTENDED.length))
    expect(named).toBe(createHash('md5').update(whole).digest('hex').toUpperCase())
  })
  it('has chunks with the right sums after it, where they had them before', () => {
    const file = Buffer.from(made['png with text of ImageMagick'] ?? '')
    blankPosition(file)
    const texts: string[] = []
    for (let at = 8; at < file.length; ) {
      const end = at + 12 + file.readUInt32BE(at)
      expect(file.readUInt32BE(end - 4)).toBe(crc32(file.subarray(at + 4, end - 4)))
      if (file.toString('latin1', at + 4, at + 8).endsWith('Xt'))
        texts.push(file.toString('latin1', at + 8, end - 4))
      at = end
    }
    expect(texts.map((text) => text.trim())).toEqual([...Array(5).fill('Comment\0'), 'Title\0kept'])
  })
  it('in a compressed packet of a HEIC goes with all of it', () => {
    const data = deflateSync(PACKET)
    const of = (encoding: string): Buffer =>
      heic(picturePart(), { type: `mime\0application/rdf+xml${encoding}`, data })
    const file = of('\0deflate')
    expect(blankPosition(file)).toBe(true)
    expect(file.includes(data)).toBe(false)
    expect(blankPosition(of(''))).toBe(false)
  })
  it.each(['jpeg', 'png', 'webp', 'avif', 'gif'] as const)(
    'that has none stays as it is: %s',
    async (format) => {
      const file = await sharp(await picture('png', 3))
        .withExif({ IFD0: { Make: 'Kamerawerk' } })
        .toFormat(format)
        .toBuffer()
      const looked = Buffer.from(file)
      expect(blankPosition(looked)).toBe(false)
      expect(looked.equals(file)).toBe(true)
    },
  )
  it.each<[string, string, string]>([
    ['what is not closed', '<a:GPSLatitude>33', '                 '],
    ['a tag that is not closed', '<a:GPSLatitude 33', '                 '],
    ['a value that is not closed', 'a:GPSLatitude="33', '                 '],
    ['names in any case and with any prefix', '<ä:gpsFoo>1</ä:gpsFoo><b/>', `${' '.repeat(24)}<b/>`],
    ['names without a prefix', 'GPSLatitude="1" b="2"', '                b="2"'],
    ['names that end so', 'dwc:decimalLatitude="1"', '                       '],
    ['short names', 'a:lat="1" b="2" c:fooLon="3"', '          b="2"             '],
    ['all of Basic Geo', '<geo:Point><geo:alt>1</geo:alt></geo:Point><b/>', `${' '.repeat(43)}<b/>`],
    ['no lists of languages', '<rdf:Alt>1</rdf:Alt> a:flat="1"', '<rdf:Alt>1</rdf:Alt> a:flat="1"'],
    ['no namespace', 'xmlns:gps="x" gps:a="1"', 'xmlns:gps="x" gps:a="1"'],
    ['no words', 'the gps="', 'the      '],
    ['no other names', 'a:notGPS="1" a:MyGps="2"', 'a:notGPS="1" a:MyGps="2"'],
    ['no text', '<a>GPS: latitude</a>', '<a>GPS: latitude</a>'],
  ])('in XMP: %s', (_name, packet, expected) => {
    const data = Buffer.from(packet)
    const head = Buffer.from('RIFF\0\0\0\0WEBPXMP \0\0\0\0', 'latin1')
    head.writeUInt32LE(data.length, 16)
    const file = Buffer.concat([head, data])
    blankPosition(file)
    expect(file.subarray(20).toString()).toBe(expected)
  })
  it('is never read from it afterwards, nor is it ever a danger, however it is damaged', async () => {
    const all = Object.values(made)
    let run = 0
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...all),
        fc.array(
          fc.tuple(
            fc.nat(4_000),
            fc.constantFrom(0, 1, 2, 4, 8, 0x10, 0x25, 0x3c, 0x49, 0x7f, 0x88, 0xe1, 0xff),
          ),
          {
            minLength: 1,
            maxLength: 8,
          },
        ),
        fc.option(fc.nat(), { freq: 5, nil: undefined }),
        async (original, changes, cut) => {
          const file = Buffer.from(
            original.subarray(0, cut === undefined ? undefined : cut % original.length),
          )
          for (const [at, byte] of changes) if (at < file.length) file[at] = byte
          const size = file.length
          blankPosition(file)
          expect(file.length).toBe(size)
          run += 1
          // Opening is what takes the time here.
          if (run % 20 !== 0 || size === 0) return
          const seen = await sharp(file, { failOn: 'none' })
            .metadata()
            .catch(() => undefined)
          if (seen?.exif !== undefined) expect(readExif(seen.exif, { gps: true })).not.toHaveProperty('gps')
        },
      ),
      { numRuns: 5_000, seed: 13 },
    )
  })
})

describe('with STRIP_GPS', () => {
  let system: TestSystem
  let app: TestSystem['app']
  beforeAll(async () => {
    system = await startTestSystem()
    system.worker.stripGps = true
    app = buildApp({ ...system.api, stripGps: true })
  })
  afterAll(() => system.stop())

  const post = async (bytes: Buffer, headers: Record<string, string> = {}, by = app): Promise<string> => {
    const response = await by.request('/images?analyses=gps', {
      method: 'POST',
      headers: { 'content-type': 'application/octet-stream', ...headers },
      body: new Uint8Array(bytes),
    })
    expect(response.status, await response.clone().text()).toBe(202)
    return ((await response.json()) as { imageId: string }).imageId
  }
  const stored = async (imageId: string): Promise<Buffer> => {
    const { Body } = await system.worker.s3.send(
      new GetObjectCommand({ Bucket: system.names.bucket, Key: `originals/${imageId}` }),
    )
    return Buffer.from((await Body?.transformToByteArray()) ?? [])
  }
  const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')
  const expectClean = async (imageId: string, sent: Buffer): Promise<void> => {
    const kept = await stored(imageId)
    expect(leftIn(sent)).not.toEqual([])
    expect(leftIn(kept)).toEqual([])
    const record = (await (await app.request(`/images/${imageId}`)).json()) as {
      status: string
      original: object
      metadata: object
    }
    expect(record.original).toMatchObject({ bytes: sent.length, sha256: sha256(kept) })
    expect(record.status).toBe('completed')
    expect(record.metadata).toMatchObject({ make: 'Kamerawerk' })
    expect(record.metadata).not.toHaveProperty('gps')
  }

  it.each(EXIF_FORMATS)(
    'a %s is stored without its position, and its record is of what is stored',
    async (format) => {
      const sent = await bySharp(format)
      const imageId = await post(sent)
      expect(leftIn(await stored(imageId))).toEqual([])
      await system.work()
      await expectClean(imageId, sent)
    },
  )
  it('the same request is the same again, by the bytes that were sent', async () => {
    const sent = withExif(await picture('jpeg', 40), exifBlock(FULL))
    const key = { 'idempotency-key': 'strip' }
    const imageId = await post(sent, key)
    expect(await post(sent, key)).toBe(imageId)
    const without = Buffer.from(sent)
    blankPosition(without)
    const other = await app.request('/images?analyses=gps', {
      ...{ method: 'POST', headers: { 'content-type': 'application/octet-stream', ...key } },
      body: new Uint8Array(without),
    })
    expect(other.status).toBe(422)
  })
  it('an upload to S3 directly is stored without its position, and keeps its size', async () => {
    const sent = withExif(await picture('jpeg', 41), exifBlock(FULL))
    const announced = await app.request('/uploads?analyses=gps', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ contentType: 'image/jpeg', bytes: sent.length }),
    })
    const { imageId, upload } = (await announced.json()) as {
      imageId: string
      upload: { url: string; fields: Record<string, string> }
    }
    expect((await sendForm(upload, sent)).status).toBe(204)
    await system.work()
    await expectClean(imageId, sent)
  })
  it('an original that was stored before has its position still, but no record says it', async () => {
    const sent = withExif(await picture('jpeg', 42), exifBlock(FULL))
    const imageId = await post(sent, {}, system.app)
    await system.work()
    expect((await stored(imageId)).equals(sent)).toBe(true)
    expect((await system.item(imageId))['metadata']).toMatchObject({ make: 'Kamerawerk' })
    expect((await system.item(imageId))['metadata']).not.toHaveProperty('gps')
  })
  it('a whole system has it from its environment, and strips nothing otherwise', async () => {
    const sent = withExif(await picture('jpeg', 43), exifBlock(FULL))
    for (const [STRIP_GPS, isKept] of [
      ['on', false],
      ['off', true],
      ['', true],
    ] as const) {
      const { url, stop } = await startSystem({ PORT: '0', AWS_PORT: '0', STRIP_GPS }, SILENT)
      try {
        const response = await fetch(`${url}/images?analyses=gps`, {
          ...{ method: 'POST', headers: { 'content-type': 'image/jpeg' }, body: new Uint8Array(sent) },
        })
        const { imageId } = (await response.json()) as { imageId: string }
        const record = await (await fetch(`${url}/images/${imageId}?wait=20`)).json()
        expect(record).toMatchObject({ status: 'completed', metadata: { make: 'Kamerawerk' } })
        expect(Object.hasOwn((record as { metadata: object }).metadata, 'gps')).toBe(isKept)
        const original = await fetch(`${url}/images/${imageId}/original`)
        expect(leftIn(Buffer.from(await original.arrayBuffer())).length > 0).toBe(isKept)
      } finally {
        await stop()
      }
    }
  })
})
