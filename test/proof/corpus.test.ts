import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import sharp, { type Metadata } from 'sharp'
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import {
  avifPixels,
  createDecoder,
  createRender,
  prepare,
  Refusal,
} from '../../packages/image-guard/index.ts'
import { startTestSystem, until } from '../context.ts'
import { mutations } from '../pictures/corpus.ts'
import { judgeByLibvips } from '../pictures/guard-oracle.ts'
import {
  box,
  flat,
  frameBomb,
  frameRepeatingAvif,
  fullBox,
  grid,
  insert,
  jpegSegment,
  pngChunk,
  repeat,
  scanBomb,
  u32,
  validFiles,
  withChunks,
  withSegments,
} from '../pictures/pictures.ts'
import { processorMs, quietMs } from '../until.ts'

/** `MUTATIONS=20000 npm test -- test/proof/corpus.test.ts` is the long run. */
const COUNT = Number(process.env['MUTATIONS'] ?? 200)
const SEED = Number(process.env['SEED'] ?? 1)
const AT_ONCE = 4
/** None of them takes a second of the processor; what others take at the same time is counted along. */
const HANG_MS = 10_000

const decoder = createDecoder()
const render = createRender(decoder)

const many = (bytes: Buffer): Buffer[] => Array(20_000).fill(bytes)

/** What becomes of a file: `rendered`, or the code of its verdict. All other ends are thrown. */
async function outcome(bytes: Buffer): Promise<string> {
  try {
    const { thumbnail } = await render(bytes, 's3')
    expect(thumbnail.subarray(0, 3).toString('hex')).toBe('ffd8ff')
    return 'rendered'
  } catch (error) {
    if (error instanceof Refusal) return error.code
    throw error
  }
}
/** Also with the time of the processor that others have had in that time. */
const timed = async <T>(work: () => Promise<T>): Promise<T & { ms: number }> => {
  const before = processorMs()
  return { ...(await work()), ms: processorMs() - before }
}

let valid: Map<string, Buffer>
let frameRepeating: Buffer
beforeAll(async () => {
  valid = await validFiles()
  frameRepeating = await frameRepeatingAvif(1_500, 1_000)
})
const file = (name: string): Buffer => {
  const bytes = valid.get(name)
  if (bytes === undefined) throw new Error(`There is no file ${name}.`)
  return bytes
}

describe('a corpus', () => {
  it('of valid files is rendered, whatever their kind', async () => {
    const failed = []
    for (const [name, bytes] of valid) {
      const code = await outcome(bytes)
      if (code !== 'rendered') failed.push(`${name}: ${code}`)
    }
    expect(failed).toEqual([])
  })

  it(
    `of ${COUNT} mutations ends as thumbnails and verdicts that libvips cannot object to, and each of them soon`,
    async () => {
      const seen = new Map<string, number>()
      const wrong: string[] = []
      const all = mutations(COUNT, SEED)
      const rest = async (): Promise<void> => {
        for (let next = await all.next(); !next.done; next = await all.next()) {
          const { name, bytes } = next.value
          try {
            const { code, falseAlarm, ms } = await timed(() => judgeByLibvips(bytes))
            if (falseAlarm !== undefined) wrong.push(`${name} is refused: ${falseAlarm}`)
            seen.set(code, (seen.get(code) ?? 0) + 1)
            if (ms > HANG_MS) wrong.push(`${name} took ${Math.round(ms)} ms`)
          } catch (error) {
            wrong.push(`${name} (SEED=${SEED}): ${error}`)
          }
        }
      }
      await Promise.all(Array.from({ length: AT_ONCE }, rest))
      if (process.env['MUTATIONS'] !== undefined) process.stdout.write(`${JSON.stringify([...seen])}\n`)
      expect(wrong).toEqual([])
      // Otherwise the mutations were all too coarse or all too fine.
      for (const code of ['decoded', 'CORRUPT_IMAGE']) {
        expect(seen.get(code), code).toBeGreaterThan(COUNT / 20)
      }
    },
    600_000 + COUNT * 100,
  )

  it('of 24 mutations passes the API and the worker without a 5xx and at the first attempt', async () => {
    const system = await startTestSystem()
    try {
      const ids: string[] = []
      const submit = async ({ name, bytes }: { name: string; bytes: Buffer }): Promise<void> => {
        const answer = await system.app.request(`/images?filename=${encodeURIComponent(name)}`, {
          method: 'POST',
          headers: { 'content-type': 'application/octet-stream' },
          body: new Uint8Array(bytes),
        })
        const { imageId, code } = (await answer.json()) as { imageId?: string; code?: string }
        expect([202, 400, 415], `${name}: ${answer.status} ${code}`).toContain(answer.status)
        if (imageId !== undefined) ids.push(imageId)
      }
      const submissions: Promise<void>[] = []
      for await (const mutation of mutations(24, SEED + 1)) submissions.push(submit(mutation))
      await Promise.all(submissions)
      await Promise.all([system.work(), system.work(), system.work()])
      expect(ids.length).toBeGreaterThan(15)
      for (const imageId of ids) {
        const { status, attempts, failure } = await system.record(imageId)
        expect({ attempts, done: status !== 'pending' && status !== 'processing' }).toEqual({
          attempts: 1,
          done: true,
        })
        expect(failure?.code).not.toBe('EXHAUSTED')
      }
      expect(system.trouble).toEqual([])
    } finally {
      await system.stop()
    }
  })
})

