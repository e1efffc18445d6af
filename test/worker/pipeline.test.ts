import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { crc32, deflateSync } from 'node:zlib'
import { GetObjectCommand, ListObjectsV2Command, PutObjectCommand } from '@aws-sdk/client-s3'
import sharp, { type Sharp } from 'sharp'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { eventDetailSchema, MAX_DETAIL_BYTES } from '../../shared/messages.ts'
import { startTestSystem, type TestSystem, until, type Watcher, watchCalls } from '../context.ts'
import {
  CORNERS,
  cornerColour,
  distinct,
  formats,
  pngChunk,
  quarters,
  rgb,
  withChunks,
} from '../pictures/pictures.ts'
import { processorMs, quietMs } from '../until.ts'

const fixture = (name: string): Buffer => readFileSync(new URL(`../fixtures/${name}`, import.meta.url))
const photo = fixture('grace-hopper.jpg')

let system: TestSystem
beforeAll(async () => {
  system = await startTestSystem()
})
afterAll(() => system.stop())

const finish = async (bytes: Uint8Array) => {
  const imageId = await system.submit(bytes)
  await system.work()
  return system.record(imageId)
}
const stored = async (key: string): Promise<Buffer> => {
  const { Body } = await system.worker.s3.send(
    new GetObjectCommand({ Bucket: system.names.bucket, Key: key }),
  )
  return Buffer.from((await Body?.transformToByteArray()) ?? [])
}
const expectCorners = async (image: Buffer) => {
  for (const [corner, colour] of Object.entries(CORNERS) as [keyof typeof CORNERS, string][]) {
    const seen = await cornerColour(image, corner)
    rgb(colour).forEach((value, channel) => {
      expect(Math.abs((seen[channel] ?? 0) - value), `${corner} is ${seen}`).toBeLessThan(24)
    })
  }
}

describe('a real photo', () => {
  it('ends with thumbnail, labels and one event', async () => {
    const imageId = await system.submit(photo, { 'content-disposition': 'attachment; filename="g.jpg"' })
    await system.work()
    const record = await system.record(imageId)
    expect(record).toMatchObject({
      imageId,
      status: 'completed',
      attempts: 1,
      original: {
        key: `originals/${imageId}`,
        contentType: 'image/jpeg',
        bytes: 61_306,
        width: 512,
        height: 600,
        filename: 'g.jpg',
      },
      thumbnail: { key: `thumbnails/${imageId}.jpg`, contentType: 'image/jpeg', width: 128, height: 128 },
      rekognitionFaces: [],
      labelModelVersion: 'stand-in',
    })
    expect(Object.keys(record)).not.toContain('leaseId')
    expect(record.rekognitionLabels?.[0]).toMatchObject({
      Name: expect.any(String),
      Confidence: expect.any(Number),
      Instances: expect.any(Array),
      Parents: expect.any(Array),
      Categories: expect.any(Array),
    })
    const events = await system.events()
    expect(events).toHaveLength(1)
    const [event] = events
    expect(eventDetailSchema.strict().parse(event)).toEqual(event)
    expect(event).toMatchObject({
      eventId: `${imageId}:1:completed`,
      owner: 'anonymous',
      completedAt: record.completedAt,
      original: record.original,
      thumbnail: record.thumbnail,
      faceCount: 0,
      emotions: [],
    })
    expect(event?.labels).toEqual(event?.rekognitionLabels?.map((label) => label.Name))
    expect(new Set(event?.labels)).toEqual(new Set(record.rekognitionLabels?.map((label) => label.Name)))
    expect(Buffer.byteLength(JSON.stringify(event))).toBeLessThan(MAX_DETAIL_BYTES)
  })
})

