import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import {
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
} from '@aws-sdk/client-s3'
import type { SQSEvent } from 'aws-lambda'
import fc from 'fast-check'
import sharp from 'sharp'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { buildApp } from '../../api/app.ts'
import type { ApiDeps } from '../../api/deps.ts'
import { Budget } from '../../packages/image-guard/index.ts'
import type { SweeperDeps } from '../../sweeper/deps.ts'
import { queuedRuns, sweep } from '../../sweeper/sweep.ts'
import { processBatch } from '../../worker/batch.ts'
import type { WorkerDeps } from '../../worker/deps.ts'
import {
  ELSEWHERE,
  eventOf,
  lambdaContext,
  type ShownImage,
  skippedElsewhere,
  startTestSystem,
  type TestSystem,
  until,
  watchCalls,
} from '../context.ts'
import { orHangs, ownTime } from '../own-time.ts'
import { distinct, formats, quarters } from '../pictures/pictures.ts'
import { SILENT } from '../tools.ts'
import { anyText } from './any-text.ts'

/** Without the embedded AWS nothing enforces the form's policy, nor sends the event of an arrival. */
const MB = 1_000_000
const NOTHING = { requeued: 0, exhausted: 0, announced: 0, removed: 0, failed: 0 }
const FORM_MS = 900_000
const DAY = 86_400_000

let system: TestSystem
/** Names of the commands that the worker and the API have sent, in order. */
let calls: string[] = []
let before: (command: string, input: Record<string, unknown>) => void | Promise<void> = () => {}
/** What Rekognition was given. */
let given: { Bytes?: Uint8Array; S3Object?: { Name?: string } }[] = []
beforeAll(async () => {
  system = await startTestSystem()
  watchCalls(system).before = async (name, input) => {
    await before(name, input)
    calls.push(name)
    if (name.startsWith('Detect')) given.push(input['Image'] as (typeof given)[number])
  }
})
afterAll(() => system.stop())
beforeEach(async () => {
  await system.work()
  await system.events()
  await system.receiveJobs()
  system.trouble.length = 0
  calls = []
  given = []
})
afterEach(() => {
  before = () => {}
})

