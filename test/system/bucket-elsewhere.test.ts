import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import {
  GetBucketCorsCommand,
  GetBucketNotificationConfigurationCommand,
  PutBucketCorsCommand,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3'
import { GetQueueAttributesCommand, GetQueueUrlCommand, SQSClient } from '@aws-sdk/client-sqs'
import { expect, it, onTestFinished } from 'vitest'
import { listen } from '../../packages/embedded-aws/gateway/index.ts'
import { type EmbeddedAws, startEmbeddedAws } from '../../packages/embedded-aws/index.ts'
import { s3Options, sqsOptions } from '../../shared/aws.ts'
import { finished } from '../context.ts'
import { newFolder, root } from '../started.ts'
import { passOn, refusal, startQuietly } from '../system.ts'

const credentials = { accessKeyId: 'test', secretAccessKey: 'test' }
const Bucket = 'image-analyzer-images'
const photo = readFileSync(join(root, 'test/fixtures/grace-hopper.jpg'))

async function emptyAws(): Promise<EmbeddedAws> {
  const options = { port: 0, region: 'us-east-1', folder: newFolder(), onDropped: () => {} }
  const aws = await startEmbeddedAws({ ...options, credentials: [credentials] })
  onTestFinished(aws.stop)
  return aws
}

/** An emulator that answers like this AWS, but for requests that it answers itself. */
async function emulatorWith(
  aws: EmbeddedAws,
  answersItself: (sent: IncomingMessage, answer: ServerResponse) => boolean,
): Promise<string> {
  const server = createServer((sent, answer) => {
    if (!answersItself(sent, answer)) void passOn(sent, answer, aws.endpoint)
  })
  onTestFinished(() => void server.close().closeAllConnections())
  return `http://127.0.0.1:${await listen(server, 0)}`
}

/** One that refuses in words of its own, as some do. */
const emulator = (aws: EmbeddedAws, refuses: (sent: IncomingMessage) => boolean): Promise<string> =>
  emulatorWith(aws, (sent, answer) => {
    if (!refuses(sent)) return false
    sent.resume().on('end', () => answer.writeHead(400).end('Bad request'))
    return true
  })

function clientOf({ endpoint }: EmbeddedAws): S3Client {
  const s3 = new S3Client(s3Options({ endpoint, region: 'us-east-1', credentials }))
  onTestFinished(() => s3.destroy())
  return s3
}

/** How many jobs wait in the queue. */
async function jobsAt({ endpoint }: EmbeddedAws): Promise<string | undefined> {
  const sqs = new SQSClient(sqsOptions({ endpoint, region: 'us-east-1', credentials }))
  onTestFinished(() => sqs.destroy())
  const { QueueUrl } = await sqs.send(new GetQueueUrlCommand({ QueueName: 'image-analyzer-jobs' }))
  const AttributeNames = ['ApproximateNumberOfMessages' as const]
  const { Attributes } = await sqs.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames }))
  return Attributes?.ApproximateNumberOfMessages
}

/** By the form of POST /uploads, as the page sends what is large. */
async function upload(url: string): Promise<string> {
  const asked = await fetch(`${url}/uploads`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ contentType: 'image/jpeg', bytes: photo.length }),
  })
  const { imageId, upload } = await asked.json()
  const form = new FormData()
  for (const [name, value] of Object.entries<string>(upload.fields)) form.append(name, value)
  form.append('file', new Blob([new Uint8Array(photo)]))
  expect((await fetch(upload.url, { method: 'POST', body: form })).status).toBe(204)
  return imageId
}

it('starts at an endpoint that takes /bucket and not /bucket/, and has uploads announced', async () => {
  const AWS_ENDPOINT_URL = await emulator(await emptyAws(), ({ url = '' }) => /^\/[^/?]+\/(\?|$)/.test(url))
  const { system, said } = await startQuietly({ AWS_ENDPOINT_URL })
  expect(await finished(system.url, await upload(system.url))).toMatchObject({ status: 'completed' })
  expect(said).toEqual([])
})

