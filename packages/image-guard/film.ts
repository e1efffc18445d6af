/** A box of a place, as phones write it: of QuickTime. */
const XYZ = Buffer.from('\xa9xyz', 'latin1')
/** Of 3GPP (3GPP TS 26.244, section 8.7). */
const LOCI = Buffer.from('loci')
/** The value of a key of QuickTime such as com.apple.quicktime.location.ISO6709, in which phones of Apple have it. */
const VALUE = Buffer.from('data')
/** Bytes of such a box; more or less would be no place. */
const LEAST_BYTES = 16
const MOST_BYTES = 1_000

/**
 * Blanks where the films within a file were taken, in place: those that phones put behind a photo, and the frames of an
 * AVIF. A box that says it becomes a free one.
 *
 * @returns whether there was something to blank
 */
export function blankFilms(file: Buffer): boolean {
  let blanked = false
  for (const type of [XYZ, LOCI, VALUE]) {
    for (let at = file.indexOf(type, 12); at >= 0; at = file.indexOf(type, at + type.length)) {
      const size = file.readUInt32BE(at - 4)
      const data = file.subarray(at + type.length, at - 4 + size)
      if (size < LEAST_BYTES || size > MOST_BYTES || data.length < size - 8 || !isPlace(type, data)) continue
      // A value is all that is in its item, as a rule, and the item is of the type that is the number of its key.
      const isItem = type === VALUE && file.readUInt32BE(at - 12) === size + 8
      file.write('free', isItem ? at - 8 : at, 'latin1')
      data.fill(0)
      blanked = true
    }
  }
  return blanked
}

/** By chance these bytes may be among those of pixels: a text like +33.9116+018.4228/ (ISO 6709), or version 0 without flags. */
function isPlace(type: Buffer, data: Buffer): boolean {
  const number = data.readUInt32BE(0)
  if (type === LOCI) return number === 0
  if (type === XYZ) return /^[+-]\d/.test(data.toString('latin1', 4, 6))
  // Text of any language.
  return number === 1 && /^[+-]\d+(\.\d+)?[+-]\d/.test(data.toString('latin1', 8, 40))
}
