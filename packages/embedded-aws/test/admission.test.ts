import { totalmem } from 'node:os'
import { setImmediate } from 'node:timers/promises'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { admit, placesFor } from '../gateway/index.ts'

const URL = 'http://127.0.0.1/'
const posted = (headers: Record<string, string> = { 'content-length': '1' }): Request =>
  new Request(URL, { method: 'POST', headers })

/** What has come of a promise after so many turns of this process. */
async function early<T>(promise: Promise<T>): Promise<T | 'nothing yet'> {
  const turns = async (): Promise<'nothing yet'> => {
    for (let turn = 0; turn < 100; turn += 1) await setImmediate()
    return 'nothing yet'
  }
  return Promise.race([promise, turns()])
}
const statusOf = async (answer: Promise<Response>) =>
  early(answer.then(({ status }) => status).catch((error: Error) => error.message))

describe('of requests with a body', () => {
  /** All of them wait for their turn until there is one. */
  function waiting() {
    const turns: (() => void)[] = []
    const handle = admit(
      async () => new Response('done'),
      async (work) => {
        await new Promise<void>((begin) => turns.push(begin))
        return work()
      },
      async () => new Response(null, { status: 429 }),
    )
    return { handle, begin: () => turns.shift()?.() }
  }

  it('64 are under way or wait for their turn, and the next one is refused', async () => {
    const { handle, begin } = waiting()
    const inside = Array.from({ length: 64 }, () => handle(posted()))
    expect(await statusOf(handle(posted()))).toBe(429)
    for (const answer of inside) {
      begin()
      expect(await statusOf(answer)).toBe(200)
      // Its place is there for one more.
      expect(await statusOf(handle(posted()))).toBe('nothing yet')
      expect(await statusOf(handle(posted()))).toBe(429)
    }
  })

  it('each is one, and those without a body are none', async () => {
    const { handle } = waiting()
    for (let sent = 0; sent < 64; sent += 1) void handle(posted())
    for (const headers of [{ 'content-length': '1' }, { 'transfer-encoding': 'chunked' }])
      expect(await statusOf(handle(posted(headers))), JSON.stringify(headers)).toBe(429)
    for (const headers of [{}, { 'content-length': '0' }])
      expect(await statusOf(handle(posted(headers))), JSON.stringify(headers)).toBe(200)
  })
})

describe('what a refusal has left unread', () => {
  const refusing = admit(
    async () => new Response(),
    async (work) => work(),
    async () => new Response(null, { status: 429 }),
  )
  /** One that is answered without a look at its body. */
  function sending(pieces: Iterator<Uint8Array>) {
    let pulled = 0
    const body = new ReadableStream<Uint8Array>(
      {
        pull: (controller) => {
          const { done, value } = pieces.next()
          if (done) return controller.close()
          pulled += 1
          controller.enqueue(value)
        },
      },
      { highWaterMark: 0 },
    )
    const init = { method: 'POST', body, duplex: 'half', headers: { 'content-length': '1' } }
    return { request: new Request(URL, init), pulled: () => pulled }
  }

  it('is read before the answer, and another may read on', async () => {
    const { readable, writable } = new TransformStream<Uint8Array>()
    const init = { method: 'POST', body: readable, duplex: 'half', headers: { 'content-length': '2' } }
    const request = new Request(URL, init)
    const answer = refusing(request)
    const writer = writable.getWriter()
    for (let sent = 0; sent < 2; sent += 1) {
      expect(await statusOf(answer)).toBe('nothing yet')
      expect(await early(writer.write(new Uint8Array(1)))).toBeUndefined()
    }
    void writer.close()
    expect(await statusOf(answer)).toBe(200)
    expect(request.body?.locked).toBe(false)
  })

  it('is read as far as 64 MB', async () => {
    const { request, pulled } = sending(
      (function* () {
        yield new Uint8Array(63_999_999)
        for (;;) yield new Uint8Array(1)
      })(),
    )
    expect(await statusOf(refusing(request))).toBe(200)
    expect(pulled()).toBe(2)
  })

  it('is left where there is none, where another reads it, and where the client is gone', async () => {
    expect(await statusOf(refusing(posted()))).toBe(200)
    const { request } = sending([].values())
    request.body?.getReader()
    expect(await statusOf(refusing(request))).toBe(200)
    const gone = sending({
      next: () => {
        throw new Error('gone')
      },
    })
    expect(await statusOf(refusing(gone.request))).toBe(200)
  })
})

describe('as many bodies are read at once as an eighth of the memory holds eight times, from one to eight:', () => {
  it.each([
    ['that of the machine', 0, totalmem()],
    ['that of its container', totalmem() / 2, totalmem() / 2],
    ['that of the machine in a larger container', totalmem() * 2, totalmem()],
  ])('%s', (_, constrained, memory) => {
    const said = vi.spyOn(process, 'constrainedMemory').mockReturnValue(constrained)
    onTestFinished(() => said.mockRestore())
    expect(placesFor(memory)).toBe(1)
    for (const places of [1, 3, 8]) expect(placesFor(Math.floor(memory / 8 / 8 / places))).toBe(places)
    expect(placesFor(1)).toBe(8)
  })
})
