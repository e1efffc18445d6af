import { type Cicp, coloursOf, forEqualColours, profileOf } from './colour.ts'
import { areaOfConfiguration, codedIn } from './hevc.ts'
import { Refusal } from './limits.ts'

/** What a decoder has to do for one file, in pixels: `largest` is the largest picture, `decoded` all of them together. */
export interface AvifPixels {
  largest: number
  decoded: number
}

export interface HeicPixels extends AvifPixels {
  /** The largest picture that is coded in one piece. */
  piece: number
}

/**
 * The work in an AVIF. A decoder makes the primary picture, what that is composed of, and their transparency; it passes
 * over gain maps, thumbnails, Exif and XMP. Each coded picture counts as often as it has frames (all of them are
 * decoded for one) and as often as a grid shows it. 800 bytes can thus mean minutes.
 *
 * @returns an infinite `decoded` for boxes that decoders may read otherwise
 * @throws Refusal CORRUPT_IMAGE where a box ends too early, which some decoders overlook
 */
export function avifPixels(bytes: Buffer): AvifPixels {
  return orUnclear(() => {
    const meta = metaOf(bytes)
    if (meta === undefined) return { largest: 0, decoded: 0 }
    const { largest, decoded } = itemPixels(bytes, readItems(meta.data.subarray(4)))
    return { largest, decoded }
  }, NOT_TO_BE_FOLLOWED)
}

/**
 * Where the Exif blocks and XMP packets of an AVIF are, each in its pieces, which share their bytes with the file.
 *
 * @returns none where the boxes are not to be followed, or their pieces are more than the file
 */
export function avifMetadata(file: Buffer): { type: 'Exif' | 'mime'; pieces: Buffer[] }[] {
  const items = itemsOf(file)
  const found: { type: 'Exif' | 'mime'; pieces: Buffer[] }[] = []
  let unread = 2 * file.length
  for (const [id, type] of items?.types ?? []) {
    if (type !== 'Exif' && type !== 'mime') continue
    const { method, extents } = items?.places.get(id) ?? { method: 0, extents: [] }
    const source = method === 0 ? file : method === 1 ? items?.idat : undefined
    if (source === undefined) continue
    // No size means to the end.
    const pieces = extents.map(([offset, size]) =>
      source.subarray(offset, size === 0 ? source.length : offset + size),
    )
    unread -= pieces.reduce((sum, piece) => sum + piece.length, 0)
    if (unread < 0) return []
    found.push({ type, pieces })
  }
  return found
}

/** How pictures in a HEIC may be made: HEVC, a grid of others, one of others over each other, another one turned. */
const HEIC_KINDS = new Set(['hvc1', 'grid', 'iovl', 'iden'])

/**
 * The work in a HEIC, as `avifPixels` has it for an AVIF.
 *
 * @throws Refusal CORRUPT_IMAGE, also where data are cut off; UNSUPPORTED_FORMAT for pictures of other kinds
 */
export function heicPixels(bytes: Buffer): HeicPixels {
  return orUnclear(
    () => {
      const meta = metaOf(bytes)
      const items = meta && readItems(meta.data.subarray(4))
      if (items?.primary === undefined)
        throw new Refusal('CORRUPT_IMAGE', 'The image cannot be decoded: it has no list of pictures.')
      for (const id of usesOf(items).keys()) {
        const kind = items.types.get(id) ?? ''
        if (!HEIC_KINDS.has(kind)) {
          throw new Refusal(
            'UNSUPPORTED_FORMAT',
            'The file begins as image/heic, but its picture is of another kind.',
          )
        }
        for (const [offset, size] of items.places.get(id)?.extents ?? []) {
          if (items.places.get(id)?.method === 0 && offset + size > bytes.length)
            throw new Refusal('CORRUPT_IMAGE', 'The image cannot be decoded: its data is cut off.')
        }
      }
      return itemPixels(bytes, items)
    },
    { ...NOT_TO_BE_FOLLOWED, piece: 0 },
  )
}

/** Brands of image sequences: `avis` is AVIF's own, `msf1` that of HEIF, and the others HEVC's (ISO/IEC 23008-12, 10.3, B.4). */
const SEQUENCE_BRANDS = ['avis', 'msf1', 'hevc', 'hevx']

