import { requireWritable } from '../conditions.ts'
import { verifyDigests } from '../digests.ts'
import { malformedXml, notImplemented, S3Error, s3Document, sendXml } from '../errors.ts'
import { objectsOf } from '../listing.ts'
import { type Operation, readText } from '../operation.ts'
import { refuseVersion } from '../unsupported.ts'
import { parseXml, type XmlElement, xml } from '../xml.ts'

/** API reference, DeleteObjects. */
const MOST = 1_000
/** MOST keys of 1,024 bytes, of which XML may write each byte in six: 6.1 MB, and room for the tags around them. */
const MAX_BYTES = 8_000_000

export const deleteObjects: Operation = async (context, call) => {
  const text = await readText(call.request, MAX_BYTES)
  await verifyDigests(call.request.headers, Buffer.from(text))
  const root = parseXml(text)
  const objects = objectsOf(context, call)
  const wanted = root?.children.filter(({ name }) => name === 'Object') ?? []
  if (root?.name !== 'Delete' || wanted.length === 0 || wanted.length > MOST) throw malformedXml()
  const isQuiet = textOf(root, 'Quiet') === 'true'
  const { s3Store, storage } = context.fauxqs
  const results = storage.atomically(() =>
    wanted.map((element) => {
      const key = textOf(element, 'Key')
      if (key === undefined || key === '') throw malformedXml()
      try {
        refuseVersion(textOf(element, 'VersionId'))
        for (const name of ['Size', 'LastModifiedTime'])
          if (textOf(element, name) !== undefined) throw notImplemented(`condition ${name}`)
        requireWritable({ 'if-match': textOf(element, 'ETag') }, key, objects.get(key))
      } catch (error) {
        if (!(error instanceof S3Error)) throw error
        return xml('Error', [xml('Key', key), xml('Code', error.code), xml('Message', error.message)])
      }
      s3Store.deleteObject(call.bucket, key)
      return isQuiet ? '' : xml('Deleted', [xml('Key', key)])
    }),
  )
  sendXml(call.response, 200, s3Document('DeleteResult', results))
}

const textOf = (element: XmlElement, name: string): string | undefined =>
  element.children.find((child) => child.name === name)?.text
