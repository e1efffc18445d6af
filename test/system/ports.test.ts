/// <reference lib="dom" />
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync } from 'node:fs'
import { createServer, request as httpRequest, type IncomingHttpHeaders, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DynamoDBClient, ScanCommand } from '@aws-sdk/client-dynamodb'
import { EventBridgeClient, ListRulesCommand } from '@aws-sdk/client-eventbridge'
import {
  GetBucketCorsCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutBucketCorsCommand,
  S3Client,
} from '@aws-sdk/client-s3'
import { GetQueueAttributesCommand, SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs'
import { createPresignedPost } from '@aws-sdk/s3-presigned-post'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { listen } from '../../packages/embedded-aws/gateway/index.ts'
import { startRekognition } from '../../rekognition/service.ts'
import { clientOptions, s3Options, sqsOptions } from '../../shared/aws.ts'
import { CHROMIUM, skippedWithoutBrowser, startBrowser } from '../browser.ts'
import { finished, signed } from '../context.ts'
import { start } from '../started.ts'
import { type System, startSystem } from '../system.ts'
import { SILENT, skipped } from '../tools.ts'
import { until } from '../until.ts'

/** The ports of `npm start` belong to this machine's user: what a web page or a program of another origin can do there. */

const BUCKET = 'image-analyzer-images'
const photo = readFileSync(join(import.meta.dirname, '../fixtures/grace-hopper.jpg'))
const FRIEND = 'http://friend.test:5173'

let system: System
let s3: S3Client
let sqs: SQSClient
let dynamo: DynamoDBClient
let events: EventBridgeClient
let imageId: string
let before: unknown
beforeAll(async () => {
  const env = {
    REKOGNITION: 'stand-in',
    PORT: '0',
    AWS_PORT: '0',
    ALLOWED_HOSTS: 'photos.test,[fd00::1]',
    CORS_ORIGINS: FRIEND,
  }
  system = await startSystem(env, SILENT)
  s3 = new S3Client(s3Options(system.target))
  sqs = new SQSClient(sqsOptions(system.target))
  dynamo = new DynamoDBClient(clientOptions(system.target))
  events = new EventBridgeClient(clientOptions(system.target))
  const posted = await send(system.url, 'POST', '/images', { 'content-type': 'image/jpeg' }, photo)
  imageId = JSON.parse(posted.body).imageId
  await finished(system.url, imageId)
  await rest()
})
afterAll(async () => {
  for (const client of [s3, sqs, dynamo, events]) client?.destroy()
  await system?.stop()
})

interface Answer {
  status: number
  headers: IncomingHttpHeaders
  body: string
}
/** Exactly these headers and nothing that a client would add; node's own `fetch` sets Host itself. */
function send(
  origin: string,
  method: string,
  path: string,
  headers: Record<string, string> = {},
  body: Buffer | string = '',
): Promise<Answer> {
  const { hostname, port } = new URL(origin)
  return new Promise((resolve, reject) => {
    const request = httpRequest({ hostname, port, method, path, headers, agent: false }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: Buffer.concat(chunks).toString(),
        }),
      )
    })
    request.on('error', reject)
    request.end(body)
  })
}

/** All that a stranger could have changed. */
async function everything() {
  const [objects, items, rules, queue, cors] = await Promise.all([
    s3.send(new ListObjectsV2Command({ Bucket: BUCKET })),
    dynamo.send(new ScanCommand({ TableName: BUCKET })),
    events.send(new ListRulesCommand({ EventBusName: 'image-analyzer' })),
    sqs.send(new GetQueueAttributesCommand({ QueueUrl: system.jobQueueUrl, AttributeNames: ['All'] })),
    s3.send(new GetBucketCorsCommand({ Bucket: BUCKET })),
  ])
  return {
    objects: objects.Contents?.map(({ Key, ETag }) => `${Key} ${ETag}`),
    items: (items.Items ?? []).map((item) => JSON.stringify(item)).sort(),
    rules: rules.Rules,
    waiting: queue.Attributes?.['ApproximateNumberOfMessages'],
    cors: cors.CORSRules,
  }
}
/** Waits until what came in is finished and announced, and nothing changes any more. */
async function rest(): Promise<void> {
  before = await until('every image is finished', async () => {
    const found = await everything()
    return found.items.some((item) => item.includes('"unfinished"')) ? undefined : found
  })
}
const expectNothingChanged = async () => expect(await everything()).toEqual(before)

const operation = (service: string, target: string, contentType = 'application/x-amz-json-1.0') => ({
  ...signed(service),
  'content-type': contentType,
  'x-amz-target': target,
})
const JSON_1_1 = 'application/x-amz-json-1.1'
const SCAN = ['dynamodb', 'DynamoDB_20120810.Scan', { TableName: BUCKET }, undefined] as const
const OPERATIONS = [
  SCAN,
  ['dynamodb', 'DynamoDB_20120810.DeleteTable', { TableName: BUCKET }, undefined],
  ['sqs', 'AmazonSQS.ListQueues', {}, undefined],
  ['events', 'AWSEvents.PutRule', { Name: 'evil', EventBusName: 'image-analyzer' }, JSON_1_1],
  ['rekognition', 'RekognitionService.DetectLabels', {}, JSON_1_1],
] as const

