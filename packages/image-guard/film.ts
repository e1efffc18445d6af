/** Boxes of places, as phones write them: of QuickTime, and of 3GPP (3GPP TS 26.244, section 8.7). */
const PLACES = [Buffer.from('\xa9xyz', 'latin1'), Buffer.from('loci')]
/** Of such a box; more would be no place. */
const [LEAST_BYTES, MOST_BYTES] = [16, 1_000]

/**
 * Blanks where the films within a file were taken, in place: those that phones put behind a photo, and the frames of an
 * AVIF. A box that says it becomes a free one.
 *
 * @returns whether there was something to blank
 */
export function blankFilms(file: Buffer): boolean {
  let blanked = false
  for (const type of PLACES) {
    for (let at = file.indexOf(type, 4); at >= 0; at = file.indexOf(type, at + type.length)) {
      const size = file.readUInt32BE(at - 4)
      const data = file.subarray(at + type.length, at - 4 + size)
      if (size < LEAST_BYTES || size > MOST_BYTES || data.length < size - 8 || !isPlace(type, data)) continue
      file.write('free', at, 'latin1')
      data.fill(0)
      blanked = true
    }
  }
  return blanked
}

/** By chance these bytes may be among those of pixels: a text like +33.9116+018.4228/ (ISO 6709), or version 0 without flags. */
const isPlace = (type: Buffer, data: Buffer): boolean =>
  type === PLACES[0] ? /^[+-]\d/.test(data.toString('latin1', 4, 6)) : data.readUInt32BE(0) === 0
