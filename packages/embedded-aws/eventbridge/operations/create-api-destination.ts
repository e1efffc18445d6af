import * as z from 'zod'
import { alreadyExists, checkQuota, invalid, notFound } from '../errors.ts'
import { operation } from '../operation.ts'
import { arn, description, named } from '../schemas.ts'
import type { Destination } from '../state.ts'
import { times } from '../views.ts'

/** Default quotas of the user guide, per region and in calls a second. */
const MAX_DESTINATIONS = 3000
const DEFAULT_RATE = 300

export const createApiDestination = operation(
  named.extend({
    Description: description,
    ConnectionArn: arn,
    InvocationEndpoint: z.string().min(1).max(2048),
    HttpMethod: z.enum(['POST', 'GET', 'HEAD', 'OPTIONS', 'PUT', 'PATCH', 'DELETE']),
    InvocationRateLimitPerSecond: z.int().min(1).default(DEFAULT_RATE),
  }),
  ({ HttpMethod, ...input }, { store }) =>
    store.change((draft) => {
      if (HttpMethod !== 'POST')
        throw invalid(`HttpMethod ${HttpMethod} is not supported by the embedded EventBridge, only POST.`)
      checkEndpoint(input.InvocationEndpoint)
      if (!draft.connections.some(({ Arn }) => Arn === input.ConnectionArn))
        throw notFound(`Connection '${input.ConnectionArn}' does not exist.`)
      if (draft.apiDestinations.some(({ Name }) => Name === input.Name))
        throw alreadyExists(`An api-destination '${input.Name}' already exists.`)
      const destination: Destination = {
        ...input,
        Arn: store.newArn('api-destination', input.Name),
        CreationTime: store.seconds(),
      }
      checkQuota(draft.apiDestinations.push(destination), MAX_DESTINATIONS)
      return { ApiDestinationArn: destination.Arn, ApiDestinationState: 'ACTIVE', ...times(destination) }
    }),
)

/** AWS takes HTTPS only. Events for a receiver on this machine need not be encrypted, and it seldom has a certificate. */
function checkEndpoint(endpoint: string): void {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined
  const onThisMachine = url?.protocol === 'http:' && /^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname)
  if (url === undefined || (url.protocol !== 'https:' && !onThisMachine) || url.username !== '')
    throw invalid(
      'Parameter InvocationEndpoint is not valid. Reason: it must be an HTTPS URL without a user; the embedded EventBridge takes http:// to this machine only (localhost, 127.0.0.1, [::1]).',
    )
}
