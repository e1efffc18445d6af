import { randomUUID } from 'node:crypto'
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  GetBucketNotificationConfigurationCommand,
  type NotificationConfiguration,
  PutBucketNotificationConfigurationCommand,
  PutObjectCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { DeleteQueueCommand } from '@aws-sdk/client-sqs'
import { describe, expect, it, vi } from 'vitest'
import { embeddedAws, pixels, presignedFields, region, signed, type TestQueue } from './started.ts'

const { newFolder, dropped, start, aws, newBucket, newQueue, bodies, stored, post } = embeddedAws()

describe('event notifications', () => {
  const configure = (
    Bucket: string,
    NotificationConfiguration: NotificationConfiguration,
    more: object = {},
  ) =>
    aws.s3.send(new PutBucketNotificationConfigurationCommand({ Bucket, NotificationConfiguration, ...more }))
  const configuration = async (Bucket: string, on = aws) => {
    const { $metadata: _, ...rest } = await on.s3.send(
      new GetBucketNotificationConfigurationCommand({ Bucket }),
    )
    return rest
  }
  const put = (Bucket: string, Key: string, on = aws) =>
    on.s3.send(new PutObjectCommand({ Bucket, Key, Body: 'hello' }))
  const created = (queue: TestQueue) => ({ QueueArn: queue.arn, Events: ['s3:ObjectCreated:*' as const] })
  const events = async (queue: TestQueue, on = aws) =>
    (await bodies(queue, on)).flatMap((body) => JSON.parse(body).Records ?? [])

  it('begin with a test message', async () => {
    const [bucket, queue] = [await newBucket(), await newQueue()]
    await configure(bucket, { QueueConfigurations: [created(queue)] })
    const [body = ''] = await bodies(queue)
    expect(JSON.parse(body)).toEqual({
      Service: 'Amazon S3',
      Event: 's3:TestEvent',
      Time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      Bucket: bucket,
      RequestId: expect.any(String),
      HostId: expect.any(String),
    })
  })

  it('tell of an object in the shape that S3 gives them, before the PUT is answered', async () => {
    const [bucket, queue] = [await newBucket(), await newQueue()]
    await configure(bucket, { QueueConfigurations: [{ Id: 'uploads', ...created(queue) }] })
    await bodies(queue)
    const began = Date.now()
    const { ETag, $metadata } = await put(bucket, 'hello.txt')
    const [body = '', ...others] = await bodies(queue)
    expect(others).toEqual([])
    expect(JSON.parse(body)).toEqual({
      Records: [
        {
          eventVersion: '2.1',
          eventSource: 'aws:s3',
          awsRegion: region,
          eventTime: expect.toSatisfy((time: string) => Date.parse(time) >= began),
          eventName: 'ObjectCreated:Put',
          userIdentity: { principalId: expect.any(String) },
          requestParameters: { sourceIPAddress: '127.0.0.1' },
          responseElements: { 'x-amz-request-id': $metadata.requestId, 'x-amz-id-2': expect.any(String) },
          s3: {
            s3SchemaVersion: '1.0',
            configurationId: 'uploads',
            bucket: {
              name: bucket,
              ownerIdentity: { principalId: expect.any(String) },
              arn: `arn:aws:s3:::${bucket}`,
            },
            object: {
              key: 'hello.txt',
              size: 5,
              eTag: ETag?.replaceAll('"', ''),
              sequencer: expect.stringMatching(/^[0-9A-F]{16,}$/),
            },
          },
        },
      ],
    })
  })

  it('tell of every way in which an object comes to be, and of nothing else', async () => {
    const [bucket, queue] = [await newBucket(), await newQueue()]
    await configure(bucket, { QueueConfigurations: [created(queue)] })
    await bodies(queue)
    const Bucket = bucket
    await put(bucket, 'put')
    await post(bucket, presignedFields(bucket, { key: 'post' }))
    await aws.s3.send(new CopyObjectCommand({ Bucket, Key: 'copy', CopySource: `${bucket}/put` }))
    const { UploadId } = await aws.s3.send(new CreateMultipartUploadCommand({ Bucket, Key: 'parts' }))
    const upload = { Bucket, Key: 'parts', UploadId }
    const { ETag } = await aws.s3.send(new UploadPartCommand({ ...upload, PartNumber: 1, Body: 'part' }))
    const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] }
    await aws.s3.send(new CompleteMultipartUploadCommand({ ...upload, MultipartUpload }))
    // None of these creates one.
    await expect(
      aws.s3.send(new PutObjectCommand({ Bucket, Key: 'put', Body: 'again', IfNoneMatch: '*' })),
    ).rejects.toMatchObject({ name: 'PreconditionFailed' })
    await post(bucket, { ...presignedFields(bucket, { key: 'post' }), key: 'other' })
    await aws.s3.send(new DeleteObjectCommand({ Bucket, Key: 'put' }))

    const seen = await events(queue)
    expect(seen.map(({ eventName, s3 }) => [eventName, s3.object.key, s3.object.size])).toEqual([
      ['ObjectCreated:Put', 'put', 5],
      ['ObjectCreated:Post', 'post', pixels.length],
      ['ObjectCreated:Copy', 'copy', 5],
      ['ObjectCreated:CompleteMultipartUpload', 'parts', 4],
    ])
    expect(seen[3].s3.object.eTag).toMatch(/-1$/)
  })

  it('are in an order, also within one millisecond', async () => {
    const [bucket, queue] = [await newBucket(), await newQueue()]
    await configure(bucket, { QueueConfigurations: [created(queue)] })
    await bodies(queue)
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() })
    try {
      for (const key of ['1', '2', '3']) await put(bucket, key)
    } finally {
      vi.useRealTimers()
    }
    const sequencers = (await events(queue)).map(({ s3 }) => s3.object.sequencer)
    expect([...new Set(sequencers)].sort()).toEqual(sequencers)
    expect(sequencers).toHaveLength(3)
  })

  it('tell puts from copies when both come at once', async () => {
    const [bucket, queue] = [await newBucket(), await newQueue()]
    await put(bucket, 'source')
    await configure(bucket, {
      QueueConfigurations: [{ ...created(queue), Events: ['s3:ObjectCreated:Copy'] }],
    })
    await bodies(queue)
    const Bucket = bucket
    await Promise.all(
      Array.from({ length: 5 }, (_, index) => [
        put(bucket, `put-${index}`),
        aws.s3.send(new CopyObjectCommand({ Bucket, Key: `copy-${index}`, CopySource: `${bucket}/source` })),
      ]).flat(),
    )
    const keys = (await events(queue)).map(({ s3 }) => s3.object.key)
    expect(keys.sort()).toEqual([0, 1, 2, 3, 4].map((index) => `copy-${index}`))
  })

  it.each([
    ['a b/c+d', 'a+b/c%2Bd'],
    ['a@b', 'a%40b'],
    ["ü—(1)!'*~.jpg", '%C3%BC%E2%80%94%281%29%21%27*%7E.jpg'],
  ])('write the key %s as %s', async (key, written) => {
    const [bucket, queue] = [await newBucket(), await newQueue()]
    await configure(bucket, { QueueConfigurations: [created(queue)] })
    await bodies(queue)
    await put(bucket, key)
    expect((await events(queue))[0].s3.object.key).toBe(written)
  })

  it('are kept to the prefix, the suffix and the kind that they are for', async () => {
    const bucket = await newBucket()
    const [pictures, posts] = [await newQueue(), await newQueue()]
    const FilterRules = [
      { Name: 'prefix' as const, Value: 'uploads/' },
      { Name: 'suffix' as const, Value: '.jpg' },
    ]
    await configure(bucket, {
      QueueConfigurations: [
        {
          Id: '1',
          QueueArn: pictures.arn,
          Events: ['s3:ObjectCreated:Put'],
          Filter: { Key: { FilterRules } },
        },
        { Id: '2', QueueArn: posts.arn, Events: ['s3:ObjectCreated:Post'] },
      ],
    })
    await bodies(pictures)
    await bodies(posts)
    for (const key of ['uploads/1.jpg', 'uploads/1.png', 'other/1.jpg', 'x/uploads/1.jpg'])
      await put(bucket, key)
    await post(bucket, presignedFields(bucket, { key: 'uploads/2.jpg' }))
    const keys = async (queue: TestQueue) => (await events(queue)).map(({ s3 }) => s3.object.key)
    expect(await keys(pictures)).toEqual(['uploads/1.jpg'])
    expect(await keys(posts)).toEqual(['uploads/2.jpg'])
  })

  it('are read back as they were put, and put an end to by an empty configuration', async () => {
    const [bucket, queue] = [await newBucket(), await newQueue()]
    expect(await configuration(bucket)).toEqual({})
    const FilterRules = [{ Name: 'prefix' as const, Value: 'a&b' }]
    await configure(bucket, {
      QueueConfigurations: [{ ...created(queue), Filter: { Key: { FilterRules } } }],
    })
    expect(await configuration(bucket)).toEqual({
      QueueConfigurations: [
        {
          Id: expect.stringMatching(/./),
          ...created(queue),
          Filter: { Key: { FilterRules: [{ Name: 'Prefix', Value: 'a&b' }] } },
        },
      ],
    })
    const document = await fetch(`${aws.endpoint}/${bucket}?notification`, { headers: signed('s3') })
    expect(await document.text()).toContain('<Value>a&amp;b</Value>')
    await bodies(queue)
    await configure(bucket, {})
    expect(await configuration(bucket)).toEqual({})
    await put(bucket, 'a&b')
    expect(await bodies(queue)).toEqual([])
  })

  it('go on after a restart, and end with the bucket', async () => {
    const folder = newFolder()
    const first = await start(folder)
    const [Bucket, queue] = [await newBucket(first), await newQueue({}, first)]
    const NotificationConfiguration = { QueueConfigurations: [created(queue)] }
    await first.s3.send(new PutBucketNotificationConfigurationCommand({ Bucket, NotificationConfiguration }))
    await bodies(queue, first)
    await put(Bucket, 'before', first)
    await first.stop()

    const second = await start(folder)
    await put(Bucket, 'after', second)
    expect((await events(queue, second)).map(({ s3 }) => s3.object.key)).toEqual(['before', 'after'])
    for (const Key of ['before', 'after']) await second.s3.send(new DeleteObjectCommand({ Bucket, Key }))
    await second.s3.send(new DeleteBucketCommand({ Bucket }))
    await second.s3.send(new CreateBucketCommand({ Bucket }))
    expect(await configuration(Bucket, second)).toEqual({})
    await second.stop()
  })

  it('to a queue that has gone are dropped and reported, and the object is stored', async () => {
    const [bucket, queue] = [await newBucket(), await newQueue()]
    await configure(bucket, { QueueConfigurations: [created(queue)] })
    await aws.sqs.send(new DeleteQueueCommand({ QueueUrl: queue.url }))
    await put(bucket, 'key')
    expect((await stored(bucket, 'key')).ContentLength).toBe(5)
    expect(dropped.filter(({ targetArn }) => targetArn === queue.arn)).toHaveLength(1)
  })

  it('may name a queue that does not exist yet, if the request skips the check', async () => {
    const bucket = await newBucket()
    const gone = { arn: `arn:aws:sqs:${region}:000000000000:${randomUUID()}`, url: '' }
    const QueueConfigurations = [{ Id: '1', ...created(gone) }]
    await expect(configure(bucket, { QueueConfigurations })).rejects.toMatchObject({
      name: 'InvalidArgument',
      message: 'Unable to validate the following destination configurations',
      ArgumentName1: gone.arn,
      ArgumentValue1: 'The destination queue does not exist',
    })
    expect(await configuration(bucket)).toEqual({})
    await configure(bucket, { QueueConfigurations }, { SkipDestinationValidation: true })
    expect(await configuration(bucket)).toEqual({ QueueConfigurations })
  })

  const arn = `arn:aws:sqs:${region}:000000000000:q`
  const Events = ['s3:ObjectCreated:*' as const]
  const keyed = (Name: string, Value: string) => ({ Filter: { Key: { FilterRules: [{ Name, Value }] } } })
  it.each<[string, object, string, RegExp]>([
    [
      'a topic',
      { TopicConfigurations: [{ TopicArn: 'arn:aws:sns:x:0:t', Events }] },
      'NotImplemented',
      /"TopicConfiguration"/,
    ],
    [
      'a function',
      { LambdaFunctionConfigurations: [{ LambdaFunctionArn: 'arn:aws:lambda:x:0:f', Events }] },
      'NotImplemented',
      /"CloudFunctionConfiguration"/,
    ],
    ['EventBridge', { EventBridgeConfiguration: {} }, 'NotImplemented', /"EventBridgeConfiguration"/],
    [
      'deletions',
      { QueueConfigurations: [{ QueueArn: arn, Events: ['s3:ObjectRemoved:*'] }] },
      'NotImplemented',
      /"s3:ObjectRemoved:\*"/,
    ],
    [
      'an unknown event',
      { QueueConfigurations: [{ QueueArn: arn, Events: ['s3:ObjectMade'] }] },
      'InvalidArgument',
      /The event is not supported for notifications/,
    ],
    [
      'no ARN',
      { QueueConfigurations: [{ QueueArn: 'queue', Events }] },
      'InvalidArgument',
      /The ARN could not be parsed/,
    ],
    [
      'a FIFO queue',
      { QueueConfigurations: [{ QueueArn: `${arn}.fifo`, Events }] },
      'InvalidArgument',
      /FIFO/,
    ],
    [
      'no events',
      { QueueConfigurations: [{ QueueArn: arn, Events: [] }] },
      'MalformedXML',
      /not well-formed/,
    ],
    [
      'another filter',
      { QueueConfigurations: [{ QueueArn: arn, Events, ...keyed('infix', 'x') }] },
      'InvalidArgument',
      /filter rule name must be either prefix or suffix/,
    ],
    [
      'two that overlap',
      {
        QueueConfigurations: [
          { QueueArn: arn, Events, ...keyed('prefix', 'a') },
          { QueueArn: arn, Events: ['s3:ObjectCreated:Put'], ...keyed('suffix', '.jpg') },
        ],
      },
      'InvalidArgument',
      /overlapping suffixes/,
    ],
  ])('for %s are refused by name', async (_, wanted, name, message) => {
    const bucket = await newBucket()
    const refused = { name, message: expect.stringMatching(message) }
    await expect(configure(bucket, wanted, { SkipDestinationValidation: true })).rejects.toMatchObject(
      refused,
    )
    expect(await configuration(bucket)).toEqual({})
  })

  it('of a bucket that is not there are refused', async () => {
    await expect(configuration('not-there')).rejects.toMatchObject({ name: 'NoSuchBucket' })
    await expect(configure('not-there', {})).rejects.toMatchObject({ name: 'NoSuchBucket' })
  })
})