describe('the runner', () => {
  const run = promisify(execFile)
  it('tells the outcome, the attempts and the memory of each file, and ends well', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'corpus-'))
    try {
      writeFileSync(join(folder, 'good.jpg'), file('baseline.jpg'))
      writeFileSync(join(folder, 'cut.jpg'), file('baseline.jpg').subarray(0, 2_000))
      writeFileSync(join(folder, 'text.jpg'), 'not an image')
      writeFileSync(join(folder, 'empty.jpg'), '')
      writeFileSync(join(folder, 'large.jpg'), Buffer.concat([file('baseline.jpg'), Buffer.alloc(5_000_000)]))
      const corpus = join(import.meta.dirname, '../pictures/corpus.ts')
      const { stdout } = await run(process.execPath, [corpus, folder, '--json'])
      const { files, good, peakMb } = JSON.parse(stdout)
      const told = Object.fromEntries(
        files.map((row: { file: string; status: number; outcome: string; attempts: number }) => [
          row.file,
          [row.status, row.outcome, row.attempts],
        ]),
      )
      expect(told).toEqual({
        'good.jpg': [202, 'completed', 1],
        'cut.jpg': [202, 'CORRUPT_IMAGE', 1],
        'text.jpg': [415, 'UNSUPPORTED_FORMAT', 0],
        'empty.jpg': [400, 'EMPTY_IMAGE', 0],
        'large.jpg': [413, 'IMAGE_TOO_LARGE', 0],
      })
      expect(good).toBe(true)
      expect(peakMb).toBeGreaterThan(50)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})

describe('a slip in the header of a JPEG, which changes no pixel, is no reason to refuse it:', () => {
  const from = (name: string, mark: number[]): { bytes: Buffer; at: number } => {
    const bytes = Buffer.from(file(name))
    return { bytes, at: bytes.indexOf(Buffer.from(mark)) }
  }
  const jfif = (...version: number[]) =>
    jpegSegment(0xe0, Buffer.from([...Buffer.from('JFIF\0'), ...version, 0, 0, 1, 0, 1, 0, 0]))
  it.each<[string, () => Buffer]>([
    ['bytes before a segment', () => withSegments(file('exif.jpg'), jfif(1, 1), Buffer.from([1, 2, 3]))],
    [
      'bytes behind a segment whose length is wrong',
      () => insert(file('baseline.jpg'), from('baseline.jpg', [0xff, 0xc0]).at, Buffer.from([0, 0xff, 0, 9])),
    ],
    [
      'a restart where none can be',
      () => withSegments(file('baseline.jpg'), jfif(1, 1), Buffer.from([0xff, 0xd0, 7])),
    ],
    ['a second beginning', () => Buffer.concat([Buffer.from([0xff, 0xd8]), file('baseline.jpg')])],
    ['a version of JFIF that there is not', () => withSegments(file('baseline.jpg'), jfif(2, 1))],
    [
      'parameters of a progressive scan',
      () => {
        const { bytes, at } = from('baseline.jpg', [0xff, 0xda])
        bytes[at + 6 + 2 * (bytes[at + 4] ?? 0)] = 0
        return bytes
      },
    ],
  ])('%s', async (_name, spoil) => {
    const spoilt = spoil()
    const name =
      spoilt.length > file('exif.jpg').length && spoilt.includes('Exif\0') ? 'exif.jpg' : 'baseline.jpg'
    expect(spoilt.equals(file(name))).toBe(false)
    expect((await render(spoilt, 's3')).thumbnail.equals((await render(file(name), 's3')).thumbnail)).toBe(
      true,
    )
  })
  it.each([
    ['that is cut off before its end', () => file('baseline.jpg').subarray(0, -40)],
    [
      'with a hole in its data',
      () => Buffer.concat([file('baseline.jpg').subarray(0, 900), file('baseline.jpg').subarray(1_400)]),
    ],
    [
      'of nothing but slips',
      () =>
        Buffer.concat([file('baseline.jpg').subarray(0, 2), repeat(Buffer.from([0xff, 0xd0, 7]), 500_000)]),
    ],
  ])('but one %s is corrupt', async (_name, spoil) => {
    const { code, ms } = await timed(async () => ({ code: await outcome(spoil()) }))
    expect(code).toBe('CORRUPT_IMAGE')
    expect(quietMs(ms, 1_000)).toBeLessThan(1_000)
  })
})

