import { type CorsRule, corsDocument } from '../cors.ts'
import { S3Error, sendXml } from '../errors.ts'
import type { Operation } from '../operation.ts'
import { CORS } from '../state.ts'

export const getBucketCors: Operation = ({ fauxqs }, { bucket, response }) => {
  const kept = fauxqs.bucketSettings.get(bucket, CORS)
  if (kept === undefined)
    throw new S3Error('NoSuchCORSConfiguration', 'The CORS configuration does not exist', 404, {
      BucketName: bucket,
    })
  sendXml(response, 200, corsDocument(kept as CorsRule[]))
}
