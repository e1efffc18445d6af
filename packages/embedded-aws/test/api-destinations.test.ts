import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  CreateApiDestinationCommand,
  type CreateApiDestinationCommandInput,
  CreateConnectionCommand,
  type CreateConnectionCommandInput,
  DeleteApiDestinationCommand,
  DeleteConnectionCommand,
  DescribeApiDestinationCommand,
  DescribeConnectionCommand,
  EventBridgeClient,
  ListApiDestinationsCommand,
  PutEventsCommand,
  PutRuleCommand,
  PutTargetsCommand,
  type Target,
} from '@aws-sdk/client-eventbridge'
import {
  CreateQueueCommand,
  DeleteMessageCommand,
  GetQueueUrlCommand,
  type Message,
  ReceiveMessageCommand,
  SQSClient,
} from '@aws-sdk/client-sqs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { awsCli, noCli } from '../../../test/aws-cli.ts'
import { skipped } from '../../../test/tools.ts'
import { listen } from '../gateway/index.ts'
import { type EmbeddedAws, startEmbeddedAws } from '../index.ts'
import { signed } from './started.ts'

const region = 'us-east-1'
const credentials = { accessKeyId: 'test', secretAccessKey: 'test' }
const RoleArn = 'arn:aws:iam::000000000000:role/calls'
const deadArn = `arn:aws:sqs:${region}:000000000000:dead`
const SECRET = 'the-key-of-the-webhook'

interface Call {
  path: string
  headers: IncomingHttpHeaders
  event: { id: string; detail: { n: number } }
}

const folder = mkdtempSync(join(tmpdir(), 'image-analyzer-api-destinations-'))
const dropped: unknown[] = []
/** Milliseconds that EventBridge has waited, which took no time. */
let waits: number[] = []
/** Milliseconds of a wait that lasts until a test ends it: for an answer, or for longer. */
const LONG_MS = 5_000
/** Says that the wait for an answer is over, to all who have none. */
let late: () => void
const clock = {
  elapsed: () => 0,
  sleep: (ms: number, signal?: AbortSignal) =>
    new Promise<void>((resolve, reject) => {
      if (ms !== LONG_MS) waits.push(ms)
      else late = resolve
      signal?.addEventListener('abort', () => reject(signal.reason))
      if (ms < LONG_MS) setImmediate(resolve)
    }),
}
let aws: EmbeddedAws
let events: EventBridgeClient
let sqs: SQSClient
const servers: Server[] = []

async function begin(): Promise<void> {
  aws = await startEmbeddedAws({
    ...{ port: 0, region, folder, clock },
    onDropped: (event) => dropped.push(event),
  })
  const target = { endpoint: aws.endpoint, region, credentials }
  events = new EventBridgeClient(target)
  sqs = new SQSClient({ ...target, useQueueUrlAsEndpoint: false })
}
beforeAll(async () => {
  await begin()
  await sqs.send(new CreateQueueCommand({ QueueName: 'dead' }))
})
afterAll(async () => {
  await aws.stop()
  for (const server of servers) server.closeAllConnections()
  for (const server of servers) server.close()
  rmSync(folder, { recursive: true })
})

/** An endpoint that gives the listed answers, one answer for each call and the last one ever after; 0 hangs up, -1 says nothing. */
async function endpoint(...answers: (number | [number, Record<string, string>])[]) {
  const calls: Call[] = []
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const answer = answers[Math.min(calls.length, answers.length - 1)] ?? 200
    calls.push({
      path: request.url ?? '',
      headers: request.headers,
      event: JSON.parse(Buffer.concat(chunks).toString()),
    })
    const [status, headers] = typeof answer === 'number' ? [answer, {}] : answer
    if (status === 0) response.destroy()
    else if (status > 0) response.writeHead(status, headers).end()
  })
  servers.push(server)
  return { calls, url: `http://127.0.0.1:${await listen(server, 0)}/hook` }
}

const apiKey = (Name: string): CreateConnectionCommandInput => ({
  Name,
  AuthorizationType: 'API_KEY',
  AuthParameters: { ApiKeyAuthParameters: { ApiKeyName: 'x-api-key', ApiKeyValue: SECRET } },
})

