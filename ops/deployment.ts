import { DynamoDBClient, ResourceNotFoundException } from '@aws-sdk/client-dynamodb'
import { GetQueueUrlCommand, QueueDoesNotExist, SQSClient } from '@aws-sdk/client-sqs'
import { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb'
import { clientOptions, dynamoTranslation, sleep, sqsOptions } from '../shared/aws.ts'
import { DEFAULT_SWEEP_AFTER_SECONDS } from '../shared/config.ts'
import type { OpsDeps } from './images.ts'
import { NothingDone, UsageError } from './trouble.ts'

/** The deployment that a command is about: found by its name, in the operator's account and region. */

/** A look through a large table may be throttled for some seconds, and an operator has more patience than a function. */
const PATIENT = { maxAttempts: 6 }

const connect = () => ({
  sqs: new SQSClient({ ...sqsOptions(), ...PATIENT }),
  dynamo: DynamoDBDocumentClient.from(
    new DynamoDBClient({ ...clientOptions(), ...PATIENT }),
    dynamoTranslation,
  ),
})
export type Opened = Awaited<ReturnType<typeof open>>

async function open({ sqs, dynamo }: ReturnType<typeof connect>, name: string) {
  await sqs.config.credentials().catch(({ message }: Error) => {
    const { AWS_PROFILE: profile } = process.env
    throw new NothingDone(
      profile === undefined
        ? `There are no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. "npm run ops -- --help" has those of npm start. (${message})`
        : `There are no AWS credentials by AWS_PROFILE=${profile}: ${message}`,
    )
  })
  const region = await sqs.config.region().catch(() => {
    throw new NothingDone('There is no AWS region: set AWS_REGION.')
  })
  const missing = (what: string) =>
    new UsageError(
      `There is no ${what} in ${region} of this account: AWS_REGION, your credentials and --name say which deployment is meant. Where it was deleted, terraform apply makes it again.`,
    )
  const urlOf = async (QueueName: string): Promise<string> => {
    const { QueueUrl = '' } = await sqs.send(new GetQueueUrlCommand({ QueueName })).catch((error) => {
      throw error instanceof QueueDoesNotExist ? missing(`queue ${QueueName}`) : error
    })
    return QueueUrl
  }
  const table = `${name}-images`
  const deps: OpsDeps = {
    dynamo,
    sqs,
    table,
    jobQueueUrl: await urlOf(`${name}-jobs`),
    now: () => new Date(),
    sleep,
    sweepAfterMs: DEFAULT_SWEEP_AFTER_SECONDS * 1_000,
  }
  const [, account] = new URL(deps.jobQueueUrl).pathname.split('/')
  return {
    deps,
    sqs,
    deadUrl: () => urlOf(`${name}-jobs-dead`),
    /** For a person who has several. */
    where: `${name} in ${region}, account ${account}`,
    noTable: (error: unknown) => {
      throw error instanceof ResourceNotFoundException ? missing(`table ${table}`) : error
    },
  }
}

/** Does something with a deployment, and closes the connections to it. */
export async function within<T>(name: string, act: (opened: Opened) => Promise<T>): Promise<T> {
  const clients = connect()
  try {
    const opened = await open(clients, name)
    return await act(opened).catch(opened.noTable)
  } finally {
    for (const client of Object.values(clients)) client.destroy()
  }
}
