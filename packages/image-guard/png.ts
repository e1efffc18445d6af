import { crc32, deflateSync } from 'node:zlib'
import { type Colours, coloursOf, gamma, profileOf, SRGB_CHROMATICITIES } from './colour.ts'

export const SIGNATURE_BYTES = 8
/** Length, type and checksum around each chunk's data (PNG specification, section 5.3). */
export const CHUNK_OVERHEAD = 12

/** Chunks that say how a PNG looks. All others are text, times and animation, and some of them can be inflated. */
const NEEDED = new Set([
  'IHDR',
  'PLTE',
  'IDAT',
  'IEND',
  'tRNS',
  'cHRM',
  'gAMA',
  'iCCP',
  'sBIT',
  'sRGB',
  'cICP',
  'cLLI',
  'mDCV',
  'bKGD',
  'hIST',
  'pHYs',
  'eXIf',
])

/**
 * A PNG without what does not show. Compressed text inflates whenever the file is opened, a thousandfold: 4 MB of it
 * keep a decoder busy for minutes. Of each kind of chunk but IDAT only the first counts, and each further one takes
 * libpng 200 bytes of memory.
 *
 * @param file any file; one that is not a PNG comes back as it is, and one that is broken stays as broken as it was
 */
export function withoutText(file: Uint8Array): Buffer {
  const bytes = Buffer.from(file.buffer, file.byteOffset, file.length)
  if (bytes.toString('latin1', 1, 4) !== 'PNG') return bytes
  // What is kept goes to its place at once: a list of two million pieces would take more memory than the file.
  let kept: Buffer | undefined
  let length = 0
  const seen = new Set<string>()
  let from = 0
  let at = SIGNATURE_BYTES
  while (at + CHUNK_OVERHEAD <= bytes.length) {
    const end = at + CHUNK_OVERHEAD + bytes.readUInt32BE(at)
    if (end > bytes.length) break
    const type = bytes.toString('latin1', at + 4, at + 8)
    if (!NEEDED.has(type) || (seen.has(type) && type !== 'IDAT')) {
      kept ??= Buffer.allocUnsafeSlow(bytes.length)
      length += bytes.copy(kept, length, from, at)
      from = end
    } else seen.add(type)
    at = end
  }
  if (kept === undefined) return bytes
  length += bytes.copy(kept, length, from)
  return kept.subarray(0, length)
}

function pngChunk(type: string, data: Buffer): Buffer {
  const chunk = Buffer.alloc(CHUNK_OVERHEAD + data.length)
  chunk.writeUInt32BE(data.length)
  chunk.write(type, 4, 'latin1')
  chunk.set(data, 8)
  chunk.writeUInt32BE(crc32(chunk.subarray(4, -4)), 8 + data.length)
  return chunk
}

/**
 * A PNG that claims a smaller window of its compressed data than the data reach back. Every viewer reads it whole with the
 * largest window there is, which is right for any; libpng refuses it.
 *
 * @param bytes any file; one that is not a PNG, or needs no change, comes back as it is
 */
export function withWholeWindow(bytes: Buffer): Buffer {
  if (bytes.toString('latin1', 1, 4) !== 'PNG') return bytes
  const data = [...chunks(bytes)].find(({ type }) => type === 'IDAT')
  if (data === undefined) return bytes
  const { at, end } = data
  const [method = 0, flags = 0] = bytes.subarray(at + 8)
  // Deflate, and less than 32 KB (RFC 1950, section 2.2).
  const isSmall = (method & 15) === 8 && method >> 4 < 7 && (method * 256 + flags) % 31 === 0
  if (!isSmall || end > bytes.length || at + 10 > end - 4) return bytes
  // A chunk that is damaged stays so.
  if (crc32(bytes.subarray(at + 4, end - 4)) !== bytes.readUInt32BE(end - 4)) return bytes
  const whole = Buffer.from(bytes)
  const kept = flags & 0xe0
  whole[at + 8] = 0x78
  whole[at + 9] = kept + ((31 - ((0x7800 + kept) % 31)) % 31)
  whole.writeUInt32BE(crc32(whole.subarray(at + 4, end - 4)), end - 4)
  return whole
}

/** Chunks without which a PNG cannot be shown; their names begin with a capital letter (PNG specification, section 5.4). */
const CRITICAL = new Set(['IHDR', 'PLTE', 'IDAT', 'IEND'])

/** Whether a PNG has no critical chunk that the standard does not know, for which a decoder has to refuse it. */
export function hasCommonChunks(bytes: Buffer): boolean {
  for (const { type } of allChunks(bytes)) {
    if (type === 'IEND') return true
    if (/^[A-Z]/.test(type) && !CRITICAL.has(type)) return false
  }
  return true
}

interface Chunk {
  type: string
  at: number
  end: number
}

function* allChunks(bytes: Buffer): Generator<Chunk> {
  for (let at = SIGNATURE_BYTES; at + CHUNK_OVERHEAD <= bytes.length; ) {
    const end = at + CHUNK_OVERHEAD + bytes.readUInt32BE(at)
    yield { type: bytes.toString('latin1', at + 4, at + 8), at, end }
    at = end
  }
}

const dataOf = (bytes: Buffer, { at, end }: Chunk): Buffer => bytes.subarray(at + 8, end - 4)

