import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, unlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { GetObjectCommand } from '@aws-sdk/client-s3'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { createClient } from '../../packages/client/index.ts'
import {
  createDecoder,
  createRender,
  decodeHeic,
  heicPixels,
  Refusal,
} from '../../packages/image-guard/index.ts'
import { startTestSystem, type TestSystem, until } from '../context.ts'
import { copyProject } from '../copy.ts'
import {
  BLUE,
  type Colour,
  expectColours,
  GREEN,
  P3,
  PALE_BLUE,
  RED,
  WHITE,
  YELLOW,
} from '../pictures/four-areas.ts'
import {
  CODED,
  colr,
  fixture,
  grid,
  HEIGHT,
  HVCC,
  heic,
  hvccOf,
  imir,
  irot,
  ispe,
  picture,
  QUARTERS,
  WIDTH,
} from '../pictures/heic-files.ts'
import { box, exif, quarters, u16, u32 } from '../pictures/pictures.ts'
import { seeded } from '../random.ts'
import { sendForm, skipped } from '../tools.ts'
import { LONGEST_MS } from '../until.ts'

const root = join(import.meta.dirname, '../..')
/** It is optional: where npm has left it out, nothing here can be decoded. */
const lacking = existsSync(join(root, 'node_modules/libheif-js')) ? [] : ['libheif-js']
const render = createRender(createDecoder())

/** What a picture that is not rendered ends with, or its size. */
const verdictOn = (bytes: Buffer, options = {}): Promise<unknown> =>
  render(bytes, 's3', { heic: true, ...options }).then(
    ({ width, height }) => ({ width, height }),
    (error: unknown) => (error instanceof Refusal ? { code: error.code, message: error.message } : error),
  )
const corrupt = { code: 'CORRUPT_IMAGE' }

let p3: Buffer
beforeAll(async () => {
  const { icc } = await sharp(
    await sharp({ create: { width: 8, height: 8, channels: 3, background: 'red' } })
      .withIccProfile('p3')
      .png()
      .toBuffer(),
  ).metadata()
  p3 = icc ?? Buffer.alloc(0)
})

/** By the OpenAPI document, as the command line reads them. */
const announcedTypes = ({ app }: TestSystem): Promise<string[]> =>
  createClient({
    endpoint: 'http://127.0.0.1:1',
    fetch: (url, init) => app.request(url, init),
  }).contentTypes()