let names = 0
/** A rule of its own that calls an endpoint. @returns how to publish to it */
async function subscribe(
  InvocationEndpoint: string,
  target: Partial<Target> = {},
  connection: Partial<CreateConnectionCommandInput> = {},
  destination: Partial<CreateApiDestinationCommandInput> = {},
) {
  const Name = `hook-${++names}`
  const { ConnectionArn } = await events.send(new CreateConnectionCommand({ ...apiKey(Name), ...connection }))
  const { ApiDestinationArn: Arn } = await events.send(
    new CreateApiDestinationCommand({
      ...{ Name, ConnectionArn, InvocationEndpoint, HttpMethod: 'POST' },
      ...destination,
    }),
  )
  await events.send(new PutRuleCommand({ Name, EventPattern: JSON.stringify({ source: [Name] }) }))
  await events.send(
    new PutTargetsCommand({
      Rule: Name,
      Targets: [{ Id: '1', Arn, RoleArn, DeadLetterConfig: { Arn: deadArn }, ...target }],
    }),
  )
  const publish = (count = 1) =>
    events.send(
      new PutEventsCommand({
        Entries: Array.from({ length: count }, (_, n) => ({
          ...{ Source: Name, DetailType: 'Test', Detail: JSON.stringify({ n }) },
        })),
      }),
    )
  return { Name, Arn, publish }
}

async function calls(arrived: Call[], count: number): Promise<Call[]> {
  await expect.poll(() => arrived.length).toBeGreaterThanOrEqual(count)
  return arrived
}

/** The next dead letter, which is taken. */
async function deadLetter(): Promise<{ event: Call['event']; why: Record<string, string> }> {
  const { QueueUrl } = await sqs.send(new GetQueueUrlCommand({ QueueName: 'dead' }))
  const receive = new ReceiveMessageCommand({ QueueUrl, MessageAttributeNames: ['All'] })
  const received: Message[] = []
  const look = async (): Promise<number> => {
    received.push(...((await sqs.send(receive)).Messages ?? []))
    return received.length
  }
  await expect.poll(look).toBe(1)
  const [message = {}] = received
  await sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle: message.ReceiptHandle }))
  const why = Object.entries(message.MessageAttributes ?? {}).map(([name, { StringValue = '' }]) => [
    name,
    StringValue,
  ])
  return { event: JSON.parse(message.Body ?? ''), why: Object.fromEntries(why) }
}

