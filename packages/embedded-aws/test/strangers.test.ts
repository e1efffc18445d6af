import { describe, expect, it } from 'vitest'
import { strangerOf } from '../gateway/index.ts'

const FRIEND = 'http://friend.test:5173'
const asked = async (
  headers: Record<string, string>,
  { method = 'GET', url = 'http://127.0.0.1:3000/images' } = {},
) => {
  const request = new Request(url, { method })
  // A Request leaves out what only a browser may say.
  Object.defineProperty(request, 'headers', { value: new Headers({ host: '127.0.0.1:3000', ...headers }) })
  return strangerOf(request, ['photos.test'], [FRIEND])
}

it('a request for another host is refused, in its Host and in its first line', async () => {
  const misdirected = {
    status: 421,
    code: 'MISDIRECTED_REQUEST',
    title: 'The request is for another host',
    detail: expect.stringContaining('ALLOWED_HOSTS'),
  }
  await expect(asked({ host: 'evil.test' })).resolves.toEqual(misdirected)
  await expect(asked({}, { url: 'http://evil.test/images' })).resolves.toEqual(misdirected)
  await expect(asked({ host: 'photos.test' }, { url: 'http://photos.test/images' })).resolves.toBeUndefined()
})

const visit = {
  ...{ 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' },
}

describe('a request of a page of another origin', () => {
  it.each<[string, Record<string, string>]>([
    ['has the name of another host', { origin: 'http://evil.test' }],
    ['has another port', { origin: 'http://127.0.0.1:1' }],
    ['has no origin', { origin: 'null' }],
    ['has a friend beside it', { origin: `${FRIEND}, http://evil.test` }],
    ['is for an image', { 'sec-fetch-site': 'cross-site' }],
    ['is of the same site', { 'sec-fetch-site': 'same-site' }],
    ['is a visit with an origin', { ...visit, origin: 'http://evil.test' }],
    ['is for a frame', { ...visit, 'sec-fetch-dest': 'iframe' }],
    ['is for a script', { ...visit, 'sec-fetch-mode': 'no-cors' }],
  ])('that %s is refused', async (_, headers) => {
    await expect(asked(headers)).resolves.toEqual({
      ...{ status: 403, code: 'CROSS_ORIGIN_REQUEST' },
      title: 'The request comes from a page of another origin',
      detail: expect.stringContaining('CORS_ORIGINS'),
    })
  })

  it('is none of a program, of the page itself, of one that may, or a visit', async () => {
    for (const headers of [
      {},
      { 'sec-fetch-site': 'none' },
      { 'sec-fetch-site': 'same-origin' },
      { origin: 'http://127.0.0.1:3000' },
      { origin: 'http://photos.test', host: 'Photos.Test' },
      { origin: FRIEND, 'sec-fetch-site': 'cross-site' },
      visit,
    ])
      await expect(asked(headers), JSON.stringify(headers)).resolves.toBeUndefined()
    await expect(asked(visit, { method: 'POST' })).resolves.toMatchObject({ status: 403 })
  })
})
