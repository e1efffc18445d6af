import { ListObjectsV2Command } from '@aws-sdk/client-s3'
import { DeleteCommand, PutCommand } from '@aws-sdk/lib-dynamodb'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { buildApp } from '../../api/app.ts'
import { sweep } from '../../sweeper/sweep.ts'
import { startTestSystem, type TestSystem, type Watcher, watchCalls } from '../context.ts'
import { distinct } from '../pictures/pictures.ts'

/** What an idempotency key promises (README), however repeats and deletions of its image fall upon each other. */

let system: TestSystem
let watcher: Watcher
let png: Buffer
let key = ''
let keys = 0
beforeAll(async () => {
  system = await startTestSystem()
  watcher = watchCalls(system)
  png = await distinct(1)
})
afterAll(() => system.stop())
beforeEach(() => {
  keys += 1
  key = `key-${keys}`
})
afterEach(() => {
  delete watcher.before
  delete watcher.after
  expect(system.trouble.splice(0)).toEqual([])
})

/** One request with the key of the test, sent as often as a test likes. */
const ROUTES = {
  '/images': (app = system.app) =>
    app.request('/images?filename=a.png', {
      method: 'POST',
      headers: { 'content-type': 'image/png', 'idempotency-key': key, 'x-test-owner': key },
      body: new Uint8Array(png),
    }),
  '/uploads': (app = system.app) =>
    app.request('/uploads', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': key, 'x-test-owner': key },
      body: JSON.stringify({ contentType: 'image/png', bytes: 900, filename: 'a.png' }),
    }),
} as const
type Route = keyof typeof ROUTES
const routes: Route[] = ['/images', '/uploads']

const ask = (path: string, method = 'GET') =>
  system.app.request(path, { method, headers: { 'x-test-owner': key } })
const remove = (imageId: string) => ask(`/images/${imageId}`, 'DELETE')
const accepted = async (response: Response): Promise<string> => {
  expect([201, 202], await response.clone().text()).toContain(response.status)
  const { imageId, status } = (await response.json()) as { imageId: string; status: string }
  expect(['pending', 'awaiting_upload']).toContain(status)
  return imageId
}
const objectsOf = async (imageId: string): Promise<string[]> => {
  const { Contents = [] } = await system.worker.s3.send(
    new ListObjectsV2Command({ Bucket: system.names.bucket }),
  )
  return Contents.map(({ Key = '' }) => Key).filter((name) => name.includes(imageId))
}
/** Twice, because the sweeper removes nothing at first sight. */
const sweepLater = async () => {
  for (let look = 0; look < 2; look += 1) {
    await sweep(
      {
        ...system.worker,
        giveUpMs: 1e9,
        log: {
          ...system.worker.log,
          error: (message, extra) => system.trouble.push(`${message} ${extra['error']}`),
        },
      },
      Date.now() + 10_000_000,
    )
  }
}
const saysDeleted = async (response: Response) => {
  expect(response.status, await response.clone().text()).toBe(404)
  expect(await response.json()).toMatchObject({
    code: 'IMAGE_NOT_FOUND',
    detail: expect.stringMatching(/Idempotency-Key.* deleted.* another key/),
  })
}

/**
 * After deletions have been confirmed: each image is there for no request, and none brings it back.
 *
 * @param images by their keys
 */
async function stayDeleted(route: Route, images: ReadonlyMap<string, string>): Promise<void> {
  for (let time = 0; time < 2; time += 1) {
    for (const [of, imageId] of images) {
      key = of
      await saysDeleted(await ROUTES[route]())
      expect((await ask(`/images/${imageId}`)).status).toBe(404)
      expect(await objectsOf(imageId)).toEqual([])
    }
    // The second time when the sweeper has taken away what the deletions have left.
    await system.work()
    await sweepLater()
    for (const imageId of images.values()) expect(await system.item(imageId)).toEqual({})
  }
}

