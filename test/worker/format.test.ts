import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildApp } from '../../api/app.ts'
import { createClient } from '../../packages/client/index.ts'
import {
  acceptedTypes,
  CONTENT_TYPES,
  FORMAT_BYTES,
  type Format,
  formatOf,
  refusalOf,
} from '../../packages/image-guard/format.ts'
import { createDecoder, createRender, type Refusal } from '../../packages/image-guard/index.ts'
import { startTestSystem, type TestSystem } from '../context.ts'
import { formats, quarters } from '../pictures/pictures.ts'

/** The beginning of a file, by its bytes; four dots stand for a length that does not matter. */
const begins = (latin1: string): Buffer => Buffer.from(latin1.padEnd(64, '\0'), 'latin1')
const ftyp = (...brands: string[]): Buffer => {
  const [major = '', ...compatible] = brands
  const box = Buffer.from(`....ftyp${major}\0\0\0\0${compatible.join('')}`, 'latin1')
  box.writeUInt32BE(box.length)
  return Buffer.concat([box, Buffer.alloc(64)])
}
const inUtf8 = (bytes: Buffer): Buffer => Buffer.from(bytes.toString('utf8'))
const PNG = '\x89PNG\r\n\x1a\n'

/** What people send in place of a picture that comes in, and a part of the answer. */
const OTHERS: [name: string, bytes: Buffer, told: RegExp][] = [
  ['HEIC of an iPhone', ftyp('heic', 'mif1', 'heic'), /HEIC photo \(iPhone\).*JPEG.*Most Compatible/],
  ['HEIC of other brands', ftyp('mif1', 'mif1', 'heic'), /HEIC/],
  ['HEIC bursts', ftyp('msf1', 'hevc'), /HEIC/],
  ['HEIF of another coding', ftyp('mif1', 'miaf'), /HEIF/],
  [
    'HEIF in the short form, of AVIF too',
    ftyp('mif3', 'avif'),
    /AVIF or HEIC.*short form \(mif3\).*PNG or JPEG/,
  ],
  ['TIFF, little end first', begins('II*\0\x08\0\0\0'), /TIFF.*PNG/],
  ['TIFF, big end first', begins('MM\0*\0\0\0\x08'), /TIFF/],
  ['BigTIFF', begins('II+\0\x08\0\0\0'), /TIFF/],
  ['SVG', Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>'), /SVG drawing.*PNG/],
  ['the shortest SVG', Buffer.from('<svg/>'), /SVG/],
  [
    'SVG as programs write it',
    Buffer.from(
      '\ufeff<?xml version="1.0"?>\n<!-- Made by > hand -->\n<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "svg11.dtd">\n<svg:svg >',
    ),
    /SVG/,
  ],
  ['PDF', Buffer.from('%PDF-1.7 …'), /PDF document.*JPEG/],
  ['BMP', begins('BM\x36\x10\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0'), /BMP/],
  ['an icon', begins('\0\0\x01\0\x01\0\x10\x10'), /icon/],
  ['JPEG XL', begins('\0\0\0\x0cJXL \r\n\x87\n'), /JPEG XL/],
  ['a bare JPEG XL', begins('\xff\x0a\xfa\x1f'), /JPEG XL/],
  ['JPEG 2000', begins('\0\0\0\x0cjP  \r\n\x87\n'), /JPEG 2000/],
  ['JPEG XR', begins('II\xbc\x01'), /JPEG XR/],
  ['PSD', begins('8BPS\0\x01'), /Photoshop/],
  ['a raw file of Canon', begins('II*\0\x10\0\0\0CR\x02\0'), /raw file \(CR2\).*JPEG/],
  ['a newer one', ftyp('crx ', 'crx ', 'isom'), /raw file \(CR3\)/],
  ['a raw file of Fujifilm', begins('FUJIFILMCCD-RAW 0201'), /raw file/],
  ['MP4', ftyp('isom', 'isom', 'avc1', 'mp41'), /video.*still/],
  ['QuickTime', ftyp('qt  ', 'qt  '), /video/],
  ['QuickTime without a type', begins('\0\0\0\x08wide\0\x01\0\0mdat'), /video/],
  ['WebM', begins('\x1a\x45\xdf\xa3'), /WebM/],
  ['AVI', begins('RIFF....AVI LIST'), /AVI/],
  ['a web page', Buffer.from('<!DOCTYPE html>\n<html><svg></svg>'), /web page/],
  ['a ZIP archive', begins('PK\x03\x04'), /ZIP archive.*Unpack/],
  ['a gzip file', begins('\x1f\x8b\x08'), /compressed.*Unpack/],
  ['PNG with other line breaks', begins(PNG.replace('\r', '')), /PNG picture that was transferred as text/],
  ['JPEG read as UTF-8', inUtf8(begins('\xff\xd8\xff\xe0')), /read as text.*--data-binary/],
  ['JPEG written as UTF-8', Buffer.from('\xff\xd8\xff\xe0', 'utf8'), /read as text/],
  ['PNG read as UTF-8', inUtf8(begins(PNG)), /read as text/],
  ['base64', Buffer.from(begins(PNG).toString('base64')), /base64 text.*JSON/],
  ['a data URL', Buffer.from('data:image/png;base64,'), /base64/],
]
/** What could be taken for one of them at a careless look. */
const UNKNOWN = [
  ['', 'I', 'BM', 'BMW is a car, and this is a text about it.', 'MMORPG, said a text.', 'the wide web'],
  ['<p>', '< svg>', 'Is <svg> a drawing?', 'PK', '\0\0\x01', 'RIFF....WAVE', 'ftypavif', '8BP'],
  ['....ftypheic', '\0\0\0\0ftyp', '<\xef\xbb\xbfsvg>', 'Is <html> a page?'],
  // An icon with no picture, and one with more than there may be.
  ['\0\0\x01\0\0\x01\0', '\0\0\x01\0\x01\x01\0'],
].flat()

const SAVE = 'Save it as PNG or JPEG, and send that.'
const STILL = 'Send a still of it, as JPEG or PNG.'
const DEVELOP = 'Develop it, and export it as JPEG.'
const EXPORT_PAGE = 'Export its page as PNG or JPEG, and send that.'
const MOST_COMPATIBLE = 'Export it as JPEG, or set the camera to Most Compatible (Settings, Camera, Formats).'
const BINARY = 'Send its bytes as they are (curl: --data-binary).'
/** By what each format is recognised, and no more: four dots stand for any four bytes. */
const MAGIC: [format: Format, ...magic: string[]][] = [
  [{ name: 'a JPEG picture', contentType: 'image/jpeg' }, '\xff\xd8\xff'],
  [{ name: 'a PNG picture', contentType: 'image/png' }, PNG],
  [{ name: 'a WebP picture', contentType: 'image/webp' }, 'RIFF....WEBP'],
  [{ name: 'a GIF picture', contentType: 'image/gif' }, 'GIF87a', 'GIF89a'],
  [
    { name: 'an AVIF picture', contentType: 'image/avif' },
    '\0\0\0\x10ftypavif....',
    '\0\0\0\x10ftypavis....',
  ],
  [
    { name: 'a HEIC photo (iPhone)', todo: MOST_COMPATIBLE },
    ...['heic', 'heix', 'heim', 'heis', 'hevc', 'hevx', 'hevm', 'hevs'].map(
      (brand) => `\0\0\0\x0cftyp${brand}`,
    ),
  ],
  [{ name: 'an AVIF or HEIC picture in the new short form (mif3)', todo: SAVE }, '\0\0\0\x0cftypmif3'],
  [
    { name: 'a HEIF picture', todo: 'Export it as JPEG.' },
    ...['mif1', 'miaf', 'mia1', 'msf1', 'avci', 'avcs', 'jpeg', 'jpgs'].map(
      (brand) => `\0\0\0\x0cftyp${brand}`,
    ),
  ],
  [{ name: 'a camera’s raw file (CR3)', todo: DEVELOP }, '\0\0\0\x0cftypcrx '],
  [{ name: 'a video (MP4, QuickTime or 3GP)', todo: STILL }, '....ftyp'],
  [
    { name: 'a video', todo: STILL },
    ...['\0...moov', '\0...mdat', '\0...wide', '\0\0\x01\xba', '\0\0\x01\xb3'],
  ],
  [{ name: 'a video (WebM or Matroska)', todo: STILL }, '\x1a\x45\xdf\xa3'],
  [{ name: 'a video (AVI)', todo: STILL }, 'RIFF....AVI '],
  [
    { name: 'a camera’s raw file (CR2)', todo: DEVELOP },
    'II*\0....CR',
    'MM\0*....CR',
    'II+\0....CR',
    'MM\0+....CR',
  ],
  [
    { name: 'a camera’s raw file', todo: DEVELOP },
    ...['FUJIFILMCCD-RAW', 'IIRO\x08', 'IIRS\x08', 'MMOR\0', 'IIU\0', 'FOVb', '\0MRM'],
  ],
  [
    { name: 'a TIFF picture or a camera’s raw file', todo: 'Export it as JPEG or PNG, and send that.' },
    ...['II*\0', 'MM\0*', 'II+\0', 'MM\0+'],
  ],
  [{ name: 'a JPEG XL picture', todo: SAVE }, '\0\0\0\x0cJXL \r\n\x87\n', '\xff\x0a'],
  [{ name: 'a JPEG 2000 picture', todo: SAVE }, '\0\0\0\x0cjP  \r\n\x87\n', '\xff\x4f\xff\x51'],
  [{ name: 'a JPEG XR picture', todo: SAVE }, 'II\xbc'],
  [{ name: 'a BMP picture', todo: SAVE }, 'BM....\0\0\0\0.....\0\0\0'],
  [{ name: 'a Windows icon', todo: SAVE }, '\0\0\x01\0.\0', '\0\0\x02\0.\0'],
  [{ name: 'a Photoshop document', todo: SAVE }, '8BPS'],
  [{ name: 'a GIMP document', todo: SAVE }, 'gimp xcf'],
  [{ name: 'an OpenEXR picture', todo: SAVE }, '\x76\x2f\x31\x01'],
  [{ name: 'a QOI picture', todo: SAVE }, 'qoif'],
  [{ name: 'a PDF document', todo: EXPORT_PAGE }, '%PDF-'],
  [{ name: 'a PostScript document', todo: SAVE }, '%!PS', '\xc5\xd0\xd3\xc6'],
  [{ name: 'a ZIP archive', todo: 'Unpack it, and send the pictures that are in it.' }, 'PK\x03\x04'],
  [
    { name: 'a compressed file', todo: 'Unpack it, and send what is in it.' },
    ...['\x1f\x8b', 'BZh', '7z\xbc\xaf', 'Rar!', '\xfd7zXZ', '\x28\xb5\x2f\xfd'],
  ],
  [{ name: 'a PNG picture that was transferred as text', todo: BINARY }, ...['\x89PNG', '\xc2\x89PNG']],
  [
    { name: 'a file that was damaged when it was read as text', todo: BINARY },
    ...['\xef\xbf\xbd', '\xc3\xbf\xc3\x98'],
  ],
  [
    { name: 'base64 text', todo: 'Send the bytes that it stands for, or JSON: {"image": "<base64>"}.' },
    ...['/9j/', 'iVBORw0KGgo', 'R0lGOD', 'UklGR', 'data:image/'],
  ],
  [{ name: 'a web page', todo: 'Send the picture itself.' }, '<!doctype html', '<html', '\xef\xbb\xbf <HTML'],
  [
    { name: 'an SVG drawing', todo: 'Export it as PNG, and send that.' },
    ...['<svg ', '<svg>', '<svg:svg\n', '<SVG>', '\xef\xbb\xbf<svg '],
  ],
]

let system: TestSystem
beforeAll(async () => {
  system = await startTestSystem()
})
afterAll(() => system.stop())

describe('the format of a file', () => {
  it.each(formats)(
    'that is %s is told, and of what does not come in its name',
    async (contentType, encode) => {
      const bytes = await encode(await quarters()).toBuffer()
      expect(formatOf(bytes)).toEqual({ name: expect.stringMatching(/^an? \w+ picture$/), contentType })
      expect(formatOf(bytes.subarray(0, FORMAT_BYTES))?.contentType).toBe(contentType)
    },
  )

  it.each(OTHERS)('%s is named by the API, with what to do', async (_name, bytes, told) => {
    const response = await system.app.request('/images', {
      method: 'POST',
      headers: { 'content-type': 'application/octet-stream' },
      body: new Uint8Array(bytes),
    })
    const { code, detail } = (await response.json()) as { code: string; detail: string }
    expect({ status: response.status, code }).toEqual({ status: 415, code: 'UNSUPPORTED_FORMAT' })
    expect(detail).toMatch(told)
    expect(detail).toMatch(/^This is (an? |base64).*\. [A-Z].*\. Accepted are JPEG, PNG, WebP, GIF and AVIF/)
  })

  it.each(MAGIC)('is told as $name by every byte of what begins it', (format, ...magic) => {
    for (const text of magic) {
      // What follows is nothing to it.
      const bytes = Buffer.from(`${text}~~~~`, 'latin1')
      expect(formatOf(bytes), text).toEqual(format)
      for (const [at, char] of [...text].entries()) {
        if (char === '.') continue
        // The length of a box, a mark that may be missing, and any kind of space.
        if ((at < 4 && text.includes('ftyp')) || text.startsWith('\xef\xbb\xbf') || char === ' ') continue
        const other = Buffer.from(bytes)
        other[at] = (bytes[at] ?? 0) ^ 0x80
        expect(formatOf(other), `${text}, but for byte ${at}`).not.toEqual(format)
      }
    }
  })

  it('that is AVIF is told by any of its brands, as far as its first box and 256 bytes go', () => {
    const avif = { name: 'an AVIF picture', contentType: 'image/avif' }
    const box = (size: number, brands: string) => {
      const bytes = Buffer.from(`....ftyp${brands}`, 'latin1')
      bytes.writeUInt32BE(size)
      return bytes
    }
    const none = 'none'.repeat(59)
    expect(formatOf(box(16, 'avif....'))).toEqual(avif)
    // Part of another buffer.
    expect(formatOf(Buffer.concat([Buffer.alloc(7), box(16, 'avif....')]).subarray(7))).toEqual(avif)
    expect(formatOf(box(20, 'none....avif'))).toEqual(avif)
    expect(formatOf(box(24, 'none....noneavif'))).toEqual(avif)
    expect(formatOf(box(256, `none....${none}avif`))).toEqual(avif)
    for (const other of [
      box(16, 'avif...'),
      box(11, 'avif....'),
      box(19, 'none....avif'),
      box(20, 'none....avi'),
      // The version.
      box(20, 'noneavifnone'),
      box(20, 'none....none.avif'),
      box(20, 'none....noneavif'),
      box(24, 'none....xavifxxx'),
      box(260, `none....${none}noneavif`),
    ])
      expect(formatOf(other), other.toString('latin1')).toMatchObject({
        name: 'a video (MP4, QuickTime or 3GP)',
      })
  })

  it('that is HEIC comes in where the deployment says so, from 16 bytes on', () => {
    const photo = { name: 'a HEIC photo (iPhone)', todo: MOST_COMPATIBLE }
    const accepted = 'Accepted are JPEG, PNG, WebP, GIF, AVIF and HEIC, recognised by their content.'
    for (const brand of ['heic', 'heix']) {
      const file = Buffer.from(`\0\0\0\x10ftyp${brand}\0\0\0\0mdat`, 'latin1')
      for (const bytes of [file.subarray(0, 15), file.subarray(0, 16), file.subarray(0, 17)]) {
        expect(formatOf(bytes)).toEqual(photo)
        expect(formatOf(bytes, false)).toEqual(photo)
        expect(formatOf(bytes, true)).toEqual(
          bytes.length < 16 ? photo : { name: 'a HEIC picture', contentType: 'image/heic' },
        )
      }
      expect(refusalOf(file)).toMatch(/^This is a HEIC photo \(iPhone\)\. Export .* GIF and AVIF, recognised/)
      expect(refusalOf(file, true)).toBe(accepted)
      expect(refusalOf(file.subarray(0, 15), true)).toBe(
        `This is a HEIC photo (iPhone). ${MOST_COMPATIBLE} ${accepted}`,
      )
    }
    // A burst is many pictures in a row.
    const burst = Buffer.from('\0\0\0\x10ftyphevc\0\0\0\0', 'latin1')
    expect(formatOf(burst, true)).toEqual(photo)
  })

  it('is one of five that come in everywhere', () => {
    const all = MAGIC.flatMap(([{ contentType }]) => contentType ?? [])
    expect(acceptedTypes(false)).toEqual(all)
    expect(acceptedTypes(true)).toEqual([...CONTENT_TYPES])
  })

  it('is told by no more than the first 4,096 bytes', () => {
    const drawing = (before: number) => Buffer.from(`<!--${' '.repeat(before - 4)}<svg>`)
    expect(formatOf(drawing(FORMAT_BYTES - 5))).toMatchObject({ name: 'an SVG drawing' })
    expect(formatOf(drawing(FORMAT_BYTES - 4))).toBeUndefined()
  })

  it('is not named where it is not known, or would come in', () => {
    const accepted = 'Accepted are JPEG, PNG, WebP, GIF and AVIF, recognised by their content.'
    expect(() => refusalOf(Buffer.from('?'))).not.toThrow()
    expect(refusalOf(Buffer.from('?'))).toBe(accepted)
    expect(refusalOf(Buffer.from(PNG, 'latin1'))).toBe(accepted)
    expect(refusalOf(Buffer.from('8BPS'))).toBe(`This is a Photoshop document. ${SAVE} ${accepted}`)
  })

  it.each(UNKNOWN.map((text) => [text]))('is not guessed of %j', (text) => {
    // As it is, since not every beginning is a string of zeros.
    for (const bytes of [Buffer.from(text, 'latin1'), Buffer.from(`${text}\n`.repeat(3), 'latin1')]) {
      const format = formatOf(bytes)
      if (text !== '....ftypheic' && text !== '\0\0\0\0ftyp') expect(format).toBeUndefined()
      expect(format?.contentType).toBeUndefined()
    }
  })

  it.each([false, true])('has one answer of the door and of the decoder, with HEIC %s', async (heic) => {
    const app = buildApp({ ...system.api, heic })
    const render = createRender(createDecoder())
    const files = new Map<string, Buffer>(OTHERS.map(([name, bytes]) => [name, bytes]))
    for (const [contentType, encode] of formats)
      files.set(contentType, await encode(await quarters()).toBuffer())
    const taken: string[] = []
    for (const [name, bytes] of files) {
      const { status } = await app.request('/images', {
        method: 'POST',
        headers: { 'content-type': 'application/octet-stream' },
        body: new Uint8Array(bytes),
      })
      // What has only the beginning of a picture is damaged, and what does not come in is that.
      const code = await render(bytes, 's3', { heic }).then(
        () => undefined,
        (error: Refusal) => error.code,
      )
      expect({ name, code: code === 'UNSUPPORTED_FORMAT' ? 415 : 202 }).toEqual({ name, code: status })
      if (status === 202) taken.push(name)
    }
    expect(taken).toEqual([
      ...(heic ? ['HEIC of an iPhone', 'HEIC of other brands'] : []),
      ...formats.map(([contentType]) => contentType),
    ])
  })

  it('is told by the page, too', async () => {
    const html = await (await system.app.request('/')).text()
    // Its lines have a limit, so that a text may go on in the next.
    expect(html.replaceAll('\\\n', '')).toContain('HEIC photo (iPhone)')
  })

  it('that is HEIC is a matter of the deployment, so the client leaves it to the API', async () => {
    const large = new Blob([new Uint8Array(ftyp('heic', 'mif1', 'heic')), new Uint8Array(5_000_000)])
    const client = createClient({
      endpoint: 'http://127.0.0.1:1',
      fetch: (url, init) => system.app.request(url, init),
    })
    await expect(client.upload(large)).rejects.toMatchObject({
      ...{
        code: 'UNSUPPORTED_FORMAT',
        status: 415,
        detail: expect.stringContaining('Property `contentType` must be'),
      },
    })
  })

  it('of a large file is named by the client before it asks for a form', async () => {
    const large = new Blob([new Uint8Array(begins('II*\0\x08\0\0\0')), new Uint8Array(5_000_000)])
    await expect(createClient({ endpoint: 'http://127.0.0.1:1' }).upload(large)).rejects.toMatchObject({
      ...{ code: 'UNSUPPORTED_FORMAT', detail: expect.stringContaining('TIFF') },
    })
  })
})