it('takes up an upload at an endpoint to which a posted form is a Put like any other, as floci announces it', async () => {
  const aws = await emptyAws()
  const s3 = clientOf(aws)
  const asked: string[] = []
  const AWS_ENDPOINT_URL = await emulatorWith(aws, (sent, answer) => {
    const type = sent.headers['content-type'] ?? ''
    if (!type.startsWith('multipart/form-data')) return false
    void (async () => {
      const form = await new Response(await buffer(sent), { headers: { 'content-type': type } }).formData()
      const Body = new Uint8Array(await (form.get('file') as Blob).arrayBuffer())
      asked.push(String(form.get('key')))
      await s3.send(new PutObjectCommand({ Bucket, Key: String(form.get('key')), Body }))
      answer.writeHead(204).end()
    })()
    return true
  })
  const { system } = await startQuietly({ AWS_ENDPOINT_URL, WORKER: 'off' })
  const imageId = await upload(system.url)
  expect(asked).toEqual([`uploads/${imageId}`])
  expect(await jobsAt(aws)).toBe('1')
})

it('says what the bucket of an endpoint does not take, goes on without it, and sets it at a later start', async () => {
  const aws = await emptyAws()
  let isRefusing = true
  const AWS_ENDPOINT_URL = await emulator(
    aws,
    ({ url = '' }) => isRefusing && /\?(cors|notification)\b/.test(url),
  )
  const refused = (call: string): string =>
    `HTTP 400 in words that are not those of AWS (S3 ${call} ${Bucket})`
  const first = await startQuietly({ AWS_ENDPOINT_URL, WORKER: 'off' })
  expect(first.said).toEqual([
    expect.stringContaining(refused('PutBucketNotificationConfiguration')),
    expect.stringContaining(refused('GetBucketCors')),
  ])
  await first.system.stop()
  isRefusing = false
  const { system, said } = await startQuietly({ AWS_ENDPOINT_URL })
  expect(await finished(system.url, await upload(system.url))).toMatchObject({ status: 'completed' })
  expect(said).toEqual([])
})

it('opens a bucket that was there for the page of each start, and leaves it what it has', async () => {
  const aws = await emptyAws()
  const s3 = clientOf(aws)
  const env = { AWS_ENDPOINT_URL: aws.endpoint, WORKER: 'off' }
  const first = (await startQuietly(env)).system
  const asked = new GetBucketNotificationConfigurationCommand({ Bucket })
  const { QueueConfigurations } = await s3.send(asked)
  const [rule] = (await s3.send(new GetBucketCorsCommand({ Bucket }))).CORSRules ?? []
  const own = { AllowedMethods: ['GET'], AllowedOrigins: ['https://own.example'] }
  const CORSRules = [own, rule ?? own]
  await s3.send(new PutBucketCorsCommand({ Bucket, CORSConfiguration: { CORSRules } }))
  const second = (await startQuietly(env)).system
  const origins = [second, first].flatMap(({ url }) => [url, url.replace('127.0.0.1', 'localhost')])
  expect((await s3.send(new GetBucketCorsCommand({ Bucket }))).CORSRules).toEqual([
    expect.objectContaining(own),
    { ...rule, AllowedOrigins: origins },
  ])
  expect((await s3.send(asked)).QueueConfigurations).toEqual(QueueConfigurations)
})

it('says at what call an endpoint has not answered as AWS', async () => {
  const AWS_ENDPOINT_URL = await emulator(await emptyAws(), ({ method }) => method === 'PUT')
  expect(await refusal({ AWS_ENDPOINT_URL })).toBe(
    `Bucket, table, queues and bus cannot be created at ${AWS_ENDPOINT_URL}: HTTP 400 in words that are not those of AWS (S3 CreateBucket ${Bucket}). AWS_ENDPOINT_URL names that endpoint; without it, an embedded one starts.`,
  )
})