const presigned = (query: string) => `${query}&${new URLSearchParams(JUNK)}`
const JUNK = {
  'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
  'X-Amz-Credential': 'x/20260101/us-east-1/s3/aws4_request',
  'X-Amz-Date': '29990101T000000Z',
  'X-Amz-Expires': '600',
  'X-Amz-SignedHeaders': 'host',
  'X-Amz-Signature': '0'.repeat(64),
}
const original = () => `/${BUCKET}/originals/${imageId}`
const doomed = () => `<Delete><Object><Key>originals/${imageId}</Key></Object></Delete>`

const STRANGE_HOSTS = [
  ...['evil.test', 'evil.test:3000', '127.0.0.1.evil.test', 'localhost.evil.test', 'evillocalhost'],
  ...[
    '0.0.0.0',
    '[::]',
    '[fd00::2]',
    '192.168.1.2',
    '169.254.169.254',
    'a.photos.test',
    'photos.test.',
    '.localhost',
  ],
  ...[' ', 'x'.repeat(5_000)],
]
/** The API's server makes a URL of it first, which fails. */
const NO_HOSTS = ['127.0.0.1@evil.test', '127.0.0.1:80:80', 'evil.test#.localhost', 'localhost/']
const OUR_HOSTS = [
  ...[
    '127.0.0.1',
    '127.0.0.1:1',
    'localhost',
    'LOCALHOST:65535',
    '[::1]:3000',
    'any.localhost',
    'a.b.localhost:80',
  ],
  ...['photos.test', 'Photos.Test:3000', '[fd00::1]:3000'],
]

describe('a Host that is no name of this machine', () => {
  it.each(STRANGE_HOSTS)('%j is answered with 421 by the API', async (host) => {
    for (const [method, path] of [
      ['GET', '/images'],
      ['GET', '/'],
      ['DELETE', `/images/${imageId}`],
    ] as const) {
      const { status, headers, body } = await send(system.url, method, path, { host })
      expect([status, headers['content-type']]).toEqual([421, 'application/problem+json'])
      expect(JSON.parse(body)).toMatchObject({
        ...{ status, code: 'MISDIRECTED_REQUEST', type: 'urn:image-analyzer:problem:misdirected-request' },
        detail: expect.stringMatching(
          /answers to 127\.0\.0\.1, localhost and the names in ALLOWED_HOSTS only/,
        ),
      })
    }
    await expectNothingChanged()
  })

  it.each(NO_HOSTS)('%j is answered with 400 by the API', async (host) => {
    const { status, headers, body } = await send(system.url, 'GET', '/images', { host })
    expect([status, headers['content-type']]).toEqual([400, 'application/problem+json'])
    expect(JSON.parse(body)).toMatchObject({
      status,
      code: 'INVALID_PARAMETER',
      detail: expect.stringContaining('Host'),
    })
  })

  it.each([...STRANGE_HOSTS, ...NO_HOSTS])(
    '%j is answered with 421 by the embedded AWS, in the words of its protocols',
    async (host) => {
      const listed = await send(system.awsEndpoint, 'GET', `/${BUCKET}`, { ...signed('s3'), host })
      expect([listed.status, listed.body]).toEqual([
        421,
        expect.stringContaining('<Code>MisdirectedRequest</Code>'),
      ])
      const gone = await send(system.awsEndpoint, 'DELETE', original(), { ...signed('s3'), host })
      expect(gone.status).toBe(421)
      for (const [service, target, input, type] of OPERATIONS) {
        const headers = { ...operation(service, target, type), host }
        const answer = await send(system.awsEndpoint, 'POST', '/', headers, JSON.stringify(input))
        expect([answer.status, JSON.parse(answer.body).__type]).toEqual([421, 'MisdirectedRequest'])
      }
      await expectNothingChanged()
    },
  )

  it('is found in the first line of a request to a proxy as well', async () => {
    for (const origin of [system.url, system.awsEndpoint]) {
      const path = `http://evil.test/${BUCKET}`
      expect((await send(origin, 'GET', path, { ...signed('s3'), host: '127.0.0.1' })).status).toBe(421)
    }
  })

  it.each(OUR_HOSTS)('is not %j', async (host) => {
    expect((await send(system.url, 'GET', '/health', { host })).status).toBe(200)
    const [service, target, input] = SCAN
    const headers = { ...operation(service, target), host }
    expect((await send(system.awsEndpoint, 'POST', '/', headers, JSON.stringify(input))).status).toBe(200)
  })

  it('is not that of a bucket below localhost; a configured name holds no bucket', async () => {
    const [bucket, key] = [`${BUCKET}.localhost`, `originals/${imageId}`]
    const hosted = await send(system.awsEndpoint, 'HEAD', `/${key}`, { ...signed('s3'), host: bucket })
    const named = await send(system.awsEndpoint, 'HEAD', original(), { ...signed('s3'), host: 'photos.test' })
    expect([hosted.status, named.status]).toEqual([200, 200])
  })

  it('is refused by a Rekognition that is started by itself, which has the name of its container', async () => {
    const alone = await startRekognition({
      ...{ port: 0, allowedHosts: ['rekognition'], rekognition: {} },
      readObject: async () => photo,
    })
    const image = { Image: { S3Object: { Bucket: 'bucket', Name: 'photo' } } }
    const ask = (host: string, more = {}) => {
      const headers = {
        ...operation('rekognition', 'RekognitionService.DetectLabels', JSON_1_1),
        host,
        ...more,
      }
      return send(alone.endpoint, 'POST', '/', headers, JSON.stringify(image))
    }
    expect((await ask('rekognition:4567')).status).toBe(200)
    expect((await ask('localhost:4567')).status).toBe(200)
    expect((await ask('evil.test:4567')).status).toBe(421)
    expect((await ask('localhost', { origin: 'http://localhost' })).status).toBe(403)
    expect((await ask('localhost', { authorization: '' })).status).toBe(403)
    expect((await ask('localhost', { 'x-amz-target': 'AmazonSQS.ListQueues' })).status).toBe(404)
    await alone.stop()
  })
})

