import { randomUUID } from 'node:crypto'
import { expect, it, onTestFinished } from 'vitest'
import { startService } from '../index.ts'
import { elements, embeddedAws, signed } from './started.ts'

/** The Query protocol of SDKs of before late 2023, whose requests these are (botocore 1.29, AWS SDK for Go 1.44). */
const { aws, newQueue, bodies, send } = embeddedAws()

const FORM = 'application/x-www-form-urlencoded; charset=utf-8'
const ask = (
  parameters: Record<string, string>,
  { path = '/', service = 'sqs', ...more }: RequestInit & { path?: string; service?: string } = {},
) =>
  fetch(`${aws.endpoint}${path}`, {
    ...more,
    method: 'POST',
    headers: { ...signed(service), 'content-type': FORM, ...(more.headers as object) },
    body: new URLSearchParams({ Version: '2012-11-05', ...parameters }),
  })
const textOf = async (answer: Promise<Response>) => (await answer).text()

it('a queue is made, listed and described in the Query protocol', async () => {
  const QueueName = `q-${randomUUID()}`
  const { QueueUrl = '' } = await elements(
    await ask({
      ...{ Action: 'CreateQueue', QueueName, 'Tag.1.Key': 'team', 'Tag.1.Value': 'a' },
      ...{ 'Attribute.1.Name': 'VisibilityTimeout', 'Attribute.1.Value': '7' },
    }),
  )
  expect(QueueUrl).toBe(`${aws.endpoint}/000000000000/${QueueName}`)
  const list = await textOf(ask({ Action: 'ListQueues', QueueNamePrefix: QueueName }))
  expect(list).toContain(`<ListQueuesResult><QueueUrl>${QueueUrl}</QueueUrl></ListQueuesResult>`)
  expect(list).toContain('<ListQueuesResponse xmlns="http://queue.amazonaws.com/doc/2012-11-05/">')
  const attributes = { 'AttributeName.2': 'VisibilityTimeout', 'AttributeName.1': 'QueueArn' }
  expect(await textOf(ask({ Action: 'GetQueueAttributes', QueueUrl, ...attributes }))).toMatch(
    /<Attribute><Name>QueueArn<\/Name><Value>arn:[^<]+<\/Value><\/Attribute><Attribute><Name>VisibilityTimeout<\/Name><Value>7</,
  )
  expect(await textOf(ask({ Action: 'ListQueueTags', QueueUrl }))).toContain(
    '<ListQueueTagsResult><Tag><Key>team</Key><Value>a</Value></Tag></ListQueueTagsResult>',
  )
})

it('a message comes back as it was sent, with its attributes, and is deleted by its handle', async () => {
  const { url: QueueUrl } = await newQueue()
  const attribute = (number: number, name: string, DataType: string, value: Record<string, string>) =>
    Object.fromEntries(
      Object.entries({ Name: name, 'Value.DataType': DataType, ...value }).map(([part, text]) => [
        `MessageAttribute.${number}.${part}`,
        text,
      ]),
    )
  const sent = await elements(
    await ask({
      ...{ Action: 'SendMessage', QueueUrl, MessageBody: 'é <&> "x"\n', DelaySeconds: '0' },
      ...attribute(1, 'n', 'Number', { 'Value.StringValue': '1' }),
      ...attribute(2, 'b', 'Binary', { 'Value.BinaryValue': 'AQL/' }),
    }),
  )
  // As SDKs compute it, for each protocol alike.
  expect(sent).toMatchObject({ MD5OfMessageAttributes: '5aa1a4ea60c57426e801eaf0eadd9270' })
  const wanted = { 'AttributeName.1': 'All', 'MessageAttributeName.1': 'All', WaitTimeSeconds: '1' }
  const received = await textOf(ask({ Action: 'ReceiveMessage', QueueUrl, ...wanted }))
  expect(received).toContain('<Body>é &lt;&amp;&gt; &quot;x&quot;\n</Body>')
  expect(received).toContain('<Attribute><Name>ApproximateReceiveCount</Name><Value>1</Value></Attribute>')
  expect(received).toMatch(
    /<MessageAttribute><Name>b<\/Name><Value>(<DataType>Binary<\/DataType>|<BinaryValue>AQL\/<\/BinaryValue>){2}<\/Value>/,
  )
  const ReceiptHandle = /<ReceiptHandle>([^<]+)/.exec(received)?.[1] ?? ''
  const handle = { QueueUrl, ReceiptHandle }
  expect((await ask({ Action: 'ChangeMessageVisibility', ...handle, VisibilityTimeout: '30' })).status).toBe(
    200,
  )
  const deleted = await textOf(ask({ Action: 'DeleteMessage', ...handle }))
  expect(deleted).toMatch(/^<DeleteMessageResponse [^>]+><ResponseMetadata><RequestId>\w+<\/RequestId>/)
  expect(await textOf(ask({ Action: 'ReceiveMessage', QueueUrl }))).toContain(
    '<ReceiveMessageResult></ReceiveMessageResult>',
  )
})

