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

/** The half of a character that UTF-16 writes in two, behind all others in UTF-8. */
const isHalf = (unit: number): boolean => unit >= 0xd800 && unit <= 0xdfff

/** S3 sorts by the bytes of UTF-8; JavaScript's texts would be sorted by those of UTF-16. */
function compareKeys(a: string, b: string): number {
  const end = Math.min(a.length, b.length)
  for (let at = 0; at < end; at += 1) {
    const left = a.charCodeAt(at)
    const right = b.charCodeAt(at)
    if (left !== right) return isHalf(left) === isHalf(right) ? left - right : isHalf(left) ? 1 : -1
  }
  return a.length - b.length
}
export const inOrder = <T>(items: Iterable<T>, key: (item: T) => string): T[] =>
  [...items].sort((a, b) => compareKeys(key(a), key(b)))
export const isAfter = (key: string, other: string): boolean => compareKeys(key, other) > 0

export interface Page {
  objects: StoredObject[]
  /** What keys with the delimiter have in common, each once. */
  prefixes: string[]
  /** The last object or prefix of this page, if there is another one. */
  next: string | undefined
}

/** Without an order of the whole bucket, which a reader of all pages would wait for on each. */
export function pageOf(
  objects: Map<string, StoredObject>,
  { prefix, delimiter, after, count }: { prefix: string; delimiter: string; after: string; count: number },
): Page {
  /** The first ones, and one more, in their order. */
  const first: { name: string; object?: StoredObject }[] = []
  for (const object of objects.values()) {
    const { key } = object
    if (!key.startsWith(prefix)) continue
    const end = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length)
    const name = end < 0 ? key : key.slice(0, end + delimiter.length)
    const beyond = first[count]?.name
    if (!isAfter(name, after) || (beyond !== undefined && !isAfter(beyond, name))) continue
    const place = placeOf(first, name)
    if (first[place]?.name === name) continue
    first.splice(place, 0, end < 0 ? { name, object } : { name })
    first.length = Math.min(first.length, count + 1)
  }
  const page = first.slice(0, count)
  return {
    objects: page.flatMap(({ object }) => object ?? []),
    prefixes: page.flatMap(({ name, object }) => (object === undefined ? name : [])),
    next: first.length > count ? page.at(-1)?.name : undefined,
  }
}

/** @returns where the first is that is not before a name */
function placeOf(names: { name: string }[], name: string): number {
  let from = 0
  let to = names.length
  while (from < to) {
    const middle = (from + to) >> 1
    if (isAfter(name, names[middle]?.name ?? '')) from = middle + 1
    else to = middle
  }
  return from
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
