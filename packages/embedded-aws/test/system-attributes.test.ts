import {
  ChangeMessageVisibilityCommand,
  DeleteMessageBatchCommand,
  DeleteMessageCommand,
  GetQueueAttributesCommand,
  PurgeQueueCommand,
  type QueueAttributeName,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  SendMessageCommand,
  type SendMessageCommandInput,
  SetQueueAttributesCommand,
  StartMessageMoveTaskCommand,
} from '@aws-sdk/client-sqs'
import { describe, expect, it } from 'vitest'
import { askSqs, embeddedAws, signed, type TestQueue } from './started.ts'

const { aws, newFolder, newQueue, newFifoQueue, receive, bodies, start } = embeddedAws()
/** As recorded from AWS by LocalStack's validated tests, with its digest. */
const trace = 'Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1'
const traced = { AWSTraceHeader: { DataType: 'String', StringValue: trace } }
const digest = '5ae4d5d7636402d80f4eb6d213245a88'
const own = { name: { DataType: 'String', StringValue: 'a' } }
const send = (queue: TestQueue, MessageBody: string, more: Partial<SendMessageCommandInput> = {}, on = aws) =>
  on.sqs.send(new SendMessageCommand({ QueueUrl: queue.url, MessageBody, ...more }))
const redriveTo = (dead: TestQueue) => ({
  RedrivePolicy: JSON.stringify({ deadLetterTargetArn: dead.arn, maxReceiveCount: 1 }),
})