/** Up to the first chunk of pixels, and that one. */
function* chunks(bytes: Buffer): Generator<Chunk & { data: Buffer }> {
  for (const chunk of allChunks(bytes)) {
    yield { ...chunk, data: dataOf(bytes, chunk) }
    if (chunk.type === 'IDAT') return
  }
}

/** The Exif block behind the pixels of a PNG: libvips and browsers do not look there, but the standard allows it. */
export function exifBehindPixels(bytes: Buffer): Buffer | undefined {
  if (bytes.toString('latin1', 1, 4) !== 'PNG') return undefined
  for (const chunk of allChunks(bytes)) {
    if (chunk.type === 'IEND') return undefined
    if (chunk.type === 'eXIf') return dataOf(bytes, chunk)
  }
  return undefined
}

/** Of a profile: a name that ends with a zero, and the only method of compression that there is. */
const NAME_AND_METHOD = Buffer.from('made\0\0')

/** What says of a PNG which colours its numbers are. */
const OF_COLOURS = ['cHRM', 'gAMA', 'iCCP', 'sRGB', 'cICP']

/**
 * A PNG whose colours are said by numbers alone, with a profile that says the same.
 *
 * @param bytes any file; one that is not a PNG, has a profile, or is in sRGB, comes back as it is
 */
export function withPngProfile(bytes: Buffer): Buffer {
  if (bytes.toString('latin1', 1, 4) !== 'PNG') return bytes
  const found = [...chunks(bytes)]
  const [header] = found
  const colours = declaredColours(new Map(found.map(({ type, data }) => [type, data])))
  // Grey, with transparency or without.
  const profile = colours && profileOf(colours, { isGrey: header?.data[9] === 0 || header?.data[9] === 4 })
  if (profile === undefined) return bytes
  return tagged(bytes, profile)
}

/** A PNG with a profile, and without other chunks that say which colours its numbers are. */
export function tagged(png: Buffer, profile: Buffer): Buffer {
  // libpng refuses a length that is not a multiple of 4.
  const padded = Buffer.concat([profile, Buffer.alloc(-profile.length & 3)])
  if (padded.length > 4) padded.writeUInt32BE(padded.length)
  const parts: Buffer[] = []
  let from = 0
  for (const { type, at, end } of chunks(png)) {
    if (type === 'IHDR') {
      const data = Buffer.concat([NAME_AND_METHOD, deflateSync(padded, { level: 1 })])
      parts.push(png.subarray(from, end), pngChunk('iCCP', data))
    } else if (OF_COLOURS.includes(type)) parts.push(png.subarray(from, at))
    else continue
    from = end
  }
  return Buffer.concat([...parts, png.subarray(from)])
}

/** What this stands for goes first: PNG specification, third edition, section 4.3. */
function declaredColours(said: Map<string, Buffer>): Colours | undefined {
  const [primaries = 0, transfer = 0, matrix, isFull] = said.get('cICP') ?? []
  // As in browsers: the pixels of a PNG are red, green and blue, from 0 to the highest number.
  const colours = matrix === 0 && isFull === 1 ? coloursOf({ primaries, transfer }) : undefined
  if (colours !== undefined) return { ...colours, peak: peakOf(said) }
  if (said.has('iCCP') || said.has('sRGB')) return undefined
  const [encoding] = numbers(said.get('gAMA'))
  if (encoding === undefined || encoding < LEAST_GAMMA || encoding > MOST_GAMMA) return undefined
  const curve = gamma(1 / encoding)
  const off = Math.abs(encoding * 2.2 - 1)
  const points = said.get('cHRM')
  if (points?.length !== 32) {
    return off <= NEAR_SRGB ? undefined : { chromaticities: SRGB_CHROMATICITIES, curve }
  }
  const [wx = 0, wy = 0, rx = 0, ry = 0, gx = 0, gy = 0, bx = 0, by = 0] = numbers(points)
  const chromaticities = [rx, ry, gx, gy, bx, by, wx, wy] as const
  const areOfSrgb = SRGB_CHROMATICITIES.every(
    (value, at) => Math.abs(value - (chromaticities[at] ?? 0)) < 0.002,
  )
  return areOfSrgb && off <= WRITTEN_FOR_SRGB ? undefined : { chromaticities, curve }
}

/** Of the picture, or of the screen that it was made on, in 10,000ths. */
function peakOf(said: Map<string, Buffer>): number {
  const [light, screen] = [said.get('cLLI'), said.get('mDCV')]
  const peak = light?.length === 8 ? light.readUInt32BE(0) : 0
  return (peak || (screen?.length === 24 ? screen.readUInt32BE(16) : 0)) / 10_000
}

/** What libpng takes in gAMA (pngrutil.c). */
const LEAST_GAMMA = 0.000_16
const MOST_GAMMA = 6_250
/** A gAMA without a cHRM that is so near to 1 / 2.2 means sRGB to browsers. */
const NEAR_SRGB = 0.05
/** Beside the primaries of sRGB it is what many programs write for sRGB, whose own curve is less than 9 of 255 away. */
const WRITTEN_FOR_SRGB = 0.002

/** Of gAMA and cHRM, in 100,000ths: the first 8, since what follows may be as long as the file. */
const numbers = (data: Buffer = Buffer.alloc(0)) =>
  Array.from({ length: Math.min(8, data.length >> 2) }, (_, at) => data.readUInt32BE(4 * at) / 100_000)
