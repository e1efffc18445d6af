import { execFile } from 'node:child_process'
import { createHash, createHmac, randomBytes, randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { promisify } from 'node:util'
import {
  type CORSRule,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteBucketCommand,
  DeleteBucketCorsCommand,
  DeleteObjectCommand,
  GetBucketCorsCommand,
  GetBucketNotificationConfigurationCommand,
  GetObjectAclCommand,
  GetObjectCommand,
  type NotificationConfiguration,
  PutBucketCorsCommand,
  PutBucketNotificationConfigurationCommand,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import {
  CancelMessageMoveTaskCommand,
  CreateQueueCommand,
  DeleteQueueCommand,
  GetQueueAttributesCommand,
  ListMessageMoveTasksCommand,
  ReceiveMessageCommand,
  SendMessageCommand,
  SQSClient,
  StartMessageMoveTaskCommand,
} from '@aws-sdk/client-sqs'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import {
  type EmbeddedAws,
  type EmbeddedAwsOptions,
  startEmbeddedAws,
} from '../packages/embedded-aws/index.ts'
import { s3Options, sqsOptions } from '../shared/aws.ts'
import { signed, until } from './context.ts'
import { skipped, without } from './tools.ts'

const region = 'eu-central-1'
/** The emulator is told of this signer; the other one it does not know. */
const known = { accessKeyId: 'test', secretAccessKey: 'secret' }
const stranger = { accessKeyId: 'stranger', secretAccessKey: 'whatever' }
/** Of AWS's documentation, "Examples: Browser-based upload using HTTP POST (using AWS Signature Version 4)". */
const example = {
  accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
}

const folders: string[] = []
const newFolder = (): string => {
  const folder = mkdtempSync(join(tmpdir(), 'embedded-aws-'))
  folders.push(folder)
  return folder
}
const dropped: { eventId: string; targetArn: string; reason: unknown }[] = []

interface Running extends EmbeddedAws {
  s3: S3Client
  sqs: SQSClient
}
async function start(folder: string, options: Partial<EmbeddedAwsOptions> = {}): Promise<Running> {
  const aws = await startEmbeddedAws({
    port: 0,
    region,
    folder,
    credentials: [known, example],
    onDropped: (event) => dropped.push(event),
    ...options,
  })
  const target = { endpoint: aws.endpoint, region, credentials: known }
  const s3 = new S3Client(s3Options(target))
  const sqs = new SQSClient(sqsOptions(target))
  const stop = async () => {
    s3.destroy()
    sqs.destroy()
    await aws.stop()
  }
  return { ...aws, s3, sqs, stop }
}

let aws: Running
beforeAll(async () => {
  aws = await start(newFolder())
})
afterAll(async () => {
  await aws.stop()
  for (const folder of folders) rmSync(folder, { recursive: true })
})

const newBucket = async (on = aws): Promise<string> => {
  const Bucket = `bucket-${randomUUID()}`
  await on.s3.send(new CreateBucketCommand({ Bucket }))
  return Bucket
}

interface TestQueue {
  url: string
  arn: string
}
const newQueue = async (Attributes: Record<string, string> = {}, on = aws): Promise<TestQueue> => {
  const QueueName = `queue-${randomUUID()}`
  const { QueueUrl = '' } = await on.sqs.send(new CreateQueueCommand({ QueueName, Attributes }))
  return { url: QueueUrl, arn: `arn:aws:sqs:${region}:000000000000:${QueueName}` }
}
const receive = async ({ url }: TestQueue, VisibilityTimeout?: number, on = aws) => {
  const { Messages = [] } = await on.sqs.send(
    new ReceiveMessageCommand({
      QueueUrl: url,
      MaxNumberOfMessages: 10,
      MessageSystemAttributeNames: ['All'],
      MessageAttributeNames: ['All'],
      ...(VisibilityTimeout === undefined ? {} : { VisibilityTimeout }),
    }),
  )
  return Messages
}
const bodies = async (queue: TestQueue, on = aws): Promise<string[]> =>
  (await receive(queue, undefined, on)).map(({ Body = '' }) => Body)
const send = (queue: TestQueue, MessageBody: string, on = aws) =>
  on.sqs.send(new SendMessageCommand({ QueueUrl: queue.url, MessageBody }))
const waiting = async ({ url }: TestQueue): Promise<number> => {
  const { Attributes } = await aws.sqs.send(
    new GetQueueAttributesCommand({ QueueUrl: url, AttributeNames: ['ApproximateNumberOfMessages'] }),
  )
  return Number(Attributes?.['ApproximateNumberOfMessages'])
}

const stored = async (Bucket: string, Key: string, on = aws) => {
  const object = await on.s3.send(new GetObjectCommand({ Bucket, Key }))
  return { ...object, bytes: Buffer.from((await object.Body?.transformToByteArray()) ?? []) }
}

/** Lets the database come to the statement and no further: what is open is undone, as after a kill. */
const killAt = (folder: string, statement: 'INSERT' | 'DELETE') => {
  const database = new DatabaseSync(join(folder, 'fauxqs.db'))
  database.exec(
    `CREATE TRIGGER killed BEFORE ${statement} ON sqs_messages BEGIN SELECT RAISE(ROLLBACK, 'killed'); END`,
  )
  database.close()
}
const restart = async (running: Running, folder: string): Promise<Running> => {
  await running.stop()
  const database = new DatabaseSync(join(folder, 'fauxqs.db'))
  database.exec('DROP TRIGGER killed')
  database.close()
  return start(folder)
}

it.each(['application/x-www-form-urlencoded', 'application/x-amz-json-1.0', 'application/json', 'picture'])(
  'an object of the content type %s is stored as it comes',
  async (contentType) => {
    const bucket = await newBucket()
    const url = `${aws.endpoint}/${bucket}/key`
    const { status } = await fetch(url, {
      method: 'PUT',
      headers: { ...signed('s3'), 'content-type': contentType },
      body: '{ "a": "b=c" }',
    })
    expect(status).toBe(200)
    const object = await stored(bucket, 'key')
    expect(object.bytes.toString()).toBe('{ "a": "b=c" }')
    // The emulator gives a type that is none back as one of any bytes.
    if (contentType !== 'picture') expect(object.ContentType).toBe(contentType)
  },
)

it.each([
  ['version 4', 'X-Amz-Date=20260101T000000Z&X-Amz-Expires=60&X-Amz-Signature=x'],
  ['version 2', 'AWSAccessKeyId=test&Signature=x&Expires=1767225660'],
])('a URL that is presigned by %s is refused when its time is over', async (_, search) => {
  const bucket = await newBucket()
  await aws.s3.send(new PutObjectCommand({ Bucket: bucket, Key: 'key', Body: 'hello' }))
  const url = `${aws.endpoint}/${bucket}/key?${search}`
  expect(await refusal(await fetch(url))).toMatchObject({ status: 403, Message: 'Request has expired' })
  const later = url.replace('20260101', '29990101').replace('1767225660', '32472144000')
  expect((await fetch(later)).status).toBe(200)
})

describe('redriving dead letters', () => {
  const sourceOf = (dead: TestQueue, on = aws): Promise<TestQueue> => {
    const policy = { deadLetterTargetArn: dead.arn, maxReceiveCount: 1 }
    return newQueue({ RedrivePolicy: JSON.stringify(policy) }, on)
  }
  /** Received twice, which is once too often. */
  const kill = async (queue: TestQueue, on = aws): Promise<void> => {
    expect(await receive(queue, 0, on)).not.toEqual([])
    expect(await receive(queue, 0, on)).toEqual([])
  }
  const move = (source: TestQueue, more: object = {}, on = aws) =>
    on.sqs.send(new StartMessageMoveTaskCommand({ SourceArn: source.arn, ...more }))
  const list = async (source: TestQueue, MaxResults?: number, on = aws) => {
    const input = { SourceArn: source.arn, ...(MaxResults === undefined ? {} : { MaxResults }) }
    return (await on.sqs.send(new ListMessageMoveTasksCommand(input))).Results ?? []
  }
  const ended = (source: TestQueue, on = aws) =>
    until('the task ends', async () => {
      const [task] = await list(source, 1, on)
      return task?.Status === 'RUNNING' ? undefined : task
    })

  it('sends a message back to where it came from as a new one, with its attributes', async () => {
    const dead = await newQueue()
    const source = await sourceOf(dead)
    const MessageAttributes = {
      kind: { DataType: 'String', StringValue: 'job' },
      raw: { DataType: 'Binary', BinaryValue: new Uint8Array([0, 255]) },
    }
    await aws.sqs.send(
      new SendMessageCommand({ QueueUrl: source.url, MessageBody: 'hello', MessageAttributes }),
    )
    await kill(source)
    const [before] = await receive(dead, 0)
    await until('the clock goes on', async () =>
      Date.now() > Number(before?.Attributes?.SentTimestamp) ? true : undefined,
    )
    const startedAt = Date.now()
    const { TaskHandle } = await move(dead)
    expect(TaskHandle).toEqual(expect.any(String))
    expect(await ended(dead)).toEqual({
      Status: 'COMPLETED',
      SourceArn: dead.arn,
      ApproximateNumberOfMessagesMoved: 1,
      ApproximateNumberOfMessagesToMove: 1,
      StartedTimestamp: expect.toSatisfy((time: number) => time >= startedAt && time <= Date.now()),
    })
    expect(await waiting(dead)).toBe(0)
    const [after] = await receive(source)
    expect(after).toMatchObject({
      Body: 'hello',
      MessageAttributes,
      Attributes: { ApproximateReceiveCount: '1' },
    })
    expect(after?.MessageId).not.toBe(before?.MessageId)
    expect(Number(after?.Attributes?.SentTimestamp)).toBeGreaterThanOrEqual(startedAt)
  })

  it('sends the dead letters of two queues back to each', async () => {
    const dead = await newQueue()
    const [one, two] = [await sourceOf(dead), await sourceOf(dead)]
    await send(one, '1')
    await send(two, '2')
    await kill(two)
    await kill(one)
    await move(dead)
    expect(await ended(dead)).toMatchObject({ Status: 'COMPLETED', ApproximateNumberOfMessagesMoved: 2 })
    expect(await bodies(one)).toEqual(['1'])
    expect(await bodies(two)).toEqual(['2'])
  })

  it('gives up on a message that can have come from either of two queues', async () => {
    const dead = await newQueue()
    await sourceOf(dead)
    await sourceOf(dead)
    await send(dead, 'from nowhere')
    await move(dead)
    expect(await ended(dead)).toMatchObject({
      Status: 'FAILED',
      FailureReason: 'CouldNotDetermineMessageSource',
      ApproximateNumberOfMessagesMoved: 0,
    })
    expect(await waiting(dead)).toBe(1)
  })

  it('sends every message to the queue that is named, and leaves what is in flight', async () => {
    const [dead, other] = [await newQueue(), await newQueue()]
    const source = await sourceOf(dead)
    await send(dead, 'in flight')
    expect(await receive(dead)).toHaveLength(1)
    // More than are moved at once.
    const texts = Array.from({ length: 25 }, (_, index) => `${index}`)
    for (const text of texts) await send(dead, text)
    await move(dead, { DestinationArn: other.arn })
    expect(await ended(dead)).toMatchObject({
      Status: 'COMPLETED',
      DestinationArn: other.arn,
      ApproximateNumberOfMessagesMoved: 25,
    })
    const moved = [...(await bodies(other)), ...(await bodies(other)), ...(await bodies(other))]
    expect(moved).toEqual(texts)
    expect(await waiting(source)).toBe(0)
  })

  it('moves no more messages in a second than it may', async () => {
    const waits: { ms: number; end: () => void }[] = []
    const sleep = (ms: number) => new Promise<void>((end) => waits.push({ ms, end }))
    const on = await start(newFolder(), { clock: { elapsed: () => 0, sleep } })
    onTestFinished(on.stop)
    const dead = await newQueue({}, on)
    const source = await sourceOf(dead, on)
    for (const text of ['1', '2', '3']) await send(dead, text, on)
    await move(dead, { MaxNumberOfMessagesPerSecond: 5 }, on)
    // A fifth of a second for each, and then it sees that there are no more.
    for (const moved of [0, 1, 2, 3]) {
      await until('it waits', async () => (waits.length > moved ? true : undefined))
      expect(await list(dead, 1, on)).toMatchObject([
        { Status: 'RUNNING', ApproximateNumberOfMessagesMoved: moved, MaxNumberOfMessagesPerSecond: 5 },
      ])
      waits[moved]?.end()
    }
    expect(await ended(dead, on)).toMatchObject({ Status: 'COMPLETED', ApproximateNumberOfMessagesMoved: 3 })
    expect(waits.map(({ ms }) => ms)).toEqual([200, 400, 600, 800])
    expect(await bodies(source, on)).toEqual(['1', '2', '3'])
  })

  it('is cancelled once, while it runs, and what has not been moved stays', async () => {
    const dead = await newQueue()
    await sourceOf(dead)
    for (const text of ['1', '2', '3']) await send(dead, text)
    const { TaskHandle = '' } = await move(dead, { MaxNumberOfMessagesPerSecond: 1 })
    expect((await list(dead))[0]?.TaskHandle).toBe(TaskHandle)
    await expect(move(dead)).rejects.toMatchObject({
      name: 'InvalidParameterValue',
      message: expect.stringContaining('There is already a task running.'),
    })
    const cancel = () => aws.sqs.send(new CancelMessageMoveTaskCommand({ TaskHandle }))
    expect(await cancel()).toMatchObject({ ApproximateNumberOfMessagesMoved: 0 })
    const [task] = await list(dead)
    expect(task).toMatchObject({ Status: 'CANCELLED', ApproximateNumberOfMessagesToMove: 3 })
    expect(task).not.toHaveProperty('TaskHandle')
    await expect(cancel()).rejects.toMatchObject({ name: 'UnsupportedOperation' })

    // Long enough for the cancelled task to move something if it still could: the next one has a higher rate.
    await move(dead, { MaxNumberOfMessagesPerSecond: 2, DestinationArn: (await newQueue()).arn })
    expect(await ended(dead)).toMatchObject({ Status: 'COMPLETED', ApproximateNumberOfMessagesMoved: 3 })
    expect((await list(dead, 10)).map(({ Status }) => Status)).toEqual(['COMPLETED', 'CANCELLED'])
    expect(await list(dead)).toHaveLength(1)
  })

  it('leaves what becomes a dead letter after it has begun', async () => {
    const dead = await newQueue()
    const source = await sourceOf(dead)
    for (const text of ['1', '2']) await send(dead, text)
    await move(dead, { MaxNumberOfMessagesPerSecond: 10 })
    await send(dead, '3')
    expect(await ended(dead)).toMatchObject({ Status: 'COMPLETED', ApproximateNumberOfMessagesMoved: 2 })
    expect(await bodies(source)).toEqual(['1', '2'])
    expect(await bodies(dead)).toEqual(['3'])
  })

  it('fails, and says why, when the queue to move to is deleted meanwhile', async () => {
    const [dead, other] = [await newQueue(), await newQueue()]
    await sourceOf(dead)
    await send(dead, '1')
    await move(dead, { DestinationArn: other.arn, MaxNumberOfMessagesPerSecond: 5 })
    await aws.sqs.send(new DeleteQueueCommand({ QueueUrl: other.url }))
    expect(await ended(dead)).toMatchObject({
      Status: 'FAILED',
      FailureReason: 'AWS.SimpleQueueService.NonExistentQueue',
    })
    expect(await waiting(dead)).toBe(1)
  })

  it('is kept over a restart', async () => {
    const folder = newFolder()
    const first = await start(folder)
    const dead = await newQueue({}, first)
    const source = await sourceOf(dead, first)
    await send(source, 'hello', first)
    await kill(source, first)
    await move(dead, {}, first)
    await ended(dead, first)
    await first.stop()

    const second = await start(folder)
    expect(await bodies(source, second)).toEqual(['hello'])
    expect(await bodies(dead, second)).toEqual([])
    await second.stop()
  })

  const gone = `arn:aws:sqs:${region}:000000000000:gone`
  it.each([
    [
      'a source that is not there',
      { SourceArn: gone },
      'ResourceNotFoundException',
      /the SourceArn parameter/,
    ],
    [
      'a source that is no ARN',
      { SourceArn: 'dead' },
      'InvalidParameterValue',
      /this format to specify the SourceArn/,
    ],
    ['no source', { SourceArn: undefined }, 'MissingParameter', /SourceArn/],
    [
      'a destination that is not there',
      { DestinationArn: gone },
      'ResourceNotFoundException',
      /the DestinationArn parameter/,
    ],
    ['a rate of 0', { MaxNumberOfMessagesPerSecond: 0 }, 'InvalidParameterValue', /between 1 and 500/],
    ['a rate of 501', { MaxNumberOfMessagesPerSecond: 501 }, 'InvalidParameterValue', /between 1 and 500/],
  ])('is refused for %s', async (_, input, name, message) => {
    const dead = await newQueue()
    await sourceOf(dead)
    const refusal = { name, message: expect.stringMatching(message) }
    await expect(move(dead, input)).rejects.toMatchObject(refusal)
    expect(await list(dead)).toEqual([])
  })

  it('is refused in the JSON of SQS, with the name of the error in a header besides', async () => {
    const response = await fetch(aws.endpoint, {
      method: 'POST',
      headers: {
        ...signed('sqs'),
        'x-amz-target': 'AmazonSQS.StartMessageMoveTask',
        'content-type': 'application/x-amz-json-1.0',
      },
      body: JSON.stringify({ SourceArn: gone }),
    })
    expect(response.status).toBe(404)
    expect(response.headers.get('content-type')).toBe('application/x-amz-json-1.0')
    expect(response.headers.get('x-amzn-query-error')).toBe('ResourceNotFoundException;Sender')
    expect(await response.json()).toMatchObject({ __type: 'ResourceNotFoundException' })
  })

  it('is refused for a queue without dead letters, to itself, and for FIFO queues by name', async () => {
    const dead = await newQueue()
    const source = await sourceOf(dead)
    await expect(move(source)).rejects.toMatchObject({
      name: 'InvalidParameterValue',
      message: 'Source queue must be configured as a Dead Letter Queue.',
    })
    await expect(move(dead, { DestinationArn: dead.arn })).rejects.toMatchObject({
      name: 'InvalidParameterValue',
      message: 'Source queue arn and destination queue arn cannot be the same.',
    })
    const name = `${randomUUID()}.fifo`
    const fifo = { url: '', arn: `arn:aws:sqs:${region}:000000000000:${name}` }
    const Attributes = { FifoQueue: 'true' }
    await aws.sqs.send(new CreateQueueCommand({ QueueName: name, Attributes }))
    await expect(move(dead, { DestinationArn: fifo.arn })).rejects.toMatchObject({
      name: 'InvalidParameterValue',
      message: 'The source queue and destination queue must be of the same queue type.',
    })
    await sourceOf(fifo)
    await expect(move(fifo)).rejects.toMatchObject({
      name: 'UnsupportedOperation',
      message: expect.stringContaining('FIFO'),
    })
  })

  it.each([
    ['bm8gaGFuZGxl', 'InvalidParameterValue', 'Value for parameter TaskHandle is invalid.'],
    [{ taskId: '1', sourceArn: gone }, 'ResourceNotFoundException', /the SourceArn parameter/],
    [{ taskId: '1', sourceArn: '' }, 'ResourceNotFoundException', 'Task does not exist.'],
  ])('cannot be cancelled by the handle %j', async (handle, name, message) => {
    const dead = await newQueue()
    const TaskHandle =
      typeof handle === 'string'
        ? handle
        : Buffer.from(JSON.stringify({ ...handle, sourceArn: handle.sourceArn || dead.arn })).toString(
            'base64',
          )
    await expect(aws.sqs.send(new CancelMessageMoveTaskCommand({ TaskHandle }))).rejects.toMatchObject({
      name,
      message: expect.stringMatching(message),
    })
  })
})

type Condition = Record<string, string> | (string | number)[]
interface FormOptions {
  key?: string
  fields?: Record<string, string>
  /** Besides those for the fields. */
  conditions?: Condition[]
  credentials?: typeof known
  expiresIn?: number
  /** Changes what would otherwise be signed. */
  policy?: (policy: { expiration: string; conditions: Condition[] }) => unknown
}

const hmac = (key: string | Buffer, data: string): Buffer => createHmac('sha256', key).update(data).digest()

/** The fields that `createPresignedPost` of the SDK's `@aws-sdk/s3-presigned-post` makes, in its spelling. */
function presignedFields(bucket: string, options: FormOptions = {}): Record<string, string> {
  const { key = 'key', credentials = known, expiresIn = 60 } = options
  const time = new Date().toISOString().replaceAll(/[-:]|\.\d+/g, '')
  const day = time.slice(0, 8)
  const fields = {
    ...options.fields,
    bucket,
    'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
    'X-Amz-Credential': `${credentials.accessKeyId}/${day}/${region}/s3/aws4_request`,
    'X-Amz-Date': time,
  }
  const conditions: Condition[] = [
    ...(options.conditions ?? []),
    ...Object.entries(fields).map(([name, value]) => ({ [name]: value })),
    key.endsWith(FILENAME) ? ['starts-with', '$key', key.replace(FILENAME, '')] : { key },
  ]
  const expiration = `${new Date(Date.now() + expiresIn * 1000).toISOString().slice(0, 19)}Z`
  const policy = { expiration, conditions }
  const Policy = Buffer.from(JSON.stringify(options.policy?.(policy) ?? policy)).toString('base64')
  const signingKey = [region, 's3', 'aws4_request'].reduce(
    hmac,
    hmac(`AWS4${credentials.secretAccessKey}`, day),
  )
  return { ...fields, key, Policy, 'X-Amz-Signature': hmac(signingKey, Policy).toString('hex') }
}

// biome-ignore lint/suspicious/noTemplateCurlyInString: it is S3's variable, and no placeholder
const FILENAME = '${filename}'

const pixels = Buffer.from('GIF89a\r\n--x\r\n\0\xff', 'latin1')

/** Posts a form with a file at its end, as a browser does. */
async function post(
  bucket: string,
  fields: Record<string, string>,
  { file = pixels, filename = 'cat.gif', headers = {}, behind = {} as Record<string, string> } = {},
): Promise<Response> {
  const form = new FormData()
  for (const [name, value] of Object.entries(fields)) form.append(name, value)
  form.append('file', new Blob([new Uint8Array(file)], { type: 'image/gif' }), filename)
  for (const [name, value] of Object.entries(behind)) form.append(name, value)
  return fetch(`${aws.endpoint}/${bucket}`, { method: 'POST', body: form, redirect: 'manual', headers })
}

/** The elements of an XML answer. */
async function elements(response: Response): Promise<Record<string, string>> {
  const text = await response.text()
  const found = text.matchAll(/<(\w+)>([^<]*)<\/\1>/g)
  const plain = (value: string) =>
    value.replaceAll('&quot;', '"').replaceAll('&apos;', "'").replaceAll('&lt;', '<').replaceAll('&gt;', '>')
  return Object.fromEntries([...found].map(([, name = '', value = '']) => [name, plain(value)]))
}
const refusal = async (response: Response) => ({ status: response.status, ...(await elements(response)) })

describe('an upload by a browser form', () => {
  it('is stored byte for byte, with the content type and the metadata of the form', async () => {
    const bucket = await newBucket()
    const file = randomBytes(6_000_000)
    const fields = presignedFields(bucket, {
      key: 'originals/1',
      fields: {
        'Content-Type': 'image/png',
        'Cache-Control': 'no-store',
        'Content-Disposition': 'attachment; filename="ü—.png"',
        'x-amz-meta-Owner': 'me',
        'x-amz-meta-name': 'Käse—',
      },
      conditions: [['content-length-range', 1, 6_000_000]],
    })
    const response = await post(bucket, fields, { file })
    expect(response.status).toBe(204)
    expect(await response.text()).toBe('')
    const etag = `"${createHash('md5').update(file).digest('hex')}"`
    expect(response.headers.get('etag')).toBe(etag)
    expect(response.headers.get('location')).toBe(`${aws.endpoint}/${bucket}/originals%2F1`)

    const object = await stored(bucket, 'originals/1')
    expect(object.bytes.equals(file)).toBe(true)
    expect(object).toMatchObject({
      ContentType: 'image/png',
      CacheControl: 'no-store',
      ETag: etag,
      Metadata: { owner: 'me', name: '=?UTF-8?B?S8Okc2XigJQ=?=' },
    })
    expect(object.ContentDisposition).toMatch(/^attachment; filename="ü?.* \.png"$/)
  })

  it('without a content type is binary/octet-stream, whatever the file says of itself', async () => {
    const bucket = await newBucket()
    expect((await post(bucket, presignedFields(bucket))).status).toBe(204)
    expect((await stored(bucket, 'key')).ContentType).toBe('binary/octet-stream')
  })

  it('is read however it is cut into pieces, with a preamble and an epilogue', async () => {
    const bucket = await newBucket()
    const parts = Object.entries(presignedFields(bucket)).map(
      ([name, value]) => `--b\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`,
    )
    const head = `preamble\r\n${parts.join('')}--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n`
    const body = Buffer.concat([Buffer.from(head), pixels, Buffer.from('\r\n--b--\r\nepilogue\r\n')])
    for (const size of [1, 7, 64, body.length]) {
      const status = await new Promise((resolve, reject) => {
        const request = httpRequest(`${aws.endpoint}/${bucket}/`, {
          method: 'POST',
          headers: { 'content-type': 'multipart/form-data; boundary="b"' },
        })
        request.on('response', (response) => resolve(response.resume().statusCode)).on('error', reject)
        for (let from = 0; from < body.length; from += size) request.write(body.subarray(from, from + size))
        request.end()
      })
      expect(status, `pieces of ${size} bytes`).toBe(204)
      expect((await stored(bucket, 'key')).bytes.equals(pixels)).toBe(true)
      await aws.s3.send(new DeleteObjectCommand({ Bucket: bucket, Key: 'key' }))
    }
  })

  it('goes to the bucket that is in the host name, too', async () => {
    const bucket = await newBucket()
    const form = new FormData()
    for (const [name, value] of Object.entries(presignedFields(bucket))) form.append(name, value)
    form.append('file', new Blob([pixels]), 'cat.gif')
    const encoded = new Response(form)
    const body = Buffer.from(await encoded.arrayBuffer())
    const location = await new Promise((resolve, reject) => {
      const request = httpRequest(aws.endpoint, {
        method: 'POST',
        headers: {
          host: `${bucket}.localhost:4566`,
          'content-type': encoded.headers.get('content-type') ?? '',
        },
      })
      request.on('response', (response) => resolve(response.resume().headers.location)).on('error', reject)
      request.end(body)
    })
    expect(location).toBe(`http://${bucket}.localhost:4566/key`)
    expect((await stored(bucket, 'key')).bytes.equals(pixels)).toBe(true)
  })

  it('takes the name of the file into the key and other fields, before the policy is looked at', async () => {
    const bucket = await newBucket()
    const fields = presignedFields(bucket, {
      key: `user/${FILENAME}`,
      policy: ({ expiration, conditions }) => ({
        expiration,
        conditions: [...conditions, ['eq', '$x-amz-meta-name', 'smile — $& (1).gif']],
      }),
    })
    const more = { ...fields, 'x-amz-meta-name': FILENAME, success_action_status: '201' }
    expect(await refusal(await post(bucket, more, { filename: 'cat.gif' }))).toMatchObject({
      Message: expect.stringContaining('$x-amz-meta-name'),
    })
    const response = await post(bucket, fields, { filename: 'smile — $& (1).gif' })
    expect(await refusal(response)).toMatchObject({ Code: 'AccessDenied' })
    const { success_action_status: _, ...named } = more
    expect((await post(bucket, named, { filename: 'C:\\photos\\smile — $& (1).gif' })).status).toBe(204)
    expect((await stored(bucket, 'user/smile — $& (1).gif')).bytes.equals(pixels)).toBe(true)
  })

  it.each([
    ['200', 200],
    ['204', 204],
    ['404', 204],
  ])('asked for status %s answers %i without a body', async (success_action_status, status) => {
    const bucket = await newBucket()
    const response = await post(bucket, presignedFields(bucket, { fields: { success_action_status } }))
    expect(response.status).toBe(status)
    expect(await response.text()).toBe('')
  })

  it('asked for status 201 answers with a document', async () => {
    const bucket = await newBucket()
    const options = { key: 'a/<ü>', fields: { success_action_status: '201' } }
    const response = await post(bucket, presignedFields(bucket, options))
    expect(response.status).toBe(201)
    expect(response.headers.get('content-type')).toBe('application/xml')
    const etag = response.headers.get('etag')
    expect(await elements(response)).toEqual({
      Location: `${aws.endpoint}/${bucket}/a%2F%3C%C3%BC%3E`,
      Bucket: bucket,
      Key: 'a/<ü>',
      ETag: etag,
    })
    expect(response.headers.get('location')).toBe(`${aws.endpoint}/${bucket}/a%2F%3C%C3%BC%3E`)
  })

  it('redirects to the page that the form names, if that is a URL', async () => {
    const bucket = await newBucket()
    const redirected = async (success_action_redirect: string) =>
      post(bucket, presignedFields(bucket, { key: 'a b/c', fields: { success_action_redirect } }))
    const response = await redirected('https://example.com/done?x=1')
    const etag = createHash('md5').update(pixels).digest('hex')
    expect(response.status).toBe(303)
    expect(response.headers.get('location')).toBe(
      `https://example.com/done?x=1&bucket=${bucket}&key=a+b%2Fc&etag=%22${etag}%22`,
    )
    expect((await redirected('/done')).status).toBe(204)
  })

  it('is of the size that the policy allows, to the byte', async () => {
    const bucket = await newBucket()
    const sized = async (bytes: number, range: (string | number)[]) => {
      const fields = presignedFields(bucket, { conditions: [['content-length-range', ...range]] })
      return refusal(await post(bucket, fields, { file: Buffer.alloc(bytes) }))
    }
    expect(await sized(5, [5, 10])).toMatchObject({ status: 204 })
    expect(await sized(10, ['5', '10'])).toMatchObject({ status: 204 })
    expect(await sized(4, [5, 10])).toMatchObject({
      ...{ status: 400, Code: 'EntityTooSmall', ProposedSize: '4', MinSizeAllowed: '5' },
      Message: 'Your proposed upload is smaller than the minimum allowed size',
    })
    expect(await sized(11, [5, 10])).toMatchObject({
      ...{ status: 400, Code: 'EntityTooLarge', ProposedSize: '11', MaxSizeAllowed: '10' },
      Message: 'Your proposed upload exceeds the maximum allowed size',
    })
    expect((await stored(bucket, 'key')).ContentLength).toBe(10)
  })

  it.each<[string, FormOptions, Record<string, string>, object]>([
    [
      'whose policy has expired',
      { expiresIn: -5 },
      {},
      { status: 403, Code: 'AccessDenied', Message: 'Invalid according to Policy: Policy expired.' },
    ],
    [
      'with another key than the one that is signed',
      {},
      { key: 'other' },
      {
        ...{ status: 403, Code: 'AccessDenied' },
        Message: 'Invalid according to Policy: Policy Condition failed: ["eq", "$key", "key"]',
      },
    ],
    [
      'with a key that goes on',
      {},
      { key: 'key2' },
      { status: 403, Message: expect.stringContaining('["eq", "$key", "key"]') },
    ],
    [
      'with a key in other letters',
      {},
      { key: 'Key' },
      { status: 403, Message: expect.stringContaining('["eq", "$key", "key"]') },
    ],
    [
      'with a key that begins otherwise',
      { key: 'other/user/1', conditions: [['starts-with', '$key', 'user/']] },
      {},
      { status: 403, Message: expect.stringContaining('["starts-with", "$key", "user/"]') },
    ],
    [
      'of another content type',
      { fields: { 'Content-Type': 'image/png' } },
      { 'Content-Type': 'text/html' },
      { status: 403, Message: expect.stringContaining('["eq", "$Content-Type", "image/png"]') },
    ],
    [
      'with one wrong type in a list',
      { conditions: [['starts-with', '$Content-Type', 'image/']] },
      { 'Content-Type': 'image/png,text/html' },
      { status: 403, Message: expect.stringContaining('["starts-with", "$Content-Type", "image/"]') },
    ],
    [
      'without a field that may be anything',
      { conditions: [['starts-with', '$Content-Type', '']] },
      {},
      { status: 403, Message: expect.stringContaining('["starts-with", "$Content-Type", ""]') },
    ],
    [
      'with a field that no condition is for',
      {},
      { 'x-amz-meta-Admin': 'yes' },
      {
        ...{ status: 403, Code: 'AccessDenied' },
        Message: 'Invalid according to Policy: Extra input fields: x-amz-meta-Admin',
      },
    ],
    [
      'for another bucket, whatever its field says',
      {
        policy: ({ expiration, conditions }) => ({
          expiration,
          conditions: [...conditions, { bucket: 'x' }],
        }),
      },
      {},
      { status: 403, Message: expect.stringContaining('["eq", "$bucket", "x"]') },
    ],
    [
      'with a condition that names no field',
      { conditions: [['eq', 'key', 'key']] },
      {},
      { status: 403, Message: expect.stringContaining('["eq", "key", "key"]') },
    ],
    [
      'with sizes that are no numbers',
      { conditions: [['content-length-range', 'a', '10']] },
      {},
      { status: 403, Message: expect.stringContaining('["content-length-range", "a", "10"]') },
    ],
    [
      'whose signature is another',
      {},
      { 'X-Amz-Signature': '0'.repeat(64) },
      {
        status: 403,
        Code: 'SignatureDoesNotMatch',
        AWSAccessKeyId: 'test',
        SignatureProvided: '0'.repeat(64),
      },
    ],
    [
      'whose signature is cut off',
      {},
      { 'X-Amz-Signature': '0' },
      { status: 403, Code: 'SignatureDoesNotMatch' },
    ],
    [
      'signed with the secret of another',
      { credentials: { ...known, secretAccessKey: 'guess' } },
      {},
      { status: 403, Code: 'SignatureDoesNotMatch' },
    ],
    [
      'whose policy was changed after it was signed',
      {},
      { Policy: Buffer.from('{}').toString('base64') },
      { status: 403, Code: 'SignatureDoesNotMatch', StringToSign: 'e30=', StringToSignBytes: '65 33 30 3d' },
    ],
    [
      'of another algorithm',
      { fields: { 'X-Amz-Algorithm': 'none' } },
      { 'X-Amz-Algorithm': 'none' },
      { status: 400, Code: 'InvalidArgument', ArgumentName: 'X-Amz-Algorithm' },
    ],
    [
      'with half a credential',
      {},
      { 'X-Amz-Credential': 'test/20260101' },
      { status: 400, Code: 'InvalidArgument', ArgumentName: 'X-Amz-Credential' },
    ],
    [
      'with a date of another form',
      {},
      { 'X-Amz-Date': '2026-01-01' },
      { status: 400, Code: 'InvalidArgument', ArgumentName: 'X-Amz-Date' },
    ],
    ...Object.entries<[unknown, string]>({
      'no JSON': [undefined, 'Invalid JSON.'],
      'a list': [[], 'Invalid JSON.'],
      'no expiration': [{ conditions: [] }, 'Policy missing expiration.'],
      'no conditions': [{ expiration: '2999-01-01T00:00:00Z' }, 'Policy missing conditions.'],
      'the conditions in capitals': [
        { expiration: '2999-01-01T00:00:00Z', CONDITIONS: [] },
        "Unexpected: 'conditions'",
      ],
      'an expiration with an offset': [
        { expiration: '2999-01-01T00:00:00+02:00', conditions: [] },
        "Invalid 'expiration' value: '2999-01-01T00:00:00+02:00'",
      ],
      'conditions that are no list': [
        { expiration: '2999-01-01T00:00:00Z', conditions: {} },
        "Invalid 'conditions' value: must be a List.",
      ],
      'an empty condition': [
        { expiration: '2999-01-01T00:00:00Z', conditions: [{}] },
        'Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.',
      ],
      'a condition with two fields': [
        { expiration: '2999-01-01T00:00:00Z', conditions: [{ key: 'key', acl: 'private' }] },
        'Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.',
      ],
      'a number for a value': [
        { expiration: '2999-01-01T00:00:00Z', conditions: [{ 'Content-Length': 1 }] },
        'Invalid Simple-Condition: value must be a string.',
      ],
      'an unknown operator': [
        { expiration: '2999-01-01T00:00:00Z', conditions: [['ends-with', '$key', 'y']] },
        "Invalid Condition: unknown operation 'ends-with'.",
      ],
      'half a range': [
        { expiration: '2999-01-01T00:00:00Z', conditions: [['content-length-range', 0]] },
        'Invalid content-length-range: wrong number of arguments.',
      ],
      'a negative size': [
        { expiration: '2999-01-01T00:00:00Z', conditions: [['content-length-range', -1, 10]] },
        'Invalid JSON.',
      ],
    }).map(([what, [policy, message]]): [string, FormOptions, Record<string, string>, object] => [
      `whose policy has or is ${what}`,
      { policy: () => policy ?? 'text' },
      {},
      { status: 400, Code: 'InvalidPolicyDocument', Message: `Invalid Policy: ${message}` },
    ]),
  ])('%s is refused, and nothing is stored', async (_, options, changes, expected) => {
    const bucket = await newBucket()
    const response = await post(bucket, { ...presignedFields(bucket, options), ...changes })
    expect(await refusal(response)).toMatchObject(expected)
    await aws.s3.send(new DeleteBucketCommand({ Bucket: bucket }))
  })

  it('by a signer who is not known here passes unverified, but not against its policy', async () => {
    const bucket = await newBucket()
    const fields = presignedFields(bucket, { credentials: stranger })
    expect((await post(bucket, { ...fields, key: 'other' })).status).toBe(403)
    expect((await post(bucket, { ...fields, 'X-Amz-Signature': 'x' })).status).toBe(204)
  })

  it("is verified as AWS's own example is", async () => {
    const policy = [
      '{ "expiration": "2015-12-30T12:00:00.000Z",',
      '  "conditions": [',
      '    {"bucket": "sigv4examplebucket"},',
      '    ["starts-with", "$key", "user/user1/"],',
      '    {"acl": "public-read"},',
      '    {"success_action_redirect": "http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html"},',
      '    ["starts-with", "$Content-Type", "image/"],',
      '    {"x-amz-meta-uuid": "14365123651274"},',
      '    {"x-amz-server-side-encryption": "AES256"},',
      '    ["starts-with", "$x-amz-meta-tag", ""],',
      '',
      '    {"x-amz-credential": "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request"},',
      '    {"x-amz-algorithm": "AWS4-HMAC-SHA256"},',
      '    {"x-amz-date": "20151229T000000Z" }',
      '  ]',
      '}',
    ].join('\r\n')
    const fields = {
      key: `user/user1/${FILENAME}`,
      'X-Amz-Credential': 'AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request',
      'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
      'X-Amz-Date': '20151229T000000Z',
      Policy: Buffer.from(policy).toString('base64'),
      'X-Amz-Signature': '8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e',
    }
    const bucket = await newBucket()
    // It got past the signature, and is as old as it says.
    expect(await refusal(await post(bucket, fields))).toMatchObject({
      Message: 'Invalid according to Policy: Policy expired.',
    })
    const wrong = { ...fields, 'X-Amz-Signature': fields['X-Amz-Signature'].replace('8', '9') }
    expect(await refusal(await post(bucket, wrong))).toMatchObject({ Code: 'SignatureDoesNotMatch' })
  })

  it('may be signed by the older version 2, as the AWS SDK for Python does by default', async () => {
    const bucket = await newBucket()
    const { Policy = '' } = presignedFields(bucket, {
      policy: ({ expiration }) => ({ expiration, conditions: [{ bucket }, { key: 'key' }] }),
    })
    const signature = createHmac('sha1', known.secretAccessKey).update(Policy).digest('base64')
    const fields = { key: 'key', AWSAccessKeyId: 'test', policy: Policy, signature }
    expect((await post(bucket, fields)).status).toBe(204)
    expect(await refusal(await post(bucket, { ...fields, key: 'other' }))).toMatchObject({ status: 403 })
    const wrong = { ...fields, signature: Buffer.from('x').toString('base64') }
    expect(await refusal(await post(bucket, wrong))).toMatchObject({ Code: 'SignatureDoesNotMatch' })
    const { signature: _, ...unsigned } = fields
    expect(await refusal(await post(bucket, unsigned))).toMatchObject({ ArgumentName: 'Signature' })
  })

  it('may have fields that are to be ignored, and its names in any letters', async () => {
    const bucket = await newBucket()
    const { Policy = '', ...fields } = presignedFields(bucket, {
      conditions: [['StArTs-WiTh', '$cOnTeNt-TyPe', 'image/']],
    })
    const more = { ...fields, pOLICY: Policy, 'x-ignore-this': '1', 'CONTENT-type': 'image/png' }
    expect((await post(bucket, more, { behind: { submit: 'Upload', key: 'other' } })).status).toBe(204)
    expect((await stored(bucket, 'key')).ContentType).toBe('image/png')
  })

  it.each([
    ['acl', 'public-read', 400, 'AccessControlListNotSupported'],
    ['tagging', '<Tagging/>', 501, 'NotImplemented'],
    ['x-amz-storage-class', 'GLACIER', 501, 'NotImplemented'],
    ['x-amz-checksum-sha256', 'x', 501, 'NotImplemented'],
  ])('with the field %s, which does nothing here, is refused by name', async (name, value, status, Code) => {
    const bucket = await newBucket()
    const response = await post(bucket, presignedFields(bucket, { fields: { [name]: value } }))
    expect(await refusal(response)).toMatchObject({ status, Code })
    await aws.s3.send(new DeleteBucketCommand({ Bucket: bucket }))
  })

  it('needs a policy, and every field of a signature', async () => {
    const bucket = await newBucket()
    const fields = presignedFields(bucket)
    const without = async (name: string) => {
      const { [name]: _, ...others } = fields
      return refusal(await post(bucket, others))
    }
    expect(await without('Policy')).toMatchObject({
      status: 403,
      Code: 'AccessDenied',
      Message: 'Access Denied',
    })
    expect(await refusal(await post(bucket, { key: 'key' }))).toMatchObject({
      status: 403,
      Code: 'AccessDenied',
    })
    for (const ArgumentName of ['X-Amz-Algorithm', 'X-Amz-Credential', 'X-Amz-Date', 'X-Amz-Signature'])
      expect(await without(ArgumentName)).toMatchObject({
        ...{ status: 400, Code: 'InvalidArgument', ArgumentName },
        Message: `Bucket POST must contain a field named '${ArgumentName}'.  If it is specified, please check the order of the fields.`,
      })
    expect(await without('key')).toMatchObject({ status: 400, Code: 'InvalidArgument', ArgumentName: 'key' })
  })

  it('has its file behind all other fields', async () => {
    const bucket = await newBucket()
    const { key = '', Policy = '', ...fields } = presignedFields(bucket)
    expect(await refusal(await post(bucket, { ...fields, Policy }, { behind: { key } }))).toMatchObject({
      ...{ status: 400, Code: 'InvalidArgument', ArgumentName: 'key' },
    })
    expect(await refusal(await post(bucket, { ...fields, key }, { behind: { Policy } }))).toMatchObject({
      ...{ status: 403, Code: 'AccessDenied' },
    })
  })

  const part = (name: string, value: string) =>
    `--b\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`
  it.each([
    [
      'no form',
      'text/html',
      'x',
      412,
      { Code: 'PreconditionFailed', Condition: expect.stringContaining('multipart') },
    ],
    ['no boundary', 'multipart/form-data', 'x', 400, { Code: 'MalformedPOSTRequest' }],
    ['no parts', 'multipart/form-data; boundary=b', '', 400, { Code: 'MalformedPOSTRequest' }],
    [
      'a cut-off file',
      'multipart/form-data; boundary=b',
      `${part('key', 'k')}--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nabc`,
      400,
      { Code: 'MalformedPOSTRequest' },
    ],
    [
      'a cut-off field',
      'multipart/form-data; boundary=b',
      `${part('key', 'k')}--b\r\nContent-Disposition: form-data; name="x"\r\n\r\nabc`,
      400,
      { Code: 'MalformedPOSTRequest' },
    ],
    [
      'no file',
      'multipart/form-data; boundary=b',
      `${part('key', 'k')}--b--\r\n`,
      400,
      { Code: 'InvalidArgument', ArgumentName: 'file', ArgumentValue: '0' },
    ],
    [
      'two files',
      'multipart/form-data; boundary=b',
      `${part('key', 'k')}${part('file', '1')}${part('file', '2')}--b--\r\n`,
      400,
      { Code: 'InvalidArgument', ArgumentName: 'file', ArgumentValue: '2' },
    ],
    [
      'more than 20 KB of fields',
      'multipart/form-data; boundary=b',
      `${part('key', 'k')}${part('x', 'x'.repeat(20_480))}${part('file', '1')}--b--\r\n`,
      400,
      { Code: 'MaxPostPreDataLengthExceeded', MaxPostPreDataLengthBytes: '20480' },
    ],
  ])('with %s is refused', async (_, contentType, body, status, expected) => {
    const bucket = await newBucket()
    const response = await fetch(`${aws.endpoint}/${bucket}`, {
      method: 'POST',
      headers: { 'content-type': contentType },
      body,
    })
    expect(await refusal(response)).toMatchObject({ status, ...expected })
  })

  it('to a bucket that is not there is refused', async () => {
    const response = await post('not-there', presignedFields('not-there', { expiresIn: -5 }))
    expect(await refusal(response)).toMatchObject({ status: 404, Code: 'NoSuchBucket' })
  })

  it('that breaks off stores nothing, and harms nobody', async () => {
    const bucket = await newBucket()
    await new Promise<void>((resolve) => {
      const request = httpRequest(`${aws.endpoint}/${bucket}`, {
        method: 'POST',
        headers: { 'content-type': 'multipart/form-data; boundary=b', 'content-length': 1_000_000 },
      })
      request.on('error', () => resolve())
      request.write(`${part('key', 'k')}--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nabc`, () =>
        request.destroy(new Error('gone')),
      )
    })
    expect((await post(bucket, presignedFields(bucket))).status).toBe(204)
    await aws.s3.send(new DeleteObjectCommand({ Bucket: bucket, Key: 'key' }))
    await aws.s3.send(new DeleteBucketCommand({ Bucket: bucket }))
  })
})

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

  it('to a queue that has gone are dropped and told, and the object is stored', async () => {
    const [bucket, queue] = [await newBucket(), await newQueue()]
    await configure(bucket, { QueueConfigurations: [created(queue)] })
    await aws.sqs.send(new DeleteQueueCommand({ QueueUrl: queue.url }))
    await put(bucket, 'key')
    expect((await stored(bucket, 'key')).ContentLength).toBe(5)
    expect(dropped.filter(({ targetArn }) => targetArn === queue.arn)).toHaveLength(1)
  })

  it('may name a queue that is not there yet, if nobody is to look', async () => {
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

describe('CORS', () => {
  const page = 'https://page.example'
  const allow = (Bucket: string, ...CORSRules: CORSRule[]) =>
    aws.s3.send(new PutBucketCorsCommand({ Bucket, CORSConfiguration: { CORSRules } }))
  const rule: CORSRule = {
    AllowedOrigins: [page],
    AllowedMethods: ['GET', 'POST'],
    AllowedHeaders: ['Content-Type', 'x-amz-*'],
    ExposeHeaders: ['ETag', 'x-amz-request-id'],
    MaxAgeSeconds: 300,
  }
  const preflight = (path: string, headers: Record<string, string>) =>
    fetch(`${aws.endpoint}/${path}`, { method: 'OPTIONS', headers })
  const ask = (path: string, method: string, headers = '', origin = page) =>
    preflight(path, {
      origin,
      'access-control-request-method': method,
      ...(headers === '' ? {} : { 'access-control-request-headers': headers }),
    })
  const corsOf = (response: Response) =>
    Object.fromEntries(
      [...response.headers]
        .filter(([name]) => name.startsWith('access-control-') || name === 'vary')
        .map(([name, value]) => [name.replace('access-control-', ''), value]),
    )
  const answered = {
    'allow-origin': page,
    'allow-credentials': 'true',
    'allow-methods': 'GET, POST',
    'expose-headers': 'ETag, x-amz-request-id',
    'max-age': '300',
    vary: 'Origin, Access-Control-Request-Headers, Access-Control-Request-Method',
  }

  it('rules are put, read back as they were, and deleted', async () => {
    const Bucket = await newBucket()
    const read = async () => (await aws.s3.send(new GetBucketCorsCommand({ Bucket }))).CORSRules
    const none = {
      name: 'NoSuchCORSConfiguration',
      message: 'The CORS configuration does not exist',
      $metadata: expect.objectContaining({ httpStatusCode: 404 }),
    }
    await expect(read()).rejects.toMatchObject(none)
    const other = { ID: 'second', AllowedOrigins: ['http://*.example'], AllowedMethods: ['PUT'] }
    await allow(Bucket, rule, other)
    expect(await read()).toEqual([rule, other])
    await allow(Bucket, other)
    expect(await read()).toEqual([other])
    await aws.s3.send(new DeleteBucketCorsCommand({ Bucket }))
    await expect(read()).rejects.toMatchObject(none)
    await aws.s3.send(new DeleteBucketCorsCommand({ Bucket }))
    expect((await ask(Bucket, 'PUT')).status).toBe(403)
  })

  it('lets a page ask before it sends', async () => {
    const bucket = await newBucket()
    await allow(bucket, rule)
    const response = await ask(bucket, 'POST', 'Content-type,X-AMZ-Date')
    expect(response.status).toBe(200)
    expect(await response.text()).toBe('')
    expect(corsOf(response)).toEqual({ ...answered, 'allow-headers': 'content-type, x-amz-date' })
    expect(corsOf(await ask(`${bucket}/any/key?X-Amz-Expires=1`, 'GET'))).toEqual(answered)
  })

  it.each([
    ['another method', ['PUT']],
    ['another header', ['POST', 'content-type,authorization']],
    ['another origin', ['GET', '', 'http://page.example']],
    ['an origin with a port', ['GET', '', `${page}:443`]],
  ] as [string, [string, string?, string?]][])('refuses to be asked for %s', async (_, [method, ...more]) => {
    const bucket = await newBucket()
    await allow(bucket, rule)
    const response = await ask(`${bucket}/key`, method, ...more)
    expect(corsOf(response)).toEqual({})
    expect(await refusal(response)).toMatchObject({
      ...{ status: 403, Code: 'AccessForbidden', Method: method, ResourceType: 'OBJECT' },
      Message: expect.stringContaining('CORSResponse: This CORS request is not allowed.'),
    })
  })

  it('refuses questions that are none, and those to a bucket that has no rules or is not there', async () => {
    const bucket = await newBucket()
    const refused = async (path: string, headers: Record<string, string>) =>
      refusal(await preflight(path, headers))
    expect(await refused(bucket, {})).toMatchObject({
      ...{
        status: 400,
        Code: 'BadRequest',
        Message: 'Insufficient information. Origin request header needed.',
      },
    })
    expect(await refused(`${bucket}/key`, { origin: page })).toMatchObject({
      ...{ status: 403, Code: 'AccessForbidden', Method: 'OPTIONS', ResourceType: 'BUCKET' },
      Message: 'CORSResponse: CORS is not enabled for this bucket.',
    })
    expect(await refused('not-there/key', { origin: page })).toMatchObject({
      ...{ status: 403, Message: 'CORSResponse: Bucket not found' },
    })
    await allow(bucket, rule)
    expect(await refused(bucket, { origin: page })).toMatchObject({
      ...{ status: 400, Code: 'BadRequest', Message: 'Invalid Access-Control-Request-Method: null' },
    })
  })

  it('is said in answers to the page, good and bad, and to nobody else', async () => {
    const bucket = await newBucket()
    await aws.s3.send(new PutObjectCommand({ Bucket: bucket, Key: 'key', Body: 'hello' }))
    const url = await getSignedUrl(aws.s3, new GetObjectCommand({ Bucket: bucket, Key: 'key' }))
    const headers = { origin: page }
    expect(corsOf(await fetch(url, { headers }))).toEqual({})
    await allow(bucket, rule)
    const got = await fetch(url, { headers })
    expect([got.status, await got.text(), corsOf(got)]).toEqual([200, 'hello', answered])
    const html = { Bucket: bucket, Key: 'key', ResponseContentType: 'text/html' }
    const override = await fetch(await getSignedUrl(aws.s3, new GetObjectCommand(html)), { headers })
    expect([override.headers.get('content-type'), corsOf(override)]).toEqual(['text/html', answered])
    const posted = await post(bucket, presignedFields(bucket), { headers })
    expect([posted.status, corsOf(posted)]).toEqual([204, answered])
    const wrong = await post(bucket, presignedFields(bucket, { expiresIn: -5 }), { headers })
    expect([wrong.status, corsOf(wrong)]).toEqual([403, answered])
    const nothing = new GetObjectCommand({ Bucket: bucket, Key: 'missing' })
    const missing = await fetch(await getSignedUrl(aws.s3, nothing), { headers })
    expect([missing.status, corsOf(missing)]).toEqual([404, answered])
    const acl = await fetch(await getSignedUrl(aws.s3, new GetObjectAclCommand(html)), { headers })
    expect([acl.status, corsOf(acl)]).toEqual([501, answered])

    expect(corsOf(await fetch(url))).toEqual({})
    expect(corsOf(await fetch(url, { headers: { origin: 'http://other.example' } }))).toEqual({})
    // S3 does what its rules do not allow all the same, as it is the browser that keeps the answer from the page.
    const put = await getSignedUrl(aws.s3, new PutObjectCommand({ Bucket: bucket, Key: 'key' }))
    const refused = await fetch(put, { method: 'PUT', body: 'new', headers })
    expect(corsOf(refused)).toEqual({})
    expect(await refusal(refused)).toMatchObject({ status: 403, Code: 'AccessForbidden', Method: 'PUT' })
    expect((await stored(bucket, 'key')).bytes.equals(pixels)).toBe(true)
  })

  it('goes by the first rule that matches, with one wildcard in an origin', async () => {
    const bucket = await newBucket()
    const get = async (origin: string) =>
      corsOf(await fetch(`${aws.endpoint}/${bucket}`, { headers: { origin } }))
    await allow(
      bucket,
      { AllowedOrigins: ['http://*.example'], AllowedMethods: ['PUT'] },
      { AllowedOrigins: ['http://*.example', 'null', 'http://aa*aa'], AllowedMethods: ['GET', 'HEAD'] },
      { AllowedOrigins: ['*'], AllowedMethods: ['GET'] },
    )
    expect(await get('http://a.b.example')).toMatchObject({
      ...{ 'allow-origin': 'http://a.b.example', 'allow-credentials': 'true', 'allow-methods': 'GET, HEAD' },
    })
    expect(await get('http://.example')).toMatchObject({ 'allow-origin': 'http://.example' })
    expect(await get('http://a.example.org')).toMatchObject({ 'allow-origin': '*' })
    expect(await get('http://aa')).toMatchObject({ 'allow-origin': '*' })
    expect(await get('null')).toMatchObject({ 'allow-origin': 'null' })
    expect(await get('http://example')).toEqual({
      ...{ 'allow-origin': '*', 'allow-methods': 'GET', vary: expect.any(String) },
    })
    // Without AllowedHeaders no header may be asked for.
    expect((await ask(bucket, 'GET', 'range', 'http://x.y')).status).toBe(403)
    expect((await ask(bucket, 'GET', '', 'http://x.y')).status).toBe(200)
  })

  it('goes on after a restart, and ends with the bucket', async () => {
    const folder = newFolder()
    const first = await start(folder)
    const Bucket = await newBucket(first)
    await first.s3.send(new PutBucketCorsCommand({ Bucket, CORSConfiguration: { CORSRules: [rule] } }))
    await first.stop()

    const second = await start(folder)
    const url = `${second.endpoint}/${Bucket}`
    expect(corsOf(await fetch(url, { headers: { origin: page } }))).toEqual(answered)
    await second.s3.send(new DeleteBucketCommand({ Bucket }))
    await second.s3.send(new CreateBucketCommand({ Bucket }))
    expect(corsOf(await fetch(url, { headers: { origin: page } }))).toEqual({})
    await second.stop()
  })

  it.each<[string, CORSRule[], string, string]>([
    ['no rule', [], 'MalformedXML', 'not well-formed'],
    ['no origin', [{ AllowedOrigins: [], AllowedMethods: ['GET'] }], 'MalformedXML', 'not well-formed'],
    ['no method', [{ AllowedOrigins: ['*'], AllowedMethods: [] }], 'MalformedXML', 'not well-formed'],
    ['a negative age', [{ ...rule, MaxAgeSeconds: -1 }], 'MalformedXML', 'not well-formed'],
    [
      'another method',
      [{ AllowedOrigins: ['*'], AllowedMethods: ['PATCH'] }],
      'InvalidRequest',
      'Found unsupported HTTP method in CORS config. Unsupported method is PATCH',
    ],
    [
      'two wildcards in an origin',
      [{ AllowedOrigins: ['*.example.*'], AllowedMethods: ['GET'] }],
      'InvalidRequest',
      'AllowedOrigin "*.example.*" can not have more than one wildcard.',
    ],
    [
      'two wildcards in a header',
      [{ ...rule, AllowedHeaders: ['x-*-*'] }],
      'InvalidRequest',
      'AllowedHeader "x-*-*" can not have more than one wildcard.',
    ],
    [
      'a wildcard to expose',
      [{ ...rule, ExposeHeaders: ['*'] }],
      'InvalidRequest',
      'ExposeHeader "*" contains wildcard. We currently do not support wildcard for ExposeHeader.',
    ],
    ['101 rules', Array(101).fill(rule), 'InvalidRequest', '100'],
  ])('rules with %s are refused', async (_, rules, name, message) => {
    const bucket = await newBucket()
    await expect(allow(bucket, ...rules)).rejects.toMatchObject({
      name,
      message: expect.stringContaining(message),
    })
    expect((await ask(bucket, 'GET')).status).toBe(403)
  })

  const written = (id = 'x'): string => {
    const rule = `<ID>${id}</ID><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin>`
    return `<CORSConfiguration><CORSRule>${rule}</CORSRule></CORSConfiguration>`
  }
  it('rules are written without a namespace, too', async () => {
    const bucket = await newBucket()
    const { status } = await fetch(`${aws.endpoint}/${bucket}?cors`, {
      ...{ method: 'PUT', body: written(), headers: signed('s3') },
    })
    expect([status, (await ask(bucket, 'GET')).status]).toEqual([200, 200])
  })

  it.each([
    ['nothing', ''],
    ['text', 'text'],
    ['half a document', '<CORSConfiguration>'],
    ['a document with a type', `<!DOCTYPE a>${written()}`],
    ['more than 64 KB', written('x'.repeat(65_536))],
  ])('rules that are %s are refused', async (_, body) => {
    const response = await fetch(`${aws.endpoint}/${await newBucket()}?cors`, {
      ...{ method: 'PUT', body, headers: signed('s3') },
    })
    expect(await refusal(response)).toMatchObject({ status: 400, Code: 'MalformedXML' })
  })

  it('of an object, and by another method, is refused', async () => {
    const bucket = await newBucket()
    const headers = signed('s3')
    const put = await fetch(`${aws.endpoint}/${bucket}/key?cors`, { method: 'PUT', body: 'x', headers })
    expect(await refusal(put)).toMatchObject({ status: 501, Code: 'NotImplemented' })
    const posted = await fetch(`${aws.endpoint}/${bucket}?notification`, { method: 'DELETE', headers })
    expect(await refusal(posted)).toMatchObject({ status: 405, Code: 'MethodNotAllowed' })
    await aws.s3.send(new DeleteBucketCommand({ Bucket: bucket }))
  })
})

describe('a process that is killed in the middle', () => {
  it('leaves no object without its event', async () => {
    const folder = newFolder()
    const first = await start(folder)
    const [Bucket, queue] = [await newBucket(first), await newQueue({}, first)]
    const QueueConfigurations = [{ QueueArn: queue.arn, Events: ['s3:ObjectCreated:*' as const] }]
    const NotificationConfiguration = { QueueConfigurations }
    await first.s3.send(new PutBucketNotificationConfigurationCommand({ Bucket, NotificationConfiguration }))
    killAt(folder, 'INSERT')
    const url = `${first.endpoint}/${Bucket}/key`
    expect((await fetch(url, { method: 'PUT', body: 'hello', headers: signed('s3') })).status).toBe(500)

    const second = await restart(first, folder)
    await expect(stored(Bucket, 'key', second)).rejects.toMatchObject({ name: 'NoSuchKey' })
    await second.stop()
  })

  it('loses no message that becomes a dead letter', async () => {
    const folder = newFolder()
    const first = await start(folder)
    const dead = await newQueue({}, first)
    const RedrivePolicy = JSON.stringify({ deadLetterTargetArn: dead.arn, maxReceiveCount: 1 })
    const source = await newQueue({ RedrivePolicy }, first)
    await send(source, 'hello', first)
    expect(await receive(source, 0, first)).toHaveLength(1)
    killAt(folder, 'INSERT')
    await receive(source, 0, first).catch(() => [])

    const second = await restart(first, folder)
    expect([...(await bodies(source, second)), ...(await bodies(dead, second))]).toEqual(['hello'])
    await second.stop()
  })

  it('leaves no message in two queues', async () => {
    const folder = newFolder()
    const first = await start(folder)
    const dead = await newQueue({}, first)
    const RedrivePolicy = JSON.stringify({ deadLetterTargetArn: dead.arn, maxReceiveCount: 1 })
    const source = await newQueue({ RedrivePolicy }, first)
    await send(dead, 'hello', first)
    killAt(folder, 'DELETE')
    await first.sqs.send(new StartMessageMoveTaskCommand({ SourceArn: dead.arn }))
    await until('the task fails', async () => {
      const { Results } = await first.sqs.send(new ListMessageMoveTasksCommand({ SourceArn: dead.arn }))
      return Results?.[0]?.Status === 'FAILED' ? true : undefined
    })

    const second = await restart(first, folder)
    expect(await bodies(source, second)).toEqual([])
    expect(await bodies(dead, second)).toEqual(['hello'])
    await second.stop()
  })
})

const noCli = without('aws')

describe.skipIf(noCli.length > 0)(`the AWS CLI${skipped(noCli)}`, () => {
  const cli = async (...args: string[]) => {
    const { stdout } = await promisify(execFile)('aws', ['--endpoint-url', aws.endpoint, ...args], {
      env: {
        ...process.env,
        AWS_ACCESS_KEY_ID: 'x',
        AWS_SECRET_ACCESS_KEY: 'y',
        AWS_DEFAULT_REGION: region,
        AWS_DEFAULT_OUTPUT: 'json',
        AWS_PAGER: '',
      },
    })
    return stdout === '' ? undefined : JSON.parse(stdout)
  }

  it('redrives dead letters', async () => {
    const dead = await newQueue()
    const policy = { deadLetterTargetArn: dead.arn, maxReceiveCount: 1 }
    const source = await newQueue({ RedrivePolicy: JSON.stringify(policy) })
    await send(dead, 'hello')
    const { TaskHandle } = await cli('sqs', 'start-message-move-task', '--source-arn', dead.arn)
    expect(TaskHandle).toEqual(expect.any(String))
    await until('the message is back', async () => ((await waiting(source)) === 1 ? true : undefined))
    const { Results } = await cli('sqs', 'list-message-move-tasks', '--source-arn', dead.arn)
    expect(Results).toMatchObject([{ Status: 'COMPLETED', ApproximateNumberOfMessagesMoved: 1 }])
    await expect(cli('sqs', 'cancel-message-move-task', '--task-handle', TaskHandle)).rejects.toThrow(
      /UnsupportedOperation/,
    )
    await expect(cli('sqs', 'start-message-move-task', '--source-arn', source.arn)).rejects.toThrow(
      /\(InvalidParameterValue\).*Source queue must be configured as a Dead Letter Queue\./,
    )
  })

  it('configures CORS and notifications', async () => {
    const [bucket, queue] = [await newBucket(), await newQueue()]
    const cors = { CORSRules: [{ AllowedMethods: ['GET'], AllowedOrigins: ['*'], MaxAgeSeconds: 3 }] }
    const ofBucket = ['--bucket', bucket]
    await cli('s3api', 'put-bucket-cors', ...ofBucket, '--cors-configuration', JSON.stringify(cors))
    expect(await cli('s3api', 'get-bucket-cors', ...ofBucket)).toEqual(cors)
    await cli('s3api', 'delete-bucket-cors', ...ofBucket)
    await expect(cli('s3api', 'get-bucket-cors', ...ofBucket)).rejects.toThrow('NoSuchCORSConfiguration')

    const QueueConfigurations = [{ Id: '1', QueueArn: queue.arn, Events: ['s3:ObjectCreated:*'] }]
    const wanted = JSON.stringify({ QueueConfigurations })
    const notify = 'put-bucket-notification-configuration'
    await cli('s3api', notify, ...ofBucket, '--notification-configuration', wanted)
    expect(await cli('s3api', 'get-bucket-notification-configuration', ...ofBucket)).toEqual({
      QueueConfigurations,
    })
    expect(await bodies(queue)).toEqual([expect.stringContaining('s3:TestEvent')])
  })
})
