import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Script } from 'node:vm'
import { PutCommand } from '@aws-sdk/lib-dynamodb'
import busboy from '@fastify/busboy'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { buildApp } from '../../api/app.ts'
import { cleanFilename } from '../../api/upload.ts'
import type { EventDetail } from '../../shared/messages.ts'
import { ELSEWHERE, skippedElsewhere, startTestSystem, type TestSystem, until } from '../context.ts'
import { distinct, formats, quarters } from '../pictures/pictures.ts'
import { anyText } from './any-text.ts'

const photo = readFileSync(new URL('../fixtures/grace-hopper.jpg', import.meta.url))
const MAX_IMAGE_BYTES = 200_000

let system: TestSystem
beforeAll(async () => {
  system = await startTestSystem({ maxImageBytes: MAX_IMAGE_BYTES })
})
afterAll(() => system.stop())

const post = (body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string> = {}, query = '') =>
  system.app.request(`/images${query}`, { method: 'POST', headers, body })
const postForm = (form: FormData) => system.app.request('/images', { method: 'POST', body: form })
const postJson = (value: unknown) => post(JSON.stringify(value), { 'content-type': 'application/json' })
const raw = (bytes: Uint8Array, headers: Record<string, string> = {}, query = '') =>
  post(new Uint8Array(bytes), { 'content-type': 'application/octet-stream', ...headers }, query)
const file = (bytes: Uint8Array, name = 'a.jpg') => new File([new Uint8Array(bytes)], name)

interface Problem {
  type: string
  title: string
  status: number
  code: string
  detail: string
  instance: string
}

async function expectProblem(response: Response, status: number, code: string): Promise<Problem> {
  const text = await response.text()
  expect.soft(`${response.status} ${text}`).toContain(`"code":"${code}"`)
  expect(response.status).toBe(status)
  expect(response.headers.get('content-type')).toBe('application/problem+json')
  const problem = JSON.parse(text) as Problem
  expect(problem).toEqual({
    type: expect.stringMatching(/^urn:image-analyzer:problem:[a-z0-9-]+$/),
    title: expect.stringMatching(/\w/),
    status,
    code,
    detail: expect.stringMatching(/\w.*\.$|: /),
    instance: expect.stringMatching(/^urn:uuid:[0-9a-f-]{36}$/),
  })
  expect(text).not.toMatch(/arn:aws|image-analyzer-images| at .*\.ts|node_modules/)
  return problem
}

