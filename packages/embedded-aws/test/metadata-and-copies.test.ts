import {
  ChecksumAlgorithm,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  type CopyObjectCommandInput,
  CreateMultipartUploadCommand,
  GetObjectAttributesCommand,
  HeadObjectCommand,
  ObjectAttributes,
  PutObjectCommand,
  type PutObjectCommandInput,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { beforeAll, describe, expect, it } from 'vitest'
import { embeddedAws, signed } from './started.ts'

const { aws, newBucket } = embeddedAws()
let Bucket = ''
beforeAll(async () => {
  Bucket = await newBucket()
})
const put = (Key: string, more: Partial<PutObjectCommandInput> = {}) =>
  aws.s3.send(new PutObjectCommand({ Bucket, Key, Body: 'hello world', ...more }))
const head = (Key: string) => aws.s3.send(new HeadObjectCommand({ Bucket, Key, ChecksumMode: 'ENABLED' }))
const copy = (from: string, Key: string, more: Partial<CopyObjectCommandInput> = {}) =>
  aws.s3.send(new CopyObjectCommand({ Bucket, Key, CopySource: `${Bucket}/${from}`, ...more }))

describe('metadata', () => {
  it('without a value is kept, of an object, an upload in parts and a copy', async () => {
    const Metadata = { empty: '', name: 'value' }
    await put('empty', { Metadata })
    await put('other', { Metadata: { old: 'x' } })
    await copy('other', 'replaced', { MetadataDirective: 'REPLACE', Metadata })
    await copy('empty', 'copied')
    const { UploadId } = await aws.s3.send(
      new CreateMultipartUploadCommand({ Bucket, Key: 'parts', Metadata }),
    )
    const part = { Bucket, Key: 'parts', UploadId }
    const { ETag } = await aws.s3.send(new UploadPartCommand({ ...part, PartNumber: 1, Body: 'x' }))
    const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] }
    await aws.s3.send(new CompleteMultipartUploadCommand({ ...part, MultipartUpload }))
    for (const key of ['empty', 'replaced', 'copied', 'parts'])
      expect((await head(key)).Metadata).toEqual(Metadata)
  })

  // As recorded from S3: what is sent, and what is given back.
  it.each([
    ['=?UTF-8?Q?actually-ascii?=', 'actually-ascii'],
    ['=?UTF-8?B?YWJj?=', 'abc'],
    ['=?utf-8?b?w4RNw4RaIFMz?=', '=?UTF-8?Q?=C3=84M=C3=84Z_S3?='],
    ['=?iso-8859-1?q?K=E4se_?=  =?iso-8859-1?q?3?=', '=?UTF-8?Q?K=C3=A4se_3?='],
    ['=?nope?Q?a?=', '=?nope?Q?a?='],
    ['ÄMÄZÕÑ S3', '=?UTF-8?Q?=C3=84M=C3=84Z=C3=95=C3=91_S3?='],
    ['test_—_file%E2%80%94_é_2?.pdf', '=?UTF-8?Q?test=5F=E2=80=94=5Ffile%E2%80%94=5F=C3=A9=5F2=3F.pdf?='],
    ['=?UTF-8?B?AAECAw==?=', '=?UTF-8?B?AAECAw==?='],
    ['\ufffd\ufffd', '=?UTF-8?B?77+977+9?='],
    ['!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~', '!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~'],
  ])('of %j comes back as %j', async (sent, given) => {
    const answer = await fetch(`${aws.endpoint}/${Bucket}/words`, {
      method: 'PUT',
      headers: { ...signed('s3'), 'x-amz-meta-name': Buffer.from(sent).toString('latin1') },
      body: 'x',
    })
    expect(answer.status).toBe(200)
    expect((await head('words')).Metadata).toEqual({ name: given })
  })
})

