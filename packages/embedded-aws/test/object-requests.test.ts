import {
  type ChecksumAlgorithm,
  CopyObjectCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetBucketLocationCommand,
  HeadBucketCommand,
  ListBucketsCommand,
  ListObjectsCommand,
  ListObjectsV2Command,
  type ListObjectsV2CommandOutput,
  PutBucketLifecycleConfigurationCommand,
  PutObjectCommand,
  type PutObjectCommandInput,
} from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import { beforeAll, describe, expect, it } from 'vitest'
import { embeddedAws, refusal, region, signed } from './started.ts'

const { aws, newBucket, objectsIn, stored } = embeddedAws()
const status = (httpStatusCode: number) => ({ $metadata: { httpStatusCode } })
let Bucket = ''
beforeAll(async () => {
  Bucket = await newBucket()
})
const put = (Key: string, Body = 'hello world', more: Partial<PutObjectCommandInput> = {}) =>
  aws.s3.send(new PutObjectCommand({ Bucket, Key, Body, ...more }))
const { head, get, raw } = objectsIn(() => Bucket)

describe('a list', () => {
  const keys = [
    '-m',
    'B',
    'Z',
    '_u',
    'a',
    'a b',
    'a/1',
    'a/2',
    'b',
    'dir/x/1',
    'dir/z',
    'zz',
    'ä',
    '\ufffd',
    '😀',
  ]
  let bucket = ''
  beforeAll(async () => {
    bucket = await newBucket()
    for (const Key of keys.toReversed())
      await aws.s3.send(new PutObjectCommand({ Bucket: bucket, Key, Body: Key }))
  })

  it.each([
    [undefined, keys],
    ['/', ['-m', 'B', 'Z', '_u', 'a', 'a b', 'a/', 'b', 'dir/', 'zz', 'ä', '\ufffd', '😀']],
  ])(
    'with the delimiter %j has each key once, in the order of bytes, however long its pages are',
    async (Delimiter, all) => {
      for (const MaxKeys of [1, 2, 5, 100]) {
        const found: [string[], string[]] = [[], []]
        for (let token: string | undefined, more = true; more; ) {
          const page = await aws.s3.send(
            new ListObjectsV2Command({ Bucket: bucket, MaxKeys, Delimiter, ContinuationToken: token }),
          )
          found[0].push(...namesOf(page))
          token = page.NextContinuationToken
          more = page.IsTruncated === true
        }
        for (let marker: string | undefined, more = true; more; ) {
          const page = await aws.s3.send(
            new ListObjectsCommand({ Bucket: bucket, MaxKeys, Delimiter, Marker: marker }),
          )
          found[1].push(...namesOf(page))
          marker = page.NextMarker ?? page.Contents?.at(-1)?.Key
          more = page.IsTruncated === true
        }
        expect(found).toEqual([all, all])
      }
    },
  )
  const namesOf = ({
    Contents = [],
    CommonPrefixes = [],
  }: Pick<ListObjectsV2CommandOutput, 'Contents' | 'CommonPrefixes'>) =>
    [...Contents.map(({ Key = '' }) => Key), ...CommonPrefixes.map(({ Prefix = '' }) => Prefix)].sort(
      (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)),
    )

  it('comes as in a URL where that is asked for, ends at no keys, and begins behind a key', async () => {
    const list = async (more: object) => aws.s3.send(new ListObjectsV2Command({ Bucket: bucket, ...more }))
    const page = await list({ EncodingType: 'url', Prefix: 'a ' })
    expect(page).toMatchObject({ EncodingType: 'url', Prefix: 'a%20', Contents: [{ Key: 'a%20b' }] })
    expect(await list({ MaxKeys: 0 })).toMatchObject({ IsTruncated: false, KeyCount: 0 })
    expect(await list({ StartAfter: 'zz' })).toMatchObject({ KeyCount: 3, Contents: [{ Key: 'ä' }, {}, {}] })
    for (const wrong of [{ MaxKeys: -1 }, { EncodingType: 'x' }, { ContinuationToken: 'junk' }])
      await expect(list(wrong)).rejects.toMatchObject({ name: 'InvalidArgument' })
  })

  it('of buckets has those with a prefix, page by page', async () => {
    const list = (more: object) => aws.s3.send(new ListBucketsCommand({ Prefix: bucket, ...more }))
    expect((await list({})).Buckets).toEqual([{ Name: bucket, CreationDate: expect.any(Date) }])
    const { ContinuationToken } = await list({ Prefix: 'bucket-', MaxBuckets: 1 })
    const names = [Bucket, bucket].sort()
    expect((await list({ Prefix: 'bucket-', ContinuationToken })).Buckets?.map(({ Name }) => Name)).toEqual([
      names[1],
    ])
  })
})

