import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
} from '@aws-sdk/client-s3'
import { DeleteCommand } from '@aws-sdk/lib-dynamodb'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { buildApp } from '../../api/app.ts'
import { DEFAULT_MAX_UPLOAD_BYTES, readApiConfig } from '../../shared/config.ts'
import { ANALYSES, type AnalysisName, type PaidAnalysis, paidAnalyses } from '../../shared/image.ts'
import { type EventDetail, eventDetailSchema } from '../../shared/messages.ts'
import { startTestSystem, type TestSystem } from '../context.ts'
import { distinct } from '../pictures/pictures.ts'

const DAY = 86_400_000
const OPERATIONS: Record<PaidAnalysis, string> = {
  labels: 'DetectLabelsCommand',
  faces: 'DetectFacesCommand',
  moderation: 'DetectModerationLabelsCommand',
  text: 'DetectTextCommand',
}
/** What each analysis puts into a record. */
const FIELDS = {
  labels: ['rekognitionLabels', 'labelModelVersion'],
  faces: ['rekognitionFaces'],
  moderation: ['rekognitionModerationLabels', 'moderationModelVersion'],
  text: ['rekognitionTextDetections', 'textModelVersion'],
  metadata: ['metadata'],
}

type Shown = Record<string, unknown> & { imageId: string; status: string }

let system: TestSystem
/** Paid calls, in order. */
let paid: string[] = []
let before: (command: string) => void = () => {}
let after: (command: string, output: Record<string, unknown>) => void = () => {}
/** Milliseconds by which the worker is ahead of the clock. */
let ahead = 0
beforeAll(async () => {
  system = await startTestSystem()
  system.worker.now = () => new Date(Date.now() + ahead)
  system.worker.rekognition.middlewareStack.add(
    (next, context) => async (args) => {
      const name = context.commandName ?? ''
      before(name)
      paid.push(name)
      const result = await next(args)
      after(name, result.output as unknown as Record<string, unknown>)
      return result
    },
    { step: 'initialize', name: 'watched' },
  )
})
afterAll(() => system.stop())
beforeEach(async () => {
  ahead = 0
  before = () => {}
  after = () => {}
  await system.work()
  await system.events()
  system.trouble.length = 0
  paid = []
})

let number = 20_000
const fresh = () => {
  number += 1
  return distinct(number)
}
interface Request {
  owner?: string
  query?: string
  app?: TestSystem['app']
}
const show = async (imageId: string, owner = 'me'): Promise<Shown> =>
  (await (
    await system.app.request(`/images/${imageId}`, { headers: { 'x-test-owner': owner } })
  ).json()) as Shown
const post = (bytes: Uint8Array, { owner = 'me', query = '', app = system.app }: Request = {}) =>
  app.request(`/images${query}`, {
    method: 'POST',
    headers: { 'content-type': 'image/png', 'x-test-owner': owner },
    body: new Uint8Array(bytes),
  })
const postJson = (value: object) =>
  system.app.request('/images', {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-test-owner': 'me' },
    body: JSON.stringify(value),
  })
const idOf = async (response: Response): Promise<string> => {
  expect(response.status, await response.clone().text()).toBe(202)
  return ((await response.json()) as { imageId: string }).imageId
}
/** What became of an image, and what it cost. */
const run = async (bytes: Uint8Array, request: Request = {}) => {
  await system.events()
  paid = []
  const imageId = await idOf(await post(bytes, request))
  await system.work()
  const record = await show(imageId, request.owner)
  const events = await system.events()
  expect(events.map((event) => event.imageId)).toEqual([imageId])
  return { imageId, record, event: events[0] as EventDetail, paid: [...paid].sort() }
}
const remove = (imageId: string) =>
  system.app.request(`/images/${imageId}`, { method: 'DELETE', headers: { 'x-test-owner': 'me' } })
const operations = (names: AnalysisName[]) =>
  paidAnalyses(names)
    .map((name) => OPERATIONS[name])
    .sort()

