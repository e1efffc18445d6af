const SOF0 = 0xc0
const SOF1 = 0xc1
const DHT = 0xc4
const RST0 = 0xd0
const RST7 = 0xd7
const SOS = 0xda
const DRI = 0xdd

/** The tables of a JPEG that has none, as frames of Motion JPEG (ITU-T T.81, K.3), as a segment has them. */
const STANDARD_TABLES = Buffer.from(
  'AAABBQEBAQEBAQAAAAAAAAAAAQIDBAUGBwgJCgsQAAIBAwMCBAMFBQQEAAABfQECAwAEEQUSITFBBhNRYQcicRQygZGhCCNCscEV' +
    'UtHwJDNicoIJChYXGBkaJSYnKCkqNDU2Nzg5OkNERUZHSElKU1RVVldYWVpjZGVmZ2hpanN0dXZ3eHl6g4SFhoeIiYqSk5SVlpeY' +
    'mZqio6Slpqeoqaqys7S1tre4ubrCw8TFxsfIycrS09TV1tfY2drh4uPk5ebn6Onq8fLz9PX29/j5+gEAAwEBAQEBAQEBAQAAAAAA' +
    'AAECAwQFBgcICQoLEQACAQIEBAMEBwUEBAABAncAAQIDEQQFITEGEkFRB2FxEyIygQgUQpGhscEJIzNS8BVictEKFiQ04SXxFxgZ' +
    'GiYnKCkqNTY3ODk6Q0RFRkdISUpTVFVWV1hZWmNkZWZnaGlqc3R1dnd4eXqCg4SFhoeIiYqSk5SVlpeYmZqio6Slpqeoqaqys7S1' +
    'tre4ubrCw8TFxsfIycrS09TV1tfY2dri4+Tl5ufo6ery8/T19vf4+fo=',
  'base64',
)

/** Bytes of a file that is walked through: what a second of one core is enough for. */
const MAX_BYTES = 16_000_000

/** Before a marker: more are rather data that were read wrongly. */
const MAX_STRAY_BYTES = 8

/** A Huffman table by the lengths of its codes, from 1 to 16 bits (ITU-T T.81, F.2.2.3). */
interface Codes {
  /** The largest code of each length, or -1; and what is added to a code for the index of its value. */
  largest: Int32Array
  offset: Int32Array
  values: Buffer
}

interface Component {
  id: number
  across: number
  down: number
  dc?: Codes
  ac?: Codes
}

/** The data end, or make no sense, before the interval ends. */
class NotWhole extends Error {}

/** How libjpeg names bytes between the last scan and the end. */
const BEFORE_END = /(\d+) extraneous bytes before marker 0xd9/

/**
 * A JPEG without slips that hide no pixel, but of which libjpeg warns as of damaged data: bytes that belong to no block,
 * before a restart marker or the end, and restart markers with wrong numbers (those in baseline JPEGs with one scan).
 * It is for a JPEG that libjpeg has refused, and what comes of it is to be decoded as strictly.
 *
 * @param file any file
 * @param warning libjpeg's own
 * @returns undefined where there is something worse wrong with it
 */
export function withScanMended(file: Buffer, warning: string): Buffer | undefined {
  if (file[0] !== 0xff || file[1] !== 0xd8) return undefined
  const stray = Number(BEFORE_END.exec(warning)?.[1] ?? 0)
  if (stray > 0) {
    const end = file.lastIndexOf(Buffer.from([0xff, 0xd9]))
    if (end < stray || stray > MAX_STRAY_BYTES) return undefined
    return Buffer.concat([file.subarray(0, end - stray), file.subarray(end)])
  }
  const scan = ifWhole(() => scanOf(file))
  return scan && scan.interval > 0 ? ifWhole(() => mendedScan(file, scan)) : undefined
}

/**
 * Whether the data of a JPEG go on to its last block. libvips asks libjpeg for warnings before it reads eight lines, never
 * after the last ones, which are up to 64 lines of a picture that is made smaller.
 *
 * @returns undefined for several scans, another coding than the baseline, and files that take too long to walk through
 */