describe('a condition', () => {
  it('of a read holds by the ETag, in any of its spellings, or by whole seconds', async () => {
    const { ETag = '' } = await put('conditions')
    const { LastModified } = await head('conditions')
    const past = new Date('2020-01-01')
    const future = new Date(Date.now() + 86_400_000)
    const bare = ETag.replaceAll('"', '')
    for (const read of [get, head]) {
      const ok = [{ IfMatch: bare }, { IfMatch: `"x", ${ETag}` }, { IfMatch: ETag, IfUnmodifiedSince: past }]
      const more = [{ IfUnmodifiedSince: LastModified }, { IfNoneMatch: '"x"' }, { IfModifiedSince: future }]
      for (const one of [...ok, ...more])
        expect(await read('conditions', one)).toMatchObject({ ETag, AcceptRanges: 'bytes' })
      for (const more of [{ IfMatch: '"x"' }, { IfUnmodifiedSince: past }])
        await expect(read('conditions', more)).rejects.toMatchObject(status(412))
      for (const more of [{ IfNoneMatch: bare }, { IfNoneMatch: '*' }, { IfModifiedSince: LastModified }])
        await expect(read('conditions', more)).rejects.toMatchObject(status(304))
    }
    const { headers } = await raw('GET', '/conditions', { 'if-none-match': ETag })
    expect(headers.get('etag')).toBe(ETag)
  })

  it('of a write or a deletion keeps what is there', async () => {
    const { ETag } = await put('kept')
    const changed = { name: 'PreconditionFailed', ...status(412) }
    const gone = { name: 'NoSuchKey', ...status(404) }
    await expect(put('kept', 'new', { IfMatch: '"x"' })).rejects.toMatchObject(changed)
    await expect(put('kept', 'new', { IfNoneMatch: '*' })).rejects.toMatchObject(changed)
    await expect(put('missing', 'new', { IfMatch: '"x"' })).rejects.toMatchObject(gone)
    await expect(put('kept', 'new', { IfNoneMatch: '"x"' })).rejects.toMatchObject({ name: 'NotImplemented' })
    const remove = (IfMatch: string) => aws.s3.send(new DeleteObjectCommand({ Bucket, Key: 'kept', IfMatch }))
    await expect(remove('"x"')).rejects.toMatchObject(changed)
    expect((await get('kept')).text).toBe('hello world')
    await put('kept', 'new', { IfMatch: ETag })
    expect((await get('kept')).text).toBe('new')
    await remove('*')
    await expect(head('kept')).rejects.toMatchObject(status(404))
    await expect(remove('*')).rejects.toMatchObject(gone)
  })

  it('lets one of many writers at once create a key', async () => {
    const writers = Array.from({ length: 8 }, (_, index) => put('race', `${index}`, { IfNoneMatch: '*' }))
    const results = await Promise.allSettled(writers)
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  })

  it.each([true, false])(
    'of a copy whose source is no address is refused, the bucket there: %s',
    async (isThere) => {
      const headers = { ...signed('s3'), 'x-amz-copy-source': '%' }
      const url = `${aws.endpoint}/${isThere ? Bucket : 'no-bucket-of-this-name'}/copy`
      expect(await refusal(await fetch(url, { method: 'PUT', headers }))).toMatchObject({
        ...{ status: 400, Code: 'InvalidArgument' },
      })
    },
  )

  it('of a copy looks at its source, and a copy onto itself changes something', async () => {
    const { ETag = '' } = await put('source')
    const copy = (more = {}, Key = 'copy') =>
      aws.s3.send(new CopyObjectCommand({ Bucket, Key, CopySource: `${Bucket}/source`, ...more }))
    const failed = { name: 'PreconditionFailed' }
    const past = new Date('2020-01-01')
    for (const more of [
      { CopySourceIfMatch: '"x"' },
      { CopySourceIfNoneMatch: ETag },
      { CopySourceIfUnmodifiedSince: past },
    ])
      await expect(copy(more)).rejects.toMatchObject(failed)
    await expect(head('copy')).rejects.toMatchObject(status(404))
    await copy({ CopySourceIfMatch: ETag, CopySourceIfUnmodifiedSince: past })
    await expect(copy({ IfNoneMatch: '*' })).rejects.toMatchObject(failed)
    await expect(copy({}, 'source')).rejects.toMatchObject({ name: 'InvalidRequest' })
    await copy({ StorageClass: 'STANDARD' }, 'source')
    await copy({ MetadataDirective: 'REPLACE', Metadata: { a: 'b' } }, 'source')
    expect(await head('source')).toMatchObject({ Metadata: { a: 'b' } })
    const CopySource = `${Bucket}/source?versionId=x`
    await expect(copy({ CopySource })).rejects.toMatchObject({ name: 'NoSuchVersion' })
  })
})