describe('an API destination', () => {
  it('is called with the event, the key of its connection, and what AWS and the target add', async () => {
    const { calls: arrived, url } = await endpoint(204)
    const { publish } = await subscribe(`${url}/*/in`, {
      HttpParameters: {
        PathParameterValues: ['a/b'],
        HeaderParameters: { 'X-Team': 'photos', 'User-Agent': 'mine' },
        QueryStringParameters: { q: 'ä' },
      },
    })
    const { Entries } = await publish()
    const [call] = await calls(arrived, 1)
    expect(call).toMatchObject({
      path: '/hook/a%2Fb/in?q=%C3%A4',
      headers: {
        'x-api-key': SECRET,
        'x-team': 'photos',
        'content-type': 'application/json; charset=utf-8',
        'user-agent': 'Amazon/EventBridge/ApiDestinations',
      },
      event: { id: Entries?.[0]?.EventId, source: expect.any(String), detail: { n: 0 } },
    })
  })

  it('is called with user and password of a BASIC connection', async () => {
    const { calls: arrived, url } = await endpoint(200)
    const { publish } = await subscribe(
      url,
      {},
      {
        AuthorizationType: 'BASIC',
        AuthParameters: { BasicAuthParameters: { Username: 'u', Password: 'p:w' } },
      },
    )
    await publish()
    const [call] = await calls(arrived, 1)
    expect(call?.headers.authorization).toBe(`Basic ${Buffer.from('u:p:w').toString('base64')}`)
  })

  it('that fails is called again, with growing pauses, until it takes the event', async () => {
    const { calls: arrived, url } = await endpoint(500, 429, 0, 200)
    const { publish } = await subscribe(url)
    waits = []
    await publish()
    const made = await calls(arrived, 4)
    expect(new Set(made.map(({ event }) => event.id)).size).toBe(1)
    // Not counting those for its turn, one in a three-hundredth of a second.
    expect(waits.filter((ms) => ms >= 100)).toEqual([100, 200, 400])
  })

  it.each([302, 404])(
    'that answers %i is not called again: the event goes to the dead-letter queue with the reason',
    async (status) => {
      const { calls: arrived, url } = await endpoint([status, { location: '/' }], 200)
      const { Name, Arn, publish } = await subscribe(url)
      const { Entries } = await publish()
      expect(await deadLetter()).toEqual({
        event: expect.objectContaining({ id: Entries?.[0]?.EventId, detail: { n: 0 } }),
        why: {
          RULE_ARN: `arn:aws:events:${region}:000000000000:rule/${Name}`,
          TARGET_ARN: Arn,
          ERROR_CODE: 'SDK_CLIENT_ERROR',
          ERROR_MESSAGE: `Unable to invoke ApiDestination endpoint: The request failed with status code ${status}.`,
          RETRY_ATTEMPTS: '0',
        },
      })
      expect(arrived).toHaveLength(1)
    },
  )

  it('is called no more often than its RetryPolicy says', async () => {
    const { calls: arrived, url } = await endpoint(503)
    const { publish } = await subscribe(url, { RetryPolicy: { MaximumRetryAttempts: 2 } })
    await publish()
    expect((await deadLetter()).why).toMatchObject({
      RETRY_ATTEMPTS: '2',
      EXHAUSTED_RETRY_CONDITION: 'MaximumRetryAttempts',
    })
    expect(arrived).toHaveLength(3)
  })

  it('is given the time that it asks for by Retry-After, and up where that is longer than an event lives', async () => {
    const slow = await endpoint([429, { 'retry-after': '1' }], 200)
    const never = await endpoint([503, { 'retry-after': '61' }])
    const old = { RetryPolicy: { MaximumEventAgeInSeconds: 60 } }
    const [first, second] = [await subscribe(slow.url), await subscribe(never.url, old)]
    waits = []
    await Promise.all([first.publish(), second.publish()])
    expect((await deadLetter()).why).toMatchObject({
      TARGET_ARN: second.Arn,
      EXHAUSTED_RETRY_CONDITION: 'MaximumEventAgeInSeconds',
    })
    await calls(slow.calls, 2)
    expect(waits.filter((ms) => ms > 0)).toContain(1_000)
  })

  it('is called again where Retry-After is a date that has come: one of this second is over when it is read', async () => {
    const now = new Date(Math.floor(Date.now() / 1_000) * 1_000).toUTCString()
    const { calls: arrived, url } = await endpoint([503, { 'retry-after': now }], 200)
    const { publish } = await subscribe(url)
    await publish()
    await calls(arrived, 2)
  })

  it('is called no more often in a second than it wants to be', async () => {
    const { calls: arrived, url } = await endpoint(200)
    const { publish } = await subscribe(url, {}, {}, { InvocationRateLimitPerSecond: 10 })
    waits = []
    await publish(5)
    await calls(arrived, 5)
    expect(waits).toEqual([0, 100, 200, 300, 400])
  })

  it('that is gone, or whose connection is, gets no call', async () => {
    const { calls: arrived, url } = await endpoint(200)
    const [first, second] = [await subscribe(url), await subscribe(url)]
    await events.send(new DeleteApiDestinationCommand({ Name: first.Name }))
    await events.send(new DeleteConnectionCommand({ Name: second.Name }))
    const kept = await events.send(new DescribeApiDestinationCommand({ Name: second.Name }))
    expect(kept.ApiDestinationState).toBe('INACTIVE')
    await Promise.all([first.publish(), second.publish()])
    const why = [(await deadLetter()).why, (await deadLetter()).why]
    expect(why.map(({ ERROR_CODE }) => ERROR_CODE)).toEqual(['NO_RESOURCE', 'NO_RESOURCE'])
    expect(arrived).toEqual([])
  })
})

