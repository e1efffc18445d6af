/** Of one packet: far more than editors write, and little enough to be held as text. */
const MAX_PACKET_BYTES = 16_000_000
const SPACE = 0x20

/**
 * Blanks positions in an XMP packet, in place, with spaces: properties that `isPosition` names, written as attributes or as
 * elements. What is not closed is blanked to the end, and so is a packet that is not UTF-8, or too long to be looked at.
 * Each byte is looked at a few times at most.
 *
 * @returns whether there was something to blank
 */
export function blankXmp(packet: Buffer): boolean {
  if (packet.length > MAX_PACKET_BYTES || packet.subarray(0, 4).includes(0)) {
    packet.fill(SPACE)
    return packet.length > 0
  }
  // One character for each byte, so that places in the text are places in the packet.
  const text = packet.toString('latin1')
  let blanked = false
  let done = 0
  for (const { index } of text.matchAll(WORDS)) {
    if (index < done) continue
    const name = nameAround(text, index, done)
    done = name.to
    if (!isPosition(text.slice(name.from, name.to))) continue
    const end = endOfProperty(text, name)
    if (end === undefined) continue
    packet.fill(SPACE, name.from - (text[name.from - 1] === '<' ? 1 : 0), end)
    blanked = true
    done = end
  }
  return blanked
}

/** Each property of a position has one of these in its name or prefix. */
const WORDS = /gps|lat|lon|lng|alt|coord|footprint|geo/gi
const POSITION = [
  // Of Exif, and of makers of drones.
  /^gps/i,
  /latitude|longt?itude|altitude/i,
  // Of Darwin Core, which has some of those too.
  /(coordinates|footprintwkt)$/i,
  // Of what shortens the words; `rdf:Alt` is none of them.
  /^(lat|long?|lng)$/i,
  /[a-z](Lat|Long?|Lng|Alt)$/,
]
/** W3C's Basic Geo, and GeoRSS. */
const POSITION_PREFIX = /^geo(rss)?$/i

function isPosition(name: string): boolean {
  const colon = name.lastIndexOf(':')
  const local = name.slice(colon + 1)
  return POSITION.some((one) => one.test(local)) || POSITION_PREFIX.test(name.slice(0, Math.max(0, colon)))
}

/** A name in XML, with its prefix. */
interface Name {
  from: number
  to: number
}

/** @param first where the text begins that is still to be looked at */
function nameAround(text: string, index: number, first: number): Name {
  let from = index
  while (from > first && (isNameCharacter(text[from - 1]) || text[from - 1] === ':')) from -= 1
  let to = index
  while (isNameCharacter(text[to]) || text[to] === ':') to += 1
  return { from, to }
}

const isNameCharacter = (character: string | undefined): boolean =>
  character !== undefined && /[\w.\-\x80-\xff]/.test(character)

/** Where a property of this name ends; undefined where it is another word. */
function endOfProperty(text: string, { from, to }: Name): number | undefined {
  const name = text.slice(from, to)
  // A namespace is no position, and others may be named by its prefix.
  if (name.startsWith('xmlns:')) return undefined
  const behind = (at: number): number => (at < 0 ? text.length : at + 1)
  if (text[from - 1] === '<') {
    const opened = behind(text.indexOf('>', to))
    if (text[opened - 2] === '/') return opened
    const closing = text.indexOf(`</${name}`, opened)
    return closing < 0 ? text.length : behind(text.indexOf('>', closing))
  }
  const [, space = '', quote] = /^(\s{0,100}=\s{0,100})(["'])/.exec(text.slice(to, to + 202)) ?? []
  return quote === undefined ? undefined : behind(text.indexOf(quote, to + space.length + 1))
}