describe('a copy', () => {
  const CRC32 = { ChecksumCRC32: 'DUoRhQ==', ChecksumType: 'FULL_OBJECT' }
  const SHA256 = {
    ChecksumSHA256: 'uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=',
    ChecksumType: 'FULL_OBJECT',
  }

  it('has a checksum by the algorithm that is asked for, or by that of its source', async () => {
    await put('source')
    const replaced = { MetadataDirective: 'REPLACE', Metadata: { a: 'b' } } as const
    for (const [more, checksum] of [
      [{}, CRC32],
      [replaced, CRC32],
      [{ ChecksumAlgorithm: 'SHA256' }, SHA256],
      [{ ...replaced, ChecksumAlgorithm: 'SHA256' }, SHA256],
      [{ ChecksumAlgorithm: ChecksumAlgorithm.SHA1 }, { ChecksumSHA1: 'Kq5sNclPz7QV2+lfQIuc6R7oRu0=' }],
    ] as const) {
      expect((await copy('source', 'copy', more)).CopyObjectResult).toMatchObject(checksum)
      expect(await head('copy')).toMatchObject(checksum)
    }
    await copy('source', 'source', { ...replaced, ChecksumAlgorithm: 'SHA256' })
    expect(await head('source')).toMatchObject(SHA256)
    // What is stored after that has its own.
    await put('after')
    expect(await head('after')).toMatchObject(CRC32)
  })

  it('of an upload in parts has the checksum of the whole', async () => {
    const of = { Bucket, Key: 'composite' }
    const { UploadId } = await aws.s3.send(
      new CreateMultipartUploadCommand({ ...of, ChecksumAlgorithm: 'SHA256' }),
    )
    const { ETag } = await aws.s3.send(
      new UploadPartCommand({
        ...{ ...of, UploadId, PartNumber: 1, Body: 'hello world', ChecksumAlgorithm: 'SHA256' },
      }),
    )
    const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] }
    await aws.s3.send(new CompleteMultipartUploadCommand({ ...of, UploadId, MultipartUpload }))
    expect((await head('composite')).ChecksumType).toBe('COMPOSITE')
    expect((await copy('composite', 'whole')).CopyObjectResult).toMatchObject(SHA256)
    expect(await head('whole')).toMatchObject(SHA256)
  })
})

it.each([
  ['CRC32C', 'yZRlqg=='],
  ['CRC64NVME', 'jSnVw/bqjr4='],
] as const)(
  'an object keeps the checksum %s that it came with, and so does its copy',
  async (algorithm, value) => {
    const checksum = { [`Checksum${algorithm}`]: value, ChecksumType: 'FULL_OBJECT' }
    expect(await put(algorithm, { ChecksumAlgorithm: algorithm })).toMatchObject(checksum)
    expect(await put(algorithm, { [`Checksum${algorithm}`]: value })).toMatchObject(checksum)
    expect(await head(algorithm)).toMatchObject(checksum)
    const asked = { Bucket, Key: algorithm, ObjectAttributes: [ObjectAttributes.CHECKSUM] }
    expect((await aws.s3.send(new GetObjectAttributesCommand(asked))).Checksum).toEqual(checksum)
    expect((await copy(algorithm, 'copy')).CopyObjectResult).toMatchObject(checksum)
    expect(await head('copy')).toMatchObject(checksum)
  },
)

it('an object that comes without a content type is binary/octet-stream', async () => {
  const write = async (Key: string, more: Record<string, string>, method = 'PUT') => {
    const headers = { ...signed('s3'), ...more }
    const body = method === 'PUT' ? { body: new Uint8Array(1) } : {}
    return (await fetch(`${aws.endpoint}/${Bucket}/${Key}`, { method, headers, ...body })).text()
  }
  await write('typeless', {})
  await write('empty', { 'content-type': '' })
  await write('retyped', { 'x-amz-copy-source': `${Bucket}/typeless`, 'x-amz-metadata-directive': 'REPLACE' })
  const UploadId = /<UploadId>(.*)</.exec(await write('in-parts?uploads', {}, 'POST'))?.[1]
  const part = { Bucket, Key: 'in-parts', UploadId }
  const { ETag } = await aws.s3.send(new UploadPartCommand({ ...part, PartNumber: 1, Body: 'x' }))
  const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] }
  await aws.s3.send(new CompleteMultipartUploadCommand({ ...part, MultipartUpload }))
  for (const key of ['typeless', 'empty', 'retyped', 'in-parts'])
    expect([key, (await head(key)).ContentType]).toEqual([key, 'binary/octet-stream'])
})
