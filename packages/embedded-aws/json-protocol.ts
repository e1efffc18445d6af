import type { IncomingMessage, ServerResponse } from 'node:http'
import { crc32 } from 'node:zlib'
import { AwsError, isObject, type JsonService, parseJson } from './json.ts'
import { jsonType, queryCode } from './sqs/errors.ts'

/** AWS's JSON protocols on HTTP, as this package's services speak them. */

/** What BatchWriteItem takes (DynamoDB API reference); 5 MB of image for Rekognition are 7 MB of base64. */
const MAX_JSON_BYTES = 16 * 1024 * 1024

interface JsonProtocol {
  contentType: string
  errorHeaders: (error: AwsError) => Record<string, string>
  /** How a body names an error, where that is another name. */
  typeOf?: (name: string) => string
  /** Where a body has the message of an error. The SDK for Go finds it under no other name. */
  messageIn?: (name: string) => 'message' | 'Message'
  /** The headers of any answer with this body. */
  bodyHeaders?: (body: string) => Record<string, string>
}
/** AWS JSON 1.1, as EventBridge speaks it. */
const JSON_1_1: JsonProtocol = { contentType: 'application/x-amz-json-1.1', errorHeaders: () => ({}) }
const REKOGNITION_JSON: JsonProtocol = { ...JSON_1_1, messageIn: () => 'Message' }
/** By the service's name in `X-Amz-Target`, before the dot. */
export const protocolOf = (service: string): JsonProtocol =>
  service === 'RekognitionService' ? REKOGNITION_JSON : JSON_1_1
export const DYNAMODB_JSON: JsonProtocol = {
  ...JSON_1_1,
  contentType: 'application/x-amz-json-1.0',
  // Without it the SDK for Go warns of each answer.
  bodyHeaders: (body) => ({ 'x-amz-crc32': String(crc32(body)) }),
}
/** SQS names its errors once more, as its old Query protocol did; clients go by that. */
export const SQS_JSON: JsonProtocol = {
  contentType: 'application/x-amz-json-1.0',
  errorHeaders: ({ name, status }) => ({
    'x-amzn-query-error': `${queryCode(name)};${status < 500 ? 'Sender' : 'Receiver'}`,
  }),
  typeOf: jsonType,
}

/** A service whose operations are methods and paths names its errors in a header. */
export const REST_JSON: JsonProtocol = {
  contentType: 'application/json',
  errorHeaders: ({ name }) => ({ 'x-amzn-errortype': name }),
  messageIn: (name) => (name.startsWith('Resource') ? 'Message' : 'message'),
}

export async function answerJson(
  service: JsonService,
  operation: string,
  request: IncomingMessage,
  response: ServerResponse,
  protocol = JSON_1_1,
): Promise<void> {
  try {
    const body = JSON.stringify(await service(operation, await readJson(request)))
    response
      .writeHead(200, { 'content-type': protocol.contentType, ...protocol.bodyHeaders?.(body) })
      .end(body)
  } catch (error) {
    const known = error instanceof AwsError ? error : new AwsError('InternalServerError', String(error), 500)
    sendError(known, response, protocol)
  }
}

export function sendError(error: AwsError, response: ServerResponse, protocol = JSON_1_1): void {
  const { contentType, errorHeaders, typeOf = (name) => name, messageIn, bodyHeaders } = protocol
  const { status, name, message, details } = error
  const body = JSON.stringify({
    __type: typeOf(name),
    [messageIn?.(name) ?? 'message']: message,
    ...details,
  })
  // What of a refused body is still on its way would be taken for the next request.
  const connection = response.req.complete ? {} : { connection: 'close' }
  const headers = {
    'content-type': contentType,
    ...errorHeaders(error),
    ...bodyHeaders?.(body),
    ...connection,
  }
  response.writeHead(status, headers).end(body)
}

/** The service and the operation of a request in AWS's JSON protocols; empty in all others. */
export function operationOf({ headers }: IncomingMessage): [service: string, operation: string] {
  const target = headers['x-amz-target']
  const [service = '', operation = ''] = typeof target === 'string' ? target.split('.', 2) : []
  return [service, operation]
}

export const unknownOperation: JsonService = async () => {
  throw new AwsError('UnknownOperationException', 'The embedded AWS has no such service.', 404)
}

export async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of request) {
    length += chunk.length
    if (length > MAX_JSON_BYTES)
      throw new AwsError('RequestEntityTooLargeException', 'Request is too large', 413)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

async function readJson(request: IncomingMessage): Promise<Record<string, unknown>> {
  const input = parseJson((await readBody(request)) || '{}')
  if (isObject(input)) return input
  throw new AwsError('SerializationException', 'The request body is not a JSON object.')
}
