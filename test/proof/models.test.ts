import { DetectLabelsCommand } from '@aws-sdk/client-rekognition'
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3'
import {
  ChangeMessageVisibilityCommand,
  ReceiveMessageCommand,
  SendMessageCommand,
  SetQueueAttributesCommand,
  StartMessageMoveTaskCommand,
} from '@aws-sdk/client-sqs'
import {
  BatchWriteCommand,
  DeleteCommand,
  type DynamoDBDocumentClient,
  GetCommand,
  PutCommand,
  QueryCommand,
  UpdateCommand,
} from '@aws-sdk/lib-dynamodb'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { listImages } from '../../api/list.ts'
import { claimIdempotencyKey, statusOf } from '../../api/records.ts'
import { sleep } from '../../shared/aws.ts'
import {
  type Image,
  type ImageId,
  imageIdSchema,
  type NewImage,
  type ProcessingImage,
} from '../../shared/image.ts'
import { indexLabels, labelKeys, unindexLabels } from '../../shared/labels.ts'
import {
  claimImage,
  closeIdempotencyKey,
  commitImage,
  createImage,
  deleteRecord,
  getImage,
  getOwnImage,
  markAnnounced,
  type Records,
  releaseImage,
  retryImage,
} from '../../shared/lifecycle.ts'
import { putEvents } from '../../shared/messages.ts'
import { toRecord } from '../../worker/invocation.ts'
import { ELSEWHERE, skippedElsewhere, startTestSystem, type TestSystem, until } from '../context.ts'
import { DynamoModel } from '../simulation/dynamo.ts'
import { clientsOf, EventBridgeModel, RekognitionModel, S3Model, SqsModel } from '../simulation/services.ts'

/**
 * The simulation is worth what its models are. The same cases run on them and on the embedded AWS (or, with
 * AWS_ENDPOINT_URL, on another one), and must be answered alike.
 */
interface Backend {
  s3: S3Client
  dynamo: DynamoDBDocumentClient
  table: string
  sqs: TestSystem['worker']['sqs']
  jobQueueUrl: string
  deadLetterQueueUrl: string
  /** Of all that is in the dead-letter queue. */
  redrive: () => Promise<unknown>
  eventBridge: TestSystem['worker']['eventBridge']
  eventBus: string
  rekognition: TestSystem['worker']['rekognition']
  bucket: string
  receive: () => Promise<{ body: string; receiptHandle: string; receives: string }[]>
}

let system: TestSystem
let backends: Backend[]
let model: SqsModel
let time = Date.now()

beforeAll(async () => {
  system = await startTestSystem({ rekognition: { tps: 1 } })
  const { worker, names } = system
  const arnOf = (queue: string) => `arn:aws:sqs:us-east-1:000000000000:${queue}`
  // So many receives as the project allows for would take the test too long.
  const RedrivePolicy = JSON.stringify({ deadLetterTargetArn: arnOf(names.deadQueue), maxReceiveCount: 5 })
  await worker.sqs.send(
    new SetQueueAttributesCommand({ QueueUrl: worker.jobQueueUrl, Attributes: { RedrivePolicy } }),
  )
  const now = () => time
  const s3 = new S3Model(now)
  const forEver = { queueKeepsMs: Number.POSITIVE_INFINITY, comesBack: 0, fairQueues: true }
  model = new SqsModel(now, () => 0, { visibilityMs: 360_000, maxReceives: 5, ...forEver })
  const models = {
    s3,
    sqs: model,
    dynamo: new DynamoModel(now, { lag: () => 0, isStale: () => false }),
    bus: new EventBridgeModel(now),
    rekognition: new RekognitionModel(now, s3, (bytes) => bytes.toString() === 'not an image', 1),
  }
  const clients = clientsOf(models, async (_name, input, effect) => effect(input))
  backends = [
    {
      ...{ ...clients, bucket: 'bucket', table: 'table', eventBus: 'bus' },
      ...{ jobQueueUrl: 'jobs', deadLetterQueueUrl: 'dead', redrive: async () => model.redrive() },
      receive: async () =>
        model.receive(10).map(({ body, receiptHandle, attributes }) => ({
          ...{ body, receiptHandle, receives: attributes.ApproximateReceiveCount },
        })),
    },
    {
      ...worker,
      redrive: () =>
        worker.sqs.send(
          new StartMessageMoveTaskCommand({
            SourceArn: arnOf(names.deadQueue),
            DestinationArn: arnOf(names.jobQueue),
          }),
        ),
      receive: async () => {
        const { Messages = [] } = await worker.sqs.send(
          new ReceiveMessageCommand({
            QueueUrl: worker.jobQueueUrl,
            MaxNumberOfMessages: 10,
            MessageSystemAttributeNames: ['All'],
          }),
        )
        return Messages.map((message) => toRecord(message, 'arn')).map((record) => ({
          body: record.body,
          receiptHandle: record.receiptHandle,
          receives: record.attributes.ApproximateReceiveCount,
        }))
      },
    },
  ]
})
afterAll(() => system.stop())

