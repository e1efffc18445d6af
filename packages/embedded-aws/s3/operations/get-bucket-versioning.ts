import { s3Document, sendXml } from '../errors.ts'
import { objectsOf } from '../listing.ts'
import type { Operation } from '../operation.ts'

/** As a bucket answers whose versions were never turned on. */
export const getBucketVersioning: Operation = (context, call) => {
  objectsOf(context, call)
  sendXml(call.response, 200, s3Document('VersioningConfiguration', []))
}