describe('POST /images accepts', () => {
  const accepted = async (response: Response, bytes: Uint8Array, filename?: string) => {
    expect(response.status).toBe(202)
    const { imageId, ...rest } = (await response.json()) as { imageId: string }
    expect(rest).toEqual({ status: 'pending', message: expect.any(String) })
    expect(imageId).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    expect(response.headers.get('retry-after')).toBe('1')
    const location = response.headers.get('location') ?? ''
    expect(new URL(location, 'https://host/prod/images').pathname).toBe(`/prod/images/${imageId}`)
    const record = await system.record(imageId)
    expect(record.original.sha256).toBe(createHash('sha256').update(bytes).digest('hex'))
    expect(record.original.bytes).toBe(bytes.length)
    expect(record.original.filename).toBe(filename)
    return record
  }

  it.each(formats)('raw bytes of %s, told by content and not by header', async (contentType, encode) => {
    const bytes = await encode(await quarters()).toBuffer()
    const record = await accepted(await raw(bytes, { 'content-type': 'image/x-anything' }), bytes)
    expect(record.original.contentType).toBe(contentType)
    expect(record.status).toBe('pending')
    expect(record.attempts).toBe(0)
  })
  it('raw bytes with no content type', async () => {
    const response = await system.app.request('/images', { method: 'POST', body: new Uint8Array(photo) })
    await accepted(response, photo)
  })
  it('a name from the query', async () => {
    await accepted(await raw(photo, {}, '?filename=my%20cat.jpg'), photo, 'my cat.jpg')
  })
  it.each([
    ['attachment; filename="cat.jpg"', 'cat.jpg'],
    ['attachment; filename=cat.jpg', 'cat.jpg'],
    [`attachment; filename="cat.jpg"; filename*=UTF-8''k%C3%A4tzchen.jpg`, 'kätzchen.jpg'],
    ['attachment; filename="a\\"b.jpg"', 'a"b.jpg'],
    [`attachment; filename="${Buffer.from('猫.jpg').toString('latin1')}"`, '猫.jpg'],
    ['attachment; filename="../../etc/passwd"', 'passwd'],
    ['attachment; filename="C:\\\\pictures\\\\cat.jpg"', 'cat.jpg'],
    ["attachment; filename*=UTF-8''%E0%A4%A", undefined],
    [`attachment; filename=k.jpg; filename*=ISO-8859-1'de'k%E4tzchen.jpg`, 'kätzchen.jpg'],
    ["attachment; filename*=koi8-r''%CB.jpg; filename=cat.jpg", 'cat.jpg'],
    ['attachment; title="; filename=evil.jpg"; filename=cat.jpg', 'cat.jpg'],
    [`attachment; filename="a; filename*=UTF-8''b.jpg"`, "a; filename*=UTF-8''b.jpg"],
    ["attachment; filename*=UTF-8''%E0%A4%A; filename=cat.jpg", 'cat.jpg'],
    ['junk', undefined],
  ])('a name from Content-Disposition: %s', async (header, filename) => {
    await accepted(await raw(photo, { 'content-disposition': header }), photo, filename)
  })
  it.each(['image', 'file'])('a form with one file in "%s"', async (field) => {
    const form = new FormData()
    form.append(field, file(photo, 'grüße.jpg'))
    await accepted(await postForm(form), photo, 'grüße.jpg')
  })
  it('a form whose part has a type and no file name', async () => {
    const head = '--b\r\nContent-Disposition: form-data; name="image"\r\nContent-Type: image/jpeg\r\n\r\n'
    const body = Buffer.concat([Buffer.from(head), photo, Buffer.from('\r\n--b--\r\n')])
    await accepted(
      await post(new Uint8Array(body), { 'content-type': 'multipart/form-data; boundary=b' }),
      photo,
    )
  })
  it('a form of a browser: an input left empty, a quotation mark in the name', async () => {
    const form = new FormData()
    form.append('file', file(Buffer.alloc(0), ''))
    form.append('image', file(photo, 'a"b.jpg'))
    await accepted(await postForm(form), photo, 'a"b.jpg')
  })
  it('JSON that writes every slash as "\\/"', async () => {
    const bytes = Buffer.concat([photo, Buffer.alloc(MAX_IMAGE_BYTES - photo.length, 0xff)])
    const text = JSON.stringify({ image: bytes.toString('base64') }).replaceAll('/', '\\/')
    await accepted(await post(text, { 'content-type': 'application/json' }), bytes)
  })
  it.each(['.', '..', '...', '%E3%85%A4', '%E2%A0%80'])('the name %s as none', async (name) => {
    await accepted(await raw(photo, {}, `?filename=${name}`), photo, undefined)
  })
  it('a line break in the file name of a form, and keeps it out', async () => {
    const body = Buffer.concat([
      Buffer.from('--b\r\nContent-Disposition: form-data; name="image"; filename="a%0d%0ab.jpg"\r\n\r\n'),
      photo,
      Buffer.from('\r\n--b--\r\n'),
    ])
    const response = await post(new Uint8Array(body), { 'content-type': 'multipart/form-data; boundary=b' })
    await accepted(response, photo, 'ab.jpg')
  })
  it.each(['', 'Content-Type: application/json\r\n'])(
    'the analyses of a form whose part has the marks of a file: "%s"',
    async (type) => {
      const form = `--b\r\nContent-Disposition: form-data; name="analyses"; filename="a"\r\n${type}\r\ntext\r\n--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n`
      const body = Buffer.concat([Buffer.from(form), photo, Buffer.from('\r\n--b--\r\n')])
      const response = await post(new Uint8Array(body), { 'content-type': 'multipart/form-data; boundary=b' })
      expect(await accepted(response, photo, 'a.jpg')).toMatchObject({ analyses: ['text'] })
    },
  )
  it('base64 in JSON', async () => {
    await accepted(await postJson({ image: photo.toString('base64'), filename: 'a.jpg' }), photo, 'a.jpg')
  })
  it('a data URL in JSON, whatever type it claims', async () => {
    await accepted(await postJson({ image: `Data:text/html;BASE64,${photo.toString('base64')}` }), photo)
  })
  it('an image of exactly the most bytes, in each kind of body', async () => {
    const bytes = Buffer.concat([photo, Buffer.alloc(MAX_IMAGE_BYTES - photo.length)])
    const form = new FormData()
    form.append('image', file(bytes))
    await accepted(await raw(bytes), bytes)
    await accepted(await postForm(form), bytes, 'a.jpg')
    await accepted(await postJson({ image: bytes.toString('base64') }), bytes)
  })
})