it('a batch keeps its order, and its answer names what was taken and what was not', async () => {
  const queue = await newQueue()
  const entries = Array.from({ length: 10 }, (_, index) => index + 1).map((number) => [
    [`SendMessageBatchRequestEntry.${number}.Id`, `id${number}`],
    [`SendMessageBatchRequestEntry.${number}.MessageBody`, number === 3 ? '' : `body ${number}`],
  ])
  const answer = await textOf(
    ask({
      Action: 'SendMessageBatch',
      QueueUrl: queue.url,
      ...Object.fromEntries(entries.toReversed().flat()),
    }),
  )
  expect([...answer.matchAll(/<SendMessageBatchResultEntry><Id>id(\d+)/g)].map(([, id]) => id)).toEqual(
    '1 2 4 5 6 7 8 9 10'.split(' '),
  )
  expect(answer).toContain('<BatchResultErrorEntry><Id>id3</Id><SenderFault>true</SenderFault>')
  expect(await bodies(queue)).toHaveLength(9)
})

it('a request to a queue’s URL is about that queue', async () => {
  const queue = await newQueue()
  await send(queue, 'hello')
  const path = new URL(queue.url).pathname
  expect(await textOf(ask({ Action: 'ReceiveMessage' }, { path }))).toContain('<Body>hello</Body>')
})

it('a receive whose caller has gone takes no message', async () => {
  const queue = await newQueue()
  const gone = new AbortController()
  const parameters = { Action: 'ReceiveMessage', QueueUrl: queue.url, WaitTimeSeconds: '20' }
  const waiting = ask(parameters, { signal: gone.signal })
  // In the same order as it sends them, the embedded AWS takes requests up.
  await ask({ Action: 'ReceiveMessage', QueueUrl: queue.url })
  gone.abort()
  await expect(waiting).rejects.toThrow('abort')
  // Likewise: by then the connection that is gone has been seen.
  await ask({ Action: 'ReceiveMessage', QueueUrl: queue.url })
  await send(queue, 'for another')
  expect(await bodies(queue)).toEqual(['for another'])
})

it('a page gets in by the Query protocol no more than by the other one', async () => {
  const answer = await ask({ Action: 'ListQueues' }, { headers: { origin: 'https://evil.test' } })
  expect(answer.status).toBe(403)
  expect(await answer.text()).toContain('<Code>AccessDenied</Code>')
})

it.each([
  [{ Action: 'GetQueueUrl', QueueName: 'none' }, 400, 'AWS.SimpleQueueService.NonExistentQueue'],
  [{ Action: 'AddPermission', QueueUrl: 'http://x/1/none' }, 400, 'InvalidAction'],
  [
    { Action: 'ReceiveMessage', QueueUrl: 'http://x/1/none', MaxNumberOfMessages: 'x' },
    400,
    'MalformedInput',
  ],
  [{ QueueName: 'none' }, 400, 'MissingAction'],
  [{ Action: 'ListQueues', 'a.a.a.a.a.a.a.a': '' }, 400, 'MalformedInput'],
])('%j is refused with %i %s', async (parameters, status, Code) => {
  const answer = await ask(parameters as Record<string, string>)
  expect({ status: answer.status, ...(await elements(answer)) }).toMatchObject({
    status,
    Type: 'Sender',
    Code,
  })
})

it('what is signed for a service that is not here is refused by its name, in its protocol', async () => {
  const query = await ask({ Action: 'ListMetrics' }, { service: 'monitoring' })
  expect({ status: query.status, ...(await elements(query)) }).toMatchObject({
    ...{
      status: 404,
      Code: 'UnknownOperationException',
      Message: 'There is no monitoring at this endpoint.',
    },
  })
  const rest = await fetch(`${aws.endpoint}/restapis`, { headers: signed('apigateway') })
  expect(rest.headers.get('x-amzn-errortype')).toBe('UnknownOperationException')
  expect(await rest.json()).toMatchObject({ message: 'There is no apigateway at this endpoint.' })
})

it('a service alone refuses each other one in the protocol of that one', async () => {
  const alone = await startService({ port: 0, name: 'RekognitionService', service: async () => ({}) })
  onTestFinished(alone.stop)
  const refused = async (service: string, init: RequestInit = {}) => {
    const { headers = {}, ...more } = init
    const answer = await fetch(alone.endpoint, { ...more, headers: { ...signed(service), ...headers } })
    return [answer.status, await answer.text()]
  }
  const code = 'UnknownOperationException'
  const form = { method: 'POST', headers: { 'content-type': FORM }, body: 'Action=GetCallerIdentity' }
  expect(await refused('sts', form)).toEqual([404, expect.stringContaining(`<Code>${code}</Code>`)])
  expect(await refused('route53')).toEqual([404, expect.stringMatching(`^<ErrorResponse>.*<Code>${code}<`)])
  expect(await refused('s3')).toEqual([404, expect.stringMatching(`<Error><Code>${code}<`)])
  expect(await refused('lambda')).toEqual([404, expect.stringMatching(`^{"__type":"${code}"`)])
})

it('a signature without a region is for its service too', async () => {
  const authorization = signed('sqs').authorization.replace('us-east-1', '')
  expect(await textOf(ask({ Action: 'ListQueues' }, { headers: { authorization } }))).toContain(
    '<ListQueuesResult>',
  )
})

it('an empty list is one, as SDKs write it', async () => {
  const { url: QueueUrl } = await newQueue()
  for (const kind of ['SendMessage', 'DeleteMessage', 'ChangeMessageVisibility'])
    expect(await elements(await ask({ Action: `${kind}Batch`, QueueUrl, Entries: '' }))).toMatchObject({
      Code: 'AWS.SimpleQueueService.EmptyBatchRequest',
    })
  const none = { AttributeNames: '', MessageAttributeNames: '' }
  expect((await ask({ Action: 'ReceiveMessage', QueueUrl, ...none })).status).toBe(200)
})
