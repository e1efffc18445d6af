import { totalmem } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * Requests under way and those that wait for their turn with their bodies unread: as many as one command line sends at
 * once (packages/client/main.ts). Of the largest images they are ten seconds' worth of one core.
 */
const MOST_INSIDE = 64
/** A body that has not come for so many milliseconds in its place leaves it to others, and takes one again when it has come. */
const SLOW_MS = 5_000
/** Bodies that come slowly outside of the places, for each place: half as much memory again, as each is there once. */
const SLOW_SHARE = 4
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
type InTurn = <T>(work: () => Promise<T>, signal: AbortSignal) => Promise<T>

/**
 * Lets as many requests with a body in as there is room for, and the next ones wait. On AWS it is Lambda that gives each
 * request an instance, and throttles; here one process has them all, and emulates AWS too.
 *
 * @param places at the same time, of `inTurn`
 * @param inTurn does the work for a request when there is room
 * @param refuse answers a request that is one too many, without a look at its body
 */
export function admit(handle: Handler, places: number, inTurn: InTurn, refuse: Handler): Handler {
  let inside = 0
  let slow = 0

  /** Whether the work is not over soon, and there is room for it outside of the places. */
  async function leaves(work: Promise<unknown>): Promise<boolean> {
    while (!(await isOverWithin(SLOW_MS, work))) {
      if (slow >= SLOW_SHARE * places) continue
      slow += 1
      return true
    }
    return false
  }

  async function answerWithinLimits(request: Request, arrival: Arrival): Promise<Response> {
    const first = await inTurn(async () => {
      const answer = handle(arrival.request)
      const isSlow = await leaves(Promise.race([answer, arrival.whole]))
      // In an object: a promise of a promise would keep the place until both are there.
      if (isSlow) return { answer }
      arrival.end()
      return await answer
    }, request.signal)
    if (!('answer' in first)) return first
    try {
      await Promise.race([first.answer, arrival.whole])
      return await inTurn(() => {
        arrival.end()
        return first.answer
      }, request.signal)
    } finally {
      slow -= 1
    }
  }

  return async (request) => {
    if (!hasBody(request)) return handle(request)
    if (inside >= MOST_INSIDE) return discarding(request, refuse(request))
    const arrival = arrivalOf(request)
    inside += 1
    const answer = answerWithinLimits(request, arrival).finally(() => {
      inside -= 1
    })
    return discarding(arrival.request, answer)
  }
}

const hasBody = ({ headers }: Request): boolean =>
  headers.has('transfer-encoding') || Number(headers.get('content-length') ?? 0) > 0

async function isOverWithin(ms: number, work: Promise<unknown>): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<boolean>()
  const timer = setTimeout(resolve, ms, false).unref()
  return Promise.race([work.then(() => true), late]).finally(() => clearTimeout(timer))
}

/** A request whose body ends only when it may. */
interface Arrival {
  request: Request
  /** Resolves when all of the body has come. */
  whole: Promise<void>
  end: () => void
}

function arrivalOf(request: Request): Arrival {
  const { promise: whole, resolve: come } = Promise.withResolvers<void>()
  const { promise: ended, resolve: end } = Promise.withResolvers<void>()
  if (request.body?.locked !== false) return { request, whole: Promise.resolve(), end }
  const reader = request.body.getReader()
  const body = new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        const { done, value } = await reader.read()
        if (!done) return controller.enqueue(value)
        come()
        await ended
        controller.close()
      },
    },
    { highWaterMark: 0 },
  )
  const init = { body, duplex: 'half' }
  return { request: new Request(request, init), whole, end }
}

async function discarding(request: Request, answer: Promise<Response>): Promise<Response> {
  const response = await answer
  await Promise.race([discard(request), sleep(DISCARD_MS, undefined, { ref: false })])
  return response
}

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
