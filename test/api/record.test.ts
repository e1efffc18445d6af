import { describe, expect, it } from 'vitest'
import {
  ANALYSES,
  type CompletedImage,
  FAILURE_CODES,
  type FinishedImage,
  imageIdSchema,
  imageSchema,
  isExhausted,
  isFinished,
  objectKeys,
  paidAnalyses,
  STATUSES,
  Verdict,
} from '../../shared/image.ts'
import { ownerTag } from '../../shared/log.ts'
import { keepExhausted, readJobs, sendJob } from '../../shared/messages.ts'
import { UNFINISHED_SHARDS, unfinishedShard } from '../../shared/table.ts'

const imageId = imageIdSchema.parse('0199c0de-0000-7000-8000-00000000000a')
const time = '2026-11-22T00:00:00.000Z'
const original = { bucket: 'b', key: 'k', contentType: 'image/png', bytes: 1 }
const thumbnail = { bucket: 'b', key: 't', contentType: 'image/jpeg', bytes: 1, width: 1, height: 1 }
const everyImage = {
  ...{ imageId, owner: 'o', createdAt: time, updatedAt: time, attempts: 0, epoch: 1, original },
  ...{ analyses: ['labels'], submittedAt: 0 },
}
const pending = { ...everyImage, status: 'pending' }
const completed = { ...everyImage, status: 'completed', completedAt: time, thumbnail }
const failed = (code = 'CORRUPT_IMAGE') => ({
  ...{ ...everyImage, status: 'failed', completedAt: time, failure: { code, message: 'm' } },
})
const HASH = '0123456789abcdef'.repeat(4)
const analysis = { bucket: 'b', key: 'a', contentType: 'application/json', bytes: 1 }

describe('the record of an image', () => {
  it('has the statuses, failures and analyses that are documented', () => {
    expect(STATUSES).toEqual(['pending', 'processing', 'completed', 'failed', 'awaiting_upload'])
    expect(FAILURE_CODES).toEqual([
      ...['CORRUPT_IMAGE', 'UNSUPPORTED_FORMAT', 'IMAGE_TOO_SMALL', 'TOO_MANY_PIXELS', 'ORIGINAL_MISSING'],
      ...['ANALYSIS_REFUSED', 'EXHAUSTED'],
    ])
    expect(paidAnalyses(['gps', 'text', 'metadata', 'labels'])).toEqual(['labels', 'text'])
    expect(paidAnalyses(['labels', 'faces-when-person'])).toEqual(['labels', 'faces'])
    expect(ANALYSES).toEqual([
      ...['labels', 'faces', 'moderation', 'text', 'faces-when-person', 'metadata', 'gps'],
    ])
  })

  it.each([
    pending,
    { ...everyImage, status: 'awaiting_upload' },
    { ...everyImage, status: 'processing', leaseId: 'l', leaseUntil: 0 },
    completed,
    ...FAILURE_CODES.map(failed),
    {
      ...pending,
      uploaded: true,
      swept: 0,
      announced: 1,
      throttled: 0,
      kept: {},
      keyHash: 'k',
      expiresAt: 1,
    },
    { ...pending, original: { ...original, width: 1, height: 1, sha256: HASH, filename: '' } },
    { ...completed, paidCalls: { labels: 1, faces: 2, moderation: 3, text: 4 } },
    { ...completed, reused: true, faceCount: 0, labels: [], analysis, preview: thumbnail },
    ...[1, 8].map((orientation) => ({ ...completed, metadata: { orientation } })),
    ...['2026-11-22T10:20:30', '2026-11-22T10:20:30Z', '2026-11-22T10:20:30-09:30'].map((capturedAt) => ({
      ...{ ...completed, metadata: { capturedAt } },
    })),
    ...[
      { latitude: 90, longitude: 180, altitude: 1 },
      { latitude: -90, longitude: -180 },
    ].map((gps) => ({ ...completed, metadata: { gps } })),
  ])('is read as it was written: %j', (item) => {
    expect(imageSchema.safeParse(item)).toEqual({ success: true, data: item })
  })

  it.each<[string, object]>([
    ['id of another version', { ...pending, imageId: imageId.replace('-7', '-4') }],
    ['status', { ...pending, status: 'deleted' }],
    ['owner', { ...pending, owner: '' }],
    ['number of attempts', { ...pending, attempts: -1 }],
    ['epoch', { ...pending, epoch: 0 }],
    ['analysis', { ...pending, analyses: ['smells'] }],
    ['mark of an upload', { ...pending, uploaded: false }],
    ['number of sweeps', { ...pending, swept: -1 }],
    ['epoch of an announcement', { ...pending, announced: 0 }],
    ['number of throttled attempts', { ...pending, throttled: -1 }],
    ['longer hash', { ...pending, original: { ...original, sha256: `${HASH}0` } }],
    ['hash with something before it', { ...pending, original: { ...original, sha256: `0${HASH}` } }],
    ['thumbnail', { ...completed, thumbnail: { ...thumbnail, contentType: 'image/png' } }],
    ['number of faces', { ...completed, faceCount: -1 }],
    ['number of paid calls', { ...completed, paidCalls: { labels: 0 } }],
    ['mark of a reuse', { ...completed, reused: false }],
    ['object of results', { ...completed, analysis: { ...analysis, contentType: 'text/plain' } }],
    ['failure', failed('BAD_LUCK')],
    ...[
      ...[0, 9].map((orientation) => ({ orientation })),
      ...['at 2026-11-22T10:20:30', '2026-11-22T10:20:30Z.'].map((capturedAt) => ({ capturedAt })),
      ...[-90.5, 90.5].map((latitude) => ({ gps: { latitude, longitude: 0 } })),
      ...[-180.5, 180.5].map((longitude) => ({ gps: { latitude: 0, longitude } })),
    ].map((metadata): [string, object] => [JSON.stringify(metadata), { ...completed, metadata }]),
  ])('is refused with a wrong %s', (_, item) => {
    expect(imageSchema.safeParse(item).success).toBe(false)
  })

  it('is finished when it is completed or failed, and exhausted only when it was given up', () => {
    const read = (item: object) => imageSchema.parse(item)
    expect([pending, completed, failed()].map((item) => isFinished(read(item)))).toEqual([false, true, true])
    const images = [pending, completed, failed(), failed('EXHAUSTED')].map(read)
    expect(() => images.map(isExhausted)).not.toThrow()
    expect(images.map(isExhausted)).toEqual([false, false, false, true])
  })

  it('names every object of its image', () => {
    expect(objectKeys(imageId)).toEqual([
      ...[
        `uploads/${imageId}`,
        `originals/${imageId}`,
        `thumbnails/${imageId}.jpg`,
        `previews/${imageId}.jpg`,
        `analyses/${imageId}.json`,
      ],
    ])
  })

  it('is in the shard that its last digit says', () => {
    const shards = [...'0123456789abcdef'].map((digit) =>
      unfinishedShard(imageIdSchema.parse(imageId.replace(/.$/, digit))),
    )
    const four = ['0', '1', '2', '3']
    expect(shards).toEqual([...four, ...four, ...four, ...four])
    expect(UNFINISHED_SHARDS).toEqual(four)
  })

  it('gets a failure from a verdict, which keeps its cause', () => {
    const cause = new Error('cause')
    const give = () => new Verdict('CORRUPT_IMAGE', 'The file is cut off.', cause)
    expect(give).not.toThrow()
    expect(give()).toMatchObject({
      ...{ name: 'Verdict', message: 'The file is cut off.', cause },
      failure: { code: 'CORRUPT_IMAGE', message: 'The file is cut off.' },
    })
  })
})