describe('POST /images refuses', () => {
  const form = (...entries: [string, string | File][]) => {
    const data = new FormData()
    for (const [name, value] of entries) data.append(name, value)
    return postForm(data)
  }
  const multipart = (body: string, boundary = '; boundary=b') =>
    post(body, { 'content-type': `multipart/form-data${boundary}` })
  const part = '--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\nabc'
  const json = (text: string) => post(text, { 'content-type': 'application/json' })
  const tooLarge = Buffer.concat([photo, Buffer.alloc(MAX_IMAGE_BYTES - photo.length + 1)])

  // Buffer passes over junk; what it writes of what it has read says whether there was any.
  it('base64 with anything in it that is no base64 is refused, and all other is read', async () => {
    const written = fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes).toString('base64'))
    const strange = fc.constantFrom(...'AB+/=-_ \n.é\0', '😀', '')
    const changed = fc.tuple(written, fc.nat(28), fc.nat(1), strange)
    const base64 = changed.map(([text, at, out, put]) => text.slice(0, at) + put + text.slice(at + out))
    const property = fc.asyncProperty(base64, async (image) => {
      const { code } = (await (await postJson({ image })).json()) as { code: string }
      expect(code === 'INVALID_BASE64').toBe(Buffer.from(image, 'base64').toString('base64') !== image)
    })
    await fc.assert(property, { numRuns: 300 })
  })

  it.each<[string, () => Response | Promise<Response>, number, string]>([
    ['no bytes', () => raw(Buffer.alloc(0)), 400, 'EMPTY_IMAGE'],
    ['no bytes in a form', () => form(['image', file(Buffer.alloc(0))]), 400, 'EMPTY_IMAGE'],
    ['no bytes in JSON', () => postJson({ image: '' }), 400, 'EMPTY_IMAGE'],
    ['an empty data URL', () => postJson({ image: 'data:image/png;base64,' }), 400, 'EMPTY_IMAGE'],
    ['JSON cut off', () => json('{"image":"aGk'), 400, 'INVALID_JSON'],
    ['no JSON at all', () => json(''), 400, 'INVALID_JSON'],
    ['JSON without an image', () => postJson({ filename: 'a' }), 400, 'MISSING_IMAGE'],
    ['JSON null', () => json('null'), 400, 'MISSING_IMAGE'],
    ['a JSON list', () => json('[1]'), 400, 'MISSING_IMAGE'],
    ['an image that is a number', () => postJson({ image: 7 }), 400, 'INVALID_PARAMETER'],
    ['a name that is a list', () => postJson({ image: 'aGk=', filename: [] }), 400, 'INVALID_PARAMETER'],
    ['junk in base64', () => postJson({ image: 'aGk=!!' }), 400, 'INVALID_BASE64'],
    ['a line break in base64', () => postJson({ image: 'aGk\n=' }), 400, 'INVALID_BASE64'],
    ['base64 without padding', () => postJson({ image: 'aGk' }), 400, 'INVALID_BASE64'],
    ['base64 of URLs', () => postJson({ image: '-_-_' }), 400, 'INVALID_BASE64'],
    ['base64 with stray bits', () => postJson({ image: 'aGl=' }), 400, 'INVALID_BASE64'],
    [
      'a data URL without base64',
      () => postJson({ image: 'data:image/svg+xml,<svg/>' }),
      400,
      'INVALID_BASE64',
    ],
    ['a data URL without a comma', () => postJson({ image: 'data:image/png;base64' }), 400, 'INVALID_BASE64'],
    ['a form without boundary', () => multipart(`${part}\r\n--b--\r\n`, ''), 400, 'INVALID_MULTIPART'],
    [
      'a form with another boundary',
      () => multipart(`${part}\r\n--b--\r\n`, '; boundary=c'),
      400,
      'INVALID_MULTIPART',
    ],
    ['a form cut off', () => multipart(part), 400, 'INVALID_MULTIPART'],
    ['an empty form body', () => multipart(''), 400, 'INVALID_MULTIPART'],
    // The image comes first, so what is behind it is not passed over either.
    [
      'a form of more than 1,000 parts',
      () => multipart(`${part}\r\n${'--b\r\n\r\n\r\n'.repeat(1_000)}--b--\r\n`),
      400,
      'INVALID_MULTIPART',
    ],
    ['a form without files', () => form(['a', 'b']), 400, 'MISSING_IMAGE'],
    ['a form with text for an image', () => form(['image', 'text']), 400, 'MISSING_IMAGE'],
    ['a form with its file in another field', () => form(['photo', file(photo)]), 400, 'MISSING_IMAGE'],
    ['two images', () => form(['image', file(photo)], ['image', file(photo)]), 400, 'MULTIPLE_IMAGES'],
    [
      'an image and a file',
      () => form(['image', file(photo)], ['file', file(photo)]),
      400,
      'MULTIPLE_IMAGES',
    ],
    ['one byte too many', () => raw(tooLarge), 413, 'IMAGE_TOO_LARGE'],
    ['one byte too many in a form', () => form(['image', file(tooLarge)]), 413, 'IMAGE_TOO_LARGE'],
    [
      'one byte too many in JSON',
      () => postJson({ image: tooLarge.toString('base64') }),
      413,
      'IMAGE_TOO_LARGE',
    ],
    ['far too many bytes', () => raw(Buffer.alloc(20_000_000)), 413, 'IMAGE_TOO_LARGE'],
    ['one byte', () => raw(Buffer.from([0xff])), 415, 'UNSUPPORTED_FORMAT'],
    [
      'HTML named .jpg',
      () => form(['image', file(Buffer.from('<html>'), 'a.jpg')]),
      415,
      'UNSUPPORTED_FORMAT',
    ],
    [
      'SVG',
      () =>
        raw(Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>'), { 'content-type': 'image/svg+xml' }),
      415,
      'UNSUPPORTED_FORMAT',
    ],
    ['PDF', () => raw(Buffer.from('%PDF-1.7 …')), 415, 'UNSUPPORTED_FORMAT'],
    ['TIFF', () => raw(Buffer.from('II*\0\x08\0\0\0')), 415, 'UNSUPPORTED_FORMAT'],
    ['HEIC', () => raw(Buffer.from('\0\0\0\x18ftypheic\0\0\0\0mif1heic')), 415, 'UNSUPPORTED_FORMAT'],
    ['text', () => post('hello', { 'content-type': 'text/plain' }), 415, 'UNSUPPORTED_MEDIA_TYPE'],
    [
      'a form of a web page',
      () => post('a=b', { 'content-type': 'application/x-www-form-urlencoded' }),
      415,
      'UNSUPPORTED_MEDIA_TYPE',
    ],
    [
      'an idempotency key with a space',
      () => raw(photo, { 'idempotency-key': 'a b' }),
      400,
      'INVALID_PARAMETER',
    ],
    [
      'an idempotency key of 256 characters',
      () => raw(photo, { 'idempotency-key': 'k'.repeat(256) }),
      400,
      'INVALID_PARAMETER',
    ],
  ])('%s', async (_name, request, status, code) => {
    const problem = await expectProblem(await request(), status, code)
    if (code === 'IMAGE_TOO_LARGE') expect(problem.detail).toContain('POST /uploads')
  })

  it('without a length, a body that goes on and on, after a while', async () => {
    let sent = 0
    const endless = new ReadableStream({
      pull: (controller) => {
        sent += 65_536
        controller.enqueue(new Uint8Array(65_536))
        if (sent > 200_000_000) controller.close()
      },
    })
    const response = await system.app.request('/images', {
      method: 'POST',
      headers: { 'content-type': 'image/jpeg' },
      body: endless,
      duplex: 'half',
    } as RequestInit)
    await expectProblem(response, 413, 'IMAGE_TOO_LARGE')
    expect(sent).toBeLessThan(70_000_000)
  })

  it('no form for a fault of our own, which goes to the log', async () => {
    const form = new FormData()
    form.append('image', file(photo))
    const faults = [
      () => vi.spyOn(busboy, 'Busboy'),
      () => vi.spyOn(busboy.Busboy.prototype as { _write: () => void }, '_write'),
    ]
    for (const spy of faults) {
      const fault = spy().mockImplementation(() => {
        throw new TypeError('a slip of ours')
      })
      onTestFinished(() => fault.mockRestore())
      expect((await postForm(form)).status).toBe(503)
      expect(system.trouble.pop()).toContain('a slip of ours')
      fault.mockRestore()
    }
    expect((await postForm(form)).status).toBe(202)
  })

  it('no body, however it is made up, with a 5xx', async () => {
    const contentType = fc.constantFrom(
      ...[
        'image/jpeg',
        'application/json',
        'multipart/form-data; boundary=b',
        'multipart/form-data',
        'a',
        ';',
      ],
    )
    await fc.assert(
      fc.asyncProperty(
        contentType,
        fc.uint8Array({ maxLength: 300 }),
        fc.string(),
        async (type, bytes, name) => {
          const query = `?filename=${encodeURIComponent(name.toWellFormed())}`
          const response = await raw(bytes, { 'content-type': type }, query)
          expect(response.status).toBeLessThan(500)
          expect(response.status).toBeGreaterThanOrEqual(400)
        },
      ),
      { numRuns: 300 },
    )
  })
})

