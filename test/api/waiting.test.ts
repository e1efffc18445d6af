import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { serve } from '@hono/node-server'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { buildApp } from '../../api/app.ts'
import type { ApiDeps } from '../../api/deps.ts'
import { createClient } from '../../packages/client/index.ts'
import type { Sleep } from '../../shared/aws.ts'
import { startTestSystem, type TestSystem, until, type Watcher, watchCalls } from '../context.ts'
import { orHangs } from '../own-time.ts'
import { distinct } from '../pictures/pictures.ts'

let system: TestSystem
let watcher: Watcher
/** Reads of single records, since the test began. */
let reads = 0
let pictures = 0
const submit = async (): Promise<string> => system.submit(await distinct(++pictures))

beforeAll(async () => {
  system = await startTestSystem()
  watcher = watchCalls(system)
})
afterAll(() => system.stop())
beforeEach(() => {
  reads = 0
  watcher.before = (command) => {
    if (command === 'GetItemCommand') reads += 1
  }
  delete watcher.after
})

/** Of an answer; of a hang, which is taken letter by letter, there is none. */
const statusOf = (answer: { status: unknown } | string): unknown =>
  typeof answer === 'string' ? 'hangs' : answer.status

/** More than any of them takes; who waits for longer is answered with an error. */
const MOST_STEPS = 200

/**
 * An API in which the time goes by for those who wait, and at once.
 *
 * @param before what happens before each step
 */
function startApi(before: (step: number) => unknown = () => {}, settings: Partial<ApiDeps> = {}) {
  let time = 0
  let steps = 0
  const sleep: Sleep = async (ms) => {
    steps += 1
    if (steps > MOST_STEPS) throw new Error('It goes on and on.')
    await before(steps)
    time += ms
  }
  const app = buildApp({ ...system.api, elapsed: () => time, sleep, ...settings })
  return {
    app,
    wait: async (imageId: string, seconds: number, init: RequestInit = {}) => {
      const answer = await app.request(`/images/${imageId}?wait=${seconds}`, init)
      const { status, code } = (await answer.json()) as { status?: unknown; code?: string }
      return { status: code ?? status, timing: answer.headers.get('server-timing') }
    },
    steps: () => steps,
  }
}

