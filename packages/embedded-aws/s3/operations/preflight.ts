import { preflight as allowedBy, type CorsRule } from '../cors.ts'
import type { Operation } from '../operation.ts'
import { CORS } from '../state.ts'

/** The question of a browser whether it may send a request for a page. */
export const preflight =
  (resource: 'BUCKET' | 'OBJECT'): Operation =>
  ({ fauxqs }, { bucket, request, response }) => {
    const { origin, 'access-control-request-method': method } = request.headers
    const requested = request.headers['access-control-request-headers']
    const rules = fauxqs.bucketSettings.get(bucket, CORS) as CorsRule[] | undefined
    const exists = fauxqs.hasBucket(bucket)
    const allowed = allowedBy({ origin, method, requested }, { exists, rules }, resource)
    response.writeHead(200, { ...allowed, 'content-length': 0 })
    response.end()
  }