/**
 * An animated AVIF, or a sequence of HEVC, as the still picture that is in it too, which is its first frame: libvips opens
 * none of the brand `avis`, and the samples of `moov` are not in `avifPixels`.
 *
 * @param brand of stills; the samples of a HEIC go with any brand
 * @param file any file; one that is not a sequence comes back as it is
 */
export function stillOf(file: Buffer, brand: 'avif' | 'heic' = 'avif'): Buffer {
  const [ftyp] = boxes(file.subarray(0, MAX_BRANDS_BYTES))
  if (ftyp?.type !== 'ftyp') return file
  const first = ftyp.at + 8
  const brands: number[] = []
  for (let at = first; at < first + ftyp.data.length; at += 4) {
    if (SEQUENCE_BRANDS.includes(file.toString('latin1', at, at + 4))) brands.push(at)
  }
  if (brands.length === 0 && brand === 'avif') return file
  const still = Buffer.from(file)
  for (const at of brands) still.write(brand, at, 'latin1')
  for (const { type, at } of boxes(file)) if (type === 'moov') still.write('free', at + 4, 'latin1')
  return still
}

/**
 * An AVIF with one description of its items, the first, as browsers read one. Others come with a second file behind the
 * first, and decoders differ in which one they take.
 */
export function withOneMeta(file: Buffer): Buffer {
  let copy: Buffer | undefined
  let isFirst = true
  for (const { type, at } of boxes(file)) {
    if (type !== 'meta') continue
    if (!isFirst) {
      copy ??= Buffer.from(file)
      copy.write('free', at + 4, 'latin1')
    }
    isFirst = false
  }
  return copy ?? file
}

/** Whether the colours are stored as the transparency lets them through (ISO/IEC 23008-12, section 6.10.1.3, `prem`). */
export const isPremultiplied = (bytes: Buffer): boolean => {
  const items = itemsOf(bytes)
  return items?.references.some(({ type, from }) => type === 'prem' && from === items.primary) ?? false
}

/** What turns, mirrors and crops a picture. */
const TRANSFORMATIONS = ['irot', 'imir', 'clap']

/**
 * An AVIF whose transparency is turned, mirrored and cropped as its colours are. Older encoders say it of the colours only
 * and mean both, as browsers read it; libheif turns what it is said of.
 *
 * @param file any AVIF; one that needs no change, or is out of the ordinary, comes back as it is
 */
export function withTurnedAlpha(file: Buffer): Buffer {
  const items = itemsOf(file)
  const transformations = (id: number | undefined): number[] =>
    (items?.propertiesOf.get(id ?? -1) ?? []).filter((index) =>
      TRANSFORMATIONS.includes(items?.properties[index]?.type ?? ''),
    )
  const wanted = transformations(items?.primary)
  const alpha = items?.references.find(
    ({ type, from, to }) => type === 'auxl' && to === items.primary && isAlpha(items, from),
  )?.from
  if (alpha === undefined || wanted.length === 0 || transformations(alpha).length > 0) return file
  // Transformations are essential, which a decoder has to know of.
  return describedAgain(file, alpha, { indexes: wanted, isEssential: true })
}

/**
 * An AVIF with a profile that says what it says otherwise of its colours: by numbers (ISO/IEC 14496-12, section 12.1.5,
 * `nclx`; or in the AV1 data, where it is not said elsewhere), by a profile of grey, of which libvips makes three colours,
 * or by a limited range of grey, which libheif takes for the full one.
 *
 * @param file any AVIF; one that has a profile, is in sRGB, or is out of the ordinary, comes back as it is
 */
export const withAvifProfile = (file: Buffer): Buffer => ifClear(() => withProfile(withMatrix(file))) ?? file

function withProfile(file: Buffer): Buffer {
  const items = itemsOf(file)
  if (items?.primary === undefined) return file
  const said = declaredColours(items, items.primary)
  const own = said.get('prof') ?? said.get('rICC')
  const profile = own === undefined ? profileOfNumbers(file, items, said.get('nclx')) : forEqualColours(own)
  if (profile === undefined) return file
  const colr = Buffer.alloc(12)
  colr.writeUInt32BE(colr.length + profile.length)
  colr.write('colrprof', 4, 'latin1')
  // Of two profiles libheif takes the last.
  const added = { indexes: [items.properties.length], isEssential: false }
  return describedAgain(file, items.primary, added, Buffer.concat([colr, profile]))
}