interface Announced {
  imageId: string
  status: string
  upload: { url: string; fields: Record<string, string> }
  expiresAt: string
}
const ask = (body: unknown, headers: Record<string, string> = {}, query = '') =>
  system.app.request(`/uploads${query}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })
const announce = async (bytes: number, contentType = 'image/png', more: object = {}): Promise<Announced> => {
  const response = await ask({ contentType, bytes, ...more })
  expect(response.status, await response.clone().text()).toBe(201)
  return (await response.json()) as Announced
}
const send = ({ upload }: Announced, bytes: Uint8Array, change: Record<string, string | undefined> = {}) => {
  const form = new FormData()
  for (const [name, value] of Object.entries({ ...upload.fields, ...change })) {
    if (value !== undefined) form.append(name, value)
  }
  form.append('file', new Blob([new Uint8Array(bytes)]))
  return fetch(upload.url, { method: 'POST', body: form })
}
const posted = async (announced: Announced, bytes: Uint8Array) => {
  const response = await send(announced, bytes)
  expect(response.status, await response.text()).toBe(204)
}
const upload = async (
  bytes: Uint8Array,
  contentType = 'image/png',
  more: object = {},
): Promise<Announced> => {
  const announced = await announce(bytes.length, contentType, more)
  await posted(announced, bytes)
  return announced
}
const show = (imageId: string) => system.app.request(`/images/${imageId}`)
const finished = (imageId: string): Promise<ShownImage> =>
  until('the image is finished', async () => {
    await system.work()
    const record = await system.record(imageId)
    return ['completed', 'failed'].includes(record.status) ? record : undefined
  })
const objectsOf = async (imageId: string): Promise<string[]> => {
  const { Contents = [] } = await system.worker.s3.send(
    new ListObjectsV2Command({ Bucket: system.names.bucket }),
  )
  return Contents.map(({ Key = '' }) => Key).filter((key) => key.includes(imageId))
}
const stored = async (Key: string): Promise<Buffer> => {
  const { Body } = await system.worker.s3.send(new GetObjectCommand({ Bucket: system.names.bucket, Key }))
  return Buffer.from((await Body?.transformToByteArray()) ?? [])
}
const sweepAhead = (ms: number, other: Partial<SweeperDeps> = {}) =>
  sweep({
    ...system.worker,
    now: () => new Date(Date.now() + ms),
    giveUpMs: 14 * DAY,
    log: {
      ...system.worker.log,
      error: (message, extra) => system.trouble.push(`${message} ${extra['error']}`),
    },
    ...other,
  })
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
const remove = (imageId: string) => system.app.request(`/images/${imageId}`, { method: 'DELETE' })
const retry = (imageId: string) => system.app.request(`/images/${imageId}/retry`, { method: 'POST' })
const eventIds = async () => (await system.events()).map((event) => event.eventId).sort()
const paid = () => calls.filter((name) => name.startsWith('Detect')).length

let number = 10_000
const fresh = () => {
  number += 1
  return distinct(number)
}
/** The same picture in a file of exactly so many bytes, by comments behind the first marker. */
function padded(jpeg: Buffer, bytes: number): Buffer {
  const comments: Buffer[] = []
  for (let left = bytes - jpeg.length; left > 0; ) {
    // A segment is its marker, two bytes that count themselves, and at most 65,533 more.
    let size = Math.min(left, 65_537)
    if (left - size > 0 && left - size < 4) size -= 4
    const segment = Buffer.alloc(size, 0x20)
    segment.writeUInt16BE(0xfffe, 0)
    segment.writeUInt16BE(size - 2, 2)
    comments.push(segment)
    left -= size
  }
  return Buffer.concat([jpeg.subarray(0, 2), ...comments, jpeg.subarray(2)])
}
const jpegOf = async (background: string, bytes = 5_000): Promise<Buffer> =>
  padded(
    await sharp({ create: { width: 100, height: 100, channels: 3, background } })
      .jpeg()
      .toBuffer(),
    bytes,
  )
const noise = (width: number, height: number) =>
  sharp({
    create: {
      ...{ width, height, channels: 3, background: '#000' },
      noise: { type: 'gaussian', mean: 128, sigma: 90 },
    },
  })
    .jpeg({ quality: 100, chromaSubsampling: '4:4:4' })
    .toBuffer()
const arrival = (...keys: string[]) =>
  JSON.stringify({
    Records: keys.map((key) => ({
      eventVersion: '2.1',
      eventSource: 'aws:s3',
      eventName: 'ObjectCreated:Post',
      s3: { bucket: { name: 'b' }, object: { key, size: 1, eTag: 'e', sequencer: '0' } },
    })),
  })
const failedIds = async (event: SQSEvent) =>
  (await processBatch(system.worker, event, lambdaContext())).batchItemFailures.map(
    (one) => one.itemIdentifier,
  )

describe.skipIf(ELSEWHERE)(`a direct upload${skippedElsewhere}`, () => {
  it('has a record and a form; its arrival is its job, and it ends like any other image', async () => {
    const bytes = await fresh()
    const asked = Date.now()
    const response = await ask({ contentType: 'image/png', bytes: bytes.length, filename: '../a/my cat.png' })
    expect(response.status).toBe(201)
    const announced = (await response.json()) as Announced
    const { imageId, expiresAt, upload } = announced
    expect(Object.keys(announced)).toEqual(['imageId', 'status', 'upload', 'expiresAt'])
    const location = new URL(response.headers.get('location') ?? '', 'https://host/prod/uploads').pathname
    expect(location).toBe(`/prod/images/${imageId}`)
    expect(Date.parse(expiresAt) - FORM_MS).toBeGreaterThanOrEqual(asked)
    expect(Date.parse(expiresAt) - FORM_MS).toBeLessThanOrEqual(Date.now())
    expect(upload.fields).toMatchObject({ key: `uploads/${imageId}`, 'Content-Type': 'image/png' })
    expect(JSON.stringify(upload)).not.toContain('cat')

    const waiting = await show(imageId)
    expect(waiting.headers.get('retry-after')).toBe('1')
    const record = (await waiting.json()) as ShownImage
    expect(record).toMatchObject({ imageId, status: 'awaiting_upload', attempts: 0 })
    expect(record.original).toEqual({
      bucket: system.names.bucket,
      key: `originals/${imageId}`,
      contentType: 'image/png',
      bytes: bytes.length,
      filename: 'my cat.png',
    })
    for (const route of ['original', 'thumbnail', 'preview']) {
      const none = await system.app.request(`/images/${imageId}/${route}`)
      expect(none.status).toBe(404)
      expect(await none.json()).toMatchObject({ code: 'NOT_FOUND' })
    }
    expect((await retry(imageId)).status).toBe(409)
    const list = await (await system.app.request('/images?status=awaiting_upload&limit=1')).json()
    expect(list).toMatchObject({ items: [{ imageId, status: 'awaiting_upload' }] })

    await posted(announced, bytes)
    expect((await system.app.request(`/images/${imageId}/original`)).status).toBe(404)
    const end = await finished(imageId)
    expect(end).toMatchObject({
      status: 'completed',
      attempts: 1,
      original: { ...record.original, width: 96, height: 96, sha256: sha256(bytes) },
      thumbnail: { key: `thumbnails/${imageId}.jpg` },
    })
    expect(end).not.toHaveProperty('reused')
    expect(await objectsOf(imageId)).toEqual([
      ...[`originals/${imageId}`, `previews/${imageId}.jpg`, `thumbnails/${imageId}.jpg`],
    ])
    expect((await stored(`originals/${imageId}`)).equals(bytes)).toBe(true)
    const original = await system.app.request(`/images/${imageId}/original`)
    const given = await fetch(original.headers.get('location') ?? '')
    expect(given.headers.get('content-disposition')).toContain('my%20cat.png')
    expect(Buffer.from(await given.arrayBuffer()).equals(bytes)).toBe(true)
    expect(await eventIds()).toEqual([`${imageId}:1:completed`])
    expect(await sweepAhead(14 * DAY)).toEqual(NOTHING)
    expect(system.trouble).toEqual([])
  })

  it('waits from when it has come, however long before its form was issued', async () => {
    const bytes = await distinct(77)
    const announced = await announce(bytes.length)
    const { submittedAt } = await system.item(announced.imageId)
    await system.setItem(announced.imageId, { submittedAt: Number(submittedAt) - 3_600_000 })
    await posted(announced, bytes)
    // The first attempt fails once the bytes are known; the second knows by the record when they came.
    const jobs = await system.receiveJobs()
    const came = Number(jobs.Records[0]?.attributes.SentTimestamp)
    const worker = { ...system.worker, now: () => new Date(came + 5_000) }
    const render = () => Promise.reject(new Error('No memory.'))
    await processBatch({ ...worker, render }, jobs, lambdaContext())
    await processBatch({ ...worker, now: () => new Date(came + 9_000) }, jobs, lambdaContext())
    const lines = system.lines.filter(({ imageId }) => imageId === announced.imageId)
    const claims = lines.filter(({ event }) => event === 'claimed')
    expect(claims.map(({ queuedMs }) => queuedMs)).toEqual([5_000, 9_000])
    expect(lines.find(({ event }) => event === 'completed')).toMatchObject({ totalMs: 9_000 })
    expect(await system.item(announced.imageId)).toMatchObject({ submittedAt: came })
  })

  it.each(formats)('may be %s', async (contentType, encode) => {
    const bytes = await encode(await quarters(220, 180)).toBuffer()
    const { imageId } = await upload(bytes, contentType)
    expect(await finished(imageId)).toMatchObject({
      status: 'completed',
      original: { contentType, width: 220, height: 180, sha256: sha256(bytes) },
    })
  })

  it('of 50 MB, which Rekognition does not take, is analysed by a rendition', async () => {
    const bytes = padded(await noise(900, 760), 50 * MB)
    given = []
    const { imageId } = await upload(bytes, 'image/jpeg')
    expect(await finished(imageId)).toMatchObject({
      status: 'completed',
      attempts: 1,
      original: { bytes: bytes.length, width: 900, height: 760, sha256: sha256(bytes) },
    })
    expect(given).toHaveLength(2)
    for (const image of given) {
      expect(image.S3Object).toBeUndefined()
      expect(image.Bytes?.length).toBeLessThanOrEqual(5_242_880)
      const rendition = await sharp(image.Bytes).metadata()
      expect(rendition.format).toBe('jpeg')
      expect(rendition.width).toBeGreaterThan(500)
    }
    await remove(imageId)
    const more = await ask({ contentType: 'image/jpeg', bytes: 50 * MB + 1 })
    expect(more.status).toBe(413)
    expect(await more.json()).toMatchObject({
      code: 'IMAGE_TOO_LARGE',
      detail: expect.stringContaining('50,000,000'),
    })
  })
})

describe.skipIf(ELSEWHERE)(`S3 itself refuses${skippedElsewhere}`, () => {
  const refused = async (response: Response, announced: Announced, status: number, code: string) => {
    expect(`${response.status} ${await response.text()}`).toMatch(
      new RegExp(`^${status} [^]*<Code>${code}</Code>`),
    )
    expect(await objectsOf(announced.imageId)).toEqual([])
    expect((await system.receiveJobs()).Records).toEqual([])
    expect((await system.record(announced.imageId)).status).toBe('awaiting_upload')
    await remove(announced.imageId)
  }
  it.each([
    [1, 'EntityTooLarge'],
    [-1, 'EntityTooSmall'],
  ])('%i byte more than announced', async (more, code) => {
    const bytes = await jpegOf('#333', 6_000)
    const announced = await announce(bytes.length, 'image/jpeg')
    await refused(await send(announced, await jpegOf('#333', 6_000 + more)), announced, 400, code)
    const again = await announce(bytes.length, 'image/jpeg')
    await posted(again, bytes)
    expect((await finished(again.imageId)).status).toBe('completed')
  })
  it.each<[string, Record<string, string | undefined>, number, string]>([
    ['another content type', { 'Content-Type': 'text/html' }, 403, 'AccessDenied'],
    ['no content type', { 'Content-Type': undefined }, 403, 'AccessDenied'],
    ['another key', { key: 'originals/0199c0de-0000-7000-8000-000000000000' }, 403, 'AccessDenied'],
    ['a key that begins with its own', { key: 'uploads/x' }, 403, 'AccessDenied'],
    ['a name for a key', { key: 'uploads/$' + '{filename}' }, 403, 'AccessDenied'],
    ['a redirect of the sender', { success_action_redirect: 'https://evil.example' }, 403, 'AccessDenied'],
    ['metadata of the sender', { 'x-amz-meta-a': 'b' }, 403, 'AccessDenied'],
    [
      'a policy of the sender',
      { Policy: Buffer.from('{}').toString('base64') },
      403,
      'SignatureDoesNotMatch',
    ],
    ['no signature', { 'X-Amz-Signature': undefined }, 400, 'InvalidArgument'],
    [
      'neither policy nor signature',
      { Policy: undefined, 'X-Amz-Signature': undefined },
      403,
      'AccessDenied',
    ],
  ])('%s', async (_name, change, status, code) => {
    const bytes = await jpegOf('#555')
    const announced = await announce(bytes.length, 'image/jpeg')
    await refused(await send(announced, bytes, change), announced, status, code)
  })
  it('a form whose time is up', async () => {
    const bytes = await jpegOf('#777')
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() - FORM_MS - 5_000 })
    let announced: Announced
    try {
      announced = await announce(bytes.length, 'image/jpeg')
    } finally {
      vi.useRealTimers()
    }
    await refused(await send(announced, bytes), announced, 403, 'AccessDenied')
  })
})

describe.skipIf(ELSEWHERE)(`a second POST with the same form${skippedElsewhere}`, () => {
  it('before anybody has looked makes one outcome, of one of the two files and whole', async () => {
    const [one, two] = [await jpegOf('#a00'), await jpegOf('#00a')]
    const announced = await announce(one.length, 'image/jpeg')
    await Promise.all([posted(announced, one), posted(announced, two)])
    const record = await finished(announced.imageId)
    await system.work()
    const original = await stored(`originals/${announced.imageId}`)
    expect([sha256(one), sha256(two)]).toContain(record.original.sha256)
    expect(sha256(original)).toBe(record.original.sha256)
    expect(record).toMatchObject({ status: 'completed', attempts: 1 })
    expect(paid()).toBe(2)
    expect(await objectsOf(announced.imageId)).toHaveLength(3)
    expect(await eventIds()).toEqual([`${announced.imageId}:1:completed`])
  })
  it('after the look changes nothing, and leaves nothing', async () => {
    const bytes = await jpegOf('#0a0')
    const announced = await upload(bytes, 'image/jpeg')
    const record = await finished(announced.imageId)
    await system.events()
    calls = []
    await posted(announced, await jpegOf('#a0a'))
    await until('what was posted is gone', async () => {
      await system.work()
      return (await objectsOf(announced.imageId)).length === 3 ? true : undefined
    })
    expect(await system.record(announced.imageId)).toEqual(record)
    expect((await stored(`originals/${announced.imageId}`)).equals(bytes)).toBe(true)
    expect(paid()).toBe(0)
    expect(await eventIds()).toEqual([])
    expect(system.trouble).toEqual([])
  })
  it('between two attempts changes nothing: the answers belong to the bytes', async () => {
    const bytes = await jpegOf('#0aa')
    const announced = await upload(bytes, 'image/jpeg')
    before = (command) => {
      if (command === 'DetectFacesCommand') throw new Error('Rekognition is away')
    }
    const job = JSON.stringify({ version: 1, imageId: announced.imageId, epoch: 1 })
    expect(await failedIds(eventOf(job))).toEqual(['message-0'])
    expect((await system.item(announced.imageId))['kept']).toHaveProperty('labels')
    before = () => {}
    await posted(announced, await jpegOf('#aa0'))
    expect(await failedIds(eventOf(job))).toEqual([])
    const record = await system.record(announced.imageId)
    expect(record).toMatchObject({ status: 'completed', attempts: 2, original: { sha256: sha256(bytes) } })
    expect((await stored(`originals/${announced.imageId}`)).equals(bytes)).toBe(true)
    expect(calls.filter((name) => name === 'DetectLabelsCommand')).toHaveLength(1)
    expect(await objectsOf(announced.imageId)).toHaveLength(3)
  })
  it('after a retry, of which its job knows nothing, leaves nothing either', async () => {
    const bytes = await jpegOf('#aaa')
    const announced = await upload(bytes, 'image/jpeg')
    await system.setItem(announced.imageId, { attempts: 10 })
    expect((await finished(announced.imageId)).failure?.code).toBe('EXHAUSTED')
    expect((await retry(announced.imageId)).status).toBe(202)
    expect((await finished(announced.imageId)).status).toBe('completed')
    await posted(announced, await jpegOf('#bbb'))
    await until('what was posted is gone', async () => {
      await system.work()
      return (await objectsOf(announced.imageId)).length === 3 ? true : undefined
    })
    expect((await system.record(announced.imageId)).original.sha256).toBe(sha256(bytes))
  })
})

describe.skipIf(ELSEWHERE)(`an upload that never comes${skippedElsewhere}`, () => {
  it('is removed by the sweeper, not before its form has expired', async () => {
    await sweepAhead(DAY)
    await sweepAhead(2 * DAY)
    const { imageId } = await announce(5_000)
    expect(await sweepAhead(FORM_MS)).toEqual(NOTHING)
    expect(await sweepAhead(FORM_MS + system.worker.sweepAfterMs - 5_000)).toEqual(NOTHING)
    // After a restart everything is looked after at once.
    expect(await sweep({ ...system.worker, giveUpMs: 1e12, log: SILENT }, Number.MAX_SAFE_INTEGER)).toEqual(
      NOTHING,
    )
    expect((await system.record(imageId)).status).toBe('awaiting_upload')
    expect(await sweepAhead(FORM_MS + system.worker.sweepAfterMs + 1_000)).toEqual(NOTHING)
    expect(await sweepAhead(FORM_MS + 4 * system.worker.sweepAfterMs)).toEqual({ ...NOTHING, removed: 1 })
    expect((await show(imageId)).status).toBe(404)
    expect(await system.item(imageId)).toEqual({})
    expect(await eventIds()).toEqual([])
  })
  it('and then comes after all, leaves nothing', async () => {
    const bytes = await fresh()
    const announced = await announce(bytes.length)
    await sweepAhead(FORM_MS + system.worker.sweepAfterMs + 1_000)
    await sweepAhead(FORM_MS + 4 * system.worker.sweepAfterMs)
    await posted(announced, bytes)
    await until('what was posted is gone', async () => {
      await system.work()
      return (await objectsOf(announced.imageId)).length === 0 ? true : undefined
    })
    expect(await system.item(announced.imageId)).toEqual({})
    expect(system.trouble).toEqual([])
  })
  it('for all that anybody heard, is found by the sweeper and gets its job', async () => {
    const announced = await upload(await fresh())
    expect((await system.receiveJobs()).Records).toHaveLength(1)
    expect(await sweepAhead(FORM_MS + system.worker.sweepAfterMs + 1_000)).toEqual({
      ...NOTHING,
      requeued: 1,
    })
    expect(await finished(announced.imageId)).toMatchObject({ status: 'completed', attempts: 1 })
    expect(await eventIds()).toEqual([`${announced.imageId}:1:completed`])
  })
  it('gets no second job after a restart that knows what S3 has sent', async () => {
    await upload(await fresh())
    const bodies = (await system.receiveJobs()).Records.map(({ body }) => body)
    expect(bodies).toHaveLength(1)
    const restarted = { ...system.worker, giveUpMs: 1e12, log: SILENT }
    const isQueued = queuedRuns(bodies)
    expect(await sweep({ ...restarted, isQueued }, Number.MAX_SAFE_INTEGER)).toEqual(NOTHING)
    expect(await sweep(restarted, Number.MAX_SAFE_INTEGER)).toEqual({ ...NOTHING, requeued: 1 })
  })
})

describe.skipIf(ELSEWHERE)(`a deletion${skippedElsewhere}`, () => {
  it('before the upload makes what comes late leave nothing', async () => {
    const bytes = await fresh()
    const announced = await announce(bytes.length)
    expect((await remove(announced.imageId)).status).toBe(204)
    expect((await show(announced.imageId)).status).toBe(404)
    await posted(announced, bytes)
    await until('what was posted is gone', async () => {
      await system.work()
      return (await objectsOf(announced.imageId)).length === 0 ? true : undefined
    })
    expect((await show(announced.imageId)).status).toBe(404)
    expect(paid()).toBe(0)
    expect(await eventIds()).toEqual([])
  })
  it('before the upload, of which no event comes, has the sweeper look when the form is surely over', async () => {
    await sweepAhead(DAY)
    await sweepAhead(2 * DAY)
    const bytes = await fresh()
    const announced = await announce(bytes.length)
    expect((await remove(announced.imageId)).status).toBe(204)
    // As on a machine, where the sweeper comes after less time than a form is good for.
    expect(await sweepAhead(system.worker.sweepAfterMs + FORM_MS - 5_000)).toEqual(NOTHING)
    await posted(announced, bytes)
    await system.receiveJobs()
    expect(await objectsOf(announced.imageId)).toHaveLength(1)
    expect(await sweepAhead(system.worker.sweepAfterMs + FORM_MS + 1_000)).toEqual(NOTHING)
    expect(await objectsOf(announced.imageId)).toEqual([])
    expect(await sweepAhead(4 * system.worker.sweepAfterMs + FORM_MS)).toEqual({ ...NOTHING, removed: 1 })
    expect(await system.item(announced.imageId)).toEqual({})
  })
  it('between upload and job leaves nothing', async () => {
    const announced = await upload(await fresh())
    expect((await remove(announced.imageId)).status).toBe(204)
    expect(await objectsOf(announced.imageId)).toEqual([])
    await system.work()
    expect(await objectsOf(announced.imageId)).toEqual([])
    expect(await eventIds()).toEqual([])
    expect(system.trouble).toEqual([])
  })
  it.each(['PutObjectCommand', 'DetectLabelsCommand', 'GetObjectCommand'])(
    'while the worker is at it (%s) wins',
    async (moment) => {
      const announced = await upload(await fresh())
      before = async (command) => {
        if (command !== moment) return
        before = () => {}
        expect((await remove(announced.imageId)).status).toBe(204)
      }
      await until('nothing is left', async () => {
        await system.work()
        return (await objectsOf(announced.imageId)).length === 0 ? true : undefined
      })
      expect((await show(announced.imageId)).status).toBe(404)
      if (moment !== 'DetectLabelsCommand') expect(paid()).toBe(0)
      expect(await eventIds()).toEqual([])
    },
  )
  it('after the end leaves nothing', async () => {
    const announced = await upload(await fresh())
    await finished(announced.imageId)
    expect((await remove(announced.imageId)).status).toBe(204)
    expect(await objectsOf(announced.imageId)).toEqual([])
  })
})

describe.skipIf(ELSEWHERE)(`what was uploaded${skippedElsewhere}`, () => {
  it('and is no image fails with the reason on the first attempt, unpaid, and is not kept', async () => {
    const bytes = Buffer.from('<html><script>alert(1)</script>')
    const { imageId } = await upload(bytes, 'image/png')
    const record = await finished(imageId)
    expect(record).toMatchObject({
      ...{ status: 'failed', attempts: 1 },
      failure: { code: 'UNSUPPORTED_FORMAT', message: expect.stringMatching(/^This is a web page\./) },
    })
    expect(record.original).not.toHaveProperty('sha256')
    expect(paid()).toBe(0)
    expect(await objectsOf(imageId)).toEqual([])
    expect((await system.app.request(`/images/${imageId}/original`)).status).toBe(404)
    expect(await eventIds()).toEqual([`${imageId}:1:failed`])

    // To try again what is not there ends, and says so.
    expect((await retry(imageId)).status).toBe(202)
    expect(await finished(imageId)).toMatchObject({ status: 'failed', failure: { code: 'ORIGINAL_MISSING' } })
    expect(await eventIds()).toEqual([`${imageId}:2:failed`])
  })
  it('may have another format than was announced: its bytes count', async () => {
    const bytes = await (await quarters(240, 200)).webp().toBuffer()
    const { imageId } = await upload(bytes, 'image/jpeg')
    expect(await finished(imageId)).toMatchObject({
      status: 'completed',
      original: { contentType: 'image/webp', width: 240 },
    })
    const { ContentType } = await system.worker.s3.send(
      new GetObjectCommand({ Bucket: system.names.bucket, Key: `originals/${imageId}` }),
    )
    expect(ContentType).toBe('image/webp')
  })
  it('and is an image cut off fails, and stays for its owner to see', async () => {
    const bytes = (await noise(100, 100)).subarray(0, 5_000)
    const { imageId } = await upload(bytes, 'image/jpeg')
    const record = await finished(imageId)
    expect(record).toMatchObject({
      status: 'failed',
      failure: { code: 'CORRUPT_IMAGE' },
      original: { sha256: sha256(bytes) },
    })
    expect(await objectsOf(imageId)).toEqual([`originals/${imageId}`])
    expect((await system.app.request(`/images/${imageId}/original`)).status).toBe(302)
    expect((await retry(imageId)).status).toBe(202)
    expect((await finished(imageId)).failure?.code).toBe('CORRUPT_IMAGE')
    expect(paid()).toBe(0)
  })
  it('and has another size than the record says is corrupt', async () => {
    const bytes = await fresh()
    const announced = await announce(bytes.length)
    await system.setItem(announced.imageId, {
      original: {
        ...((await system.item(announced.imageId))['original'] as object),
        bytes: 7,
      },
    })
    await posted(announced, bytes)
    expect(await finished(announced.imageId)).toMatchObject({
      status: 'failed',
      failure: { code: 'CORRUPT_IMAGE' },
    })
    expect(paid()).toBe(0)
    expect(await objectsOf(announced.imageId)).toEqual([])
  })
  it('and is gone before the worker comes is ORIGINAL_MISSING', async () => {
    const { imageId } = await upload(await fresh())
    await system.worker.s3.send(
      new DeleteObjectCommand({ Bucket: system.names.bucket, Key: `uploads/${imageId}` }),
    )
    expect((await finished(imageId)).failure?.code).toBe('ORIGINAL_MISSING')
  })
  it('and could not be looked at in all attempts is kept, so that a retry completes it', async () => {
    const bytes = await fresh()
    const { imageId } = await upload(bytes)
    await system.setItem(imageId, { attempts: 10 })
    expect((await finished(imageId)).failure?.code).toBe('EXHAUSTED')
    expect((await retry(imageId)).status).toBe(202)
    expect(await finished(imageId)).toMatchObject({
      status: 'completed',
      original: { sha256: sha256(bytes) },
    })
    expect(await objectsOf(imageId)).toHaveLength(3)
    expect(await eventIds()).toEqual([`${imageId}:1:failed`, `${imageId}:2:completed`])
  })
  it('and failed is not removed by the sweeper when the job of its retry is lost', async () => {
    const { imageId } = await upload(Buffer.from('no image'))
    await finished(imageId)
    expect((await retry(imageId)).status).toBe(202)
    await system.receiveJobs()
    expect(await sweepAhead(system.worker.sweepAfterMs + 1_000)).toEqual({ ...NOTHING, requeued: 1 })
    expect((await finished(imageId)).failure?.code).toBe('ORIGINAL_MISSING')
  })
  it.each(['GetObjectCommand', 'PutObjectCommand', 'DeleteObjectCommand'])(
    'survives trouble with S3 (%s)',
    async (failing) => {
      const bytes = await fresh()
      const { imageId } = await upload(bytes)
      const job = JSON.stringify({ version: 1, imageId, epoch: 1 })
      before = (command) => {
        if (command === failing) throw new Error('S3 is away')
      }
      await failedIds(eventOf(job))
      before = () => {}
      await failedIds(eventOf(job))
      expect(await system.record(imageId)).toMatchObject({
        status: 'completed',
        original: { sha256: sha256(bytes) },
      })
      await system.work()
      expect(await objectsOf(imageId)).toHaveLength(3)
      expect(paid()).toBe(2)
    },
  )
})

describe.skipIf(ELSEWHERE)(`originals in memory${skippedElsewhere}`, () => {
  let usual: WorkerDeps
  beforeEach(() => {
    usual = { ...system.worker }
  })
  afterEach(() => Object.assign(system.worker, usual))

  it('are no more bytes together than the budget has; a larger one is there alone', async () => {
    system.worker.originals = new Budget(12_000)
    const sizes = [5_000, 5_100, 5_200, 20_000, 5_300, 5_400, 5_500]
    const ids: string[] = []
    for (const [index, bytes] of sizes.entries()) {
      ids.push((await upload(await jpegOf(`#${index}${index}9`, bytes), 'image/jpeg')).imageId)
    }
    const inMemory = new Map<unknown, number>()
    const seen: number[][] = []
    const announced = new Map(ids.map((imageId, index) => [`uploads/${imageId}`, sizes[index] ?? 0]))
    before = (name, { Key }) => {
      if (name !== 'GetObjectCommand') return
      const size = announced.get(String(Key)) ?? 0
      inMemory.set(size, size)
      seen.push([...inMemory.values()])
    }
    system.worker.render = (bytes, ...rest) =>
      usual.render(bytes, ...rest).finally(() => inMemory.delete(bytes.length))
    await finished(ids.at(-1) ?? '')
    for (const imageId of ids) expect((await system.record(imageId)).status).toBe('completed')
    const sums = seen.map((together) => together.reduce((sum, size) => sum + size, 0))
    expect(Math.max(...seen.map((together) => together.length))).toBe(2)
    expect(seen.filter((together) => together.includes(20_000)).map((together) => together.length)).toEqual([
      1,
    ])
    for (const sum of sums) expect(sum === 20_000 || sum <= 12_000, `${sums}`).toBe(true)
  })

  it('are not waited for when the batch is out of time: the job comes back, and nothing was fetched', async () => {
    const bytes = await jpegOf('#5a5')
    const { imageId } = await upload(bytes, 'image/jpeg')
    const batch = await until('the job is there', async () => {
      const event = await system.receiveJobs()
      return event.Records.length > 0 ? event : undefined
    })
    const full = new Budget(bytes.length)
    let end = (): void => {}
    const held = full.run(
      bytes.length,
      () =>
        new Promise<void>((resolve) => {
          end = resolve
        }),
    )
    system.worker.originals = full
    calls = []
    const time = ownTime(system)
    const ended = processBatch(system.worker, batch, lambdaContext(1_000))
    await until('its turn is waited for', async () =>
      (await system.record(imageId)).status === 'processing' ? true : undefined,
    )
    time.pass(900)
    expect(await orHangs(ended)).toMatchObject({ batchItemFailures: [{}] })
    expect(calls).not.toContain('GetObjectCommand')
    expect(calls).toContain('ChangeMessageVisibilityCommand')
    expect((await system.record(imageId)).completedAt).toBeUndefined()
    end()
    await held
    // Who has left does not hold up the next one.
    expect(await full.run(1, async () => 'begun')).toBe('begun')
    await processBatch(system.worker, batch, lambdaContext())
    expect((await system.record(imageId)).status).toBe('completed')
  })

  it('are never read where they are larger than announced', async () => {
    const bytes = await jpegOf('#6b6')
    const { imageId } = await announce(bytes.length, 'image/jpeg')
    const bodies: Readable[] = []
    const { middlewareStack } = system.worker.s3
    middlewareStack.add(
      (next) => async (args) => {
        const result = await next(args)
        const { Body } = result.output as { Body?: Readable }
        if (Body !== undefined) bodies.push(Body)
        return result
      },
      { step: 'initialize', name: 'bodies' },
    )
    await system.worker.s3.send(
      new PutObjectCommand({
        ...{ Bucket: system.names.bucket, Key: `uploads/${imageId}`, Body: Buffer.alloc(5 * MB) },
      }),
    )
    expect(await failedIds(eventOf(arrival(`uploads/${imageId}`)))).toEqual([])
    expect(await system.record(imageId)).toMatchObject({
      status: 'failed',
      attempts: 1,
      failure: { code: 'CORRUPT_IMAGE', message: 'The file has 5000000 bytes; 5000 were announced.' },
    })
    middlewareStack.remove('bodies')
    expect(bodies.map((body) => [body.destroyed, body.readableEnded])).toEqual([[true, false]])
    expect(paid()).toBe(0)
    expect(system.trouble).toEqual([])
  })
})

