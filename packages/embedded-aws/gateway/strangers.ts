import { isKnownHost, UNKNOWN_HOST } from '../origins.ts'

/** Why a request is not for this port. Its code is of this machine alone: on AWS, API Gateway answers in its own words. */
export interface Stranger {
  status: number
  code: string
  title: string
  detail: string
}

/**
 * What a request of a stranger is refused with; `undefined` for all others.
 *
 * @param corsOrigins of pages that may use the program
 */
export function strangerOf(
  { headers, method, url }: Request,
  allowedHosts: readonly string[],
  corsOrigins: readonly string[],
): Stranger | undefined {
  const host = headers.get('host')
  // A request to a proxy names a host in its first line as well.
  if (!isKnownHost(host, allowedHosts) || !isKnownHost(new URL(url).host, allowedHosts))
    return {
      status: 421,
      code: 'MISDIRECTED_REQUEST',
      title: 'The request is for another host',
      detail: UNKNOWN_HOST,
    }
  const origin = headers.get('origin')
  const isAllowed =
    origin === null
      ? isSameOrigin(headers.get('sec-fetch-site')) || isVisit(method, headers)
      : hostOf(origin) === host?.toLowerCase() || corsOrigins.includes(origin)
  if (isAllowed) return undefined
  return {
    status: 403,
    code: 'CROSS_ORIGIN_REQUEST',
    title: 'The request comes from a page of another origin',
    detail:
      'Pages of another origin may not use this API. CORS_ORIGINS=http://localhost:5173 npm start lets those of that origin in.',
  }
}

const isSameOrigin = (site: string | null): boolean =>
  site === null || site === 'none' || site === 'same-origin'

/** A link that is followed: it shows the answer in a tab of its own, where the page it was on cannot read it. */
const isVisit = (method: string, headers: Headers): boolean =>
  method === 'GET' &&
  headers.get('sec-fetch-mode') === 'navigate' &&
  headers.get('sec-fetch-dest') === 'document'

/** `null` is the origin of pages that have none. */
const hostOf = (origin: string): string | undefined =>
  URL.canParse(origin) ? new URL(origin).host : undefined
