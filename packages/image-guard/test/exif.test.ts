import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { metadataSchema } from '../../../shared/image.ts'
import {
  type Entries,
  exifBlock,
  FULL,
  GPS,
  POSITION,
  rational,
  SAID,
  short,
  withExif,
} from '../../../test/pictures/exif-blocks.ts'
import { blankPosition, readExif } from '../index.ts'

const withGps = { gps: true }
const read = (entries: Parameters<typeof exifBlock>[0]) => readExif(exifBlock(entries), withGps)

describe('an Exif block', () => {
  it.each([
    ['little-endian', true],
    ['big-endian', false],
  ])('that is %s gives time, camera, exposure and position', (_name, little) => {
    const block = exifBlock(FULL, little)
    expect(readExif(block, withGps)).toEqual({ ...SAID, gps: POSITION })
    expect(readExif(Buffer.concat([Buffer.from('Exif\0\0'), block]), withGps).gps).toEqual(POSITION)
  })
  it('gives no position where none is wanted', () => {
    expect(readExif(exifBlock(FULL), { gps: false })).toEqual(SAID)
  })
  it.each([
    ['2024:02:29 23:59:59', '', '2024-02-29T23:59:59'],
    ['2024:02:29 23:59:59', '-09:30', '2024-02-29T23:59:59-09:30'],
    ['2024:02:29 23:59:59', 'Z', '2024-02-29T23:59:59Z'],
    ['2024:02:29 23:59:59', '+15:00', '2024-02-29T23:59:59'],
    ['2024:02:29 23:59:59', 'CEST', '2024-02-29T23:59:59'],
    ['2024-02-29 23:59:59', '', '2024-02-29T23:59:59'],
    ['2024:02:29 23:59:59.978', '+02:00', '2024-02-29T23:59:59+02:00'],
    ['2024:02:29 23:59:59.', '', undefined],
    ['2023:02:29 23:59:59', '', undefined],
    ['2024:13:01 00:00:00', '', undefined],
    ['2024:01:01 24:00:00', '', undefined],
    ['2024:01:01 00:00:60', '', undefined],
    ['0000:00:00 00:00:00', '', undefined],
    ['0000:01:01 00:00:00', '', undefined],
    ['    :  :     :  :  ', '', undefined],
    ['2024:01:01', '', undefined],
    ['', '+01:00', undefined],
  ])('with the time %j and the offset %j was captured at %j', (time, offset, capturedAt) => {
    expect(read({ photo: { 36867: time, 36881: offset } }).capturedAt).toBe(capturedAt)
  })
  it.each<[string, Entries, object | undefined]>([
    ['north and west', { 1: 'N', 3: 'W' }, { latitude: 33.9116959, longitude: -18.4228175 }],
    [
      'degrees alone',
      { 2: rational(85, 10), 4: rational(1805, 10_000) },
      { latitude: -8.5, longitude: 0.1805 },
    ],
    ['above the sea', { 5: { type: 1, of: [0] } }, { altitude: 12.35 }],
    ['a height of no value', { 6: rational(1, 0) }, { latitude: POSITION.latitude }],
    ['no direction', { 1: '' }, undefined],
    ['a direction that is none', { 3: 'Q' }, undefined],
    ['a latitude of no value', { 2: rational(0, 0, 0, 0, 0, 0) }, undefined],
    ['a latitude beyond the pole', { 2: rational(90, 1, 0, 1, 1, 1) }, undefined],
    ['a longitude beyond 180 degrees', { 4: rational(181, 1) }, undefined],
    ['a latitude below nothing', { 2: { type: 10, of: [-33, 1, 0, 1, 0, 1] } }, undefined],
    ['a latitude as text', { 2: '33.5' }, undefined],
  ])('with %s has its position, or none', (_name, change, expected) => {
    const { gps } = read({ gps: { ...GPS, ...change } })
    if (expected === undefined) expect(gps).toBeUndefined()
    else expect(gps).toMatchObject(expected)
  })
  it.each<[string, Entries, Entries, object]>([
    ['exposure for nothing', { 33434: rational(0, 1), 33437: rational(28, 0) }, {}, {}],
    ['a signed exposure', { 33434: { type: 10, of: [-1, 5] } }, {}, {}],
    ['a sensitivity of 65,535 or more', { 34855: short(65_535) }, {}, {}],
    ['an orientation of none', {}, { 274: short(9) }, {}],
    ['an orientation', {}, { 274: short(6) }, { orientation: 6 }],
  ])('with %s says what is possible only', (_name, photo, image, expected) => {
    expect(read({ photo, image })).toEqual(expected)
  })
  it.each([
    ['controls, marks of direction and lines', 'A\u0007\u202eB\u200b\nC\u2028 D', 'A B C D'],
    ['markup as it is', '<b>&amp;', '<b>&amp;'],
    ['blanks only as nothing', ' \t ', undefined],
    ['what follows a zero as nothing', 'Nikon\0secret', 'Nikon'],
    ['a long text cut between characters', `x${'写'.repeat(300)}`, `x${'写'.repeat(99)}`],
    ['a lost character as one', 'A\ufffdB', 'A\ufffdB'],
  ])('gives %s', (_name, text, make) => {
    expect(read({ image: { 271: text } }).make).toBe(make)
  })
  it('gives text that is not UTF-8 as Latin-1', () => {
    const block = exifBlock({ image: { 271: 'Ger#t' } })
    block[block.indexOf('#')] = 0xe4
    expect(readExif(block, withGps).make).toBe('Gerät')
  })
  it.each<[string, Buffer]>([
    ['nothing', Buffer.alloc(0)],
    ['a header only', exifBlock({}).subarray(0, 8)],
    ['another file', Buffer.from('RIFF....WEBP'.repeat(20))],
    ['more than 256 KB', Buffer.concat([exifBlock(FULL), Buffer.alloc(262_145)])],
    ['a directory in itself', selfContained()],
    ['20,000 entries whose values are all the rest', overlapping()],
  ])('of %s says nothing', (_name, block) => {
    expect(readExif(block, withGps)).toEqual({})
  })
  it('says the same, and is blanked in part, where an editor left its last pointer behind', () => {
    // Where the directory of interoperability was is now something that would be 4,883 entries.
    const moved = Buffer.alloc(60_000, 0x13)
    const pointing = (at: number): Buffer =>
      exifBlock({ ...FULL, photo: { ...FULL.photo, 40965: { type: 4, of: [at] } } })
    const block = Buffer.concat([pointing(pointing(0).length), moved])
    expect(readExif(block, withGps)).toEqual({ ...SAID, gps: POSITION })
    const jpeg = withExif(Buffer.from('ffd8ffd9', 'hex'), block)
    blankPosition(jpeg)
    expect(readExif(jpeg.subarray(6, 6 + 6 + block.length), withGps)).toEqual(SAID)
  })
  it('of any bytes gives what the record takes, in every cut and with any byte changed', () => {
    const taken = metadataSchema.strict()
    const blocks = [true, false].map((little) => exifBlock(FULL, little))
    for (const block of blocks)
      for (let end = 0; end <= block.length; end += 1) taken.parse(readExif(block.subarray(0, end), withGps))
    fc.assert(
      fc.property(
        fc.constantFrom(...blocks),
        fc.array(fc.tuple(fc.nat(), fc.constantFrom(0, 1, 2, 4, 7, 8, 13, 0x7f, 0x80, 0xff)), {
          minLength: 1,
          maxLength: 6,
        }),
        (original, changes) => {
          const block = Buffer.from(original)
          for (const [at, byte] of changes) block[at % block.length] = byte
          const said = readExif(block, withGps)
          expect(taken.parse(said)).toEqual(said)
          expect(JSON.stringify(said).length).toBeLessThan(1_000)
          // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what must not be there
          expect(JSON.stringify(said)).not.toMatch(/\\u00|[\u0000-\u001f\u007f-\u009f\u202a-\u202e]/)
        },
      ),
      { numRuns: 3_000, seed: 13 },
    )
  })
})

