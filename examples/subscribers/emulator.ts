import {
  CreateTableCommand,
  DeleteTableCommand,
  type DynamoDBClient,
  ResourceInUseException,
  waitUntilTableExists,
  waitUntilTableNotExists,
} from '@aws-sdk/client-dynamodb'
import {
  CreateApiDestinationCommand,
  CreateConnectionCommand,
  DeleteApiDestinationCommand,
  DeleteConnectionCommand,
  DeleteRuleCommand,
  type EventBridgeClient,
  PutRuleCommand,
  PutTargetsCommand,
  RemoveTargetsCommand,
  ResourceNotFoundException,
  type Target,
} from '@aws-sdk/client-eventbridge'
import {
  CreateQueueCommand,
  DeleteQueueCommand,
  GetQueueAttributesCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs'

/** Of everything that is created. */
const PREFIX = 'image-analyzer-example'
/** No emulator looks it up. */
const ROLE_ARN = `arn:aws:iam::000000000000:role/${PREFIX}`

interface Clients {
  events: EventBridgeClient
  sqs: SQSClient
  dynamoDb: DynamoDBClient
}

/**
 * What the Terraform files here create on AWS, as far as an emulator needs it. What a killed run left is taken over.
 *
 * @param undo gets for each thing how to remove it
 */
export const resourcesIn = ({ events, sqs, dynamoDb }: Clients, undo: (() => unknown)[]) => ({
  async table(): Promise<string> {
    const TableName = `${PREFIX}-seen`
    try {
      await dynamoDb.send(
        new CreateTableCommand({
          TableName,
          BillingMode: 'PAY_PER_REQUEST',
          AttributeDefinitions: [{ AttributeName: 'id', AttributeType: 'S' }],
          KeySchema: [{ AttributeName: 'id', KeyType: 'HASH' }],
        }),
      )
    } catch (error) {
      if (!(error instanceof ResourceInUseException)) throw error
    }
    const wait = { client: dynamoDb, maxWaitTime: 30, minDelay: 0.05, maxDelay: 1 }
    undo.push(async () => {
      await dynamoDb.send(new DeleteTableCommand({ TableName }))
      await waitUntilTableNotExists(wait, { TableName })
    })
    await waitUntilTableExists(wait, { TableName })
    return TableName
  },

  async queue(name: string, Attributes: Record<string, string>): Promise<{ url: string; arn: string }> {
    const { QueueUrl = '' } = await sqs.send(
      new CreateQueueCommand({ QueueName: `${PREFIX}-${name}`, Attributes }),
    )
    undo.push(() => sqs.send(new DeleteQueueCommand({ QueueUrl })))
    const asked = new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['QueueArn'] })
    return { url: QueueUrl, arn: (await sqs.send(asked)).Attributes?.['QueueArn'] ?? '' }
  },

  async rule(EventBusName: string, name: string, pattern: object, target: Omit<Target, 'Id'>): Promise<void> {
    const Name = `${PREFIX}-${name}`
    await events.send(new PutRuleCommand({ EventBusName, Name, EventPattern: JSON.stringify(pattern) }))
    undo.push(() => events.send(new DeleteRuleCommand({ EventBusName, Name })))
    const Targets = [{ Id: '1', ...target }]
    await events.send(new PutTargetsCommand({ EventBusName, Rule: Name, Targets }))
    undo.push(() => events.send(new RemoveTargetsCommand({ EventBusName, Rule: Name, Ids: ['1'] })))
  },

  async apiDestination(InvocationEndpoint: string, ApiKeyValue: string): Promise<Omit<Target, 'Id'>> {
    const Name = PREFIX
    const unlessThere = (error: unknown): void => {
      if (!(error instanceof ResourceNotFoundException)) throw error
    }
    const remove = async (): Promise<void> => {
      await events.send(new DeleteApiDestinationCommand({ Name })).catch(unlessThere)
      await events.send(new DeleteConnectionCommand({ Name })).catch(unlessThere)
    }
    // The one of a killed run had another port and another key.
    await remove()
    undo.push(remove)
    const { ConnectionArn } = await events.send(
      new CreateConnectionCommand({
        Name,
        AuthorizationType: 'API_KEY',
        AuthParameters: { ApiKeyAuthParameters: { ApiKeyName: 'x-api-key', ApiKeyValue } },
      }),
    )
    const { ApiDestinationArn } = await events.send(
      new CreateApiDestinationCommand({ Name, ConnectionArn, InvocationEndpoint, HttpMethod: 'POST' }),
    )
    return { Arn: ApiDestinationArn, RoleArn: ROLE_ARN }
  },
})