describe('an idempotency key', () => {
  beforeAll(async () => {
    // The images until here only had to be accepted.
    await until('no job is left', async () => (await system.receiveJobs()).Records.length === 0 || undefined)
  })
  it('gives the same image for the same bytes, and one job is enough for it', async () => {
    const bytes = await distinct(1)
    const first = await system.submit(bytes, { 'idempotency-key': 'same-bytes' })
    await system.work()
    const again = await system.submit(bytes, { 'idempotency-key': 'same-bytes' })
    expect(again).toBe(first)
    expect((await system.receiveJobs()).Records).toEqual([])
  })
  it('gives one image to requests at the same moment', async () => {
    const bytes = await distinct(2)
    const ids = await Promise.all(
      Array.from({ length: 8 }, () => system.submit(bytes, { 'idempotency-key': 'at-once' })),
    )
    expect(new Set(ids).size).toBe(1)
  })
  it('is refused for other bytes', async () => {
    await system.submit(await distinct(3), { 'idempotency-key': 'other-bytes' })
    const response = await raw(await distinct(4), { 'idempotency-key': 'other-bytes' })
    await expectProblem(response, 422, 'IDEMPOTENCY_KEY_REUSED')
  })
  it('belongs to its owner', async () => {
    const bytes = await distinct(5)
    const mine = await system.submit(bytes, { 'idempotency-key': 'owned', 'x-test-owner': 'me' })
    const theirs = await system.submit(bytes, { 'idempotency-key': 'owned', 'x-test-owner': 'them' })
    expect(theirs).not.toBe(mine)
  })
  it('that was used again after its day outlives its first image', async () => {
    const bytes = await distinct(6)
    const submit = () => system.submit(bytes, { 'idempotency-key': 'used-again' })
    const first = await submit()
    await system.setItem(`idempotency#${(await system.item(first))['keyHash']}`, { expiresAt: 0 })
    const second = await submit()
    expect(second).not.toBe(first)
    await system.app.request(`/images/${first}`, { method: 'DELETE' })
    expect(await submit()).toBe(second)
  })
})

