import type { IncomingHttpHeaders } from 'node:http'

/** User metadata (user guide, "Working with object metadata"): any text comes in, and what HTTP can carry goes out. */

const PREFIX = 'x-amz-meta-'

/**
 * Puts the metadata of an upload into the form in which it is kept and given back: encoded words are read, and other
 * characters than those of ASCII become one.
 */
export function readMetadata(headers: IncomingHttpHeaders): void {
  for (const [name, value] of Object.entries(headers)) {
    if (!name.startsWith(PREFIX)) continue
    // Node reads a header as Latin-1.
    const text = Buffer.from(String(value), 'latin1').toString('utf8')
    // In a list, since the emulator drops an empty text.
    headers[name] = [encodeWord(decodeWords(text))]
  }
}

/** As RFC 2047 has it, for a text of other characters than ASCII's; by Base64 for one that cannot be shown (as recorded from S3). */
export function encodeWord(text: string): string {
  if (/^[ -~\t]*$/.test(text)) return text
  const bytes = Buffer.from(text)
  if (/[\p{C}\ufffd]/u.test(text)) return `=?UTF-8?B?${bytes.toString('base64')}?=`
  return `=?UTF-8?Q?${[...bytes].map(quoted).join('')}?=`
}

function quoted(byte: number): string {
  const character = String.fromCharCode(byte)
  if (character === ' ') return '_'
  return /[!-~]/.test(character) && !/[=?_]/.test(character)
    ? character
    : `=${byte.toString(16).toUpperCase().padStart(2, '0')}`
}

const WORD = /=\?([\w-]+)\?([BQ])\?([^?\s]*)\?=/gi

/** Words of an unknown character set stay as they are. */
function decodeWords(text: string): string {
  return text.replaceAll(/\?=\s+=\?/g, '?==?').replaceAll(WORD, (word, charset, encoding, content) => {
    const bytes = /b/i.test(encoding) ? Buffer.from(content, 'base64') : unquoted(content)
    try {
      return new TextDecoder(charset).decode(bytes)
    } catch {
      return word
    }
  })
}

const unquoted = (content: string): Buffer =>
  Buffer.from(
    content
      .replaceAll('_', ' ')
      .replaceAll(/=([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16))),
    'latin1',
  )
