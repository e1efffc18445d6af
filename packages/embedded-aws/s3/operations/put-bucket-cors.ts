import { parseCors } from '../cors.ts'
import { type Operation, readText } from '../operation.ts'
import { CORS } from '../state.ts'

export const putBucketCors: Operation = async ({ fauxqs }, { bucket, request, response }) => {
  fauxqs.bucketSettings.put(bucket, CORS, parseCors(await readText(request)))
  response.writeHead(200, { 'content-length': 0 }).end()
}