/** What says which colours an item has, by its kind. */
function declaredColours({ properties, propertiesOf }: Items, id: number): Map<string, Buffer> {
  const said = new Map<string, Buffer>()
  for (const index of propertiesOf.get(id) ?? []) {
    const { type, data } = properties[index] ?? {}
    if (type === 'colr' && data !== undefined) said.set(data.toString('latin1', 0, 4), data.subarray(4))
  }
  return said
}

const UNSPECIFIED = 2
const BT601 = 6
/** An AVIF whose `nclx` specifies a range only, which libheif then passes over, with the matrix that browsers assume. */
function withMatrix(file: Buffer): Buffer {
  let whole = file
  for (const { type, data } of itemsOf(file)?.properties ?? []) {
    if (type !== 'colr' || data.toString('latin1', 0, 4) !== 'nclx') continue
    if (![4, 6, 8].every((at) => data.readUInt16BE(at) === UNSPECIFIED)) continue
    if (whole === file) whole = Buffer.from(file)
    whole.writeUInt16BE(BT601, data.byteOffset - file.byteOffset + 8)
  }
  return whole
}

/** What video is recorded with: BT.709, BT.601 and BT.2020. */
const OF_VIDEO = [1, 6, 14, 15]

/** @throws Unclear, RangeError */
function profileOfNumbers(file: Buffer, items: Items, nclx: Buffer | undefined): Buffer | undefined {
  const { primary = -1, properties, propertiesOf, references, types, places } = items
  // The pieces of a grid are all of the same colours.
  const piece = references.find(({ type, from }) => type === 'dimg' && from === primary)?.to
  const place = places.get([primary, piece].find((id = -1) => types.get(id) === 'av01') ?? -1)
  const data = place && av1(readerOf(file, items)(place), { left: MAX_STEPS })
  const { primaries = UNSPECIFIED, transfer = UNSPECIFIED } = nclx
    ? { primaries: nclx.readUInt16BE(0), transfer: nclx.readUInt16BE(2) }
    : (data?.sequence?.cicp ?? {})
  const isLimited = nclx ? nclx.readUInt8(6) < 0x80 : data?.sequence?.isLimited
  // Chromium draws an AVIF that says so little, or speaks of video, like a picture.
  const colours = coloursOf({
    primaries: primaries === UNSPECIFIED ? 1 : primaries,
    transfer: transfer === UNSPECIFIED || OF_VIDEO.includes(transfer) ? 13 : transfer,
  })
  const clli = (propertiesOf.get(primary) ?? []).find((index) => properties[index]?.type === 'clli')
  // Browsers read the brightness of the picture, and not that of the screen that it was made on (`mdcv`).
  const peak = properties[clli ?? -1]?.data.readUInt16BE(0)
  const isLimitedGrey = isLimited === true && data?.sequence?.isGrey === true
  return colours && profileOf({ ...colours, peak }, { isLimited: isLimitedGrey })
}

/**
 * An AVIF with a second description, of items whose bytes stay where they are; the first one is passed over. It comes back
 * as it is where that is not to be done by a few bytes.
 *
 * @param id of the item that has more properties
 * @param added by their indexes, from 0
 * @param property one that is added to the list
 */
