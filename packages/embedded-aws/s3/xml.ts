/** An element without its attributes and namespaces, which say nothing in S3's documents. */
export interface XmlElement {
  name: string
  children: XmlElement[]
  /** Its text, without that of its child elements. */
  text: string
}

/** Declaration or comment · end tag · start tag, perhaps empty · text. A DOCTYPE is none of these. */
const TOKEN =
  /<\?[\s\S]*?\?>|<!--[\s\S]*?-->|<\/([^\s<>/]+)\s*>|<([^\s<>/!?]+)(?:\s+[^\s=<>/]+\s*=\s*(?:"[^"<]*"|'[^'<]*'))*\s*(\/?)>|([^<]+)/y

/** The small part of XML that S3's requests are written in; `undefined` for all other text. */
export function parseXml(document: string): XmlElement | undefined {
  const top: XmlElement = { name: '', children: [], text: '' }
  const open = [top]
  const token = new RegExp(TOKEN)
  for (let end = 0; end < document.length; end = token.lastIndex) {
    const [all, closed, opened, empty, text] = token.exec(document) ?? []
    const parent = open.at(-1)
    if (all === undefined || parent === undefined) return undefined
    if (text !== undefined) {
      const plain = unescapeXml(text)
      if (plain === undefined) return undefined
      parent.text += plain
    } else if (opened !== undefined) {
      const element: XmlElement = { name: localName(opened), children: [], text: '' }
      parent.children.push(element)
      if (empty === '') open.push(element)
    } else if (closed !== undefined) {
      if (parent === top || parent.name !== localName(closed)) return undefined
      open.pop()
    }
  }
  const [root, another] = top.children
  const whole = open.length === 1 && another === undefined && top.text.trim().replace('\ufeff', '') === ''
  return whole ? root : undefined
}

const localName = (name: string): string => name.slice(name.indexOf(':') + 1)

const ENTITIES = new Map(Object.entries({ lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" }))

function unescapeXml(text: string): string | undefined {
  let known = true
  const plain = text.replaceAll(
    /&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|([a-z]+));|&/gi,
    (_, decimal, hex, name) => {
      const code = decimal === undefined ? Number.parseInt(hex, 16) : Number(decimal)
      const character = name === undefined ? fromCode(code) : ENTITIES.get(name)
      known &&= character !== undefined
      return character ?? ''
    },
  )
  return known ? plain : undefined
}

const fromCode = (code: number): string | undefined =>
  code <= 0x10ffff ? String.fromCodePoint(code) : undefined

/** An element: of text, which is escaped, or of elements, which are not. */
export const xml = (name: string, content: string | number | string[]): string =>
  `<${name}>${Array.isArray(content) ? content.join('') : escapeXml(String(content))}</${name}>`

const escapeXml = (text: string): string =>
  text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    // XML 1.0 has no other control characters, written out or not.
    // biome-ignore lint/suspicious/noControlCharactersInRegex: it is these that are meant
    .replaceAll(/[\0-\x08\x0b\x0c\x0e-\x1f]/g, '\ufffd')
    .replaceAll('\r', '&#13;')
