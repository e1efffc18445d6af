/**
 * What the boxes of an AVIF or a HEIC say of the items in it (ISO/IEC 14496-12 and ISO/IEC 23008-12), as far as all decoders
 * read it alike.
 */

/** What decoders may read otherwise, or more parts than there is time to look at or memory to keep a list of. */
export class Unclear extends Error {}

/**
 * Boxes within a box, items, and references between them: far more than encoders write, and than libheif takes of items
 * (libheif/security_limits.cc: 1,000). A grid may name a cell as often as it has places.
 */
export const MAX_BOXES = 10_000
const MAX_ITEMS = 10_000
const MAX_REFERENCES = 100_000
/** Of properties to items: ten times what MAX_ITEMS items have in files of encoders. */
const MAX_ASSOCIATIONS = 100_000
/** Of an item, far more than libheif takes (libheif/security_limits.cc: 32). */
const MAX_EXTENTS = 1_000
/** Of all items: they may take no byte of the file each, but memory here. */
const MAX_ALL_EXTENTS = 100_000
export interface Box {
  type: string
  /** Where the box begins in the bytes, and how many it says it has; 0 for all that are left. */
  at: number
  size: number
  data: Buffer
}

/** ISO/IEC 14496-12, section 4.2. */
export function* boxes(bytes: Buffer): Generator<Box> {
  for (let at = 0; at + 8 <= bytes.length; ) {
    const short = bytes.readUInt32BE(at)
    const head = short === 1 && at + 16 <= bytes.length ? 16 : 8
    const size = short === 0 ? bytes.length - at : head === 16 ? uint(bytes, at + 8, 8) : short
    if (size < head) return
    const type = bytes.toString('latin1', at + 4, at + 8)
    yield { type, at, size: short === 0 ? 0 : size, data: bytes.subarray(at + head, at + size) }
    at += size
  }
}

/** @throws Unclear where there are two: decoders differ in which one they take, and each could mean the whole file */
export function metaOf(bytes: Buffer): Box | undefined {
  let meta: Box | undefined
  for (const box of boxes(bytes)) {
    if (box.type !== 'meta') continue
    if (meta !== undefined) throw new Unclear()
    meta = box
  }
  return meta
}

/** What a `meta` box says of its items (ISO/IEC 14496-12, section 8.11, and ISO/IEC 23008-12), by item id. */
export interface Items {
  primary: number | undefined
  /** Four characters each. */
  types: Map<number, string>
  /** Ids of those whose data are compressed. */
  encoded: Set<number>
  places: Map<number, Place>
  idat: Buffer | undefined
  properties: Box[]
  /** Indexes of `properties`, from 0. */
  propertiesOf: Map<number, number[]>
  references: Reference[]
  /** Ids of those that say how transparent another one is. */
  transparencies: Set<number>
}
/** Where the data of an item is; `method` 0 counts from the beginning of the file, 1 from that of `idat`. */
export interface Place {
  method: number
  extents: [offset: number, size: number][]
}
interface Reference {
  type: string
  from: number
  to: number
}

/** @throws Unclear, RangeError */
export function readItems(meta: Buffer): Items {
  const parts = childrenOf(meta)
  const only = (type: string): Buffer | undefined => {
    const [first, second] = parts.get(type) ?? []
    if (second !== undefined) throw new Unclear()
    return first
  }
  const iprp = childrenOf(only('iprp') ?? Buffer.alloc(0))
  const [ipco, ipco2] = iprp.get('ipco') ?? []
  if (ipco2 !== undefined) throw new Unclear()
  const pitm = only('pitm')
  const properties = ipco === undefined ? [] : boxesWithin(ipco)
  const propertiesOf = readAssociations(iprp.get('ipma') ?? [])
  return {
    primary: pitm === undefined ? undefined : uint(pitm, 4, pitm[0] === 0 ? 2 : 4),
    ...readTypes(only('iinf')),
    places: readPlaces(only('iloc')),
    idat: only('idat'),
    properties,
    propertiesOf,
    references: readReferences(only('iref')),
    transparencies: transparenciesOf(properties, propertiesOf),
  }
}

