import { type Bus, type Connection, connectionOf, type Destination, type Rule, type Store } from './state.ts'

/** What answers show of each kind. */

export const busView = ({ busArn }: Store, bus: Bus) => ({
  Name: bus.Name,
  Arn: busArn(bus),
  Description: bus.Description,
  CreationTime: bus.CreationTime,
  LastModifiedTime: bus.LastModifiedTime,
})

export const ruleView = ({ ruleArn }: Store, bus: Bus, { Tags: _, Targets: __, ...rule }: Rule) => ({
  ...rule,
  Arn: ruleArn(bus, rule),
  EventBusName: bus.Name,
})

export const times = ({ CreationTime }: { CreationTime: number }) => ({
  CreationTime,
  LastModifiedTime: CreationTime,
})

/** Never with the password or the key. */
export const connectionView = ({ Name, Arn, Description, Auth, CreationTime }: Connection) => ({
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

export const destinationView = (store: Store, destination: Destination) => ({
  Name: destination.Name,
  ApiDestinationArn: destination.Arn,
  ApiDestinationState: connectionOf(store.state(), destination) === undefined ? 'INACTIVE' : 'ACTIVE',
  ConnectionArn: destination.ConnectionArn,
  InvocationEndpoint: destination.InvocationEndpoint,
  HttpMethod: 'POST',
  InvocationRateLimitPerSecond: destination.InvocationRateLimitPerSecond,
  ...times(destination),
})