/** Plays a case on each backend and demands one answer. */
async function alike(play: (backend: Backend) => Promise<unknown>): Promise<unknown> {
  const [modelled, embedded] = await Promise.all(backends.map(play))
  expect(modelled).toEqual(embedded)
  return modelled
}
/** What a call answers, or the name of its error. */
const answer = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    (value) => value ?? 'nothing',
    (error: Error) => error.name,
  )

const ids = Array.from({ length: 9 }, (_, index) =>
  imageIdSchema.parse(`0199c0de-000${index}-7000-8000-00000000000${index}`),
)
const idAt = (index: number): ImageId => ids[index] as ImageId
const at = new Date('2026-01-01T00:00:00.000Z')
const pending = (imageId: ImageId): NewImage => ({
  imageId,
  owner: 'somebody',
  status: 'pending',
  createdAt: at.toISOString(),
  updatedAt: at.toISOString(),
  submittedAt: at.getTime(),
  attempts: 0,
  epoch: 1,
  analyses: ['labels'],
  original: {
    bucket: 'bucket',
    key: `originals/${imageId}`,
    contentType: 'image/jpeg',
    bytes: 1,
    sha256: 'a'.repeat(64),
  },
})

describe('DynamoDB', () => {
  it('answers every write of the pipeline alike, those refused too', async () => {
    const [imageId, other, never] = [idAt(0), idAt(1), idAt(2)]
    const transcript = (await alike(async ({ dynamo, table }) => {
      let now = at
      const records: Records = { dynamo, table, now: () => now, sleep, sweepAfterMs: 1_000 }
      const item = async () =>
        (await dynamo.send(new GetCommand({ TableName: table, Key: { imageId } }))).Item
      const job = { version: 1 as const, imageId, epoch: 1 }
      const lines: unknown[] = []
      const say = async (work: Promise<unknown>) => lines.push(await answer(work), await item())
      await say(createImage(records, pending(imageId)))
      now = new Date(at.getTime() + 50)
      await say(createImage(records, pending(imageId)))
      await say(claimImage(records, { ...job, epoch: 2 }, { id: 'a', until: 9 }))
      await say(claimImage(records, { ...job, imageId: never }, { id: 'a', until: 9 }))
      const leaseUntil = now.getTime() + 1_000
      await say(claimImage(records, job, { id: 'a', until: leaseUntil }))
      await say(claimImage(records, job, { id: 'a', until: leaseUntil }))
      await say(claimImage(records, job, { id: 'b', until: leaseUntil }))
      await say(createImage(records, pending(imageId)))
      const held = (await getImage(records, imageId)) as ProcessingImage
      await say(
        releaseImage(
          records,
          { ...held, leaseId: 'b' },
          { throttled: 1, kept: {}, paidCalls: {} },
          { for: 'quota', waitMs: 0 },
        ),
      )
      await say(
        releaseImage(
          records,
          held,
          { throttled: 1, kept: { faces: { rekognitionFaces: [] } }, paidCalls: { faces: 1 } },
          { for: 'retry', waitMs: 5 },
        ),
      )
      await say(claimImage(records, job, { id: 'b', until: leaseUntil }))
      const outcome = { status: 'failed', failure: { code: 'EXHAUSTED', message: 'x' } } as const
      await say(commitImage(records, { ...held, leaseId: 'a' }, outcome))
      await say(commitImage(records, { ...held, leaseId: 'b' }, outcome))
      const ended = await getImage(records, imageId)
      if (ended?.status !== 'failed') throw new Error('It has not ended.')
      await say(retryImage(records, ended))
      await say(markAnnounced(records, { ...ended, epoch: 7 }))
      await say(markAnnounced(records, ended))
      await say(retryImage(records, ended))
      await say(retryImage(records, ended))
      await say(getOwnImage(records, 'somebody else', imageId))
      await say(getOwnImage(records, 'somebody', imageId))
      await createImage(records, pending(other))
      const pages = [
        { limit: 1 },
        { limit: 5 },
        { limit: 5, status: 'pending' as const },
        { limit: 5, label: { name: 'x' } },
      ]
      for (const query of pages) await say(listImages(records, 'somebody', query))
      await say(listImages(records, 'somebody', { limit: 1, after: other }))
      const due = (before: number) =>
        dynamo.send(
          new QueryCommand({
            TableName: table,
            IndexName: 'unfinished',
            KeyConditionExpression: 'unfinished = :shard AND sweepAt < :now',
            ExpressionAttributeValues: { ':shard': '0', ':now': before },
          }),
        )
      for (const before of [1_050, 1_051, 9_000]) {
        await say(due(at.getTime() + before).then(({ Items, Count }) => ({ Items, Count })))
      }
      await say(deleteRecord(records, { ...pending(imageId), owner: 'somebody else' }))
      await say(deleteRecord(records, pending(imageId)))
      await say(deleteRecord(records, pending(imageId)))
      await say(getImage(records, imageId))
      await say(statusOf(records, imageId))
      await say(listImages(records, 'somebody', { limit: 5 }))
      for (const seen of [5, Number((await item())?.['sweepAt'])]) {
        await say(
          dynamo
            .send(
              new DeleteCommand({
                TableName: table,
                Key: { imageId },
                ConditionExpression: 'sweepAt = :seen',
                ExpressionAttributeValues: { ':seen': seen },
              }),
            )
            .then(() => 'done'),
        )
      }
      const candidate = {
        ...{ imageId: other, request: 'a'.repeat(64), sha256: 'b'.repeat(64) },
        createdAt: at.toISOString(),
      }
      await say(claimIdempotencyKey(records, 'key', candidate))
      await say(claimIdempotencyKey(records, 'key', { ...candidate, imageId: never }))
      for (const target of [never, other]) await closeIdempotencyKey(records, 'key', target)
      await say(claimIdempotencyKey(records, 'key', { ...candidate, imageId: never }))
      const later = new Date(at.getTime() + 90_000_000).toISOString()
      await say(claimIdempotencyKey(records, 'key', { ...candidate, imageId: never, createdAt: later }))
      return lines
    })) as unknown[]
    // It was no transcript of refusals.
    expect(transcript.length).toBeGreaterThan(60)
    const errors = transcript.filter((line) => typeof line === 'string' && line.endsWith('Exception'))
    expect(errors).toEqual(['ConditionalCheckFailedException'])
    expect(JSON.stringify(transcript)).toContain('"kind":"held"')
    expect(JSON.stringify(transcript)).toContain('"status":"deleted"')
  })

  it.each([
    ['a name that is not used', { ExpressionAttributeNames: { '#a': 'a', '#b': 'b' } }],
    ['a value that is not used', { ExpressionAttributeValues: { ':x': 1, ':y': 2 } }],
    ['an item that is too large', { ExpressionAttributeValues: { ':x': 'x'.repeat(420_000) } }],
  ])('refuses %s', async (_name, wrong) => {
    const refusal = await alike(({ dynamo, table }) =>
      answer(
        dynamo.send(
          new UpdateCommand({
            TableName: table,
            Key: { imageId: idAt(5) },
            UpdateExpression: 'SET #a = :x',
            ExpressionAttributeNames: { '#a': 'a' },
            ExpressionAttributeValues: { ':x': 1 },
            ...wrong,
          }),
        ),
      ),
    )
    expect(refusal).toBe('ValidationException')
  })

  it('writes and reads in batches alike, and finds by the index of labels', async () => {
    const transcript = await alike(async ({ dynamo, table }) => {
      const records: Records = { dynamo, table, now: () => at, sleep, sweepAfterMs: 1_000 }
      const label = (Name: string, Confidence: number) => ({ Name, Confidence })
      const completed = (index: number, ...rekognitionLabels: { Name: string; Confidence: number }[]) =>
        ({
          ...pending(idAt(index)),
          owner: 'labelled',
          status: 'completed',
          rekognitionLabels,
        }) as unknown as Image
      const images = [
        completed(7, label('Dog', 60), label('DOG', 70), label('Cat', 90)),
        completed(
          8,
          label('Dog', 95),
          ...Array.from({ length: 60 }, (_, index) => label(`Label ${index}`, 50)),
        ),
      ]
      for (const image of images) {
        await createImage(records, { ...pending(image.imageId), owner: 'labelled' })
        await indexLabels(records, image)
        await indexLabels(records, image)
      }
      const found = async (name: string, more: object = {}) =>
        (await listImages(records, 'labelled', { limit: 5, labels: [name], ...more })).items.map(
          ({ imageId }) => imageId,
        )
      const page = await listImages(records, 'labelled', { limit: 1, labels: ['dog'] })
      const lines: unknown[] = [
        await found('dog'),
        await found('Dog', { minConfidence: 70 }),
        await found('dog', { minConfidence: 71 }),
        await found('label 59'),
        await found('nothing'),
        page.last,
        await listImages(records, 'labelled', {
          ...{ limit: 1, labels: ['dog'] },
          ...(page.last === undefined ? {} : { after: page.last }),
        }),
      ]
      const [first] = images
      if (first !== undefined) await unindexLabels(records, first.imageId, labelKeys(first))
      lines.push(await found('dog'), await found('cat'))
      const key = { imageId: 'label#twice' }
      lines.push(
        await answer(
          dynamo.send(
            new BatchWriteCommand({
              RequestItems: { [table]: [{ DeleteRequest: { Key: key } }, { DeleteRequest: { Key: key } }] },
            }),
          ),
        ),
      )
      return lines
    })
    expect(transcript).toMatchObject([
      [idAt(8), idAt(7)],
      [idAt(8), idAt(7)],
      [idAt(8)],
      [idAt(8)],
      [],
      idAt(8),
      { items: [{ imageId: idAt(7) }] },
      [idAt(8)],
      [],
      'ValidationException',
    ])
  })

  it('refuses a condition that does not hold, on an item that is there and on one that is not', async () => {
    const refusals = await alike(async ({ dynamo, table }) => {
      const put = (ConditionExpression: string) =>
        answer(
          dynamo
            .send(new PutCommand({ TableName: table, Item: { imageId: idAt(6) }, ConditionExpression }))
            .then(() => 'done'),
        )
      return [
        await put('attribute_exists(imageId)'),
        await put('attribute_not_exists(imageId)'),
        await put('attribute_not_exists(imageId)'),
        await put('(attribute_exists(imageId) AND attribute_exists(x)) OR NOT attribute_exists(imageId)'),
        await put('attribute_exists(imageId) AND (attribute_exists(x) OR NOT attribute_exists(x))'),
      ]
    })
    const no = 'ConditionalCheckFailedException'
    expect(refusals).toEqual([no, 'done', no, no, 'done'])
  })
})