describe.skipIf(lacking.length > 0)(`with HEIC=on a photo of a telephone${skipped(lacking)}`, () => {
  let system: TestSystem
  beforeAll(async () => {
    system = await startTestSystem({ heic: true })
  })
  afterAll(() => system.stop())

  const object = async (key = ''): Promise<{ bytes: Buffer; type: string | undefined }> => {
    const { Body, ContentType } = await system.worker.s3.send(
      new GetObjectCommand({ Bucket: system.names.bucket, Key: key }),
    )
    return { bytes: Buffer.from((await Body?.transformToByteArray()) ?? []), type: ContentType }
  }
  const finished = async (bytes: Buffer, query = '') => {
    const response = await system.app.request(`/images${query}`, {
      method: 'POST',
      headers: { 'content-type': 'image/heic' },
      body: new Uint8Array(bytes),
    })
    expect(response.status).toBe(202)
    const { imageId } = (await response.json()) as { imageId: string }
    await system.work()
    return system.record(imageId)
  }

  it.each<[what: string, file: () => Buffer, width: number, height: number, wanted: Colour[]]>([
    ['is analysed in its colours', () => QUARTERS, WIDTH, HEIGHT, [RED, GREEN, BLUE, YELLOW]],
    [
      'in Display P3 that lies on its side is upright and in sRGB',
      () => heic(picture(colr(p3), irot(1))),
      HEIGHT,
      WIDTH,
      [P3.green, P3.yellow, P3.red, P3.blue],
    ],
    [
      'that is mirrored from left to right is shown so',
      () => heic(picture(imir(1))),
      WIDTH,
      HEIGHT,
      [GREEN, RED, YELLOW, BLUE],
    ],
    [
      'that is turned and then mirrored upside down is shown so',
      () => heic(picture(irot(1), imir(0))),
      HEIGHT,
      WIDTH,
      [RED, BLUE, GREEN, YELLOW],
    ],
    [
      'whose numbers are said to be of Display P3 is in sRGB',
      () => heic(picture(box('colr', Buffer.from('nclx'), u16(12), u16(13), u16(6), Buffer.from([0x80])))),
      WIDTH,
      HEIGHT,
      [P3.red, P3.green, P3.blue, P3.yellow],
    ],
    ['of 10 bits a colour is in 8', () => fixture('10-bit.heic'), WIDTH, HEIGHT, [RED, GREEN, BLUE, YELLOW]],
    [
      'with transparency is on white',
      () => fixture('alpha.heic'),
      WIDTH,
      HEIGHT,
      [RED, WHITE, PALE_BLUE, YELLOW],
    ],
    [
      'with a profile that makes no sense is taken for sRGB',
      () => heic(picture(colr(Buffer.alloc(99, 7)))),
      WIDTH,
      HEIGHT,
      [RED, GREEN, BLUE, YELLOW],
    ],
  ])('%s', async (_, file, width, height, wanted) => {
    const record = await finished(file())
    expect(record).toMatchObject({
      ...{ status: 'completed', attempts: 1 },
      original: { contentType: 'image/heic', width, height },
      preview: { width, height },
    })
    expect((await object(record.original.key)).type).toBe('image/heic')
    await expectColours((await object(record.thumbnail?.key)).bytes, wanted)
    await expectColours((await object(`previews/${record.imageId}.jpg`)).bytes, wanted)
    const { rendition, takesOriginal } = await render(file(), 's3', { heic: true })
    expect(takesOriginal).toBe(false)
    await expectColours(rendition ?? Buffer.alloc(0), wanted)
  })

  it('that is a grid of pictures is one', async () => {
    const record = await finished(heic(...grid(2, 2)))
    expect(record).toMatchObject({
      status: 'completed',
      original: { width: 2 * WIDTH, height: 2 * HEIGHT },
    })
  })

  it('of more pieces than libheif takes by itself is one too', async () => {
    const pieces = grid(17, 16)
    expect(await verdictOn(heic(...pieces))).toEqual({ width: 16 * WIDTH, height: 17 * HEIGHT })
  })

  it('says what its Exif says, but for the orientation, which its boxes have', async () => {
    const block = Buffer.concat([u32(0), exif(0x0112, 3, 1, 6)])
    const record = await finished(
      heic(picture(), { type: 'Exif', data: block, references: ['cdsc', 1] }),
      '?analyses=metadata',
    )
    expect(record).toMatchObject({
      status: 'completed',
      original: { width: WIDTH, height: HEIGHT },
      metadata: { orientation: 6 },
    })
  })

  it('comes in by every kind of body, and by a form of POST /uploads', async () => {
    const form = new FormData()
    form.append('image', new Blob([new Uint8Array(QUARTERS)]), 'IMG_1.HEIC')
    const bodies: [type: string | undefined, body: BodyInit][] = [
      [undefined, form],
      ['application/octet-stream', new Uint8Array(QUARTERS)],
      ['application/json', JSON.stringify({ image: QUARTERS.toString('base64') })],
      [
        'application/json',
        JSON.stringify({ image: `data:image/heic;base64,${QUARTERS.toString('base64')}` }),
      ],
    ]
    for (const [type, body] of bodies) {
      const headers = type === undefined ? {} : { 'content-type': type }
      const response = await system.app.request('/images', { method: 'POST', headers, body })
      expect(response.status).toBe(202)
    }
    const announced = await system.app.request('/uploads', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ contentType: 'image/heic', bytes: QUARTERS.length }),
    })
    expect(announced.status).toBe(201)
    const { imageId, upload } = (await announced.json()) as {
      imageId: string
      upload: { url: string; fields: Record<string, string> }
    }
    expect((await sendForm(upload, QUARTERS)).status).toBeLessThan(300)
    await until('the upload is completed', async () => {
      await system.work()
      return (await system.record(imageId)).status === 'completed' || undefined
    })
  })

  it('that is cut off is damaged at the first attempt, and harms no neighbour', async () => {
    const good = await system.submit(await (await quarters()).png().toBuffer())
    const cut: string[] = []
    // In the boxes, after them, and in the data of the picture.
    for (const end of [40, 200, QUARTERS.length - CODED.length, QUARTERS.length - 1]) {
      cut.push(await system.submit(QUARTERS.subarray(0, end)))
    }
    await system.work()
    expect(await system.record(good)).toMatchObject({ status: 'completed' })
    for (const imageId of cut) {
      expect(await system.record(imageId)).toMatchObject({ status: 'failed', attempts: 1, failure: corrupt })
    }
  })

  it('is offered by the page and the OpenAPI document, and named in a refusal', async () => {
    const page = await (await system.app.request('/')).text()
    expect(page).toContain('image/avif,image/heic"')
    expect(page).toContain('AVIF or HEIC')
    expect(await announcedTypes(system)).toContain('image/heic')
    const refused = await system.app.request('/images', {
      method: 'POST',
      headers: { 'content-type': 'image/tiff' },
      body: 'II*\0\x08\0\0\0'.padEnd(64),
    })
    expect(await refused.json()).toMatchObject({ detail: expect.stringContaining('AVIF and HEIC') })
  })
})