function describedAgain(
  file: Buffer,
  id: number,
  added: { indexes: number[]; isEssential: boolean },
  property = Buffer.alloc(0),
): Buffer {
  const meta = metaOf(file)
  let last = meta
  for (const box of boxes(file)) last = box
  if (meta === undefined || last === undefined) return file
  // What is added behind a box that reaches the end of the file would be a part of it.
  const isOpen = last.size === 0 && last !== meta
  if (!isOpen && last.at + last.size !== file.length) return file
  const described = file.subarray(meta.at, meta.at + 8 + meta.data.length)
  // Each in the one before: where a box begins, from the beginning of `meta`, and where it ends.
  const find = (type: string, [from, to]: Span, head: number): Span | undefined => {
    const [found, second] = [...boxes(described.subarray(from + head, to))].filter((box) => box.type === type)
    if (found === undefined || second !== undefined) return undefined
    const at = from + head + found.at
    const end = at + described.readUInt32BE(at)
    return end <= to && end >= at + 8 ? [at, end] : undefined
  }
  const whole: Span = [0, described.length]
  const iprp = find('iprp', whole, 12)
  const ipco = iprp && find('ipco', iprp, 8)
  const ipma = iprp && find('ipma', iprp, 8)
  if (iprp === undefined || ipco === undefined || ipma === undefined) return file
  const entry = associationsOf(described.subarray(...ipma), id)
  if (entry === undefined || described.readUInt32BE(0) !== described.length) return file
  const { indexBytes } = entry
  const count = ipma[0] + entry.count
  const highest = indexBytes === 2 ? 0x8000 : 0x80
  const counted = described.readUInt8(count) + added.indexes.length
  if (counted > 255 || added.indexes.some((index) => index + 1 >= highest)) return file
  const associations = Buffer.alloc(added.indexes.length * indexBytes)
  for (const [place, index] of added.indexes.entries()) {
    associations.writeUIntBE(index + 1 + (added.isEssential ? highest : 0), place * indexBytes, indexBytes)
  }
  const grown = Buffer.from(described)
  grown.writeUInt8(counted, count)
  const inserted = [
    { within: ipco, at: ipco[1], bytes: property },
    { within: ipma, at: ipma[0] + entry.end, bytes: associations },
  ].toSorted((a, b) => a.at - b.at)
  const parts: Buffer[] = [file]
  let from = 0
  for (const { within, at, bytes } of inserted) {
    for (const [box] of [whole, iprp, within])
      grown.writeUInt32BE(grown.readUInt32BE(box) + bytes.length, box)
    parts.push(grown.subarray(from, at), bytes)
    from = at
  }
  const again = Buffer.concat([...parts, grown.subarray(from)])
  again.write('free', meta.at + 4, 'latin1')
  if (isOpen) again.writeUInt32BE(file.length - last.at, last.at)
  return again
}

/** Where something begins and ends. */
type Span = [begin: number, end: number]

/** Of an item, within a box `ipma`: where the count of its associations is, and where they end. */
function associationsOf(
  ipma: Buffer,
  id: number,
): { count: number; end: number; indexBytes: number } | undefined {
  const idBytes = ipma[8] === 0 ? 2 : 4
  const indexBytes = (ipma[11] ?? 0) & 1 ? 2 : 1
  let at = 16
  for (let items = ipma.readUInt32BE(12); items > 0; items -= 1) {
    const count = at + idBytes
    const end = count + 1 + ipma.readUInt8(count) * indexBytes
    if (uint(ipma, at, idBytes) === id) return { count, end, indexBytes }
    at = end
  }
  return undefined
}

const itemsOf = (bytes: Buffer): Items | undefined =>
  ifClear(() => {
    const meta = metaOf(bytes)
    return meta && readItems(meta.data.subarray(4))
  })

/** Undefined where boxes end too early, or are not to be followed: the decoder has the last word on those. */
function ifClear<T>(look: () => T): T | undefined {
  try {
    return look()
  } catch (error) {
    if (error instanceof Unclear || error instanceof RangeError) return undefined
    throw error
  }
}

/** Of the box `ftyp`: as many as sniffContentType looks at. */
const MAX_BRANDS_BYTES = 256

const NOT_TO_BE_FOLLOWED: AvifPixels = { largest: 0, decoded: Number.POSITIVE_INFINITY }

function orUnclear<T>(look: () => T, unclear: T): T {
  try {
    return look()
  } catch (error) {
    if (error instanceof Unclear) return unclear
    // Buffer's own words for it (https://nodejs.org/api/errors.html), which no other RangeError has.
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ERR_OUT_OF_RANGE' && code !== 'ERR_BUFFER_OUT_OF_BOUNDS') throw error
    throw new Refusal('CORRUPT_IMAGE', 'A box of the image ends too early.', error)
  }
}

/** What decoders may read otherwise, or more parts than there is time to look at or memory to keep a list of. */
class Unclear extends Error {}
/**
 * Boxes within a box, items, and references between them: far more than encoders write, and than libheif takes of items
 * (libheif/security_limits.cc: 1,000). A grid may name a cell as often as it has places.
 */