describe('a message', () => {
  it('keeps its trace, apart from its own attributes and their digest', async () => {
    const queue = await newQueue()
    const plain = await send(queue, 'plain', { MessageAttributes: own })
    const sent = await send(queue, 'traced', { MessageAttributes: own, MessageSystemAttributes: traced })
    expect(plain.MD5OfMessageSystemAttributes).toBeUndefined()
    expect(sent.MD5OfMessageSystemAttributes).toBe(digest)
    expect(sent.MD5OfMessageAttributes).toBe(plain.MD5OfMessageAttributes)
    const batch = new SendMessageBatchCommand({
      QueueUrl: queue.url,
      Entries: [
        { Id: 'plain', MessageBody: 'plain in batch' },
        { Id: 'traced', MessageBody: 'traced in batch', MessageSystemAttributes: traced },
      ],
    })
    const { Successful = [] } = await aws.sqs.send(batch)
    expect(Successful.map((one) => one.MD5OfMessageSystemAttributes)).toEqual([undefined, digest])
    const digestOfOwn = sent.MD5OfMessageAttributes
    expect(await receive(queue, 0)).toMatchObject([
      { Body: 'plain', MessageAttributes: own },
      {
        Body: 'traced',
        MessageAttributes: own,
        MD5OfMessageAttributes: digestOfOwn,
        Attributes: { AWSTraceHeader: trace },
      },
      { Body: 'plain in batch' },
      { Body: 'traced in batch', Attributes: { AWSTraceHeader: trace } },
    ])
    const ask = async (...names: ('AWSTraceHeader' | 'SentTimestamp')[]) => {
      const more = { MaxNumberOfMessages: 10, VisibilityTimeout: 0, MessageSystemAttributeNames: names }
      const { Messages = [] } = await aws.sqs.send(
        new ReceiveMessageCommand({ QueueUrl: queue.url, ...more }),
      )
      return Messages.map(({ Attributes, MessageAttributes }) => [
        Object.keys(Attributes ?? {}).join(),
        MessageAttributes,
      ])
    }
    const seen = await ask('AWSTraceHeader')
    expect(seen.map(([names]) => names)).toEqual(['', 'AWSTraceHeader', '', 'AWSTraceHeader'])
    expect(seen.map(([, attributes]) => attributes)).toEqual([undefined, undefined, undefined, undefined])
    expect((await ask('SentTimestamp')).map(([names]) => names)).toEqual(Array(4).fill('SentTimestamp'))
  })

  it('has the trace that the header of its request names', async () => {
    const queue = await newQueue()
    await fetch(aws.endpoint, {
      method: 'POST',
      headers: {
        ...signed('sqs'),
        ...{ 'content-type': 'application/x-amz-json-1.0', 'x-amz-target': 'AmazonSQS.SendMessage' },
        'x-amzn-trace-id': trace,
      },
      body: JSON.stringify({ QueueUrl: queue.url, MessageBody: 'x' }),
    })
    expect((await receive(queue))[0]?.Attributes).toMatchObject({ AWSTraceHeader: trace })
  })

  it('says as a dead letter where it came from, after a restart too, until it is sent back there', async () => {
    const folder = newFolder()
    const running = await start(folder)
    const dead = await newQueue({}, running)
    const [source] = [await newQueue(redriveTo(dead), running), await newQueue(redriveTo(dead), running)]
    const more = { MessageAttributes: own, MessageSystemAttributes: traced, MessageGroupId: 'mary' }
    const { MD5OfMessageAttributes } = await send(source, 'x', more, running)
    expect((await receive(source, 0, running))[0]?.Attributes).not.toHaveProperty('DeadLetterQueueSourceArn')
    expect(await receive(source, 0, running)).toEqual([])
    await running.stop()
    const again = await start(folder)
    const at = ({ url, arn }: TestQueue) => ({ url: url.replace(running.endpoint, again.endpoint), arn })
    const kept = { AWSTraceHeader: trace, MessageGroupId: 'mary' }
    const letter = { MessageAttributes: own, MD5OfMessageAttributes }
    expect(await receive(at(dead), 0, again)).toMatchObject([
      { ...letter, Attributes: { ...kept, DeadLetterQueueSourceArn: source.arn } },
    ])
    // There are two queues that it could have come from.
    await again.sqs.send(new StartMessageMoveTaskCommand({ SourceArn: dead.arn }))
    await expect.poll(() => receive(at(source), 0, again)).toMatchObject([{ ...letter, Attributes: kept }])
    await again.stop()
  })

  it('keeps its group also in a queue of before a restart', async () => {
    const folder = newFolder()
    const running = await start(folder)
    const queue = await newQueue({}, running)
    await running.stop()
    const again = await start(folder)
    const at = { ...queue, url: queue.url.replace(running.endpoint, again.endpoint) }
    await send(at, 'x', { MessageGroupId: 'mary' }, again)
    expect((await receive(at, 0, again))[0]?.Attributes).toMatchObject({ MessageGroupId: 'mary' })
    await again.stop()
  })
})