describe('with HEIC=off', () => {
  let system: TestSystem
  beforeAll(async () => {
    system = await startTestSystem()
  })
  afterAll(() => system.stop())

  it('a HEIC is named and refused, by POST /images, by POST /uploads and by the worker', async () => {
    const submitted = await system.app.request('/images', { method: 'POST', body: new Uint8Array(QUARTERS) })
    expect(submitted.status).toBe(415)
    const { code, detail } = (await submitted.json()) as Record<string, string>
    expect(code).toBe('UNSUPPORTED_FORMAT')
    expect(detail).toBe(
      'This is a HEIC photo (iPhone). Export it as JPEG, or set the camera to Most Compatible (Settings, Camera, Formats). Accepted are JPEG, PNG, WebP, GIF and AVIF, recognised by their content.',
    )
    const naming =
      'Property `contentType` must be one of image/jpeg, image/png, image/webp, image/gif, image/avif.'
    for (const contentType of ['image/heic', 7]) {
      const announced = await system.app.request('/uploads', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ contentType, bytes: 5 }),
      })
      expect(await announced.json()).toMatchObject({ status: contentType === 7 ? 400 : 415, detail: naming })
    }
    expect(await verdictOn(QUARTERS, { heic: false })).toMatchObject({ code: 'UNSUPPORTED_FORMAT' })
    expect(await (await system.app.request('/')).text()).not.toContain('image/avif,image/heic"')
    expect(await announcedTypes(system)).toEqual([
      ...['image/jpeg', 'image/png', 'image/webp', 'image/gif', 'image/avif'],
    ])
  })
})

describe('before a HEIC is decoded', () => {
  const [onlyGrid = picture()] = grid(40, 40)

  it('its pictures are counted as often as they are decoded, by the largest size that is said of them', () => {
    const area = WIDTH * HEIGHT
    expect(heicPixels(QUARTERS)).toEqual({ largest: area, piece: area, decoded: area })
    expect(heicPixels(fixture('alpha.heic'))).toEqual({ largest: area, piece: area, decoded: 2 * area })
    expect(heicPixels(heic(...grid(2, 3)))).toEqual({
      ...{ largest: 6 * area, piece: area, decoded: 6 * area },
    })
    const said = (properties: Buffer[]) => heicPixels(heic({ type: 'hvc1', data: CODED, properties })).largest
    // What the parameters say counts where the box says less, and the other way round.
    expect(said([HVCC, ispe(80, 80)])).toBe(area)
    expect(said([HVCC, ispe(4_000, 3_000)])).toBe(12_000_000)
    expect(said([hvccOf(5_000, 4_000), ispe(80, 80)])).toBe(20_000_000)
    // And so do parameters among the data, and each picture there.
    const unit = hvccOf(5_000, 4_000).subarray(8 + 22 + 1 + 1 + 2 + 2)
    const data = Buffer.concat([u32(unit.length), unit, CODED, CODED])
    expect(heicPixels(heic({ type: 'hvc1', data, properties: [HVCC] }))).toEqual({
      ...{ largest: 20_000_000, piece: 20_000_000, decoded: 40_000_000 },
    })
  })

  it.each<[what: string, file: () => Buffer]>([
    ['a grid of more pictures than there is time for', () => heic(...grid(40, 40))],
    [
      'one picture that a grid shows over and over',
      () => heic({ ...onlyGrid, references: ['dimg', ...Array(1_600).fill(2)] }, picture()),
    ],
    [
      'parameters of a huge picture',
      () => heic({ ...picture(), properties: [hvccOf(30_000, 30_000), ispe(WIDTH, HEIGHT)] }),
    ],
    ['a size that is huge', () => heic({ ...picture(), properties: [HVCC, ispe(60_000, 60_000)] })],
    [
      'a picture that is coded many times over',
      () => heic({ ...picture(), data: Buffer.concat(Array(2_000).fill(CODED)) }),
    ],
  ])('%s is refused', async (_, file) => {
    expect(await verdictOn(file())).toMatchObject({ code: 'TOO_MANY_PIXELS' })
  })

  it('one whose picture is of another coding is refused as that', async () => {
    const other = heic({ ...picture(), type: 'av01' })
    expect(await verdictOn(other)).toMatchObject({ code: 'UNSUPPORTED_FORMAT' })
  })
})