it.each(['4:2:0', '4:4:4', 'b-w'])(
  'a JPEG (%s) that is cut off in its last lines is corrupt, however small',
  async (kind) => {
    const noise = { type: 'gaussian', mean: 128, sigma: 30 } as const
    const drawn = sharp({ create: { width: 800, height: 600, channels: 3, background: 'black', noise } })
    const whole = await (kind === 'b-w'
      ? drawn.toColourspace('b-w').jpeg()
      : drawn.jpeg({ chromaSubsampling: kind })
    ).toBuffer()
    expect(await outcome(whole)).toBe('rendered')
    expect(await outcome(whole.subarray(0, -2))).toBe('rendered')
    for (const bytes of [5, 50, 500]) expect(await outcome(whole.subarray(0, -bytes))).toBe('CORRUPT_IMAGE')
  },
)

describe('few bytes that mean much work are refused at once:', () => {
  const jpeg = () => file('baseline.jpg')
  const png = () => file('rgb.png')
  const quickly = async (bytes: Buffer): Promise<string> => {
    const { code, ms } = await timed(async () => ({ code: await outcome(bytes) }))
    // Unguarded, each of them takes from 8 seconds to half an hour of one core.
    expect(quietMs(ms, 5_000)).toBeLessThan(5_000)
    return code
  }

  it('a JPEG of 800 scans', async () => {
    const bytes = scanBomb(8_000, 800)
    expect(bytes.length).toBeLessThan(500_000)
    expect(await quickly(bytes)).toBe('CORRUPT_IMAGE')
    expect(await quickly(scanBomb(8_000, 90))).toBe('TOO_MANY_PIXELS')
    expect(await quickly(scanBomb(800, 90))).toBe('rendered')
  })
  it('a JPEG of a million segments', async () => {
    expect(
      await quickly(withSegments(jpeg(), repeat(jpegSegment(0xe1, Buffer.from('Exif\0\0')), 400_000))),
    ).toBe('CORRUPT_IMAGE')
    expect(await quickly(withSegments(jpeg(), repeat(jpegSegment(0xfe, Buffer.from('a')), 5_000)))).toBe(
      'rendered',
    )
  })
  it('a WebP of 80,000 frames', async () => {
    expect(await quickly(await frameBomb('webp', 80_000))).toBe('TOO_MANY_PIXELS')
    expect(await quickly(await frameBomb('webp', 5_000))).toBe('rendered')
  })
  it('a GIF of 300,000 frames', async () => {
    expect(await quickly(await frameBomb('gif', 300_000))).toBe('TOO_MANY_PIXELS')
    expect(await quickly(await frameBomb('gif', 5_000))).toBe('rendered')
  })
  it('an AVIF whose picture is coded 1,000 times', async () => {
    expect(await quickly(frameRepeating)).toBe('TOO_MANY_PIXELS')
    expect(await quickly(await frameRepeatingAvif(200, 4))).toBe('rendered')
  })
  it('an AVIF whose grid has 225 cells of its own size', async () => {
    expect(await quickly(await grid(1_500, 15, 15, 1_500))).toBe('TOO_MANY_PIXELS')
    expect(await quickly(await grid(128, 2, 2, 256))).toBe('rendered')
  })
  it('a PNG with many small chunks, which are left out', async () => {
    const densities = withChunks(png(), repeat(pngChunk('pHYs', Buffer.alloc(9)), 200_000))
    expect(await quickly(densities)).toBe('rendered')
    expect(prepare(densities, 'image/png').bytes.length).toBeLessThan(png().length + 100)
    const empty = repeat(pngChunk('IDAT', Buffer.alloc(0)), 300_000)
    const stretched = insert(png(), png().indexOf('IDAT') - 4, empty)
    expect(await quickly(stretched)).toBe('rendered')
    // Where nothing is left out, nothing is copied.
    expect(prepare(stretched, 'image/png').bytes.buffer).toBe(stretched.buffer)
  })
})