it.each([
  ['bytes=-100', 206, 'hello world', 'bytes 0-10/11'],
  ['bytes=-3', 206, 'rld', 'bytes 8-10/11'],
  ['bytes=9-100', 206, 'ld', 'bytes 9-10/11'],
  ['bytes=5-2', 200, 'hello world', null],
  ['bytes=0-1,3-4', 200, 'hello world', null],
  ['lines=0-1', 200, 'hello world', null],
  ['bytes=11-', 416, undefined, 'bytes */11'],
  ['bytes=-0', 416, undefined, 'bytes */11'],
])('the range %s is answered with %i, by GET and by HEAD', async (range, code, text, contentRange) => {
  await put('range')
  const read = await raw('GET', '/range', { range })
  expect([read.status, read.headers.get('content-range')]).toEqual([code, contentRange])
  const body = await read.text()
  if (text !== undefined) expect(body).toBe(text)
  const headed = await raw('HEAD', '/range', { range })
  expect([headed.status, headed.headers.get('content-range')]).toEqual([code, contentRange])
  if (text !== undefined) expect(headed.headers.get('content-length')).toBe(String(text.length))
})

describe('a digest', () => {
  it.each<[ChecksumAlgorithm, string]>([
    ['CRC32', 'DUoRhQ=='],
    ['CRC32C', 'yZRlqg=='],
    ['CRC64NVME', 'jSnVw/bqjr4='],
    ['SHA1', 'Kq5sNclPz7QV2+lfQIuc6R7oRu0='],
    ['SHA256', 'uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek='],
  ])('%s that is wrong keeps a body from being stored', async (algorithm, right) => {
    const Key = `digest-${algorithm}`
    const wrong = `${right[0] === 'A' ? 'B' : 'A'}${right.slice(1)}`
    await expect(put(Key, 'hello world', { [`Checksum${algorithm}`]: wrong })).rejects.toMatchObject({
      name: 'BadDigest',
    })
    await expect(head(Key)).rejects.toMatchObject(status(404))
    await put(Key, 'hello world', { [`Checksum${algorithm}`]: right })
    expect((await stored(Bucket, Key)).bytes.toString()).toBe('hello world')
  })

  it('that is none is refused, and so is one of another body', async () => {
    await expect(put('md5', 'x', { ContentMD5: 'junk' })).rejects.toMatchObject({ name: 'InvalidDigest' })
    const ContentMD5 = 'XrY7u+Ae7tCTyyK7j1rNww=='
    await expect(put('md5', 'x', { ContentMD5 })).rejects.toMatchObject({ name: 'BadDigest' })
    await put('md5', 'hello world', { ContentMD5 })
    await expect(put('md5', 'x', { ChecksumSHA256: 'junk' })).rejects.toMatchObject({
      name: 'InvalidRequest',
    })
    const answer = await raw('PUT', '/md5', { 'x-amz-content-sha256': '0'.repeat(64) }, 'x')
    expect(await refusal(answer)).toMatchObject({ status: 400, Code: 'XAmzContentSHA256Mismatch' })
    const unknown = await raw('PUT', '/md5', { 'x-amz-checksum-xxhash64': 'AAAAAAAAAAA=' }, 'x')
    expect(await refusal(unknown)).toMatchObject({ status: 501, Code: 'NotImplemented' })
    expect((await get('md5')).text).toBe('hello world')
  })

  it('that follows a body in chunks is held to it', async () => {
    const chunked = (checksum: string) =>
      raw(
        'PUT',
        '/chunked',
        {
          'content-encoding': 'gzip,aws-chunked',
          'x-amz-trailer': 'x-amz-checksum-crc32',
          'x-amz-content-sha256': 'STREAMING-UNSIGNED-PAYLOAD-TRAILER',
        },
        `5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:${checksum}\r\n\r\n`,
      )
    expect(await refusal(await chunked('AAAAAA=='))).toMatchObject({ Code: 'BadDigest' })
    expect((await chunked('DUoRhQ==')).status).toBe(200)
    expect(await get('chunked', { ChecksumMode: 'ENABLED' })).toMatchObject({
      ...{ text: 'hello world', ContentEncoding: 'gzip', ChecksumCRC32: 'DUoRhQ==' },
    })
  })
})

