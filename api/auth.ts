import type { Context } from 'hono'
import type { JWTVerifyGetKey } from 'jose'
import * as z from 'zod'
import type { AuthConfig } from '../shared/config.ts'
import { ApiError } from './errors.ts'

/**
 * Who is asking, as the owner of images: a name that is the same for every request of one caller and of nobody else.
 *
 * @throws ApiError UNAUTHENTICATED
 */
export type Identify = (c: Context) => Promise<string>

/** Asymmetric algorithms only: with a shared secret, whoever can check a token can make one. */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA']
/** Seconds by which the clocks of issuer and API may differ. */
const CLOCK_TOLERANCE = 5
/** Milliseconds for the issuer to answer. */
const ISSUER_TIMEOUT_MS = 3_000

export function identifyBy(auth: AuthConfig): Identify {
  if (auth.AUTH === 'iam') return byIam
  if (auth.AUTH === 'jwt') return byToken(auth.JWT_ISSUER, auth.JWT_AUDIENCE)
  return async () => 'anonymous'
}

/** What API Gateway says of a caller whose signature it has verified: REST API (1.0) and HTTP API (2.0). */
const restCaller = z.object({
  identity: z.object({ accountId: z.string().min(1), caller: z.string().min(1) }),
})
const httpCaller = z.object({
  authorizer: z.object({ iam: z.object({ accountId: z.string().min(1), callerId: z.string().min(1) }) }),
})

/**
 * The caller's unique id (AIDA… of a user, AROA… of a role), which no later user or role of the same name will have.
 * A role's sessions share it: what follows the colon is a session's name, which its user chooses.
 */
const byIam: Identify = async (c) => {
  const { requestContext } = (c.env ?? {}) as { requestContext?: unknown }
  const rest = restCaller.safeParse(requestContext)
  const http = httpCaller.safeParse(requestContext)
  const [accountId, caller] = rest.success
    ? [rest.data.identity.accountId, rest.data.identity.caller]
    : http.success
      ? [http.data.authorizer.iam.accountId, http.data.authorizer.iam.callerId]
      : []
  const id = caller?.split(':', 1)[0]
  if (!id)
    throw new ApiError('UNAUTHENTICATED', 'Sign the request with AWS Signature Version 4.', {
      challenge: 'AWS4-HMAC-SHA256',
    })
  return `iam:${accountId}:${id}`
}

/** Loaded where tokens are used, not by every cold start. */
const jose = () => import('jose')

const claimsSchema = z.object({ sub: z.string().min(1).max(255) })

/** Tokens of an OpenID Connect issuer, verified by its published keys; they are fetched once and kept. */
function byToken(issuer: string, audience: string): Identify {
  let keys: Promise<JWTVerifyGetKey> | undefined
  return async (c) => {
    const token = /^Bearer +([\w.~+/=-]+)$/i.exec(c.req.header('authorization') ?? '')?.[1]
    if (token === undefined)
      throw new ApiError('UNAUTHENTICATED', 'Send a token: "Authorization: Bearer …".', {
        challenge: 'Bearer',
      })
    keys ??= discoverKeys(issuer).catch((error) => {
      // An issuer that was away is asked again by the next request.
      keys = undefined
      throw error
    })
    const getKey = await keys
    const { errors, jwtVerify } = await jose()
    try {
      const { payload } = await jwtVerify(token, getKey, {
        issuer,
        audience,
        algorithms: ALGORITHMS,
        clockTolerance: CLOCK_TOLERANCE,
        requiredClaims: ['sub', 'exp'],
      })
      return `jwt:${claimsSchema.parse(payload).sub}`
    } catch (error) {
      // Keys that could not be fetched say nothing about the token.
      const keysAreAway =
        error instanceof errors.JWKSTimeout ||
        error instanceof errors.JWKSInvalid ||
        (error instanceof errors.JOSEError && error.code === 'ERR_JOSE_GENERIC')
      if (keysAreAway) throw error
      if (error instanceof errors.JOSEError || error instanceof z.ZodError) {
        throw new ApiError('UNAUTHENTICATED', 'The token is not valid here, or no longer.', {
          challenge: 'Bearer error="invalid_token"',
        })
      }
      throw error
    }
  }
}

const metadataSchema = z.object({ issuer: z.string(), jwks_uri: z.url() })

/** OpenID Connect Discovery 1.0, section 4. */
async function discoverKeys(issuer: string): Promise<JWTVerifyGetKey> {
  const url = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`
  const response = await fetch(url, { signal: AbortSignal.timeout(ISSUER_TIMEOUT_MS), redirect: 'error' })
  if (!response.ok) throw new Error(`${url} answers ${response.status}.`)
  const metadata = metadataSchema.parse(await response.json())
  if (metadata.issuer !== issuer) throw new Error(`${url} is of another issuer, ${metadata.issuer}.`)
  const { createRemoteJWKSet } = await jose()
  return createRemoteJWKSet(new URL(metadata.jwks_uri), { timeoutDuration: ISSUER_TIMEOUT_MS })
}
