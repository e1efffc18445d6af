import { av1, MAX_STEPS } from './av1.ts'
import { coloursOf, forEqualColours, profileOf } from './colour.ts'
import { boxes, type Items, ifClear, itemsOf, metaOf, readerOf, uint } from './heif.ts'

/** Files as libvips and libheif read them like browsers: what is changed is a few bytes, and never the data of a picture. */

/** Of the box `ftyp`: as many as sniffContentType looks at. */
const MAX_BRANDS_BYTES = 256

/**
 * Brands of image sequences: `avis` is AVIF's own, `msf1` that of HEIF, and the next two HEVC's (ISO/IEC 23008-12, 10.3,
 * B.4). The others are of films; a still may have one too, and libheif then wants its `moov`.
 */
const SEQUENCE_BRANDS = ['avis', 'msf1', 'hevc', 'hevx', 'isom', 'mp41', 'mp42']

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
  // libvips knows an AVIF by its major brand only, and takes one of `mif1` for a HEIC.
  const brands = brand === 'avif' && file.toString('latin1', first, first + 4) !== brand ? [first] : []
  for (let at = first; at < first + ftyp.data.length; at += 4) {
    if (SEQUENCE_BRANDS.includes(file.toString('latin1', at, at + 4))) brands.push(at)
  }
  if (brands.length === 0 && brand === 'avif') return file
  const still = Buffer.from(file)
  for (const at of brands) still.write(brand, at, 'latin1')
  for (const { type, at } of boxes(file)) if (type === 'moov') still.write('free', at + 4, 'latin1')
  return ifClear(() => withPrimary(still)) ?? still
}

/**
 * A sequence need not say which picture is the one, since players take its first frame. Where there is one picture only, it
 * is that; a description that says so is put behind the file, since what it describes has its places from the beginning.
 */
function withPrimary(still: Buffer): Buffer {
  const meta = metaOf(still)
  const items = itemsOf(still)
  if (meta === undefined || items === undefined || items.primary !== undefined) return still
  const [only, second] = wholePictures(items)
  if (only === undefined || second !== undefined) return still
  let end = 0
  for (const { at, size } of boxes(still)) end = at + size
  if (end !== still.length || only > 0xffff) return still
  const added = Buffer.from('\0\0\0\x0epitm\0\0\0\0\0\0', 'latin1')
  added.writeUInt16BE(only, 12)
  const again = Buffer.concat([still, still.subarray(meta.at, meta.at + 8), meta.data, added])
  again.writeUInt32BE(8 + meta.data.length + added.length, end)
  again.write('free', meta.at + 4, 'latin1')
  return again
}

/** Those that are neither a piece of another one, nor what belongs to it. */
function wholePictures({ types, references }: Items): number[] {
  const parts = new Set<number>()
  for (const { type, from, to } of references) {
    if (type === 'dimg') parts.add(to)
    else if (type === 'auxl' || type === 'thmb') parts.add(from)
  }
  return [...types.keys()].filter(
    (id) => ['av01', 'hvc1', 'grid'].includes(types.get(id) ?? '') && !parts.has(id),
  )
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

/** Whether the transparency is of limited range, which libheif takes for the full one, and browsers spread. */
export const hasLimitedAlpha = (bytes: Buffer): boolean =>
  ifClear(() => {
    const items = itemsOf(bytes)
    if (items === undefined) return false
    const alpha = alphaOf(items)
    return alpha !== undefined && codedDataOf(bytes, items, alpha)?.sequence?.isLimited
  }) ?? false

/** The item that says how transparent the primary one is. */
const alphaOf = ({ primary, references, transparencies }: Items): number | undefined =>
  references.find(({ type, from, to }) => type === 'auxl' && to === primary && transparencies.has(from))?.from

/** What the AV1 data of an item say; of a grid, its first piece, as all of them are of the same colours. */
function codedDataOf(file: Buffer, items: Items, id: number): ReturnType<typeof av1> | undefined {
  const { references, types, places } = items
  const piece = references.find(({ type, from }) => type === 'dimg' && from === id)?.to
  const place = places.get([id, piece].find((one = -1) => types.get(one) === 'av01') ?? -1)
  return place && av1(readerOf(file, items)(place), { left: MAX_STEPS })
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
  const alpha = items && alphaOf(items)
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
  const { primary = -1, properties, propertiesOf } = items
  const data = codedDataOf(file, items, primary)
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
  const find = (type: string, [from, to]: Span, head: number): Span[] =>
    [...boxes(described.subarray(from + head, to))]
      .filter((box) => box.type === type)
      .map(({ at }): Span => [from + head + at, from + head + at + described.readUInt32BE(from + head + at)])
      .filter(([at, end]) => end <= to && end >= at + 8)
  const whole: Span = [0, described.length]
  const [iprp] = find('iprp', whole, 12)
  const [ipco] = iprp ? find('ipco', iprp, 8) : []
  // One for each form that their entries have, and from some encoders one for each item.
  const ipma = iprp && find('ipma', iprp, 8).find((span) => associationsOf(described.subarray(...span), id))
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
  // As `readItems`, up to the count or to the end.
  for (let items = ipma.readUInt32BE(12); items > 0 && at < ipma.length; items -= 1) {
    const count = at + idBytes
    const end = count + 1 + ipma.readUInt8(count) * indexBytes
    if (uint(ipma, at, idBytes) === id) return { count, end, indexBytes }
    at = end
  }
  return undefined
}
