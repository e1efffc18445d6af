import { expect, it, vi } from 'vitest'
import * as z from 'zod'
import { type CompletedImage, imageIdSchema } from '../../shared/image.ts'
import { eventDetail, eventDetailSchema, MAX_DETAIL_BYTES, putEvents } from '../../shared/messages.ts'

const imageId = imageIdSchema.parse('0199c0de-0000-7000-8000-000000000000')
const common = {
  imageId,
  owner: 'jwt:user',
  createdAt: '2026-11-22T00:00:00.000Z',
  updatedAt: '2026-11-22T00:00:01.000Z',
  analyses: ['labels' as const, 'faces' as const],
  submittedAt: Date.parse('2026-11-22T00:00:00.000Z'),
  completedAt: '2026-11-22T00:00:01.000Z',
  attempts: 1,
  epoch: 3,
  original: {
    bucket: 'b',
    key: `originals/${imageId}`,
    contentType: 'image/jpeg' as const,
    bytes: 1,
    sha256: '0'.repeat(64),
    filename: '猫'.repeat(255),
  },
}
const completed = (labels: number, faces: number): CompletedImage => {
  const rekognitionLabels = Array.from({ length: labels }, (_, index) => ({
    Name: `Label number ${index}`,
    Confidence: 55 + index / 10,
  }))
  return {
    ...common,
    status: 'completed',
    thumbnail: { bucket: 'b', key: 't', contentType: 'image/jpeg', bytes: 1, width: 128, height: 128 },
    rekognitionLabels,
    rekognitionFaces: Array.from({ length: faces }, (_, index) => ({
      Emotions: [
        { Type: 'CALM', Confidence: index },
        { Type: 'HAPPY', Confidence: 50 },
      ],
    })),
    labelModelVersion: '3.0',
    labels: rekognitionLabels.map((label) => label.Name),
    faceCount: faces,
  }
}

it('the published JSON Schema is the schema that events are checked with (npm test -- -u writes it)', async () => {
  const schema = z.toJSONSchema(eventDetailSchema, { io: 'input' })
  await expect(`${JSON.stringify(schema, null, 2)}\n`).toMatchFileSnapshot('../../shared/event.schema.json')
})

it.each([0, 1, 60, 120, 200, 1_000])('of %i labels as many are named as fit, by a few tries', (labels) => {
  const image = completed(labels, 1)
  const tries = vi.spyOn(JSON, 'stringify')
  const { labels: named = [] } = eventDetail(image)
  expect(tries.mock.calls.length).toBeLessThan(13)
  tries.mockRestore()
  const bytesOf = (count: number): number => {
    const { rekognitionLabels = [] } = image
    const strongest = rekognitionLabels.toSorted((a, b) => b.Confidence - a.Confidence).slice(0, count)
    return Buffer.byteLength(
      JSON.stringify(eventDetail({ ...image, labels: [], rekognitionLabels: [] })).replace(
        '"labels":[],"rekognitionLabels":[]',
        `"labels":${JSON.stringify(strongest.map(({ Name }) => Name))},"rekognitionLabels":${JSON.stringify(strongest)}`,
      ),
    )
  }
  expect(bytesOf(named.length)).toBeLessThan(MAX_DETAIL_BYTES)
  if (named.length < labels) expect(bytesOf(named.length + 1)).toBeGreaterThanOrEqual(MAX_DETAIL_BYTES)
})

it('an event names the strongest labels first and as many as fit under 8 KB', () => {
  const detail = eventDetail(completed(1000, 100))
  const size = Buffer.byteLength(JSON.stringify(detail))
  expect(size).toBeLessThan(MAX_DETAIL_BYTES)
  expect(size).toBeGreaterThan(MAX_DETAIL_BYTES - 200)
  expect(detail.labels?.[0]).toBe('Label number 999')
  expect(detail.labels).toEqual(detail.rekognitionLabels?.map((label) => label.Name))
  expect(detail).toMatchObject({
    eventId: `${imageId}:3:completed`,
    faceCount: 100,
    emotions: ['HAPPY', 'CALM'],
  })
})

it('an event of a failure carries the failure and no results', () => {
  const failure = { code: 'CORRUPT_IMAGE' as const, message: 'no' }
  const detail = eventDetail({ ...common, status: 'failed', failure })
  expect(detail).toMatchObject({ eventId: `${imageId}:3:failed`, status: 'failed', failure })
  expect(Object.keys(detail)).not.toContain('labels')
})

it('an event is cut before it has 8 KB, and not sooner', () => {
  const image = completed(2, 0)
  const size = (filename: string) =>
    Buffer.byteLength(JSON.stringify(eventDetail({ ...image, original: { ...image.original, filename } })))
  const room = MAX_DETAIL_BYTES - size('')
  const cut = (length: number) =>
    eventDetail({ ...image, original: { ...image.original, filename: 'x'.repeat(length) } }).labels
  expect(() => cut(room)).not.toThrow()
  expect(cut(room - 1)).toEqual(['Label number 1', 'Label number 0'])
  expect(cut(room)).toEqual(['Label number 1'])
  // What is too long without any label is left to EventBridge.
  expect(cut(2 * room)).toEqual([])
})

