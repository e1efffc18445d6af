import { randomUUID } from 'node:crypto'
import { isKnownHost, UNKNOWN_HOST } from '../packages/embedded-aws/origins.ts'

/**
 * The answer to a request at the API's port that a stranger sends; `undefined` for everybody's own. Its codes are those
 * of this machine alone, as API Gateway answers in its own words on AWS.
 *
 * @param corsOrigins of pages that may use the API
 */
export function refuseStranger(
  { headers, method, url }: Request,
  allowedHosts: readonly string[],
  corsOrigins: readonly string[],
): Response | undefined {
  const host = headers.get('host')
  // A request to a proxy names a host in its first line as well.
  if (!isKnownHost(host, allowedHosts) || !isKnownHost(new URL(url).host, allowedHosts))
    return problem(421, 'MISDIRECTED_REQUEST', 'The request is for another host', UNKNOWN_HOST)
  const origin = headers.get('origin')
  const isAllowed =
    origin === null
      ? isAtHome(headers.get('sec-fetch-site')) || isVisit(method, headers)
      : hostOf(origin) === host?.toLowerCase() || corsOrigins.includes(origin)
  if (isAllowed) return undefined
  return problem(
    403,
    'CROSS_ORIGIN_REQUEST',
    'The request comes from a page of another origin',
    'Pages of another origin may not use this API. CORS_ORIGINS=http://localhost:5173 npm start lets those of that origin in.',
  )
}

const isAtHome = (site: string | null): boolean => site === null || site === 'none' || site === 'same-origin'

/** A link that is followed: it shows the answer in a tab of its own, where the page it was on cannot read it. */
const isVisit = (method: string, headers: Headers): boolean =>
  method === 'GET' &&
  headers.get('sec-fetch-mode') === 'navigate' &&
  headers.get('sec-fetch-dest') === 'document'

/** `null` is the origin of pages that have none. */
const hostOf = (origin: string): string | undefined =>
  URL.canParse(origin) ? new URL(origin).host : undefined

function problem(status: number, code: string, title: string, detail: string): Response {
  const type = `urn:image-analyzer:problem:${code.toLowerCase().replaceAll('_', '-')}`
  const body = { type, title, status, code, detail, instance: `urn:uuid:${randomUUID()}` }
  return new Response(JSON.stringify(body), {
    status,
    headers: {
      'content-type': 'application/problem+json',
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
    },
  })
}