describe('S3', () => {
  it('puts, gets, looks, overwrites and deletes alike, and says alike what is missing', async () => {
    const transcript = await alike(async ({ s3, bucket }) => {
      const object = { Bucket: bucket, Key: 'originals/one' }
      const look = async () => [
        await answer(
          s3
            .send(new GetObjectCommand(object))
            .then(async ({ Body, ContentType }) => [ContentType, await Body?.transformToString()]),
        ),
        await answer(s3.send(new HeadObjectCommand(object)).then(({ ContentLength }) => ContentLength)),
      ]
      const put = (Body: string) =>
        s3.send(new PutObjectCommand({ ...object, Body: Buffer.from(Body), ContentType: 'image/png' }))
      const lines = [await look()]
      await put('first')
      lines.push(await look())
      await put('second one')
      lines.push(await look())
      await s3.send(new DeleteObjectCommand(object))
      await s3.send(new DeleteObjectCommand(object))
      lines.push(await look())
      return lines
    })
    const missing = ['NoSuchKey', 'NotFound']
    expect(transcript).toEqual([
      missing,
      [['image/png', 'first'], 5],
      [['image/png', 'second one'], 10],
      missing,
    ])
  })
})

describe('SQS', () => {
  /** Takes until there is something; the model's clock is put on, the other one runs on. */
  const receive = (backend: Backend) =>
    until('a message', async () => {
      time += 100
      const messages = await backend.receive()
      return messages.length > 0 ? messages : undefined
    })
  const hide = ({ sqs, jobQueueUrl }: Backend, ReceiptHandle: string, VisibilityTimeout: number) =>
    answer(
      sqs
        .send(new ChangeMessageVisibilityCommand({ QueueUrl: jobQueueUrl, ReceiptHandle, VisibilityTimeout }))
        .then(() => 'done'),
    )

  it('delivers again when the visibility is over, counts receives, and then moves to the dead-letter queue', async () => {
    const transcript = await alike(async (backend) => {
      const { sqs, jobQueueUrl } = backend
      await sqs.send(new SendMessageCommand({ QueueUrl: jobQueueUrl, MessageBody: 'again' }))
      const lines: unknown[] = []
      for (let count = 0; count < 5; count += 1) {
        const [message] = await receive(backend)
        lines.push([message?.body, message?.receives, (await backend.receive()).length])
        lines.push(await hide(backend, message?.receiptHandle ?? '', count === 0 ? 1 : 0))
      }
      lines.push((await backend.receive()).length)
      return lines
    })
    expect(transcript).toEqual([
      ...[1, 2, 3, 4, 5].flatMap((count) => [['again', String(count), 0], 'done']),
      0,
    ])
    expect(model.dead.map(({ body }) => body)).toEqual(['again'])
  })

  // Not every emulator has StartMessageMoveTask.
  it.skipIf(ELSEWHERE)(
    `moves what was sent to the dead-letter queue, or ended there, back as new messages${skippedElsewhere}`,
    async () => {
      const transcript = await alike(async (backend) => {
        const { sqs, deadLetterQueueUrl, redrive } = backend
        await sqs.send(new SendMessageCommand({ QueueUrl: deadLetterQueueUrl, MessageBody: 'sent' }))
        const before = (await backend.receive()).length
        await redrive()
        const moved: unknown[] = []
        while (moved.length < 2) {
          moved.push(...(await receive(backend)).map(({ body, receives }) => [body, receives]))
        }
        return [before, moved.sort()]
      })
      expect(transcript).toEqual([
        0,
        [
          ['again', '1'],
          ['sent', '1'],
        ],
      ])
    },
  )
})

