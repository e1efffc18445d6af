/** A list of no fields, then a table that has it. */
const NO_FIELDS = Buffer.from([4, 0, 4, 0, 4, 0, 0, 0])

/**
 * A table of a FlatBuffers file: its fields by their numbers. The file is taken as known to the byte (SHA-256), so nothing
 * is checked here that a damaged one could break.
 */
export class Table {
  readonly #bytes: Buffer
  readonly #at: number

  constructor(bytes: Buffer, at: number) {
    this.#bytes = bytes
    this.#at = at
  }

  static root = (bytes: Buffer): Table => new Table(bytes, bytes.readUInt32LE(0))

  byte = (field: number): number => this.#read(field, (at) => this.#bytes.readUInt8(at)) ?? 0
  int = (field: number, absent = 0): number =>
    this.#read(field, (at) => this.#bytes.readInt32LE(at)) ?? absent
  table = (field: number): Table => this.#read(field, (at) => this.#tableAt(at)) ?? new Table(NO_FIELDS, 4)
  tables = (field: number): Table[] => this.#list(field, (at) => this.#tableAt(at))
  ints = (field: number): number[] => this.#list(field, (at) => this.#bytes.readInt32LE(at))
  floats = (field: number): number[] => this.#list(field, (at) => this.#bytes.readFloatLE(at))
  bytes = (field: number): Buffer => {
    const { from, length } = this.#vector(field)
    return this.#bytes.subarray(from, from + length)
  }

  #tableAt = (at: number): Table => new Table(this.#bytes, at + this.#bytes.readUInt32LE(at))

  /** Where each field is, in bytes from the table's beginning, is in a list before or after it; 0 is absent. */
  #read<T>(field: number, read: (at: number) => T): T | undefined {
    const list = this.#at - this.#bytes.readInt32LE(this.#at)
    const entry = 4 + 2 * field
    const from = entry < this.#bytes.readUInt16LE(list) ? this.#bytes.readUInt16LE(list + entry) : 0
    return from === 0 ? undefined : read(this.#at + from)
  }

  #vector = (field: number): { from: number; length: number } =>
    this.#read(field, (at) => {
      const vector = at + this.#bytes.readUInt32LE(at)
      return { from: vector + 4, length: this.#bytes.readUInt32LE(vector) }
    }) ?? { from: 0, length: 0 }

  #list<T>(field: number, read: (at: number) => T): T[] {
    const { from, length } = this.#vector(field)
    return Array.from({ length }, (_, index) => read(from + 4 * index))
  }
}
