import { Verdict } from '../shared/image.ts'

/**
 * Pixels of the largest picture within an AVIF, and of all that may be decoded for it: each coded picture as often as
 * it has frames (all of them are decoded for one) and as often as a grid shows it. 800 bytes can thus mean minutes.
 * What cannot be followed counts as infinite.
 *
 * @throws Verdict CORRUPT_IMAGE where a box ends too early, which some decoders overlook
 */
export function avifPixels(bytes: Buffer): { largest: number; decoded: number } {
  let meta: Buffer | undefined
  for (const { type, data } of boxes(bytes)) {
    if (type !== 'meta') continue
    // Decoders differ in which one they take, and each could mean the whole file.
    if (meta !== undefined) return NOT_TO_BE_FOLLOWED
    meta = data
  }
  try {
    return meta === undefined ? NOTHING : itemPixels(bytes, meta.subarray(4))
  } catch (error) {
    if (error instanceof Unclear) return NOT_TO_BE_FOLLOWED
    // Buffer's own words for it (https://nodejs.org/api/errors.html), which no other RangeError has.
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ERR_OUT_OF_RANGE' && code !== 'ERR_BUFFER_OUT_OF_BOUNDS') throw error
    throw new Verdict('CORRUPT_IMAGE', 'A box of the image ends too early.', error)
  }
}

const NOTHING = { largest: 0, decoded: 0 }
const NOT_TO_BE_FOLLOWED = { largest: 0, decoded: Number.POSITIVE_INFINITY }

/** What decoders may read otherwise, or more parts than there is time to look at or memory to keep a list of. */
class Unclear extends Error {}
/**
 * Boxes within a box, items, and references between them: far more than encoders write, and than libheif takes of items
 * (libheif/security_limits.cc: 1,000). A grid may name a cell as often as it has places.
 */
const MAX_BOXES = 10_000
const MAX_ITEMS = 10_000
const MAX_REFERENCES = 100_000

interface Box {
  type: string
  data: Buffer
}

/** ISO/IEC 14496-12, section 4.2. */
function* boxes(bytes: Buffer): Generator<Box> {
  for (let at = 0; at + 8 <= bytes.length; ) {
    const short = bytes.readUInt32BE(at)
    const head = short === 1 && at + 16 <= bytes.length ? 16 : 8
    const size = short === 0 ? bytes.length - at : head === 16 ? uint(bytes, at + 8, 8) : short
    if (size < head) return
    yield { type: bytes.toString('latin1', at + 4, at + 8), data: bytes.subarray(at + head, at + size) }
    at += size
  }
}

/** What a `meta` box says of its items (ISO/IEC 23008-12). Sizes, frames and references are matched by item id. */
function itemPixels(file: Buffer, meta: Buffer): { largest: number; decoded: number } {
  const items = childrenOf(meta)
  const properties = childrenOf(items.get('iprp')?.[0] ?? Buffer.alloc(0))
  // Where a box is there twice, decoders differ in which one they take.
  const twice = ['iprp', 'iref', 'iloc', 'idat'].some((type) => (items.get(type)?.length ?? 0) > 1)
  if (twice || (properties.get('ipco')?.length ?? 0) > 1) return NOT_TO_BE_FOLLOWED
  const sizes = sizesOf(properties.get('ipco')?.[0], properties.get('ipma') ?? [])
  const largest = [...sizes.values()].reduce((most, size) => Math.max(most, size), 0)
  const uses = usesOf(items.get('iref')?.[0])
  let decoded = 0
  let unread = 2 * file.length
  for (const [id, data] of dataOf(file, items.get('iloc')?.[0], items.get('idat')?.[0])) {
    unread -= data?.length ?? Number.POSITIVE_INFINITY
    if (data === undefined || unread < 0) return NOT_TO_BE_FOLLOWED
    const count = av1Frames(data)
    if (count > 0) decoded += count * (uses.get(id) ?? 1) * (sizes.get(id) ?? Number.POSITIVE_INFINITY)
  }
  return { largest, decoded }
}

/** @throws Unclear */
function boxesWithin(bytes: Buffer): Box[] {
  const found: Box[] = []
  for (const box of boxes(bytes)) if (found.push(box) > MAX_BOXES) throw new Unclear()
  return found
}

function childrenOf(bytes: Buffer): Map<string, Buffer[]> {
  const found = new Map<string, Buffer[]>()
  for (const { type, data } of boxesWithin(bytes)) {
    const same = found.get(type)
    if (same === undefined) found.set(type, [data])
    else same.push(data)
  }
  return found
}

const uint = (bytes: Buffer, at: number, size: number): number =>
  size === 0 ? 0 : size === 8 ? Number(bytes.readBigUInt64BE(at)) : bytes.readUIntBE(at, size)

