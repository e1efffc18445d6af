import { notImplemented, s3Document, sendXml } from '../errors.ts'
import { countOf, inOrder, isAfter, objectsOf, owner, textOf } from '../listing.ts'
import type { Operation } from '../operation.ts'
import { xml } from '../xml.ts'

export const listMultipartUploads: Operation = (context, call) => {
  const { bucket, query, response } = call
  objectsOf(context, call)
  if (query.get('delimiter')) throw notImplemented('"delimiter" in ListMultipartUploads')
  const [prefix = '', keyMarker = '', idMarker = ''] = ['prefix', 'key-marker', 'upload-id-marker'].map(
    (name) => query.get(name) ?? '',
  )
  const text = textOf(query)
  const count = countOf(query, 'max-uploads')
  const position = ({ key, uploadId }: { key: string; uploadId: string }) => `${key}\0${uploadId}`
  // Without an id, all uploads of the marker's key are left out.
  const after = `${keyMarker}${idMarker === '' ? '\u{1}' : `\0${idMarker}`}`
  const uploads = inOrder(context.fauxqs.s3Store.multipartUploads.values(), position).filter(
    (upload) =>
      upload.bucket === bucket &&
      upload.key.startsWith(prefix) &&
      (keyMarker === '' || isAfter(position(upload), after)),
  )
  const page = uploads.slice(0, count)
  const [last, isTruncated] = [page.at(-1), uploads.length > count]
  sendXml(
    response,
    200,
    s3Document('ListMultipartUploadsResult', [
      xml('Bucket', bucket),
      text('KeyMarker', keyMarker),
      xml('UploadIdMarker', idMarker),
      ...(isTruncated && last !== undefined
        ? [text('NextKeyMarker', last.key), xml('NextUploadIdMarker', last.uploadId)]
        : []),
      text('Prefix', prefix),
      xml('MaxUploads', count),
      xml('IsTruncated', String(isTruncated)),
      ...page.map(({ key, uploadId, initiated }) =>
        xml('Upload', [
          text('Key', key),
          xml('UploadId', uploadId),
          owner('Initiator'),
          owner('Owner'),
          xml('StorageClass', 'STANDARD'),
          xml('Initiated', initiated.toISOString()),
        ]),
      ),
    ]),
  )
}