describe('a thumbnail', () => {
  it.each(formats)('of %s shows the same picture', async (contentType, encode) => {
    const record = await finish(await encode(await quarters()).toBuffer())
    expect(record).toMatchObject({ status: 'completed', original: { contentType, width: 200, height: 160 } })
    const thumbnail = await stored(`thumbnails/${record.imageId}.jpg`)
    expect(await sharp(thumbnail).metadata()).toMatchObject({
      format: 'jpeg',
      width: 128,
      height: 128,
      space: 'srgb',
    })
    await expectCorners(thumbnail)
  })

  it.each([1, 2, 3, 4, 5, 6, 7, 8])('of a JPEG with EXIF orientation %i is upright', async (orientation) => {
    // What a camera stores that was held so: the upright picture, turned back.
    const turned = {
      1: (image: Sharp) => image,
      2: (image: Sharp) => image.flop(),
      3: (image: Sharp) => image.rotate(180),
      4: (image: Sharp) => image.flip(),
      5: (image: Sharp) => image.rotate(270).flop(),
      6: (image: Sharp) => image.rotate(270),
      7: (image: Sharp) => image.rotate(90).flop(),
      8: (image: Sharp) => image.rotate(90),
    }[orientation] as (image: Sharp) => Sharp
    const pixels = await turned(await quarters())
      .png()
      .toBuffer()
    const stripped = await turned(sharp(await (await quarters()).png().toBuffer())).toBuffer()
    expect(stripped.equals(pixels)).toBe(true)
    const bytes = await sharp(pixels).withMetadata({ orientation }).jpeg({ quality: 95 }).toBuffer()
    const record = await finish(bytes)
    expect(record.original).toMatchObject({ width: 200, height: 160 })
    await expectCorners(await stored(`thumbnails/${record.imageId}.jpg`))
  })

  it.each([
    [300, 100],
    [100, 300],
  ])('of %i × %i pixels is its middle, neither squeezed nor framed', async (width, height) => {
    const middle = await sharp({ create: { width: 100, height: 100, channels: 3, background: '#d02020' } })
      .png()
      .toBuffer()
    const bytes = await sharp({ create: { width, height, channels: 3, background: '#2020d0' } })
      .composite([{ input: middle, gravity: 'centre' }])
      .png()
      .toBuffer()
    const record = await finish(bytes)
    const { channels } = await sharp(await stored(`thumbnails/${record.imageId}.jpg`)).stats()
    expect(channels[0]?.mean).toBeGreaterThan(195)
    expect(channels[2]?.mean).toBeLessThan(45)
  })

  it('of a strip half a million pixels long is made in little memory', async () => {
    const before = process.memoryUsage.rss()
    const strip = sharp({ create: { width: 500_000, height: 80, channels: 3, background: '#d02020' } })
    const record = await finish(await strip.png().toBuffer())
    expect(record).toMatchObject({ status: 'completed', original: { width: 500_000, height: 80 } })
    expect(process.memoryUsage.rss() - before).toBeLessThan(200_000_000)
  })

  it('of a PNG with 4 GB of compressed text is made at once, because the text is never read', async () => {
    const png = await (await quarters()).png().toBuffer()
    const text = Buffer.concat([Buffer.from('Comment\0\0'), deflateSync(Buffer.alloc(50_000_000))])
    const chunk = Buffer.alloc(12 + text.length)
    chunk.writeUInt32BE(text.length, 0)
    chunk.write('zTXt', 4, 'latin1')
    text.copy(chunk, 8)
    chunk.writeUInt32BE(crc32(chunk.subarray(4, 8 + text.length)), 8 + text.length)
    const bytes = Buffer.concat([png.subarray(0, 33), ...Array(80).fill(chunk), png.subarray(33)])
    const before = processorMs()
    expect((await finish(bytes)).status).toBe('completed')
    // To inflate all of it takes 15 seconds.
    expect(quietMs(processorMs() - before, 5_000)).toBeLessThan(5_000)
  })

  it('carries nothing of the metadata of its original', async () => {
    const bytes = await (await quarters())
      .withExif({
        IFD0: { Copyright: 'SECRET-COPYRIGHT', Artist: 'SECRET-ARTIST' },
        IFD3: { GPSLatitude: '48/1 51/1 30/1', GPSLatitudeRef: 'N' },
      })
      .withXmp(
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">SECRET-XMP</rdf:RDF></x:xmpmeta>',
      )
      .jpeg()
      .toBuffer()
    expect(bytes.includes('SECRET-ARTIST') && bytes.includes('SECRET-XMP')).toBe(true)
    const record = await finish(bytes)
    const thumbnail = await stored(`thumbnails/${record.imageId}.jpg`)
    const { exif, xmp, iptc, icc, orientation } = await sharp(thumbnail).metadata()
    expect({ exif, xmp, iptc, icc, orientation }).toEqual({})
    expect(thumbnail.includes('SECRET')).toBe(false)
  })

  it('of a transparent picture lies on white', async () => {
    const bytes = await sharp({
      create: { width: 100, height: 100, channels: 4, background: { r: 0, g: 0, b: 0, alpha: 0 } },
    })
      .png()
      .toBuffer()
    const record = await finish(bytes)
    expect(await cornerColour(await stored(`thumbnails/${record.imageId}.jpg`), 'topLeft')).toEqual([
      255, 255, 255,
    ])
  })

  it('of a grey, a 16-bit, a CMYK and a wide-gamut picture is sRGB with three channels', async () => {
    const picture = await (await quarters()).png().toBuffer()
    for (const bytes of [
      await sharp(picture).greyscale().png().toBuffer(),
      await sharp(picture).toColourspace('rgb16').png().toBuffer(),
      await sharp(picture).toColourspace('cmyk').jpeg().toBuffer(),
      await sharp(picture).withIccProfile('p3').jpeg().toBuffer(),
    ]) {
      const record = await finish(bytes)
      expect(record.status).toBe('completed')
      const { space, channels } = await sharp(await stored(`thumbnails/${record.imageId}.jpg`)).metadata()
      expect({ space, channels }).toEqual({ space: 'srgb', channels: 3 })
    }
  })

  it('of an animation shows its first frame', async () => {
    const frame = (background: string) =>
      sharp({ create: { width: 100, height: 100, channels: 3, background } })
        .png()
        .toBuffer()
    const frames = [await frame('#d02020'), await frame('#2020d0')]
    for (const format of ['gif', 'webp'] as const) {
      const bytes = await sharp(frames, { join: { animated: true } })
        [format]()
        .toBuffer()
      const record = await finish(bytes)
      expect(record.original).toMatchObject({ width: 100, height: 100 })
      const [red = 0, , blue = 0] = await cornerColour(
        await stored(`thumbnails/${record.imageId}.jpg`),
        'topLeft',
      )
      expect(red).toBeGreaterThan(blue + 100)
    }
  })
})

