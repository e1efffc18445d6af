import { createHmac, randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { CreateTableCommandInput } from '@aws-sdk/client-dynamodb'
import { CreateBucketCommand, GetObjectCommand, HeadObjectCommand, S3Client } from '@aws-sdk/client-s3'
import {
  CreateQueueCommand,
  GetQueueAttributesCommand,
  ReceiveMessageCommand,
  SendMessageCommand,
  SQSClient,
} from '@aws-sdk/client-sqs'
import { afterAll, beforeAll } from 'vitest'
import { type EmbeddedAws, type EmbeddedAwsOptions, startEmbeddedAws } from '../index.ts'

export const region = 'eu-central-1'
/** A signer whose signatures the emulator verifies, and one that it does not know. */
export const known = { accessKeyId: 'test', secretAccessKey: 'secret' }
export const stranger = { accessKeyId: 'stranger', secretAccessKey: 'whatever' }
/** Of AWS's documentation, "Examples: Browser-based upload using HTTP POST (using AWS Signature Version 4)". */
export const example = {
  accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
}

/** A table of DynamoDB that has an index. */
export const table = {
  TableName: 'things',
  BillingMode: 'PAY_PER_REQUEST',
  AttributeDefinitions: ['id', 'kind'].map((AttributeName) => ({ AttributeName, AttributeType: 'S' })),
  KeySchema: [{ AttributeName: 'id', KeyType: 'HASH' }],
  GlobalSecondaryIndexes: [
    {
      IndexName: 'by-kind',
      KeySchema: [{ AttributeName: 'kind', KeyType: 'HASH' }],
      Projection: { ProjectionType: 'ALL' },
    },
  ],
} satisfies CreateTableCommandInput

export interface Running extends EmbeddedAws {
  s3: S3Client
  sqs: SQSClient
}
export interface TestQueue {
  url: string
  arn: string
}

/** Headers that say a request is signed, as every request has to be; none of a program is verified. */
export const signed = (service: string) => ({
  authorization: `AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/${service}/aws4_request, SignedHeaders=host, Signature=${'0'.repeat(64)}`,
  'x-amz-date': '20260101T000000Z',
})

/** A request in JSON as it is, since the SDK sends nothing that is wrong. */
const askJson =
  (service: 'dynamodb' | 'sqs', version: string) =>
  (endpoint: string, operation: string, input: object): Promise<Response> =>
    fetch(endpoint, {
      method: 'POST',
      headers: {
        ...signed(service),
        'content-type': 'application/x-amz-json-1.0',
        'x-amz-target': `${version}.${operation}`,
      },
      body: JSON.stringify(input),
    })
export const askDynamoDb = askJson('dynamodb', 'DynamoDB_20120810')
export const askSqs = askJson('sqs', 'AmazonSQS')

type Condition = Record<string, string> | (string | number)[]
export interface FormOptions {
  key?: string
  fields?: Record<string, string>
  /** In addition to those for the fields. */
  conditions?: Condition[]
  credentials?: typeof known
  expiresIn?: number
  /** Changes what would otherwise be signed. */
  policy?: (policy: { expiration: string; conditions: Condition[] }) => unknown
}

const hmac = (key: string | Buffer, data: string): Buffer => createHmac('sha256', key).update(data).digest()

/** The fields that `createPresignedPost` of the SDK's `@aws-sdk/s3-presigned-post` makes, in its spelling. */
export function presignedFields(bucket: string, options: FormOptions = {}): Record<string, string> {
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
export const FILENAME = '${filename}'

export const pixels = Buffer.from('GIF89a\r\n--x\r\n\0\xff', 'latin1')

/** The elements of an XML answer. */
export async function elements(response: Response): Promise<Record<string, string>> {
  const text = await response.text()
  const found = text.matchAll(/<(\w+)>([^<]*)<\/\1>/g)
  const plain = (value: string) =>
    value.replaceAll('&quot;', '"').replaceAll('&apos;', "'").replaceAll('&lt;', '<').replaceAll('&gt;', '>')
  return Object.fromEntries([...found].map(([, name = '', value = '']) => [name, plain(value)]))
}
export const refusal = async (response: Response) => ({
  status: response.status,
  ...(await elements(response)),
})

/** A started one for the tests of a file, with what they do with it. */
export function embeddedAws() {
  const folders: string[] = []
  const newFolder = (): string => {
    const folder = mkdtempSync(join(tmpdir(), 'embedded-aws-'))
    folders.push(folder)
    return folder
  }
  const dropped: { eventId: string; targetArn: string; reason: unknown }[] = []

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
    const s3 = new S3Client({ ...target, forcePathStyle: true })
    const sqs = new SQSClient({ ...target, useQueueUrlAsEndpoint: false })
    const stop = async () => {
      s3.destroy()
      sqs.destroy()
      await aws.stop()
    }
    return { ...aws, s3, sqs, stop }
  }

  const aws = {} as Running
  beforeAll(async () => {
    Object.assign(aws, await start(newFolder()))
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

  const newQueue = async (
    Attributes: Record<string, string> = {},
    on = aws,
    kind: '' | '.fifo' = '',
  ): Promise<TestQueue> => {
    const QueueName = `queue-${randomUUID()}${kind}`
    const { QueueUrl = '' } = await on.sqs.send(new CreateQueueCommand({ QueueName, Attributes }))
    return { url: QueueUrl, arn: `arn:aws:sqs:${region}:000000000000:${QueueName}` }
  }
  const newFifoQueue = (Attributes: Record<string, string> = {}): Promise<TestQueue> =>
    newQueue({ FifoQueue: 'true', ...Attributes }, aws, '.fifo')
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

  /** What the tests of a file do with objects of their bucket. */
  const objectsIn = (bucket: () => string) => ({
    head: (Key: string, more = {}) => aws.s3.send(new HeadObjectCommand({ Bucket: bucket(), Key, ...more })),
    get: async (Key: string, more = {}) => {
      const object = await aws.s3.send(new GetObjectCommand({ Bucket: bucket(), Key, ...more }))
      return { ...object, text: await object.Body?.transformToString() }
    },
    raw: (method: string, path: string, headers: Record<string, string> = {}, body?: string) =>
      fetch(`${aws.endpoint}/${bucket()}${path}`, {
        method,
        headers: { ...signed('s3'), ...headers },
        ...(body === undefined ? {} : { body }),
      }),
  })

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

  return {
    newFolder,
    dropped,
    start,
    aws,
    newBucket,
    newQueue,
    newFifoQueue,
    receive,
    bodies,
    send,
    waiting,
    stored,
    objectsIn,
    killAt,
    restart,
    post,
  }
}
