import { s3Document, sendXml } from '../errors.ts'
import { countOf, objectsOf, owner, pageOf, textOf } from '../listing.ts'
import type { Operation } from '../operation.ts'
import { xml } from '../xml.ts'

/** As a bucket without versions answers: each object is its own, by the name `null`. Tools that empty a bucket ask this. */
export const listObjectVersions: Operation = (context, call) => {
  const { query } = call
  const [prefix = '', delimiter = '', after = ''] = ['prefix', 'delimiter', 'key-marker'].map(
    (name) => query.get(name) ?? '',
  )
  const text = textOf(query)
  const count = countOf(query, 'max-keys')
  const { objects, prefixes, next } = pageOf(objectsOf(context, call), { prefix, delimiter, after, count })
  sendXml(
    call.response,
    200,
    s3Document('ListVersionsResult', [
      xml('Name', call.bucket),
      text('Prefix', prefix),
      text('KeyMarker', after),
      xml('VersionIdMarker', query.get('version-id-marker') ?? ''),
      ...(next === undefined ? [] : [text('NextKeyMarker', next), xml('NextVersionIdMarker', 'null')]),
      xml('MaxKeys', count),
      ...(delimiter === '' ? [] : [text('Delimiter', delimiter)]),
      ...(query.has('encoding-type') ? [xml('EncodingType', 'url')] : []),
      xml('IsTruncated', String(next !== undefined)),
      ...objects.map(({ key, lastModified, etag, contentLength }) =>
        xml('Version', [
          text('Key', key),
          xml('VersionId', 'null'),
          xml('IsLatest', 'true'),
          xml('LastModified', lastModified.toISOString()),
          xml('ETag', etag),
          xml('Size', contentLength),
          owner('Owner'),
          xml('StorageClass', 'STANDARD'),
        ]),
      ),
      ...prefixes.map((common) => xml('CommonPrefixes', [text('Prefix', common)])),
    ]),
  )
}