describe('a message of the queue', () => {
  const job = { version: 1, imageId, epoch: 1 }
  const arrival = (...keys: string[]) => ({
    Records: keys.map((key) => ({ eventName: 'ObjectCreated:Post', s3: { object: { key } } })),
  })
  /** The jobs, or the kind of error. */
  const read = (message: unknown): unknown => {
    try {
      return readJobs(JSON.stringify(message))
    } catch (error) {
      return (error as Error).name
    }
  }

  it.each<[object, object[]]>([
    [job, [job]],
    [{ ...job, epoch: 2 }, [{ ...job, epoch: 2 }]],
    [{ Event: 's3:TestEvent', Bucket: 'b' }, []],
    [arrival(`uploads/${imageId}`), [job]],
    [arrival(`uploads%2F${imageId}`, 'uploads/x', `uploads/${imageId}`), [job, job]],
    [arrival(`uploads/+${imageId}`), []],
    [arrival(`uploads/%${imageId}`), []],
    // As long as the folder of uploads.
    [arrival(`archive/${imageId}`), []],
    [arrival(imageId), []],
  ])('%j stands for the jobs %j', (message, jobs) => {
    expect(read(message)).toEqual(jobs)
  })

  it.each<[object]>([
    [{}],
    [{ ...job, version: 0 }],
    [{ version: 2, epoch: 1 }],
    [{ ...job, epoch: 0 }],
    [{ ...job, more: 1 }],
    [{ ...job, imageId: 'x' }],
    [{ Records: [] }],
    [{ Event: 's3:OtherEvent' }],
    [{ Records: [{ ...arrival('uploads/x').Records[0], eventName: 'ObjectRemoved:Delete' }] }],
  ])('%j is of no known kind', (message) => {
    expect(read(message)).toBe('ZodError')
  })

  it('is sent to the queue of its kind, and what cannot be sent is an error', async () => {
    const sent: unknown[] = []
    const sqs = {
      send: async ({ input }: { input: unknown }) => {
        sent.push(input)
      },
    } as never
    const exhausted = imageSchema.parse(failed('EXHAUSTED')) as FinishedImage
    const queues = { sqs, jobQueueUrl: 'jobs', deadLetterQueueUrl: 'dead' }
    await sendJob(queues, { version: 1, imageId, epoch: 1 }, 'mary')
    await keepExhausted(queues, exhausted)
    for (const image of [completed, failed()])
      await keepExhausted(queues, imageSchema.parse(image) as CompletedImage)
    const next = { version: 1, imageId, epoch: 2 }
    expect(sent).toEqual([
      { QueueUrl: 'jobs', MessageBody: JSON.stringify(job), MessageGroupId: ownerTag('mary') },
      { QueueUrl: 'dead', MessageBody: JSON.stringify(next) },
    ])
    const away = { ...queues, sqs: { send: () => Promise.reject(new Error('SQS is away')) } as never }
    const sending = Promise.allSettled([
      sendJob(away, { version: 1, imageId, epoch: 1 }, 'mary'),
      keepExhausted(away, exhausted),
    ])
    expect((await sending).map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  })
})
