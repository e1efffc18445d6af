import { totalmem } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * Requests under way and those that wait for their turn with their bodies unread: as many as one command line sends at
 * once (packages/client/main.ts). Of the largest images they are ten seconds' worth of one core.
 */
const MOST_INSIDE = 64
/**
 * Bytes, and milliseconds, for which the rest of a body is read and dropped before its answer is sent: many clients look
 * for an answer only when they have sent everything, and would see nothing but a broken connection.
 */
const MAX_DISCARDED_BYTES = 64_000_000
const DISCARD_MS = 10_000

/**
 * Memory that an image takes while it is submitted, in multiples of its largest size: as text and as bytes in the program,
 * twice on its way to S3 and there (pieces, and the whole of them), once in the database; half as much is garbage that
 * is not yet collected. `npm run bench -- overload` measures it.
 */
const COPIES = 8
/** The part of this machine's memory, or of the container's, that submissions may take. */
const SHARE = 1 / 8
/** More at once gain nothing, since one core serves them all: 8 × 8 × 4.5 MB = 288 MB. */
const MOST_AT_ONCE = 8
/** How many bodies are read at the same time. */
export function placesFor(largestBytes: number): number {
  const memory = Math.min(totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY)
  return Math.max(1, Math.min(MOST_AT_ONCE, Math.floor((memory * SHARE) / (COPIES * largestBytes))))
}

type Handler = (request: Request) => Promise<Response>

/**
 * Lets as many requests with a body in as there is room for, and the next ones wait. On AWS it is Lambda that gives each
 * request an instance, and throttles; here one process has them all, and emulates AWS too.
 *
 * @param inTurn does the work for a request when there is room
 * @param refuse answers a request that is one too many, without a look at its body
 */
export function admit(
  handle: Handler,
  inTurn: (work: () => Promise<Response>, signal: AbortSignal) => Promise<Response>,
  refuse: Handler,
): Handler {
  let inside = 0

  async function answerWithinLimits(request: Request): Promise<Response> {
    inside += 1
    try {
      return await inTurn(() => handle(request), request.signal)
    } finally {
      inside -= 1
    }
  }

  return async (request) => {
    if (!hasBody(request)) return handle(request)
    const response = await (inside < MOST_INSIDE ? answerWithinLimits(request) : refuse(request))
    await Promise.race([discard(request), sleep(DISCARD_MS, undefined, { ref: false })])
    return response
  }
}

const hasBody = ({ headers }: Request): boolean =>
  headers.has('transfer-encoding') || Number(headers.get('content-length') ?? 0) > 0

/** What a refusal has left unread. */
async function discard({ body }: Request): Promise<void> {
  if (body === null || body.locked) return
  const reader = body.getReader()
  try {
    for (let left = MAX_DISCARDED_BYTES; left > 0; ) {
      const { done, value } = await reader.read()
      if (done) return
      left -= value.length
    }
  } catch {
    // The client is gone, and needs no answer.
  } finally {
    reader.releaseLock()
  }
}
