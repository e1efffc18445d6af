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
/** Directories in a block, and entries in all of them: ten times what cameras write. */
const MAX_DIRECTORIES = 100
const MAX_ENTRIES = 2_000

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
 * it. A block of more parts than are followed is blanked whole.
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
      if (directory.kind === 'gps') left -= zero(tiff, entry.from, entry.to)
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
  for (const directory of directories) if (removePointers(tiff, directory)) blanked = true
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
function removePointers(tiff: Tiff, { kind, at, count }: Directory): boolean {
  if (kind === 'gps') return false
  const { bytes } = tiff
  const end = Math.min(at + 2 + count * ENTRY_BYTES + 4, bytes.length)
  // Of directories that overlap, another one may have been shortened before.
  const before = Math.min(count, uint16(tiff, at))
  let left = before
  for (let index = 0; index < left; ) {
    const entry = at + 2 + index * ENTRY_BYTES
    if (uint16(tiff, entry) !== POINTERS.gps) {
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

/** An Exif block is a TIFF file without pixels: a header, and directories of entries (TIFF 6.0, section 2). */
interface Tiff {
  bytes: Buffer
  /** The order of bytes. */
  little: boolean
}

type Kind = 'image' | 'photo' | 'gps' | 'interoperability'

interface Directory {
  kind: Kind
  at: number
  /** Of entries that are within the block. */
  count: number
}

interface Entry {
  tag: number
  type: number
  count: number
  /** Where its value is; nowhere, where it would be outside the block. */
  from: number
  to: number
}

const HEADER_BYTES = 8
const ENTRY_BYTES = 12
/** Entries that say where another directory is (Exif 3.0, section 4.6.3). */
const POINTERS = { photo: 0x8769, gps: 0x8825, interoperability: 0xa005 }
/** More pictures of the same (TIFF/EP), and an XMP packet (XMP specification, part 3). */
const SUB_IFDS = 0x014a
const XMP_TAG = 0x02bc
/** Places of directories that one entry may give. */
const MAX_SUB_IFDS = 16
/** Of each type from 1 on (TIFF 6.0, section 2; 13 is a place, of TIFF technical note 1). */
const TYPE_BYTES = [0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4]
const UTF8_TYPE = 129

/** Bytes that containers may have in front of a block: "Exif", zeros, a length. */
const MAX_PREAMBLE_BYTES = 64

function tiffOf(block: Buffer): Tiff | undefined {
  const head = block.toString('latin1', 0, MAX_PREAMBLE_BYTES)
  const at = head.search(/II\*\0|MM\0\*/)
  if (at < 0 || block.length < at + HEADER_BYTES) return undefined
  return { bytes: block.subarray(at), little: head[at] === 'I' }
}

const uint16 = ({ bytes, little }: Tiff, at: number): number =>
  little ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at)
const uint32 = ({ bytes, little }: Tiff, at: number): number =>
  little ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at)

/** @returns undefined for a block of too many of them */
function directoriesOf(tiff: Tiff): Directory[] | undefined {
  const { length } = tiff.bytes
  const found: Directory[] = []
  const seen = new Set<string>()
  const places: { kind: Kind; at: number }[] = [{ kind: 'image', at: uint32(tiff, 4) }]
  let entries = 0
  // It grows while it is walked.
  for (const { kind, at } of places) {
    if (at < HEADER_BYTES || at + 2 > length || seen.has(`${kind} ${at}`)) continue
    seen.add(`${kind} ${at}`)
    const said = uint16(tiff, at)
    const count = Math.min(said, Math.floor((length - at - 2) / ENTRY_BYTES))
    const directory = { kind, at, count }
    entries += count
    if (found.push(directory) > MAX_DIRECTORIES || entries > MAX_ENTRIES) return undefined
    for (const { tag, from, to } of entriesOf(tiff, directory)) {
      const pointed = KINDS.get(tag)
      if (pointed === undefined) continue
      for (let place = from; place + 4 <= Math.min(to, from + 4 * MAX_SUB_IFDS); place += 4) {
        places.push({ kind: pointed, at: uint32(tiff, place) })
      }
    }
    const next = at + 2 + said * ENTRY_BYTES
    if (kind === 'image' && next + 4 <= length) places.push({ kind, at: uint32(tiff, next) })
  }
  return found
}

const KINDS = new Map<number, Kind>([
  [POINTERS.photo, 'photo'],
  [POINTERS.gps, 'gps'],
  [POINTERS.interoperability, 'interoperability'],
  [SUB_IFDS, 'image'],
])

function* entriesOf(tiff: Tiff, { at, count }: Directory): Generator<Entry> {
  for (let index = 0; index < count; index += 1) {
    const entry = at + 2 + index * ENTRY_BYTES
    const type = uint16(tiff, entry + 2)
    const values = uint32(tiff, entry + 4)
    const size = (TYPE_BYTES[type] ?? (type === UTF8_TYPE ? 1 : 0)) * values
    const from = size <= 4 ? entry + 8 : uint32(tiff, entry + 8)
    const to = Math.min(from + size, tiff.bytes.length)
    yield { tag: uint16(tiff, entry), type, count: values, from: Math.min(from, to), to }
  }
}

const bytesOf = ({ bytes }: Tiff, { type, from, to }: Entry): Buffer =>
  [1, 2, 7, UTF8_TYPE].includes(type) ? bytes.subarray(from, to) : bytes.subarray(0, 0)

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

/** A time that there is, like 2026:05:01 12:34:56, and an offset like +02:00. */
function timeOf(time = '', offset = ''): string | undefined {
  const [, year, month, day, clock] = /^(\d{4})[:/-](\d\d)[:/-](\d\d) (\d\d:\d\d:\d\d)$/.exec(time) ?? []
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
