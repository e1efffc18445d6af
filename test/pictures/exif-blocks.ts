import sharp from 'sharp'
import { jpegSegment, withSegments } from './pictures.ts'

/** A value of an Exif entry: text, numbers of a type (3 short, 4 long, 5 and 10 rationals as pairs), or bytes. */
export type Value = string | Buffer | { type: number; of: number[] }
export type Entries = Record<number, Value>

export const rational = (...of: number[]): Value => ({ type: 5, of })
export const short = (...of: number[]): Value => ({ type: 3, of })

/** An Exif block: directories of entries, by tag, in either order of bytes. */
export function exifBlock(
  { image = {}, photo, gps }: { image?: Entries; photo?: Entries; gps?: Entries },
  little = true,
): Buffer {
  const parts: Buffer[] = []
  let length = 8
  const place = (part: Buffer): number => {
    const at = length
    const padded = part.length % 2 ? Buffer.concat([part, Buffer.alloc(1)]) : part
    parts.push(padded)
    length += padded.length
    return at
  }
  const number = (value: number, size: number): Buffer => {
    const bytes = Buffer.alloc(size)
    if (little) bytes.writeUIntLE(value, 0, size)
    else bytes.writeUIntBE(value, 0, size)
    return bytes
  }
  const directory = (entries: Entries): Buffer => {
    const rows = Object.entries(entries).map(([tag, value]) => {
      const { type, bytes, count } = encoded(value)
      const inline = bytes.length <= 4
      const field = inline ? Buffer.concat([bytes, Buffer.alloc(4 - bytes.length)]) : number(place(bytes), 4)
      return Buffer.concat([number(Number(tag), 2), number(type, 2), number(count, 4), field])
    })
    return Buffer.concat([number(rows.length, 2), ...rows, Buffer.alloc(4)])
  }
  const encoded = (value: Value): { type: number; bytes: Buffer; count: number } => {
    if (typeof value === 'string') {
      const bytes = Buffer.from(`${value}\0`)
      return { type: 2, bytes, count: bytes.length }
    }
    if (Buffer.isBuffer(value)) return { type: 7, bytes: value, count: value.length }
    const size = value.type === 3 ? 2 : value.type === 1 ? 1 : 4
    const bytes = Buffer.concat(value.of.map((one) => number(one < 0 ? one + 2 ** 32 : one, size)))
    return { type: value.type, bytes, count: value.of.length / (value.type % 5 === 0 ? 2 : 1) }
  }
  const pointer = (entries: Entries): Value => ({ type: 4, of: [place(directory(entries))] })
  const first = directory({
    ...image,
    ...(photo === undefined ? {} : { 34665: pointer(photo) }),
    ...(gps === undefined ? {} : { 34853: pointer(gps) }),
  })
  const at = place(first)
  return Buffer.concat([Buffer.from(little ? 'II*\0' : 'MM\0*', 'latin1'), number(at, 4), ...parts])
}

/** In the sea off Cape Town, by numbers that occur only there in a file. */
export const GPS: Entries = {
  1: 'S',
  2: rational(33, 1, 54, 1, 98_765_431, 2_345_678),
  3: 'E',
  4: rational(18, 1, 25, 1, 76_543_219, 3_456_789),
  5: { type: 1, of: [1] },
  6: rational(1_234_567, 100_000),
  29: '2026:05:01',
}
export const CAMERA: Entries = { 271: 'Kamerawerk', 272: 'Prüfgerät 7' }
export const PHOTO: Entries = {
  33434: rational(1, 250),
  33437: rational(28, 10),
  34855: short(160),
  36867: '2026:05:01 12:34:56',
  36881: '+02:00',
  37386: rational(33, 1),
  42036: 'Standard 33 mm',
}
export const FULL = { image: CAMERA, photo: PHOTO, gps: GPS }

const FORMATS = ['jpeg', 'png', 'webp', 'avif'] as const
export type ExifFormat = (typeof FORMATS)[number]
export const EXIF_FORMATS: readonly ExifFormat[] = FORMATS

/** A picture that is different for each number, as each encoder writes it. */
export const picture = (format: ExifFormat, number = 0): Promise<Buffer> =>
  sharp({ create: { width: 160, height: 120, channels: 3, background: { r: number % 256, g: 90, b: 60 } } })
    .toFormat(format)
    .toBuffer()

export const EXIF_HEADER = Buffer.from('Exif\0\0')
export const withExif = (jpeg: Buffer, block: Buffer): Buffer =>
  withSegments(jpeg, jpegSegment(0xe1, Buffer.concat([EXIF_HEADER, block])))

/** What FULL says. */
export const SAID = {
  capturedAt: '2026-05-01T12:34:56+02:00',
  make: 'Kamerawerk',
  model: 'Prüfgerät 7',
  lens: 'Standard 33 mm',
  ...{ exposureTime: 0.004, fNumber: 2.8, iso: 160, focalLength: 33 },
}
export const POSITION = { latitude: -33.9116959, longitude: 18.4228175, altitude: -12.35 }