describe.skipIf(lacking.length > 0)(`the decoder of HEIC${skipped(lacking)}`, () => {
  const threads = (): number =>
    process.getActiveResourcesInfo().filter((name) => /worker|messageport/i.test(name)).length
  const pass = <T>(work: Promise<T>): Promise<T> => work

  it('is ended where it takes too long, and leaves no thread', async () => {
    const before = threads()
    expect(await verdictOn(heic(...grid(14, 14)), { decodeSeconds: 0.001 })).toEqual({
      code: 'CORRUPT_IMAGE',
      message: 'The image cannot be decoded within 0.001 seconds.',
    })
    await until('the thread has ended', async () => threads() === before || undefined)
    expect(await verdictOn(QUARTERS)).toEqual({ width: WIDTH, height: HEIGHT })
    await until('the thread has ended', async () => threads() === before || undefined)
  })

  it('ends with its picture, also in the middle of one', async () => {
    const before = threads()
    // Much work in little memory.
    const endless = heic({ ...picture(), data: Buffer.concat(Array(10_000).fill(CODED)) })
    let during = before
    const late = async (answer: Promise<unknown>): Promise<never> => {
      // It never comes.
      answer.catch(() => {})
      during = threads()
      throw new Error('late')
    }
    await expect(decodeHeic(endless, 100_000_000, late)).rejects.toThrow('late')
    expect(during).toBeGreaterThan(before)
    expect(threads()).toBe(before)
  })

  it('has no more memory than it is given: what needs more fails, and the process lives', async () => {
    const file = heic(...grid(10, 10))
    const end = (bytes: number): Promise<string> =>
      decodeHeic(file, bytes, pass).then(
        ({ width, height, channels }) => `${width} × ${height} × ${channels}`,
        ({ message }: Error) => message,
      )
    expect(await end(20_000_000)).toBe('libheif cannot decode it.')
    expect(await end(100_000_000)).toBe(`${10 * WIDTH} × ${10 * HEIGHT} × 3`)
  })

  it('meets damaged files with verdicts or pictures, and with nothing else', async () => {
    const random = seeded(15)
    for (let round = 0; round < 24; round += 1) {
      const file = Buffer.from(round % 2 === 0 ? QUARTERS : fixture('alpha.heic'))
      for (let times = 0; times < 1 + round / 5; times += 1) {
        file[Math.floor(16 + random() * (file.length - 16))] = Math.floor(random() * 256)
      }
      const end = await verdictOn(file)
      expect(end, `round ${round}`).not.toBeInstanceOf(Error)
    }
  })
})

it('without its decoder, HEIC=on keeps the system from starting, with one sentence that says what to do', () => {
  const folder = mkdtempSync(join(tmpdir(), 'image-analyzer-heic-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  copyProject(folder)
  // All packages but the one.
  unlinkSync(join(folder, 'node_modules'))
  mkdirSync(join(folder, 'node_modules'))
  for (const name of readdirSync(join(root, 'node_modules'))) {
    if (name !== 'libheif-js')
      symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name), 'junction')
  }
  const { AWS_ENDPOINT_URL: _, ...inherited } = process.env
  const { status, stderr } = spawnSync(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', 'local/main.ts'],
    {
      ...{ cwd: folder, encoding: 'utf8', env: { ...inherited, HEIC: 'on', PORT: '0', AWS_PORT: '0' } },
      // Of a system that does start.
      timeout: LONGEST_MS,
    },
  )
  expect({ status, stderr }).toEqual({
    status: 1,
    stderr:
      'image-analyzer cannot start: HEIC=on needs the package libheif-js, which is not installed: run "npm ci --include=optional", or for AWS "npm run build -- --heic".\n',
  })
})
