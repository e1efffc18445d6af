import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  ListMultipartUploadsCommand,
  ListPartsCommand,
  PutBucketNotificationConfigurationCommand,
  PutObjectCommand,
  UploadPartCommand,
  UploadPartCopyCommand,
} from '@aws-sdk/client-s3'
import { beforeAll, describe, expect, it } from 'vitest'
import { embeddedAws, refusal } from './started.ts'

const { aws, newBucket, objectsIn, newQueue, waiting } = embeddedAws()
let Bucket = ''
beforeAll(async () => {
  Bucket = await newBucket()
})
const put = (Key: string) => aws.s3.send(new PutObjectCommand({ Bucket, Key, Body: 'hello world' }))
const { head, get, raw } = objectsIn(() => Bucket)

describe('an upload in parts', () => {
  const begin = async (Key: string) => {
    const { UploadId } = await aws.s3.send(new CreateMultipartUploadCommand({ Bucket, Key }))
    return { Bucket, Key, UploadId }
  }
  type Upload = Awaited<ReturnType<typeof begin>>
  const send = (upload: Upload, PartNumber: number, Body: string) =>
    aws.s3.send(new UploadPartCommand({ ...upload, PartNumber, Body }))
  const complete = (upload: Upload, Parts: { PartNumber: number; ETag?: string | undefined }[], more = {}) =>
    aws.s3.send(new CompleteMultipartUploadCommand({ ...upload, ...more, MultipartUpload: { Parts } }))

  it('of more than 100 MB is refused by name, also of parts that are copied', async () => {
    const half = await raw('PUT', '/half', {}, 'x'.repeat(50_000_001))
    expect(half.status).toBe(200)
    const upload = await begin('large')
    const parts = [1, 2].map((PartNumber) => ({ PartNumber, ETag: half.headers.get('etag') ?? '' }))
    for (const { PartNumber } of parts)
      await aws.s3.send(new UploadPartCopyCommand({ ...upload, PartNumber, CopySource: `${Bucket}/half` }))
    const refused = { name: 'EntityTooLarge', $metadata: { httpStatusCode: 400 } }
    await expect(send(upload, 3, 'x')).rejects.toMatchObject(refused)
    await expect(complete(upload, parts)).rejects.toMatchObject(refused)
    // In the place of a large part.
    await expect(send(upload, 2, 'x')).resolves.toHaveProperty('ETag')
    await aws.s3.send(new AbortMultipartUploadCommand(upload))
  })

  it('and its parts are listed until it ends', async () => {
    const upload = await begin('parts')
    for (const part of [5, 1, 3]) await send(upload, part, `part ${part}`)
    const list = (more = {}) => aws.s3.send(new ListPartsCommand({ ...upload, ...more }))
    const numbers = [{ PartNumber: 1, Size: 6 }, { PartNumber: 3 }, { PartNumber: 5 }]
    expect(await list()).toMatchObject({ IsTruncated: false, Parts: numbers })
    const first = await list({ MaxParts: 1 })
    expect(first).toMatchObject({ IsTruncated: true, NextPartNumberMarker: '1', Parts: numbers.slice(0, 1) })
    const PartNumberMarker = first.NextPartNumberMarker
    expect(await list({ PartNumberMarker })).toMatchObject({ Parts: numbers.slice(1) })

    const other = await begin('parts-more')
    const uploads = (more = {}) =>
      aws.s3.send(new ListMultipartUploadsCommand({ Bucket, Prefix: 'parts', ...more }))
    expect((await uploads()).Uploads).toMatchObject(
      [upload, other].map(({ Key, UploadId }) => ({ Key, UploadId })),
    )
    const page = await uploads({ MaxUploads: 1 })
    expect(page).toMatchObject({ IsTruncated: true, NextKeyMarker: 'parts', Uploads: [{ Key: 'parts' }] })
    const more = { KeyMarker: page.NextKeyMarker, UploadIdMarker: page.NextUploadIdMarker }
    expect((await uploads(more)).Uploads).toMatchObject([{ Key: 'parts-more' }])

    const abort = () => aws.s3.send(new AbortMultipartUploadCommand(upload))
    await abort()
    await expect(list()).rejects.toMatchObject({ name: 'NoSuchUpload' })
    await expect(abort()).rejects.toMatchObject({ name: 'NoSuchUpload' })
    expect((await uploads()).Uploads).toHaveLength(1)
  })

  it('takes a range of another object up to its last byte, and refuses one that ends behind it', async () => {
    const source = await raw('PUT', '/source', {}, 'x'.repeat(5 * 1024 * 1024 + 3))
    expect(source.status).toBe(200)
    const upload = { ...(await begin('ranges')), PartNumber: 1, CopySource: `${Bucket}/source` }
    const copy = (CopySourceRange: string) =>
      aws.s3.send(new UploadPartCopyCommand({ ...upload, CopySourceRange }))
    await expect(copy('bytes=5242880-5242882')).resolves.toHaveProperty('CopyPartResult.ETag')
    await expect(copy('bytes=5242880-5242883')).rejects.toMatchObject({
      name: 'InvalidArgument',
      message: 'Range specified is not valid for source object of size: 5242883',
    })
  })

  it('is given back as a whole or by its parts', async () => {
    const upload = await begin('whole')
    const bodies = ['p'.repeat(5 * 1024 * 1024), 'end']
    const Parts = await Promise.all(
      bodies.map(async (body, index) => {
        const { ETag } = await send(upload, index + 1, body)
        return { PartNumber: index + 1, ETag }
      }),
    )
    const { Location } = await complete(upload, Parts)
    expect(Location).toBe(`${aws.endpoint}/${Bucket}/whole`)
    const part = { ContentLength: 3, ContentRange: 'bytes 5242880-5242882/5242883', PartsCount: 2 }
    expect(await get('whole', { PartNumber: 2 })).toMatchObject({ ...part, text: 'end' })
    expect(await head('whole', { PartNumber: 2 })).toMatchObject(part)
    for (const [path, ActualPartCount] of [
      ['/whole', '2'],
      ['/one', '1'],
    ]) {
      await put('one')
      expect(await refusal(await raw('GET', `${path}?partNumber=3`))).toMatchObject({
        ...{ status: 416, Code: 'InvalidPartNumber' },
        ...{ PartNumberRequested: '3', ActualPartCount },
      })
    }
  })

  it('is refused for parts that cannot be, and another key’s', async () => {
    const upload = await begin('refused')
    const { ETag } = await send(upload, 1, 'part')
    for (const part of [0, 10_001])
      await expect(send(upload, part, 'x')).rejects.toMatchObject({ name: 'InvalidArgument' })
    const other = { ...upload, Key: 'other' }
    await expect(send(other, 2, 'x')).rejects.toMatchObject({ name: 'NoSuchUpload' })
    await expect(complete(other, [{ PartNumber: 1, ETag }])).rejects.toMatchObject({ name: 'NoSuchUpload' })
    await expect(complete(upload, [])).rejects.toMatchObject({ name: 'MalformedXML' })
    const answer = await raw('PUT', '/refused?partNumber=1', {}, 'x')
    expect(await refusal(answer)).toMatchObject({ status: 400, Code: 'InvalidArgument' })
    await put('refused')
    const again = complete(upload, [{ PartNumber: 1, ETag }], { IfNoneMatch: '*' })
    await expect(again).rejects.toMatchObject({ name: 'PreconditionFailed' })
    expect((await get('refused')).text).toBe('hello world')
  })

  it('is answered as before where its end is asked for once more, while the object is there', async () => {
    const queue = await newQueue()
    await aws.s3.send(
      new PutBucketNotificationConfigurationCommand({
        Bucket,
        NotificationConfiguration: {
          QueueConfigurations: [{ QueueArn: queue.arn, Events: ['s3:ObjectCreated:*'] }],
        },
      }),
    )
    const before = await waiting(queue)
    const upload = await begin('again')
    const { ETag } = await send(upload, 1, 'part')
    const parts = [{ PartNumber: 1, ETag }]
    const { $metadata: _, ...ended } = await complete(upload, parts)
    const unknown = { name: 'NoSuchUpload' }
    for (const more of [{}, { IfNoneMatch: '*' }]) {
      await expect(complete(upload, parts, more)).resolves.toMatchObject(ended)
    }
    expect((await waiting(queue)) - before).toBe(1)
    await expect(complete(upload, [{ PartNumber: 1, ETag: '"x"' }])).rejects.toMatchObject(unknown)
    await expect(complete({ ...upload, UploadId: 'x' }, parts)).rejects.toMatchObject(unknown)
    await put('again')
    await expect(complete(upload, parts)).rejects.toMatchObject(unknown)
    expect((await get('again')).text).toBe('hello world')
  })

  it('goes with its bucket, which is deleted when it has no objects', async () => {
    const bucket = await newBucket()
    const of = { Bucket: bucket, Key: 'key' }
    const { UploadId } = await aws.s3.send(new CreateMultipartUploadCommand(of))
    await aws.s3.send(new PutObjectCommand({ ...of, Body: 'x' }))
    const remove = () => aws.s3.send(new DeleteBucketCommand({ Bucket: bucket }))
    await expect(remove()).rejects.toMatchObject({ name: 'BucketNotEmpty' })
    await aws.s3.send(new UploadPartCommand({ ...of, UploadId, PartNumber: 1, Body: 'x' }))
    await aws.s3.send(new DeleteObjectCommand(of))
    await expect(remove()).resolves.toMatchObject({ $metadata: { httpStatusCode: 204 } })
    const parts = aws.s3.send(new ListPartsCommand({ ...of, UploadId }))
    await expect(parts).rejects.toMatchObject({ name: 'NoSuchBucket' })
  })

  const OF_PART = 'NhCmhg=='
  it.each([
    [{}, { ChecksumCRC32: OF_PART }, undefined],
    [{}, { ChecksumCRC32: 'AAAAAA==' }, 'InvalidPart'],
    [{ ChecksumCRC32: OF_PART, MpuObjectSize: 5 }, {}, undefined],
    [{ ChecksumCRC32: 'AAAAAA==' }, {}, 'BadDigest'],
    [{ MpuObjectSize: 6 }, {}, 'InvalidRequest'],
  ])('with %j and a part with %j ends with %s', async (more, ofPart, name) => {
    const Key = 'held-to'
    const full = { ChecksumAlgorithm: 'CRC32', ChecksumType: 'FULL_OBJECT' } as const
    const { UploadId } = await aws.s3.send(new CreateMultipartUploadCommand({ Bucket, Key, ...full }))
    const upload = { Bucket, Key, UploadId }
    const { ETag } = await send(upload, 1, 'hello')
    const ended = complete(upload, [{ PartNumber: 1, ETag, ...ofPart }], more)
    const outcome = ended.then(
      (answer) => answer.ChecksumType,
      (error) => error.name,
    )
    expect(await outcome).toBe(name)
  })

  it('has no checksums of another kind than S3’s', async () => {
    const start = (algorithm: string, type: string) =>
      raw('POST', '/kinds?uploads', { 'x-amz-checksum-algorithm': algorithm, 'x-amz-checksum-type': type })
    const refused = { status: 400, Code: 'InvalidRequest' }
    expect(await refusal(await start('MD4', 'COMPOSITE'))).toMatchObject(refused)
    expect(await refusal(await start('SHA256', 'FULL_OBJECT'))).toMatchObject(refused)
  })
})
