import {
  bytesOf,
  type Directory,
  directoriesOf,
  ENTRY_BYTES,
  type Entry,
  entriesOf,
  HEADER_BYTES,
  type Kind,
  POINTERS,
  type Tiff,
  TYPE_BYTES,
  tiffOf,
  uint16,
  uint32,
  XMP_TAG,
} from './tiff.ts'

/** Entries of positions: the pointer to the directory of GPS; and where pixels lie on the Earth (GeoTIFF 1.1, section 7.1). */
const POSITIONS = new Set([POINTERS.gps, 0x830e, 0x8482, 0x85d8, 0x87af, 0x87b0, 0x87b1])

/** What the Exif block of a file says of its picture. */
export interface Exif {
  /** ISO 8601: the camera's own time, and its offset from UTC where the camera gives one. */
  capturedAt?: string
  make?: string
  model?: string
  lens?: string
  software?: string
  /** Seconds. */
  exposureTime?: number
  fNumber?: number
  iso?: number
  /** Millimetres, of the lens itself. */
  focalLength?: number
  /** 1 to 8, as it is stored. */
  orientation?: number
  gps?: Position
}

export interface Position {
  /** Degrees, to the north and to the east. */
  latitude: number
  longitude: number
  /** Metres above sea level. */
  altitude?: number
}

/** Four times what a JPEG can hold in one segment. */
const MAX_EXIF_BYTES = 262_144
/** Characters (code points) that are kept of a text. */
const MAX_TEXT = 100
/**
 * Reads an Exif block within these bounds; a block that cannot be read, or only in part, says nothing or less.
 *
 * The project has its own reader: exif-reader 2.0.3 makes 3 March of 31 February and takes 18 seconds and gigabytes for
 * 64 KB of overlapping values, and exifreader 4.46.0 brings 130 KB, an XML parser and an install script.
 *
 * @param block as libvips gives it, with or without "Exif" in front
 * @param wanted.gps whether the position is read
 */
export function readExif(block: Buffer, wanted: { gps: boolean }): Exif {
  const tiff = block.length > MAX_EXIF_BYTES ? undefined : tiffOf(block)
  const directories = tiff === undefined ? undefined : directoriesOf(tiff)
  if (tiff === undefined || directories === undefined) return {}
  // The first picture is the image; those after it are thumbnails.
  const entries = (kind: Kind): Map<number, Entry> => {
    const found = new Map<number, Entry>()
    const directory = directories.find((one) => one.kind === kind)
    for (const entry of directory === undefined ? [] : entriesOf(tiff, directory)) {
      if (!found.has(entry.tag)) found.set(entry.tag, entry)
    }
    return found
  }
  const image = entries('image')
  const photo = entries('photo')
  const text = (entry: Entry | undefined): string | undefined => entry && textOf(bytesOf(tiff, entry))
  const number = (entry: Entry | undefined, min: number, max: number): number | undefined => {
    const value = entry && numberOf(tiff, entry, 0)
    return value !== undefined && value >= min && value <= max ? Number(value.toPrecision(6)) : undefined
  }
  const whole = (value: number | undefined): number | undefined =>
    Number.isInteger(value) ? value : undefined
  const iso = whole(number(photo.get(0x8827), 1, 10_000_000))
  return withoutUndefined({
    capturedAt: timeOf(text(photo.get(0x9003)), text(photo.get(0x9011))),
    make: text(image.get(0x010f)),
    model: text(image.get(0x0110)),
    lens: text(photo.get(0xa434)),
    software: text(image.get(0x0131)),
    exposureTime: number(photo.get(0x829a), 1e-9, 1e6),
    fNumber: number(photo.get(0x829d), 0.01, 10_000),
    // "65,535 or more" (Exif 3.0, section 4.6.6.7.5).
    iso: iso === 65_535 ? undefined : iso,
    focalLength: number(photo.get(0x920a), 0.01, 1e6),
    orientation: whole(number(image.get(0x0112), 1, 8)),
    gps: wanted.gps ? positionOf(tiff, entries('gps')) : undefined,
  })
}

