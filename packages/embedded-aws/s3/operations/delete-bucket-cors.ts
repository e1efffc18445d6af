import type { Operation } from '../operation.ts'
import { CORS } from '../state.ts'

export const deleteBucketCors: Operation = ({ fauxqs }, { bucket, response }) => {
  fauxqs.bucketSettings.delete(bucket, CORS)
  response.writeHead(204).end()
}
