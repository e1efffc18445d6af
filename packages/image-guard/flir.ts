/** Of a thermal camera: records in as many segments as they need, each with its number and that of the last. */
export const FLIR = 'FLIR\0'
export const FLIR_HEAD_BYTES = 8

const DIRECTORY_ENTRY_BYTES = 32
const POSITION_RECORD = 0x2b
/** Far more than cameras write, which is ten, and far longer than what is known of that record. */
const MAX_RECORDS = 1_000
const MAX_RECORD_BYTES = 4_096

/**
 * Blanks the record of GPS in the data of a thermal camera, in place, and its kind. There is no specification; this is as ExifTool reads it
 * (lib/Image/ExifTool/FLIR.pm, ProcessFLIR).
 *
 * @returns whether there was something to blank
 */
export function blankFlir(data: Buffer): boolean {
  if (!/^[AF]FF\0/.test(data.toString('latin1', 0, 4)) || data.length < 0x40) return false
  // Its version, from 100 on, says which order of bytes it has.
  const little = data.readUInt32LE(0x14) >>> 8 === 0
  const uint16 = (at: number): number => (little ? data.readUInt16LE(at) : data.readUInt16BE(at))
  const uint32 = (at: number): number => (little ? data.readUInt32LE(at) : data.readUInt32BE(at))
  const directory = uint32(0x18)
  const count = Math.min(uint32(0x1c), MAX_RECORDS)
  let blanked = false
  for (let index = 0; index < count; index += 1) {
    const entry = directory + index * DIRECTORY_ENTRY_BYTES
    if (entry + DIRECTORY_ENTRY_BYTES > data.length) break
    const from = uint32(entry + 0x0c)
    const size = Math.min(uint32(entry + 0x10), MAX_RECORD_BYTES)
    if (uint16(entry) !== POSITION_RECORD) continue
    data.subarray(from, from + size).fill(0)
    // A record of kind 0 is a free one.
    data.fill(0, entry, entry + 2)
    blanked = true
  }
  return blanked
}
