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

/** What the emulator has no answer for. */
export function answerError(
  error: unknown,
  { method, headers }: { method: string; headers: IncomingHttpHeaders },
  reply: Reply,
): unknown {
  if (!(error instanceof AwsError || error instanceof S3Error)) return reply.send(error)
  const { name, message, status } = error
  if (method === 'HEAD') return reply.status(status).send()
  if (headers['x-amz-target'] === undefined || error instanceof S3Error) {
    const known = error instanceof S3Error ? error : new S3Error(name, message, status)
    return reply
      .status(status)
      .header('content-type', 'application/xml')
      .send(errorDocument(known, String(reply.getHeader('x-amz-request-id') ?? newRequestId())))
  }
  for (const [header, value] of Object.entries(SQS_JSON.errorHeaders(error))) reply.header(header, value)
  return reply
    .status(status)
    .header('content-type', SQS_JSON.contentType)
    .send(JSON.stringify({ __type: jsonType(name), message }))
}
