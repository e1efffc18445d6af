import type { IncomingHttpHeaders } from 'node:http'
import { AwsError } from './json.ts'
import { SQS_JSON } from './json-protocol.ts'
import { errorDocument, S3Error } from './s3/errors.ts'
import { newRequestId } from './s3/state.ts'
import { jsonType } from './sqs/errors.ts'

interface Reply {
  header(name: string, value: string): Reply
  getHeader(name: string): unknown
  status(status: number): Reply
  send(body?: unknown): Reply
}

/** An error of the emulator's server. Its own JSON is none that an SDK of S3 can read. */
const ofServer = ({ code, message, statusCode = 500 }: Error & { code?: string; statusCode?: number }) =>
  code === 'FST_ERR_CTP_BODY_TOO_LARGE'
    ? new AwsError('EntityTooLarge', 'Your proposed upload exceeds the maximum allowed size')
    : new AwsError(statusCode < 500 ? 'InvalidRequest' : 'InternalError', message, statusCode)

/** What the emulator has no answer for. */
export function answerError(
  error: Error,
  { method, headers }: { method: string; headers: IncomingHttpHeaders },
  reply: Reply,
): unknown {
  const refusal = error instanceof AwsError || error instanceof S3Error ? error : ofServer(error)
  const { name, message, status } = refusal
  if (method === 'HEAD') return reply.status(status).send()
  if (headers['x-amz-target'] === undefined || refusal instanceof S3Error) {
    const known = refusal instanceof S3Error ? refusal : new S3Error(name, message, status)
    return reply
      .status(status)
      .header('content-type', 'application/xml')
      .send(errorDocument(known, String(reply.getHeader('x-amz-request-id') ?? newRequestId())))
  }
  for (const [header, value] of Object.entries(SQS_JSON.errorHeaders(refusal))) reply.header(header, value)
  return reply
    .status(status)
    .header('content-type', SQS_JSON.contentType)
    .send(JSON.stringify({ __type: jsonType(name), message }))
}
