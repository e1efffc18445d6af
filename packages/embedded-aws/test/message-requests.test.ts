import { randomUUID } from 'node:crypto'
import {
  ChangeMessageVisibilityBatchCommand,
  ChangeMessageVisibilityCommand,
  CreateQueueCommand,
  DeleteMessageBatchCommand,
  DeleteMessageCommand,
  GetQueueAttributesCommand,
  GetQueueUrlCommand,
  ListDeadLetterSourceQueuesCommand,
  ListQueuesCommand,
  ListQueueTagsCommand,
  type MessageAttributeValue,
  paginateListQueues,
  type QueueAttributeName,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  type SendMessageBatchRequestEntry,
  SendMessageCommand,
  type SendMessageCommandInput,
  SetQueueAttributesCommand,
  SQSClient,
  TagQueueCommand,
  UntagQueueCommand,
} from '@aws-sdk/client-sqs'
import { describe, expect, it } from 'vitest'
import { askSqs, embeddedAws, region, signed } from './started.ts'

const { aws, newFolder, newQueue, newFifoQueue, receive, bodies, send, start, waiting } = embeddedAws()
const one = (StringValue: string, DataType = 'String'): Record<string, MessageAttributeValue> => ({
  name: { DataType, StringValue },
})
const invalid = { name: 'InvalidParameterValue', $metadata: { httpStatusCode: 400 } }

it('a message may have any character of Unicode that XML may', async () => {
  const queue = await newQueue()
  const text = '\t\n\r ü€\ud7ff\ue000\ufffd😀\u{10ffff}'
  await send(queue, text)
  expect(await bodies(queue)).toEqual([text])
  for (const wrong of ['\u0001', '\ufffe', '\ud800'])
    await expect(send(queue, wrong)).rejects.toMatchObject({ name: 'InvalidMessageContents' })
})

it('a queue keeps its messages when its name is used from another region', async () => {
  const queue = await newQueue()
  await send(queue, 'hello')
  const QueueName = queue.url.split('/').at(-1)
  const elsewhere = new SQSClient({
    ...{ endpoint: aws.endpoint, region: 'ap-south-1', useQueueUrlAsEndpoint: false },
    credentials: { accessKeyId: 'a', secretAccessKey: 'b' },
  })
  const found = { QueueUrl: queue.url }
  expect(await elsewhere.send(new CreateQueueCommand({ QueueName }))).toMatchObject(found)
  expect(await elsewhere.send(new GetQueueUrlCommand({ QueueName }))).toMatchObject(found)
  elsewhere.destroy()
  const AttributeNames: QueueAttributeName[] = ['QueueArn']
  expect(
    await aws.sqs.send(new GetQueueAttributesCommand({ QueueUrl: queue.url, AttributeNames })),
  ).toMatchObject({ Attributes: { QueueArn: queue.arn } })
  expect(await bodies(queue)).toEqual(['hello'])
})

it('a message comes with the attributes that are asked for', async () => {
  const queue = await newQueue()
  const MessageAttributes = { ...one('a'), 'other.one': { DataType: 'Number.int', StringValue: '1' } }
  // As of a caller that X-Ray traces.
  const MessageSystemAttributes = { AWSTraceHeader: { DataType: 'String', StringValue: 'Root=1' } }
  const message = { MessageBody: 'x', MessageAttributes, MessageSystemAttributes }
  await aws.sqs.send(new SendMessageCommand({ QueueUrl: queue.url, ...message }))
  const ask = async (MessageAttributeNames?: string[]) => {
    const more = { QueueUrl: queue.url, VisibilityTimeout: 0, MessageAttributeNames }
    const { Messages } = await aws.sqs.send(new ReceiveMessageCommand(more))
    return Object.keys(Messages?.[0]?.MessageAttributes ?? {})
  }
  expect(await ask()).toEqual([])
  expect(await ask(['name'])).toEqual(['name'])
  expect(await ask(['other.*'])).toEqual(['other.one'])
  expect(await ask(['All'])).toEqual(['name', 'other.one'])
  for (const every of ['*', '.*']) expect(await ask([every])).toEqual(['name', 'other.one'])
  expect(await ask(['na.*'])).toEqual(['name'])
  expect(await ask(['oth*', 'none'])).toEqual(['other.one'])
})

