import { totalmem } from 'node:os'
import { expect, it } from 'vitest'
import { admit, placesFor } from '../gateway/index.ts'

const posted = (): Request =>
  new Request('http://127.0.0.1/', { method: 'POST', body: 'x', headers: { 'content-length': '1' } })

it('64 requests with a body are under way or wait for their turn, and the next one is refused', async () => {
  const { promise: turn, resolve: begin } = Promise.withResolvers<void>()
  const handle = admit(
    async () => new Response('done'),
    async (work) => {
      await turn
      return work()
    },
    async () => new Response(null, { status: 429 }),
  )
  const inside = Array.from({ length: 64 }, () => handle(posted()))
  setImmediate(begin)
  expect((await handle(posted())).status).toBe(429)
  expect((await handle(new Request('http://127.0.0.1/'))).status).toBe(200)
  const answers = await Promise.all(inside)
  expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 64 }, () => 200))
  expect((await handle(posted())).status).toBe(200)
})

it('as many bodies are read at once as an eighth of the memory holds eight times, from one to eight', () => {
  const memory = Math.min(totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY)
  expect(placesFor(memory)).toBe(1)
  for (const places of [1, 3, 8]) expect(placesFor(Math.floor(memory / 8 / 8 / places))).toBe(places)
  expect(placesFor(1)).toBe(8)
})