describe('what is not here', () => {
  it('is refused of a new bucket', async () => {
    const create = (headers: Record<string, string>, body = '') =>
      fetch(`${aws.endpoint}/refused-bucket`, {
        method: 'PUT',
        headers: { ...signed('s3'), ...headers },
        body,
      })
    for (const header of ['x-amz-bucket-object-lock-enabled: true', 'x-amz-object-ownership: ObjectWriter']) {
      const [name = '', value = ''] = header.split(': ')
      expect(await refusal(await create({ [name]: value }))).toMatchObject({ Code: 'NotImplemented' })
    }
    const acl = await create({ 'x-amz-acl': 'public-read' })
    expect(await refusal(acl)).toMatchObject({ Code: 'AccessControlListNotSupported' })
    const tags = '<CreateBucketConfiguration><Tags/></CreateBucketConfiguration>'
    expect(await refusal(await create({}, tags))).toMatchObject({ Code: 'NotImplemented' })
    expect(await refusal(await create({}, '<x'))).toMatchObject({ Code: 'MalformedXML' })
    await expect(aws.s3.send(new HeadBucketCommand({ Bucket: 'refused-bucket' }))).rejects.toMatchObject(
      status(404),
    )
  })

  it('is named as S3 names it, with the id of the answer', async () => {
    const bucket = await fetch(`${aws.endpoint}/no-such-bucket/a`, { headers: signed('s3') })
    const missing = { Code: 'NoSuchBucket', Message: 'The specified bucket does not exist' }
    expect(await refusal(bucket)).toMatchObject({ ...missing, BucketName: 'no-such-bucket' })
    const key = await raw('GET', '/no-such-key')
    const id = key.headers.get('x-amz-request-id')
    expect(await refusal(key)).toMatchObject({ Code: 'NoSuchKey', Key: 'no-such-key', RequestId: id })
  })

  it('is no account but one', async () => {
    await put('owned')
    const read = (ExpectedBucketOwner: string) => head('owned', { ExpectedBucketOwner })
    await read('000000000000')
    await expect(read('123456789012')).rejects.toMatchObject(status(403))
  })

  it('keeps an object from being deleted on a condition', async () => {
    await put('conditional')
    const remove = (headers: Record<string, string>) => raw('DELETE', '/conditional', headers)
    for (const name of ['size', 'last-modified-time'])
      expect(await refusal(await remove({ [`x-amz-if-match-${name}`]: '1' }))).toMatchObject({ status: 501 })
    const Delete = { Objects: [{ Key: 'conditional', Size: 1 }] }
    const { Errors } = await aws.s3.send(new DeleteObjectsCommand({ Bucket, Delete }))
    expect(Errors).toMatchObject([{ Code: 'NotImplemented' }])
    await head('conditional')
  })
})