describe('the most pixels are fewer', () => {
  /** The file with another size in its header, `at` bytes after a mark: refused before anything is decoded. */
  const resized = (bytes: Buffer, mark: string, at: number, side: number, digits: 2 | 4): Buffer => {
    const copy = Buffer.from(bytes)
    const begin = copy.indexOf(mark, 0, 'latin1') + at
    for (const place of [begin, begin + digits]) copy.writeUIntBE(side, place, digits)
    return copy
  }
  const png = async (orientation: number, side: number): Promise<Buffer> => {
    const still = await flat(100, 100).withMetadata({ orientation }).png().toBuffer()
    const header = resized(still, 'IHDR', 4, side, 4).subarray(16, 29)
    return Buffer.concat([still.subarray(0, 8), pngChunk('IHDR', header), still.subarray(33)])
  }
  it.each<[string, number, (side: number) => Promise<Buffer>]>([
    ['a PNG that is turned, all of which is in memory', 7_348, (side) => png(6, side)],
    [
      'a progressive JPEG in CMYK, which has a channel more',
      6_557,
      async (side) => {
        const picture = flat(100, 100).toColourspace('cmyk').jpeg({ progressive: true })
        return resized(await picture.toBuffer(), '\xff\xc2', 5, side, 2)
      },
    ],
    [
      'an AVIF of 10 bits, each of which takes two bytes',
      4_301,
      async (side) => {
        const picture = flat(100, 100).avif({ effort: 0, bitdepth: 10 })
        return resized(await picture.toBuffer(), 'ispe', 8, side, 4)
      },
    ],
    [
      'a PNG of long lines, of which many are in memory',
      138_888,
      async (side) => {
        const still = await flat(100, 100).png().toBuffer()
        const header = resized(still, 'IHDR', 4, 100, 4).subarray(16, 29)
        header.writeUInt32BE(side, 0)
        return Buffer.concat([still.subarray(0, 8), pngChunk('IHDR', header), still.subarray(33)])
      },
    ],
  ])('in %s', async (_name, largest, make) => {
    expect(await outcome(await make(largest + 1))).toBe('TOO_MANY_PIXELS')
    await expect(decoder.appraise(await make(largest))).resolves.toHaveProperty('memory')
  })

  it('in a file of many bytes, which take memory themselves', async () => {
    const picture = await png(6, 7_000)
    await expect(decoder.appraise(picture)).resolves.toHaveProperty('memory')
    const much = pngChunk('tEXt', Buffer.alloc(45_000_000))
    await expect(decoder.appraise(withChunks(picture, much))).rejects.toMatchObject({
      code: 'TOO_MANY_PIXELS',
    })
  })
})