describe('what is kept', () => {
  it('is shown without secrets, and only the owner can read the file; a restart keeps all of it', async () => {
    const { calls: arrived, url } = await endpoint(200)
    const { Name, Arn, publish } = await subscribe(url)
    const look = async () => [
      await events.send(new DescribeConnectionCommand({ Name })),
      await events.send(new DescribeApiDestinationCommand({ Name })),
      await events.send(new ListApiDestinationsCommand({ NamePrefix: Name })),
    ]
    const withoutMetadata = (answers: object[]) =>
      JSON.parse(JSON.stringify(answers, (key, value) => (key === '$metadata' ? undefined : value)))
    const before = withoutMetadata(await look())
    expect(before).toMatchObject([
      {
        ConnectionState: 'AUTHORIZED',
        AuthParameters: { ApiKeyAuthParameters: { ApiKeyName: 'x-api-key' } },
      },
      { ApiDestinationArn: Arn, ApiDestinationState: 'ACTIVE', InvocationRateLimitPerSecond: 300 },
      { ApiDestinations: [{ ApiDestinationArn: Arn, InvocationEndpoint: url }] },
    ])
    // An SDK would leave out what it does not know, so this one is asked without.
    for (const operation of ['DescribeConnection', 'DescribeApiDestination']) {
      const answer = await fetch(aws.endpoint, {
        method: 'POST',
        headers: {
          ...signed('events'),
          'x-amz-target': `AWSEvents.${operation}`,
          'content-type': 'application/x-amz-json-1.1',
        },
        body: JSON.stringify({ Name }),
      })
      expect(await answer.text()).toMatch(new RegExp(`"Name":"${Name}"(?!.*${SECRET})`))
    }

    const file = join(folder, 'eventbridge.json')
    expect(readFileSync(file, 'utf8')).toContain(SECRET)
    expect(statSync(file).mode & 0o777).toBe(0o600)
    await aws.stop()
    await begin()
    expect(withoutMetadata(await look())).toEqual(before)
    await publish()
    const [call] = await calls(arrived, 1)
    expect(call?.headers['x-api-key']).toBe(SECRET)
  })

  it('goes to the dead-letter queue when the process stops, and none of it is lost', async () => {
    const { calls: arrived, url } = await endpoint([503, { 'retry-after': '30' }])
    const { publish, Arn } = await subscribe(url)
    await publish(3)
    await calls(arrived, 3)
    await aws.stop()
    await begin()
    const letters = [await deadLetter(), await deadLetter(), await deadLetter()]
    expect(letters.map(({ event }) => event.detail.n).sort()).toEqual([0, 1, 2])
    expect(letters[0]?.why).toMatchObject({ TARGET_ARN: Arn, ERROR_CODE: 'SDK_CLIENT_ERROR' })
    expect(dropped).toEqual([])
  })

  it('is reported where no queue takes it, without the key', async () => {
    const { url } = await endpoint(400)
    const { publish, Arn } = await subscribe(url, { DeadLetterConfig: undefined })
    await publish()
    await expect.poll(() => dropped).toHaveLength(1)
    const [told] = dropped
    expect(told).toMatchObject({ targetArn: Arn, reason: expect.any(Error) })
    expect(JSON.stringify(told) + String((told as { reason: Error }).reason)).not.toContain(SECRET)
  })
})

