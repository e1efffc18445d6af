import { crc32 } from 'node:zlib'
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectsCommand,
  GetBucketVersioningCommand,
  GetObjectTaggingCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  PutObjectCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { beforeAll, describe, expect, it } from 'vitest'
import { AwsError } from '../json.ts'
import { askDynamoDb, embeddedAws, refusal, region, signed } from './started.ts'

/** What other programs than the SDK that is installed here ask: rclone, Go, Ruby, version 2 of the AWS CLI, aws-lite. */
const { aws, newBucket, newFolder, start, stored } = embeddedAws()
let Bucket = ''
beforeAll(async () => {
  Bucket = await newBucket()
})
const raw = (method: string, path: string, body: string, headers: Record<string, string> = {}) =>
  fetch(`${aws.endpoint}/${Bucket}/${path}`, { method, headers: { ...signed('s3'), ...headers }, body })

describe('the end of an upload in parts', () => {
  async function upload(Key: string) {
    const { UploadId } = await aws.s3.send(new CreateMultipartUploadCommand({ Bucket, Key }))
    const part = { Bucket, Key, UploadId, PartNumber: 1, Body: 'hello' }
    const { ETag = '' } = await aws.s3.send(new UploadPartCommand(part))
    return { UploadId, ETag, md5: ETag.replaceAll('"', '') }
  }
  const complete = (key: string, id: string | undefined, parts: string) =>
    raw('POST', `${key}?uploadId=${id}`, `<CompleteMultipartUpload>${parts}</CompleteMultipartUpload>`)

  it.each([
    ['as Go writes it', '&#34;', '&#34;'],
    ['without quotation marks', '', ''],
    ['with white space', '\n  "', '"\n'],
  ])('takes an ETag %s', async (_how, before, after) => {
    const { UploadId, md5 } = await upload('go')
    const part = `<Part><ETag>${before}${md5}${after}</ETag><PartNumber>1</PartNumber></Part>`
    expect((await complete('go', UploadId, part)).status).toBe(200)
    expect((await stored(Bucket, 'go')).bytes.toString()).toBe('hello')
  })

  it('refuses a part that cannot be read, in place of leaving it out', async () => {
    const { UploadId, md5 } = await upload('torn')
    const parts = `<Part><PartNumber>1</PartNumber><ETag>${md5}</ETag></Part><Part><PartNumber>2</PartNumber></Part>`
    expect(await refusal(await complete('torn', UploadId, parts))).toMatchObject({
      ...{ status: 400, Code: 'MalformedXML' },
    })
  })

  it('names where the object is', async () => {
    const Key = 'dir/ü b'
    const { UploadId, ETag } = await upload(Key)
    const { Location } = await aws.s3.send(
      new CompleteMultipartUploadCommand({
        ...{ Bucket, Key, UploadId, MultipartUpload: { Parts: [{ PartNumber: 1, ETag }] } },
      }),
    )
    expect(Location).toBe(`${aws.endpoint}/${Bucket}/dir%2F%C3%BC%20b`)
  })
})

describe('a body in chunks', () => {
  const headers = {
    'content-encoding': 'aws-chunked',
    'x-amz-decoded-content-length': '5',
    'x-amz-trailer': 'x-amz-checksum-crc32',
    'x-amz-content-sha256': 'STREAMING-UNSIGNED-PAYLOAD-TRAILER',
  }
  it.each([
    ['whole', '5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n', 200, undefined],
    [
      'short of what its length says',
      '4\r\nhell\r\n0\r\nx-amz-checksum-crc32:zT7ZGQ==\r\n\r\n',
      400,
      'IncompleteBody',
    ],
    ['cut off within a chunk', '5\r\nhel', 400, 'IncompleteBody'],
    ['without the trailer that it announces', '5\r\nhello\r\n0\r\n\r\n', 400, 'MalformedTrailerError'],
  ])('that is %s is stored only if it is whole', async (_how, body, status, Code) => {
    const answer = await refusal(await raw('PUT', 'chunks', body, headers))
    expect(answer).toMatchObject(Code === undefined ? { status } : { status, Code })
  })
})