describe('GET /images/{imageId}', () => {
  it.each([
    ['an unknown id', '0199c0de-0000-7000-8000-000000000000'],
    ['a UUID of another version', 'b0c5ce6a-6f3b-4d7a-9d67-0e3f1f0f8a54'],
    ['a malformed id', 'nope'],
    ['an id of 1 KB', 'x'.repeat(1024)],
    ['an id that looks like a key of the table', 'idempotency%23abc'],
    ['a broken escape', '%E0%A4%A'],
  ])('answers %s with 404', async (_name, id) => {
    for (const route of ['', '/thumbnail', '/preview', '/original']) {
      await expectProblem(await system.app.request(`/images/${id}${route}`), 404, 'IMAGE_NOT_FOUND')
    }
  })
  it("answers another owner's image exactly as a missing one", async () => {
    const imageId = await system.submit(await distinct(6), { 'x-test-owner': 'me' })
    for (const route of ['', '/thumbnail', '/preview', '/original']) {
      const theirs = await system.app.request(`/images/${imageId}${route}`)
      const missing = await system.app.request(`/images/0199c0de-0000-7000-8000-000000000000${route}`)
      const body = async (response: Response) => ({ ...((await response.json()) as object), instance: '' })
      expect(theirs.status).toBe(404)
      expect(await body(theirs)).toEqual(await body(missing))
    }
  })
  it('shows a pending image with an ETag and when to come back, and nothing internal', async () => {
    const imageId = await system.submit(await distinct(7))
    const response = await system.app.request(`/images/${imageId}`)
    expect(response.headers.get('retry-after')).toBe('1')
    expect(response.headers.get('etag')).toMatch(/^"[\w-]{22}"$/)
    const body = (await response.json()) as Record<string, unknown>
    expect(Object.keys(body)).toEqual([
      ...['imageId', 'status', 'createdAt', 'updatedAt', 'attempts', 'original', 'analyses'],
    ])
    expect(body['analyses']).toEqual(['labels', 'faces', 'metadata'])
  })
  it('says until when an image waits, and why, and to come back then', async () => {
    const imageId = await system.submit(await distinct(11))
    const now = Date.now()
    const app = buildApp({ ...system.api, now: () => new Date(now) })
    const comeBack = async (ms: number) => {
      const waits = { for: 'budget', until: new Date(now + ms).toISOString() }
      await system.setItem(imageId, { status: 'processing', leaseId: 'x', leaseUntil: 0, waits })
      const response = await app.request(`/images/${imageId}`)
      expect(await response.json()).toMatchObject({ status: 'processing', waits })
      return response.headers.get('retry-after')
    }
    expect(await comeBack(89_001)).toBe('90')
    expect(await comeBack(-1)).toBe('1')
    // Of a clock that is wrong.
    expect(await comeBack(86_400_000)).toBe('3600')
    await system.work()
    expect(await (await app.request(`/images/${imageId}`)).json()).not.toHaveProperty('waits')
  })
  it('answers 304 to the current ETag, and 200 to an old one', async () => {
    const imageId = await system.submit(await distinct(8))
    const get = (tag: string) =>
      system.app.request(`/images/${imageId}`, { headers: { 'if-none-match': tag } })
    const etag = (await get('')).headers.get('etag') ?? ''
    for (const tag of [etag, `W/${etag}`, `"other", ${etag}`, '*']) {
      const response = await get(tag)
      expect(response.status).toBe(304)
      expect(await response.text()).toBe('')
      expect(response.headers.get('etag')).toBe(etag)
    }
    for (const tag of ['"a,*,b"', `"W/${etag.slice(1)}`]) expect((await get(tag)).status).toBe(200)
    await system.work()
    const changed = await get(etag)
    expect(changed.status).toBe(200)
    expect(changed.headers.get('retry-after')).toBeNull()
  })
  it('is shown and changed only in the state that If-Match names', async () => {
    const imageId = await system.submit(await distinct(8, 40, 40))
    const url = `/images/${imageId}`
    const tag = async () => (await system.app.request(url)).headers.get('etag') ?? ''
    const change = (ifMatch: string, method = 'DELETE', app = system.app) =>
      app.request(method === 'DELETE' ? url : `${url}/retry`, { method, headers: { 'if-match': ifMatch } })
    const pending = await tag()
    await system.work()
    const failed = await tag()
    for (const method of ['DELETE', 'POST'])
      for (const other of [pending, `W/${failed}`, `w/${failed}`, failed.slice(1, -1), '', '"a,*,b"'])
        await expectProblem(await change(other, method), 412, 'PRECONDITION_FAILED')
    const seen = await system.app.request(url, { headers: { 'if-match': failed } })
    expect([seen.status, seen.headers.get('etag')]).toEqual([200, failed])
    await expectProblem(
      await system.app.request(url, { headers: { 'if-match': pending } }),
      ...([412, 'PRECONDITION_FAILED'] as const),
    )
    expect((await change(`${pending}, ${failed}`, 'POST')).status).toBe(202)
    // A worker takes it up between the look and the deletion.
    const again = await tag()
    const { dynamo } = system.api
    const send = async (command: object) => {
      if (command instanceof PutCommand) await system.setItem(imageId, { attempts: 3 })
      return dynamo.send(command as never)
    }
    const late = buildApp({ ...system.api, dynamo: { send } as never })
    await expectProblem(await change(again, 'DELETE', late), 412, 'PRECONDITION_FAILED')
    expect((await system.app.request(url)).status).toBe(200)
    expect((await change('*', 'DELETE', late)).status).toBe(204)
    await expectProblem(await change('*'), 404, 'IMAGE_NOT_FOUND')
  })
  it('waits for the end as long as it is asked to, and no longer', async () => {
    const imageId = await system.submit(await distinct(9))
    const early = await system.app.request(`/images/${imageId}?wait=1`)
    expect(((await early.json()) as { status: string }).status).toBe('pending')
    const answer = system.app.request(`/images/${imageId}?wait=20`)
    await system.work()
    expect(((await (await answer).json()) as { status: string }).status).toBe('completed')
  })
  it.each(['-1', '21', '1.5', 'x', '1e1', ''])('refuses wait=%s', async (wait) => {
    const imageId = await system.submit(await distinct(10))
    await expectProblem(await system.app.request(`/images/${imageId}?wait=${wait}`), 400, 'INVALID_PARAMETER')
  })
})