describe.skipIf(ELSEWHERE)(`an idempotency key${skippedElsewhere}`, () => {
  const keyed = async (key: string, body: object, owner = 'anonymous'): Promise<Announced> => {
    const response = await ask(body, { 'idempotency-key': key, 'x-test-owner': owner })
    expect(response.status, await response.clone().text()).toBe(201)
    return (await response.json()) as Announced
  }
  const refused = async (response: Response) => {
    expect(response.status).toBe(422)
    expect(await response.json()).toMatchObject({ code: 'IDEMPOTENCY_KEY_REUSED' })
  }

  it('sent again with the same announcement is the same image, with a form that is as good as the first', async () => {
    const bytes = await fresh()
    const body = { contentType: 'image/png', bytes: bytes.length, filename: 'a.png' }
    const first = await keyed('again', body)
    // Of a client that has lost the first answer: the form's quarter of an hour begins again.
    await until('time has passed', async () =>
      Date.now() > Date.parse(first.expiresAt) - FORM_MS ? true : undefined,
    )
    const second = await keyed('again', body)
    expect(second.imageId).toBe(first.imageId)
    expect(second.status).toBe('awaiting_upload')
    expect(Date.parse(second.expiresAt)).toBeGreaterThan(Date.parse(first.expiresAt))
    await posted(second, bytes)
    expect(await finished(first.imageId)).toMatchObject({ status: 'completed', attempts: 1 })

    const third = await keyed('again', body)
    expect(third).toMatchObject({ imageId: first.imageId, status: 'completed' })
    await posted(third, bytes)
    await until('what was posted once more is gone', async () => {
      await system.work()
      return (await objectsOf(first.imageId)).length === 3 ? true : undefined
    })
    expect(await system.record(first.imageId)).toMatchObject({ status: 'completed', attempts: 1 })
  })

  it('keeps an image from the sweeper for as long as its last form is good', async () => {
    const body = { contentType: 'image/png', bytes: 900 }
    const { imageId } = await keyed('kept', body)
    const { sweepAt } = await system.item(imageId)
    const late: Partial<ApiDeps> = { now: () => new Date(Date.now() + FORM_MS / 2) }
    const again = await buildApp({ ...system.api, ...late }).request('/uploads', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': 'kept' },
      body: JSON.stringify(body),
    })
    expect(await again.json()).toMatchObject({ imageId, status: 'awaiting_upload' })
    expect(Number((await system.item(imageId))['dueAt']) - Number(sweepAt)).toBeGreaterThanOrEqual(
      FORM_MS / 2,
    )
  })

  it('makes one image of requests at once', async () => {
    const body = { contentType: 'image/png', bytes: 800 }
    const all = await Promise.all(Array.from({ length: 6 }, () => keyed('at-once', body)))
    expect(new Set(all.map(({ imageId }) => imageId)).size).toBe(1)
  })

  it.each([
    ['type', { contentType: 'image/jpeg' }],
    ['size', { bytes: 701 }],
    ['name', { filename: 'b.png' }],
    ['analyses', { analyses: ['text'] }],
  ])('with another %s is refused', async (name, change) => {
    const body = { contentType: 'image/png', bytes: 700, filename: 'a.png' }
    const key = `other-${name}`
    const { imageId } = await keyed(key, body)
    await refused(await ask({ ...body, ...change }, { 'idempotency-key': key }))
    expect((await keyed(key, body)).imageId).toBe(imageId)
    // What was only written otherwise is the same.
    const same = { ...body, analyses: ['metadata', 'faces', 'labels'], filename: 'x/a.png' }
    expect((await keyed(key, same)).imageId).toBe(imageId)
  })

  it('belongs to its owner, and to one request, whatever its route', async () => {
    const body = { contentType: 'image/png', bytes: 600 }
    const mine = await keyed('owned', body, 'me')
    expect((await keyed('owned', body, 'them')).imageId).not.toBe(mine.imageId)
    const png = await fresh()
    await refused(
      await system.app.request('/images', {
        method: 'POST',
        headers: { 'content-type': 'image/png', 'idempotency-key': 'owned', 'x-test-owner': 'me' },
        body: new Uint8Array(png),
      }),
    )
    await system.submit(png, { 'idempotency-key': 'of-an-image' })
    await refused(await ask({ ...body, bytes: png.length }, { 'idempotency-key': 'of-an-image' }))
    expect((await ask(body, { 'idempotency-key': 'a b' })).status).toBe(400)
  })

  it('counts once against the quota', async () => {
    const app = buildApp({ ...system.api, dailyImageQuota: 2 })
    const post = async (key: string) =>
      (
        await app.request('/uploads', {
          method: 'POST',
          headers: { 'content-type': 'application/json', 'idempotency-key': key, 'x-test-owner': 'quota' },
          body: JSON.stringify({ contentType: 'image/png', bytes: 400 }),
        })
      ).status
    for (const key of ['one', 'one', 'one', 'two', 'one', 'two']) expect(await post(key)).toBe(201)
    expect(await post('three')).toBe(429)
    expect(await post('two')).toBe(201)
  })
})