describe('the pixels of an AVIF', () => {
  it('are those of all its pictures, each as often as it is decoded', async () => {
    const area = 200 * 160
    expect(avifPixels(file('8-bit.avif'))).toEqual({ largest: area, decoded: area })
    expect(avifPixels(file('alpha.avif'))).toEqual({ largest: area, decoded: 2 * area })
    expect(avifPixels(file('grid.avif'))).toEqual({ largest: 256 ** 2, decoded: 4 * 128 ** 2 })
    expect(avifPixels(await frameRepeatingAvif(100, 7))).toEqual({ largest: 10_000, decoded: 70_000 })
  })
  it('that are cropped away count towards the cap', async () => {
    const bytes = await grid(256, 1, 1, 200)
    // The first size is that of the cell.
    const size = bytes.indexOf('ispe') + 8
    bytes.writeUInt32BE(5_100, size)
    bytes.writeUInt32BE(5_100, size + 4)
    expect(avifPixels(bytes)).toEqual({ largest: 5_100 ** 2, decoded: 5_100 ** 2 })
    await expect(render(bytes, 's3')).rejects.toMatchObject({ code: 'TOO_MANY_PIXELS' })
  })
  it.each(['iloc', 'iref', 'iprp'])('cannot be hidden by a second box %s', (type) => {
    const bytes = frameRepeating
    const meta = bytes.indexOf('meta') - 4
    const second = Buffer.concat([Buffer.from([0, 0, 0, 8]), Buffer.from(type)])
    const end = meta + bytes.readUInt32BE(meta)
    const twice = insert(bytes, end, second, second)
    twice.writeUInt32BE(bytes.readUInt32BE(meta) + 16, meta)
    expect(avifPixels(twice).decoded).toBe(Number.POSITIVE_INFINITY)
  })
  const at = (bytes: Buffer, type: string, offset: number): number => bytes.indexOf(type) + offset
  it.each<[string, string, (bytes: Buffer) => void]>([
    [
      'a count of more uses of properties than there are',
      '8-bit.avif',
      (bytes) => bytes.writeUInt32BE(99, at(bytes, 'ipma', 8)),
    ],
    [
      'an item of an old version',
      'alpha.avif',
      (bytes) => bytes.writeUInt8(1, bytes.lastIndexOf('infe') + 4),
    ],
    ['two items with one id', 'alpha.avif', (bytes) => bytes.writeUInt16BE(1, bytes.lastIndexOf('infe') + 8)],
    [
      'a size of fields that there is not',
      'grid.avif',
      (bytes) => bytes.writeUInt8(0xff, at(bytes, 'iloc', 9)),
    ],
    [
      'a reference that says it is shorter',
      'grid.avif',
      (bytes) => bytes.writeUInt32BE(8, at(bytes, 'dimg', -4)),
    ],
    [
      'a reference that says it is longer',
      'alpha.avif',
      (bytes) => bytes.writeUInt32BE(99, at(bytes, 'auxl', -4)),
    ],
  ])('are read as the decoder reads them where there is %s', async (_, name, spoil) => {
    const bytes = Buffer.from(file(name))
    spoil(bytes)
    expect(bytes.equals(file(name))).toBe(false)
    expect(await judgeByLibvips(bytes)).toEqual({ code: 'decoded' })
  })
  it.each<[string, (bytes: Buffer) => void]>([
    [
      'sizes of fields that decoders pass over',
      (bytes) => {
        const sizes = at(bytes, 'iloc', 8)
        // No offset but the base: what follows it, the length, moves up.
        bytes[sizes] = 0xf4
        bytes.copy(bytes, sizes + 14, sizes + 18, sizes + 22)
      },
    ],
    [
      'a count of more than there is',
      (bytes) => bytes.writeUInt32BE(bytes.readUInt32BE(at(bytes, 'ipma', 8)) + 1, at(bytes, 'ipma', 8)),
    ],
  ])('cannot be hidden by %s', async (_, spoil) => {
    const bytes = Buffer.from(frameRepeating)
    spoil(bytes)
    expect(await outcome(bytes)).toBe('TOO_MANY_PIXELS')
  })
  it('cannot be hidden behind a reference that says it is longer', async () => {
    const bytes = await grid(1_500, 15, 15, 1_500)
    const iref = at(bytes, 'iref', -4)
    const size = bytes.readUInt32BE(iref)
    // A decoder continues behind the one item that it is of, with the pieces of the grid.
    const thumbnail = Buffer.concat([u32(size + 2), Buffer.from('thmb'), Buffer.from([0, 1, 0, 1, 0, 2])])
    const hidden = insert(bytes, iref + 12, thumbnail)
    hidden.writeUInt32BE(size + thumbnail.length, iref)
    // The description, and where the data of its two items are.
    for (const grown of [at(bytes, 'meta', -4), at(bytes, 'iloc', 18), at(bytes, 'iloc', 32)])
      hidden.writeUInt32BE(hidden.readUInt32BE(grown) + thumbnail.length, grown)
    expect(avifPixels(hidden).decoded).toBe(225 * 1_500 ** 2)
  })
  it.each([
    [
      'properties and their uses',
      box('iprp', box('ipco', ...many(box('free'))), ...many(fullBox('ipma', 0, u32(0)))),
    ],
    ['references', fullBox('iref', 0, ...Array(40).fill(box('dimg', u32(60_000), Buffer.alloc(120_000))))],
  ])('are not counted in a file of endless %s', (_, part) => {
    const begun = processorMs()
    const bytes = Buffer.concat([box('ftyp', Buffer.from('avif')), fullBox('meta', 0, part)])
    expect(avifPixels(bytes).decoded).toBe(Number.POSITIVE_INFINITY)
    expect(quietMs(processorMs() - begun, HANG_MS)).toBeLessThan(HANG_MS)
  })
  it('are not counted in a file of endless descriptions, each of all of it', () => {
    const place = Buffer.from('00000001000100000001', 'hex')
    const iloc = fullBox('iloc', 0, Buffer.from([0, 0]), place.subarray(2))
    const bytes = Buffer.concat([
      box('ftyp', Buffer.from('avif')),
      ...many(fullBox('meta', 0, iloc)),
      Buffer.alloc(2_000_000),
    ])
    const begun = processorMs()
    expect(avifPixels(bytes).decoded).toBe(Number.POSITIVE_INFINITY)
    expect(quietMs(processorMs() - begun, HANG_MS)).toBeLessThan(HANG_MS)
  })
})