describe('a deletion of several objects', () => {
  const remove = (Objects: { Key: string; ETag?: string; VersionId?: string }[], Quiet = false) =>
    aws.s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects, Quiet } }))

  it('means exactly the keys that are named', async () => {
    const keys = ['many\nlines', 'a&lt;b', '<&>"\'']
    for (const key of [...keys, 'a<b', 'etag']) await put(key)
    const { Deleted } = await remove([...keys, 'missing'].map((Key) => ({ Key })))
    expect(Deleted).toEqual([...keys, 'missing'].map((Key) => ({ Key })))
    for (const key of keys) await expect(head(key)).rejects.toMatchObject(status(404))
    await head('a<b')
    const { Deleted: quiet, Errors } = await remove(
      [{ Key: 'a<b' }, { Key: 'etag', ETag: '"x"' }, { Key: 'etag', VersionId: 'x' }],
      true,
    )
    expect(quiet).toBeUndefined()
    expect(Errors?.map(({ Key, Code }) => [Key, Code])).toEqual([
      ['etag', 'PreconditionFailed'],
      ['etag', 'NoSuchVersion'],
    ])
    await head('etag')
  })

  it('is refused whole for no keys, too many, another document, and a wrong digest', async () => {
    await put('stays')
    const malformed = { name: 'MalformedXML' }
    await expect(remove([])).rejects.toMatchObject(malformed)
    const many = Array.from({ length: 1_001 }, () => ({ Key: 'stays' }))
    await expect(remove(many)).rejects.toMatchObject(malformed)
    for (const body of ['<Delete><Object><Key>stays</Key></Object>', '<Deleted/>', 'stays'])
      expect(await refusal(await raw('POST', '?delete', {}, body))).toMatchObject({ Code: 'MalformedXML' })
    const body = '<Delete><Object><Key>stays</Key></Object></Delete>'
    const answer = await raw('POST', '?delete', { 'content-md5': 'XrY7u+Ae7tCTyyK7j1rNww==' }, body)
    expect(await refusal(answer)).toMatchObject({ Code: 'BadDigest' })
    await head('stays')
  })
})

it.each<[string, Partial<PutObjectCommandInput>, string]>([
  ['tags', { Tagging: 'a=b' }, 'NotImplemented'],
  ['a storage class', { StorageClass: 'STANDARD_IA' }, 'NotImplemented'],
  ['a key of KMS', { ServerSideEncryption: 'aws:kms' }, 'NotImplemented'],
  ['a lock', { ObjectLockLegalHoldStatus: 'ON' }, 'NotImplemented'],
  ['a redirect', { WebsiteRedirectLocation: '/x' }, 'NotImplemented'],
  ['a date of expiry', { Expires: new Date() }, 'NotImplemented'],
  ['an ACL', { ACL: 'public-read' }, 'AccessControlListNotSupported'],
])('an object with %s is refused rather than stored without', async (_, more, name) => {
  await expect(put('with more', 'x', more)).rejects.toMatchObject({ name })
  await expect(head('with more')).rejects.toMatchObject(status(404))
})

it('what asks for nothing but what is done anyway is done', async () => {
  await put('plain', 'x', { StorageClass: 'STANDARD', ServerSideEncryption: 'AES256', ACL: 'private' })
  expect((await get('plain', { VersionId: 'null' })).text).toBe('x')
})

it('no version of an object is read or deleted but the only one', async () => {
  await put('one version')
  const version = { Bucket, Key: 'one version', VersionId: 'x' }
  await expect(get(version.Key, version)).rejects.toMatchObject({ name: 'NoSuchVersion' })
  await expect(aws.s3.send(new DeleteObjectCommand(version))).rejects.toMatchObject({ name: 'NoSuchVersion' })
  await head(version.Key)
})

