/** Directories in a block, and entries in all of them: ten times what cameras write. */
const MAX_DIRECTORIES = 100
const MAX_ENTRIES = 2_000
/** Entries in the directory of interoperability, which has five at the most (Exif 3.0, section 4.6.8). */
const MAX_INTEROPERABILITY = 50

/** An Exif block is a TIFF file without pixels: a header, and directories of entries (TIFF 6.0, section 2). */
export interface Tiff {
  bytes: Buffer
  /** The order of bytes. */
  little: boolean
}

export type Kind = 'image' | 'photo' | 'gps' | 'interoperability'

export interface Directory {
  kind: Kind
  at: number
  /** Of entries that are within the block. */
  count: number
}

export interface Entry {
  tag: number
  type: number
  count: number
  /** Where its value is; nowhere, where it would be outside the block. */
  from: number
  to: number
}

export const HEADER_BYTES = 8
export const ENTRY_BYTES = 12
/** Entries that say where another directory is (Exif 3.0, section 4.6.3). */
export const POINTERS = { photo: 0x8769, gps: 0x8825, interoperability: 0xa005 }
/** More pictures of the same (TIFF/EP), and an XMP packet (XMP specification, part 3). */
const SUB_IFDS = 0x014a
export const XMP_TAG = 0x02bc
/** Places of directories that one entry may give. */
const MAX_SUB_IFDS = 16
/** Of each type from 1 on (TIFF 6.0, section 2; 13 is a place, of TIFF technical note 1). */
export const TYPE_BYTES = [0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4]
const UTF8_TYPE = 129

/** Bytes that containers may have in front of a block: "Exif", zeros, a length. */
const MAX_PREAMBLE_BYTES = 64

export function tiffOf(block: Buffer): Tiff | undefined {
  const head = block.toString('latin1', 0, MAX_PREAMBLE_BYTES)
  const at = head.search(/II\*\0|MM\0\*/)
  if (at < 0 || block.length < at + HEADER_BYTES) return undefined
  return { bytes: block.subarray(at), little: head[at] === 'I' }
}

export const uint16 = ({ bytes, little }: Tiff, at: number): number =>
  little ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at)
export const uint32 = ({ bytes, little }: Tiff, at: number): number =>
  little ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at)

/** @returns undefined for a block of too many of them */
export function directoriesOf(tiff: Tiff): Directory[] | undefined {
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
    // Editors that move directories leave the pointer to this one behind, and what is there now may be anything.
    if (kind === 'interoperability' && said > MAX_INTEROPERABILITY) continue
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

export function* entriesOf(tiff: Tiff, { at, count }: Directory): Generator<Entry> {
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

export const bytesOf = ({ bytes }: Tiff, { type, from, to }: Entry): Buffer =>
  [1, 2, 7, UTF8_TYPE].includes(type) ? bytes.subarray(from, to) : bytes.subarray(0, 0)
