import { setMaxListeners } from 'node:events'
import type { Clock } from '../clock.ts'
import { Undelivered } from './errors.ts'
import { type Connection, connectionOf, type Destination, type State } from './state.ts'
import type { Target } from './targets.ts'

/**
 * How the embedded EventBridge calls API destinations: with credentials, in turn, and again. The rules are those of the
 * user guide ("API destinations as targets", "How EventBridge retries delivering events"), the codes and messages of
 * dead letters were recorded from AWS.
 *
 * It differs from AWS in these ways: pauses between tries double without jitter; what still waits for a try when the
 * process stops is given up then, and lost if the process is killed.
 */

/** The longest that an endpoint may take to answer (user guide). */
const CALL_TIMEOUT_MS = 5_000
/** What AWS retries by default. */
const MAX_RETRIES = 185
const MAX_AGE_SECONDS = 86_400
/** The first pause, which doubles up to the last: 12 doublings, and 173 times 8 minutes more, are 23 hours. */
const FIRST_PAUSE_MS = 100
const LAST_PAUSE_MS = 480_000
/** Events on their way at once; 8 KB each are 80 MB. What is more is given up at once. */
const MAX_ON_THE_WAY = 10_000
/** Other 4xx, and redirects, are not tried again (user guide, "error codes"). */
const isRetried = (status: number): boolean => [401, 407, 409, 429].includes(status) || status >= 500

/** What AWS sends with each call, even if the target has other values (user guide, "headers included in requests"). */
const FIXED_HEADERS = {
  'user-agent': 'Amazon/EventBridge/ApiDestinations',
  range: 'bytes=0-1048575',
  'accept-encoding': 'gzip,deflate',
}

/** One call that failed. */
interface Failure {
  reason: string
  retry: boolean
  /** What the endpoint asks for in Retry-After; negative: no more tries. */
  waitMs?: number
}

export interface ApiDestinationCalls {
  /** Calls until the endpoint has taken the event. @throws Undelivered */
  deliver: (target: Target, body: string) => Promise<void>
  /** Gives up what is on its way. */
  stop: () => void
}

export function createApiDestinationCalls(
  state: () => State,
  { elapsed, sleep }: Clock,
): ApiDestinationCalls {
  const stopping = new AbortController()
  // Each event that waits listens.
  setMaxListeners(0, stopping.signal)
  /** Of each destination, when it may be called next, by `elapsed()`. */
  const nextCalls = new Map<string, number>()
  let onTheWay = 0

  async function deliver(target: Target, body: string): Promise<void> {
    if (onTheWay >= MAX_ON_THE_WAY)
      throw new Undelivered('THROTTLING', `${MAX_ON_THE_WAY} events are on their way already.`)
    onTheWay += 1
    try {
      await callUntilAccepted(target, body)
    } finally {
      onTheWay -= 1
    }
  }

  async function callUntilAccepted(target: Target, body: string): Promise<void> {
    const { MaximumRetryAttempts = MAX_RETRIES, MaximumEventAgeInSeconds = MAX_AGE_SECONDS } =
      target.RetryPolicy ?? {}
    const expires = elapsed() + MaximumEventAgeInSeconds * 1000
    for (let retries = 0; ; retries += 1) {
      const failure = await callInTurn(target, body)
      if (failure === undefined) return
      const pause = Math.max(
        Math.min(FIRST_PAUSE_MS * 2 ** retries, LAST_PAUSE_MS),
        failure.waitMs ?? Number.NEGATIVE_INFINITY,
      )
      const exhausted = !failure.retry
        ? {}
        : retries >= MaximumRetryAttempts
          ? { EXHAUSTED_RETRY_CONDITION: 'MaximumRetryAttempts' }
          : elapsed() + pause > expires
            ? { EXHAUSTED_RETRY_CONDITION: 'MaximumEventAgeInSeconds' }
            : undefined
      if (exhausted !== undefined || stopping.signal.aborted)
        throw new Undelivered(
          'SDK_CLIENT_ERROR',
          `Unable to invoke ApiDestination endpoint: ${failure.reason}`,
          { RETRY_ATTEMPTS: String(retries), ...exhausted },
        )
      // Cut short by the stop, after which there is no other call.
      await sleep(pause, stopping.signal).catch(() => undefined)
    }
  }

  /** Looks both up for each call: a new connection, or a deleted destination, counts at once. */
  async function callInTurn(target: Target, body: string): Promise<Failure | undefined> {
    const destination = state().apiDestinations.find(({ Arn }) => Arn === target.Arn)
    if (destination === undefined)
      throw new Undelivered('NO_RESOURCE', `There is no API destination ${target.Arn}.`)
    const connection = connectionOf(state(), destination)
    if (connection === undefined)
      throw new Undelivered('NO_RESOURCE', `There is no connection ${destination.ConnectionArn}.`)
    const turn = Math.max(elapsed(), nextCalls.get(destination.Arn) ?? 0)
    nextCalls.set(destination.Arn, turn + 1000 / destination.InvocationRateLimitPerSecond)
    await sleep(turn - elapsed(), stopping.signal).catch(() => undefined)
    return call(destination, connection, target.HttpParameters ?? {}, body, sleep, stopping.signal)
  }

  return { deliver, stop: () => stopping.abort() }
}