it('the digest of attributes is of those that come', async () => {
  const { url: QueueUrl } = await newQueue()
  const [first, both] = [one('a'), { ...one('a'), other: { DataType: 'String', StringValue: 'b' } }]
  const sent = await Promise.all(
    [first, both].map((MessageAttributes) =>
      aws.sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: 'x', MessageAttributes })),
    ),
  )
  const ask = { QueueUrl, MaxNumberOfMessages: 10, MessageAttributeNames: ['name'] }
  const { Messages = [] } = await aws.sqs.send(new ReceiveMessageCommand(ask))
  const digest = sent[0]?.MD5OfMessageAttributes
  expect(Messages.map((message) => message.MD5OfMessageAttributes)).toEqual([digest, digest])
})

it('a message of a standard queue keeps its group, also as a dead letter and after a restart', async () => {
  const folder = newFolder()
  const running = await start(folder)
  const dead = await newQueue({}, running)
  const queue = await newQueue({ RedrivePolicy: redrive(dead.arn.split(':').at(-1) ?? '', 1) }, running)
  const message = { MessageBody: 'x', MessageGroupId: 'mary' }
  await running.sqs.send(new SendMessageCommand({ QueueUrl: queue.url, ...message }))
  const Entries = [{ Id: '1', ...message }]
  await running.sqs.send(new SendMessageBatchCommand({ QueueUrl: queue.url, Entries }))
  const groups = async (of: typeof queue, on: typeof running) =>
    (await receive(of, 0, on)).map(({ Attributes }) => Attributes?.MessageGroupId)
  expect(await groups(queue, running)).toEqual(['mary', 'mary'])
  expect(await groups(queue, running)).toEqual([])
  await running.stop()
  const again = await start(folder)
  const url = dead.url.replace(running.endpoint, again.endpoint)
  expect(await groups({ ...dead, url }, again)).toEqual(['mary', 'mary'])
  await again.stop()
})

it('a queue that is tagged keeps its messages, and the tags, also over a restart', async () => {
  const folder = newFolder()
  const running = await start(folder)
  const queue = await newQueue({}, running)
  await send(queue, 'kept', running)
  const Tags = { team: 'pictures', stage: 'test' }
  await running.sqs.send(new TagQueueCommand({ QueueUrl: queue.url, Tags }))
  await running.sqs.send(new UntagQueueCommand({ QueueUrl: queue.url, TagKeys: ['stage'] }))
  await running.stop()
  const again = await start(folder)
  const url = queue.url.replace(running.endpoint, again.endpoint)
  expect(await bodies({ ...queue, url }, again)).toEqual(['kept'])
  const tags = await again.sqs.send(new ListQueueTagsCommand({ QueueUrl: url }))
  expect(tags.Tags).toEqual({ team: 'pictures' })
  await again.stop()
})

it('an operation that SQS does not have is refused, also where objects have a property of its name', async () => {
  const { url } = await newQueue()
  for (const name of ['Nope', 'constructor', 'toString']) {
    const { status } = await askSqs(aws.endpoint, name, { QueueUrl: url, Entries: [{ Id: '1' }] })
    expect(status).toBe(400)
  }
})