/** Exactly what was asked for is called, stored, shown and announced. */
function expectOnly(result: Awaited<ReturnType<typeof run>>, names: AnalysisName[], stored: object): void {
  expect(result.record).toMatchObject({ status: 'completed', analyses: names })
  expect(result.paid).toEqual(operations(names))
  for (const [name, fields] of Object.entries(FIELDS))
    for (const field of fields)
      for (const one of [result.record, stored])
        expect(Object.hasOwn(one, field), field).toBe(new Set<string>(names).has(name))
  expect(Object.hasOwn(stored, 'labels')).toBe(names.includes('labels'))
  expect(Object.hasOwn(stored, 'faceCount')).toBe(names.includes('faces'))
  expect(stored).not.toHaveProperty('kept')
  const { event } = result
  expect(eventDetailSchema.strict().parse(event)).toEqual(event)
  for (const field of ['labels', 'rekognitionLabels'])
    expect(Object.hasOwn(event, field), field).toBe(names.includes('labels'))
  for (const field of ['faceCount', 'emotions'])
    expect(Object.hasOwn(event, field), field).toBe(names.includes('faces'))
}

describe('an image gets', () => {
  it.each<[string, AnalysisName[]]>([
    ['', ['labels', 'faces', 'metadata']],
    ['?analyses=metadata', ['metadata']],
    ['?analyses=gps', ['metadata', 'gps']],
    ['?analyses=gps,labels', ['labels', 'metadata', 'gps']],
    ['?analyses=labels', ['labels']],
    ['?analyses=faces', ['faces']],
    ['?analyses=moderation', ['moderation']],
    ['?analyses=text', ['text']],
    ['?analyses=text,labels', ['labels', 'text']],
    ['?analyses=%20text%20,%20labels', ['labels', 'text']],
    ['?analyses=labels,labels,labels', ['labels']],
    ['?analyses=labels&analyses=moderation', ['labels', 'moderation']],
    ['?analyses=labels,faces,moderation,text', ['labels', 'faces', 'moderation', 'text']],
  ])('with %s just that, and one paid call for each of Rekognition’s', async (query, names) => {
    const result = await run(await fresh(), { query })
    expectOnly(result, names, await system.item(result.imageId))
  })
  it('what its JSON asks for, which counts before the query', async () => {
    const image = (await fresh()).toString('base64')
    for (const [analyses, names] of [
      [['text'], ['text']],
      [
        ['text', 'faces', 'text'],
        ['faces', 'text'],
      ],
      ['faces, text', ['faces', 'text']],
      [null, ['labels', 'faces', 'metadata']],
      [undefined, ['labels', 'faces', 'metadata']],
    ] as const) {
      const imageId = await idOf(await postJson({ image, analyses }))
      expect((await show(imageId))['analyses']).toEqual(names)
      await remove(imageId)
    }
  })
  it('what a field of its form asks for', async () => {
    for (const [values, names] of [
      [['labels'], ['labels']],
      [
        ['text', 'labels'],
        ['labels', 'text'],
      ],
      [['labels,text'], ['labels', 'text']],
    ] as const) {
      const form = new FormData()
      form.append('image', new File([new Uint8Array(await fresh())], 'a.png'))
      for (const value of values) form.append('analyses', value)
      const response = await system.app.request('/images?analyses=faces', {
        method: 'POST',
        headers: { 'x-test-owner': 'me' },
        body: form,
      })
      const imageId = await idOf(response)
      expect((await show(imageId))['analyses']).toEqual(names)
      await remove(imageId)
    }
  })
  it('what its announcement asks for, in JSON or query', async () => {
    const ask = async (query: string, analyses?: unknown) => {
      const response = await system.app.request(`/uploads${query}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-test-owner': 'me' },
        body: JSON.stringify({ contentType: 'image/png', bytes: 700, analyses }),
      })
      if (response.status !== 201) return response.status
      const { imageId } = (await response.json()) as { imageId: string }
      return (await show(imageId))['analyses']
    }
    expect(await ask('')).toEqual(['labels', 'faces', 'metadata'])
    expect(await ask('', ['text'])).toEqual(['text'])
    expect(await ask('?analyses=labels')).toEqual(['labels'])
    expect(await ask('?analyses=labels', 'moderation')).toEqual(['moderation'])
    expect(await ask('?analyses=x')).toBe(400)
    expect(await ask('', ['x'])).toBe(400)
    expect(await ask('', [])).toBe(400)
  })
  it.each<unknown>([
    '',
    ',',
    'x',
    'LABELS',
    'labels,',
    'labels,x',
    'labels faces',
    'faces-when-person',
    'a'.repeat(10_000),
  ])('nothing with analyses=%s', async (analyses) => {
    const response = await post(await fresh(), { query: `?analyses=${analyses}` })
    expect(response.status).toBe(400)
    const body = (await response.json()) as { detail: string }
    expect(body).toMatchObject({ code: 'INVALID_PARAMETER', detail: expect.stringContaining('analyses') })
    expect(body.detail.length).toBeLessThan(200)
  })
  it.each<unknown>([[[]], [['x']], [[7]], [{}], [7], [true], [[['labels']]], [Array(101).fill('labels')]])(
    'nothing with JSON of %j',
    async (analyses) => {
      const response = await postJson({ image: (await fresh()).toString('base64'), analyses })
      expect(response.status).toBe(400)
      expect(await response.json()).toMatchObject({ code: 'INVALID_PARAMETER' })
    },
  )
})

describe('a deployment', () => {
  const config = (ANALYSES: string) =>
    readApiConfig({ IMAGE_BUCKET: 'bucket', IMAGE_TABLE: 'table', JOB_QUEUE_URL: 'https://queue', ANALYSES })
  const appOf = (analyses: string) =>
    buildApp({ ...system.api, maxUploadBytes: DEFAULT_MAX_UPLOAD_BYTES, analyses: config(analyses).ANALYSES })

  it.each<[string, AnalysisName[]]>([
    ['labels', ['labels']],
    ['moderation,labels', ['labels']],
    ['moderation,text', ['moderation', 'text']],
    ['faces,text,faces', ['faces']],
    ['moderation,metadata', ['moderation', 'metadata']],
    ['faces,gps', ['faces', 'metadata']],
    ['gps', ['metadata']],
  ])('that allows %s computes nothing else, without being asked', async (allowed, names) => {
    const result = await run(await fresh(), { app: appOf(allowed) })
    expectOnly(result, names, await system.item(result.imageId))
  })
  it('refuses what is off, however it is asked for, and names what is on', async () => {
    const app = appOf('labels,text')
    for (const query of ['?analyses=faces', '?analyses=labels,faces']) {
      const response = await post(await fresh(), { app, query })
      expect(response.status).toBe(400)
      expect(((await response.json()) as { detail: string }).detail).toMatch(/ one of labels, text\.$/)
    }
    const upload = await app.request('/uploads', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ contentType: 'image/png', bytes: 7, analyses: ['faces'] }),
    })
    expect(upload.status).toBe(400)
    expect((await run(await fresh(), { app, query: '?analyses=text' })).record['analyses']).toEqual(['text'])
  })
  it('is not set up with an analysis that there is not', () => {
    expect(() => config('labels,emotions')).toThrow(/ANALYSES/)
    expect(() => config(',')).toThrow(/ANALYSES/)
  })
})

describe('faces where the labels show a person', () => {
  const query = '?analyses=labels,faces-when-person'
  const showing = (...Labels: object[]) => {
    after = (command, output) => {
      if (command === OPERATIONS.labels) Object.assign(output, { Labels })
    }
  }
  const label = (Name: string, more: object = {}) => ({ Name, Confidence: 99, ...more })

  it('are not asked for without one, and record and event say so', async () => {
    showing(label('Dog', { Parents: [{ Name: 'Animal' }], Categories: [{ Name: 'Animals and Pets' }] }))
    const { record, event, paid } = await run(await fresh(), { query })
    expect(paid).toEqual([OPERATIONS.labels])
    expect(record).toMatchObject({ analyses: ['labels', 'faces-when-person'], facesSkipped: true })
    expect(record).not.toHaveProperty('rekognitionFaces')
    expect(event).toMatchObject({ labels: ['Dog'], facesSkipped: true })
    expect(event).not.toHaveProperty('faceCount')
    expect(eventDetailSchema.strict().parse(event)).toEqual(event)
  })
  it.each([
    label('Person'),
    label('Face'),
    label('Bride', { Parents: [{ Name: 'Adult' }, { Name: 'Person' }] }),
    label('Smile', { Categories: [{ Name: 'Person Description' }] }),
  ])('are asked for with $Name, after the labels', async (shown) => {
    showing(label('Dog'), shown)
    const calls: string[] = []
    before = (command) => void calls.push(command)
    const { record } = await run(await fresh(), { query })
    expect(calls).toEqual([OPERATIONS.labels, OPERATIONS.faces])
    expect(record).toMatchObject({ rekognitionFaces: [] })
    expect(record).not.toHaveProperty('facesSkipped')
  })
  it('are not had by an image that asks for faces in any case; but its own are had by others', async () => {
    const bytes = await fresh()
    showing(label('Dog'))
    const skipped = { reused: true, facesSkipped: true }
    await run(bytes, { query })
    expect(await run(bytes, { query })).toMatchObject({ paid: [], record: skipped, event: skipped })
    const fewer = (await run(bytes, { query: '?analyses=labels' })).record
    expect(fewer).toMatchObject({ reused: true, rekognitionLabels: [{ Name: 'Dog' }] })
    expect(fewer).not.toHaveProperty('facesSkipped')
    const always = await run(bytes, { query: '?analyses=labels,faces' })
    expect(always).toMatchObject({ paid: operations(['labels', 'faces']), record: { rekognitionFaces: [] } })
    const later = await run(bytes, { query })
    expect(later).toMatchObject({ paid: [], record: { reused: true, rekognitionFaces: [] } })
  })
  it.each<[string, 'always' | 'when-person', readonly AnalysisName[], AnalysisName[]]>([
    ['', 'when-person', ANALYSES, ['labels', 'faces-when-person', 'metadata']],
    ['?analyses=labels,faces', 'when-person', ANALYSES, ['labels', 'faces']],
    ['?analyses=faces-when-person,labels,faces', 'always', ANALYSES, ['labels', 'faces']],
    ['', 'always', ['labels', 'faces-when-person'], ['labels', 'faces-when-person']],
  ])('are a choice: %j with FACES=%s of %j', async (query, faces, analyses, names) => {
    const app = buildApp({ ...system.api, faces, analyses: [...analyses] })
    expect((await show(await idOf(await post(await fresh(), { app, query }))))['analyses']).toEqual(names)
  })
})

describe('the answers of Rekognition', () => {
  it('for moderation and text are stored and shown in its own shapes, whole', async () => {
    const ModerationLabels = [
      { Confidence: 98.1, Name: 'Weapons', ParentName: 'Violence', TaxonomyLevel: 2 },
      { Confidence: 97.5, Name: 'Violence', ParentName: '', TaxonomyLevel: 1 },
    ]
    const TextDetections = [
      {
        ...{ DetectedText: 'STOP <b>', Type: 'LINE', Id: 0, Confidence: 99.2 },
        Geometry: {
          BoundingBox: { Width: 0.5, Height: 0.1, Left: 0.2, Top: 0.3 },
          Polygon: [{ X: 0.2, Y: 0.3 }],
        },
      },
      { DetectedText: 'STOP', Type: 'WORD', Id: 1, ParentId: 0, Confidence: 99.2 },
    ]
    after = (command, output) => {
      if (command === OPERATIONS.moderation)
        Object.assign(output, { ModerationLabels, ModerationModelVersion: '7.0' })
      if (command === OPERATIONS.text) Object.assign(output, { TextDetections, TextModelVersion: '3.0' })
    }
    const { record, imageId, event } = await run(await fresh(), { query: '?analyses=moderation,text' })
    expect(record).toMatchObject({
      rekognitionModerationLabels: ModerationLabels,
      moderationModelVersion: '7.0',
      rekognitionTextDetections: TextDetections,
      textModelVersion: '3.0',
    })
    expect(record['rekognitionTextDetections']).toEqual(TextDetections)
    expect(JSON.stringify(event)).not.toContain('STOP')
    const list = await (await system.app.request('/images', { headers: { 'x-test-owner': 'me' } })).text()
    expect(list).toContain(imageId)
    expect(list).not.toContain('STOP')
  })
  it('that have come are not asked for again, each by itself', async () => {
    const imageId = await idOf(await post(await fresh(), { query: '?analyses=labels,moderation,text' }))
    const trying = async (failing: string[]) => {
      before = (command) => {
        if (failing.includes(command)) throw new Error('Rekognition is away')
      }
      paid = []
      const { processBatch } = await import('../../worker/batch.ts')
      const { lambdaContext } = await import('../context.ts')
      const job = {
        messageId: '1',
        receiptHandle: 'gone',
        body: JSON.stringify({ version: 1, imageId, epoch: 1 }),
      }
      const attributes = { ApproximateReceiveCount: '1', SentTimestamp: '0' }
      await processBatch(system.worker, { Records: [{ ...job, attributes } as never] }, lambdaContext())
      return paid
    }
    expect(await trying([OPERATIONS.moderation, OPERATIONS.text])).toEqual([OPERATIONS.labels])
    expect(Object.keys((await system.item(imageId))['kept'] as object)).toEqual(['labels', 'stored'])
    expect(await system.item(imageId)).toHaveProperty('paidCalls', { labels: 1 })
    expect(await trying([OPERATIONS.text])).toEqual([OPERATIONS.moderation])
    expect(await trying([])).toEqual([OPERATIONS.text])
    const record = await show(imageId)
    const paidCalls = { labels: 1, moderation: 1, text: 1 }
    expect(record).toMatchObject({ status: 'completed', attempts: 3, paidCalls })
    expect(await system.events()).toMatchObject([{ imageId, paidCalls }])
    for (const field of [...FIELDS.labels, ...FIELDS.moderation, ...FIELDS.text])
      expect(record).toHaveProperty(field)
    expect(record).not.toHaveProperty('rekognitionFaces')
    expect(await system.item(imageId)).not.toHaveProperty('kept')
  })
})

describe('bytes that an owner has had analysed', () => {
  const FREE: string[] = []
  const BOTH = operations(['labels', 'faces'])

  it('cost nothing again; the image has its own record, thumbnail, preview and event', async () => {
    const bytes = await fresh()
    const first = await run(bytes)
    const second = await run(bytes, { query: '?filename=other.png' })
    for (const had of [first.record, first.event]) expect(had).not.toHaveProperty('reused')
    expect(second.paid).toEqual(FREE)
    expect(second.record).toMatchObject({ status: 'completed', reused: true, attempts: 1 })
    for (const { record, event } of [first, second]) expect(event.paidCalls).toEqual(record['paidCalls'])
    expect([first, second].map(({ event }) => event.paidCalls)).toEqual([{ labels: 1, faces: 1 }, {}])
    for (const field of [...FIELDS.labels, ...FIELDS.faces, 'metadata', 'analyses'])
      expect(second.record[field]).toEqual(first.record[field])
    expect(second.record['original']).toMatchObject({
      key: `originals/${second.imageId}`,
      filename: 'other.png',
    })
    const thumbnail = second.record['thumbnail'] as { key: string }
    expect(thumbnail.key).toBe(`thumbnails/${second.imageId}.jpg`)
    const preview = second.record['preview'] as { key: string }
    expect(preview.key).toBe(`previews/${second.imageId}.jpg`)
    for (const Key of [thumbnail.key, preview.key, `originals/${second.imageId}`])
      await system.worker.s3.send(new HeadObjectCommand({ Bucket: system.names.bucket, Key }))
    expect(second.event).toMatchObject({
      eventId: `${second.imageId}:1:completed`,
      reused: true,
      labels: first.event.labels,
      faceCount: 0,
      thumbnail,
    })
    expect(eventDetailSchema.strict().parse(second.event)).toEqual(second.event)
    const list = (await (
      await system.app.request('/images?limit=1', { headers: { 'x-test-owner': 'me' } })
    ).json()) as { items: unknown[] }
    expect(list.items[0]).toMatchObject({
      imageId: second.imageId,
      labels: expect.arrayContaining(second.event.labels ?? []),
      faceCount: 0,
    })
  })
  it('cost nothing whatever analyses come first in the request, and for some of them', async () => {
    const bytes = await fresh()
    await run(bytes, { query: '?analyses=text,labels' })
    expect((await run(bytes, { query: '?analyses=labels,text' })).paid).toEqual(FREE)
    const fewer = await run(bytes, { query: '?analyses=text' })
    expect(fewer).toMatchObject({ paid: FREE, record: { reused: true, rekognitionTextDetections: [] } })
    for (const field of FIELDS.labels) expect(fewer.record).not.toHaveProperty(field)
  })
  it.each<[string, Request, Request, string[]]>([
    ['another owner', { owner: 'me' }, { owner: 'you' }, BOTH],
    ['an owner who has its name in his own', { owner: 'me' }, { owner: 'me","' }, BOTH],
    ['more analyses', { query: '?analyses=labels' }, {}, BOTH],
    ['other analyses', {}, { query: '?analyses=text' }, operations(['text'])],
  ])('cost as ever for %s', async (_name, one, other, cost) => {
    const bytes = await fresh()
    await run(bytes, one)
    const result = await run(bytes, other)
    expect(result.paid).toEqual(cost)
    expect(result.record).not.toHaveProperty('reused')
  })
  it('stay known to each owner who has paid for them', async () => {
    const bytes = await fresh()
    expect((await run(bytes, { owner: 'me' })).paid).toEqual(BOTH)
    expect((await run(bytes, { owner: 'you' })).paid).toEqual(BOTH)
    expect((await run(bytes, { owner: 'me' })).paid).toEqual(FREE)
    expect((await run(bytes, { owner: 'you' })).paid).toEqual(FREE)
  })
  it('are not given to another owner, even if the table says so', async () => {
    const bytes = await fresh()
    const first = await run(bytes)
    await system.setItem(first.imageId, { owner: 'somebody else' })
    const second = await run(bytes)
    expect(second.paid).toEqual(BOTH)
  })
  it('cost as ever when other settings or another Rekognition answer', async () => {
    const bytes = await fresh()
    await run(bytes)
    system.worker.analysisSource = 'another'
    expect((await run(bytes)).paid).toEqual(BOTH)
    system.worker.analysisSource = 'Rekognition 55 100'
    expect((await run(bytes)).paid).toEqual(FREE)
  })
  it('count for 30 days', async () => {
    const bytes = await fresh()
    await run(bytes)
    ahead = 30 * DAY - 60_000
    expect((await run(bytes)).paid).toEqual(FREE)
    ahead = 30 * DAY + 60_000
    // What was reused does not make them any younger.
    expect((await run(bytes)).paid).toEqual(BOTH)
    expect((await run(bytes)).paid).toEqual(FREE)
  })
  it('are paid for once more when the image they came from is deleted, and then not again', async () => {
    const bytes = await fresh()
    const a = await run(bytes)
    const b = await run(bytes)
    expect(b.paid).toEqual(FREE)
    expect((await remove(a.imageId)).status).toBe(204)
    expect(await show(b.imageId)).toEqual(b.record)
    const c = await run(bytes)
    expect(c.paid).toEqual(BOTH)
    expect(c.record).not.toHaveProperty('reused')
    const d = await run(bytes)
    expect(d.paid).toEqual(FREE)
    expect(d.record).toMatchObject({ reused: true })
  })
  it('are paid for once more when the image they came from is gone or has expired', async () => {
    const bytes = await fresh()
    const a = await run(bytes)
    await system.setItem(a.imageId, { expiresAt: Math.floor(Date.now() / 1_000) - 1 })
    const b = await run(bytes)
    expect(b.paid).toEqual(BOTH)
    await system.worker.dynamo.send(
      new DeleteCommand({ TableName: system.names.table, Key: { imageId: b.imageId } }),
    )
    expect((await run(bytes)).paid).toEqual(BOTH)
  })
  it('count only where they were found good', async () => {
    const bytes = (await fresh()).subarray(0, 150)
    for (let time = 0; time < 2; time += 1) {
      const { record } = await run(bytes)
      expect(record).toMatchObject({ status: 'failed', failure: { code: 'CORRUPT_IMAGE' } })
      expect(record).not.toHaveProperty('reused')
    }
  })
  it('are decoded all the same: nothing is taken for good because its hash is known', async () => {
    const bytes = await fresh()
    await run(bytes)
    const { render } = system.worker
    let rendered = 0
    system.worker.render = (...args) => {
      rendered += 1
      return render(...args)
    }
    await run(bytes)
    system.worker.render = render
    expect(rendered).toBe(1)
  })

  describe('with results that no item holds', () => {
    const Labels = Array.from({ length: 1_000 }, (_, index) => ({
      Name: `Label ${index}`,
      Confidence: 99 - index / 100,
      Instances: Array.from({ length: 5 }, () => ({
        BoundingBox: { Left: 0.123_456_789, Top: 0.2, Width: 0.3, Height: 0.4 },
        Confidence: 90,
      })),
    }))
    const large = () => {
      after = (command, output) => {
        if (command === OPERATIONS.labels) Object.assign(output, { Labels })
      }
    }
    const objects = async (): Promise<string[]> => {
      const { Contents = [] } = await system.worker.s3.send(
        new ListObjectsV2Command({ Bucket: system.names.bucket, Prefix: 'analyses/' }),
      )
      return Contents.map(({ Key = '' }) => Key)
    }
    it('have a copy of them, which outlives the first', async () => {
      large()
      const bytes = await fresh()
      const a = await run(bytes)
      const b = await run(bytes)
      expect(b.paid).toEqual(FREE)
      expect(b.record).toMatchObject({ reused: true, analysis: { key: `analyses/${b.imageId}.json` } })
      expect(await objects()).toEqual(
        expect.arrayContaining([a, b].map(({ imageId }) => `analyses/${imageId}.json`)),
      )
      expect(b.event.labels?.slice(0, 100)).toEqual(a.event.labels?.slice(0, 100))
      await remove(a.imageId)
      expect(await objects()).not.toContain(`analyses/${a.imageId}.json`)
      expect((await show(b.imageId))['rekognitionLabels']).toEqual(Labels)
      const { Body } = await system.worker.s3.send(
        new GetObjectCommand({ Bucket: system.names.bucket, Key: `analyses/${b.imageId}.json` }),
      )
      expect(JSON.parse((await Body?.transformToString()) ?? '')).toMatchObject({ rekognitionLabels: Labels })
    })
    it('are paid for once more when the object is gone, and the first still shows its outlines', async () => {
      large()
      const bytes = await fresh()
      const a = await run(bytes)
      await system.worker.s3.send(
        new DeleteObjectCommand({ Bucket: system.names.bucket, Key: `analyses/${a.imageId}.json` }),
      )
      const b = await run(bytes)
      expect(b.paid).toEqual(BOTH)
      expect(b.record).not.toHaveProperty('reused')
      const outlines = await show(a.imageId)
      expect(outlines.status).toBe('completed')
      expect(outlines['rekognitionLabels']).toEqual(
        Labels.map(({ Name, Confidence }) => ({ Name, Confidence })),
      )
    })
  })
})
