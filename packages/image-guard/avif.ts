import { av1, MAX_STEPS, type Steps } from './av1.ts'
import { type Box, type Items, metaOf, readerOf, readItems, Unclear, uint } from './heif.ts'
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

/** Compositions within compositions: a cell by its grid, a grid by its tone map. Decoders go no deeper. */
const MAX_DEPTH = 3

/** Kinds of items that are no pictures. An item of any other kind may be decoded. */
const NO_PICTURES = new Set(['Exif', 'mime', 'uri '])

/** @throws Unclear, RangeError */
function itemPixels(file: Buffer, items: Items): HeicPixels {
  const dataOf = readerOf(file, items)
  const measured = new Map<string, { frames: number; area: number }>()
  const steps = { left: MAX_STEPS }
  const areas = new Map<number, number>()
  /** Each property once, as thousands of items may name the same. */
  const areaAt = (index: number): number => {
    const area = areas.get(index) ?? areaOf(items.properties[index], steps)
    areas.set(index, area)
    return area
  }
  let largest = 0
  let piece = 0
  let decoded = 0
  for (const [id, uses] of usesOf(items)) {
    const type = items.types.get(id)
    if (type !== undefined && NO_PICTURES.has(type)) continue
    let said = 0
    for (const index of items.propertiesOf.get(id) ?? []) said = Math.max(said, areaAt(index))
    const place = items.places.get(id)
    if (place === undefined) {
      largest = Math.max(largest, said)
      continue
    }
    // Cells of a grid, or layers, may share their bytes; they are looked at once.
    const key = JSON.stringify(place)
    const known = measured.get(key) ?? measure(dataOf(place), type, steps)
    measured.set(key, known)
    const area = Math.max(known.area, said)
    largest = Math.max(largest, area)
    if (known.frames > 0) piece = Math.max(piece, area)
    decoded += known.frames * uses * area
  }
  return { largest, piece, decoded }
}

/** What a property says of the pixels of its item: a size, or data that come before those of the item. */
function areaOf(property: Box | undefined, steps: Steps): number {
  if (property?.type === 'ispe') return property.data.readUInt32BE(4) * property.data.readUInt32BE(8)
  if (property?.type === 'av1C') return av1(property.data.subarray(4), steps).area
  if (property?.type === 'hvcC') return areaOfConfiguration(property.data, steps)
  return 0
}

function measure(data: Buffer, type: string | undefined, steps: Steps): { frames: number; area: number } {
  // A canvas, whose pieces count separately: version, flags, then a grid's rows and columns, or the four
  // channels of an overlay's background, and its size (ISO/IEC 23008-12, section 6.6.2).
  const canvas = type === 'grid' ? 4 : type === 'iovl' ? 10 : undefined
  if (type === 'hvc1') return codedIn(data, steps)
  if (canvas === undefined) return av1(data, steps)
  const sideBytes = data.readUInt8(1) & 1 ? 4 : 2
  return { frames: 0, area: uint(data, canvas, sideBytes) * uint(data, canvas + sideBytes, sideBytes) }
}

/** How often each item is decoded for the primary one; each once, where it is not said which one that is. */
function usesOf(items: Items): Map<number, number> {
  const { primary, types, places, references } = items
  if (primary === undefined) return new Map([...types.keys(), ...places.keys()].map((id) => [id, 1]))
  const needs = new Map<number, number[]>()
  for (const { type, from, to } of references) {
    if (type !== 'dimg' && type !== 'auxl') continue
    const [by, needed] = type === 'dimg' ? [from, to] : [to, from]
    if (type === 'auxl' && !items.transparencies.has(needed)) continue
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