/** Neither its reasons nor any other part of a log line has the credentials or the answer in it. */
async function call(
  { InvocationEndpoint }: Destination,
  { Auth }: Connection,
  parameters: NonNullable<Target['HttpParameters']>,
  body: string,
  sleep: Clock['sleep'],
  stopping: AbortSignal,
): Promise<Failure | undefined> {
  const url = new URL(InvocationEndpoint)
  const values = [...(parameters.PathParameterValues ?? [])]
  url.pathname = url.pathname.replaceAll('*', () => encodeURIComponent(values.shift() ?? ''))
  for (const [key, value] of Object.entries(parameters.QueryStringParameters ?? {}))
    url.searchParams.set(key, value)
  const headers = new Headers({ 'content-type': 'application/json; charset=utf-8' })
  const { HeaderParameters = {} } = parameters
  for (const [name, value] of Object.entries({
    ...HeaderParameters,
    ...FIXED_HEADERS,
    ...credentials(Auth),
  }))
    headers.set(name, value)
  const [over, answered] = [new AbortController(), new AbortController()]
  const giveUp = (): void => over.abort()
  sleep(CALL_TIMEOUT_MS, answered.signal).then(giveUp, () => {})
  // Not AbortSignal.any: each call would leave 0.2 KB at the signal that lives as long as the process (Node 22).
  stopping.addEventListener('abort', giveUp)
  if (stopping.aborted) giveUp()
  let response: Response
  try {
    const { signal } = over
    response = await fetch(url, { method: 'POST', redirect: 'manual', headers, body, signal })
    await response.body?.cancel()
  } catch {
    if (stopping.aborted) return { reason: 'EventBridge stopped.', retry: true }
    return {
      reason: over.signal.aborted
        ? 'Timeout calling endpoint for API Destination.'
        : 'API destination endpoint cannot be reached.',
      retry: true,
    }
  } finally {
    answered.abort()
    stopping.removeEventListener('abort', giveUp)
  }
  if (response.ok) return undefined
  const waitMs = retryAfter(response.headers.get('retry-after'))
  return {
    reason: `The request failed with status code ${response.status}.`,
    retry: isRetried(response.status) && (waitMs ?? 0) >= 0,
    ...(waitMs === undefined ? {} : { waitMs }),
  }
}

const credentials = (auth: Connection['Auth']): Record<string, string> =>
  auth.AuthorizationType === 'API_KEY'
    ? { [auth.ApiKey.ApiKeyName]: auth.ApiKey.ApiKeyValue }
    : { authorization: `Basic ${btoa(`${auth.Basic.Username}:${auth.Basic.Password}`)}` }

/** Milliseconds: of a number of seconds, or until a date, which may have come (RFC 9110, Retry-After). */
function retryAfter(header: string | null): number | undefined {
  if (header === null) return undefined
  if (/^-?\d+$/.test(header)) return Number(header) * 1_000
  const left = Date.parse(header) - Date.now()
  return Number.isNaN(left) ? undefined : Math.max(0, left)
}
