import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { HeadObjectCommand, NotFound } from '@aws-sdk/client-s3'
import { DeleteMessageBatchCommand } from '@aws-sdk/client-sqs'
import { DeleteCommand, PutCommand } from '@aws-sdk/lib-dynamodb'
import type { SQSBatchResponse, SQSEvent } from 'aws-lambda'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { FunctionName } from '../../build/bundle.ts'
import { balancerEvent, httpEvent, restEvent } from '../../build/events.ts'
import { listen } from '../../packages/embedded-aws/gateway/index.ts'
import { blankPosition } from '../../packages/image-guard/index.ts'
import { startTestSystem, type TestSystem } from '../context.ts'
import { exifBlock, FULL, withExif } from '../pictures/exif-blocks.ts'
import { distinct, formats, quarters } from '../pictures/pictures.ts'
import { sendForm } from '../tools.ts'
import { until } from '../until.ts'
import { GATEWAYS } from './gateways.ts'

const photo = readFileSync(new URL('../fixtures/grace-hopper.jpg', import.meta.url))

/** A function as Lambda has it: configured by its environment alone, and called with events. */
export type Handler = (event: unknown) => Promise<unknown>
export type Load = (
  name: Exclude<FunctionName, 'subscriber'>,
  environment: Record<string, string>,
) => Promise<Handler>

interface Answer {
  statusCode: number
  headers?: Record<string, string>
  /** In place of `headers` for payload 1.0. */
  multiValueHeaders?: Record<string, string[]>
  body: string
  isBase64Encoded: boolean
}
const header = (answer: Answer, name: string) =>
  answer.headers?.[name] ?? answer.multiValueHeaders?.[name]?.[0]
const codeOf = ({ statusCode, body }: Answer) => [statusCode, JSON.parse(body).code]

/** A form with the picture, as a client makes it, and its type with the boundary. */
async function form(picture: Uint8Array<ArrayBuffer>): Promise<{ type: string; body: Buffer }> {
  const fields = new FormData()
  fields.append('image', new Blob([picture]), 'a picture.png')
  const request = new Request('http://localhost', { method: 'POST', body: fields })
  return {
    type: request.headers.get('content-type') ?? '',
    body: Buffer.from(await request.arrayBuffer()),
  }
}

/** What a gateway makes of a body that it takes for text: each byte that is no UTF-8 becomes U+FFFD. */
const asText = (body: Uint8Array): string => Buffer.from(body).toString('utf8')