describe('GET /images/{imageId}/thumbnail, /preview and /original', () => {
  it('lead to a presigned URL of the object, the original as an attachment under its own name', async () => {
    const imageId = await system.submit(photo, {
      'content-disposition': 'attachment; filename="a \\"b\\".jpg"',
    })
    await system.work()
    const record = await system.record(imageId)
    for (const part of ['thumbnail', 'preview'] as const) {
      const picture = await system.app.request(`/images/${imageId}/${part}`)
      expect(picture.status).toBe(302)
      expect(picture.headers.get('x-content-type-options')).toBe('nosniff')
      const shown = await fetch(picture.headers.get('location') ?? '')
      expect(shown.status).toBe(200)
      expect(shown.headers.get('content-type')).toBe('image/jpeg')
      expect((await shown.arrayBuffer()).byteLength).toBe(record[part]?.bytes)
    }

    const original = await system.app.request(`/images/${imageId}/original`)
    expect(original.status).toBe(302)
    const given = await fetch(original.headers.get('location') ?? '')
    // Not every emulator heeds it.
    const disposition = given.headers.get('content-disposition')
    if (ELSEWHERE === undefined) expect(disposition).toBe("attachment; filename*=UTF-8''a%20%22b%22.jpg")
    expect(given.headers.get('content-type')).toBe('image/jpeg')
    expect(Buffer.from(await given.arrayBuffer()).equals(photo)).toBe(true)
  })
  it('give the same URL as JSON to a caller that asks for it', async () => {
    const imageId = await system.submit(photo)
    await system.work()
    for (const [part, bytes] of [
      ['thumbnail', (await system.record(imageId)).thumbnail?.bytes],
      ['preview', (await system.record(imageId)).preview?.bytes],
      ['original', photo.length],
    ] as const) {
      const headers = { accept: 'application/json' }
      const answer = await system.app.request(`/images/${imageId}/${part}`, { headers })
      expect(answer.status).toBe(200)
      expect(answer.headers.get('cache-control')).toBe('no-store')
      const { url } = (await answer.json()) as { url: string }
      expect((await (await fetch(url)).arrayBuffer()).byteLength).toBe(bytes)
    }
  })
  it.each([
    ['APPLICATION/JSON', 200],
    ['text/html, application/json;q=0.5', 200],
    ['application/json;q=0', 302],
    ['application/jsonp', 302],
    ['image/avif,image/webp,*/*;q=0.8', 302],
  ])('take Accept: %s for %i', async (accept, status) => {
    const imageId = await system.submit(photo)
    await system.work()
    const answer = await system.app.request(`/images/${imageId}/original`, { headers: { accept } })
    expect(answer.status).toBe(status)
  })
  it('say that there is no thumbnail and no preview yet', async () => {
    const imageId = await system.submit(await distinct(11))
    for (const part of ['thumbnail', 'preview'])
      await expectProblem(await system.app.request(`/images/${imageId}/${part}`), 404, 'NOT_FOUND')
  })
  it.skipIf(ELSEWHERE)(`give a URL that stops working when its time is up${skippedElsewhere}`, async () => {
    const imageId = await system.submit(photo)
    const url = new URL(
      (await system.app.request(`/images/${imageId}/original`)).headers.get('location') ?? '',
    )
    expect(Number(url.searchParams.get('X-Amz-Expires'))).toBeLessThanOrEqual(300)
    url.searchParams.set('X-Amz-Date', '20260101T000000Z')
    const late = await fetch(url)
    expect(late.status).toBe(403)
    expect(await late.text()).toContain('<Message>Request has expired</Message>')
  })
})

describe('GET /images/{imageId}/event', () => {
  const event = async (imageId: string) => {
    const response = await system.app.request(`/images/${imageId}/event`)
    expect(response.status).toBe(200)
    return (await response.json()) as { source: string; 'detail-type': string; detail: EventDetail }
  }

  it('is the event that subscribers got, to the letter', async () => {
    await system.work()
    await system.events()
    const good = await system.submit(photo)
    const bad = await system.submit(await distinct(12, 40, 40))
    await expectProblem(await system.app.request(`/images/${good}/event`), 404, 'NOT_FOUND')
    await system.work()
    const announced = new Map((await system.events()).map((detail) => [detail.imageId as string, detail]))
    expect(await event(good)).toEqual({
      source: 'image-analyzer',
      'detail-type': 'Image Analysis Completed',
      detail: announced.get(good),
    })
    expect(await event(bad)).toMatchObject({
      'detail-type': 'Image Analysis Failed',
      detail: announced.get(bad),
    })
  })
})

