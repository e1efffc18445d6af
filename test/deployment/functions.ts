import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { ReceiveMessageCommand, type SQSClient } from '@aws-sdk/client-sqs'
import { until } from '../until.ts'

interface Message {
  MessageId?: string | undefined
  ReceiptHandle?: string | undefined
  Body?: string | undefined
}

/** What it gets once it does not get again, however slow the machine is: the longest that SQS hides a message. */
const HIDDEN_SECONDS = 43_200

export async function receive(sqs: SQSClient, QueueUrl: string | undefined): Promise<Message[]> {
  return until('messages', async () => {
    const { Messages = [] } = await sqs.send(
      new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10, VisibilityTimeout: HIDDEN_SECONDS }),
    )
    return Messages.length > 0 ? Messages : undefined
  })
}

export const toRecord = ({ MessageId, ReceiptHandle, Body }: Message) => ({
  messageId: MessageId,
  receiptHandle: ReceiptHandle,
  body: Body,
  attributes: { ApproximateReceiveCount: '1', SentTimestamp: String(Date.now()) },
  messageAttributes: {},
  eventSource: 'aws:sqs',
  awsRegion: 'us-east-1',
})

export interface GatewayAnswer {
  statusCode: number
  body: string
}

/** As a REST API with Lambda proxy integration sends it (payload 1.0), cut down to what is read. */
export const gatewayEvent = (httpMethod: string, path: string, body?: Buffer, type = 'image/jpeg') => ({
  resource: '/{proxy+}',
  path,
  httpMethod,
  headers: { Host: 'api.execute-api.us-east-1.amazonaws.com', 'Content-Type': type },
  multiValueHeaders: {
    Host: ['api.execute-api.us-east-1.amazonaws.com'],
    'Content-Type': [type],
  },
  queryStringParameters: null,
  multiValueQueryStringParameters: null,
  pathParameters: { proxy: path.slice(1) },
  stageVariables: null,
  requestContext: {
    accountId: '123456789012',
    apiId: 'api',
    httpMethod,
    path: `/live${path}`,
    stage: 'live',
    requestId: 'c6af9ac6-7b61-11e6-9a41-93e8deadbeef',
    resourcePath: '/{proxy+}',
    identity: { sourceIp: '192.0.2.1', userAgent: 'test' },
  },
  body: body?.toString('base64') ?? null,
  isBase64Encoded: body !== undefined,
})

/** A function in a process of its own, with no environment but the function's: one event after the other, as Lambda has it. */
export function startBundle(folder: string, env: Record<string, string>) {
  const script = `
    const { handler } = await import(${JSON.stringify(join(folder, 'index.mjs'))})
    const context = { awsRequestId: 'test', functionName: 'test', getRemainingTimeInMillis: () => 60_000 }
    process.on('message', async (event) => process.send(await handler(event, context)))`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    env: { PATH: process.env['PATH'] ?? '', ...env },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (text) => (output += text))
  const ended = once(child, 'close').then(([status]) => {
    throw new Error(`The function ended with ${status}: ${output}`)
  })
  ended.catch(() => {})
  return {
    invoke: async <T>(event: unknown): Promise<T> => {
      const answered = once(child, 'message')
      child.send(event as object)
      const [answer] = await Promise.race([answered, ended])
      return answer
    },
    stop: async () => {
      child.kill()
      await ended.catch(() => {})
    },
  }
}

/** moto would run the function of a mapping for each message, and breaks off the request where it cannot. */
export async function stopMapping(endpoint: string, uuid: unknown): Promise<void> {
  const answer = await fetch(`${endpoint}/2015-03-31/event-source-mappings/${uuid}`, {
    method: 'PUT',
    headers: {
      authorization: 'AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/lambda/aws4_request',
      'content-type': 'application/json',
    },
    body: JSON.stringify({ Enabled: false }),
  })
  if (!answer.ok) throw new Error(`The mapping is not stopped: ${answer.status} ${await answer.text()}`)
}