describe('a preview', () => {
  let watcher: Watcher
  beforeAll(() => {
    watcher = watchCalls(system)
  })
  const keys = async (imageId: string): Promise<string[]> => {
    const { Contents = [] } = await system.worker.s3.send(
      new ListObjectsV2Command({ Bucket: system.names.bucket }),
    )
    return Contents.flatMap(({ Key = '' }) => (Key.includes(imageId) ? [Key] : []))
  }

  it.each([
    ['jpeg', 6, 1],
    ['png', 1, 1],
    ['webp', 6, 1.25],
    ['avif', 1, 1.25],
  ] as const)(
    'of a %s with orientation %i is upright, and within 1,600 pixels',
    async (format, orientation, times) => {
      const [width, height] = [1_600 * times, 1_200 * times]
      const shown = await (await quarters(width, height)).png({ compressionLevel: 1 }).toBuffer()
      const bytes = await sharp(orientation === 6 ? await sharp(shown).rotate(270).toBuffer() : shown)
        .withMetadata({ orientation, exif: { IFD0: { Artist: 'SECRET' } } })
        .toFormat(format, format === 'webp' || format === 'avif' ? { effort: 0 } : {})
        .toBuffer()
      const { imageId, preview, original } = await finish(bytes)
      expect(original).toMatchObject({ width, height })
      const kept = await stored(`previews/${imageId}.jpg`)
      expect(preview).toEqual({
        ...{ bucket: system.names.bucket, key: `previews/${imageId}.jpg`, contentType: 'image/jpeg' },
        ...{ bytes: kept.length, width: 1_600, height: 1_200 },
      })
      await expectCorners(kept)
      const { exif, xmp, iptc, icc, ...known } = await sharp(kept).metadata()
      expect({ exif, xmp, iptc, icc }).toEqual({})
      expect(known).toMatchObject({ format: 'jpeg', width: 1_600, height: 1_200, space: 'srgb', channels: 3 })
      expect(kept.includes('SECRET')).toBe(false)
    },
  )

  it.each([
    ['never enlarged', 90, 100, 90, 100],
    ['a line of a strip', 20_000, 90, 1_600, 7],
    ['a pixel wide at the least', 80, 150_000, 1, 1_600],
  ])('is %s', async (_what, width, height, shownWidth, shownHeight) => {
    const picture = sharp({ create: { width, height, channels: 3, background: '#48c' } })
    const { imageId, preview } = await finish(await picture.png().toBuffer())
    expect(preview).toMatchObject({ width: shownWidth, height: shownHeight })
    const { width: keptWidth, height: keptHeight } = await sharp(
      await stored(`previews/${imageId}.jpg`),
    ).metadata()
    expect([keptWidth, keptHeight]).toEqual([shownWidth, shownHeight])
  })

  it('is sharp where the picture is smaller than its thumbnail', async () => {
    const stripes = Buffer.alloc(100 * 90, Buffer.from([0, 255]))
    const bytes = await sharp(stripes, { raw: { width: 100, height: 90, channels: 1 } })
      .png()
      .toBuffer()
    const { imageId } = await finish(bytes)
    const { channels } = await sharp(await stored(`previews/${imageId}.jpg`)).stats()
    // Half of it black and half white; enlarged and made smaller again, it would be grey.
    expect(channels[0]?.stdev).toBeGreaterThan(120)
  })

  it('with PREVIEW=off is neither made nor stored, and nothing else is different', async () => {
    const bytes = await (await quarters(228, 188)).webp({ effort: 0 }).toBuffer()
    const sent: unknown[] = []
    watcher.before = (command, { Image }) => {
      if (command === 'DetectLabelsCommand') sent.push((Image as { Bytes: Uint8Array }).Bytes)
    }
    const on = await finish(bytes)
    system.worker.preview = false
    system.worker.analysisSource = 'asked again'
    const off = await finish(bytes)
    system.worker.preview = true
    system.worker.analysisSource = 'Rekognition 55 100'
    watcher.before = () => {}
    expect(sent).toHaveLength(2)
    expect(sent[1]).toEqual(sent[0])
    expect(off).toMatchObject({ status: 'completed', rekognitionLabels: on.rekognitionLabels })
    expect(off).not.toHaveProperty('preview')
    expect(await keys(off.imageId)).toEqual([`originals/${off.imageId}`, `thumbnails/${off.imageId}.jpg`])
    const none = await system.app.request(`/images/${off.imageId}/preview`)
    expect(none.status).toBe(404)
    expect(await none.json()).toMatchObject({ code: 'NOT_FOUND', detail: /has no preview/ })
  })

  it('is deleted with its image, also while a worker is at it', async () => {
    const done = await finish(await distinct(71))
    const remove = (imageId: string) => system.app.request(`/images/${imageId}`, { method: 'DELETE' })
    expect(await keys(done.imageId)).toHaveLength(3)
    expect((await remove(done.imageId)).status).toBe(204)
    expect(await keys(done.imageId)).toEqual([])

    const imageId = await system.submit(await distinct(72))
    watcher.after = async (command) => {
      if (command !== 'DetectFacesCommand') return
      watcher.after = () => {}
      await until('the preview is stored', async () =>
        (await keys(imageId)).includes(`previews/${imageId}.jpg`) ? true : undefined,
      )
      expect((await remove(imageId)).status).toBe(204)
    }
    await system.work()
    expect(await keys(imageId)).toEqual([])
  })

  it('that cannot be stored is tried again', async () => {
    const imageId = await system.submit(await distinct(73))
    watcher.before = (command, { Key }) => {
      if (command === 'PutObjectCommand' && String(Key).startsWith('previews/')) throw new Error('no')
    }
    await system.work()
    watcher.before = () => {}
    expect(await system.record(imageId)).toMatchObject({ status: 'processing' })
    await until('it is completed', async () => {
      await system.work()
      return (await system.record(imageId)).status === 'completed' ? true : undefined
    })
    expect(await keys(imageId)).toContain(`previews/${imageId}.jpg`)
    system.trouble.length = 0
  })
})