/** Kinds of auxiliary pictures that say how transparent another one is, newer and older (MIAF; HEVC; AVC). */
const ALPHA = /^urn:mpeg:(mpegB:cicp:systems:auxiliary:alpha|(hevc|avc):2015:auxid:1)\0/
const MAX_ALPHA_BYTES = 64

/** Once for all: a file may have 100,000 references, to an item of as many properties. */
function transparenciesOf(properties: Box[], propertiesOf: Map<number, number[]>): Set<number> {
  const alphas = properties.map(
    ({ type, data }) => type === 'auxC' && ALPHA.test(data.toString('latin1', 4, 4 + MAX_ALPHA_BYTES)),
  )
  const ids = [...propertiesOf].filter(([, indexes]) => indexes.some((index) => alphas[index]))
  return new Set(ids.map(([id]) => id))
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

export const uint = (bytes: Buffer, at: number, size: number): number =>
  size === 0 ? 0 : size === 8 ? Number(bytes.readBigUInt64BE(at)) : bytes.readUIntBE(at, size)

function readTypes(iinf: Buffer | undefined): Pick<Items, 'types' | 'encoded'> {
  const types = new Map<number, string>()
  const encoded = new Set<number>()
  if (iinf === undefined) return { types, encoded }
  for (const { type, data } of boxesWithin(iinf.subarray(iinf[0] === 0 ? 6 : 8))) {
    if (type !== 'infe') continue
    const idBytes = data.readUInt8(0) < 3 ? 2 : 4
    const id = uint(data, 4, idBytes)
    // Of two with one id libheif takes the first. Between id and type is the index of a protection; versions before 2
    // have no type, and libheif no use for them.
    const at = 4 + idBytes + 2
    if (types.has(id)) continue
    const text = data.toString('latin1', at)
    types.set(id, text.slice(0, 4))
    // A name, the kind of its data, and how they are compressed.
    if (text.split('\0', 3)[2]) encoded.add(id)
  }
  return { types, encoded }
}

function readAssociations(ipmas: Buffer[]): Map<number, number[]> {
  const propertiesOf = new Map<number, number[]>()
  let count = 0
  for (const ipma of ipmas) {
    const idBytes = ipma[0] === 0 ? 2 : 4
    const indexBytes = (ipma[3] ?? 0) & 1 ? 2 : 1
    let at = 8
    // libheif reads up to the count or to the end, the first of the two.
    for (let items = ipma.readUInt32BE(4); items > 0 && at < ipma.length; items -= 1) {
      const id = uint(ipma, at, idBytes)
      at += idBytes
      const indexes = propertiesOf.get(id) ?? []
      propertiesOf.set(id, indexes)
      let left = ipma.readUInt8(at)
      for (at += 1; left > 0; left -= 1, at += indexBytes) {
        // The highest bit says that the property is essential.
        indexes.push((uint(ipma, at, indexBytes) & (indexBytes === 2 ? 0x7fff : 0x7f)) - 1)
        count += 1
      }
      if (propertiesOf.size > MAX_ITEMS || count > MAX_ASSOCIATIONS) throw new Unclear()
    }
  }
  return propertiesOf
}

function readReferences(iref: Buffer | undefined): Reference[] {
  const references: Reference[] = []
  if (iref === undefined) return references
  const idBytes = iref[0] === 0 ? 2 : 4
  let boxesLeft = MAX_BOXES
  // libheif goes by the counts alone: what size such a box says it has, it passes over.
  for (let at = 4; at < iref.length; boxesLeft -= 1) {
    if (boxesLeft === 0) throw new Unclear()
    const type = iref.toString('latin1', at + 4, at + 8)
    at += (iref.readUInt32BE(at) === 1 ? 16 : 8) + (type === 'uuid' ? 16 : 0)
    const from = uint(iref, at, idBytes)
    let left = iref.readUInt16BE(at + idBytes)
    for (at += idBytes + 2; left > 0; left -= 1, at += idBytes) {
      const to = uint(iref, at, idBytes)
      if (references.push({ type, from, to }) > MAX_REFERENCES) throw new Unclear()
    }
  }
  return references
}

function readPlaces(iloc: Buffer | undefined): Map<number, Place> {
  const places = new Map<number, Place>()
  if (iloc === undefined) return places
  const version = iloc.readUInt8(0)
  const nibbles = iloc.readUInt16BE(4)
  // Of other sizes than these, libheif skips them.
  const bytesIn = (shift: number): number => [4, 8].find((size) => size === ((nibbles >> shift) & 15)) ?? 0
  const [offsetBytes, lengthBytes, baseBytes] = [bytesIn(12), bytesIn(8), bytesIn(4)]
  const indexBytes = version === 0 ? 0 : bytesIn(0)
  const idBytes = version < 2 ? 2 : 4
  let at = 6 + idBytes
  const items = uint(iloc, 6, idBytes)
  if (items > MAX_ITEMS) throw new Unclear()
  let left = MAX_ALL_EXTENTS
  for (let item = 0; item < items; item += 1) {
    const id = uint(iloc, at, idBytes)
    at += idBytes
    const method = version === 0 ? 0 : iloc.readUInt16BE(at) & 15
    // The data reference of the item, which is out of use, is passed over.
    at += version === 0 ? 2 : 4
    const base = uint(iloc, at, baseBytes)
    const count = iloc.readUInt16BE(at + baseBytes)
    at += baseBytes + 2
    left -= count
    if (count > MAX_EXTENTS || left < 0 || places.has(id)) throw new Unclear()
    const extents: [number, number][] = []
    for (let extent = 0; extent < count; extent += 1) {
      const offset = base + uint(iloc, at + indexBytes, offsetBytes)
      extents.push([offset, uint(iloc, at + indexBytes + offsetBytes, lengthBytes)])
      at += indexBytes + offsetBytes + lengthBytes
    }
    places.set(id, { method, extents })
  }
  return places
}

export const itemsOf = (bytes: Buffer): Items | undefined =>
  ifClear(() => {
    const meta = metaOf(bytes)
    return meta && readItems(meta.data.subarray(4))
  })

/** Undefined where boxes end too early, or are not to be followed: the decoder has the last word on those. */
export function ifClear<T>(look: () => T): T | undefined {
  try {
    return look()
  } catch (error) {
    if (error instanceof Unclear || error instanceof RangeError) return undefined
    throw error
  }
}

/** The data of an item in its pieces, which share their bytes with the file; undefined for another method. */
function piecesOf(file: Buffer, idat: Buffer | undefined, { method, extents }: Place): Buffer[] | undefined {
  const source = method === 0 ? file : method === 1 ? idat : undefined
  // No size means to the end.
  return source && extents.map(([at, size]) => source.subarray(at, size === 0 ? source.length : at + size))
}

/** Bytes that the pieces of items may have when they are put together. @throws Unclear for more, and for other methods */
export function readerOf(file: Buffer, { idat }: Items): (place: Place) => Buffer {
  let unread = 2 * file.length
  return (place) => {
    const parts = piecesOf(file, idat, place)
    if (parts === undefined) throw new Unclear()
    const [only] = parts
    if (only !== undefined && parts.length === 1) return only
    unread -= parts.reduce((sum, part) => sum + part.length, 0)
    if (unread < 0) throw new Unclear()
    return Buffer.concat(parts)
  }
}

type Metadata = { type: 'Exif' | 'mime'; isEncoded: boolean; pieces: Buffer[] }

/**
 * Where the Exif blocks and XMP packets of an AVIF are, each in its pieces, which share their bytes with the file.
 *
 * @returns none where the boxes are not to be followed, or their pieces are more than the file
 */
export function avifMetadata(file: Buffer): Metadata[] {
  const items = itemsOf(file)
  const found: Metadata[] = []
  let unread = 2 * file.length
  for (const [id, type] of items?.types ?? []) {
    if (type !== 'Exif' && type !== 'mime') continue
    const pieces = piecesOf(file, items?.idat, items?.places.get(id) ?? { method: 0, extents: [] })
    if (pieces === undefined) continue
    unread -= pieces.reduce((sum, piece) => sum + piece.length, 0)
    if (unread < 0) return []
    found.push({ type, isEncoded: items?.encoded.has(id) === true, pieces })
  }
  return found
}
