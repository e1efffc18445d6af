import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { transform } from 'esbuild'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createClient } from '../cli/client.ts'
import { FORMAT_BYTES, formatOf } from '../shared/format.ts'
import { startTestSystem, type TestSystem } from './context.ts'
import { formats, quarters } from './pictures.ts'

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

/** What people send in place of a picture that comes in, and a part of what they are told. */
const OTHERS: [name: string, bytes: Buffer, told: RegExp][] = [
  ['HEIC of an iPhone', ftyp('heic', 'mif1', 'heic'), /HEIC photo \(iPhone\).*JPEG.*Most Compatible/],
  ['HEIC of other brands', ftyp('mif1', 'mif1', 'heic'), /HEIC/],
  ['HEIC bursts', ftyp('msf1', 'hevc'), /HEIC/],
  ['HEIF of another coding', ftyp('mif1', 'miaf'), /HEIF/],
  ['TIFF, little end first', begins('II*\0\x08\0\0\0'), /TIFF.*PNG/],
  ['TIFF, big end first', begins('MM\0*\0\0\0\x08'), /TIFF/],
  ['BigTIFF', begins('II+\0\x08\0\0\0'), /TIFF/],
  ['SVG', Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>'), /SVG drawing.*PNG/],
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
  ['PNG with other line breaks', begins(PNG.replace('\r', '')), /PNG picture that was changed like text/],
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
  ['....ftypheic', '\0\0\0\0ftyp'],
].flat()

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

  it.each(UNKNOWN.map((text) => [text]))('is not guessed of %j', (text) => {
    // As it is, since not every beginning is a string of zeros.
    for (const bytes of [Buffer.from(text, 'latin1'), Buffer.from(`${text}\n`.repeat(3), 'latin1')]) {
      const format = formatOf(bytes)
      if (text !== '....ftypheic' && text !== '\0\0\0\0ftyp') expect(format).toBeUndefined()
      expect(format?.contentType).toBeUndefined()
    }
  })

  it('is told by a function that stands alone, in the source and in a bundle: the page has its text', async () => {
    const source = await readFile(join(import.meta.dirname, '../shared/format.ts'), 'utf8')
    const { code } = await transform(source, { loader: 'ts', format: 'cjs', minify: true, target: 'node22' })
    const bundled: { exports: { formatOf?: typeof formatOf } } = { exports: {} }
    new Function('module', code)(bundled)
    for (const text of [String(formatOf), String(bundled.exports.formatOf)]) {
      const alone = new Function(`const formatOf = ${text}\nreturn formatOf`)() as typeof formatOf
      for (const [, bytes] of OTHERS) expect(alone(bytes)).toEqual(formatOf(bytes))
    }
    const html = await (await system.app.request('/')).text()
    expect(html).toContain('HEIC photo (iPhone)')
  })

  it('of a large file is named by the client before it asks for a form', async () => {
    const large = new Blob([new Uint8Array(ftyp('heic', 'mif1', 'heic')), new Uint8Array(5_000_000)])
    await expect(createClient({ endpoint: 'http://127.0.0.1:1' }).upload(large)).rejects.toMatchObject({
      ...{ code: 'UNSUPPORTED_FORMAT', detail: expect.stringContaining('HEIC photo (iPhone)') },
    })
  })
})
