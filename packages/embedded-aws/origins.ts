import type { IncomingHttpHeaders } from 'node:http'

/**
 * Who may ask at a port of this machine. Loopback keeps the network out, and lets in every web page that a browser here
 * shows: a page can send forms and ask for images and scripts anywhere, and a page whose own name is made to mean
 * 127.0.0.1 (DNS rebinding) can read the answers. Browsers say where a request comes from: Origin (Fetch standard,
 * "Origin header") and, for addresses of this machine, Sec-Fetch-Site (Fetch Metadata). Other clients send neither.
 */

/** RFC 6761, section 6.3: `localhost` and all below it mean loopback, so no other machine can own such a name. */
const LOOPBACK = /^(127\.0\.0\.1|\[::1\]|([a-z0-9_-]+\.)*localhost)$/

/** @param host as the header has it, with or without a port */
export function isKnownHost(host: string | null | undefined, allowedHosts: readonly string[]): boolean {
  const name = /^([a-z0-9._-]+|\[[0-9a-f:]+\])(:\d{1,5})?$/.exec(host?.toLowerCase() ?? '')?.[1]
  return name !== undefined && (LOOPBACK.test(name) || allowedHosts.includes(name))
}

export const UNKNOWN_HOST =
  'This port answers to 127.0.0.1, localhost and the names in ALLOWED_HOSTS only. Start it with ALLOWED_HOSTS=name to add one.'

/** Whether a page sent it: a person who types an address, or a program, has no origin. */
export const isFromPage = (headers: IncomingHttpHeaders): boolean =>
  headers.origin !== undefined ||
  !['none', undefined].includes(headers['sec-fetch-site'] as string | undefined)
