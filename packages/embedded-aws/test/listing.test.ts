import fc from 'fast-check'
import { expect, it, vi } from 'vitest'
import { inOrder, isAfter, pageOf } from '../s3/listing.ts'
import type { StoredObject } from '../s3/state.ts'

const compareBytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b))
/** Of characters at both sides of where UTF-16 and UTF-8 have another order. */
const key = fc
  .array(fc.constantFrom('a', 'b', '/', '~', 'é', '\ud7ff', '\ue000', '\uffff', '\u{10000}', '\u{10ffff}'), {
    maxLength: 4,
  })
  .map((characters) => characters.join(''))

it('keys are in the order of the bytes of UTF-8', () => {
  fc.assert(
    fc.property(fc.array(key), key, (keys, other) => {
      expect(inOrder(keys, (one) => one)).toEqual(keys.toSorted(compareBytes))
      for (const one of keys) expect(isAfter(one, other)).toBe(compareBytes(one, other) > 0)
    }),
  )
})

it('a page of a large bucket is made without a copy of each key', () => {
  const keys = Array.from({ length: 1_000 }, (_, number) => `key-${String(number).padStart(4, '0')}`)
  const objects = new Map(keys.map((key) => [key, { key } as StoredObject]))
  const copies = vi.spyOn(Buffer, 'from')
  const page = pageOf(objects, { prefix: 'key', delimiter: '', after: 'key-0499', count: 10 })
  expect(copies.mock.calls.length).toBeLessThan(objects.size)
  copies.mockRestore()
  expect(page.objects.map((object) => object.key)).toEqual(keys.slice(500, 510))
  expect(page.next).toBe('key-0509')
})