const FOREIGN = [
  ['a page of another name', { origin: 'http://evil.test' }],
  ['a page of another port', { origin: 'http://127.0.0.1:1', 'sec-fetch-site': 'same-site' }],
  ['a page of another loopback name', { origin: 'http://evil.localhost' }],
  ['a page without an origin', { origin: 'null' }],
  ['a page that writes nonsense', { origin: 'x' }],
  ['an image, a script or a frame', { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors' }],
  ['an image of another port', { 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'no-cors' }],
  ['a browser to come', { 'sec-fetch-site': 'elsewhere' }],
] as const

describe.each(FOREIGN)('%s', (_, from) => {
  it('gets nothing of the API and changes nothing', async () => {
    const multipart = `--b\r\ncontent-disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n${photo.toString('latin1')}\r\n--b--\r\n`
    for (const [method, path, headers, body] of [
      ['GET', '/images', {}, ''],
      ['GET', '/', {}, ''],
      ['GET', '/health', {}, ''],
      ['HEAD', `/images/${imageId}`, {}, ''],
      ['GET', `/images/${imageId}/thumbnail`, {}, ''],
      ['POST', '/images', { 'content-type': 'text/plain' }, photo],
      [
        'POST',
        '/images',
        { 'content-type': 'multipart/form-data; boundary=b' },
        Buffer.from(multipart, 'latin1'),
      ],
      ['POST', '/uploads', { 'content-type': 'application/json' }, '{"contentType":"image/png","bytes":9}'],
      ['DELETE', `/images/${imageId}`, {}, ''],
      ['OPTIONS', '/images', { 'access-control-request-method': 'DELETE' }, ''],
    ] as const) {
      const answer = await send(system.url, method, path, { ...headers, ...from, host: '127.0.0.1' }, body)
      expect([method, path, answer.status]).toEqual([method, path, 403])
      expect(Object.keys(answer.headers).filter((name) => name.startsWith('access-control'))).toEqual([])
      if (method !== 'HEAD') expect(JSON.parse(answer.body).code).toBe('CROSS_ORIGIN_REQUEST')
    }
    await expectNothingChanged()
  })

  it('gets nothing of the embedded AWS and changes nothing, whatever it signs', async () => {
    const asked = operation('dynamodb', 'DynamoDB_20120810.Scan')
    for (const [method, path, headers, body] of [
      ['GET', '/', signed('s3'), ''],
      ['GET', `/${BUCKET}`, signed('s3'), ''],
      ['GET', presigned(`/${BUCKET}?list-type=2`), {}, ''],
      ['GET', presigned(`${original()}?response-content-type=text/html`), {}, ''],
      ['GET', `${original()}?AWSAccessKeyId=x&Signature=x&Expires=99999999999`, {}, ''],
      ['PUT', presigned(`${original()}?`), {}, 'ruined'],
      ['DELETE', presigned(`${original()}?`), {}, ''],
      ['POST', `/${BUCKET}?delete`, { 'content-type': 'text/plain' }, doomed()],
      ['POST', presigned(`/${BUCKET}?delete`), { 'content-type': 'text/plain' }, doomed()],
      ['POST', `/${BUCKET}?delete`, { ...signed('s3'), 'content-type': 'text/plain' }, doomed()],
      ['PUT', `/${BUCKET}?cors`, signed('s3'), '<CORSConfiguration></CORSConfiguration>'],
      ['GET', '/_fauxqs/queues', signed('s3'), ''],
      ['OPTIONS', '/', { 'access-control-request-method': 'POST' }, ''],
      ['OPTIONS', '/', { ...asked, 'access-control-request-method': 'POST' }, ''],
      ['OPTIONS', original(), { 'access-control-request-method': 'DELETE' }, ''],
    ] as const) {
      const answer = await send(
        system.awsEndpoint,
        method,
        path,
        { ...headers, ...from, host: '127.0.0.1' },
        body,
      )
      expect([400, 403], `${method} ${path}`).toContain(answer.status)
      expect(Object.keys(answer.headers).filter((name) => name.startsWith('access-control'))).toEqual([])
    }
    for (const [service, target, input, type] of OPERATIONS) {
      const headers = { ...operation(service, target, type), ...from, host: '127.0.0.1' }
      const answer = await send(system.awsEndpoint, 'POST', '/', headers, JSON.stringify(input))
      expect([answer.status, JSON.parse(answer.body).__type]).toEqual([403, 'AccessDeniedException'])
      expect(Object.keys(answer.headers).filter((name) => name.startsWith('access-control'))).toEqual([])
    }
    await expectNothingChanged()
  })
})

describe('the API', () => {
  const visit = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' }

  it('is reached by a link from any page, which then shows it in a tab of its own', async () => {
    for (const path of ['/', '/docs', `/images/${imageId}`]) {
      expect((await send(system.url, 'GET', path, visit)).status).toBe(200)
    }
  })

  it.each([
    ['a frame', 'GET', { ...visit, 'sec-fetch-dest': 'iframe' }],
    ['an embedded object', 'GET', { ...visit, 'sec-fetch-dest': 'object' }],
    ['a script', 'GET', { ...visit, 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'script' }],
    ['a form that is sent', 'POST', { ...visit, 'content-type': 'text/plain' }],
  ])('is no part of another page as %s', async (_, method, headers) => {
    expect((await send(system.url, method, '/images', headers, method === 'POST' ? photo : '')).status).toBe(
      403,
    )
    await expectNothingChanged()
  })

  it('is for its own page, by each of its names', async () => {
    const { port } = new URL(system.url)
    for (const host of [`127.0.0.1:${port}`, `localhost:${port}`, 'photos.test', `[::1]:${port}`]) {
      for (const headers of [
        { origin: `http://${host}`, 'sec-fetch-site': 'same-origin' },
        { 'sec-fetch-site': 'same-origin' },
        { 'sec-fetch-site': 'none' },
        {},
      ]) {
        expect((await send(system.url, 'GET', '/images', { ...headers, host })).status).toBe(200)
      }
    }
    // As behind a proxy that ends TLS.
    const https = { host: 'photos.test', origin: 'https://photos.test' }
    expect((await send(system.url, 'GET', '/images', https)).status).toBe(200)
  })

  it('is for pages of CORS_ORIGINS, which may ask before and read the answer', async () => {
    const from = { origin: FRIEND, 'sec-fetch-site': 'cross-site' }
    const asked = await send(system.url, 'OPTIONS', '/images', {
      ...from,
      'access-control-request-method': 'POST',
    })
    const got = await send(system.url, 'GET', '/images', from)
    expect([asked.status, got.status]).toEqual([204, 200])
    expect(got.headers['access-control-allow-origin']).toBe(FRIEND)
    // Not without the header that says whose it is.
    const image = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors' }
    expect((await send(system.url, 'GET', `/images/${imageId}/thumbnail`, image)).status).toBe(403)
  })
})

describe('the embedded AWS', () => {
  it('takes operations by POST to / only, in a content type that no page sends unasked, and signed', async () => {
    const ask = (method: string, path: string, headers: Record<string, string>, input: object) =>
      send(system.awsEndpoint, method, path, { ...headers, host: '127.0.0.1' }, JSON.stringify(input))
    for (const [service, target, input, type] of OPERATIONS) {
      const headers = operation(service, target, type)
      for (const [method, path, more, status] of [
        ['POST', '/x', {}, 404],
        ['POST', `/${BUCKET}`, {}, 404],
        ['PUT', '/', {}, 404],
        ['POST', '/', { 'content-type': 'text/plain' }, 404],
        ['POST', '/', { 'content-type': 'application/x-www-form-urlencoded' }, 404],
        ['POST', '/', { 'content-type': `text/plain; ${type}` }, 404],
        ['POST', '/', { authorization: '' }, 403],
        ['POST', '/', { authorization: 'Basic eDp4' }, 403],
        ['POST', presigned('/?'), { authorization: '' }, 403],
      ] as const) {
        const answer = await ask(method, path, { ...headers, ...more }, input)
        expect([target, method, path, answer.status]).toEqual([target, method, path, status])
      }
    }
    const unknown = await ask('POST', '/', operation('kms', 'TrentService.ListKeys', JSON_1_1), {})
    expect([unknown.status, JSON.parse(unknown.body).__type]).toEqual([404, 'UnknownOperationException'])
    await expectNothingChanged()
  })

  it.each([
    ['GET', '/', {}],
    ['GET', `/${BUCKET}?list-type=2`, {}],
    ['PUT', '/new-bucket', {}],
    ['PUT', `/${BUCKET}/key`, { 'content-type': 'image/png' }],
    ['POST', `/${BUCKET}?delete`, { 'content-type': 'text/plain' }],
    ['POST', `/${BUCKET}/key?uploads`, {}],
    ['POST', '/', { 'content-type': 'application/x-www-form-urlencoded' }],
    ['POST', '/', { 'content-type': 'application/x-amz-json-1.0' }],
    ['POST', '/', { 'content-type': 'multipart/form-data; boundary=b' }],
    ['GET', '/_fauxqs/queues', {}],
    ['DELETE', '/', { authorization: 'Basic eDp4' }],
  ] as [string, string, Record<string, string>][])(
    'refuses %s %s unsigned',
    async (method, path, headers) => {
      const body = ['GET', 'DELETE'].includes(method) ? '' : 'Action=CreateTopic&Name=evil'
      const { status, body: answer } = await send(system.awsEndpoint, method, path, headers, body)
      expect([status, answer]).toEqual([403, expect.stringMatching(/<Code>AccessDenied<.*any credentials/s)])
      await expectNothingChanged()
    },
  )

  it('lets programs in with any credentials', async () => {
    const credentials = { accessKeyId: 'x', secretAccessKey: 'x' }
    const other = new S3Client(s3Options({ ...system.target, credentials }))
    const url = await getSignedUrl(
      other,
      new GetObjectCommand({ Bucket: BUCKET, Key: `originals/${imageId}` }),
    )
    expect((await send(system.awsEndpoint, 'GET', url.slice(system.awsEndpoint.length))).status).toBe(200)
    expect((await other.send(new ListObjectsV2Command({ Bucket: BUCKET }))).KeyCount).toBe(3)
    other.destroy()
  })
})

describe('a presigned URL', () => {
  const inPage = { 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'image' }
  const get = (url: string, headers: Record<string, string> = inPage) =>
    send(system.awsEndpoint, 'GET', url.slice(system.awsEndpoint.length), headers)

  it('that the API gives out is shown in its page', async () => {
    for (const what of ['thumbnail', 'preview', 'original']) {
      const { headers } = await send(system.url, 'GET', `/images/${imageId}/${what}`)
      const shown = await get(headers.location ?? '')
      expect([shown.status, shown.headers['content-type']]).toEqual([200, 'image/jpeg'])
    }
  })

  it.each<[string, (url: URL) => void, string, status?: number]>([
    [
      'another header in the answer',
      (url) => url.searchParams.append('response-content-type', 'text/html'),
      'SignatureDoesNotMatch',
    ],
    [
      'another type',
      (url) => url.searchParams.set('response-content-type', 'text/html'),
      'SignatureDoesNotMatch',
    ],
    [
      'another key',
      (url) => {
        url.pathname = `/${BUCKET}/thumbnails/${imageId}.jpg`
      },
      'SignatureDoesNotMatch',
    ],
    ['a longer life', (url) => url.searchParams.set('X-Amz-Expires', '604800'), 'SignatureDoesNotMatch'],
    ['no end', (url) => url.searchParams.delete('X-Amz-Expires'), 'AuthorizationQueryParametersError', 400],
    [
      'another signature',
      (url) => url.searchParams.set('X-Amz-Signature', '0'.repeat(64)),
      'SignatureDoesNotMatch',
    ],
    ['half a signature', (url) => url.searchParams.set('X-Amz-Signature', 'ü'), 'SignatureDoesNotMatch'],
    ['no signature', (url) => url.searchParams.delete('X-Amz-Signature'), 'AccessDenied'],
    [
      'another signer',
      (url) => url.searchParams.set('X-Amz-Credential', 'x/20260101/us-east-1/s3/aws4_request'),
      'InvalidAccessKeyId',
    ],
  ])('with %s is refused', async (_, change, code, expected = 403) => {
    const { headers } = await send(system.url, 'GET', `/images/${imageId}/original`)
    const url = new URL(headers.location ?? '')
    change(url)
    const { status, body } = await get(url.href)
    expect([status, /<Code>(\w+)</.exec(body)?.[1]]).toEqual([expected, code])
  })

  it('is no better for another method, nor for a page that reads what S3 has no rule for', async () => {
    const { headers } = await send(system.url, 'GET', `/images/${imageId}/original`)
    const path = (headers.location ?? '').slice(system.awsEndpoint.length)
    expect((await send(system.awsEndpoint, 'DELETE', path, inPage)).status).toBe(403)
    expect((await send(system.awsEndpoint, 'GET', path, { origin: system.url })).status).toBe(403)
    await expectNothingChanged()
  })

  it('is not made by a page that guesses the secret', async () => {
    for (const [accessKeyId, secretAccessKey] of [
      ['test', 'test'],
      ['image-analyzer', 'test'],
      ['image-analyzer', ''],
    ] as const) {
      const guess = new S3Client(
        s3Options({ ...system.target, credentials: { accessKeyId, secretAccessKey } }),
      )
      const url = await getSignedUrl(
        guess,
        new GetObjectCommand({ Bucket: BUCKET, Key: `originals/${imageId}` }),
      )
      expect((await get(url)).status).toBe(403)
      guess.destroy()
    }
  })

  it('is good after a restart, and its secret is for its owner alone', async () => {
    const DATA_DIR = mkdtempSync(join(tmpdir(), 'image-analyzer-ports-'))
    const restart = () =>
      startSystem(
        { REKOGNITION: 'stand-in', PORT: '0', AWS_PORT: new URL(kept.awsEndpoint).port, DATA_DIR },
        SILENT,
      )
    let kept = await startSystem({ REKOGNITION: 'stand-in', PORT: '0', AWS_PORT: '0', DATA_DIR }, SILENT)
    const upload = { contentType: 'image/jpeg', bytes: photo.length }
    const asked = await send(
      kept.url,
      'POST',
      '/uploads',
      { 'content-type': 'application/json' },
      JSON.stringify(upload),
    )
    const { url, fields } = JSON.parse(asked.body).upload
    await kept.stop()
    kept = await restart()
    expect(await post(url, fields, { origin: kept.url })).toMatchObject({ status: 204 })
    expect(statSync(join(DATA_DIR, 'secret')).mode & 0o077).toBe(0)
    const client = new S3Client(s3Options(kept.target))
    // Only this run's page, though the earlier one had another port.
    expect((await client.send(new GetBucketCorsCommand({ Bucket: BUCKET }))).CORSRules).toEqual([
      {
        ...{ AllowedMethods: ['POST'], MaxAgeSeconds: 3_600 },
        AllowedOrigins: [kept.url, kept.url.replace('127.0.0.1', 'localhost')],
      },
    ])
    client.destroy()
    await kept.stop()
    rmSync(DATA_DIR, { recursive: true })
  })
})

/** All that a page can send without being let, and the answers that it gets to see. */
interface Targets {
  api: string
  aws: string
  bucket: string
  imageId: string
  junk: string
}
async function attack({ api, aws, bucket, imageId, junk }: Targets): Promise<Record<string, unknown>> {
  const seen: Record<string, unknown> = {}
  const attempt = async (what: string, look: () => Promise<unknown>) => {
    seen[what] = await look().catch(() => 'refused')
  }
  const read = async (url: string, init: RequestInit = {}) => {
    const response = await fetch(url, init)
    return response.type === 'opaque' ? 'opaque' : `${response.status} ${await response.text()}`
  }
  const loads = (tag: 'img' | 'script', src: string) =>
    new Promise((resolve) => {
      const element = Object.assign(document.createElement(tag), { src })
      element.onload = () => resolve('loaded')
      element.onerror = () => resolve('refused')
      document.body.append(element)
    })
  const object = `${aws}/${bucket}/originals/${imageId}`
  const doomed = `<Delete><Object><Key>originals/${imageId}</Key></Object></Delete>`
  const photo = new Blob(['GIF89a'], { type: 'image/gif' })
  const form = new FormData()
  form.append('image', photo, 'a.gif')
  const json = { 'content-type': 'application/x-amz-json-1.0', 'x-amz-target': 'DynamoDB_20120810.Scan' }
  const text = { 'content-type': 'text/plain' }
  const mode = 'no-cors'
  await attempt('read the list', () => read(`${api}/images`))
  await attempt('read a record', () => read(`${api}/images/${imageId}`))
  await attempt('read the page', () => read(`${api}/`))
  await attempt('delete an image', () => read(`${api}/images/${imageId}`, { method: 'DELETE' }))
  await attempt('post bytes', () =>
    read(`${api}/images`, { method: 'POST', mode, body: photo, headers: text }),
  )
  await attempt('post a form', () => read(`${api}/images`, { method: 'POST', mode, body: form }))
  await attempt('ask for a form', () =>
    read(`${api}/uploads`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' }),
  )
  navigator.sendBeacon(`${api}/images`, photo)
  navigator.sendBeacon(`${aws}/${bucket}?delete`, doomed)
  await attempt('show a thumbnail', () => loads('img', `${api}/images/${imageId}/thumbnail`))
  await attempt('show an original', () => loads('img', `${object}?${junk}`))
  await attempt('run the list', () => loads('script', `${api}/images`))
  await attempt('read the bucket', () => read(`${aws}/${bucket}?list-type=2&${junk}`))
  await attempt('read an object', () => read(`${object}?${junk}`))
  await attempt('change an object', () => read(`${object}?${junk}`, { method: 'PUT', body: 'ruined' }))
  await attempt('delete by text', () =>
    read(`${aws}/${bucket}?delete`, { method: 'POST', mode, body: doomed, headers: text }),
  )
  await attempt('delete by a signed text', () =>
    read(`${aws}/${bucket}?delete&${junk}`, { method: 'POST', mode, body: doomed, headers: text }),
  )
  await attempt('make a topic', () =>
    read(`${aws}/`, {
      method: 'POST',
      mode,
      body: new URLSearchParams({ Action: 'CreateTopic', Name: 'evil' }),
    }),
  )
  await attempt('read the table', () =>
    read(`${aws}/`, { method: 'POST', body: `{"TableName":"${bucket}"}`, headers: json }),
  )
  await attempt('send as text', () => read(`${aws}/`, { method: 'POST', mode, body: '{}', headers: text }))
  for (const [name, enctype, action] of [
    ['text', 'text/plain', `${api}/images`],
    ['multipart', 'multipart/form-data', `${api}/images`],
    ['delete', 'text/plain', `${aws}/${bucket}?delete`],
  ] as const) {
    const frame = Object.assign(document.createElement('iframe'), { name })
    const sent = Object.assign(document.createElement('form'), {
      action,
      enctype,
      method: 'post',
      target: name,
    })
    sent.innerHTML = '<input name="<Delete><!--" value="--></Delete>"><input type="file" name="image">'
    document.body.append(frame, sent)
    const done = new Promise((resolve) => {
      frame.onload = resolve
    })
    sent.submit()
    await done
    await attempt(
      `see the answer to a form of ${enctype} at ${action}`,
      async () => frame.contentWindow?.document.title,
    )
  }
  await attempt('frame the page', async () => {
    const frame = Object.assign(document.createElement('iframe'), { src: `${api}/` })
    const done = new Promise((resolve) => {
      frame.onload = resolve
    })
    document.body.append(frame)
    await done
    return frame.contentWindow?.document.title
  })
  return seen
}

describe.skipIf(CHROMIUM === undefined)(`a page in a browser${skippedWithoutBrowser}`, () => {
  let browser: Browser
  /** One for all: each is a process of the browser. */
  let page: Page
  let evil: Server
  let port: number
  beforeAll(async () => {
    browser = await startBrowser(
      '--host-resolver-rules=MAP *.test 127.0.0.1',
      // Newer ones ask a person first; it is what comes here without them that counts.
      '--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests',
    )
    page = await browser.newPage()
    evil = createServer((_request, response) => {
      response.setHeader('content-type', 'text/html')
      response.end(`<!doctype html><title>evil</title><a href="${system.url}/">to the page</a>`)
    })
    port = await listen(evil, 0)
  })
  afterAll(async () => {
    await browser?.close()
    evil?.closeAllConnections()
    evil?.close()
  })
  const targets = (host: string): Targets => ({
    api: system.url.replace('127.0.0.1', host),
    aws: system.awsEndpoint.replace('127.0.0.1', host),
    ...{ bucket: BUCKET, imageId, junk: String(new URLSearchParams(JUNK)) },
  })

  it.each([
    ['another site', () => `http://evil.test:${port}/`, '127.0.0.1'],
    ['another site, which says localhost', () => `http://evil.test:${port}/`, 'localhost'],
    ['another port', () => `http://127.0.0.1:${port}/`, '127.0.0.1'],
    ['another name of loopback', () => `http://evil.localhost:${port}/`, '127.0.0.1'],
    // It was the attacker's machine until a moment ago, and now its name means this one.
    [
      'a name that is made to mean this machine, at the port of the API',
      () => system.url.replace('127.0.0.1', 'evil.test'),
      'evil.test',
    ],
    [
      'a name that is made to mean this machine, at the port of AWS',
      () => system.awsEndpoint.replace('127.0.0.1', 'evil.test'),
      'evil.test',
    ],
  ])('of %s can do nothing here, and see nothing', async (_, address, host) => {
    const home = `${new URL(address()).origin}/evil`
    await page.route(home, (route) =>
      route.fulfill({ contentType: 'text/html', body: '<!doctype html><title>evil</title><body>' }),
    )
    const answers: [string, number][] = []
    page.on('response', (response) => {
      if (response.url() !== home)
        answers.push([`${response.request().method()} ${response.url()}`, response.status()])
    })
    await page.goto(home)
    const seen = await page.evaluate(attack, targets(host))
    // Of a no-cors request a page sees nothing, and of its own origin a refusal: as text, or as a document without a title.
    for (const [what, answer] of Object.entries(seen)) {
      expect(`${what}: ${answer}`).toMatch(/: (refused|opaque|undefined||(403|421) .*)$/s)
    }
    // The browser shows those that the page may not see only in part.
    expect(answers.length).toBeGreaterThan(5)
    for (const [request, status] of answers) expect([403, 421], request).toContain(status)
    await page.unrouteAll({ behavior: 'wait' })
    await page.removeAllListeners(undefined, { behavior: 'wait' })
    await expectNothingChanged()
  })

  it('of another site may have a link to the page, which then works as ever', async () => {
    await page.goto(`http://evil.test:${port}/`)
    await page.getByText('to the page').click()
    await page.waitForFunction(
      () => document.querySelector<HTMLImageElement>('.card img')?.naturalWidth === 128,
    )
    expect(new URL(page.url()).origin).toBe(system.url)
  })

  it('is the page itself by any of its names: it shows photos, and posts large ones to the bucket', async () => {
    for (const host of ['127.0.0.1', 'localhost', 'photos.test']) {
      await page.goto(system.url.replace('127.0.0.1', host))
      await page.waitForFunction(
        () => document.querySelector<HTMLImageElement>('.card img')?.naturalWidth === 128,
      )
      const uploaded = await page.evaluate(
        async (bytes) => {
          const image = new Blob([new Uint8Array(bytes)], { type: 'image/jpeg' })
          const asked = await fetch('/uploads', {
            method: 'POST',
            headers: { 'content-type': 'application/json' },
            body: JSON.stringify({ contentType: image.type, bytes: image.size }),
          })
          const { imageId, upload } = await asked.json()
          const form = new FormData()
          for (const name of Object.keys(upload.fields)) form.append(name, upload.fields[name])
          form.append('file', image)
          const { status } = await fetch(upload.url, { method: 'POST', body: form })
          return { imageId, status }
        },
        [...photo],
      )
      expect(uploaded.status).toBe(204)
      const { body } = await send(system.url, 'GET', `/images/${uploaded.imageId}?wait=20`)
      expect(JSON.parse(body)).toMatchObject({ status: 'completed' })
    }
  })
})

/** A form as a page posts it to the bucket. */
async function post(
  url: string,
  fields: Record<string, string>,
  headers: Record<string, string>,
): Promise<Answer> {
  const form = new FormData()
  for (const [name, value] of Object.entries(fields)) form.append(name, value)
  form.append('file', new Blob([new Uint8Array(photo)], { type: 'image/jpeg' }))
  const request = new Request(url, { method: 'POST', body: form })
  const { origin, pathname } = new URL(url)
  const type = request.headers.get('content-type') ?? ''
  return send(
    origin,
    'POST',
    pathname,
    { 'content-type': type, ...headers },
    Buffer.from(await request.arrayBuffer()),
  )
}

describe('a form for an upload', () => {
  let url: string
  let fields: Record<string, string>
  beforeAll(async () => {
    await rest()
    const upload = JSON.stringify({ contentType: 'image/jpeg', bytes: photo.length })
    const asked = await send(system.url, 'POST', '/uploads', { 'content-type': 'application/json' }, upload)
    ;({ url, fields } = JSON.parse(asked.body).upload)
    before = await everything()
  })

  it.each(FOREIGN)('is not taken from %s', async (_, from) => {
    // Without an origin no rule of the bucket says no; but browsers send one with every form.
    const headers = { origin: 'http://evil.test', ...from }
    const { status, body, headers: answered } = await post(url, fields, headers)
    expect([status, body]).toEqual([403, expect.stringContaining('<Code>AccessForbidden</Code>')])
    expect(answered).not.toHaveProperty('access-control-allow-origin')
    await expectNothingChanged()
  })

  it('is taken from the page only if the API signed it', async () => {
    const credentials = { accessKeyId: 'test', secretAccessKey: 'test' }
    const guess = new S3Client(s3Options({ ...system.target, credentials }))
    const made = await createPresignedPost(guess, { Bucket: BUCKET, Key: `originals/${imageId}` })
    guess.destroy()
    const evil = await post(made.url, made.fields, { origin: system.url })
    expect([evil.status, evil.body]).toEqual([
      403,
      expect.stringContaining('<Code>InvalidAccessKeyId</Code>'),
    ])
    const changed = await post(url, { ...fields, 'X-Amz-Signature': '0'.repeat(64) }, { origin: system.url })
    expect([changed.status, changed.body]).toEqual([403, expect.stringContaining('SignatureDoesNotMatch')])
    await expectNothingChanged()
  })

  it('is taken from the page by each of its names, and from pages of CORS_ORIGINS', async () => {
    const { port } = new URL(system.url)
    for (const origin of [system.url, `http://localhost:${port}`, `http://photos.test:${port}`, FRIEND]) {
      const asked = await send(system.awsEndpoint, 'OPTIONS', `/${BUCKET}`, {
        ...{ origin, 'access-control-request-method': 'POST' },
      })
      const { status, headers } = await post(url, fields, { origin, 'sec-fetch-site': 'same-site' })
      expect([asked.status, status, headers['access-control-allow-origin']]).toEqual([200, 204, origin])
    }
  })

  it('is taken from a program as before, by anybody who signs it', async () => {
    const credentials = { accessKeyId: 'x', secretAccessKey: 'x' }
    const other = new S3Client(s3Options({ ...system.target, credentials }))
    const made = await createPresignedPost(other, { Bucket: BUCKET, Key: 'kept/here' })
    other.destroy()
    expect((await post(made.url, made.fields, {})).status).toBe(204)
  })
})

it('a bucket that is open to all pages is still closed to those without a presigned URL', async () => {
  const CORSRules = [
    { AllowedOrigins: ['*'], AllowedMethods: ['GET', 'PUT', 'DELETE'], AllowedHeaders: ['*'] },
  ]
  await s3.send(new PutBucketCorsCommand({ Bucket: BUCKET, CORSConfiguration: { CORSRules } }))
  const from = { ...signed('s3'), origin: 'http://evil.test' }
  for (const [method, path] of [
    ['GET', `/${BUCKET}`],
    ['GET', presigned(`${original()}?`)],
    ['PUT', presigned(`${original()}?`)],
    ['DELETE', original()],
  ] as const) {
    expect((await send(system.awsEndpoint, method, path, from)).status).toBe(403)
  }
  const url = await getSignedUrl(s3, new GetObjectCommand({ Bucket: BUCKET, Key: `originals/${imageId}` }))
  expect(
    (await send(system.awsEndpoint, 'GET', url.slice(system.awsEndpoint.length), { origin: FRIEND })).status,
  ).toBe(200)
})

it('messages that come by SQS still come', async () => {
  const MessageBody = JSON.stringify({ version: '1', imageId, epoch: 1 })
  expect(
    await sqs.send(new SendMessageCommand({ QueueUrl: system.jobQueueUrl, MessageBody })),
  ).toHaveProperty('MessageId')
})

const noProc = existsSync('/proc/self/net/tcp') ? [] : ['/proc']
it.skipIf(noProc.length > 0)(
  `npm start listens on loopback, at its two ports and nowhere else${skipped(noProc)}`,
  async () => {
    const started = await start()
    const ports = [started.url, started.aws].map((url) => new URL(url).port)
    expect(listening(started.process.pid ?? 0)).toEqual(ports.sort().map((port) => `127.0.0.1:${port}`))
  },
)

/** The addresses at which a process listens, as in proc_net_tcp(5) and proc_pid_fd(5). */
function listening(pid: number): string[] {
  const sockets = new Set(
    readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1] ?? []
      } catch {
        return []
      }
    }),
  )
  const LISTEN = '0A'
  return ['tcp', 'tcp6']
    .flatMap((table) => readFileSync(`/proc/${pid}/net/${table}`, 'utf8').trim().split('\n').slice(1))
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , , state, , , , , , inode]) => state === LISTEN && sockets.has(inode ?? ''))
    .map(([, address = '']) => {
      const [ip = '', port = ''] = address.split(':')
      const bytes = ip.match(/../g)?.map((byte) => Number.parseInt(byte, 16)) ?? []
      return `${ip.length === 8 ? bytes.reverse().join('.') : ip}:${Number.parseInt(port, 16)}`
    })
    .sort()
}