describe('a decode', () => {
  afterEach(() => {
    vi.useRealTimers()
    vi.restoreAllMocks()
  })

  const late = { code: 'CORRUPT_IMAGE', message: expect.stringContaining('within 20 seconds') }
  /** Microseconds of the processor that this process has had, as the product will read it. */
  let had = 0
  beforeEach(() => {
    had = 0
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
    vi.spyOn(process, 'cpuUsage').mockImplementation((before) => ({
      user: had - (before?.user ?? 0),
      system: 0,
    }))
  })
  /** Seconds go by, in which this process has so many cores. */
  const pass = (seconds: number, cores = 1): void => {
    for (let second = 0; second < seconds; second += 1) {
      had += cores * 1_000_000
      vi.advanceTimersByTime(1_000)
    }
  }

  it('stops between two lines when its time is up', async () => {
    const bytes = file('rgb.png')
    const seconds = vi.spyOn(sharp.prototype, 'timeout')
    await render(bytes, 's3')
    // The picture and the thumbnail.
    expect(seconds.mock.calls).toEqual([[{ seconds: 60 }], [{ seconds: 60 }]])
  })

  it('whose header takes 20 seconds is given up, and its image has failed for good', async () => {
    let end = (): void => {}
    const endless = new Promise<Metadata>((_, reject) => {
      end = () => reject(new Error('over'))
    })
    const opened = vi.spyOn(sharp.prototype, 'metadata').mockReturnValue(endless)
    const rendering = expect(render(file('rgb.png'), 's3')).rejects.toMatchObject(late)
    await until('its header is read', async () => opened.mock.calls.length || undefined)
    pass(20)
    await rendering
    end()
  })

  /** Made before anything is held. */
  const pixels = flat(256, 256).raw().toBuffer({ resolveWithObject: true })
  /** A decode that has begun, and ends when the test says so. One is begun after the other, since each holds the next. */
  const begin = async () => {
    await pixels
    let end: (value: never) => void = () => {}
    let fail = (_cause: Error): void => {}
    const begun = vi.spyOn(sharp.prototype, 'toBuffer').mockReturnValueOnce(
      new Promise((resolve, reject) => {
        end = resolve
        fail = reject
      }),
    )
    const before = begun.mock.calls.length
    const rendering = render(file('rgb.png'), 's3')
    await until('it is decoded', async () => begun.mock.calls.length - before || undefined)
    return { rendering, fail, end: () => end(pixels as never) }
  }

  it('of 20 seconds is given up, but not one that had to wait for the processor', async () => {
    const long = await begin()
    const given = expect(long.rendering).rejects.toMatchObject(late)
    pass(20)
    await given
    long.end()
    // However much of it other threads have: its own has no more than one core.
    for (const [seconds, cores] of [
      [40, 0.4],
      [19, 8],
    ] as const) {
      const short = await begin()
      pass(seconds, cores)
      short.end()
      await expect(short.rendering).resolves.toMatchObject({ contentType: 'image/png' })
    }
  })

  it('counts only its part of the time in which others are decoded', async () => {
    const all = [await begin(), await begin(), await begin()]
    pass(50)
    for (const { end } of all) end()
    await expect(Promise.all(all.map(({ rendering }) => rendering))).resolves.toHaveLength(3)
  })

  it('that libvips breaks off after a minute, because the machine is busy, is no verdict on the image', async () => {
    const slow = await begin()
    pass(60, 0.1)
    slow.fail(new Error('timeout: 42% complete'))
    await expect(slow.rendering).rejects.toThrow(/^timeout/)
  })

  it('of a HEIC is none, although libheif would begin it', async () => {
    const heic = Buffer.from(file('8-bit.avif'))
    heic.write('heic', 8)
    await expect(render(heic.fill('mif1', 16, 28), 's3')).rejects.toMatchObject({
      code: 'UNSUPPORTED_FORMAT',
    })
  })
})