describe('GET /images', () => {
  const owner = { 'x-test-owner': 'lister' }
  const ids: string[] = []
  beforeAll(async () => {
    for (let number = 0; number < 7; number += 1)
      ids.unshift(await system.submit(await distinct(100 + number), owner))
    ids.unshift(await system.submit(Buffer.concat([photo.subarray(0, 30_000)]), owner))
    await system.work()
    ids.unshift(await system.submit(await distinct(200), owner))
  })
  interface Page {
    items: { imageId: string; status: string; labels?: string[]; rekognitionLabels?: unknown }[]
    cursor?: string
  }
  const list = async (query = ''): Promise<Page> =>
    (await (await system.app.request(`/images${query}`, { headers: owner })).json()) as Page

  it("lists an owner's images newest first, without what only a single record carries", async () => {
    const { items, cursor } = await list()
    expect(items.map((item) => item.imageId)).toEqual(ids)
    expect(cursor).toBeUndefined()
    expect(items[2]?.labels?.length).toBeGreaterThan(0)
    expect(items[2]).not.toHaveProperty('rekognitionLabels')
    expect(items[2]).not.toHaveProperty('owner')
  })
  it.each([1, 2, 3, 4, 9])('walks through all of them %i at a time', async (limit) => {
    const seen: string[] = []
    for (let cursor: string | undefined = ''; cursor !== undefined; ) {
      const page: Page = await list(`?limit=${limit}${cursor && `&cursor=${cursor}`}`)
      expect(page.items.length).toBeLessThanOrEqual(limit)
      expect(page.items.length).toBeGreaterThan(0)
      seen.push(...page.items.map((item) => item.imageId))
      cursor = page.cursor
    }
    expect(seen).toEqual(ids)
  })
  it('filters by status, page by page', async () => {
    expect((await list('?status=pending')).items.map((item) => item.imageId)).toEqual([ids[0]])
    expect((await list('?status=failed')).items.map((item) => item.imageId)).toEqual([ids[1]])
    expect((await list('?status=processing')).items).toEqual([])
    const first = await list('?status=completed&limit=4')
    const second = await list(`?status=completed&limit=4&cursor=${first.cursor}`)
    expect([...first.items, ...second.items].map((item) => item.imageId)).toEqual(ids.slice(2))
    expect(second.cursor).toBeUndefined()
  })
  it('filters by label', async () => {
    const labelled = (await list()).items.filter((item) => item.labels?.includes('Square Orientation'))
    expect(labelled.length).toBe(7)
    expect((await list('?label=Square%20Orientation&limit=3')).items).toEqual(labelled.slice(0, 3))
    expect((await list('?label=Nothing')).items).toEqual([])
  })
  it('shows no owner the images of another', async () => {
    const response = await system.app.request('/images', { headers: { 'x-test-owner': 'nobody' } })
    expect(await response.json()).toEqual({ items: [] })
  })
  it.each([
    'limit=0',
    'limit=101',
    'limit=x',
    'status=done',
    'cursor=junk',
    `cursor=${Buffer.from('01a228e6-e9e4-7490-987b-3f4047465f5a').toString('base64url')}!`,
    'cursor=',
    'label=',
    'limit=1&limit=2',
    'minConfidence=5',
  ])('refuses %s', async (query) => {
    await expectProblem(
      await system.app.request(`/images?${query}`, { headers: owner }),
      400,
      'INVALID_PARAMETER',
    )
  })
})

describe('everything else', () => {
  it.each([
    ['GET', '/nothing'],
    ['PUT', '/image'],
    ['POST', '/images/x/y/z'],
    ['GET', '/%E0%A4%A'],
  ])('%s %s is a plain 404', async (method, path) => {
    await expectProblem(await system.app.request(path, { method }), 404, 'NOT_FOUND')
  })
  it('GET /health says that the API is there', async () => {
    expect(await (await system.app.request('/health')).json()).toEqual({ status: 'ok' })
  })
  it('GET / is the page, and its policy allows its own script and style by hash and nothing else', async () => {
    const response = await system.app.request('/')
    const html = await response.text()
    const hashOf = (element: string): string => {
      const text = new RegExp(`<${element}[^>]*>([\\s\\S]*?)</${element}>`).exec(html)?.[1] ?? ''
      expect(text.length).toBeGreaterThan(100)
      return `'sha256-${createHash('sha256').update(text).digest('base64')}'`
    }
    const bucket = system.endpoint
    expect(response.headers.get('content-security-policy')?.split('; ')).toEqual([
      ...["default-src 'none'", `script-src ${hashOf('script')}`, `style-src ${hashOf('style')}`],
      ...[`img-src 'self' blob: data: ${bucket}`, `connect-src 'self' ${bucket}`],
      ...["base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"],
    ])
    // What the page knows of the API: the most bytes, the types by their media types and in words, and the analyses.
    expect(html).toContain('<meta name="max-image-bytes" content="4500000"/>')
    expect(html).toContain('accept="image/jpeg,image/png,image/webp,image/gif,image/avif"')
    expect(html).toContain('id="formats">JPEG, PNG, WebP, GIF or AVIF<')
    expect(html).toContain(`data-offered="${system.api.analyses.join(' ')}"`)
    expect(html).toContain('data-names=""')
    // Its modules are one script: no name is declared by two of them, and none is imported any more.
    const script = /<script[^>]*>([\s\S]*?)<\/script>/.exec(html)?.[1] ?? ''
    expect(() => new Script(script)).not.toThrow()
    expect(script).not.toMatch(/^(import|export)\b/m)
  })
  it.skipIf(ELSEWHERE)(
    `a service that does not answer is a 503 that says when to come back, and is logged once${skippedElsewhere}`,
    async () => {
      const broken = await startTestSystem()
      await broken.stop()
      const response = await broken.app.request('/images')
      await expectProblem(response, 503, 'UNAVAILABLE')
      expect(response.headers.get('retry-after')).toBe('5')
      expect(broken.trouble).toHaveLength(1)
    },
  )
})