describe.each(routes)('an idempotency key of POST %s', (route) => {
  it('outlives the deletion of its image: the same request is told of it, and makes no other image', async () => {
    const imageId = await accepted(await ROUTES[route]())
    expect(await accepted(await ROUTES[route]())).toBe(imageId)
    expect((await remove(imageId)).status).toBe(204)
    await stayDeleted(route, new Map([[key, imageId]]))
  })

  it('lives for a day, from its first request on', async () => {
    const imageId = await accepted(await ROUTES[route]())
    expect((await remove(imageId)).status).toBe(204)
    await sweepLater()
    const began = Date.now()
    const after = (ms: number) => buildApp({ ...system.api, now: () => new Date(began + ms) })
    await saysDeleted(await ROUTES[route](after(86_300_000)))
    expect(await accepted(await ROUTES[route](after(86_400_000)))).not.toBe(imageId)
  })

  it('may run out and be removed while it is looked at', async () => {
    const first = await accepted(await ROUTES[route]())
    const { keyHash } = await system.item(first)
    watcher.before = async (command) => {
      if (command !== 'GetItemCommand') return
      delete watcher.before
      await system.worker.dynamo.send(
        new DeleteCommand({ TableName: system.names.table, Key: { imageId: `idempotency#${keyHash}` } }),
      )
    }
    expect(await accepted(await ROUTES[route]())).not.toBe(first)
  })

  it('meets a deletion at each of its own steps, and at each of the deletion', async () => {
    const deleted = new Map<string, string>()
    /** Runs one request whole, when the other one is about to make its so-manieth call. */
    const meet = async (outer: 'repeat' | 'deletion', step: number) => {
      keys += 1
      key = `key-${keys}`
      const imageId = await accepted(await ROUTES[route]())
      const start = { repeat: ROUTES[route], deletion: () => remove(imageId) }
      let calls = 0
      let inner: Response | undefined
      watcher.before = async () => {
        calls += 1
        if (calls !== step) return
        delete watcher.before
        inner = await start[outer === 'repeat' ? 'deletion' : 'repeat']()
      }
      const own = await start[outer]()
      delete watcher.before
      if (inner === undefined) return false
      const [repeat, deletion] = outer === 'repeat' ? [own, inner] : [inner, own]
      const at = `${outer} met at call ${step}`
      expect(deletion.status, at).toBe(204)
      expect([201, 202, 404], `${at}: ${await repeat.clone().text()}`).toContain(repeat.status)
      if (repeat.status === 404) await saysDeleted(repeat)
      else expect(await accepted(repeat), at).toBe(imageId)
      expect(await objectsOf(imageId), at).toEqual([])
      deleted.set(key, imageId)
      return true
    }
    for (const outer of ['repeat', 'deletion'] as const) {
      let step = 1
      while (await meet(outer, step)) step += 1
      expect(step, outer).toBeGreaterThan(4)
    }
    await stayDeleted(route, deleted)
  })

  it('stands for one image at most, in whatever order two repeats and a deletion take their steps', async () => {
    const hasty = buildApp({ ...system.api, sleep: async () => {} })
    const gone = new Map<string, string>()
    for (let seed = 1; seed <= 8; seed += 1) {
      keys += 1
      key = `key-${keys}`
      // In half of them the first request is one of those at once.
      const known = seed % 2 === 0 ? await accepted(await ROUTES[route]()) : undefined
      const ids = new Set(known === undefined ? [] : [known])
      const send = async () => {
        const response = await ROUTES[route](hasty)
        if (response.status === 404) return saysDeleted(response)
        ids.add(await accepted(response))
      }
      const deletion = async () => {
        for (let look = 0; look < 3; look += 1) {
          const list = (await (await ask('/images')).json()) as {
            items: { imageId: string }[]
          }
          const imageId = known ?? list.items[0]?.imageId
          // Neither of the two has got so far.
          if (imageId === undefined) continue
          const { status } = await remove(imageId)
          expect([204, 404]).toContain(status)
          if (status === 204) return imageId
        }
        return undefined
      }
      const [, , deleted] = await inSomeOrder(seed, [send, send, deletion])
      expect([...ids].length, `seed ${seed}`).toBeLessThanOrEqual(1)
      if (deleted !== undefined && (known !== undefined || ids.has(deleted))) {
        if (known !== undefined) expect(await objectsOf(deleted), `seed ${seed}`).toEqual([])
        await system.work()
        expect(await objectsOf(deleted), `seed ${seed}`).toEqual([])
        gone.set(key, deleted)
      }
    }
    await stayDeleted(route, gone)
  })
})

/** Lets one call of all that wait go on at a time, chosen by the seed. */
async function inSomeOrder<T extends unknown[]>(
  seed: number,
  actors: { [I in keyof T]: () => Promise<T[I]> },
): Promise<T> {
  const waiting: (() => void)[] = []
  let active = actors.length
  watcher.before = () => new Promise((go) => waiting.push(go))
  let state = seed * 2_654_435_761
  const results = Promise.all(
    actors.map((start: () => Promise<unknown>) =>
      start().finally(() => {
        active -= 1
      }),
    ),
  )
  while (active > 0) {
    if (waiting.length < active) {
      await new Promise((resolve) => setTimeout(resolve, 1))
      continue
    }
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
    waiting.splice(Math.floor((state / 2_147_483_648) * waiting.length), 1)[0]?.()
  }
  delete watcher.before
  return (await results) as T
}

describe('an idempotency key binds', () => {
  const post = (query: string, init: RequestInit = {}) =>
    system.app.request(`/images${query}`, {
      method: 'POST',
      body: new Uint8Array(png),
      ...init,
      headers: { 'content-type': 'image/png', 'idempotency-key': key, 'x-test-owner': key, ...init.headers },
    })
  const refused = async (response: Response) => {
    expect(response.status, await response.clone().text()).toBe(422)
    expect(await response.json()).toMatchObject({
      code: 'IDEMPOTENCY_KEY_REUSED',
      detail: expect.stringMatching(/file name.*analyses/),
    })
  }

  it('bytes, file name and analyses, and no other way to write the same', async () => {
    const imageId = await accepted(await post('?filename=a.png'))
    await refused(await post('?filename=b.png'))
    await refused(await post(''))
    await refused(await post('?filename=a.png&analyses=labels'))
    await refused(await post('?filename=a.png', { body: new Uint8Array(await distinct(2)) }))
    for (const same of [
      post('?filename=folder/a.png&analyses=metadata,faces,labels'),
      post('', { headers: { 'content-disposition': 'attachment; filename="a.png"' } }),
      post('', {
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ image: png.toString('base64'), filename: 'a.png', analyses: null }),
      }),
    ]) {
      expect(await accepted(await same)).toBe(imageId)
    }
  })

  it('the bytes only where the version before has stored it', async () => {
    const imageId = await accepted(await post('?filename=a.png'))
    const { keyHash } = await system.item(imageId)
    const { request: _, ...before } = await system.item(`idempotency#${keyHash}`)
    expect(Object.keys(before).sort()).toEqual(['createdAt', 'expiresAt', 'imageId', 'sha256', 'target'])
    await system.worker.dynamo.send(new PutCommand({ TableName: system.names.table, Item: before }))
    expect(await accepted(await post('?filename=b.png'))).toBe(imageId)
    await refused(await post('?filename=a.png', { body: new Uint8Array(await distinct(2)) }))
  })
})
