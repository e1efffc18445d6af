import { afterEach, expect, it, vi } from 'vitest'
import { box, fullBox, jpegSegment, pngChunk, repeat, u16, u32 } from '../../../test/pictures/pictures.ts'
import { avifPixels, prepare } from '../index.ts'

/** What a file can ask for before it is decoded, in the thread that all images share: in proportion to its size. */

afterEach(() => {
  vi.restoreAllMocks()
})

/** How often the work calls a method of buffers, with such a first argument. */
function calls(
  method: 'indexOf' | 'toString' | 'readUInt16BE' | 'readUInt32BE',
  work: () => unknown,
  wanted: (first: unknown) => boolean = () => true,
): number {
  const spy = vi.spyOn(Buffer.prototype, method)
  work()
  return spy.mock.calls.filter(([first]) => wanted(first)).length
}

const MANY = 300
const [BEGIN, END] = [Buffer.from('ffd8', 'hex'), Buffer.from('ffd9', 'hex')]
const jpegOf = (...segments: Buffer[]): Buffer => Buffer.concat([BEGIN, ...segments, END])

it('each segment that depends on the next frame of a JPEG does not look for it anew', () => {
  const adobe = repeat(jpegSegment(0xee, Buffer.from('Adobe\0d\0\0\0\0\x01', 'latin1')), MANY)
  expect(calls('indexOf', () => prepare(jpegOf(adobe), 'image/jpeg'))).toBeLessThan(3 * MANY)
})

it('each frame of a JPEG without a height does not look for its first scan anew', () => {
  const frame = Buffer.from([8, 0, 0, 0, 100, 1, 1, 0x11, 0])
  const file = jpegOf(repeat(jpegSegment(0xc0, frame), MANY))
  expect(calls('indexOf', () => prepare(file, 'image/jpeg'), Buffer.isBuffer)).toBe(1)
})

it('a PNG’s gamma is read, and not what comes behind it in its chunk', () => {
  const chunks = [
    ...[pngChunk('IHDR', Buffer.alloc(13)), pngChunk('gAMA', Buffer.alloc(40_000))],
    pngChunk('IDAT', Buffer.alloc(9)),
  ]
  const file = Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), ...chunks])
  expect(calls('readUInt32BE', () => prepare(file, 'image/png'))).toBeLessThan(100)
})

/** An AVIF of two pictures. */
function avifOf(properties: Buffer[], ofSecond: number[], references: Buffer[] = []): Buffer {
  const infe = (id: number): Buffer => fullBox('infe', 2, u16(id), u16(0), Buffer.from('av01\0'))
  const said = Buffer.concat([u16(2), Buffer.from([ofSecond.length, ...ofSecond])])
  const ipma = fullBox('ipma', 0, u32(1), said)
  return Buffer.concat([
    box('ftyp', Buffer.from('avif\0\0\0\0avifmif1')),
    fullBox(
      'meta',
      0,
      fullBox('pitm', 0, u16(1)),
      fullBox('iinf', 0, u16(2), infe(1), infe(2)),
      box('iprp', box('ipco', ...properties), ipma),
      fullBox('iref', 0, ...references),
    ),
  ])
}
const ofFirst = (type: 'auxl' | 'dimg', from: number, to: number): Buffer =>
  box(type, u16(from), u16(1), u16(to))

it('a property is looked at once, however many references lead to it', () => {
  const auxC = fullBox('auxC', 0, Buffer.from('urn:another\0'))
  const references = Array(100).fill(ofFirst('auxl', 2, 1))
  const file = avifOf([auxC], Array(100).fill(1), references)
  expect(calls('toString', () => prepare(file, 'image/avif'))).toBeLessThan(5_000)
})

/** Units in a box hvcC, each with its length. */
const hvcC = (...units: Buffer[]): Buffer =>
  box(
    'hvcC',
    Buffer.alloc(22),
    Buffer.from([Math.ceil(units.length / 50_000)]),
    ...Array.from({ length: Math.ceil(units.length / 50_000) }, (_, at) => {
      const some = units.slice(50_000 * at, 50_000 * (at + 1))
      return Buffer.concat([Buffer.from([33]), u16(some.length), ...some])
    }),
  )

it('a property is read once, however many associations lead to it', () => {
  const file = avifOf([hvcC(...Array(100).fill(u16(0)))], Array(200).fill(1), [ofFirst('dimg', 1, 2)])
  expect(calls('readUInt16BE', () => avifPixels(file))).toBeLessThan(1_000)
})

const NOT_FOLLOWED = { largest: 0, decoded: Number.POSITIVE_INFINITY }

it('headers of coded data are read up to a limit, as each takes as long as a hundred other units', () => {
  const parameters = Buffer.from([0, 1, 33 << 1])
  const ofHevc = (count: number) =>
    avifOf([hvcC(...Array(count).fill(parameters))], [1], [ofFirst('dimg', 1, 2)])
  expect(avifPixels(ofHevc(100_001))).toEqual(NOT_FOLLOWED)
  expect(avifPixels(ofHevc(1_000)).decoded).toBe(0)
  // Type, and a size of no bytes.
  const header = Buffer.from([0x0a, 0])
  const ofAv1 = (count: number) =>
    avifOf([box('av1C', Buffer.alloc(4), repeat(header, count))], [1], [ofFirst('dimg', 1, 2)])
  expect(avifPixels(ofAv1(100_001))).toEqual(NOT_FOLLOWED)
  expect(avifPixels(ofAv1(1_000)).decoded).toBe(0)
})

it.each(['avif', 'heic'])('the boxes of a file of %s are walked through up to a limit', (kind) => {
  const file = (count: number): Buffer =>
    Buffer.concat([box('ftyp', Buffer.from(`${kind}\0\0\0\0${kind}mif1`)), repeat(box('free'), count)])
  const refusal = { code: 'CORRUPT_IMAGE', message: 'The image has more than 10000 boxes.' }
  expect(() => prepare(file(10_000), `image/${kind}`)).toThrow(expect.objectContaining(refusal))
  if (kind === 'avif') expect(prepare(file(9_000), 'image/avif').coded).toEqual({ largest: 0, decoded: 0 })
})
