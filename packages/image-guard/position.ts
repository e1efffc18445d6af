import { createHash } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { blankExif } from './exif.ts'
import { blankFilms } from './film.ts'
import { blankFlir, FLIR, FLIR_HEAD_BYTES } from './flir.ts'
import { avifMetadata, boxes, MAX_BOXES } from './heif.ts'
import { END_OF_IMAGE, markerFrom, START_OF_IMAGE } from './jpeg.ts'
import { MAX_SEGMENTS } from './limits.ts'
import { CHUNK_OVERHEAD, SIGNATURE_BYTES } from './png.ts'
import { blankXmp } from './xmp.ts'

/**
 * Overwrites, in place, the coordinates of where a picture was taken: the directory of GPS in Exif blocks, such properties
 * in XMP packets, the record of a thermal camera, and the place of a film behind a photo. The file keeps its length and its
 * pixels. Not looked at are names of places, words that people wrote, notes of camera makers (ExifTool 12.57 knows of no
 * coordinates in those of pictures), what a film recorded with its frames, and provenance (C2PA).
 *
 * @param file a JPEG, PNG, WebP, AVIF, HEIC or GIF; any other stays as it is
 * @returns whether there was something to overwrite
 */
export function blankPosition(file: Buffer): boolean {
  const isChanged = inPicture(file)
  return blankFilms(file) || isChanged
}

function inPicture(file: Buffer): boolean {
  const magic = file.toString('latin1', 0, 12)
  if (magic.startsWith('\xff\xd8')) return inJpeg(file)
  if (magic.startsWith('\x89PNG')) return inPng(file)
  if (magic.startsWith('RIFF') && magic.endsWith('WEBP')) return inWebp(file)
  if (magic.startsWith('GIF8')) return inGif(file)
  if (magic.slice(4, 8) === 'ftyp') return inAvif(file)
  return false
}

const blankExifAndXmp = (block: Buffer): boolean => blankExif(block, blankXmp)

/** What is split is put together, and what is blanked in it goes back to its pieces. */
function inPieces(pieces: Buffer[], blank: (whole: Buffer) => boolean): boolean {
  const [only] = pieces
  if (only !== undefined && pieces.length === 1) return blank(only)
  const whole = Buffer.concat(pieces)
  if (!blank(whole)) return false
  let at = 0
  for (const piece of pieces) at += whole.copy(piece, 0, at, at + piece.length)
  return true
}

const APP1 = 0xe1
const APP13 = 0xed
/** As lenient as ExifTool: some cameras write it in capitals, or four bytes in front of it, and another byte than 0 behind. */
const EXIF = /^(.{0,4})Exif\0/is
/** Where a packet begins, of which not every editor writes the name (XMP specification, part 3, section 1.1.3) in front. */
const XMP = /http:\/\/ns\.adobe\.com\/xap\/1\.0\/\0|<\?xpacket|<x:xmpmeta|<rdf:RDF/
const EXTENDED_XMP = 'http://ns.adobe.com/xmp/extension/\0'
/** A hash of the whole in hexadecimal, the length of the whole, and the place of this part in it. */
const HASH_CHARACTERS = 32
const PART_HEAD_BYTES = HASH_CHARACTERS + 8

interface Part {
  hash: Buffer
  at: number
  data: Buffer
}

function inJpeg(file: Buffer): boolean {
  let blanked = false
  /** Of one block: what does not fit into a segment continues in the next. */
  let block: Buffer[] = []
  const packets: Buffer[] = []
  const extended = new Map<string, Part[]>()
  const resources: Buffer[] = []
  const thermal: Buffer[] = []
  const endBlock = (): void => {
    if (block.length > 0 && inPieces(block, blankExifAndXmp)) blanked = true
    block = []
  }
  for (const { marker, data } of segments(file)) {
    const kind = data.toString('latin1', 0, EXTENDED_XMP.length)
    const [exif, garbage = ''] = EXIF.exec(kind) ?? []
    if (marker === APP13) {
      if (kind.startsWith(PHOTOSHOP)) resources.push(data.subarray(PHOTOSHOP.length))
    } else if (kind.startsWith(FLIR)) {
      thermal.push(data.subarray(FLIR_HEAD_BYTES))
    } else if (exif !== undefined) {
      const part = data.subarray(garbage.length + 6)
      if (/^(II|MM)/.test(part.toString('latin1', 0, 2))) endBlock()
      block.push(part)
    } else if (kind === EXTENDED_XMP) addPart(extended, data.subarray(kind.length))
    else packets.push(...packetIn(data))
  }
  endBlock()
  if (resources.length > 0 && inPieces(resources, inResources)) blanked = true
  if (thermal.length > 0 && inPieces(thermal, blankFlir)) blanked = true
  for (const packet of packets) if (blankXmp(packet)) blanked = true
  const renamed = blankExtended(extended)
  for (const packet of renamed.size === 0 ? [] : packets) rename(packet, renamed)
  return blanked || renamed.size > 0
}