/** Its first directory points to itself, as each of its kind and as the next. */
function selfContained(): Buffer {
  const block = Buffer.alloc(8 + 2 + 3 * 12 + 4)
  block.write('II*\0', 'latin1')
  block.writeUInt32LE(8, 4)
  block.writeUInt16LE(3, 8)
  for (const [index, tag] of [0x8769, 0x8825, 0x014a].entries()) {
    block.writeUInt16LE(tag, 10 + 12 * index)
    block.writeUInt16LE(4, 12 + 12 * index)
    block.writeUInt32LE(1, 14 + 12 * index)
    block.writeUInt32LE(8, 18 + 12 * index)
  }
  block.writeUInt32LE(8, 8 + 2 + 3 * 12)
  return block
}

/** What keeps a reader without bounds busy for minutes. */
function overlapping(): Buffer {
  const block = Buffer.alloc(262_000)
  block.write('II*\0', 'latin1')
  block.writeUInt32LE(8, 4)
  block.writeUInt16LE(20_000, 8)
  for (let index = 0; index < 20_000; index += 1) {
    const at = 10 + 12 * index
    block.writeUInt16LE(0x8769, at)
    block.writeUInt16LE(3, at + 2)
    block.writeUInt32LE(0xffff_ffff, at + 4)
    block.writeUInt32LE(8, at + 8)
  }
  return block
}
