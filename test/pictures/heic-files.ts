import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { box, fullBox, type IsoBox, isoBoxes, u16, u32 } from './pictures.ts'

/** HEIC files of one picture, coded once by x265 (fixtures/odd): four plain areas, 320 × 240. */

export const fixture = (name: string): Buffer =>
  readFileSync(join(import.meta.dirname, '../fixtures/odd', name))
export const QUARTERS = fixture('quarters.heic')
export const WIDTH = 320
export const HEIGHT = 240

const within = (boxes: IsoBox[], type: string): Buffer => {
  const found = boxes.find((candidate) => candidate.type === type)
  if (found === undefined) throw new Error(`There is no box ${type}.`)
  return found.bytes
}
const metaBoxes = isoBoxes(within(isoBoxes(QUARTERS), 'meta'), 12)
const ipco = within(isoBoxes(within(metaBoxes, 'iprp'), 8), 'ipco')
/** The box with the parameters of the coded picture, and its data. */
export const HVCC = within(isoBoxes(ipco, 8), 'hvcC')
export const CODED = within(isoBoxes(QUARTERS), 'mdat').subarray(8)

export interface Item {
  type: string
  data: Buffer
  properties?: Buffer[]
  /** Numbers of other items, from 1. */
  references?: [type: string, ...to: number[]]
}

export const ispe = (width: number, height: number): Buffer => fullBox('ispe', 0, u32(width), u32(height))
/** Turns to the left. */
export const irot = (quarterTurns: number): Buffer => box('irot', Buffer.from([quarterTurns]))
/** Around an axis: 0 lies and changes above with below, 1 stands and changes left with right (ISO/IEC 23008-12, 6.5.12). */
export const imir = (axis: number): Buffer => box('imir', Buffer.from([axis]))
export const colr = (profile: Buffer): Buffer => box('colr', Buffer.from('prof'), profile)
export const picture = (...properties: Buffer[]): Item => ({
  type: 'hvc1',
  data: CODED,
  properties: [HVCC, ispe(WIDTH, HEIGHT), ...properties],
})
/** A grid and its cells, which are as many items. */
export const grid = (rows: number, columns: number): Item[] => {
  const [width, height] = [columns * WIDTH, rows * HEIGHT]
  const cells = Array.from({ length: rows * columns }, () => picture())
  return [
    {
      type: 'grid',
      data: Buffer.concat([Buffer.from([0, 1, rows - 1, columns - 1]), u32(width), u32(height)]),
      properties: [ispe(width, height)],
      references: ['dimg', ...cells.map((_, index) => index + 2)],
    },
    ...cells,
  ]
}

/** A file of these items, of which the first is the picture (ISO/IEC 23008-12). */
export function heic(...items: Item[]): Buffer {
  const ftyp = box('ftyp', Buffer.from('heic'), u32(0), Buffer.from('mif1heic'))
  const properties: Buffer[] = []
  const ipma = items.map((item, index) => {
    const own = (item.properties ?? []).map((property) => {
      const known = properties.findIndex((other) => other.equals(property))
      return known < 0 ? properties.push(property) : known + 1
    })
    return Buffer.concat([u16(index + 1), Buffer.from([own.length, ...own])])
  })
  const meta = (at: number): Buffer => {
    let end = 0
    const places = new Map<Buffer, number>()
    const iloc = items.map(({ data }, index) => {
      // What is the same is in the file once.
      const offset = places.get(data) ?? end
      if (offset === end) end += data.length
      places.set(data, offset)
      return Buffer.concat([u16(index + 1), u16(0), u16(1), u32(at + offset), u32(data.length)])
    })
    const references = items.flatMap(({ references: [type, ...to] = [''] }, index) =>
      to.length > 0 ? [box(type, u16(index + 1), u16(to.length), ...to.map(u16))] : [],
    )
    return fullBox(
      'meta',
      0,
      fullBox('hdlr', 0, u32(0), Buffer.from('pict'), Buffer.alloc(13)),
      fullBox('pitm', 0, u16(1)),
      fullBox('iloc', 0, Buffer.from([0x44, 0]), u16(items.length), ...iloc),
      fullBox(
        'iinf',
        0,
        u16(items.length),
        ...items.map(({ type }, index) =>
          fullBox('infe', 2, u16(index + 1), u16(0), Buffer.from(`${type}\0`)),
        ),
      ),
      ...(references.length > 0 ? [fullBox('iref', 0, ...references)] : []),
      box('iprp', box('ipco', ...properties), fullBox('ipma', 0, u32(items.length), ...ipma)),
    )
  }
  const data = new Set(items.map((item) => item.data))
  return Buffer.concat([ftyp, meta(ftyp.length + meta(0).length + 8), box('mdat', ...data)])
}

/** The box `hvcC` with parameters that say another size. */
export function hvccOf(width: number, height: number): Buffer {
  const number = (value: number): string => {
    const bits = (value + 1).toString(2)
    return '0'.repeat(bits.length - 1) + bits
  }
  // Video parameters 0, no layers, a profile and level of no meaning, id 0, chroma 1, and the size.
  const bits = `0000${'0001'}${'1'.repeat(96)}${number(0)}${number(1)}${number(width)}${number(height)}1`
  const bytes = (bits.padEnd(Math.ceil(bits.length / 8) * 8, '0').match(/.{8}/g) ?? []).map((byte) =>
    Number.parseInt(byte, 2),
  )
  const unit = Buffer.from([33 << 1, 1, ...bytes])
  return box('hvcC', ...[HVCC.subarray(8, 8 + 22), Buffer.from([1, 33]), u16(1), u16(unit.length), unit])
}
