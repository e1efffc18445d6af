import { randomUUID } from 'node:crypto'
import * as z from 'zod'
import { AwsError } from '../json.ts'
import {
  arn,
  checkQuota,
  description,
  invalid,
  listed,
  name64,
  notFound,
  type Operation,
  operation,
  page,
} from './input.ts'

/**
 * Connections and API destinations of the embedded EventBridge. Names and limits are those of the API reference.
 *
 * It differs from AWS in these ways: no OAuth, and no method but POST; plain http is let through to this machine only;
 * a secret is kept in the state file, and not in Secrets Manager.
 */

/** Default quotas of the user guide, per region. */
const MAX_CONNECTIONS = 3000
const MAX_DESTINATIONS = 3000
const DEFAULT_RATE = 300
/** The characters of a header's name and value (RFC 9110, field names and values). */
const headerName = z
  .string()
  .min(1)
  .max(512)
  .regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/)
const headerValue = z
  .string()
  .min(1)
  .max(512)
  .regex(/^[\t\x20-\x7e\x80-\xff]+$/)
const authSchema = z.union([
  z.object({
    AuthorizationType: z.literal('API_KEY'),
    ApiKey: z.object({ ApiKeyName: headerName, ApiKeyValue: headerValue }),
  }),
  z.object({
    AuthorizationType: z.literal('BASIC'),
    Basic: z.object({ Username: headerValue, Password: headerValue }),
  }),
])
export const connectionSchema = z.object({
  Name: name64,
  Arn: arn,
  Description: description,
  Auth: authSchema,
  CreationTime: z.number(),
})
export const destinationSchema = z.object({
  Name: name64,
  Arn: arn,
  Description: description,
  ConnectionArn: arn,
  InvocationEndpoint: z.string(),
  InvocationRateLimitPerSecond: z.int().min(1),
  CreationTime: z.number(),
})
export type Connection = z.infer<typeof connectionSchema>
export type Destination = z.infer<typeof destinationSchema>
export interface Endpoints {
  connections: Connection[]
  apiDestinations: Destination[]
}

export const connectionOf = ({ connections }: Endpoints, destination: Destination) =>
  connections.find(({ Arn }) => Arn === destination.ConnectionArn)

/** The parameters of a target that are for API destinations. */
export const httpParametersSchema = z.strictObject({
  PathParameterValues: z.array(z.string()).optional(),
  HeaderParameters: z.record(headerName, headerValue).optional(),
  QueryStringParameters: z.record(z.string().max(512), z.string().max(512)).optional(),
})

export interface HttpTarget {
  Arn: string
  HttpParameters?: z.infer<typeof httpParametersSchema> | undefined
  RetryPolicy?:
    | { MaximumRetryAttempts?: number | undefined; MaximumEventAgeInSeconds?: number | undefined }
    | undefined
}

export interface ApiDestinationsOptions {
  region: string
  accountId: string
  state: () => Endpoints
  change: <T>(mutate: (draft: Endpoints) => T) => T
  seconds: () => number
}