function packetIn(data: Buffer): Buffer[] {
  const { 0: name = '', index } = XMP.exec(data.toString('latin1')) ?? {}
  return index === undefined ? [] : [data.subarray(index + (name.startsWith('<') ? 0 : name.length))]
}

/** @param data of a segment of extended XMP, behind its name */
function addPart(extended: Map<string, Part[]>, data: Buffer): void {
  if (data.length <= PART_HEAD_BYTES) return
  const hash = data.subarray(0, HASH_CHARACTERS)
  const part = { hash, at: data.readUInt32BE(HASH_CHARACTERS + 4), data: data.subarray(PART_HEAD_BYTES) }
  const name = hash.toString('latin1')
  const same = extended.get(name)
  if (same === undefined) extended.set(name, [part])
  else same.push(part)
}

/** @returns new hashes of what has changed, by the old ones: readers pass over what has another hash than it says */
function blankExtended(extended: Map<string, Part[]>): Map<string, string> {
  const renamed = new Map<string, string>()
  for (const [name, parts] of extended) {
    const pieces = parts.sort((a, b) => a.at - b.at).map(({ data }) => data)
    if (!inPieces(pieces, blankXmp)) continue
    const digest = createHash('md5')
    for (const piece of pieces) digest.update(piece)
    const hash = digest.digest('hex').toUpperCase()
    for (const part of parts) part.hash.write(hash, 'latin1')
    renamed.set(name, hash)
  }
  return renamed
}

/** The packet in front names the extended one by its hash. */
function rename(packet: Buffer, renamed: Map<string, string>): void {
  for (const found of packet.toString('latin1').matchAll(/HasExtendedXMP\W{1,20}(\w{32})\b/g)) {
    const hash = renamed.get(found[1] ?? '')
    if (hash !== undefined) packet.write(hash, found.index + found[0].length - HASH_CHARACTERS, 'latin1')
  }
}

/** Of Photoshop, in as many segments as they need; two of them are a block of Exif and a packet (Photoshop file formats). */
const PHOTOSHOP = 'Photoshop 3.0\0'
const RESOURCES: Record<number, (data: Buffer) => boolean> = { 1058: blankExifAndXmp, 1060: blankXmp }

function inResources(resources: Buffer): boolean {
  let blanked = false
  for (let at = 0; resources.toString('latin1', at, at + 4) === '8BIM' && at + 12 <= resources.length; ) {
    const blank = RESOURCES[resources.readUInt16BE(at + 4)]
    // A name, whose length and bytes are of an even number together.
    at += 6 + 2 * Math.floor(1 + (resources[at + 6] ?? 0) / 2)
    if (at + 4 > resources.length) break
    const end = at + 4 + resources.readUInt32BE(at)
    if (blank?.(resources.subarray(at + 4, end)) === true) blanked = true
    at = end + (end % 2)
  }
  return blanked
}

/**
 * The segments APP1 and APP13, of the pictures in and behind the first one too (CIPA DC-007, multi-picture format): wherever
 * one begins, since what is between them may look like a beginning. A JPEG of more segments than these is refused by the
 * worker.
 */
function* segments(file: Buffer): Generator<{ marker: number; data: Buffer }> {
  let left = MAX_SEGMENTS
  let first = true
  for (let begin = 0; begin >= 0 && left > 0; begin = file.indexOf(NEXT_IMAGE, begin + 2)) {
    for (let at = begin + 2; left > 0; ) {
      const found = markerFrom(file, at)
      // Of those behind the first picture nothing is between a beginning and the segments.
      if (found === undefined || (!first && found !== at)) break
      const marker = file[found + 1] ?? 0
      at = found + 2
      // Of those that restart a scan there may be more.
      if (marker >= 0xd0 && marker <= 0xd7) continue
      left -= 1
      if (marker === END_OF_IMAGE) break
      if (marker === START_OF_IMAGE || marker < 0xc0) continue
      if (at + 2 > file.length) break
      const end = at + Math.max(2, file.readUInt16BE(at))
      if (marker === APP1 || marker === APP13) yield { marker, data: file.subarray(at + 2, end) }
      at = end
    }
    first = false
  }
}
const NEXT_IMAGE = Buffer.from([0xff, START_OF_IMAGE, 0xff])

/** Chunks of a PNG or WebP that are looked at: encoders write tens, and at most one for each 8 KB of pixels. */
const MAX_CHUNKS = 100_000

/**
 * Text under these names is a block, a packet or resources of Photoshop in hexadecimal, or a single property, as ImageMagick
 * writes them.
 */