describe('a message is refused', () => {
  const tooMany = Object.fromEntries(
    Array.from({ length: 11 }, (_, index) => [`a${index}`, { DataType: 'String', StringValue: 'x' }]),
  )
  const named = (name: string) => ({
    MessageAttributes: { [name]: { DataType: 'String', StringValue: 'x' } },
  })
  it.each<[string, Partial<SendMessageCommandInput>, string]>([
    ['no body', { MessageBody: '' }, 'MissingParameter'],
    ['a delay over 900 s', { DelaySeconds: 901 }, 'InvalidParameterValue'],
    ['a negative delay', { DelaySeconds: -1 }, 'InvalidParameterValue'],
    ['a deduplication id', { MessageDeduplicationId: 'x' }, 'InvalidParameterValue'],
    ['11 attributes', { MessageAttributes: tooMany }, 'InvalidParameterValue'],
    [
      'an attribute of no type',
      { MessageAttributes: { name: { StringValue: 'x' } as never } },
      'InvalidParameterValue',
    ],
    ['an attribute of another type', { MessageAttributes: one('x', 'Text') }, 'InvalidParameterValue'],
    ['an empty attribute', { MessageAttributes: one('') }, 'InvalidParameterValue'],
    ['an attribute of other characters', { MessageAttributes: one('a\u0008') }, 'InvalidParameterValue'],
    ['a number that is none', { MessageAttributes: one('x', 'Number') }, 'InvalidParameterValue'],
    ['bytes as a text', { MessageAttributes: one('x', 'Binary') }, 'InvalidParameterValue'],
    ['a name with a space', named('a b'), 'InvalidParameterValue'],
    ['a name with two dots', named('a..b'), 'InvalidParameterValue'],
    ['a name of AWS', named('AWS.a'), 'InvalidParameterValue'],
    [
      'a system attribute that SQS does not have',
      { MessageSystemAttributes: { TraceHeader: { DataType: 'String', StringValue: 'Root=1' } } as never },
      'InvalidParameterValue',
    ],
    [
      'a trace header of another type',
      { MessageSystemAttributes: { AWSTraceHeader: { DataType: 'Number', StringValue: '1' } } },
      'InvalidParameterValue',
    ],
  ])('for %s, alone and within a batch', async (_, more, name) => {
    const queue = await newQueue()
    const QueueUrl = queue.url
    const message = { MessageBody: 'x', ...more }
    await expect(aws.sqs.send(new SendMessageCommand({ QueueUrl, ...message }))).rejects.toMatchObject({
      name,
    })
    const batch = async (...Entries: SendMessageBatchRequestEntry[]) => {
      const { Failed, Successful = [] } = await aws.sqs.send(
        new SendMessageBatchCommand({ QueueUrl, Entries }),
      )
      return [
        Failed?.map(({ Id, Code, SenderFault }) => [Id, Code?.split('.').at(-1), SenderFault]),
        Successful.map(({ Id }) => Id),
      ]
    }
    expect(await batch({ Id: 'wrong', ...message }, { Id: 'right', MessageBody: 'sent' })).toEqual([
      [['wrong', name, true]],
      ['right'],
    ])
    expect(await batch({ Id: 'wrong', ...message })).toEqual([[['wrong', name, true]], []])
    expect(await bodies(queue)).toEqual(['sent'])
  })

  it('with its batch for an id that is none, or too long', async () => {
    const { url: QueueUrl } = await newQueue()
    for (const Id of ['a b', 'a'.repeat(81), undefined]) {
      const Entries = [{ Id, MessageBody: 'x' }]
      await expect(aws.sqs.send(new SendMessageBatchCommand({ QueueUrl, Entries }))).rejects.toMatchObject({
        name: expect.stringContaining('InvalidBatchEntryId'),
      })
    }
  })
})