describe('POST /uploads refuses', () => {
  it.each<[string, unknown, number, string]>([
    ['no JSON', 'x', 400, 'INVALID_JSON'],
    ['nothing', '', 400, 'INVALID_JSON'],
    ['JSON of another kind', '[]', 400, 'INVALID_PARAMETER'],
    ['null', 'null', 400, 'INVALID_PARAMETER'],
    ['no content type', { bytes: 7 }, 400, 'INVALID_PARAMETER'],
    ['a content type that is a number', { contentType: 7, bytes: 7 }, 400, 'INVALID_PARAMETER'],
    ['SVG', { contentType: 'image/svg+xml', bytes: 7 }, 415, 'UNSUPPORTED_FORMAT'],
    ['a made-up type', { contentType: 'image/*', bytes: 7 }, 415, 'UNSUPPORTED_FORMAT'],
    ['no size', { contentType: 'image/png' }, 400, 'INVALID_PARAMETER'],
    ['no bytes', { contentType: 'image/png', bytes: 0 }, 400, 'INVALID_PARAMETER'],
    ['less than none', { contentType: 'image/png', bytes: -1 }, 400, 'INVALID_PARAMETER'],
    ['half a byte', { contentType: 'image/png', bytes: 1.5 }, 400, 'INVALID_PARAMETER'],
    ['a size in words', { contentType: 'image/png', bytes: '7' }, 400, 'INVALID_PARAMETER'],
    ['more than a number holds', '{"contentType":"image/png","bytes":1e999}', 400, 'INVALID_PARAMETER'],
    ['one byte too many', { contentType: 'image/png', bytes: 50 * MB + 1 }, 413, 'IMAGE_TOO_LARGE'],
    ['a name that is a list', { contentType: 'image/png', bytes: 7, filename: [] }, 400, 'INVALID_PARAMETER'],
    [
      'an unknown analysis',
      { contentType: 'image/png', bytes: 7, analyses: ['x'] },
      400,
      'INVALID_PARAMETER',
    ],
    ['no analysis', { contentType: 'image/png', bytes: 7, analyses: [] }, 400, 'INVALID_PARAMETER'],
    [
      'a body of 70 KB',
      { contentType: 'image/png', bytes: 7, x: 'x'.repeat(70_000) },
      400,
      'INVALID_PARAMETER',
    ],
  ])('%s', async (_name, body, status, code) => {
    const response = await ask(body)
    expect(response.status).toBe(status)
    expect(response.headers.get('content-type')).toBe('application/problem+json')
    expect(await response.json()).toMatchObject({ status, code })
  })
  it.each<[unknown, string]>([
    ['[]', 'Property `contentType` is missing.'],
    [{ bytes: 7 }, 'Property `contentType` is missing.'],
    [{ contentType: 'image/png', bytes: 7, analyses: 7 }, 'Parameter `analyses` must be a list.'],
  ])('%j in a sentence', async (body, detail) => {
    expect(await (await ask(body)).json()).toMatchObject({ detail })
  })
  it.each(['text/plain', 'application/jsonp', 'multipart/form-data; boundary=b', ''])(
    'a body of the type "%s"',
    async (contentType) => {
      const response = await ask({ contentType: 'image/png', bytes: 7 }, { 'content-type': contentType })
      expect(response.status).toBe(415)
      expect(await response.json()).toMatchObject({ code: 'UNSUPPORTED_MEDIA_TYPE' })
    },
  )
  it('no JSON, whatever is in it, with a 5xx', async () => {
    const field = (name: string, good: unknown) =>
      fc.oneof(fc.constant(good), fc.jsonValue()).map((value) => [name, value])
    const body = fc
      .tuple(
        field('contentType', 'image/png'),
        field('bytes', 700),
        fc.oneof(
          field('filename', 'a'),
          anyText().map((name) => ['filename', name]),
        ),
        fc.option(field('analyses', ['labels']), { nil: ['x', 1] }),
      )
      .map((entries) => JSON.stringify(Object.fromEntries(entries)))
    const text = fc.oneof({ weight: 4, arbitrary: body }, fc.json(), fc.string())
    const seen = new Set<number>()
    await fc.assert(
      fc.asyncProperty(text, async (json) => {
        const { status } = await ask(json)
        seen.add(status)
        expect(status).toBeLessThan(500)
      }),
      { numRuns: 150 },
    )
    expect([...seen]).toEqual(expect.arrayContaining([201, 400]))
    expect(system.trouble).toEqual([])
  })
})