export function hasAllBlocks(file: Buffer): boolean | undefined {
  const scan = ifWhole(() => scanOf(file))
  return scan && ifWhole(() => mendedScan(file, scan) ?? file) !== undefined
}

function ifWhole<T>(look: () => T): T | undefined {
  try {
    return look()
  } catch (error) {
    if (error instanceof NotWhole || error instanceof RangeError) return undefined
    throw error
  }
}

interface Scan {
  begin: number
  components: Component[]
  size: { width: number; height: number }
  /** 0 where the scan is one piece. */
  interval: number
}

/** @returns undefined where it is not one scan of all components, baseline or extended @throws RangeError */
function scanOf(file: Buffer): Scan | undefined {
  if (file.length > MAX_BYTES) return undefined
  const tables = new Map<number, Codes>()
  readTables(STANDARD_TABLES, tables)
  const components: Component[] = []
  let size = { width: 0, height: 0 }
  let interval = 0
  for (let at = 2; ; ) {
    while (file[at] === 0xff && file[at + 1] === 0xff) at += 1
    if (file[at] !== 0xff) return undefined
    const marker = file.readUInt8(at + 1)
    const segment = file.subarray(at + 4, at + 2 + file.readUInt16BE(at + 2))
    at += 4 + segment.length
    if (marker === DHT) readTables(segment, tables)
    else if (marker === DRI) interval = segment.readUInt16BE(0)
    else if (marker === SOF0 || marker === SOF1) {
      size = { height: segment.readUInt16BE(1), width: segment.readUInt16BE(3) }
      components.push(...componentsIn(segment))
    } else if (marker > SOF1 && marker < 0xd0 && marker !== 0xcc) return undefined
    else if (marker === SOS) {
      return chooseTables(segment, components, tables) ? { begin: at, components, size, interval } : undefined
    }
  }
}

/** Of a frame (ITU-T T.81, B.2.2). @throws RangeError */
const componentsIn = (frame: Buffer): Component[] =>
  Array.from({ length: frame.readUInt8(5) }, (_, index) => {
    const sampling = frame.readUInt8(7 + 3 * index)
    return { id: frame.readUInt8(6 + 3 * index), across: sampling >> 4, down: sampling & 15 }
  })

/**
 * Gives each component the tables that its scan names (ITU-T T.81, B.2.3).
 *
 * @returns whether it is one scan for all components, which is what cameras write, and all its tables are there
 * @throws RangeError
 */
function chooseTables(scan: Buffer, components: Component[], tables: Map<number, Codes>): boolean {
  if (scan.readUInt8(0) !== components.length) return false
  for (const [index, component] of components.entries()) {
    if (scan.readUInt8(1 + 2 * index) !== component.id) return false
    const chosen = scan.readUInt8(2 + 2 * index)
    const dc = tables.get(chosen >> 4)
    const ac = tables.get(16 | (chosen & 15))
    if (dc === undefined || ac === undefined) return false
    Object.assign(component, { dc, ac })
  }
  return true
}

function readTables(segment: Buffer, tables: Map<number, Codes>): void {
  for (let at = 0; at < segment.length; ) {
    const codes: Codes = { largest: new Int32Array(17).fill(-1), offset: new Int32Array(17), values: segment }
    let code = 0
    let index = 0
    for (let length = 1; length <= 16; length += 1) {
      const count = segment.readUInt8(at + length)
      codes.offset[length] = index - code
      code += count
      index += count
      if (count > 0) codes.largest[length] = code - 1
      code *= 2
    }
    codes.values = segment.subarray(at + 17, at + 17 + index)
    tables.set(segment.readUInt8(at), codes)
    at += 17 + index
  }
}

/**
 * Follows the Huffman codes of each restart interval. Nothing is made of the coefficients: what is looked for is where the
 * interval ends, which bytes before a marker, or its wrong number, hide.
 *
 * @throws NotWhole, RangeError
 */
