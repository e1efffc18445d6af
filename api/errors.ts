import type { ContentfulStatusCode } from 'hono/utils/http-status'
import type { Problem } from './schemas.ts'

/** Every error that the API answers with. The code is what clients may rely on; status and title follow from it. */
export const API_ERRORS = {
  EMPTY_IMAGE: [400, 'The image is empty'],
  INVALID_JSON: [400, 'The body is not valid JSON'],
  INVALID_BASE64: [400, 'The image is not valid base64'],
  INVALID_MULTIPART: [400, 'The body is not valid multipart/form-data'],
  MISSING_IMAGE: [400, 'The request has no image'],
  MULTIPLE_IMAGES: [400, 'The request has more than one image'],
  INVALID_PARAMETER: [400, 'A parameter is not valid'],
  UNAUTHENTICATED: [401, 'The caller is not known'],
  IMAGE_NOT_FOUND: [404, 'There is no such image'],
  NOT_FOUND: [404, 'There is nothing here'],
  METHOD_NOT_ALLOWED: [405, 'The method is not allowed here'],
  NOT_FAILED: [409, 'The image has not failed'],
  IMAGE_TOO_LARGE: [413, 'The image is too large'],
  UNSUPPORTED_FORMAT: [415, 'The image has a format that is not supported'],
  UNSUPPORTED_MEDIA_TYPE: [415, 'The request body has a media type that is not supported'],
  IDEMPOTENCY_KEY_REUSED: [422, 'The idempotency key was used for another request'],
  TOO_MANY_REQUESTS: [429, 'Too many images were submitted'],
  UNAVAILABLE: [503, 'The service cannot answer just now'],
} as const satisfies Record<string, readonly [ContentfulStatusCode, string]>

/** Seconds after which a caller may try again when a service behind the API did not answer. */
const RETRY_AFTER_UNAVAILABLE = 5

export type ApiErrorCode = keyof typeof API_ERRORS

/** Thrown where a fact is known; turned into an answer in one place, the app's `onError`. */
export class ApiError extends Error {
  readonly code: ApiErrorCode
  /** The scheme by which a caller has to prove who they are (RFC 9110, section 11.6.1). */
  readonly challenge: string | undefined
  /** Seconds after which the same request may succeed. */
  readonly retryAfter: number | undefined
  /** Of the answer. */
  readonly headers: Record<string, string>
  /** @param detail a sentence for the caller: nothing internal, and of theirs no more than a name, through `quoted` */
  constructor(
    code: ApiErrorCode,
    detail: string,
    more: { challenge?: string; retryAfter?: number; headers?: Record<string, string> } = {},
  ) {
    super(detail)
    this.name = 'ApiError'
    this.code = code
    this.challenge = more.challenge
    this.retryAfter = more.retryAfter ?? (code === 'UNAVAILABLE' ? RETRY_AFTER_UNAVAILABLE : undefined)
    this.headers = more.headers ?? {}
  }
}

const QUOTED_CHARACTERS = 64

/** A name that a caller sent, for a sentence about it: printable ASCII only, and not at any length. */
export function quoted(name: string): string {
  const [shown, more] = [name.slice(0, QUOTED_CHARACTERS), name.length > QUOTED_CHARACTERS ? '…' : '']
  return `\`${shown.replaceAll(/[^\x20-\x7e]|`/g, '?')}${more}\``
}

export function problemOf(error: ApiError, requestId: string): Problem {
  const [status, title] = API_ERRORS[error.code]
  return {
    type: `urn:image-analyzer:problem:${error.code.toLowerCase().replaceAll('_', '-')}`,
    title,
    status,
    code: error.code,
    detail: error.message,
    instance: `urn:uuid:${requestId}`,
  }
}

/**
 * An error as `application/problem+json` (RFC 9457).
 *
 * @param requestId names this occurrence; the log has the same id
 */
export function problem(error: ApiError, requestId: string): Response {
  const body = problemOf(error, requestId)
  const headers = new Headers({
    ...{ 'content-type': 'application/problem+json', 'cache-control': 'no-store' },
    ...error.headers,
  })
  if (error.challenge !== undefined) headers.set('www-authenticate', error.challenge)
  if (error.retryAfter !== undefined) headers.set('retry-after', String(error.retryAfter))
  return new Response(JSON.stringify(body), { status: body.status, headers })
}