it.each([
  ['AmazonSQS.SendMessage', '{', 'SerializationException'],
  ['AmazonSQS.SendMessage', '{"QueueUrl": 1, "MessageBody": 2}', 'SerializationException'],
  ['AmazonSQS.SendMessage', '{"QueueUrl": "QUEUE", "MessageBody": {}}', 'SerializationException'],
  [
    'AmazonSQS.SendMessage',
    '{"QueueUrl": "QUEUE", "MessageBody": "x", "MessageAttributes": {"a": null}}',
    'SerializationException',
  ],
  [
    'AmazonSQS.SendMessage',
    '{"QueueUrl": "QUEUE", "MessageBody": "x", "MessageSystemAttributes": {"AWSTraceHeader": null}}',
    'SerializationException',
  ],
  ['AmazonSQS.SendMessageBatch', '{"QueueUrl": "QUEUE", "Entries": {}}', 'SerializationException'],
  ['AmazonSQS.ReceiveMessage', '[]', 'SerializationException'],
])('%s of %s is refused, and is no failure of the service', async (target, body, name) => {
  const { url } = await newQueue()
  const answer = await fetch(aws.endpoint, {
    method: 'POST',
    headers: { ...signed('sqs'), 'x-amz-target': target, 'content-type': 'application/x-amz-json-1.0' },
    body: body.replace('QUEUE', url),
  })
  expect([answer.status, (await answer.json()).__type]).toEqual([400, name])
})

it.each([
  ['SendMessage', { QueueUrl: 'QUEUE-none', MessageBody: 'x' }, 'AWS.SimpleQueueService.NonExistentQueue'],
  ['SendMessageBatch', { QueueUrl: 'QUEUE', Entries: [] }, 'AWS.SimpleQueueService.EmptyBatchRequest'],
  ['ReceiveMessage', { QueueUrl: 'QUEUE', MaxNumberOfMessages: 11 }, 'InvalidParameterValue'],
  ['SetQueueAttributes', { QueueUrl: 'QUEUE', Attributes: { DelaySeconds: '901' } }, 'InvalidAttributeValue'],
  ['ListDeadLetterSourceQueues', { QueueUrl: 'QUEUE-none' }, 'AWS.SimpleQueueService.NonExistentQueue'],
])(
  'the error of %s with %j is named in the header as the Query protocol named it',
  async (name, input, code) => {
    const { url } = await newQueue()
    const named = JSON.parse(JSON.stringify(input).replace('QUEUE', url))
    const { headers } = await askSqs(aws.endpoint, name, named)
    expect(headers.get('x-amzn-query-error')).toBe(`${code};Sender`)
  },
)

it.each([
  ['SendMessage', { QueueUrl: 'QUEUE', MessageBody: 'x', DelaySeconds: -1 }, 'InvalidParameterValue'],
  ['ReceiveMessage', { QueueUrl: 'QUEUE', MaxNumberOfMessages: 11 }, 'InvalidParameterValue'],
  ['StartMessageMoveTask', { SourceArn: 'x' }, 'InvalidParameterValue'],
  ['SendMessage', { QueueUrl: 'QUEUE' }, 'MissingRequiredParameter'],
  ['DeleteMessage', { QueueUrl: 'QUEUE' }, 'MissingRequiredParameter'],
])('the error of %s with %j is %sException in the body, as AWS has it', async (name, input, type) => {
  const { url } = await newQueue()
  const answer = await askSqs(aws.endpoint, name, JSON.parse(JSON.stringify(input).replace('QUEUE', url)))
  expect((await answer.json()).__type.split('#').at(-1)).toBe(`${type}Exception`)
})

it('a batch of too many entries says how many it had', async () => {
  const { url: QueueUrl } = await newQueue()
  const Entries = Array.from({ length: 11 }, (_, index) => ({ Id: `${index}`, MessageBody: 'x' }))
  await expect(aws.sqs.send(new SendMessageBatchCommand({ QueueUrl, Entries }))).rejects.toMatchObject({
    name: expect.stringContaining('TooManyEntriesInBatchRequest'),
    message: expect.stringContaining('You have sent 11.'),
  })
})