function mendedScan(file: Buffer, { begin, components, size, interval }: Scan): Buffer | undefined {
  const { width, height } = size
  const alone = components.length === 1
  const across = alone ? 8 : 8 * Math.max(...components.map((component) => component.across))
  const down = alone ? 8 : 8 * Math.max(...components.map((component) => component.down))
  const blocks = components.flatMap((component) =>
    Array.from({ length: alone ? 1 : component.across * component.down }, () => component),
  )
  const units = Math.ceil(width / across) * Math.ceil(height / down)
  const bits = new Bits(file, begin)
  const kept: Buffer[] = []
  let from = 0
  for (let done = 0, restarts = 0; done < units; restarts += 1) {
    if (restarts > 0) {
      const end = bits.end()
      const marker = restartFrom(file, bits)
      const right = RST0 + ((restarts - 1) % 8)
      if (marker > end || file.readUInt8(marker + 1) !== right) {
        kept.push(file.subarray(from, end), Buffer.from([0xff, right]))
        from = marker + 2
      }
      bits.begin(marker + 2)
    }
    const last = interval === 0 ? units : Math.min(units, done + interval)
    for (; done < last; done += 1) for (const block of blocks) skipBlock(bits, block)
  }
  return kept.length === 0 ? undefined : Buffer.concat([...kept, file.subarray(from)])
}

/**
 * Where the restart marker behind an interval begins, which stray bytes may hide.
 *
 * @throws NotWhole, RangeError
 */
function restartFrom(file: Buffer, bits: Bits): number {
  const end = bits.end()
  let marker = end
  // What a decoder looks for is a marker; a stuffed zero makes it data.
  while (file.readUInt8(marker) !== 0xff || isData(file.readUInt8(marker + 1))) marker += 1
  const found = file.readUInt8(marker + 1)
  if (found < RST0 || found > RST7) throw new NotWhole()
  // After a block that is damaged, the codes that follow are others, and end anywhere.
  if (marker > end && (marker - end > MAX_STRAY_BYTES || !bits.isPadded())) throw new NotWhole()
  return marker
}

/** After a byte of 0xff: a stuffed zero, or one more 0xff before a marker. */
const isData = (next: number): boolean => next === 0 || next === 0xff

/** ITU-T T.81, F.2.2: the difference of the first coefficient, then runs of zeros and what follows each. */
function skipBlock(bits: Bits, { dc, ac }: Component): void {
  if (dc === undefined || ac === undefined) throw new NotWhole()
  bits.pass(bits.value(dc) & 15)
  for (let coefficient = 1; coefficient < 64; coefficient += 1) {
    const symbol = bits.value(ac)
    const length = symbol & 15
    if (length === 0 && symbol >> 4 !== 15) return
    coefficient += symbol >> 4
    if (coefficient > 63) throw new NotWhole()
    bits.pass(length)
  }
}

/** The bits of one interval after another, without stuffed zeros. */
class Bits {
  readonly #file: Buffer
  #at: number
  #byte = 0
  #left = 0

  constructor(file: Buffer, at: number) {
    this.#file = file
    this.#at = at
  }

  begin(at: number): void {
    this.#at = at
    this.#left = 0
  }

  /** Whether ones fill the byte of the last bit, as encoders do it (ITU-T T.81, F.1.2.3). */
  isPadded(): boolean {
    const padding = (1 << this.#left) - 1
    return (this.#byte & padding) === padding
  }

  /** Where the byte after the last bit is. */
  end(): number {
    return this.#at
  }

  /** @throws NotWhole at a marker */
  #bit(): number {
    if (this.#left === 0) {
      this.#byte = this.#file.readUInt8(this.#at)
      if (this.#byte === 0xff && this.#file.readUInt8(this.#at + 1) !== 0) throw new NotWhole()
      this.#at += this.#byte === 0xff ? 2 : 1
      this.#left = 8
    }
    this.#left -= 1
    return (this.#byte >> this.#left) & 1
  }

  pass(count: number): void {
    for (let left = count; left > 0; left -= 1) this.#bit()
  }

  value({ largest, offset, values }: Codes): number {
    let code = 0
    for (let length = 1; length <= 16; length += 1) {
      code = code * 2 + this.#bit()
      if (code <= (largest[length] ?? -1)) {
        const value = values[code + (offset[length] ?? 0)]
        if (value === undefined) throw new NotWhole()
        return value
      }
    }
    throw new NotWhole()
  }
}
