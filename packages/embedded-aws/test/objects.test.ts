import { createHash, randomBytes } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { PutBucketNotificationConfigurationCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { ListMessageMoveTasksCommand, StartMessageMoveTaskCommand } from '@aws-sdk/client-sqs'
import { describe, expect, it } from 'vitest'
import { embeddedAws, refusal, signed } from './started.ts'

const { newFolder, start, aws, newBucket, newQueue, receive, bodies, send, stored, killAt, restart } =
  embeddedAws()

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

it.each([
  ['X-Amz-Date=20260101T000000Z&X-Amz-Expires=junk&X-Amz-Signature=x', 'AuthorizationQueryParametersError'],
  ['X-Amz-Date=20260101T000000Z&X-Amz-Signature=x', 'AuthorizationQueryParametersError'],
  ['X-Amz-Date=29990101T000000Z&X-Amz-Expires=604801&X-Amz-Signature=x', 'AuthorizationQueryParametersError'],
  ['X-Amz-Date=junk&X-Amz-Expires=60&X-Amz-Signature=x', 'AuthorizationQueryParametersError'],
  ['AWSAccessKeyId=test&Signature=x&Expires=junk', 'AccessDenied'],
  ['AWSAccessKeyId=test&Signature=x', 'AccessDenied'],
])('a URL that is presigned for no time that is known is refused: %s', async (search, Code) => {
  const bucket = await newBucket()
  await aws.s3.send(new PutObjectCommand({ Bucket: bucket, Key: 'key', Body: 'hello' }))
  expect(await refusal(await fetch(`${aws.endpoint}/${bucket}/key?${search}`))).toMatchObject({ Code })
})

it('an object of more than 100 MB is refused by name', async () => {
  const object = { Bucket: await newBucket(), Key: 'key', Body: new Uint8Array(100_000_001) }
  const refused = { name: 'EntityTooLarge', $metadata: { httpStatusCode: 400 } }
  await expect(aws.s3.send(new PutObjectCommand(object))).rejects.toMatchObject(refused)
})

it('an object that is overwritten, or deleted and stored again, is read as it is now', async () => {
  const url = `${aws.endpoint}/${await newBucket()}/key`
  const ask = (method: string, body: string | null = null) =>
    fetch(url, { method, headers: signed('s3'), body })
  const read: string[] = []
  for (const text of ['first', 'other', 'third']) {
    if (text === 'third') await ask('DELETE')
    await ask('PUT', text)
    for (let times = 0; times < 2; times += 1) read.push(await (await ask('GET')).text())
  }
  expect(read).toEqual(['first', 'first', 'other', 'other', 'third', 'third'])
})

it.each(['abac', 'metadataConfiguration', 'metadataTable', 'session', 'tagging'])(
  'what S3 has of a bucket as ?%s is refused by name, and not taken for a list or a new bucket',
  async (name) => {
    const url = `${aws.endpoint}/${await newBucket()}?${name}`
    for (const method of ['GET', 'PUT', 'POST', 'DELETE']) {
      const answer = await fetch(url, { method, headers: signed('s3') })
      expect(await refusal(answer)).toMatchObject({ status: 501, Code: 'NotImplemented' })
    }
  },
)

it('an empty body without a type is stored', async () => {
  const bucket = await newBucket()
  const url = `${aws.endpoint}/${bucket}/empty`
  const md5 = { 'content-md5': '1B2M2Y8AsgTpgAmY7PhCfg==' }
  const wrong = { 'content-md5': 'XrY7u+Ae7tCTyyK7j1rNww==' }
  expect((await fetch(url, { method: 'PUT', headers: { ...signed('s3'), ...md5 } })).status).toBe(200)
  const refused = await fetch(url, { method: 'PUT', headers: { ...signed('s3'), ...wrong } })
  expect(await refusal(refused)).toMatchObject({ Code: 'BadDigest' })
  expect((await stored(bucket, 'empty')).ContentLength).toBe(0)
})

it('an object and a part without bytes are stored, whatever is said of them', async () => {
  const url = `${aws.endpoint}/${await newBucket()}/empty`
  const sha256 = createHash('sha256').digest('hex')
  const put = (path: string, more: Record<string, string>) =>
    fetch(`${url}${path}`, { method: 'PUT', headers: { ...signed('s3'), ...more } })
  expect((await put('', { 'x-amz-content-sha256': sha256 })).status).toBe(200)
  expect((await put('-copy', { 'x-amz-copy-source': new URL(url).pathname })).status).toBe(200)
  const begun = await (await fetch(`${url}?uploads`, { method: 'POST', headers: signed('s3') })).text()
  const uploadId = /<UploadId>(.+)<.UploadId>/.exec(begun)?.[1]
  const part = await put(`?uploadId=${uploadId}&partNumber=1`, { 'x-amz-content-sha256': sha256 })
  expect(part.status).toBe(200)
  for (const key of ['', '-copy']) {
    const answer = await fetch(`${url}${key}`, { headers: signed('s3') })
    expect(answer.status).toBe(200)
    expect((await answer.arrayBuffer()).byteLength).toBe(0)
  }
})

it.each([
  ['a new folder has pages for large objects', undefined, 16_384],
  ['a folder of an earlier version keeps its pages', 4_096, 4_096],
])('the database of %s, and gives what was stored', async (_, before, pageBytes) => {
  const folder = newFolder()
  const file = join(folder, 'fauxqs.db')
  if (before !== undefined) {
    const earlier = new DatabaseSync(file)
    earlier.exec(`PRAGMA page_size = ${before}; PRAGMA journal_mode = WAL; CREATE TABLE earlier (a)`)
    earlier.close()
  }
  const first = await start(folder)
  const bucket = await newBucket(first)
  const body = randomBytes(1_000_003)
  await first.s3.send(new PutObjectCommand({ Bucket: bucket, Key: 'key', Body: body }))
  expect((await stored(bucket, 'key', first)).bytes.equals(body)).toBe(true)
  await first.stop()
  const second = await start(folder)
  expect((await stored(bucket, 'key', second)).bytes.equals(body)).toBe(true)
  await second.stop()
  const database = new DatabaseSync(file)
  expect(database.prepare('PRAGMA page_size').get()).toEqual({ page_size: pageBytes })
  database.close()
})

it('a start whose port is taken closes the database, so that the folder can be removed on Windows too', async () => {
  const folder = newFolder()
  const port = Number(new URL(aws.endpoint).port)
  await expect(start(folder, { port })).rejects.toMatchObject({ code: 'EADDRINUSE' })
  // SQLite has a log beside each database that is open.
  expect(readdirSync(folder)).toEqual(['fauxqs.db'])
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
    const list = new ListMessageMoveTasksCommand({ SourceArn: dead.arn })
    const status = async () => (await first.sqs.send(list)).Results?.[0]?.Status
    await expect.poll(status).toBe('FAILED')

    const second = await restart(first, folder)
    expect(await bodies(source, second)).toEqual([])
    expect(await bodies(dead, second)).toEqual(['hello'])
    await second.stop()
  })
})
