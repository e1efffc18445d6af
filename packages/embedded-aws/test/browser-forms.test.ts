import { createHash, createHmac, randomBytes } from 'node:crypto'
import { request as httpRequest } from 'node:http'
import { DeleteBucketCommand, DeleteObjectCommand } from '@aws-sdk/client-s3'
import { describe, expect, it } from 'vitest'
import {
  elements,
  embeddedAws,
  FILENAME,
  type FormOptions,
  known,
  pixels,
  presignedFields,
  refusal,
  stranger,
} from './started.ts'

const { aws, newBucket, stored, post } = embeddedAws()

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
      Metadata: { owner: 'me', name: '=?UTF-8?Q?K=C3=A4se=E2=80=94?=' },
    })
    expect(object.ContentDisposition).toMatch(/^attachment; filename="ü?.* \.png"$/)
  })

  it('without a content type is binary/octet-stream, even if the file has another type', async () => {
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
      'for another bucket, even if its field names this one',
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

  it('that breaks off stores nothing, and the next one is stored', async () => {
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