describe('what Rekognition is given', () => {
  const seen: { operation: string; image: { Bytes?: Uint8Array; S3Object?: { Name?: string } } }[] = []
  beforeAll(() => {
    system.worker.rekognition.middlewareStack.add(
      (next, context) => (args) => {
        const { Image } = args.input as { Image: (typeof seen)[number]['image'] }
        seen.push({ operation: context.commandName ?? '', image: Image })
        return next(args)
      },
      { step: 'initialize', name: 'seen' },
    )
  })
  /** Bytes that no other test has submitted: results of known ones are reused. */
  const given = async (bytes: Buffer) => {
    seen.length = 0
    const record = await finish(bytes)
    expect(record.status, JSON.stringify(record.failure)).toBe('completed')
    expect(seen.map((call) => call.operation).sort()).toEqual(['DetectFacesCommand', 'DetectLabelsCommand'])
    const [first, second] = seen
    expect(first?.image).toEqual(second?.image)
    return { record, image: first?.image ?? {} }
  }

  it.each(['jpeg', 'png'] as const)('of a %s is the original by reference', async (format) => {
    const { record, image } = await given(await (await quarters(204, 164))[format]().toBuffer())
    expect(image).toEqual({ S3Object: { Bucket: system.names.bucket, Name: `originals/${record.imageId}` } })
  })
  it.each(['webp', 'gif', 'avif'] as const)(
    'of a %s is an upright JPEG of the same picture',
    async (format) => {
      const { image, record } = await given(await (await quarters(208, 168))[format]().toBuffer())
      const bytes = Buffer.from(image.Bytes ?? [])
      expect(await sharp(bytes).metadata()).toMatchObject({ format: 'jpeg', width: 208, height: 168 })
      expect(bytes.equals(await stored(`previews/${record.imageId}.jpg`))).toBe(true)
      await expectCorners(bytes)
    },
  )
  it('of a PNG that lies on its side is an upright JPEG, because Rekognition turns only JPEGs', async () => {
    const turned = await (await quarters()).rotate(270).png().toBuffer()
    const { image, record } = await given(
      await sharp(turned).withMetadata({ orientation: 6 }).png().toBuffer(),
    )
    expect(record.original).toMatchObject({ width: 200, height: 160 })
    await expectCorners(Buffer.from(image.Bytes ?? []))
  })
  it.each<[string, () => Promise<Buffer>]>([
    ['JPEG with arithmetic coding', async () => fixture('odd/jpeg-arithmetic.jpg')],
    ['PNG of 16 bits', async () => (await quarters(216, 176)).toColourspace('rgb16').png().toBuffer()],
    [
      'PNG with a critical chunk of its own',
      async () =>
        withChunks(await (await quarters(224, 184)).png().toBuffer(), pngChunk('ODDc', Buffer.from('x'))),
    ],
  ])('of a %s, which it would refuse, is a JPEG from the start', async (_what, make) => {
    const { image } = await given(await make())
    expect(image).not.toHaveProperty('S3Object')
    expect(await sharp(Buffer.from(image.Bytes ?? [])).metadata()).toMatchObject({ format: 'jpeg' })
  })
  it('of a strip longer than 10,000 pixels keeps at least 80 on the short side', async () => {
    const { image } = await given(
      await sharp({ create: { width: 10_001, height: 80, channels: 3, background: '#48c' } })
        .png()
        .toBuffer(),
    )
    const { width, height } = await sharp(Buffer.from(image.Bytes ?? [])).metadata()
    expect(height).toBe(80)
    expect(width).toBeLessThanOrEqual(10_000)
  })
  it('of a WebP of pure noise is at most 5 MB', async () => {
    const side = 1_600
    const bytes = await sharp(randomBytes(side * side * 3), {
      raw: { width: side, height: side, channels: 3 },
    })
      .webp({ quality: 60, effort: 0 })
      .toBuffer()
    const { image } = await given(bytes)
    expect(image.Bytes?.length).toBeLessThanOrEqual(5_242_880)
    expect(image.Bytes?.length).toBeGreaterThan(500_000)
  })
  it('is the bytes themselves where it cannot reach the bucket', async () => {
    seen.length = 0
    system.worker.rekognitionSource = 'bytes'
    const bytes = await (await quarters(212, 172)).jpeg().toBuffer()
    const { image } = await given(bytes)
    system.worker.rekognitionSource = 's3'
    expect(Buffer.from(image.Bytes ?? []).equals(bytes)).toBe(true)
  })

  describe('is nothing at all for', () => {
    const flat = (width: number, height: number) =>
      sharp({ create: { width, height, channels: 3, background: '#48c' }, limitInputPixels: false })
    it.each<[string, string, () => Promise<Buffer>]>([
      ['a JPEG cut off', 'CORRUPT_IMAGE', async () => photo.subarray(0, 40_000)],
      [
        'a JPEG cut off below what the thumbnail shows',
        'CORRUPT_IMAGE',
        async () => {
          const tall = await flat(100, 4_000).jpeg({ quality: 100 }).toBuffer()
          return tall.subarray(0, tall.length - 300)
        },
      ],
      ['a JPEG without an end', 'CORRUPT_IMAGE', async () => Buffer.from([0xff, 0xd8, 0xff, 0xe0])],
      [
        'a PNG with a broken chunk',
        'CORRUPT_IMAGE',
        async () => {
          const png = await (await quarters()).png().toBuffer()
          png.fill(0x55, 200, 260)
          return png
        },
      ],
      [
        'a WebP cut off',
        'CORRUPT_IMAGE',
        async () => (await sharp(photo).webp().toBuffer()).subarray(0, 10_000),
      ],
      [
        'a GIF cut off',
        'CORRUPT_IMAGE',
        async () => (await (await quarters()).gif().toBuffer()).subarray(0, 60),
      ],
      [
        'an AVIF cut off',
        'CORRUPT_IMAGE',
        async () => (await (await quarters()).avif({ effort: 0 }).toBuffer()).subarray(0, 400),
      ],
      ['79 pixels on one side', 'IMAGE_TOO_SMALL', () => flat(200, 79).png().toBuffer()],
      ['one pixel', 'IMAGE_TOO_SMALL', () => flat(1, 1).gif().toBuffer()],
      ['an AVIF of 12000 × 12000', 'TOO_MANY_PIXELS', async () => fixture('avif-12000.avif')],
      ['a PNG of 16000 × 16000', 'TOO_MANY_PIXELS', async () => fixture('png-16000.png')],
      [
        'a progressive JPEG of 9100 × 9100',
        'TOO_MANY_PIXELS',
        async () => {
          const jpeg = await flat(200, 200).jpeg({ progressive: true }).toBuffer()
          // Its frame header (SOF2) says so, before anything is decoded: height, then width.
          const header = jpeg.indexOf(Buffer.from([0xff, 0xc2]))
          jpeg.writeUInt16BE(9_100, header + 5)
          jpeg.writeUInt16BE(9_100, header + 7)
          return jpeg
        },
      ],
    ])('%s: %s at the first attempt', async (_name, code, make) => {
      seen.length = 0
      const record = await finish(await make())
      expect(record).toMatchObject({
        status: 'failed',
        attempts: 1,
        failure: { code, message: expect.stringMatching(/\.$/) },
      })
      expect(record).not.toHaveProperty('thumbnail')
      expect(seen).toEqual([])
      expect(system.trouble).toEqual([])
      const event = (await system.events()).find((detail) => detail.imageId === record.imageId)
      expect(event).toMatchObject({
        eventId: `${record.imageId}:1:failed`,
        status: 'failed',
        failure: { code },
      })
      expect(event).not.toHaveProperty('labels')
    })
    it('an original that is gone: ORIGINAL_MISSING', async () => {
      const imageId = await system.submit(photo)
      const { DeleteObjectCommand } = await import('@aws-sdk/client-s3')
      await system.worker.s3.send(
        new DeleteObjectCommand({ Bucket: system.names.bucket, Key: `originals/${imageId}` }),
      )
      seen.length = 0
      await system.work()
      expect(await system.record(imageId)).toMatchObject({
        status: 'failed',
        attempts: 1,
        failure: { code: 'ORIGINAL_MISSING' },
      })
      expect(seen).toEqual([])
    })
    it('an original that has been replaced by something else: UNSUPPORTED_FORMAT', async () => {
      const imageId = await system.submit(photo)
      await system.worker.s3.send(
        new PutObjectCommand({ Bucket: system.names.bucket, Key: `originals/${imageId}`, Body: '<svg/>' }),
      )
      await system.work()
      expect(await system.record(imageId)).toMatchObject({
        status: 'failed',
        failure: { code: 'UNSUPPORTED_FORMAT' },
      })
    })
  })
})

describe('the locked room', () => {
  it('has no loader but those of the accepted formats', async () => {
    const svg = Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="100" height="100"/>')
    await expect(sharp(svg).metadata()).rejects.toThrow()
    const tiff = await sharp({ create: { width: 9, height: 9, channels: 3, background: '#000' } })
      .tiff()
      .toBuffer()
    await expect(sharp(tiff).metadata()).rejects.toThrow()
    await expect(
      sharp(new URL('../fixtures/grace-hopper.jpg', import.meta.url).pathname).metadata(),
    ).rejects.toThrow()
    expect((await sharp(photo).metadata()).format).toBe('jpeg')
  })
})