export function apiDestinationOperations(options: ApiDestinationsOptions): Record<string, Operation> {
  const { region, accountId, state, change, seconds } = options

  const newArn = (kind: string, name: string) =>
    `arn:aws:events:${region}:${accountId}:${kind}/${name}/${randomUUID()}`
  const times = ({ CreationTime }: { CreationTime: number }) => ({
    CreationTime,
    LastModifiedTime: CreationTime,
  })

  function findConnection({ connections }: Endpoints, name: string): Connection {
    const connection = connections.find(({ Name }) => Name === name)
    if (connection === undefined)
      throw notFound(`Failed to describe the connection(s). Connection '${name}' does not exist.`)
    return connection
  }
  function findDestination({ apiDestinations }: Endpoints, name: string): Destination {
    const destination = apiDestinations.find(({ Name }) => Name === name)
    if (destination === undefined)
      throw notFound(`Failed to describe the api-destination(s). Api-destination '${name}' does not exist.`)
    return destination
  }

  /** Never with the password or the key. */
  const connectionView = ({ Name, Arn, Description, Auth, CreationTime }: Connection) => ({
    Name,
    ConnectionArn: Arn,
    Description,
    ConnectionState: 'AUTHORIZED',
    AuthorizationType: Auth.AuthorizationType,
    AuthParameters:
      Auth.AuthorizationType === 'API_KEY'
        ? { ApiKeyAuthParameters: { ApiKeyName: Auth.ApiKey.ApiKeyName } }
        : { BasicAuthParameters: { Username: Auth.Basic.Username } },
    ...times({ CreationTime }),
    LastAuthorizedTime: CreationTime,
  })
  const destinationView = (destination: Destination) => ({
    Name: destination.Name,
    ApiDestinationArn: destination.Arn,
    ApiDestinationState: connectionOf(state(), destination) === undefined ? 'INACTIVE' : 'ACTIVE',
    ConnectionArn: destination.ConnectionArn,
    InvocationEndpoint: destination.InvocationEndpoint,
    HttpMethod: 'POST',
    InvocationRateLimitPerSecond: destination.InvocationRateLimitPerSecond,
    ...times(destination),
  })

  const named = z.strictObject({ Name: name64 })
  return {
    CreateConnection: operation(
      named.extend({
        Description: description,
        AuthorizationType: z.enum(['API_KEY', 'BASIC', 'OAUTH_CLIENT_CREDENTIALS']),
        AuthParameters: z.strictObject({
          ApiKeyAuthParameters: z
            .strictObject({ ApiKeyName: headerName, ApiKeyValue: headerValue })
            .optional(),
          BasicAuthParameters: z.strictObject({ Username: headerValue, Password: headerValue }).optional(),
          OAuthParameters: z.unknown().optional(),
        }),
      }),
      ({ Name, Description, AuthorizationType, AuthParameters }) =>
        change((draft) => {
          const { ApiKeyAuthParameters: ApiKey, BasicAuthParameters: Basic, OAuthParameters } = AuthParameters
          if (AuthorizationType === 'OAUTH_CLIENT_CREDENTIALS' || OAuthParameters !== undefined)
            throw invalid('OAUTH_CLIENT_CREDENTIALS is not supported by the embedded EventBridge.')
          const auth = authSchema.safeParse({ AuthorizationType, ApiKey, Basic })
          if (!auth.success || (ApiKey !== undefined && Basic !== undefined))
            throw invalid(
              `AuthParameters must be those of AuthorizationType ${AuthorizationType}, and no others.`,
            )
          if (draft.connections.some((other) => other.Name === Name))
            throw new AwsError('ResourceAlreadyExistsException', `Connection ${Name} already exists.`)
          const connection: Connection = {
            Name,
            Arn: newArn('connection', Name),
            Description,
            Auth: auth.data,
            CreationTime: seconds(),
          }
          checkQuota(draft.connections.push(connection), MAX_CONNECTIONS)
          return {
            ConnectionArn: connection.Arn,
            ConnectionState: 'AUTHORIZED',
            ...times(connection),
          }
        }),
    ),

    DescribeConnection: operation(named, ({ Name }) => connectionView(findConnection(state(), Name))),

    /** What its destinations still have to deliver fails from now on, as on AWS. */
    DeleteConnection: operation(named, ({ Name }) =>
      change((draft) => {
        const connection = findConnection(draft, Name)
        draft.connections = draft.connections.filter((other) => other !== connection)
        return { ConnectionArn: connection.Arn, ConnectionState: 'DELETING', ...times(connection) }
      }),
    ),

    CreateApiDestination: operation(
      named.extend({
        Description: description,
        ConnectionArn: arn,
        InvocationEndpoint: z.string().min(1).max(2048),
        HttpMethod: z.enum(['POST', 'GET', 'HEAD', 'OPTIONS', 'PUT', 'PATCH', 'DELETE']),
        InvocationRateLimitPerSecond: z.int().min(1).default(DEFAULT_RATE),
      }),
      ({ HttpMethod, ...input }) =>
        change((draft) => {
          if (HttpMethod !== 'POST')
            throw invalid(`HttpMethod ${HttpMethod} is not supported by the embedded EventBridge, only POST.`)
          checkEndpoint(input.InvocationEndpoint)
          if (!draft.connections.some(({ Arn }) => Arn === input.ConnectionArn))
            throw notFound(`Connection '${input.ConnectionArn}' does not exist.`)
          if (draft.apiDestinations.some(({ Name }) => Name === input.Name))
            throw new AwsError(
              'ResourceAlreadyExistsException',
              `An api-destination '${input.Name}' already exists.`,
            )
          const destination: Destination = {
            ...input,
            Arn: newArn('api-destination', input.Name),
            CreationTime: seconds(),
          }
          checkQuota(draft.apiDestinations.push(destination), MAX_DESTINATIONS)
          return {
            ApiDestinationArn: destination.Arn,
            ApiDestinationState: 'ACTIVE',
            ...times(destination),
          }
        }),
    ),

    DescribeApiDestination: operation(named, ({ Name }) => {
      const destination = findDestination(state(), Name)
      return { ...destinationView(destination), Description: destination.Description }
    }),

    ListApiDestinations: operation(
      z.strictObject({ NamePrefix: name64.optional(), ConnectionArn: arn.optional(), ...page }),
      (input) => {
        const { items, ...more } = listed(
          state().apiDestinations.filter(
            ({ ConnectionArn }) => input.ConnectionArn === undefined || ConnectionArn === input.ConnectionArn,
          ),
          input,
        )
        return { ApiDestinations: items.map(destinationView), ...more }
      },
    ),

    DeleteApiDestination: operation(named, ({ Name }) =>
      change((draft) => {
        const destination = findDestination(draft, Name)
        draft.apiDestinations = draft.apiDestinations.filter((other) => other !== destination)
        return {}
      }),
    ),
  }
}

/** AWS takes HTTPS only. Events for a receiver on this machine need not be encrypted, and it seldom has a certificate. */
function checkEndpoint(endpoint: string): void {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined
  const onThisMachine = url?.protocol === 'http:' && /^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname)
  if (url === undefined || (url.protocol !== 'https:' && !onThisMachine) || url.username !== '')
    throw invalid(
      'Parameter InvocationEndpoint is not valid. Reason: it must be an HTTPS URL without a user; the embedded EventBridge takes http:// to this machine only (localhost, 127.0.0.1, [::1]).',
    )
}

/** @throws AwsError for what a target must not have or must have */
export function checkHttpTarget(target: HttpTarget & { RoleArn?: string | undefined }): void {
  if (target.RoleArn === undefined) throw invalid(`RoleArn is required for target ${target.Arn}.`)
  const {
    PathParameterValues = [],
    HeaderParameters = {},
    QueryStringParameters = {},
  } = target.HttpParameters ?? {}
  const values = [PathParameterValues, HeaderParameters, QueryStringParameters].flatMap(Object.values)
  if (values.some((value) => value.startsWith('$.')))
    throw invalid(
      'HttpParameters with values from the event ($.…) are not supported by the embedded EventBridge.',
    )
}
