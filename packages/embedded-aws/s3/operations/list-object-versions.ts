import { s3Document, sendXml } from '../errors.ts'
import { contentOf, countOf, factsOf, objectsOf, owner, pageOf, textOf } from '../listing.ts'
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
  const page = pageOf(objectsOf(context, call), { prefix, delimiter, after, count })
  const { next } = page
  sendXml(
    call.response,
    200,
    s3Document('ListVersionsResult', [
      xml('Name', call.bucket),
      text('Prefix', prefix),
      text('KeyMarker', after),
      xml('VersionIdMarker', query.get('version-id-marker') ?? ''),
      ...(next === undefined ? [] : [text('NextKeyMarker', next), xml('NextVersionIdMarker', 'null')]),
      ...contentOf(query, { delimiter, count }, page, (object) =>
        xml('Version', [
          text('Key', object.key),
          xml('VersionId', 'null'),
          xml('IsLatest', 'true'),
          ...factsOf(object),
          owner('Owner'),
          xml('StorageClass', 'STANDARD'),
        ]),
      ),
    ]),
  )
}