it.each<[string, string, Record<string, string>, string]>([
  ['a name with a space', 'a b', {}, 'InvalidParameterValue'],
  ['a long name', 'x'.repeat(81), {}, 'InvalidParameterValue'],
  ['no name', '', {}, 'InvalidParameterValue'],
  ['a name of FIFO alone', 'x.fifo', {}, 'InvalidParameterValue'],
  ['an unknown attribute', 'x', { Nope: '1' }, 'InvalidAttributeName'],
  ['a count', 'x', { ApproximateNumberOfMessages: '1' }, 'InvalidAttributeName'],
  ['a RedrivePolicy that is no JSON', 'x', { RedrivePolicy: 'junk' }, 'InvalidParameterValue'],
  ['a RedrivePolicy to no queue', 'x', { RedrivePolicy: redrive('none', 3) }, 'InvalidParameterValue'],
  [
    'a RedrivePolicy without a target',
    'x',
    { RedrivePolicy: '{"maxReceiveCount":3}' },
    'InvalidParameterValue',
  ],
  ['a Policy that is no JSON', 'x', { Policy: 'junk' }, 'InvalidAttributeValue'],
  ['a RedriveAllowPolicy of no kind', 'x', { RedriveAllowPolicy: '{}' }, 'InvalidAttributeValue'],
  ['a switch that is none', 'x', { SqsManagedSseEnabled: 'perhaps' }, 'InvalidAttributeValue'],
  ['a key that is used for a second', 'x', { KmsDataKeyReusePeriodSeconds: '1' }, 'InvalidAttributeValue'],
  ['seconds in another notation', 'x', { VisibilityTimeout: '1e2' }, 'InvalidAttributeValue'],
  ['seconds that are none', 'x', { VisibilityTimeout: '' }, 'InvalidAttributeValue'],
])('a queue with %s is not made', async (_, QueueName, Attributes, name) => {
  await expect(aws.sqs.send(new CreateQueueCommand({ QueueName, Attributes }))).rejects.toMatchObject({
    name,
  })
})

function redrive(queue: string, maxReceiveCount: number | string): string {
  const deadLetterTargetArn = `arn:aws:sqs:${region}:000000000000:${queue}`
  return JSON.stringify({ deadLetterTargetArn, maxReceiveCount })
}

it('a queue is made with attributes of the right form, of those that the emulator only keeps too', async () => {
  const Attributes = {
    Policy: JSON.stringify({ Version: '2012-10-17', Statement: [] }),
    RedriveAllowPolicy: '{"redrivePermission":"allowAll"}',
    ...{ SqsManagedSseEnabled: 'false', KmsDataKeyReusePeriodSeconds: '300', VisibilityTimeout: '0' },
  }
  const { url: QueueUrl } = await newQueue(Attributes)
  const none = { Policy: '', KmsMasterKeyId: '' }
  const set = new SetQueueAttributesCommand({ QueueUrl, Attributes: { ...Attributes, ...none } })
  await expect(aws.sqs.send(set)).resolves.toMatchObject({ $metadata: { httpStatusCode: 200 } })
  const get = new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['All'] })
  const told = Object.keys((await aws.sqs.send(get)).Attributes ?? {})
  expect(told).toContain('RedriveAllowPolicy')
  for (const name of [...Object.keys(none), 'KmsDataKeyReusePeriodSeconds']) expect(told).not.toContain(name)
})

it('a queue that is there is made again by attributes that it has, and by no others', async () => {
  const dead = await newQueue()
  const QueueName = `queue-${randomUUID()}`
  const make = (Attributes: Record<string, string>) =>
    aws.sqs.send(new CreateQueueCommand({ QueueName, Attributes }))
  const { QueueUrl } = await make({ VisibilityTimeout: '60' })
  const same = { VisibilityTimeout: '60', DelaySeconds: '0', SqsManagedSseEnabled: 'true', Policy: '' }
  for (const Attributes of [{}, same]) expect((await make(Attributes)).QueueUrl).toBe(QueueUrl)
  const RedrivePolicy = redrive(dead.arn.split(':').at(-1) ?? '', 3)
  for (const Attributes of [
    { VisibilityTimeout: '30' },
    { RedrivePolicy },
    { SqsManagedSseEnabled: 'false' },
  ])
    await expect(make(Attributes)).rejects.toMatchObject({ name: 'QueueNameExists' })
  const get = new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['All'] })
  expect((await aws.sqs.send(get)).Attributes).not.toHaveProperty('RedrivePolicy')
})

