import { noSuchBucket, s3Document, sendXml } from '../errors.ts'
import type { Operation } from '../operation.ts'

export const getBucketLocation: Operation = ({ fauxqs, region }, { bucket, response }) => {
  if (!fauxqs.hasBucket(bucket)) throw noSuchBucket(bucket)
  // The first region has no name here (API reference, GetBucketLocation).
  sendXml(response, 200, s3Document('LocationConstraint', region === 'us-east-1' ? [] : [region]))
}