/**
 * Blanks the position in an Exif block, in place: the directory of GPS, what it points to, and the entry that points to
 * it; and those of GeoTIFF. A block of more parts than are followed is blanked whole.
 *
 * @param blankXmp for the packet that may be in the block too
 * @returns whether there was something to blank
 */
export function blankExif(block: Buffer, blankXmp: (packet: Buffer) => boolean): boolean {
  const tiff = tiffOf(block)
  if (tiff === undefined) return false
  const directories = directoriesOf(tiff)
  if (directories === undefined) return wipe(tiff)
  let blanked = false
  /** Of values that overlap; each byte of a block belongs to one, if any. */
  let left = 4 * tiff.bytes.length
  for (const directory of directories) {
    for (const entry of entriesOf(tiff, directory)) {
      if (directory.kind === 'gps' || POSITIONS.has(entry.tag)) left -= zero(tiff, entry.from, entry.to)
      else if (entry.tag === XMP_TAG) {
        left -= entry.to - entry.from
        if (left >= 0 && blankXmp(tiff.bytes.subarray(entry.from, entry.to))) blanked = true
      }
      if (left < 0) return wipe(tiff)
    }
  }
  for (const { kind, at, count } of directories) {
    if (kind !== 'gps') continue
    zero(tiff, at, at + 2 + count * ENTRY_BYTES + 4)
    blanked = true
  }
  for (const directory of directories) if (removePositions(tiff, directory)) blanked = true
  return blanked
}

/** @returns true */
function wipe({ bytes }: Tiff): boolean {
  bytes.fill(0, HEADER_BYTES)
  return true
}

/** @returns how many bytes that are */
function zero({ bytes }: Tiff, from: number, to: number): number {
  const begin = Math.max(from, HEADER_BYTES)
  const end = Math.min(to, bytes.length)
  if (end <= begin) return 0
  bytes.fill(0, begin, end)
  return end - begin
}

/** The entries behind those that go move up, and the place of the next directory, which follows them. */
function removePositions(tiff: Tiff, { kind, at, count }: Directory): boolean {
  if (kind === 'gps') return false
  const { bytes } = tiff
  const end = Math.min(at + 2 + count * ENTRY_BYTES + 4, bytes.length)
  // Of directories that overlap, another one may have been shortened before.
  const before = Math.min(count, uint16(tiff, at))
  let left = before
  for (let index = 0; index < left; ) {
    const entry = at + 2 + index * ENTRY_BYTES
    if (!POSITIONS.has(uint16(tiff, entry))) {
      index += 1
      continue
    }
    bytes.copyWithin(entry, entry + ENTRY_BYTES, end)
    bytes.fill(0, end - ENTRY_BYTES, end)
    left -= 1
  }
  if (left === before) return false
  // More were announced than there are, perhaps; those that are missing stay so.
  const said = uint16(tiff, at) - (before - left)
  if (tiff.little) bytes.writeUInt16LE(said, at)
  else bytes.writeUInt16BE(said, at)
  return true
}

/** The value at an index of an entry, where it is a finite number. */
function numberOf(tiff: Tiff, { type, from, to }: Entry, index: number): number | undefined {
  const size = TYPE_BYTES[type] ?? 0
  const at = from + index * size
  if (size === 0 || at + size > to) return undefined
  const value = (): number => {
    const { bytes, little } = tiff
    switch (type) {
      case 1:
        return bytes.readUInt8(at)
      case 3:
        return uint16(tiff, at)
      case 4:
        return uint32(tiff, at)
      case 5:
        return uint32(tiff, at) / uint32(tiff, at + 4)
      case 10: {
        const [above, below] = [uint32(tiff, at) | 0, uint32(tiff, at + 4) | 0]
        return above / below
      }
      case 11:
        return little ? bytes.readFloatLE(at) : bytes.readFloatBE(at)
      case 12:
        return little ? bytes.readDoubleLE(at) : bytes.readDoubleBE(at)
      default:
        return Number.NaN
    }
  }
  const number = value()
  return Number.isFinite(number) ? number : undefined
}