describe('a file name', () => {
  /** What turns text around (Unicode, Bidi_Control), and what ends a line. */
  const REMOVED = /[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}]/u
  const family = '👨‍👩‍👧‍👦'

  it('keeps nothing that could act as a path, a header, a line or a direction', () => {
    fc.assert(
      fc.property(anyText(600), (name) => {
        const clean = cleanFilename(name)
        if (clean === undefined) return
        expect(clean).not.toMatch(REMOVED)
        expect(clean).not.toMatch(/[/\\]/)
        expect([...clean].length).toBeLessThanOrEqual(255)
        expect(clean.isWellFormed()).toBe(true)
        expect(cleanFilename(clean)).toBe(clean)
      }),
    )
  })
  it.each([
    ['a joiner that Persian is written with', 'می‌خواهم.jpg'],
    ['a joiner that Hindi is written with', 'क्‍ष.jpg'],
    ['a family', `${family}.jpg`],
    ['a heart in colour', '❤️.png'],
    ['a flag of tags', '🏴󠁧󠁢󠁥󠁮󠁧󠁿.png'],
    ['a hand of a colour', '👋🏽.png'],
    ['a soft hyphen', 'Donau\u00addampf.jpg'],
    ['the mark of a lost character', 'caf\ufffd.jpg'],
  ])('keeps %s', async (_name, filename) => {
    const imageId = (await (await raw(photo, {}, `?filename=${encodeURIComponent(filename)}`)).json()) as {
      imageId: string
    }
    expect((await system.record(imageId.imageId)).original.filename).toBe(filename)
    const header = `attachment; filename="${Buffer.from(filename).toString('latin1')}"`
    const sent = (await (await raw(photo, { 'content-disposition': header })).json()) as { imageId: string }
    expect((await system.record(sent.imageId)).original.filename).toBe(filename)
  })
  it('loses each character that directs, controls or ends a line', () => {
    const directions = [
      0x61c, 0x200e, 0x200f, 0x202a, 0x202b, 0x202c, 0x202d, 0x202e, 0x2066, 0x2067, 0x2068, 0x2069,
    ]
    for (const code of [...directions, 0, 9, 10, 13, 0x1b, 0x7f, 0x85, 0x9b, 0x2028, 0x2029]) {
      expect(cleanFilename(`a${String.fromCodePoint(code)}b.jpg`), code.toString(16)).toBe('ab.jpg')
    }
    // What comes together then is one character, as it would have been without it.
    expect(cleanFilename('e\u200e\u0301.jpg')).toBe('é.jpg')
  })
  it.each(['\u200d', '\u200d.', ' \u200c ', '\ufe0f', '\u0301', '.\u200d.'])(
    'is none where nothing of it can be seen: %j',
    (name) => {
      expect(cleanFilename(name)).toBeUndefined()
    },
  )
  it.each([
    ['a long one', `${'a'.repeat(300)}.jpeg`, `${'a'.repeat(250)}.jpeg`],
    ['one of exactly 255 characters', `${'写'.repeat(251)}.jpg`, `${'写'.repeat(251)}.jpg`],
    ['one character more', `${'写'.repeat(252)}.jpg`, `${'写'.repeat(251)}.jpg`],
    ['one of characters beyond 65,535', `${'𠮷'.repeat(300)}.jpg`, `${'𠮷'.repeat(251)}.jpg`],
    ['one of families, whole ones', `${family.repeat(60)}.jpg`, `${family.repeat(35)}.jpg`],
    [
      'one of letters with accents that have no letter of their own',
      `${'q\u0301'.repeat(200)}.jpg`,
      `${'q\u0301'.repeat(125)}.jpg`,
    ],
    ['one without an extension', 'b'.repeat(300), 'b'.repeat(255)],
    ['one whose last part is no extension', `a.${'b'.repeat(300)}`, `a.${'b'.repeat(253)}`],
    ['one that is cut at a space', `${'c'.repeat(254)} ${'d'.repeat(99)}`, 'c'.repeat(254)],
    [
      'one that is one letter with too many accents',
      `z${'\u0301'.repeat(400)}.jpg`,
      `ź${'\u0301'.repeat(250)}.jpg`,
    ],
  ])('that is too long is cut and keeps its extension: %s', (_name, name, cut) => {
    expect(cleanFilename(name)).toBe(cut)
    expect(cleanFilename(cut)).toBe(cut)
  })
  it('of millions of characters is cut at once', () => {
    expect(cleanFilename(`${'\u0301'.repeat(5_000_000)}.jpg`)).toMatch(/\.jpg$/)
  })
})
