/** An error as AWS's JSON protocols carry it: `{"__type": name, "message": …}` with an HTTP status. */
export class AwsError extends Error {
  readonly status: number
  /** What the answer has in addition. */
  readonly details: object
  constructor(name: string, message: string, status = 400, details = {}) {
    super(message)
    this.name = name
    this.status = status
    this.details = details
  }
}

/** A service on the JSON protocol: the operation is what follows the dot in `X-Amz-Target`. */
export type JsonService = (operation: string, input: Record<string, unknown>) => Promise<object>

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** @returns undefined for what is no JSON */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
