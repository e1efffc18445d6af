import {
  type CORSRule,
  CreateBucketCommand,
  DeleteBucketCommand,
  DeleteBucketCorsCommand,
  GetBucketCorsCommand,
  GetObjectAclCommand,
  GetObjectCommand,
  PutBucketCorsCommand,
  PutObjectCommand,
} from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import { describe, expect, it } from 'vitest'
import { embeddedAws, pixels, presignedFields, refusal, signed } from './started.ts'

const { newFolder, start, aws, newBucket, stored, post } = embeddedAws()

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

  it('is in answers to the page, good and bad, and in no other answers', async () => {
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
    // S3 also does what its rules do not allow, because the browser keeps the answer from the page.
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
    ['a document with an entity of its own', written('&constructor;')],
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