/** In UTF-8 where it is that, as cameras write it although the standard says ASCII; in one line, and cut. */
function textOf(value: Buffer): string | undefined {
  // A character has at most four bytes.
  const end = value.subarray(0, MAX_TEXT * 4).indexOf(0)
  const bytes = value.subarray(0, end < 0 ? MAX_TEXT * 4 : end)
  // Controls and what is not seen, such as marks that turn the direction of writing.
  const clean = decoded(bytes)
    .replaceAll(/[\p{C}\p{Z}]+/gu, ' ')
    .trim()
  return [...clean].slice(0, MAX_TEXT).join('').trim() || undefined
}

function decoded(bytes: Buffer): string {
  try {
    // A stream, because the last character may be cut.
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: true })
  } catch (error) {
    if (error instanceof TypeError) return bytes.toString('latin1')
    throw error
  }
}

/** A time that there is, like 2026:05:01 12:34:56, which some write with a fraction, and an offset like +02:00. */
function timeOf(time = '', offset = ''): string | undefined {
  const [, year, month, day, clock] =
    /^(\d{4})[:/-](\d\d)[:/-](\d\d) (\d\d:\d\d:\d\d)(?:\.\d+)?$/.exec(time) ?? []
  const local = `${year}-${month}-${day}T${clock}`
  const utc = new Date(`${local}Z`)
  // Of 31 February it makes 3 March.
  if (Number.isNaN(utc.getTime()) || !utc.toISOString().startsWith(local)) return undefined
  if (year === '0000') return undefined
  return /^([+-](0\d|1[0-4]):[0-5]\d|Z)$/.test(offset) ? `${local}${offset}` : local
}

/** Undefined unless both coordinates are there, with their directions, and are ones of the Earth. */
function positionOf(tiff: Tiff, entries: Map<number, Entry>): Position | undefined {
  const [latitudeRef, latitude, longitudeRef, longitude, altitudeRef, altitude] = [1, 2, 3, 4, 5, 6].map(
    (tag) => entries.get(tag),
  )
  const degrees = (
    value: Entry | undefined,
    ref: Entry | undefined,
    [positive, negative]: [string, string],
    most: number,
  ): number | undefined => {
    const sign = ref && textOf(bytesOf(tiff, ref))?.toUpperCase()
    if (value === undefined || (sign !== positive && sign !== negative)) return undefined
    const [whole, minutes = 0, seconds = 0] = [0, 1, 2].map((index) => numberOf(tiff, value, index))
    if (whole === undefined || Math.min(whole, minutes, seconds) < 0) return undefined
    const sum = whole + minutes / 60 + seconds / 3_600
    return sum <= most ? Number((sign === negative ? -sum : sum).toFixed(7)) : undefined
  }
  const north = degrees(latitude, latitudeRef, ['N', 'S'], 90)
  const east = degrees(longitude, longitudeRef, ['E', 'W'], 180)
  if (north === undefined || east === undefined) return undefined
  const metres = altitude && numberOf(tiff, altitude, 0)
  // 1 is below the sea, 3 below the ellipsoid (Exif 3.0, section 4.6.7.1.6).
  const isBelow = [1, 3].includes((altitudeRef && numberOf(tiff, altitudeRef, 0)) ?? 0)
  return {
    latitude: north,
    longitude: east,
    ...(metres !== undefined && Math.abs(metres) < MAX_ALTITUDE
      ? { altitude: Number((isBelow ? -metres : metres).toFixed(2)) }
      : {}),
  }
}

/** Metres; cameras fly no higher. */
const MAX_ALTITUDE = 100_000

type Defined<T> = { [K in keyof T]: Exclude<T[K], undefined> }
const withoutUndefined = <T extends object>(values: T): Partial<Defined<T>> =>
  Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Partial<Defined<T>>