describe('a bucket without versions and tags', () => {
  beforeAll(async () => {
    for (const Key of ['v/1', 'v/2', 'v/3/a'])
      await aws.s3.send(new PutObjectCommand({ Bucket, Key, Body: Key }))
  })

  it('lists each object as its own version, page by page, and is emptied by these', async () => {
    const found: { Key: string; VersionId: string }[] = []
    for (let KeyMarker: string | undefined, more = true; more; ) {
      const page = await aws.s3.send(
        new ListObjectVersionsCommand({
          ...{ Bucket, Prefix: 'v/', MaxKeys: 2 },
          ...(KeyMarker === undefined ? {} : { KeyMarker }),
        }),
      )
      for (const { Key = '', VersionId = '', IsLatest } of page.Versions ?? []) {
        expect(IsLatest).toBe(true)
        found.push({ Key, VersionId })
      }
      KeyMarker = page.NextKeyMarker
      more = page.IsTruncated === true
    }
    expect(found.map(({ Key }) => Key)).toEqual(['v/1', 'v/2', 'v/3/a'])
    const { Errors } = await aws.s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects: found } }))
    expect(Errors).toBeUndefined()
    expect(await aws.s3.send(new ListObjectsV2Command({ Bucket, Prefix: 'v/' }))).toMatchObject({
      KeyCount: 0,
    })
  })

  it('has no tags at an object, and no setting of versions', async () => {
    await aws.s3.send(new PutObjectCommand({ Bucket, Key: 'plain', Body: '' }))
    expect(await aws.s3.send(new GetObjectTaggingCommand({ Bucket, Key: 'plain' }))).toMatchObject({
      TagSet: [],
    })
    const { Status } = await aws.s3.send(new GetBucketVersioningCommand({ Bucket }))
    expect(Status).toBeUndefined()
    await expect(aws.s3.send(new GetObjectTaggingCommand({ Bucket, Key: 'none' }))).rejects.toMatchObject({
      name: 'NoSuchKey',
    })
  })
})

it('a bucket names its region also to those that it refuses', async () => {
  const answer = await fetch(`${aws.endpoint}/${Bucket}`, { method: 'HEAD' })
  expect([answer.status, answer.headers.get('x-amz-bucket-region')]).toEqual([403, region])
})

it.each(['sqs', 'dynamodb', 'events'])('a newer protocol of %s is refused by its name', async (service) => {
  const answer = await fetch(`${aws.endpoint}/service/Any/operation/List`, {
    method: 'POST',
    headers: { ...signed(service), 'smithy-protocol': 'rpc-v2-cbor', 'content-type': 'application/cbor' },
    body: new Uint8Array([0xbf, 0xff]),
  })
  expect({ status: answer.status, ...(await answer.json()) }).toMatchObject({
    ...{ status: 404, __type: 'UnknownOperationException' },
    message: expect.stringContaining('rpc-v2-cbor'),
  })
})

it('an operation may come as plain JSON, as aws-lite sends those that have no item', async () => {
  const answer = await fetch(aws.endpoint, {
    method: 'POST',
    headers: {
      ...signed('dynamodb'),
      'content-type': 'application/json',
      'x-amz-target': 'DynamoDB_20120810.ListTables',
    },
    body: '{}',
  })
  expect([answer.status, await answer.json()]).toEqual([200, { TableNames: expect.any(Array) }])
})

it('DynamoDB gives each answer the checksum of its body, without which Go warns of it', async () => {
  for (const [operation, input, status] of [
    ['ListTables', {}, 200],
    ['GetItem', { TableName: 'none', Key: { id: { S: '1' } } }, 400],
  ] as const) {
    const answer = await askDynamoDb(aws.endpoint, operation, input)
    const body = Buffer.from(await answer.arrayBuffer())
    expect([answer.status, answer.headers.get('x-amz-crc32')]).toEqual([status, String(crc32(body))])
  }
})

it.each([
  ['RekognitionService.DetectLabels', 'rekognition', 'Message'],
  ['AWSEvents.ListRules', 'events', 'message'],
  ['DynamoDB_20120810.GetItem', 'dynamodb', 'message'],
])('the message of an error of %s is where the SDK for Go looks for it', async (target, service, member) => {
  const fails = async () => {
    throw new AwsError('InvalidImageFormatException', 'Request has invalid image format')
  }
  const { endpoint } = await start(newFolder(), { rekognition: () => fails })
  const answer = await fetch(endpoint, {
    method: 'POST',
    headers: { ...signed(service), 'x-amz-target': target, 'content-type': 'application/x-amz-json-1.1' },
    body: '{"EventBusName":"none","TableName":"none","Key":{}}',
  })
  expect(await answer.json()).toEqual({ __type: expect.any(String), [member]: expect.stringMatching(/./) })
})