it('all queues are listed, page by page, whatever their names', async () => {
  const QueueNamePrefix = `list-${randomUUID()}`
  const names = ['Beta', 'alpha', 'Gamma', 'a-b', 'a_b'].map((name) => `${QueueNamePrefix}-${name}`)
  for (const QueueName of names) await aws.sqs.send(new CreateQueueCommand({ QueueName }))
  const listed: string[] = []
  for await (const { QueueUrls = [] } of paginateListQueues(
    { client: aws.sqs, pageSize: 2 },
    { QueueNamePrefix },
  ))
    listed.push(...QueueUrls.map((url) => url.split('/').at(-1) ?? ''))
  expect(listed).toEqual(names.toSorted())
})

it('a queue keeps its RedrivePolicy until there is a right one, or none', async () => {
  const [queue, dead, fifo] = [await newQueue(), await newQueue(), await newFifoQueue()]
  const name = dead.arn.split(':').at(-1) ?? ''
  const set = (RedrivePolicy: string) =>
    aws.sqs.send(new SetQueueAttributesCommand({ QueueUrl: queue.url, Attributes: { RedrivePolicy } }))
  const kept = async (...AttributeNames: QueueAttributeName[]) =>
    (await aws.sqs.send(new GetQueueAttributesCommand({ QueueUrl: queue.url, AttributeNames }))).Attributes
  await set(redrive(name, 3))
  for (const wrong of [
    'junk',
    redrive('none', 3),
    redrive(name, 0),
    redrive(name, 1_001),
    redrive(name, 'x'),
    redrive(fifo.arn.split(':').at(-1) ?? '', 3),
  ])
    await expect(set(wrong)).rejects.toMatchObject(invalid)
  expect(await kept('RedrivePolicy')).toEqual({ RedrivePolicy: redrive(name, 3) })
  await expect(newFifoQueue({ RedrivePolicy: redrive(name, 3) })).rejects.toMatchObject(invalid)
  const sources = (QueueUrl: string) => aws.sqs.send(new ListDeadLetterSourceQueuesCommand({ QueueUrl }))
  expect((await sources(dead.url)).queueUrls).toEqual([queue.url])
  expect((await sources(queue.url)).queueUrls).toEqual([])
  await set('')
  expect(await kept('RedrivePolicy')).toEqual({})
  expect(await kept()).toEqual({})
  await expect(kept('Nope' as never)).rejects.toMatchObject({ name: 'InvalidAttributeName' })
  for (const MaxResults of [0, 1_001])
    await expect(aws.sqs.send(new ListQueuesCommand({ MaxResults }))).rejects.toMatchObject(invalid)
})

it('a dead letter has been received as often as its queue allows, and once more when it is read', async () => {
  const dead = await newQueue()
  const RedrivePolicy = redrive(dead.arn.split(':').at(-1) ?? '', 2)
  const source = await newQueue({ RedrivePolicy })
  await send(source, 'hello')
  for (const found of [1, 1, 0]) expect(await receive(source, 0)).toHaveLength(found)
  expect((await receive(dead))[0]?.Attributes?.ApproximateReceiveCount).toBe('3')
})

it('a receipt handle that none gave is refused, and one before the last deletes nothing', async () => {
  const queue = await newQueue()
  const QueueUrl = queue.url
  const wrong = { name: 'ReceiptHandleIsInvalid' }
  const remove = (ReceiptHandle: string) =>
    aws.sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle }))
  const hide = (ReceiptHandle: string) =>
    aws.sqs.send(new ChangeMessageVisibilityCommand({ QueueUrl, ReceiptHandle, VisibilityTimeout: 0 }))
  for (const act of [remove, hide]) await expect(act('junk')).rejects.toMatchObject(wrong)
  await send(queue, 'hello')
  const [{ ReceiptHandle = '' } = {}] = await receive(queue)
  await hide(ReceiptHandle)
  await expect(hide(ReceiptHandle)).rejects.toMatchObject({ name: 'MessageNotInflight' })
  expect(await waiting(queue)).toBe(1)
  const [{ ReceiptHandle: last = '' } = {}] = await receive(queue, 0)
  await remove(ReceiptHandle)
  expect(await waiting(queue)).toBe(1)
  await expect(hide(ReceiptHandle)).rejects.toMatchObject({ name: 'MessageNotInflight' })
  await remove(last)
  await expect(hide(last)).rejects.toMatchObject(invalid)
})

