/**
 * The formats that come in, recognised by their first bytes alone: a file's name, its declared
 * content type and the extension are the sender's words.
 */
export const CONTENT_TYPES = [
  'image/jpeg',
  'image/png',
  'image/webp',
  'image/gif',
  'image/avif',
  'image/heic',
] as const
export type ContentType = (typeof CONTENT_TYPES)[number]

/** Those that come in where HEIC does (HEIC in config.ts), or does not. */
export const acceptedTypes = (heic: boolean): ContentType[] =>
  CONTENT_TYPES.filter((type) => heic || type !== 'image/heic')

/** Bytes from the beginning of a file by which its format is recognised. */
export const FORMAT_BYTES = 4_096

export interface Format {
  /** With its article: "a PNG picture". */
  name: string
  /** Of a format that comes in. */
  contentType?: ContentType
  /** What to do with a file of another one. */
  todo?: string
}

/**
 * The format of a file by its magic bytes. The API, the worker, the command line and the page call it.
 *
 * @param bytes the file, or at least its first FORMAT_BYTES
 * @param heic whether HEIC comes in
 * @returns undefined for what is unknown
 */
export function formatOf(bytes: Uint8Array, heic = false): Format | undefined {
  const text = String.fromCharCode(...bytes.subarray(0, FORMAT_BYTES))
  const at: At = (offset, ...magic) => magic.some((one) => text.startsWith(one, offset))

  if (at(0, '\xff\xd8\xff')) return { name: 'a JPEG picture', contentType: 'image/jpeg' }
  if (at(0, '\x89PNG\r\n\x1a\n')) return { name: 'a PNG picture', contentType: 'image/png' }
  if (at(0, 'GIF87a', 'GIF89a')) return { name: 'a GIF picture', contentType: 'image/gif' }
  if (at(0, 'RIFF') && at(8, 'WEBP')) return { name: 'a WebP picture', contentType: 'image/webp' }
  if (at(4, 'ftyp')) return isoMediaOf(bytes, text, heic)
  return videoOf(at) ?? rawOf(at) ?? otherPictureOf(at, text) ?? otherFileOf(at, text)
}

/** Whether a file has one of these texts at this place. */
type At = (offset: number, ...magic: string[]) => boolean

const other = (name: string, todo = 'Save it as PNG or JPEG, and send that.'): Format => ({ name, todo })
const STILL = 'Send a still of it, as JPEG or PNG.'
const RAW = 'Develop it, and export it as JPEG.'
const BINARY = 'Send its bytes as they are (curl: --data-binary).'

/** ISO base media: a box `ftyp` with a major brand, a minor version, and the brands that the file is compatible with. */
function isoMediaOf(bytes: Uint8Array, text: string, heic: boolean): Format {
  const size = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0)
  const brands: string[] = []
  for (let from = 8; from + 4 <= Math.min(size, text.length, 256); from += 4)
    if (from !== 12) brands.push(text.slice(from, from + 4))
  const has = (pattern: RegExp): boolean => brands.some((brand) => pattern.test(brand))
  // HEIF's low-overhead form (ISO/IEC 23008-12, amendment 2): a box `mini`, which no decoder here reads.
  if (brands[0] === 'mif3') return other('an AVIF or HEIC picture in the new short form (mif3)')
  // A still, or a sequence (AV1 Image File Format, section 6). A brand has four characters.
  if (bytes.length >= 16 && has(/avi[fs]/)) return { name: 'an AVIF picture', contentType: 'image/avif' }
  // ISO/IEC 23008-12, annex B and F: HEVC in HEIF, of which stills may come in; then any other coding in it.
  if (heic && bytes.length >= 16 && has(/hei[cx]/))
    return { name: 'a HEIC picture', contentType: 'image/heic' }
  if (has(/he[iv][cxms]/))
    return other(
      'a HEIC photo (iPhone)',
      'Export it as JPEG, or set the camera to Most Compatible (Settings, Camera, Formats).',
    )
  if (has(/mi[fa]\d|miaf|msf1|avci|avcs|jpeg|jpgs/)) return other('a HEIF picture', 'Export it as JPEG.')
  if (has(/crx /)) return other('a camera’s raw file (CR3)', RAW)
  return other('a video (MP4, QuickTime or 3GP)', STILL)
}