/** What holds of each function, whether it runs from its source or from its zip. */
export function lambdaCases(load: Load): void {
  let system: TestSystem
  let environment: Record<string, string>
  let api: Handler
  let worker: Handler
  let sweeper: Handler
  let picture: Buffer<ArrayBuffer>
  beforeAll(async () => {
    system = await startTestSystem()
    environment = {
      AWS_ENDPOINT_URL: system.endpoint,
      AWS_ENDPOINT_URL_REKOGNITION: system.rekognitionEndpoint,
      AWS_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: 'test',
      AWS_SECRET_ACCESS_KEY: 'test',
      IMAGE_BUCKET: system.names.bucket,
      IMAGE_TABLE: system.names.table,
      JOB_QUEUE_URL: system.worker.jobQueueUrl,
      EVENT_BUS_NAME: system.names.eventBus,
      SWEEP_AFTER_SECONDS: '2',
      MAX_ATTEMPTS: '10',
      GIVE_UP_DAYS: '14',
      REKOGNITION_TPS: '50',
      AUTH: 'none',
      POWERTOOLS_LOG_LEVEL: 'SILENT',
    }
    api = await load('api', environment)
    worker = await load('worker', environment)
    sweeper = await load('sweeper', environment)
    picture = Buffer.from(await distinct(1))
  })
  afterAll(() => system?.stop())

  const call = async (event: object, handler = api) => (await handler(event)) as Answer
  const submit = async (body = picture): Promise<string> => {
    const accepted = await call(restEvent('POST', '/images', 'image/png', body))
    expect(accepted.statusCode, accepted.body).toBe(202)
    return JSON.parse(accepted.body).imageId
  }
  /** Hands a batch to the worker, takes it from the queue, and says which messages the worker has failed on. */
  const deliver = async (batch: SQSEvent, by = worker): Promise<string[]> => {
    const { batchItemFailures } = (await by(batch)) as SQSBatchResponse
    await system.worker.sqs.send(
      new DeleteMessageBatchCommand({
        QueueUrl: system.worker.jobQueueUrl,
        Entries: [...new Set(batch.Records.map(({ receiptHandle }) => receiptHandle))].map(
          (ReceiptHandle, index) => ({ Id: String(index), ReceiptHandle }),
        ),
      }),
    )
    return batchItemFailures.map(({ itemIdentifier }) => itemIdentifier).sort()
  }
  /** Has the worker do what is in the queue. */
  const drain = async (): Promise<void> => {
    for (;;) {
      const batch = await system.receiveJobs()
      if (batch.Records.length === 0) return
      expect(await deliver(batch)).toEqual([])
    }
  }

  describe('the API function', () => {
    describe.each(GATEWAYS)('behind $name', ({ prefix, event }) => {
      it('answers with its pages and its description', async () => {
        for (const [path, type, content] of [
          ['/', 'text/html', /<style[\s\S]+<script[\s\S]+<\/html>/],
          ['/docs', 'text/html', /<style[\s\S]+<script[\s\S]+<\/html>/],
          ['/openapi.json', 'application/json', /^{"openapi":"3\.1/],
          ['/health', 'application/json', /"ok"/],
        ] as const) {
          const answer = await call(event('GET', path))
          expect(answer.statusCode, path).toBe(200)
          expect(header(answer, 'content-type'), path).toContain(type)
          expect(answer.body, path).toMatch(content)
        }
        expect((await call(event('GET', '/nothing'))).statusCode).toBe(404)
        expect((await call(event('GET', '/health', 'image/png', picture))).statusCode).toBe(200)
      })

      it('takes an image in every kind of body, and says where it is', async () => {
        const json = (image: string) => JSON.stringify({ image })
        const base64 = picture.toString('base64')
        const { type, body } = await form(picture)
        const bodies: [type: string, body: Buffer | string][] = [
          ['image/png', picture],
          ['application/octet-stream', picture],
          [type, body],
          // What curl calls a file, where the gateway passes that on as binary (infrastructure/modules/image-analyzer/api.tf).
          ['application/x-www-form-urlencoded', picture],
          ['application/json', `\ufeff${json(base64)}`],
          ['application/json', Buffer.from(json(base64))],
          ['application/json', json(`data:image/png;base64,${base64}`)],
        ]
        for (const [sent, content] of bodies) {
          const accepted = await call(event('POST', '/images', sent, content))
          expect(accepted.statusCode, `${sent}: ${accepted.body}`).toBe(202)
          const { imageId } = JSON.parse(accepted.body)
          const location = new URL(header(accepted, 'location') ?? '', `https://host${prefix}/images`)
          expect(location.pathname).toBe(`${prefix}/images/${imageId}`)
          const record = await call(event('GET', location.pathname.slice(prefix.length)))
          expect(JSON.parse(record.body).original).toMatchObject({ bytes: picture.length })
        }
      })

      it('says which methods a path takes', async () => {
        for (const [path, allow] of [
          ['/', 'GET, HEAD'],
          ['/images', 'GET, HEAD, POST'],
          ['/uploads', 'POST'],
        ] as const) {
          const put = await call(event('PUT', path, 'image/png', picture))
          expect(codeOf(put), path).toEqual([405, 'METHOD_NOT_ALLOWED'])
          expect(header(put, 'allow'), path).toBe(allow)
          const options = await call(event('OPTIONS', path))
          expect([options.statusCode, header(options, 'allow')], path).toEqual([204, allow])
        }
        for (const method of ['TRACE', 'CONNECT', 'TRACK', 'BREW']) {
          const answer = await call(event(method, '/images'))
          expect(codeOf(answer), method).toEqual([405, 'METHOD_NOT_ALLOWED'])
          expect(header(answer, 'allow'), method).toBe('GET, HEAD, POST')
          expect(codeOf(await call(event(method, '/nothing'))), method).toEqual([404, 'NOT_FOUND'])
        }
        const head = await call(event('HEAD', '/health'))
        expect([head.statusCode, header(head, 'content-type'), head.body]).toEqual([
          200,
          'application/json',
          '',
        ])
      })

      it('names a request as the gateway does', async () => {
        const asked = event('GET', '/nowhere') as ReturnType<typeof restEvent>
        const { requestId } = asked.requestContext
        const answer = await call(asked)
        expect(header(answer, 'x-request-id')).toBe(requestId)
        expect(JSON.parse(answer.body).instance.endsWith(`:${requestId}`)).toBe(true)
      })

      it('says where the image is, also to a request with a slash at its end', async () => {
        const accepted = await call(event('POST', '/images/', 'image/png', picture))
        expect(accepted.statusCode, accepted.body).toBe(202)
        const location = new URL(header(accepted, 'location') ?? '', `https://host${prefix}/images/`)
        expect(location.pathname).toBe(`${prefix}/images/${JSON.parse(accepted.body).imageId}`)
      })

      it('takes what a gateway has decoded in a path for a part of the path', async () => {
        const accepted = await call(event('POST', '/images', 'image/png', picture))
        const image = `/images/${JSON.parse(accepted.body).imageId}`
        for (const end of ['?wait=0', '#', ' ', '\n', '\0', '\\']) {
          const name = JSON.stringify(end)
          expect(codeOf(await call(event('GET', image + end))), name).toEqual([404, 'IMAGE_NOT_FOUND'])
          expect(codeOf(await call(event('DELETE', image + end))), name).toEqual([404, 'IMAGE_NOT_FOUND'])
          expect(codeOf(await call(event('GET', `/nothing${end}`))), name).toEqual([404, 'NOT_FOUND'])
        }
        expect((await call(event('GET', image))).statusCode).toBe(200)
      })

      it('gives a form for an upload', async () => {
        const announced = JSON.stringify({ contentType: 'image/png', bytes: picture.length })
        const given = await call(event('POST', '/uploads', 'application/json', announced))
        expect(given.statusCode, given.body).toBe(201)
        const { imageId, upload } = JSON.parse(given.body)
        expect(upload.fields.key).toBe(`uploads/${imageId}`)
        const location = new URL(header(given, 'location') ?? '', `https://host${prefix}/uploads`)
        expect(location.pathname).toBe(`${prefix}/images/${imageId}`)
      })
    })

    describe.each([
      ['a REST API', restEvent],
      ['an HTTP API', httpEvent],
    ])('behind %s that takes bytes for text', (_name, event) => {
      it('refuses an image that arrived as text, and takes what is text by itself', async () => {
        for (const [type, of] of formats) {
          const image = Buffer.from(await of(await quarters()).toBuffer())
          const { type: formType, body } = await form(image)
          for (const [sent, text] of [
            [type, asText(image)],
            ['application/octet-stream', asText(image)],
            [undefined, asText(image)],
            [formType, asText(body)],
            // A gateway may also read each byte as a character of its own.
            [formType, body.toString('latin1')],
          ] as const) {
            const refused = await call(event('POST', '/images', sent, text))
            expect(codeOf(refused), `${sent} with ${type}`).toEqual([415, 'UNSUPPORTED_MEDIA_TYPE'])
            expect(JSON.parse(refused.body).detail).toMatch(/body on as text.+application\/json/)
          }
        }
        const { type, body } = await form(Buffer.from('no image'))
        expect(codeOf(await call(event('POST', '/images', type, asText(body))))).toEqual([
          415,
          'UNSUPPORTED_FORMAT',
        ])
        expect(codeOf(await call(event('POST', '/images', 'image/png')))).toEqual([400, 'EMPTY_IMAGE'])
      })

      it('says of JSON in UTF-16 what it is', async () => {
        const text = JSON.stringify({ image: picture.toString('base64') })
        const little = Buffer.from(text, 'utf16le')
        const marked = Buffer.from(`\ufeff${text}`, 'utf16le')
        for (const wide of [little, marked, Buffer.from(marked).swap16()]) {
          const refused = await call(event('POST', '/images', 'application/json', asText(wide)))
          expect(codeOf(refused)).toEqual([400, 'INVALID_JSON'])
          expect(JSON.parse(refused.body).detail).toMatch(/UTF-16.*UTF-8/)
        }
      })

      it('says that a mangled image is text, not that it is too large', async () => {
        const noise = Buffer.alloc(1_600_000, 0x80)
        const { type, body } = await form(noise)
        for (const [sent, text] of [
          ['image/webp', asText(noise)],
          [undefined, asText(noise)],
          ['application/x-www-form-urlencoded', asText(noise)],
          [type, asText(body)],
        ] as const) {
          expect(codeOf(await call(event('POST', '/images', sent, text)))).toEqual([
            415,
            'UNSUPPORTED_MEDIA_TYPE',
          ])
        }
      })
    })

    it.each([
      ['a REST API', restEvent],
      ['an HTTP API', httpEvent],
    ])(
      'answers a request of %s with half a character in it, or a header that HTTP cannot carry',
      async (_name, eventOf) => {
        const event = eventOf('GET', '/images')
        const refused = [400, 'INVALID_PARAMETER']
        const halves = { '\ud83d': 'a\ude00' }
        const query = { ...event, queryStringParameters: halves, rawQueryString: '\ud83d=a\ude00' }
        for (const multiValueQueryStringParameters of [null, { '\ud83d': ['a\ude00'] }])
          expect(codeOf(await call({ ...query, multiValueQueryStringParameters }))).toEqual(refused)
        for (const odd of [
          { headers: { 'x-half': 'a\ud83d' }, multiValueHeaders: { 'x-half': ['\ude00'] } },
          { headers: { 'x\r\ny': 'a', 'x y': 'a', '': 'a', 'x-lines': 'a\r\nb', 'x-nul': 'a\0b' } },
          { multiValueHeaders: { 'x\0': ['a'], 'x-lines': ['a', 'a\nb'] } },
          { cookies: ['a=b\r\nc'] },
        ])
          expect((await call({ ...event, ...odd })).statusCode).toBe(200)
        // An empty If-Match that were left out would let anything be deleted.
        const post = eventOf('POST', '/images', 'image/png', picture)
        for (const key of ['', 'a\r\nb', 'a\0b']) {
          const headers = { ...post.headers, 'idempotency-key': key }
          expect(codeOf(await call({ ...post, headers }))).toEqual(refused)
        }
      },
    )

    it.each([
      ['a REST API', restEvent],
      ['an HTTP API', httpEvent],
      ['a load balancer', balancerEvent],
    ])('reads the headers of %s as a socket brings them', async (_name, eventOf) => {
      const withHeaders = (event: ReturnType<typeof eventOf>, added: Record<string, string>) => {
        const many = Object.fromEntries(Object.entries(added).map(([name, value]) => [name, [value]]))
        if (!('multiValueHeaders' in event)) return { ...event, headers: { ...event.headers, ...added } }
        return { ...event, multiValueHeaders: { ...event.multiValueHeaders, ...many } }
      }
      const post = eventOf('POST', '/images', undefined, picture)
      for (const key of ['schlüssel', '鍵', 'a b', ''])
        expect(codeOf(await call(withHeaders(post, { 'idempotency-key': key }))), key).toEqual([
          400,
          'INVALID_PARAMETER',
        ])
      const named = {
        'content-type': 'image/png; name=ä',
        'content-disposition': 'inline; filename="ä 猫.png"',
      }
      const accepted = await call(withHeaders(post, named))
      expect(accepted.statusCode, accepted.body).toBe(202)
      const read = eventOf('GET', `/images/${JSON.parse(accepted.body).imageId}`)
      const record = await call(read)
      expect(JSON.parse(record.body).original.filename).toBe('ä 猫.png')
      const tags = `"ä", ${header(record, 'etag')}`
      expect((await call(withHeaders(read, { 'if-none-match': tags }))).statusCode).toBe(304)
    })

    it('takes a header that a load balancer gives twice for a list', async () => {
      const { imageId } = JSON.parse((await call(restEvent('POST', '/images', 'image/png', picture))).body)
      const asked = balancerEvent('GET', `/images/${imageId}/original`)
      const accept = ['text/html;q=0.5', 'application/json']
      const answer = await call({ ...asked, multiValueHeaders: { ...asked.multiValueHeaders, accept } })
      expect(answer.statusCode).toBe(200)
    })

    it('answers an event that is no request without an error, and leaves messages in their queue', async () => {
      const schedule = { version: '0', source: 'aws.events', 'detail-type': 'Scheduled Event', detail: {} }
      for (const event of [
        {},
        null,
        'ping',
        [],
        schedule,
        { warmup: true },
        { rawPath: 1 },
        { Records: [1] },
      ]) {
        await expect(api(event), JSON.stringify(event)).resolves.toEqual({ batchItemFailures: [] })
      }
      const records = [{ messageId: 'one', eventSource: 'aws:sqs', body: '{}' }, { messageId: 'two' }]
      expect(await api({ Records: records })).toEqual({
        batchItemFailures: [{ itemIdentifier: 'one' }, { itemIdentifier: 'two' }],
      })
    })

    describe('with AUTH=jwt', () => {
      let issuer: Server
      let token: string
      let guarded: Handler
      beforeAll(async () => {
        const { publicKey, privateKey } = await generateKeyPair('ES256')
        const keys = [{ ...(await exportJWK(publicKey)), kid: 'one', alg: 'ES256', use: 'sig' }]
        issuer = createServer((request, response) => {
          const isMetadata = request.url?.includes('openid-configuration')
          response.end(JSON.stringify(isMetadata ? { issuer: url, jwks_uri: `${url}/keys` } : { keys }))
        })
        const url = `http://127.0.0.1:${await listen(issuer, 0)}`
        token = await new SignJWT({ sub: 'user-1', iss: url, aud: 'images' })
          .setProtectedHeader({ alg: 'ES256', kid: 'one' })
          .setExpirationTime('5m')
          .sign(privateKey)
        guarded = await load('api', {
          ...environment,
          ...{ AUTH: 'jwt', JWT_ISSUER: url, JWT_AUDIENCE: 'images' },
        })
      })
      afterAll(() => {
        issuer?.closeAllConnections()
        issuer?.close()
      })

      it('knows a caller by a token, and no caller without one', async () => {
        const request = httpEvent('POST', '/images', 'image/png', picture)
        const as = (authorization: string) =>
          call({ ...request, headers: { ...request.headers, authorization } }, guarded)
        expect(codeOf(await call(request, guarded))).toEqual([401, 'UNAUTHENTICATED'])
        expect(codeOf(await as(`Bearer ${token.slice(0, -8)}AAAAAAAA`))).toEqual([401, 'UNAUTHENTICATED'])
        const accepted = await as(`Bearer ${token}`)
        expect(accepted.statusCode, accepted.body).toBe(202)
        expect(
          (await call(httpEvent('GET', `/images/${JSON.parse(accepted.body).imageId}`))).statusCode,
        ).toBe(404)
      })
    })
  })

  describe('the worker function', () => {
    beforeAll(drain)

    it('works a batch off: the good ones to their events, and only the bad ones come back', async () => {
      await system.events()
      const ids: string[] = [await submit(photo)]
      for (const [, of] of formats) ids.push(await submit(Buffer.from(await of(await quarters()).toBuffer())))
      const broken = await submit(photo.subarray(0, 20_000))
      const batch = await system.receiveJobs()
      expect(batch.Records).toHaveLength(ids.length + 1)
      const [record] = batch.Records
      batch.Records.push(
        { ...record, messageId: 'no-json', body: '{' } as SQSEvent['Records'][number],
        { ...record, messageId: 'no-job', body: '{"version":1}' } as SQSEvent['Records'][number],
      )
      expect(await deliver(batch)).toEqual(['no-job', 'no-json'])
      for (const id of ids) {
        expect(await system.record(id)).toMatchObject({
          status: 'completed',
          thumbnail: { contentType: 'image/jpeg', width: 128, height: 128 },
        })
      }
      expect(await system.record(broken)).toMatchObject({
        status: 'failed',
        failure: { code: 'CORRUPT_IMAGE' },
      })
      expect((await system.events()).map(({ eventId }) => eventId).sort()).toEqual(
        [...ids.map((id) => `${id}:1:completed`), `${broken}:1:failed`].sort(),
      )
    })

    it('stores no position with STRIP_GPS, of what comes through the API and of what comes to S3', async () => {
      const strict = { ...environment, STRIP_GPS: 'on' }
      const [taking, working] = [await load('api', strict), await load('worker', strict)]
      const sent = withExif(photo, exifBlock(FULL))
      const accepted = await call(restEvent('POST', '/images', 'image/jpeg', sent), taking)
      expect(accepted.statusCode, accepted.body).toBe(202)
      const announced = JSON.stringify({ contentType: 'image/jpeg', bytes: sent.length })
      const answer = await call(restEvent('POST', '/uploads', 'application/json', announced), taking)
      const { imageId, upload } = JSON.parse(answer.body)
      expect((await sendForm(upload, sent)).status).toBe(204)
      const worked = await until('both are completed', async () => {
        const batch = await system.receiveJobs()
        if (batch.Records.length > 0) expect(await deliver(batch, working)).toEqual([])
        const records = [await system.record(JSON.parse(accepted.body).imageId), await system.record(imageId)]
        return records.every(({ status }) => status === 'completed') ? records : undefined
      })
      const without = Buffer.from(sent)
      expect(blankPosition(without)).toBe(true)
      const sha256 = createHash('sha256').update(without).digest('hex')
      for (const { original } of worked) expect(original).toMatchObject({ bytes: sent.length, sha256 })
    })

    it('takes what S3 says of an upload for its job, and what it says of itself for none', async () => {
      const announced = JSON.stringify({ contentType: 'image/jpeg', bytes: photo.length, filename: 'a.jpg' })
      const answer = await call(restEvent('POST', '/uploads', 'application/json', announced))
      expect(answer.statusCode, answer.body).toBe(201)
      const { imageId, upload } = JSON.parse(answer.body)
      expect((await sendForm(upload, photo)).status).toBe(204)

      const arrival = await system.receiveJobs()
      expect(arrival.Records.map(({ body }) => JSON.parse(body).Records)).toMatchObject([
        [{ eventName: 'ObjectCreated:Post', s3: { object: { key: `uploads/${imageId}` } } }],
      ])
      const told = (messageId: string, body: object) =>
        arrival.Records.map((record) => ({ ...record, messageId, body: JSON.stringify(body) }))
      // S3's own test message, an object that no form was for, and something that S3 never sends.
      arrival.Records.push(
        ...told('test', { Service: 'Amazon S3', Event: 's3:TestEvent', Bucket: system.names.bucket }),
        ...told('stranger', {
          Records: [{ eventName: 'ObjectCreated:Post', s3: { object: { key: 'uploads/stranger' } } }],
        }),
        ...told('unknown', { Records: [{ eventName: 'ObjectRemoved:Delete' }] }),
      )
      expect(await deliver(arrival)).toEqual(['unknown'])
      expect(await system.record(imageId)).toMatchObject({
        status: 'completed',
        original: { key: `originals/${imageId}`, bytes: photo.length, filename: 'a.jpg' },
      })
      expect(await sizeOf(`originals/${imageId}`)).toBe(photo.length)
      expect(await sizeOf(`uploads/${imageId}`)).toBeUndefined()
    })

    it('answers an event that is no batch of SQS without an error', async () => {
      const s3 = { Records: [{ eventSource: 'aws:s3', s3: { object: { key: 'uploads/a' } } }] }
      for (const event of [{}, null, 'ping', { detail: {} }, { Records: 1 }, { Records: [null] }, s3]) {
        await expect(worker(event), JSON.stringify(event)).resolves.toEqual({ batchItemFailures: [] })
      }
    })

    const sizeOf = async (Key: string): Promise<number | undefined> => {
      try {
        const { ContentLength } = await system.worker.s3.send(
          new HeadObjectCommand({ Bucket: system.names.bucket, Key }),
        )
        return ContentLength
      } catch (error) {
        if (error instanceof NotFound) return undefined
        throw error
      }
    }
  })

  describe('the sweeper function', () => {
    const sweep = async (event: unknown = {}) => (await sweeper(event)) as { requeued: number }
    /** Submits an image to the function, whose environment says when it is due, and loses its job. */
    const lose = async (): Promise<string> => {
      await drain()
      const imageId = await submit()
      expect((await system.receiveJobs()).Records).toHaveLength(1)
      return imageId
    }

    it('gives a new job to what was left behind, and to nothing else', async () => {
      const schedule = {
        version: '0',
        source: 'aws.scheduler',
        'detail-type': 'Scheduled Event',
        detail: '{}',
      }
      const lost = await lose()
      const afterMs = 1_000 * Number(environment['SWEEP_AFTER_SECONDS'])
      const due = async () => Number((await system.item(lost))['sweepAt'])
      expect(await due()).toBeGreaterThanOrEqual(Number((await system.item(lost))['submittedAt']) + afterMs)
      expect(await due()).toBeLessThanOrEqual(Date.now() + afterMs)
      // However long the machine takes, it is not due yet, and then it is.
      await system.setItem(lost, { sweepAt: Date.now() + 3_600_000 })
      await expect(sweep()).resolves.toMatchObject({ requeued: 0 })
      await system.setItem(lost, { sweepAt: 1 })
      const before = Date.now()
      await expect(sweep(schedule)).resolves.toMatchObject({ requeued: 1 })
      // Twice the time that the environment says, from this sweep on.
      expect(await due()).toBeGreaterThanOrEqual(before + 2 * afterMs)
      expect(await due()).toBeLessThanOrEqual(Date.now() + 2 * afterMs)
      await drain()
      expect((await system.record(lost)).status).toBe('completed')
      expect((await sweep()).requeued).toBe(0)
    })

    it('gives up what is older than fourteen days', async () => {
      const lost = await lose()
      const old = async (days: number) => {
        await system.setItem(lost, { submittedAt: Date.now() - days * 86_400_000, sweepAt: 1 })
        return sweep()
      }
      await expect(old(13.9)).resolves.toMatchObject({ requeued: 1, exhausted: 0 })
      await expect(old(14.1)).resolves.toMatchObject({ requeued: 0, exhausted: 1 })
      await drain()
    })

    it('may be called by hand with anything', async () => {
      for (const event of [undefined, 'ping', null])
        await expect(sweeper(event)).resolves.toHaveProperty('requeued')
    })

    it('leaves the messages of a queue where they are', async () => {
      const batch = { Records: [{ messageId: 'one', eventSource: 'aws:sqs', body: '{}' }] }
      expect(await sweeper(batch)).toEqual({ batchItemFailures: [{ itemIdentifier: 'one' }] })
    })

    it('fails when it met trouble, so that an alarm tells of it, and looks after the others all the same', async () => {
      const lost = await lose()
      const { dynamo, table } = system.worker
      const broken = { imageId: '0199c0de-0000-7000-8000-000000000000' }
      await dynamo.send(
        new PutCommand({ TableName: table, Item: { ...broken, status: '?', unfinished: '0', sweepAt: 1 } }),
      )
      const jobs = await until('it is due', async () => {
        await expect(sweep()).rejects.toThrow('1 images could not be looked after')
        const { Records } = await system.receiveJobs()
        return Records.length > 0 ? Records.map(({ body }) => JSON.parse(body).imageId) : undefined
      })
      expect(jobs).toEqual([lost])
      await dynamo.send(new DeleteCommand({ TableName: table, Key: broken }))
    })
  })
}
