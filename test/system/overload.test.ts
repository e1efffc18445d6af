import { execFile, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { type ClientRequest, type IncomingHttpHeaders, type OutgoingHttpHeaders, request } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { finished, until } from '../context.ts'
import { distinct } from '../pictures/pictures.ts'
import { newFolder } from '../started.ts'
import { startQuietly } from '../system.ts'

const hasCurl = spawnSync('curl', ['--version']).status === 0
const LARGE = new Uint8Array(4_400_000)

/** The embedded AWS wants a signature from everybody, and looks at none but its own. */
const SIGNED =
  'AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x'

interface Answer {
  status: number | undefined
  headers: IncomingHttpHeaders
  body: { imageId?: string; code?: string }
}

const answerTo = (sent: ClientRequest): Promise<Answer> =>
  new Promise((resolve, reject) => {
    sent.once('error', reject).once('response', async (response) => {
      const body = JSON.parse(await text(response))
      resolve({ status: response.statusCode, headers: response.headers, body })
    })
  })

const open = (url: string, bytes: number, headers: OutgoingHttpHeaders = {}): ClientRequest =>
  request(`${url}/images`, {
    method: 'POST',
    agent: false,
    headers: { 'content-type': 'image/png', 'content-length': bytes, ...headers },
  })

function post(url: string, body: Uint8Array): Promise<Answer> {
  const sent = open(url, body.length)
  const answer = answerTo(sent)
  sent.end(body)
  return answer
}

/**
 * As many clients do it: looks for an answer when everything is sent, and not before.
 *
 * @returns the answer as it stands, or why there is none
 */
async function postDeaf(url: string, bytes: number): Promise<string> {
  const { hostname, port, host } = new URL(url)
  const socket = connect(Number(port), hostname).pause()
  try {
    const head = `POST /images HTTP/1.1\r\nHost: ${host}\r\nContent-Length: ${bytes}\r\nConnection: close\r\n\r\n`
    const all = Buffer.concat([Buffer.from(head), Buffer.alloc(bytes)])
    await new Promise<void>((sent, failed) => socket.write(all, (error) => (error ? failed(error) : sent())))
    return await text(socket)
  } catch (error) {
    return String(error)
  } finally {
    socket.destroy()
  }
}

/**
 * Sends the head of a request.
 *
 * @returns once the server has seen it, what sends the body
 */
async function hold(url: string, body: Buffer): Promise<() => Promise<Answer>> {
  const sent = open(url, body.length, { expect: '100-continue' })
  const answer = answerTo(sent)
  sent.flushHeaders()
  await new Promise((resolve) => sent.once('continue', resolve))
  return () => {
    sent.end(body)
    return answer
  }
}

/** And a look: the time in which a body has to bring something. */
const HALF_MINUTE = 35_000

describe('npm start with more to do than it can', () => {
  // The server would end what is held for half a minute of a busy machine, as it would a body that comes too slowly.
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] }))
  afterEach(() => void vi.useRealTimers())

  it('reads some bodies, lets others wait, answers the rest with 429, and completes all that it accepted', async () => {
    const { system, said } = await startQuietly()
    const held: (() => Promise<Answer>)[] = []
    // Most are below the smallest that is analysed, so that their end takes little.
    const holdOne = async (): Promise<void> => {
      const side = held.length < 12 ? 96 : 40
      held.push(await hold(system.url, await distinct(held.length, side, side)))
    }
    // As many as one command line sends at once. Eight of them are read, and after a while 32 more, which come slowly.
    for (let number = 0; number < 63; number += 1) await holdOne()
    // The others wait, though they may have come whole.
    let answered = false
    const finish = await hold(system.url, await distinct(100))
    const waiting = finish().finally(() => {
      answered = true
    })

    const refusals: Answer[] = []
    void post(system.url, await distinct(101)).then((answer) => refusals.push(answer))
    const [{ status, headers, body } = {}] = await until('one is refused', async () =>
      refusals.length > 0 ? refusals : undefined,
    )
    expect(status).toBe(429)
    expect(Number(headers?.['retry-after'])).toBeGreaterThan(0)
    expect(headers?.['x-content-type-options']).toBe('nosniff')
    expect(body).toMatchObject({ code: 'TOO_MANY_REQUESTS', status: 429 })
    expect(await postDeaf(system.url, 20_000_000)).toMatch(/^HTTP\/1.1 429 /)
    const byFetch = await fetch(`${system.url}/images`, { method: 'POST', body: LARGE })
    expect(byFetch.status).toBe(429)
    if (hasCurl) {
      const file = join(newFolder(), 'large.jpg')
      writeFileSync(file, LARGE)
      const { stdout } = await promisify(execFile)('curl', [
        ...['-s', '-w', '%{http_code}', '-F', `image=@${file}`, `${system.url}/images`],
      ])
      expect(stdout).toMatch(/"TOO_MANY_REQUESTS".*429$/)
    }
    // What carries no body does not wait for those that do.
    expect((await fetch(`${system.url}/images?limit=1`)).status).toBe(200)
    expect(answered).toBe(false)

    const answers = await Promise.all([waiting, ...held.map((finish) => finish())])
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 202))
    const ended: string[] = []
    for (const { body } of answers) {
      const { status, attempts } = await finished(system.url, body.imageId ?? '')
      ended.push(`${status} ${attempts}`)
    }
    expect(ended).toEqual(ended.map((_, at) => (at < 13 ? 'completed 1' : 'failed 1')))
    expect((await post(system.url, await distinct(102))).status).toBe(202)
    // Every refusal is there for those who have sent all, not only this one.
    expect(await postDeaf(system.url, 20_000_000)).toMatch(/^HTTP\/1.1 413 /)
    expect(said).toEqual([])
  })

  it('answers 400 readers and 200 who wait, and takes images meanwhile', async () => {
    const { system, said } = await startQuietly({ STAND_IN_LATENCY_MS: '1000' })
    const { body } = await post(system.url, await distinct(1))
    const ask = async (query: string): Promise<{ code: number; status: string }> => {
      const answer = await fetch(`${system.url}/images/${body.imageId}${query}`)
      return { code: answer.status, status: ((await answer.json()) as { status: string }).status }
    }
    const submit = await hold(system.url, await distinct(2))
    const waiting = Promise.all(Array.from({ length: 200 }, () => ask('?wait=20')))
    let read = 0
    const reading = Promise.all(Array.from({ length: 400 }, () => ask('').finally(() => (read += 1))))
    await until('the first has its answer', async () => read > 0 || undefined)
    expect((await submit()).status).toBe(202)
    expect(new Set((await reading).map(({ code }) => code))).toEqual(new Set([200]))
    expect(new Set((await waiting).map(({ code }) => code))).toEqual(new Set([200]))
    expect((await finished(system.url, body.imageId ?? '')).status).toBe('completed')
    expect(said).toEqual([])
  })

  it('takes large objects one after another, and small ones meanwhile', async () => {
    const { system } = await startQuietly()
    const put = (name: string, bytes: number, headers: OutgoingHttpHeaders = {}): ClientRequest =>
      request(`${system.awsEndpoint}/image-analyzer-images/${name}`, {
        method: 'PUT',
        agent: false,
        headers: { 'content-length': bytes, authorization: SIGNED, ...headers },
      }).on('error', () => {})
    const statusOf = (sent: ClientRequest): Promise<number | undefined> =>
      new Promise((resolve) => sent.once('response', (response) => resolve(response.resume().statusCode)))
    const held = ['one', 'two'].map((name) => put(name, 50_000_000, { expect: '100-continue' }))
    for (const sent of held) {
      sent.flushHeaders()
      await once(sent, 'continue')
    }
    let stored = false
    const large = put('large', 6_000_000)
    const waiting = statusOf(large).finally(() => {
      stored = true
    })
    large.end(Buffer.alloc(6_000_000))
    for (const name of ['small', 'smaller']) {
      const small = put(name, 4_000_000)
      const answer = statusOf(small)
      small.end(Buffer.alloc(4_000_000))
      expect(await answer).toBe(200)
    }
    expect(stored).toBe(false)
    // Who goes away makes room.
    held[0]?.destroy()
    expect(await waiting).toBe(200)
    // So does one that sends too little.
    const [, slow = large] = held
    let status: number | undefined
    void statusOf(slow).then((ended) => {
      status = ended
    })
    vi.advanceTimersByTime(HALF_MINUTE)
    expect(await until('it is ended', async () => status)).toBe(408)
  })

  it('gives up a body that does not come, with a problem that says so', async () => {
    const { system } = await startQuietly()
    const slow = open(system.url, 100, { expect: '100-continue' })
    let answer: Answer | undefined
    void answerTo(slow).then((ended) => {
      answer = ended
    })
    slow.flushHeaders()
    await once(slow, 'continue')
    vi.advanceTimersByTime(HALF_MINUTE)
    const { status, headers, body } = await until('it is ended', async () => answer)
    expect([status, headers.connection, body.code]).toEqual([408, 'close', 'REQUEST_TIMEOUT'])
  })
})
