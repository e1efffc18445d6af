import { encode } from '../signature-v4.ts'
import { invalidArgument, noSuchBucket } from './errors.ts'
import type { Call, Context } from './operation.ts'
import type { StoredObject } from './state.ts'
import { xml } from './xml.ts'

/** What the lists of S3 have in common. */

/** The most that one answer has, and what it has when nothing is said (API reference). */
const MOST = 1_000

/** @throws S3Error InvalidArgument */
export function countOf(query: URLSearchParams, name: 'max-keys' | 'max-parts' | 'max-uploads'): number {
  const given = query.get(name)
  if (given === null || given === '') return MOST
  if (/^\d{1,10}$/.test(given) && Number(given) < 2 ** 31) return Math.min(MOST, Number(given))
  throw invalidArgument(`Provided ${name} not an integer or within integer range`, name, given)
}

/**
 * Keys may have characters that XML has not; a caller that asks for it gets them as in a URL.
 *
 * @throws S3Error InvalidArgument
 */
export function textOf(query: URLSearchParams): (name: string, text: string) => string {
  const type = query.get('encoding-type')
  if (type !== null && type !== 'url')
    throw invalidArgument('Invalid Encoding Method specified in Request', 'encoding-type', type)
  return (name, text) => xml(name, type === null ? text : text.split('/').map(encode).join('/'))
}

export function objectsOf({ fauxqs }: Context, { bucket }: Call): Map<string, StoredObject> {
  const objects = fauxqs.s3Store.buckets.get(bucket)
  if (objects === undefined) throw noSuchBucket(bucket)
  return objects
}

/** S3 sorts by the bytes of UTF-8; JavaScript's texts would be sorted by those of UTF-16. */
export function inOrder<T>(items: Iterable<T>, key: (item: T) => string): T[] {
  return [...items]
    .map((item) => ({ item, bytes: Buffer.from(key(item)) }))
    .sort((a, b) => Buffer.compare(a.bytes, b.bytes))
    .map(({ item }) => item)
}
export const isAfter = (key: string, other: string): boolean =>
  Buffer.compare(Buffer.from(key), Buffer.from(other)) > 0

export interface Page {
  objects: StoredObject[]
  /** What keys with the delimiter have in common, each once. */
  prefixes: string[]
  /** The last object or prefix of this page, if there is another one. */
  next: string | undefined
}

export function pageOf(
  objects: Map<string, StoredObject>,
  { prefix, delimiter, after, count }: { prefix: string; delimiter: string; after: string; count: number },
): Page {
  const page: Page = { objects: [], prefixes: [], next: undefined }
  const wanted = [...objects.values()].filter(({ key }) => key.startsWith(prefix))
  let last = after
  for (const object of inOrder(wanted, ({ key }) => key)) {
    const end = delimiter === '' ? -1 : object.key.indexOf(delimiter, prefix.length)
    const name = end < 0 ? object.key : object.key.slice(0, end + delimiter.length)
    if (!isAfter(name, last)) continue
    if (page.objects.length + page.prefixes.length === count) {
      page.next = count === 0 ? undefined : last
      break
    }
    if (end < 0) page.objects.push(object)
    else page.prefixes.push(name)
    last = name
  }
  return page
}

/** What every list of objects says of a page, but for where it stands. @param entry an object as an element */
export function contentOf(
  query: URLSearchParams,
  { delimiter, count }: { delimiter: string; count: number },
  { objects, prefixes, next }: Page,
  entry: (object: StoredObject) => string,
): string[] {
  const text = textOf(query)
  return [
    xml('MaxKeys', count),
    ...(delimiter === '' ? [] : [text('Delimiter', delimiter)]),
    ...(query.has('encoding-type') ? [xml('EncodingType', 'url')] : []),
    xml('IsTruncated', String(next !== undefined)),
    ...objects.map(entry),
    ...prefixes.map((common) => xml('CommonPrefixes', [text('Prefix', common)])),
  ]
}

export const factsOf = ({ lastModified, etag, contentLength }: StoredObject): string[] => [
  xml('LastModified', lastModified.toISOString()),
  xml('ETag', etag),
  xml('Size', contentLength),
]

/** The owner of everything. */
export const ACCOUNT_ID = '000000000000'
export const owner = (name: string): string => xml(name, [xml('ID', ACCOUNT_ID)])