it('an event has labels of one confidence in the order of their names, and nothing else of them', () => {
  const label = (Name: string, Confidence: number) => ({ Name, Confidence, Parents: [], Instances: [] })
  const rekognitionLabels = [label('B', 90), label('D', 70), label('C', 90), label('A', 90)]
  const detail = eventDetail({ ...completed(0, 0), rekognitionLabels, labels: ['B', 'D', 'C', 'A'] })
  expect(detail.rekognitionLabels).toEqual([
    { Name: 'A', Confidence: 90 },
    { Name: 'B', Confidence: 90 },
    { Name: 'C', Confidence: 90 },
    { Name: 'D', Confidence: 70 },
  ])
  expect(detail.labels).toEqual(['A', 'B', 'C', 'D'])
})

it('an event names the strongest emotion of each face, and none of a face that has none', () => {
  const emotion = (Type?: string, Confidence?: number) => ({
    ...(Type === undefined ? {} : { Type }),
    ...(Confidence === undefined ? {} : { Confidence }),
  })
  const faces = [
    { Emotions: [emotion('CALM', 1), emotion('SAD', 90), emotion('HAPPY', 50)] },
    { Emotions: [emotion('ANGRY'), emotion('HAPPY', 0.5)] },
    { Emotions: [emotion('HAPPY', 0.5), emotion('ANGRY')] },
    { Emotions: [emotion(undefined, 90), emotion('CONFUSED', 1)] },
    { Emotions: [] },
    {},
  ]
  const image = { ...completed(0, 0), rekognitionFaces: faces, faceCount: faces.length }
  expect(() => eventDetail(image)).not.toThrow()
  expect(eventDetail(image)).toMatchObject({ faceCount: 6, emotions: ['SAD', 'HAPPY'] })
})

it('an event has nothing of analyses that were not made, and says what was reused', () => {
  const {
    thumbnail,
    labelModelVersion: _version,
    labels: _labels,
    faceCount: _count,
    ...rest
  } = completed(0, 0)
  const { rekognitionLabels: _found, rekognitionFaces: _faces, ...image } = rest
  const announced = {
    ...{ version: '1', eventId: `${imageId}:3:completed`, imageId, owner: 'jwt:user', epoch: 3 },
    ...{ status: 'completed', completedAt: image.completedAt, original: image.original, thumbnail },
  }
  expect(() => eventDetail({ ...image, thumbnail })).not.toThrow()
  expect(eventDetail({ ...image, thumbnail })).toStrictEqual(announced)
  expect(eventDetail({ ...image, thumbnail, reused: true })).toStrictEqual({ ...announced, reused: true })
  expect(eventDetailSchema.parse(announced)).toEqual(announced)
})

it('EventBridge gets events as they are documented, and says of each whether it took it', async () => {
  const failure = { code: 'CORRUPT_IMAGE' as const, message: 'no' }
  const details = [
    eventDetail(completed(1, 1)),
    eventDetail({ ...common, status: 'failed', failure }),
    eventDetail(completed(0, 0)),
  ]
  const traceId = '1-5759e988-bd862e3fe1be46a994272793'
  const announcements = details.map((detail, index) => ({
    detail,
    ...(index === 0 ? { origin: { requestId: 'a', traceId } } : {}),
    ...(index === 1 ? { origin: { requestId: 'b', traceId, spanId: '53995c3f42cd8ad8' } } : {}),
  }))
  const sent: unknown[] = []
  const bus = (answer: object) => ({
    eventBridge: {
      send: async ({ input }: { input: unknown }) => {
        sent.push(input)
        return answer
      },
    } as never,
    eventBus: 'bus',
  })
  const Entries = [{ EventId: '1' }, { ErrorCode: 'ThrottlingException' }]
  expect(await putEvents(bus({ Entries }), announcements)).toEqual([
    ...[undefined, 'ThrottlingException', 'no answer for it'],
  ])
  expect(sent).toEqual([
    {
      Entries: details.map((detail, index) => ({
        ...{ EventBusName: 'bus', Source: 'image-analyzer', Time: new Date(detail.completedAt) },
        DetailType: detail.status === 'failed' ? 'Image Analysis Failed' : 'Image Analysis Completed',
        Detail: JSON.stringify(detail),
        ...(index === 0 ? { TraceHeader: `Root=${traceId}` } : {}),
        ...(index === 1 ? { TraceHeader: `Root=${traceId};Parent=53995c3f42cd8ad8;Sampled=1` } : {}),
      })),
    },
  ])
  expect(await putEvents(bus({}), announcements.slice(0, 1))).toEqual(['no answer for it'])
})