describe('a FIFO queue', () => {
  const as = (MessageGroupId: string, MessageDeduplicationId?: string) => ({
    MessageGroupId,
    ...(MessageDeduplicationId === undefined ? {} : { MessageDeduplicationId }),
  })

  it.each(['queue', 'messageGroup'])('tells messages apart within its scope, %s', async (scope) => {
    const queue = await newFifoQueue({ DeduplicationScope: scope })
    await send(queue, 'first', as('a', 'id'))
    await send(queue, 'again', as('a', 'id'))
    await send(queue, 'other group', as('b', 'id'))
    const Entries = [{ Id: '1', MessageBody: 'batch', ...as('c', 'id') }]
    await aws.sqs.send(new SendMessageBatchCommand({ QueueUrl: queue.url, Entries }))
    const all: (string | undefined)[][] = []
    for (let left = 4; left > 0; left -= 1)
      for (const { Body, Attributes } of await receive(queue))
        all.push([Body, Attributes?.MessageDeduplicationId])
    const expected = scope === 'queue' ? ['first'] : ['first', 'other group', 'batch']
    expect(all).toEqual(expected.map((body) => [body, 'id']))
  })

  it('may go by content within a group', async () => {
    const queue = await newFifoQueue({
      ...{ DeduplicationScope: 'messageGroup', ContentBasedDeduplication: 'true' },
    })
    for (const group of ['a', 'a', 'b']) await send(queue, 'same', as(group))
    expect([...(await bodies(queue)), ...(await bodies(queue))]).toEqual(['same', 'same'])
    await expect(send(queue, 'no group')).rejects.toMatchObject({ name: 'MissingParameter' })
  })

  it('gives as many messages of a group as it may in one receive, in their order, and then of the next', async () => {
    const queue = await newFifoQueue({ ContentBasedDeduplication: 'true' })
    for (const body of ['a1', 'b1', 'a2', 'b2', 'a3']) await send(queue, body, as(body.charAt(0)))
    const three = { QueueUrl: queue.url, MaxNumberOfMessages: 3 }
    const { Messages = [] } = await aws.sqs.send(new ReceiveMessageCommand(three))
    expect(Messages.map(({ Body }) => Body)).toEqual(['a1', 'a2', 'a3'])
    await send(queue, 'a4', as('a'))
    expect(await bodies(queue)).toEqual(['b1', 'b2'])
    expect(await bodies(queue)).toEqual([])
  })

  it('has what becomes visible again where it was, and gives none of a group while some of it is in flight', async () => {
    const queue = await newFifoQueue({ ContentBasedDeduplication: 'true' })
    const all = ['1', '2', '3', '4']
    for (const body of all) await send(queue, body, as('a'))
    const received = await receive(queue)
    for (const body of ['3', '1', '4', '2']) {
      expect(await bodies(queue)).toEqual([])
      const ReceiptHandle = received.find(({ Body }) => Body === body)?.ReceiptHandle
      const shown = { QueueUrl: queue.url, ReceiptHandle, VisibilityTimeout: 0 }
      await aws.sqs.send(new ChangeMessageVisibilityCommand(shown))
    }
    // Each message once, though it is visible at once.
    for (let left = 2; left > 0; left -= 1)
      expect((await receive(queue, 0)).map(({ Body }) => Body)).toEqual(all)
    expect(await bodies(queue)).toEqual(all)
  })

  it('knows a duplicate, and its order, after a restart', async () => {
    const folder = newFolder()
    const running = await start(folder)
    const queue = await newQueue({ FifoQueue: 'true', VisibilityTimeout: '1' }, running, '.fifo')
    const ids = ['1', '2', '3']
    for (const id of ids) await send(queue, id, as('a', id), running)
    const received = await receive(queue, undefined, running)
    await running.stop()
    const again = await start(folder)
    const at = { ...queue, url: queue.url.replace(running.endpoint, again.endpoint) }
    const { MessageId } = await send(at, 'again', as('a', '2'), again)
    await expect.poll(() => bodies(at, again)).toEqual(ids)
    expect(MessageId).toBe(received.find(({ Body }) => Body === '2')?.MessageId)
    await again.stop()
  })

  it('deletes nothing by a receipt handle that has expired', async () => {
    const queue = await newFifoQueue()
    const { url: QueueUrl } = queue
    await send(queue, 'one', as('a', 'id'))
    const [{ ReceiptHandle } = {}] = await receive(queue, 0)
    const remove = (handle?: string) =>
      aws.sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle: handle }))
    const expired = { name: 'InvalidParameterValue', message: expect.stringMatching(/handle has expired\.$/) }
    await expect(remove(ReceiptHandle)).rejects.toMatchObject(expired)
    const [{ ReceiptHandle: last } = {}] = await receive(queue)
    await expect(remove(ReceiptHandle)).rejects.toMatchObject(expired)
    const Entries = [ReceiptHandle, last].map((handle, index) => ({ Id: `${index}`, ReceiptHandle: handle }))
    expect(await aws.sqs.send(new DeleteMessageBatchCommand({ QueueUrl, Entries }))).toMatchObject({
      Successful: [{ Id: '1' }],
      Failed: [{ Id: '0', Code: 'InvalidParameterValue' }],
    })
    // What is deleted may be deleted once more.
    await remove(last)
  })

  it('sends nothing of a batch that lacks a group or an id', async () => {
    const queue = await newFifoQueue()
    const whole = { Id: '1', MessageBody: 'one', ...as('a', 'id') }
    for (const lacking of [{ MessageGroupId: 'a' }, { MessageDeduplicationId: 'other' }]) {
      const Entries = [whole, { Id: '2', MessageBody: 'two', ...lacking }]
      const batch = new SendMessageBatchCommand({ QueueUrl: queue.url, Entries })
      await expect(aws.sqs.send(batch)).rejects.toMatchObject({ name: 'InvalidParameterValue' })
    }
    expect(await bodies(queue)).toEqual([])
  })

  it('takes after a purge what it had before', async () => {
    const queue = await newFifoQueue()
    await send(queue, 'one', as('a', 'id'))
    await aws.sqs.send(new PurgeQueueCommand({ QueueUrl: queue.url }))
    await send(queue, 'two', as('a', 'id'))
    expect(await bodies(queue)).toEqual(['two'])
  })

  it('takes switches in any case', async () => {
    const switches = { FifoQueue: 'True', ContentBasedDeduplication: 'False' }
    await expect(newFifoQueue(switches)).resolves.toMatchObject({ url: expect.any(String) })
  })

  it('changes its scope', async () => {
    const { url: QueueUrl } = await newFifoQueue()
    const Attributes = { DeduplicationScope: 'messageGroup', FifoThroughputLimit: 'perMessageGroupId' }
    await expect(
      aws.sqs.send(new SetQueueAttributesCommand({ QueueUrl, Attributes })),
    ).resolves.toMatchObject({ $metadata: { httpStatusCode: 200 } })
    const AttributeNames: QueueAttributeName[] = ['FifoQueue', 'DeduplicationScope', 'FifoThroughputLimit']
    expect(
      (await aws.sqs.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames }))).Attributes,
    ).toEqual({ FifoQueue: 'true', ...Attributes })
    for (const wrong of [{ DeduplicationScope: 'group' }, { FifoQueue: 'false' }])
      await expect(
        aws.sqs.send(new SetQueueAttributesCommand({ QueueUrl, Attributes: wrong })),
      ).rejects.toMatchObject({ name: 'InvalidAttributeValue' })
  })

  it('alone has what only a FIFO queue has', async () => {
    const { url: QueueUrl } = await newQueue()
    for (const attribute of [
      { FifoQueue: 'false' },
      { ContentBasedDeduplication: 'false' },
      { DeduplicationScope: 'queue' },
      { FifoThroughputLimit: 'perQueue' },
    ]) {
      const wrong = { name: 'InvalidAttributeName' }
      await expect(newQueue(attribute)).rejects.toMatchObject(wrong)
      const set = new SetQueueAttributesCommand({ QueueUrl, Attributes: attribute })
      await expect(aws.sqs.send(set)).rejects.toMatchObject(wrong)
    }
  })

  it.each(['', 'a b', 'ü', 'x'.repeat(129)])('and any other refuse the id %j', async (id) => {
    const wrong = { status: 400, __type: 'InvalidParameterValueException' }
    const ask = async (queue: TestQueue, more: object) => {
      const input = { QueueUrl: queue.url, MessageBody: 'x', ...more }
      const answer = await askSqs(aws.endpoint, 'SendMessage', input)
      return { status: answer.status, ...(await answer.json()) }
    }
    const fifo = await newFifoQueue()
    expect(await ask(fifo, as('a', id))).toMatchObject(wrong)
    expect(await ask(fifo, as(id, 'a'))).toMatchObject(wrong)
    expect(await ask(await newQueue(), as(id))).toMatchObject(wrong)
  })
})