describe('refused by name', () => {
  const refused = (name: string, message: RegExp) =>
    expect.objectContaining({ name, message: expect.stringMatching(message) })

  it.each([
    'http://example.com/hook',
    'http://127.0.0.1.example.com/',
    'http://localhost@example.com/',
    'https://user:pass@example.com/',
    'ftp://127.0.0.1/',
    'hook',
  ])('is the endpoint %s', async (InvocationEndpoint) => {
    await expect(subscribe(InvocationEndpoint)).rejects.toEqual(
      refused('ValidationException', /must be an HTTPS URL .* this machine only/),
    )
  })

  it.each(['https://example.com/hook', 'http://localhost:1/', 'http://[::1]:1/'])(
    'is not the endpoint %s',
    async (url) => {
      expect((await subscribe(url)).Arn).toMatch(/:api-destination\/hook-\d+\/[0-9a-f-]{36}$/)
    },
  )

  it.each([
    ['OAuth', { AuthorizationType: 'OAUTH_CLIENT_CREDENTIALS' }, /OAUTH_CLIENT_CREDENTIALS is not supported/],
    ['a type without its parameters', { AuthorizationType: 'BASIC' }, /those of AuthorizationType BASIC/],
    [
      'parameters for every call',
      { AuthParameters: { InvocationHttpParameters: {} } },
      /InvocationHttpParameters is not supported/,
    ],
    [
      'a key that breaks the header',
      { AuthParameters: { ApiKeyAuthParameters: { ApiKeyName: 'a', ApiKeyValue: `${SECRET}\nb: c` } } },
      /ApiKeyValue' failed to satisfy constraint: (?!.*the-key)/,
    ],
    ['a key of KMS', { KmsKeyIdentifier: 'k' }, /KmsKeyIdentifier is not supported/],
  ])('is a connection with %s', async (_, input, message) => {
    const connection = { ...apiKey(`refused-${++names}`), ...input } as CreateConnectionCommandInput
    await expect(events.send(new CreateConnectionCommand(connection))).rejects.toEqual(
      refused('ValidationException', message),
    )
  })

  it('are a method, a second one of a name, a connection that is not there, and values from the event', async () => {
    const { Name, Arn, publish: _ } = await subscribe('http://localhost:1/')
    const create = (input: object) =>
      events.send(
        new CreateApiDestinationCommand({
          ...{ Name: 'x', InvocationEndpoint: 'http://localhost:1/', HttpMethod: 'POST' },
          ...{ ConnectionArn: 'arn:aws:events:us-east-1:000000000000:connection/x/y', ...input },
        }),
      )
    await expect(create({ HttpMethod: 'PUT' })).rejects.toEqual(
      refused('ValidationException', /HttpMethod PUT is not supported/),
    )
    await expect(create({})).rejects.toEqual(refused('ResourceNotFoundException', /Connection .* not exist/))
    await expect(events.send(new CreateConnectionCommand(apiKey(Name)))).rejects.toEqual(
      refused('ResourceAlreadyExistsException', /already exists/),
    )
    await expect(events.send(new DescribeConnectionCommand({ Name: 'none' }))).rejects.toEqual(
      refused('ResourceNotFoundException', /Connection 'none' does not exist/),
    )
    const HttpParameters = { HeaderParameters: { 'x-id': '$.detail.imageId' } }
    const Targets = [{ Id: '1', Arn, RoleArn, HttpParameters }]
    await expect(events.send(new PutTargetsCommand({ Rule: Name, Targets }))).rejects.toEqual(
      refused('ValidationException', /values from the event/),
    )
  })
})

describe('an API destination, in the end,', () => {
  const run = awsCli()
  it.skipIf(noCli.length > 0)(`is made and called by the AWS CLI${skipped(noCli)}`, async () => {
    const { calls: arrived, url } = await endpoint(200)
    const cli = async (...args: string[]) => {
      const printed = await run('--endpoint-url', aws.endpoint, 'events', ...args)
      return printed === '' ? {} : JSON.parse(printed)
    }
    const { ConnectionArn } = await cli(
      ...['create-connection', '--name', 'cli', '--authorization-type', 'API_KEY', '--auth-parameters'],
      `{"ApiKeyAuthParameters":{"ApiKeyName":"x-api-key","ApiKeyValue":"${SECRET}"}}`,
    )
    const { ApiDestinationArn } = await cli(
      'create-api-destination',
      // As an argument of its own, version 1 of the CLI would take a URL for the place of the value.
      ...[
        '--cli-input-json',
        JSON.stringify({ Name: 'cli', ConnectionArn, HttpMethod: 'POST', InvocationEndpoint: url }),
      ],
    )
    await events.send(new PutRuleCommand({ Name: 'cli', EventPattern: '{"source":["cli"]}' }))
    await cli(
      ...['put-targets', '--rule', 'cli', '--targets', `Id=1,Arn=${ApiDestinationArn},RoleArn=${RoleArn}`],
    )
    await events.send(
      new PutEventsCommand({ Entries: [{ Source: 'cli', DetailType: 't', Detail: '{"n":7}' }] }),
    )
    expect((await calls(arrived, 1))[0]?.event.detail).toEqual({ n: 7 })
  })

  it('that says nothing for five seconds is called again; PutEvents does not wait', async () => {
    const { calls: arrived, url } = await endpoint(-1, 200)
    const { publish } = await subscribe(url)
    let hasAnswered = false
    void publish().then(() => {
      hasAnswered = true
    })
    await expect.poll(() => hasAnswered).toBe(true)
    await calls(arrived, 1)
    late()
    await calls(arrived, 2)
  })
})
