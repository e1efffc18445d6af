import { totalmem } from 'node:os'
import { setImmediate } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { admit, placesFor } from '../gateway/index.ts'

const URL = 'http://127.0.0.1/'
const posted = (headers: Record<string, string> = { 'content-length': '1' }): Request =>
  new Request(URL, { method: 'POST', headers })

const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 100; turn += 1) await setImmediate()
}

/** What has come of a promise after so many turns of this process. */
async function early<T>(promise: Promise<T>): Promise<T | 'nothing yet'> {
  return Promise.race([promise, settle().then(() => 'nothing yet' as const)])
}
const statusOf = async (answer: Promise<Response>) =>
  early(answer.then(({ status }) => status).catch((error: Error) => error.message))

describe('of requests with a body', () => {
  /** All of them wait for their turn until there is one. */
  function waiting() {
    const turns: (() => void)[] = []
    const handle = admit(
      async () => new Response('done'),
      8,
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

describe('a body that comes slowly', () => {
  const SLOW_MS = 5_000
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }))
  afterEach(() => void vi.useRealTimers())

  /** One turn, and a program that answers with what it has read. */
  function open(places = 1) {
    const read: string[] = []
    const waiting: (() => void)[] = []
    let isTaken = false
    const inTurn = async <T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> => {
      if (isTaken)
        await new Promise<void>((begin, leave) => {
          waiting.push(begin)
          signal.addEventListener('abort', () => {
            waiting.splice(waiting.indexOf(begin), 1)
            leave(signal.reason)
          })
        })
      isTaken = true
      return work().finally(() => {
        isTaken = false
        waiting.shift()?.()
      })
    }
    const handle = admit(
      async (request) => {
        read.push(await request.text())
        return new Response(read.at(-1))
      },
      places,
      inTurn,
      async () => new Response(null, { status: 429 }),
    )
    const begin = (signal = new AbortController().signal) => {
      const { readable, writable } = new TransformStream<Uint8Array>()
      const headers = { 'content-length': '1' }
      const init = { method: 'POST', body: readable, duplex: 'half', signal, headers }
      const writer = writable.getWriter()
      const answer = handle(new Request(URL, init))
      answer.catch(() => {})
      return { answer, writer, write: (text: string) => early(writer.write(Buffer.from(text))) }
    }
    return { begin, read, isTaken: () => isTaken }
  }
  const pass = async (ms: number): Promise<void> => {
    await settle()
    vi.advanceTimersByTime(ms)
    await settle()
  }

  it('leaves its place to others after five seconds, and is answered in a place again', async () => {
    const { isTaken, begin, read } = open()
    const slow = begin()
    await slow.write('slow')
    await pass(SLOW_MS - 1)
    expect(isTaken()).toBe(true)
    await pass(1)
    expect(isTaken()).toBe(false)
    const other = begin()
    await other.write('other')
    await slow.write('ly')
    void slow.writer.close()
    // The place is the other one's until it has been answered.
    expect(await statusOf(slow.answer)).toBe('nothing yet')
    expect(read).toEqual([])
    void other.writer.close()
    expect(await statusOf(other.answer)).toBe(200)
    expect(await (await slow.answer).text()).toBe('slowly')
    expect(isTaken()).toBe(false)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('leaves it at once where it has come, or is answered before', async () => {
    const { isTaken, begin } = open()
    const quick = begin()
    await quick.write('quick')
    void quick.writer.close()
    expect(await statusOf(quick.answer)).toBe(200)
    expect([isTaken(), vi.getTimerCount()]).toEqual([false, 0])
  })

  it('keeps its place where four for each place are outside, and leaves it when one of these is done', async () => {
    const { isTaken, begin } = open()
    const outside = []
    for (let sent = 0; sent < 4; sent += 1) {
      outside.push(begin())
      await pass(SLOW_MS)
      expect(isTaken()).toBe(false)
    }
    const fifth = begin()
    await pass(3 * SLOW_MS)
    expect(isTaken()).toBe(true)
    void outside[0]?.writer.close()
    expect(await statusOf(outside[0]?.answer ?? fifth.answer)).toBe('nothing yet')
    void outside[1]?.writer.abort(new Error('gone'))
    await pass(SLOW_MS)
    void fifth.writer.close()
    expect(await statusOf(fifth.answer)).toBe(200)
    expect(await statusOf(outside[0]?.answer ?? fifth.answer)).toBe(200)
    expect(await statusOf(outside[1]?.answer ?? fifth.answer)).toBe('gone')
  })

  it('makes room outside when its client leaves while it waits for a place again', async () => {
    const { isTaken, begin } = open()
    const gone = new AbortController()
    const slow = begin(gone.signal)
    await pass(SLOW_MS)
    const others = Array.from({ length: 4 }, () => begin())
    for (const _ of others) await pass(SLOW_MS)
    expect(isTaken()).toBe(true)
    void slow.writer.close()
    expect(await statusOf(slow.answer)).toBe('nothing yet')
    gone.abort(new Error('gone'))
    expect(await statusOf(slow.answer)).toBe('gone')
    await pass(SLOW_MS)
    expect(isTaken()).toBe(false)
    // Room for one, and no more.
    begin()
    await pass(SLOW_MS)
    expect(isTaken()).toBe(true)
  })

  it('is outside with seven others where there are two places', async () => {
    const { isTaken, begin } = open(2)
    for (let sent = 1; sent <= 9; sent += 1) {
      begin()
      await pass(SLOW_MS)
      expect(isTaken(), `${sent}`).toBe(sent > 8)
    }
  })
})

describe('what a refusal has left unread', () => {
  let seen: Request | undefined
  const refusing = admit(
    async (request) => {
      seen = request
      return new Response()
    },
    1,
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
    expect(seen?.body?.locked).toBe(false)
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