/** The most pixels that each item is said to have. @throws Unclear */
function sizesOf(ipco: Buffer | undefined, ipmas: Buffer[]): Map<number, number> {
  const sizes = new Map<number, number>()
  if (ipco === undefined || ipmas.length === 0) return sizes
  const areas = boxesWithin(ipco).map(({ type, data }) =>
    type === 'ispe' ? data.readUInt32BE(4) * data.readUInt32BE(8) : 0,
  )
  for (const ipma of ipmas) {
    const idBytes = ipma[0] === 0 ? 2 : 4
    const indexBytes = (ipma[3] ?? 0) & 1 ? 2 : 1
    let at = 8
    for (let items = ipma.readUInt32BE(4); items > 0; items -= 1) {
      const id = uint(ipma, at, idBytes)
      at += idBytes
      let left = ipma.readUInt8(at)
      for (at += 1; left > 0; left -= 1, at += indexBytes) {
        // The highest bit says that the property is essential.
        const index = uint(ipma, at, indexBytes) & (indexBytes === 2 ? 0x7fff : 0x7f)
        const area = areas[index - 1] ?? 0
        if (area > 0) sizes.set(id, Math.max(area, sizes.get(id) ?? 0))
      }
      if (sizes.size > MAX_ITEMS) throw new Unclear()
    }
  }
  return sizes
}

/** How often each item is shown by others: a cell by its grid, a grid by its tone map. Deeper, nobody goes. */
function usesOf(iref: Buffer | undefined): Map<number, number> {
  let uses = new Map<number, number>()
  if (iref === undefined) return uses
  const shown: [by: number, id: number][] = []
  const idBytes = iref[0] === 0 ? 2 : 4
  for (const { type, data } of boxesWithin(iref.subarray(4))) {
    if (type !== 'dimg') continue
    const by = uint(data, 0, idBytes)
    let at = idBytes + 2
    for (let left = data.readUInt16BE(idBytes); left > 0; left -= 1, at += idBytes) {
      if (shown.push([by, uint(data, at, idBytes)]) > MAX_REFERENCES) throw new Unclear()
    }
  }
  for (let depth = 1; depth <= 3; depth += 1) {
    const next = new Map<number, number>()
    for (const [by, id] of shown) next.set(id, (next.get(id) ?? 0) + (uses.get(by) ?? 1))
    uses = next
  }
  return uses
}

/** Of an item, far more than libheif takes (libheif/security_limits.cc: 32). */
const MAX_EXTENTS = 1_000

/** The bytes of each item; undefined where they are made of other items' bytes or overlap, as with no encoder. */
function* dataOf(
  file: Buffer,
  iloc: Buffer | undefined,
  idat: Buffer | undefined,
): Generator<[number, Buffer | undefined]> {
  if (iloc === undefined) return
  const version = iloc.readUInt8(0)
  const nibbles = iloc.readUInt16BE(4)
  const [offsetBytes, lengthBytes, baseBytes] = [nibbles >> 12, (nibbles >> 8) & 15, (nibbles >> 4) & 15]
  const indexBytes = version === 0 ? 0 : nibbles & 15
  // Of other sizes than these, libheif reads nothing and goes on.
  if (![offsetBytes, lengthBytes, baseBytes, indexBytes].every((size) => [0, 4, 8].includes(size)))
    throw new Unclear()
  const idBytes = version < 2 ? 2 : 4
  let at = 6 + idBytes
  const items = uint(iloc, 6, idBytes)
  for (let item = 0; item < items; item += 1) {
    const id = uint(iloc, at, idBytes)
    at += idBytes
    const method = version === 0 ? 0 : iloc.readUInt16BE(at) & 15
    // The data reference of the item, which nobody uses, is passed over.
    at += version === 0 ? 2 : 4
    const base = uint(iloc, at, baseBytes)
    const source = method === 0 ? file : method === 1 ? idat : undefined
    const parts: Buffer[] = []
    let length = 0
    const extents = iloc.readUInt16BE(at + baseBytes)
    if (source === undefined || extents > MAX_EXTENTS || items > MAX_ITEMS) return yield [id, undefined]
    at += baseBytes + 2
    for (let extent = 0; extent < extents; extent += 1) {
      const offset = base + uint(iloc, at + indexBytes, offsetBytes)
      const size = uint(iloc, at + indexBytes + offsetBytes, lengthBytes)
      at += indexBytes + offsetBytes + lengthBytes
      // No size means to the end.
      const part = source.subarray(offset, size === 0 ? source.length : offset + size)
      parts.push(part)
      length += part.length
    }
    yield [id, length > file.length ? undefined : Buffer.concat(parts)]
  }
}

/** Frames in AV1 data; of other data usually none (AV1 Bitstream & Decoding Process Specification, section 5.3). */
function av1Frames(data: Buffer): number {
  const FRAME_HEADER = 3
  const FRAME = 6
  let count = 0
  for (let at = 0; at < data.length; ) {
    const header = data[at] ?? 0
    at += 1
    // Decoders pass over zeros between frames.
    if (header === 0) continue
    const type = (header >> 3) & 15
    if (type === FRAME || type === FRAME_HEADER) count += 1
    if ((header & 4) !== 0) at += 1
    // Without a size it is the last.
    if ((header & 2) === 0) break
    let size = 0
    for (let shift = 0; shift < 56; shift += 7) {
      const byte = data[at] ?? 0
      at += 1
      size += (byte & 127) * 2 ** shift
      if (byte < 128) break
    }
    at += size
  }
  return count
}
