import type { IncomingMessage, ServerResponse } from 'node:http'
import { AwsError } from './json.ts'
import { sendError } from './json-protocol.ts'
import { isFromPage, isKnownHost, UNKNOWN_HOST } from './origins.ts'
import { S3Error, sendS3Error } from './s3/errors.ts'
import { newRequestId } from './s3/state.ts'

/** @returns whether the request has been answered, as one that no service is to see */
export function isRefused(
  request: IncomingMessage,
  response: ServerResponse,
  allowedHosts: readonly string[],
): boolean {
  const refused = refusalOf(request, allowedHosts)
  if (refused !== undefined) refuse(refused, request, response)
  return refused !== undefined
}

export function refuse(
  { name, message, status }: AwsError,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  if (request.headers['x-amz-target'] === undefined)
    sendS3Error(response, new S3Error(name, message, status), newRequestId())
  else sendError(new AwsError(name, message, status), response)
}

function refusalOf(
  { headers, method, url = '' }: IncomingMessage,
  allowedHosts: readonly string[],
): AwsError | undefined {
  // A request to a proxy names a host in its first line.
  if (!isKnownHost(headers.host, allowedHosts) || !/^[/*]/.test(url))
    return new AwsError('MisdirectedRequest', UNKNOWN_HOST, 421)
  // S3, which looks at signatures itself; see s3/.
  if (headers['x-amz-target'] === undefined) return undefined
  if (isFromPage(headers))
    return new AwsError('AccessDeniedException', 'Web pages may not use the embedded AWS.', 403)
  const isOperation =
    method === 'POST' &&
    url.split('?', 1)[0] === '/' &&
    // None of these does a page send without asking first (Fetch standard, CORS-safelisted request-header).
    /^application\/(x-amz-json-1\.[01]|json) *(;|$)/i.test(headers['content-type'] ?? '')
  if (!isOperation)
    return new AwsError(
      'UnknownOperationException',
      'Send an operation by POST to /, as application/x-amz-json-1.0 or application/x-amz-json-1.1.',
      404,
    )
  // A browser asks first whether it may send this header for a page, and is not allowed to.
  if (!/^AWS4-[A-Z0-9-]+ +Credential=/.test(headers.authorization ?? ''))
    return new AwsError(
      'MissingAuthenticationTokenException',
      'Sign the request, as the AWS CLI and SDKs do; any credentials will do.',
      403,
    )
  return undefined
}