it('a message is deleted by its last receipt handle also when it is visible again', async () => {
  const queue = await newQueue()
  await send(queue, 'hello')
  const [{ ReceiptHandle } = {}] = await receive(queue, 0)
  expect(await waiting(queue)).toBe(1)
  await aws.sqs.send(new DeleteMessageCommand({ QueueUrl: queue.url, ReceiptHandle }))
  expect(await bodies(queue)).toEqual([])
})

it('a message that is visible again since its time was over is not hidden by who was too slow', async () => {
  const queue = await newQueue()
  await send(queue, 'hello')
  const [{ ReceiptHandle } = {}] = await receive(queue, 0)
  const hide = { QueueUrl: queue.url, ReceiptHandle, VisibilityTimeout: 600 }
  await expect(aws.sqs.send(new ChangeMessageVisibilityCommand(hide))).rejects.toMatchObject({
    name: 'MessageNotInflight',
  })
  expect(await bodies(queue)).toEqual(['hello'])
})

it('of a batch of receipt handles, those that none gave are refused', async () => {
  const queue = await newQueue()
  await send(queue, 'hello')
  const [{ ReceiptHandle } = {}] = await receive(queue)
  const remove = (...handles: (string | undefined)[]) =>
    aws.sqs.send(
      new DeleteMessageBatchCommand({
        QueueUrl: queue.url,
        Entries: handles.map((handle, index) => ({ Id: `${index}`, ReceiptHandle: handle })),
      }),
    )
  const refused = { SenderFault: true, Code: 'ReceiptHandleIsInvalid' }
  expect(await remove('junk', ReceiptHandle)).toMatchObject({
    Successful: [{ Id: '1' }],
    Failed: [{ ...refused, Id: '0' }],
  })
  expect(await remove('junk')).toMatchObject({ Successful: [], Failed: [{ ...refused, Id: '0' }] })
})

it('a batch of visibility timeouts changes what is in flight, and says of each other entry what a single request says', async () => {
  const queue = await newQueue()
  for (const body of ['kept', 'gone', 'visible', 'endless']) await send(queue, body)
  const received = await receive(queue)
  const handle = (body: string) => received.find(({ Body }) => Body === body)?.ReceiptHandle
  const QueueUrl = queue.url
  await aws.sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle: handle('gone') }))
  const show = { QueueUrl, ReceiptHandle: handle('visible'), VisibilityTimeout: 0 }
  await aws.sqs.send(new ChangeMessageVisibilityCommand(show))
  const handles: [string, string | undefined][] = [
    ['junk', 'junk'],
    ...received.map(({ Body = '', ReceiptHandle }): [string, string | undefined] => [Body, ReceiptHandle]),
  ]
  const Entries = handles.map(([Id, ReceiptHandle]) => ({
    ...{ Id, ReceiptHandle },
    ...(Id === 'endless' ? {} : { VisibilityTimeout: 0 }),
  }))
  const answer = await aws.sqs.send(new ChangeMessageVisibilityBatchCommand({ QueueUrl, Entries }))
  expect(answer.Successful).toEqual([{ Id: 'kept' }])
  expect(Object.fromEntries(answer.Failed?.map(({ Id, Code }) => [Id, Code]) ?? [])).toEqual({
    junk: 'ReceiptHandleIsInvalid',
    gone: 'InvalidParameterValue',
    visible: 'AWS.SimpleQueueService.MessageNotInflight',
    endless: 'MissingParameter',
  })
  expect((await bodies(queue)).toSorted()).toEqual(['kept', 'visible'])
})