describe('clients that wait for an image', () => {
  it('cost one read a step, however many they are, and none when it is finished', async () => {
    const imageId = await submit()
    let byWorker = 0
    const { wait, steps } = startApi(async (step) => {
      const before = reads
      if (step === 10) await system.work()
      byWorker += reads - before
    })
    const answers = await orHangs(Promise.all(Array.from({ length: 1_000 }, () => wait(imageId, 20))))
    expect(new Set(Array.from(answers, statusOf))).toEqual(new Set(['completed']))
    expect(steps()).toBe(10)
    expect(reads - byWorker).toBe(1 + 10)
  })

  it('for many images cost no more than 200 reads a second together', async () => {
    const ids = await Promise.all(Array.from({ length: 25 }, submit))
    const [allRead, allPause] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    reads = 0
    watcher.before = async (command) => {
      if (command !== 'GetItemCommand') return
      reads += 1
      if (reads === ids.length) allRead.resolve()
      await allRead.promise
    }
    const pauses: number[] = []
    const { wait } = startApi(() => {}, {
      sleep: async (ms) => {
        if (pauses.push(ms) === ids.length) allPause.resolve()
        await allPause.promise
        throw new Error('enough is known')
      },
    })
    expect(await orHangs(Promise.all(ids.map((id) => wait(id, 20))))).toHaveLength(ids.length)
    expect(Math.min(...pauses)).toBeGreaterThanOrEqual((ids.length / 200) * 1_000)
  })

  it('have their answers when their time is over, each its own', async () => {
    const imageId = await submit()
    const { wait, steps } = startApi()
    const answers = await orHangs(Promise.all([1, 3, 20, 2].map((seconds) => wait(imageId, seconds))))
    expect(answers).toEqual(
      [1_000, 3_000, 20_000, 2_000].map((ms) => ({ status: 'pending', timing: `wait;dur=${ms}` })),
    )
    // 100, 200, 300 ms, and then twice a second.
    expect(steps()).toBeLessThanOrEqual(3 + 2 * 20)
    expect(reads).toBe(1 + steps())
  })

  it('see no more of each other than a client who asks alone: another owner gets a 404', async () => {
    const imageId = await submit()
    const { wait } = startApi()
    const stranger = { headers: { 'x-test-owner': 'stranger' } }
    const answers = await orHangs(
      Promise.all([wait(imageId, 2), wait(imageId, 2, stranger), wait(imageId, 1)]),
    )
    expect(Array.from(answers, statusOf)).toEqual(['pending', 'IMAGE_NOT_FOUND', 'pending'])
  })

  it('are not told what was read before they asked', async () => {
    const imageId = await submit()
    await system.work()
    const { app, wait } = startApi()
    let late: ReturnType<typeof wait> | undefined
    watcher.after = async (command) => {
      if (command !== 'GetItemCommand' || late !== undefined) return
      // The record has been read for the first client, who has not heard of it yet.
      delete watcher.after
      expect((await app.request(`/images/${imageId}`, { method: 'DELETE' })).status).toBe(204)
      late = wait(imageId, 1)
    }
    expect(await orHangs(wait(imageId, 1))).toMatchObject({ status: 'completed' })
    expect(await orHangs(Promise.resolve(late))).toMatchObject({ status: 'IMAGE_NOT_FOUND' })
  })

  it('are all told of a failing read, after which others may wait again', async () => {
    const imageId = await submit()
    const { wait } = startApi((step) => {
      if (step === 3)
        watcher.before = () => {
          throw new Error('DynamoDB is away.')
        }
    })
    const answers = await orHangs(Promise.all([wait(imageId, 20), wait(imageId, 10)]))
    expect(Array.from(answers, statusOf)).toEqual(['UNAVAILABLE', 'UNAVAILABLE'])
    delete watcher.before
    expect(await orHangs(wait(imageId, 1))).toMatchObject({ status: 'pending' })
  })

  it('cost nothing any more when they are gone', async () => {
    const imageId = await submit()
    let asleep = 0
    let wake = () => {}
    const sleep: Sleep = () =>
      new Promise((resolve) => {
        asleep += 1
        wake = resolve
      })
    const app = buildApp({ ...system.api, elapsed: () => 0, sleep })
    const handled: { request: Request; answer: Promise<Response> }[] = []
    const server = serve({
      hostname: '127.0.0.1',
      port: 0,
      fetch: (request) => {
        const answer = Promise.resolve(app.fetch(request))
        handled.push({ request, answer })
        return answer
      },
    })
    try {
      if (!server.listening) await once(server, 'listening')
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/images/${imageId}?wait=20`
      const client = new AbortController()
      const answers = [1, 2].map(() => fetch(url, { signal: client.signal }))
      await until('both wait', async () => (asleep === 1 && handled.length === 2 ? true : undefined))
      client.abort()
      await Promise.allSettled(answers)
      await until('the server knows that they are gone', async () =>
        handled.every(({ request }) => request.signal.aborted) ? true : undefined,
      )
      wake()
      expect(await orHangs(Promise.all(handled.map(({ answer }) => answer)))).toHaveLength(2)
      expect({ asleep, reads }).toEqual({ asleep: 1, reads: 1 })
    } finally {
      server.close()
    }
  })
})

describe('a wait that is longer than the deployment lets', () => {
  it('ends after as long as it may last, and the answer says how long that was', async () => {
    const imageId = await submit()
    const { wait } = startApi(undefined, { maxWaitSeconds: 3 })
    expect(await orHangs(wait(imageId, 20))).toEqual({ status: 'pending', timing: 'wait;dur=3000' })
    expect(await orHangs(wait(imageId, 2))).toEqual({ status: 'pending', timing: 'wait;dur=2000' })
  })

  it('ends at once where none may last', async () => {
    const imageId = await submit()
    const { wait, steps } = startApi(undefined, { maxWaitSeconds: 0 })
    expect(await orHangs(wait(imageId, 20))).toEqual({ status: 'pending', timing: 'wait;dur=0' })
    expect([steps(), reads]).toEqual([0, 1])
  })

  it('does not end that of a client program, which asks again', async () => {
    const imageId = await submit()
    const { app, steps } = startApi(undefined, { maxWaitSeconds: 0 })
    let asked = 0
    const fetch = async (url: string | URL | Request, init?: RequestInit) => {
      asked += 1
      if (asked > MOST_STEPS) throw new Error('It asks on and on.')
      if (asked === 2) await system.work()
      return app.request(String(url), init)
    }
    const client = createClient({ endpoint: 'http://127.0.0.1', fetch })
    expect(await orHangs(client.wait(imageId))).toMatchObject({ imageId, status: 'completed' })
    expect([asked, steps()]).toEqual([2, 0])
  })

  it('is said of no answer to a request that does not wait', async () => {
    const { app } = startApi()
    const answer = await app.request(`/images/${await submit()}`)
    expect(answer.status).toBe(200)
    expect(answer.headers.has('server-timing')).toBe(false)
  })
})
