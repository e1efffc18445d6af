import { s3Document, sendXml } from '../errors.ts'
import { countOf, objectsOf, owner, textOf } from '../listing.ts'
import type { Operation } from '../operation.ts'
import { uploadOf } from '../state.ts'
import { xml } from '../xml.ts'

export const listParts: Operation = (context, call) => {
  const { bucket, key, query, response } = call
  objectsOf(context, call)
  const uploadId = query.get('uploadId') ?? ''
  const upload = uploadOf(context.fauxqs.s3Store, bucket, key, uploadId)
  const count = countOf(query, 'max-parts')
  const after = Number(query.get('part-number-marker') ?? 0) || 0
  const parts = [...upload.parts.values()]
    .filter(({ partNumber }) => partNumber > after)
    .sort((a, b) => a.partNumber - b.partNumber)
  const page = parts.slice(0, count)
  sendXml(
    response,
    200,
    s3Document('ListPartsResult', [
      xml('Bucket', bucket),
      textOf(query)('Key', key),
      xml('UploadId', uploadId),
      owner('Initiator'),
      owner('Owner'),
      xml('StorageClass', 'STANDARD'),
      xml('PartNumberMarker', after),
      xml('NextPartNumberMarker', page.at(-1)?.partNumber ?? 0),
      xml('MaxParts', count),
      xml('IsTruncated', String(parts.length > count)),
      ...page.map(({ partNumber, lastModified, etag, body }) =>
        xml('Part', [
          xml('PartNumber', partNumber),
          xml('LastModified', lastModified.toISOString()),
          xml('ETag', etag),
          xml('Size', body.length),
        ]),
      ),
    ]),
  )
}
