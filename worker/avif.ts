/**
 * Pixels of the largest picture within an AVIF, and of all that may be decoded for it: each coded picture as often as
 * it has frames (all of them are decoded for one) and as often as a grid shows it. 800 bytes can thus mean minutes.
 * What cannot be followed counts as infinite where a decoder might follow it, and as nothing where none does.
 */
export function avifPixels(bytes: Buffer): { largest: number; decoded: number } {
  const result = { largest: 0, decoded: 0 }
  for (const box of boxes(bytes)) {
    if (box.type !== 'meta') continue
    try {
      const { largest, decoded } = itemPixels(bytes, box.data.subarray(4))
      result.largest = Math.max(result.largest, largest)
      result.decoded += decoded
    } catch (error) {
      // A box that ends too early; libheif will say so.
      if (!(error instanceof RangeError)) throw error
    }
  }
  return result
}

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
  const sizes = new Map<number, number>()
  let largest = 0
  for (const ipma of properties.get('ipma') ?? []) {
    for (const [id, size] of sizesOf(properties.get('ipco')?.[0], ipma)) {
      sizes.set(id, Math.max(size, sizes.get(id) ?? 0))
      largest = Math.max(size, largest)
    }
  }
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

const NOT_TO_BE_FOLLOWED = { largest: 0, decoded: Number.POSITIVE_INFINITY }

function childrenOf(bytes: Buffer): Map<string, Buffer[]> {
  const found = new Map<string, Buffer[]>()
  for (const { type, data } of boxes(bytes)) {
    const same = found.get(type)
    if (same === undefined) found.set(type, [data])
    else same.push(data)
  }
  return found
}

const uint = (bytes: Buffer, at: number, size: number): number =>
  size === 0 ? 0 : size === 8 ? Number(bytes.readBigUInt64BE(at)) : bytes.readUIntBE(at, size)

function sizesOf(ipco: Buffer | undefined, ipma: Buffer | undefined): Map<number, number> {
  const sizes = new Map<number, number>()
  if (ipco === undefined || ipma === undefined) return sizes
  const areas = [...boxes(ipco)].map(({ type, data }) =>
    type === 'ispe' ? data.readUInt32BE(4) * data.readUInt32BE(8) : 0,
  )
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
  }
  return sizes
}

/** How often each item is shown by others: a cell by its grid, a grid by its tone map. Deeper, nobody goes. */
function usesOf(iref: Buffer | undefined): Map<number, number> {
  let uses = new Map<number, number>()
  if (iref === undefined) return uses
  const shown: [by: number, id: number][] = []
  const idBytes = iref[0] === 0 ? 2 : 4
  for (const { type, data } of boxes(iref.subarray(4))) {
    if (type !== 'dimg') continue
    const by = uint(data, 0, idBytes)
    let at = idBytes + 2
    for (let left = data.readUInt16BE(idBytes); left > 0; left -= 1, at += idBytes) {
      shown.push([by, uint(data, at, idBytes)])
    }
  }
  for (let depth = 1; depth <= 3; depth += 1) {
    const next = new Map<number, number>()
    for (const [by, id] of shown) next.set(id, (next.get(id) ?? 0) + (uses.get(by) ?? 1))
    uses = next
  }
  return uses
}

/** Far more than libheif takes (libheif/security_limits.cc: 1,000 and 32). */
const MAX_ITEMS = 10_000
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
