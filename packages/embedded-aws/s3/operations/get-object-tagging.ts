import { noSuchKey } from '../conditions.ts'
import { s3Document, sendXml } from '../errors.ts'
import { objectsOf } from '../listing.ts'
import type { Operation } from '../operation.ts'
import { refuseVersion } from '../unsupported.ts'
import { xml } from '../xml.ts'

/** No object here has tags. The AWS CLI asks, from version 2 on, before it copies an object in parts. */
export const getObjectTagging: Operation = (context, call) => {
  if (!objectsOf(context, call).has(call.key)) throw noSuchKey(call.key)
  refuseVersion(call.query.get('versionId') ?? undefined)
  sendXml(call.response, 200, s3Document('Tagging', [xml('TagSet', [])]))
}