it('rules by which objects expire are refused, since none would', async () => {
  const Rules = [{ Status: 'Enabled' as const, Filter: { Prefix: '' }, Expiration: { Days: 1 } }]
  const command = new PutBucketLifecycleConfigurationCommand({ Bucket, LifecycleConfiguration: { Rules } })
  await expect(aws.s3.send(command)).rejects.toMatchObject({ name: 'NotImplemented' })
})

it('a key has 1,024 bytes at most', async () => {
  await put('é'.repeat(512))
  await expect(put('é'.repeat(513))).rejects.toMatchObject({ name: 'KeyTooLongError' })
})

it('a bucket names its region', async () => {
  const { LocationConstraint } = await aws.s3.send(new GetBucketLocationCommand({ Bucket }))
  expect(LocationConstraint).toBe(region)
  expect(await aws.s3.send(new HeadBucketCommand({ Bucket }))).toMatchObject({ BucketRegion: region })
})

it.each([
  ['PATCH', '/key', 405, 'MethodNotAllowed'],
  ['POST', '/key', 405, 'MethodNotAllowed'],
  ['GET', '/%zz', 400, 'InvalidURI'],
])('%s %s is refused in S3’s words', async (method, path, code, Code) => {
  expect(await refusal(await raw(method, path))).toMatchObject({ status: code, Code })
})

it.each(['文.jpg', 'a\r\nb: c'])(
  'an answer with the header %j is refused, as it can be none',
  async (text) => {
    await put('named')
    const query = `?response-content-disposition=${encodeURIComponent(text)}`
    expect(await refusal(await raw('GET', `/named${query}`))).toMatchObject({
      ...{ status: 400, Code: 'InvalidArgument', ArgumentName: 'response-content-disposition' },
    })
  },
)

it.each(['GET', 'HEAD'])('%s answers with a file name of Latin-1, stored or asked for', async (method) => {
  const disposition = 'attachment; filename="é.jpg"'
  await raw('PUT', '/latin', { 'content-disposition': disposition }, 'x')
  await put('unnamed')
  for (const path of ['/latin', `/unnamed?response-content-disposition=${encodeURIComponent(disposition)}`]) {
    const answer = await raw(method, path)
    expect([answer.status, answer.headers.get('content-disposition')]).toEqual([200, disposition])
  }
})

describe('a presigned upload', () => {
  const upload = async (Key: string, more: Partial<PutObjectCommandInput>) => {
    const url = await getSignedUrl(aws.s3, new PutObjectCommand({ Bucket, Key, ...more }))
    return fetch(url, { method: 'PUT', body: 'hello' })
  }

  it('has the metadata that its URL has, and not the checksum of no body', async () => {
    expect((await upload('presigned', { Metadata: { owner: 'me', of: 'é😀' } })).status).toBe(200)
    const Metadata = { owner: 'me', of: '=?UTF-8?Q?=C3=A9=F0=9F=98=80?=' }
    expect(await head('presigned')).toMatchObject({ Metadata, ContentLength: 5 })
  })

  it('is refused for what its URL has and S3 is not here to do', async () => {
    expect(await refusal(await upload('tagged', { Tagging: 'a=b' }))).toMatchObject({ status: 501 })
    const other = await upload('of another', { ExpectedBucketOwner: '111122223333' })
    expect(await refusal(other)).toMatchObject({ status: 403, Code: 'AccessDenied' })
    const url = new URL(await getSignedUrl(aws.s3, new PutObjectCommand({ Bucket, Key: 'wrong' })))
    for (const [name, value] of [
      ['x-amz-meta-a', 'two\r\nlines'],
      ['x-amz-meta-a b', '1'],
    ] as const) {
      const wrong = new URL(url)
      // Of a key that is not known here no signature is verified.
      wrong.searchParams.set('X-Amz-Credential', `other/20261129/${region}/s3/aws4_request`)
      wrong.searchParams.set(name, value)
      const refused = await refusal(await fetch(wrong, { method: 'PUT', body: 'hello' }))
      expect(refused).toMatchObject({ status: 400, Code: 'InvalidArgument', ArgumentName: name })
    }
    for (const Key of ['tagged', 'of another', 'wrong'])
      await expect(head(Key)).rejects.toMatchObject(status(404))
  })
})