function videoOf(at: At): Format | undefined {
  if ((at(0, '\0') && at(4, 'moov', 'mdat', 'wide')) || at(0, '\0\0\x01\xba', '\0\0\x01\xb3'))
    return other('a video', STILL)
  if (at(0, '\x1a\x45\xdf\xa3')) return other('a video (WebM or Matroska)', STILL)
  if (at(0, 'RIFF') && at(8, 'AVI ')) return other('a video (AVI)', STILL)
  return undefined
}

/** Raw files of cameras, most of which are TIFF with a mark of their own, or with none. */
function rawOf(at: At): Format | undefined {
  const tiff = at(0, 'II*\0', 'MM\0*', 'II+\0', 'MM\0+')
  if (tiff && at(8, 'CR')) return other('a camera’s raw file (CR2)', RAW)
  if (at(0, 'FUJIFILMCCD-RAW', 'IIRO\x08', 'IIRS\x08', 'MMOR\0', 'IIU\0', 'FOVb', '\0MRM'))
    return other('a camera’s raw file', RAW)
  if (tiff) return other('a TIFF picture or a camera’s raw file', 'Export it as JPEG or PNG, and send that.')
  return undefined
}

function otherPictureOf(at: At, text: string): Format | undefined {
  if (at(0, '\0\0\0\x0cJXL \r\n\x87\n', '\xff\x0a')) return other('a JPEG XL picture')
  if (at(0, '\0\0\0\x0cjP  \r\n\x87\n', '\xff\x4f\xff\x51')) return other('a JPEG 2000 picture')
  if (at(0, 'II\xbc')) return other('a JPEG XR picture')
  if (at(0, 'BM') && at(6, '\0\0\0\0') && at(15, '\0\0\0')) return other('a BMP picture')
  if (at(0, '\0\0\x01\0', '\0\0\x02\0') && /[^\0]\0/.test(text.slice(4, 6))) return other('a Windows icon')
  if (at(0, '8BPS')) return other('a Photoshop document')
  if (at(0, 'gimp xcf')) return other('a GIMP document')
  if (at(0, '\x76\x2f\x31\x01')) return other('an OpenEXR picture')
  if (at(0, 'qoif')) return other('a QOI picture')
  if (at(0, '%PDF-')) return other('a PDF document', 'Export its page as PNG or JPEG, and send that.')
  if (at(0, '%!PS', '\xc5\xd0\xd3\xc6')) return other('a PostScript document')
  return undefined
}

/** What holds a picture, or was one. */
function otherFileOf(at: At, text: string): Format | undefined {
  if (at(0, 'PK\x03\x04')) return other('a ZIP archive', 'Unpack it, and send the pictures that are in it.')
  if (at(0, '\x1f\x8b', 'BZh', '7z\xbc\xaf', 'Rar!', '\xfd7zXZ', '\x28\xb5\x2f\xfd'))
    return other('a compressed file', 'Unpack it, and send what is in it.')

  // A signature of PNG without its line break, or bytes above 127 as UTF-8's replacement: made for finding this out.
  if (at(0, '\x89PNG', '\xc2\x89PNG')) return other('a PNG picture that was transferred as text', BINARY)
  if (at(0, '\xef\xbf\xbd', '\xc3\xbf\xc3\x98'))
    return other('a file that was damaged when it was read as text', BINARY)
  if (at(0, '/9j/', 'iVBORw0KGgo', 'R0lGOD', 'UklGR', 'data:image/'))
    return other('base64 text', 'Send the bytes that it stands for, or JSON: {"image": "<base64>"}.')

  const words = text.replace(/^\xef\xbb\xbf/, '').trimStart()
  if (/^<(!doctype html|html)/i.test(words)) return other('a web page', 'Send the picture itself.')
  if (words.startsWith('<') && /<(svg:)?svg[\s/>]/i.test(words))
    return other('an SVG drawing', 'Export it as PNG, and send that.')
  return undefined
}

/** The names of what comes in, for people. */
export const acceptedNames = (heic: boolean, word: 'and' | 'or'): string =>
  heic ? `JPEG, PNG, WebP, GIF, AVIF ${word} HEIC` : `JPEG, PNG, WebP, GIF ${word} AVIF`

/** Why a file is not taken, and what to do with it. */
export function refusalOf(bytes: Uint8Array, heic = false): string {
  const format = formatOf(bytes, heic)
  const known = format?.todo === undefined ? '' : `This is ${format.name}. ${format.todo} `
  return `${known}Accepted are ${acceptedNames(heic, 'and')}, recognised by their content.`
}
