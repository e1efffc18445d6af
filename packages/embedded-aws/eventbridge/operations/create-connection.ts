import * as z from 'zod'
import { alreadyExists, checkQuota, invalid } from '../errors.ts'
import { operation } from '../operation.ts'
import { description, headerName, headerValue, named } from '../schemas.ts'
import { authSchema, type Connection } from '../state.ts'
import { times } from '../views.ts'

/** A default quota of the user guide, per region. */
const MAX_CONNECTIONS = 3000

export const createConnection = operation(
  named.extend({
    Description: description,
    AuthorizationType: z.enum(['API_KEY', 'BASIC', 'OAUTH_CLIENT_CREDENTIALS']),
    AuthParameters: z.strictObject({
      ApiKeyAuthParameters: z.strictObject({ ApiKeyName: headerName, ApiKeyValue: headerValue }).optional(),
      BasicAuthParameters: z.strictObject({ Username: headerValue, Password: headerValue }).optional(),
      OAuthParameters: z.unknown().optional(),
    }),
  }),
  ({ Name, Description, AuthorizationType, AuthParameters }, { store }) =>
    store.change((draft) => {
      const { ApiKeyAuthParameters: ApiKey, BasicAuthParameters: Basic, OAuthParameters } = AuthParameters
      if (AuthorizationType === 'OAUTH_CLIENT_CREDENTIALS' || OAuthParameters !== undefined)
        throw invalid('OAUTH_CLIENT_CREDENTIALS is not supported by the embedded EventBridge.')
      const auth = authSchema.safeParse({ AuthorizationType, ApiKey, Basic })
      if (!auth.success || (ApiKey !== undefined && Basic !== undefined))
        throw invalid(
          `AuthParameters must be those of AuthorizationType ${AuthorizationType}, and no others.`,
        )
      if (draft.connections.some((other) => other.Name === Name))
        throw alreadyExists(`Connection ${Name} already exists.`)
      const connection: Connection = {
        Name,
        Arn: store.newArn('connection', Name),
        Description,
        Auth: auth.data,
        CreationTime: store.seconds(),
      }
      checkQuota(draft.connections.push(connection), MAX_CONNECTIONS)
      return { ConnectionArn: connection.Arn, ConnectionState: 'AUTHORIZED', ...times(connection) }
    }),
)
