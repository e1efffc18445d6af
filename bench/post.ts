import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { CreateQueueCommand, SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs'
import { DynamoDBDocumentClient, PutCommand } from '@aws-sdk/lib-dynamodb'
import { v7 } from 'uuid'
import { bundle, ROOT } from '../build/bundle.ts'
import { restEvent } from '../build/events.ts'
import { clientOptions, s3Options, sqsOptions } from '../shared/aws.ts'
import { median, round, spread } from './figures.ts'
import { type Start, startAnew } from './started.ts'

/**
 * What the API's function does with a photo beside what cannot be left out: S3 and DynamoDB at once, then SQS, by the SDK
 * alone. The built handler and the bare calls take turns in one process, against the embedded AWS in another; the time
 * of the processor is this process's own.
 */
const ROUNDS = 40
const WARM_UP = 3
/** As a REST API passes it on, the event has 3.5 MB. */
const IMAGE_BYTES = 2_630_000
const KINDS = ['bare SDK calls', 'raw bytes', 'multipart', 'JSON'] as const
type Kind = (typeof KINDS)[number]
/** Milliseconds of each round. */
type Times = Record<Kind, { wall: number[]; cpu: number[] }>

export async function post(rounds = ROUNDS, start: Start = startAnew): Promise<object[]> {
  const folder = join(ROOT, 'dist', 'post')
  for (const [name, bytes] of Object.entries((await bundle('api')).files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true })
    await writeFile(join(folder, name), bytes)
  }
  const system = start()
  try {
    const aws = await system.aws()
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [
        '--disable-warning=ExperimentalWarning',
        import.meta.filename,
        pathToFileURL(join(folder, 'index.mjs')).href,
        String(rounds),
      ],
      {
        env: {
          ...process.env,
          AWS_ENDPOINT_URL: aws,
          AWS_REGION: 'us-east-1',
          AUTH: 'none',
          POWERTOOLS_LOG_LEVEL: 'ERROR',
          AWS_ACCESS_KEY_ID: 'test',
          AWS_SECRET_ACCESS_KEY: 'test',
          IMAGE_BUCKET: 'image-analyzer-images',
          IMAGE_TABLE: 'image-analyzer-images',
          EVENT_BUS_NAME: 'image-analyzer',
          JOB_QUEUE_URL: `${aws}/123456789012/image-analyzer-jobs`,
        },
      },
    )
    const times: Times = JSON.parse(stdout)
    const bare = times['bare SDK calls']
    return KINDS.map((kind) => ({
      what: kind,
      'wall ms': round(median(times[kind].wall)),
      'cpu ms': round(median(times[kind].cpu)),
      'wall ÷ bare': round(median(times[kind].wall) / median(bare.wall)),
      'cpu ÷ bare': round(median(times[kind].cpu) / median(bare.cpu)),
      'ms of the middle half': spread(times[kind].wall),
    }))
  } finally {
    await system.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

async function measure(file: string, rounds: number): Promise<Times> {
  const { handler } = (await import(file)) as {
    handler: (event: unknown, context: object) => Promise<{ statusCode: number }>
  }
  const env = process.env as Record<string, string>
  const s3 = new S3Client(s3Options())
  const dynamo = DynamoDBDocumentClient.from(new DynamoDBClient(clientOptions()))
  const sqs = new SQSClient(sqsOptions())
  // No worker takes what is sent to it.
  const { QueueUrl } = await sqs.send(new CreateQueueCommand({ QueueName: 'bench' }))
  // A JPEG by its beginning, so the worker on the other side is soon done with it.
  const image = (): Buffer => Buffer.concat([Buffer.from([0xff, 0xd8, 0xff, 0xe0]), randomBytes(IMAGE_BYTES)])
  const events: Record<Exclude<Kind, 'bare SDK calls'>, (bytes: Buffer) => object> = {
    'raw bytes': (bytes) => restEvent('POST', '/images', 'image/jpeg', bytes),
    multipart: (bytes) => {
      const part =
        'content-disposition: form-data; name="image"; filename="photo.jpg"\r\ncontent-type: image/jpeg'
      const [head, tail] = [`--boundary\r\n${part}\r\n\r\n`, '\r\n--boundary--\r\n']
      const body = Buffer.concat([Buffer.from(head), bytes, Buffer.from(tail)])
      return restEvent('POST', '/images', 'multipart/form-data; boundary=boundary', body)
    },
    JSON: (bytes) =>
      restEvent('POST', '/images', 'application/json', JSON.stringify({ image: bytes.toString('base64') })),
  }
  const bare = async (Body: Buffer): Promise<void> => {
    const imageId = v7()
    const record = { imageId, owner: 'bench', status: 'pending', createdAt: new Date().toISOString() }
    await Promise.all([
      s3.send(new PutObjectCommand({ Bucket: env['IMAGE_BUCKET'], Key: `bench/${imageId}`, Body })),
      dynamo.send(new PutCommand({ TableName: env['IMAGE_TABLE'], Item: record })),
    ])
    const MessageBody = JSON.stringify({ version: 1, imageId, epoch: 1 })
    await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody }))
  }
  const times = Object.fromEntries(KINDS.map((kind) => [kind, { wall: [], cpu: [] }])) as unknown as Times
  for (let turn = -Math.min(WARM_UP, rounds - 1); turn < rounds; turn += 1) {
    for (const kind of KINDS) {
      const bytes = image()
      // What the runtime has parsed before it calls a handler.
      const event = kind === 'bare SDK calls' ? undefined : events[kind](bytes)
      const [began, before] = [performance.now(), process.cpuUsage()]
      if (event === undefined) await bare(bytes)
      else {
        const { statusCode } = await handler(event, { awsRequestId: 'bench' })
        if (statusCode !== 202) throw new Error(`${kind} is answered with ${statusCode}.`)
      }
      const { user, system } = process.cpuUsage(before)
      if (turn < 0) continue
      times[kind].wall.push(performance.now() - began)
      times[kind].cpu.push((user + system) / 1_000)
    }
  }
  return times
}

if (process.argv[1] === import.meta.filename) {
  const [, , file = '', rounds] = process.argv
  process.stdout.write(JSON.stringify(await measure(file, Number(rounds))))
  process.exit()
}
