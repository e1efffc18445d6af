import { S3Error } from './errors.ts'
import type { StoredObject } from './state.ts'

/** The first and the last byte that are asked for. */
export type Range = [first: number, last: number]

/**
 * What a Range header asks for. S3 leaves out of account what is no range, and several of them (API reference,
 * GetObject), and gives the whole object.
 *
 * @throws S3Error InvalidRange for bytes that are not there
 */
export function rangeOf(header: string | undefined, size: number): Range | undefined {
  const [, from = '', to = ''] = /^bytes=(\d*)-(\d*)$/.exec(header?.trim() ?? '') ?? []
  if (from === '' && to === '') return undefined
  if (from !== '' && to !== '' && Number(from) > Number(to)) return undefined
  const range: Range =
    from === ''
      ? [Math.max(0, size - Number(to)), size - 1]
      : [Number(from), Math.min(size - 1, to === '' ? size - 1 : Number(to))]
  if (range[0] < size) return range
  throw new S3Error('InvalidRange', 'The requested range is not satisfiable', 416, {
    RangeRequested: header ?? '',
    ActualObjectSize: size,
  })
}

/** An object that came in one piece is its own part 1. @throws S3Error */
export function partOf({ parts, contentLength }: StoredObject, partNumber: string): Range {
  const [part] =
    parts?.filter((one) => String(one.partNumber) === partNumber) ??
    (partNumber === '1' ? [{ offset: 0, length: contentLength }] : [])
  if (part !== undefined) return [part.offset, part.offset + part.length - 1]
  throw new S3Error('InvalidPartNumber', 'The requested partnumber is not satisfiable', 416, {
    PartNumberRequested: partNumber,
    ActualPartCount: parts?.length ?? 1,
  })
}