const MAX_BOXES = 10_000
const MAX_ITEMS = 10_000
const MAX_REFERENCES = 100_000
/** Of properties to items: ten times what MAX_ITEMS items have in files of encoders. */
const MAX_ASSOCIATIONS = 100_000
/** Of an item, far more than libheif takes (libheif/security_limits.cc: 32). */
const MAX_EXTENTS = 1_000
/** Of all items: they may take no byte of the file each, but memory here. */
const MAX_ALL_EXTENTS = 100_000
/** Units of AV1 data to look at, and bytes between them to pass over: a tenth of a second. */
const MAX_STEPS = 10_000_000
/** Compositions within compositions: a cell by its grid, a grid by its tone map. Decoders go no deeper. */
const MAX_DEPTH = 3

interface Box {
  type: string
  /** Where the box begins in the bytes, and how many it says it has; 0 for all that are left. */
  at: number
  size: number
  data: Buffer
}

/** ISO/IEC 14496-12, section 4.2. */
function* boxes(bytes: Buffer): Generator<Box> {
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
function metaOf(bytes: Buffer): Box | undefined {
  let meta: Box | undefined
  for (const box of boxes(bytes)) {
    if (box.type !== 'meta') continue
    if (meta !== undefined) throw new Unclear()
    meta = box
  }
  return meta
}

/** What a `meta` box says of its items (ISO/IEC 14496-12, section 8.11, and ISO/IEC 23008-12), by item id. */
interface Items {
  primary: number | undefined
  /** Four characters each. */
  types: Map<number, string>
  places: Map<number, Place>
  idat: Buffer | undefined
  properties: Box[]
  /** Indexes of `properties`, from 0. */
  propertiesOf: Map<number, number[]>
  references: Reference[]
}
/** Where the data of an item is; `method` 0 counts from the beginning of the file, 1 from that of `idat`. */
interface Place {
  method: number
  extents: [offset: number, size: number][]
}
interface Reference {
  type: string
  from: number
  to: number
}

/** @throws Unclear, RangeError */
function readItems(meta: Buffer): Items {
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
  return {
    primary: pitm === undefined ? undefined : uint(pitm, 4, pitm[0] === 0 ? 2 : 4),
    types: readTypes(only('iinf')),
    places: readPlaces(only('iloc')),
    idat: only('idat'),
    properties: ipco === undefined ? [] : boxesWithin(ipco),
    propertiesOf: readAssociations(iprp.get('ipma') ?? []),
    references: readReferences(only('iref')),
  }
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

function readTypes(iinf: Buffer | undefined): Map<number, string> {
  const types = new Map<number, string>()
  if (iinf === undefined) return types
  for (const { type, data } of boxesWithin(iinf.subarray(iinf[0] === 0 ? 6 : 8))) {
    if (type !== 'infe') continue
    const idBytes = data.readUInt8(0) < 3 ? 2 : 4
    const id = uint(data, 4, idBytes)
    // Of two with one id libheif takes the first. Between id and type is the index of a protection; versions before 2
    // have no type, and libheif no use for them.
    const at = 4 + idBytes + 2
    if (!types.has(id)) types.set(id, data.toString('latin1', at, at + 4))
  }
  return types
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

/** Kinds of items that are no pictures. An item of any other kind may be decoded. */
const NO_PICTURES = new Set(['Exif', 'mime', 'uri '])

/** @throws Unclear, RangeError */
function itemPixels(file: Buffer, items: Items): HeicPixels {
  const dataOf = readerOf(file, items)
  const measured = new Map<string, { frames: number; area: number }>()
  const steps = { left: MAX_STEPS }
  let largest = 0
  let piece = 0
  let decoded = 0
  for (const [id, uses] of usesOf(items)) {
    const type = items.types.get(id)
    if (type !== undefined && NO_PICTURES.has(type)) continue
    const said = (items.propertiesOf.get(id) ?? []).map((index) => items.properties[index])
    const areas = said.map((property) => areaOf(property, steps))
    const place = items.places.get(id)
    if (place === undefined) {
      largest = Math.max(largest, ...areas)
      continue
    }
    // Cells of a grid, or layers, may share their bytes; they are looked at once.
    const key = JSON.stringify(place)
    const known = measured.get(key) ?? measure(dataOf(place), type, steps)
    measured.set(key, known)
    const area = Math.max(known.area, ...areas)
    largest = Math.max(largest, area)
    if (known.frames > 0) piece = Math.max(piece, area)
    decoded += known.frames * uses * area
  }
  return { largest, piece, decoded }
}

/** What a property says of the pixels of its item: a size, or data that come before those of the item. */
function areaOf(property: Box | undefined, steps: { left: number }): number {
  if (property?.type === 'ispe') return property.data.readUInt32BE(4) * property.data.readUInt32BE(8)
  if (property?.type === 'av1C') return av1(property.data.subarray(4), steps).area
  if (property?.type === 'hvcC') return areaOfConfiguration(property.data)
  return 0
}

function measure(
  data: Buffer,
  type: string | undefined,
  steps: { left: number },
): { frames: number; area: number } {
  // A canvas, whose pieces count separately: version, flags, then a grid's rows and columns, or the four
  // channels of an overlay's background, and its size (ISO/IEC 23008-12, section 6.6.2).
  const canvas = type === 'grid' ? 4 : type === 'iovl' ? 10 : undefined
  if (type === 'hvc1') return hevc(data, steps)
  if (canvas === undefined) return av1(data, steps)
  const sideBytes = data.readUInt8(1) & 1 ? 4 : 2
  return { frames: 0, area: uint(data, canvas, sideBytes) * uint(data, canvas + sideBytes, sideBytes) }
}

function hevc(data: Buffer, steps: { left: number }): { frames: number; area: number } {
  const coded = codedIn(data, steps)
  if (steps.left < 0) throw new Unclear()
  return coded
}

/** How often each item is decoded for the primary one; each once, where it is not said which one that is. */
function usesOf(items: Items): Map<number, number> {
  const { primary, types, places, references } = items
  if (primary === undefined) return new Map([...types.keys(), ...places.keys()].map((id) => [id, 1]))
  const needs = new Map<number, number[]>()
  for (const { type, from, to } of references) {
    if (type !== 'dimg' && type !== 'auxl') continue
    const [by, needed] = type === 'dimg' ? [from, to] : [to, from]
    if (type === 'auxl' && !isAlpha(items, needed)) continue
    const list = needs.get(by)
    if (list === undefined) needs.set(by, [needed])
    else list.push(needed)
  }
  const uses = new Map([[primary, 1]])
  let level = uses
  // Each composition may have transparency of its own.
  for (let depth = 0; depth < 2 * MAX_DEPTH && level.size > 0; depth += 1) {
    const next = new Map<number, number>()
    for (const [by, times] of level) {
      for (const id of needs.get(by) ?? []) next.set(id, (next.get(id) ?? 0) + times)
    }
    for (const [id, times] of next) uses.set(id, (uses.get(id) ?? 0) + times)
    level = next
  }
  return uses
}

/** Kinds of auxiliary pictures that say how transparent another one is, newer and older (MIAF; HEVC; AVC). */
const ALPHA = /^urn:mpeg:(mpegB:cicp:systems:auxiliary:alpha|(hevc|avc):2015:auxid:1)\0/

const isAlpha = ({ properties, propertiesOf }: Items, id: number): boolean =>
  (propertiesOf.get(id) ?? []).some((index) => {
    const property = properties[index]
    return property?.type === 'auxC' && ALPHA.test(property.data.toString('latin1', 4))
  })

/** Bytes that the pieces of items may have when they are put together. @throws Unclear for more, and for other methods */
function readerOf(file: Buffer, { idat }: Items): (place: Place) => Buffer {
  let unread = 2 * file.length
  return ({ method, extents }) => {
    const source = method === 0 ? file : method === 1 ? idat : undefined
    if (source === undefined) throw new Unclear()
    // No size means to the end.
    const parts = extents.map(([offset, size]) =>
      source.subarray(offset, size === 0 ? source.length : offset + size),
    )
    const [only] = parts
    if (only !== undefined && parts.length === 1) return only
    unread -= parts.reduce((sum, part) => sum + part.length, 0)
    if (unread < 0) throw new Unclear()
    return Buffer.concat(parts)
  }
}

/** Frames in AV1 data, and the pixels that one of them may have (AV1 Bitstream & Decoding Process Specification, 5.3). */
function av1(
  data: Buffer,
  steps: { left: number },
): { frames: number; area: number; sequence?: Sequence | undefined } {
  const SEQUENCE_HEADER = 1
  const FRAME_HEADER = 3
  const FRAME = 6
  let frames = 0
  let area = 0
  let first: Sequence | undefined
  for (let at = 0; at < data.length; ) {
    steps.left -= 1
    if (steps.left < 0) throw new Unclear()
    const header = data[at] ?? 0
    at += 1
    // Decoders pass over zeros between frames.
    if (header === 0) continue
    const type = (header >> 3) & 15
    if (type === FRAME || type === FRAME_HEADER) frames += 1
    if ((header & 4) !== 0) at += 1
    let size = data.length - at
    // Without a size it is the last.
    if ((header & 2) !== 0) {
      size = 0
      for (let shift = 0; shift < 56; shift += 7) {
        const byte = data[at] ?? 0
        at += 1
        size += (byte & 127) * 2 ** shift
        if (byte < 128) break
      }
    }
    if (type === SEQUENCE_HEADER) {
      const sequence = readSequence(data.subarray(at, at + size))
      area = Math.max(area, sequence.area)
      first ??= sequence
    }
    at += size
  }
  return { frames, area, sequence: first }
}

interface Sequence {
  /** Pixels of the largest frame that is allowed. */
  area: number
  cicp: Cicp | undefined
  isGrey: boolean
  /** Of grey alone is it right. */
  isLimited: boolean
}

/** What a sequence header says (AV1 specification, sections 5.5.1 and 5.5.2). Past its end are zeros. */
function readSequence(header: Buffer): Sequence {
  let at = 0
  const bits = (count: number): number => {
    let value = 0
    for (let end = at + count; at < end; at += 1) {
      value = value * 2 + (((header[at >> 3] ?? 0) >> (7 - (at & 7))) & 1)
    }
    return value
  }
  const profile = bits(3)
  bits(1) // still picture
  const isShort = bits(1) === 1
  if (isShort) {
    bits(5) // level of a still picture with the short header
  } else {
    let delayBits = 0
    const hasTiming = bits(1) === 1
    if (hasTiming) {
      bits(64) // units of time
      // An equal interval, whose length begins with as many zeros as bits follow.
      if (bits(1) === 1) {
        let zeros = 0
        while (zeros < 32 && bits(1) === 0) zeros += 1
        bits(zeros)
      }
      if (bits(1) === 1) {
        delayBits = bits(5) + 1
        bits(42) // a unit of time and two lengths
      }
    }
    const hasDisplayDelay = bits(1) === 1
    for (let points = bits(5) + 1; points > 0; points -= 1) {
      bits(12)
      if (bits(5) > 7) bits(1)
      if (delayBits > 0 && bits(1) === 1) bits(2 * delayBits + 1)
      if (hasDisplayDelay && bits(1) === 1) bits(4)
    }
  }
  const widthBits = bits(4) + 1
  const heightBits = bits(4) + 1
  const area = (bits(widthBits) + 1) * (bits(heightBits) + 1)
  // Lengths of the numbers that frames have.
  if (!isShort && bits(1) === 1) bits(7)
  bits(3) // tools
  if (!isShort) {
    bits(4) // tools between frames
    const isOrdered = bits(1) === 1
    if (isOrdered) bits(2)
    const forScreens = bits(1) === 1 || bits(1) === 1
    if (forScreens && bits(1) === 0) bits(1)
    if (isOrdered) bits(3)
  }
  bits(3) // more tools
  const isDeep = bits(1) === 1
  if (isDeep && profile === 2) bits(1) // whether 12 bits
  const isGrey = profile !== 1 && bits(1) === 1
  const cicp = bits(1) === 1 ? { primaries: bits(8), transfer: bits(8) } : undefined
  if (cicp !== undefined) bits(8) // matrix
  return { area, cicp, isGrey, isLimited: bits(1) === 0 }
}
