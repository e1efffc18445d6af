import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createClient } from '../packages/client/index.ts'
import { startTestSystem, type TestSystem } from './context.ts'
import { distinct } from './pictures.ts'

/** A gateway's own answer has a status and nothing of ours: API Gateway's own 413 is `{"message": …}`. */
describe('the client, where a gateway answers instead of the API', () => {
  let system: TestSystem
  beforeAll(async () => {
    system = await startTestSystem()
  })
  afterAll(() => system.stop())

  const clientBehind = (refuse: (path: string, method: string) => Response | undefined) =>
    createClient({
      endpoint: 'http://127.0.0.1:1',
      fetch: async (url, init) => {
        const { origin, pathname } = new URL(url)
        // Forms go to S3 itself.
        if (origin !== 'http://127.0.0.1:1') return fetch(url, init)
        return refuse(pathname, init?.method ?? 'GET') ?? system.app.request(url, init)
      },
    })

  it.each([
    ['without a body', () => new Response(null, { status: 413 })],
    ['in the words of API Gateway', () => Response.json({ message: 'Request Too Long' }, { status: 413 })],
    [
      'in HTML',
      () => new Response('<html>413</html>', { status: 413, headers: { 'content-type': 'text/html' } }),
    ],
  ])('sends an image that is too large for it to S3 directly: a 413 %s', async (_, answer) => {
    const client = clientBehind((path, method) =>
      method === 'POST' && path === '/images' ? answer() : undefined,
    )
    const accepted = await client.upload(await distinct(413))
    expect(accepted).toMatchObject({ via: 'uploads' })
    expect(await (await system.app.request(`/images/${accepted.imageId}`)).json()).toMatchObject({
      imageId: accepted.imageId,
    })
  })
})