const POSITION_TEXT = /^Raw profile type (exif|app1|xmp|8bim)$|gps|latitude|longitude/i
/** Some leave out what the specification puts in front. */
const XMP_TEXT = /^(XML:com\.adobe\.)?xmp$/i
/** PNG specification, section 11.3.3.2. */
const MAX_KEYWORD = 79

function inPng(file: Buffer): boolean {
  let blanked = false
  let left = MAX_CHUNKS
  for (let at = SIGNATURE_BYTES; at + CHUNK_OVERHEAD <= file.length && left > 0; left -= 1) {
    const end = at + CHUNK_OVERHEAD + file.readUInt32BE(at)
    if (end > file.length) break
    const chunk = file.subarray(at + 4, end - 4)
    if (inChunk(chunk)) {
      file.writeUInt32BE(crc32(chunk), end - 4)
      blanked = true
    }
    at = end
  }
  return blanked
}

/** @param chunk its type and its data */
function inChunk(chunk: Buffer): boolean {
  const type = chunk.toString('latin1', 0, 4)
  const data = chunk.subarray(4)
  if (type === 'eXIf') return blankExifAndXmp(data)
  // A compressed block, as some wrote it before eXIf was agreed on.
  if (type === 'zxIf') return becomeComment(chunk)
  // From before packets had a name of text.
  if (type === 'tXMP') return blankXmp(data)
  if (type !== 'tEXt' && type !== 'zTXt' && type !== 'iTXt') return false
  const head = data.toString('latin1', 0, MAX_KEYWORD + 1)
  const keyword = head.slice(0, Math.max(0, head.indexOf('\0')))
  const isXmp = XMP_TEXT.test(keyword)
  if (isXmp && type === 'tEXt') return blankXmp(data.subarray(keyword.length + 1))
  if (isXmp && type === 'iTXt' && data[keyword.length + 1] === 0) {
    // A language and the keyword in that language are in front of the text.
    const language = data.indexOf(0, keyword.length + 3)
    const text = language < 0 ? -1 : data.indexOf(0, language + 1)
    return text >= 0 && blankXmp(data.subarray(text + 1))
  }
  return (isXmp || POSITION_TEXT.test(keyword)) && becomeComment(chunk)
}

/** What may be compressed does not change in place: it is blanked whole. */
function becomeComment(chunk: Buffer): boolean {
  const data = chunk.subarray(4)
  chunk.write('tEXt', 'latin1')
  data.fill(0x20)
  data.write('Comment\0'.slice(-data.length), 'latin1')
  return true
}

function inWebp(file: Buffer): boolean {
  let blanked = false
  let left = MAX_CHUNKS
  for (let at = 12; at + 8 <= file.length && left > 0; left -= 1) {
    const type = file.toString('latin1', at, at + 4)
    const size = file.readUInt32LE(at + 4)
    const data = file.subarray(at + 8, at + 8 + size)
    if (type === 'EXIF' && blankExifAndXmp(data)) blanked = true
    // With a zero, as some have written it.
    if (/^XMP[ \0]/.test(type) && blankXmp(data)) blanked = true
    at += 8 + size + (size % 2)
  }
  return blanked
}

function inAvif(file: Buffer): boolean {
  let blanked = false
  for (const { type, isEncoded, pieces } of avifMetadata(file)) {
    const blank = type === 'Exif' ? blankExifAndXmp : isEncoded ? blankWhole : blankXmp
    if (inPieces(pieces, blank)) blanked = true
  }
  let left = MAX_BOXES
  for (const { type, data } of boxes(file)) {
    if (left === 0) break
    left -= 1
    if (type === 'uuid' && data.indexOf(XMP_UUID) === 0 && blankXmp(data.subarray(XMP_UUID.length)))
      blanked = true
  }
  return blanked
}
/** XMP specification, part 3, section 1.2.7: of a box beside those of the pictures. */
const XMP_UUID = Buffer.from('be7acfcb97a942e89c71999491e3afac', 'hex')

const blankWhole = (packet: Buffer): boolean => packet.fill(0x20).length > 0

/** The packet stands there as it is, with an end that brings every reader of blocks back (XMP specification, part 3, 1.1.2). */
function inGif(file: Buffer): boolean {
  let blanked = false
  for (let at = file.indexOf(GIF_XMP); at >= 0; at = file.indexOf(GIF_XMP, at)) {
    at += GIF_XMP.length
    const end = file.indexOf(GIF_XMP_END, at)
    if (end < 0) break
    if (blankXmp(file.subarray(at, end))) blanked = true
    at = end
  }
  return blanked
}
const GIF_XMP = Buffer.from('!\xff\x0bXMP DataXMP', 'latin1')
const GIF_XMP_END = Buffer.from([0x01, 0xff, 0xfe, 0xfd])
