import { expect, it } from 'vitest'
import * as z from 'zod'
import { eventDetail, eventDetailSchema, MAX_DETAIL_BYTES } from '../shared/event.ts'
import { type FinishedImage, imageIdSchema } from '../shared/image.ts'

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
const completed = (labels: number, faces: number): FinishedImage => {
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
  await expect(`${JSON.stringify(schema, null, 2)}\n`).toMatchFileSnapshot('../shared/event.schema.json')
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
