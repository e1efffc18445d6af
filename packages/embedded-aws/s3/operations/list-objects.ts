import { invalidArgument, s3Document, sendXml } from '../errors.ts'
import { contentOf, countOf, factsOf, objectsOf, owner, pageOf, textOf } from '../listing.ts'
import type { Operation } from '../operation.ts'
import { xml } from '../xml.ts'

/** Both versions of ListObjects. The emulator sorts by a language, and so loses keys between two pages. */
export const listObjects: Operation = (context, call) => {
  const { query } = call
  const isV2 = query.get('list-type') === '2'
  const [prefix, delimiter] = [query.get('prefix') ?? '', query.get('delimiter') ?? '']
  const text = textOf(query)
  const count = countOf(query, 'max-keys')
  const [token, marker, startAfter] = ['continuation-token', 'marker', 'start-after'].map((name) =>
    query.get(name),
  )
  const after = isV2 ? (keyOf(token) ?? startAfter ?? '') : (marker ?? '')
  const page = pageOf(objectsOf(context, call), { prefix, delimiter, after, count })
  const withOwner = !isV2 || query.get('fetch-owner') === 'true'
  const { next } = page
  const position = isV2
    ? [
        xml('KeyCount', page.objects.length + page.prefixes.length),
        ...(token == null ? [] : [xml('ContinuationToken', token)]),
        ...(startAfter == null ? [] : [text('StartAfter', startAfter)]),
        ...(next === undefined ? [] : [xml('NextContinuationToken', tokenOf(next))]),
      ]
    : [
        text('Marker', marker ?? ''),
        // Without a delimiter, the last key of the page is the next marker.
        ...(next === undefined || delimiter === '' ? [] : [text('NextMarker', next)]),
      ]
  sendXml(
    call.response,
    200,
    s3Document('ListBucketResult', [
      xml('Name', call.bucket),
      text('Prefix', prefix),
      ...position,
      ...contentOf(query, { delimiter, count }, page, (object) =>
        xml('Contents', [
          text('Key', object.key),
          ...factsOf(object),
          ...(withOwner ? [owner('Owner')] : []),
          xml('StorageClass', 'STANDARD'),
        ]),
      ),
    ]),
  )
}

const TOKEN = 'after:'
const tokenOf = (key: string): string => Buffer.from(TOKEN + key).toString('base64')

function keyOf(token: string | null | undefined): string | undefined {
  if (token === null || token === undefined) return undefined
  const text = Buffer.from(token, 'base64').toString('utf8')
  if (text.startsWith(TOKEN)) return text.slice(TOKEN.length)
  throw invalidArgument('The continuation token provided is incorrect', 'continuation-token', token)
}