describe('EventBridge', () => {
  it('acknowledges each entry', async () => {
    const detail = {
      ...{ version: '1' as const, eventId: 'x', imageId: idAt(0), owner: 'somebody', epoch: 1 },
      ...{ status: 'failed' as const, completedAt: at.toISOString(), original: pending(idAt(0)).original },
    }
    expect(await alike((backend) => putEvents(backend, [{ detail }, { detail }]))).toEqual([
      undefined,
      undefined,
    ])
  })
})

describe('Rekognition', () => {
  it('refuses what is no image, what is not there, and what is too much, by the same names', async () => {
    const detect = ({ rekognition, bucket }: Backend, Name: string) =>
      answer(rekognition.send(new DetectLabelsCommand({ Image: { S3Object: { Bucket: bucket, Name } } })))
    const put = ({ s3, bucket }: Backend, Key: string) =>
      s3.send(new PutObjectCommand({ Bucket: bucket, Key, Body: Buffer.from('not an image') }))
    /** The quota is one call a second; a second call at once is asked to wait. */
    const afterAWhile = (backend: Backend, key: string) =>
      until('an answer', async () => {
        time += 100
        const found = await detect(backend, key)
        return found === 'ProvisionedThroughputExceededException' ? undefined : found
      })
    const transcript = await alike(async (backend) => {
      await put(backend, 'originals/no-image')
      return [
        await afterAWhile(backend, 'originals/no-image'),
        await detect(backend, 'originals/no-image'),
        await afterAWhile(backend, 'originals/nothing'),
      ]
    })
    expect(transcript).toEqual([
      'InvalidImageFormatException',
      'ProvisionedThroughputExceededException',
      'InvalidS3ObjectException',
    ])
  })
})