describe.skipIf(ELSEWHERE)(`a message of the queue${skippedElsewhere}`, () => {
  const ID = '0199c0de-0000-7000-8000-00000000000f'
  it.each([
    ['of S3 that only tests', JSON.stringify({ Service: 'Amazon S3', Event: 's3:TestEvent', Bucket: 'b' })],
    ['about a foreign object', arrival('something/else.jpg')],
    ['about an object elsewhere with an id', arrival(`originals/${ID}`)],
    ['about the folder', arrival('uploads/')],
    ['about an upload with more to its key', arrival(`uploads/${ID}/x`, `uploads/${ID}.jpg`)],
    ['about an upload of no record', arrival(`uploads/${ID}`)],
    ['about a path', arrival('uploads/../originals/x', 'uploads/%2e%2e%2f', 'uploads/a+b%C3%A4')],
  ])('%s is acknowledged quietly', async (_name, body) => {
    expect(await failedIds(eventOf(body))).toEqual([])
    expect(system.trouble).toEqual([])
    expect(await eventIds()).toEqual([])
    expect(paid()).toBe(0)
  })
  it('about another object with the id of an image is not about that image', async () => {
    const { imageId } = await announce(700)
    const keys = [
      `originals/${imageId}`,
      `other/${imageId}`,
      `x/uploads/${imageId}`,
      imageId,
      `uploads//${imageId}`,
    ]
    expect(await failedIds(eventOf(arrival(...keys)))).toEqual([])
    expect(await system.record(imageId)).toMatchObject({ status: 'awaiting_upload', attempts: 0 })
    expect(calls.filter((name) => name === 'UpdateItemCommand')).toEqual([])
  })
  it.each([
    ['not JSON', 'hello'],
    ['null', 'null'],
    ['an empty object', '{}'],
    ['a list', '[]'],
    ['no records', '{"Records":[]}'],
    ['records of something else', '{"Records":[{"eventSource":"aws:sqs"}]}'],
    ['a removal', arrival('uploads/x').replace('ObjectCreated:Post', 'ObjectRemoved:Delete')],
    ['a job of another version', JSON.stringify({ version: 2, imageId: ID, epoch: 1 })],
    ['a job with more in it', JSON.stringify({ version: 1, imageId: ID, epoch: 1, owner: 'root' })],
    ['a job with a path for an id', JSON.stringify({ version: 1, imageId: '../x', epoch: 1 })],
    ['another event of that name', '{"Event":"s3:OtherEvent"}'],
  ])('that is %s is not', async (_name, body) => {
    expect(await failedIds(eventOf(body))).toEqual(['message-0'])
    expect(system.trouble).toHaveLength(1 + 1)
  })
  it('never throws but for what it is, and never names an object outside its image', async () => {
    await fc.assert(
      fc.asyncProperty(fc.oneof(anyText(), fc.webUrl(), fc.constant('../'.repeat(9))), async (key) => {
        before = (command) => {
          if (command.endsWith('ObjectCommand')) throw new Error('an object is touched')
        }
        expect(await failedIds(eventOf(arrival(key, `uploads/${key}`)))).toEqual([])
      }),
      { numRuns: 50 },
    )
  })
  it('may stand for several uploads, repeated too; each has one outcome', async () => {
    const ids = [(await upload(await fresh())).imageId, (await upload(await fresh())).imageId]
    await system.receiveJobs()
    const keys = ids.map((id) => `uploads/${id}`)
    const event = eventOf(arrival(...keys, 'foreign'), arrival(...keys), arrival(keys[0] ?? ''))
    expect(await failedIds(event)).toEqual([])
    for (const id of ids) expect(await system.record(id)).toMatchObject({ status: 'completed', attempts: 1 })
    expect(paid()).toBe(4)
    expect(await failedIds(event)).toEqual([])
    expect(await eventIds()).toEqual(ids.map((id) => `${id}:1:completed`).sort())
    expect(paid()).toBe(4)
  })
  it('of which one upload meets trouble comes back, and then does only what is left', async () => {
    const ids = [(await upload(await fresh())).imageId, (await upload(await fresh())).imageId]
    await system.receiveJobs()
    const event = eventOf(arrival(...ids.map((id) => `uploads/${id}`)))
    let hit = false
    before = (command) => {
      if (command !== 'DetectFacesCommand' || hit) return
      hit = true
      throw new Error('Rekognition is away')
    }
    expect(await failedIds(event)).toEqual(['message-0'])
    expect(await failedIds(event)).toEqual([])
    for (const id of ids) expect((await system.record(id)).status).toBe('completed')
    expect(await eventIds()).toEqual(ids.map((id) => `${id}:1:completed`).sort())
    expect(paid()).toBe(4)
  })
})
