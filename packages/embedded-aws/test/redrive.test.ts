import {
  CancelMessageMoveTaskCommand,
  DeleteQueueCommand,
  ListMessageMoveTasksCommand,
  SendMessageCommand,
  StartMessageMoveTaskCommand,
} from '@aws-sdk/client-sqs'
import { describe, expect, it, onTestFinished } from 'vitest'
import { askSqs, embeddedAws, region, type TestQueue } from './started.ts'

const { newFolder, start, aws, newQueue, newFifoQueue, receive, bodies, send, waiting } = embeddedAws()

describe('redriving dead letters', () => {
  const sourceOf = (dead: TestQueue, on = aws): Promise<TestQueue> => {
    const policy = { deadLetterTargetArn: dead.arn, maxReceiveCount: 1 }
    return newQueue({ RedrivePolicy: JSON.stringify(policy) }, on)
  }
  /** Received twice, which is once too often. */
  const kill = async (queue: TestQueue, on = aws): Promise<void> => {
    expect(await receive(queue, 0, on)).not.toEqual([])
    expect(await receive(queue, 0, on)).toEqual([])
  }
  const move = (source: TestQueue, more: object = {}, on = aws) =>
    on.sqs.send(new StartMessageMoveTaskCommand({ SourceArn: source.arn, ...more }))
  const list = async (source: TestQueue, MaxResults?: number, on = aws) => {
    const input = { SourceArn: source.arn, ...(MaxResults === undefined ? {} : { MaxResults }) }
    return (await on.sqs.send(new ListMessageMoveTasksCommand(input))).Results ?? []
  }
  const ended = async (source: TestQueue, on = aws) => {
    await expect.poll(async () => (await list(source, 1, on))[0]?.Status).not.toBe('RUNNING')
    return (await list(source, 1, on))[0]
  }

  it('sends a message back to where it came from as a new one, with its attributes', async () => {
    const dead = await newQueue()
    const source = await sourceOf(dead)
    const MessageAttributes = {
      kind: { DataType: 'String', StringValue: 'job' },
      raw: { DataType: 'Binary', BinaryValue: new Uint8Array([0, 255]) },
    }
    await aws.sqs.send(
      new SendMessageCommand({ QueueUrl: source.url, MessageBody: 'hello', MessageAttributes }),
    )
    await kill(source)
    const [before] = await receive(dead, 0)
    await expect.poll(Date.now).toBeGreaterThan(Number(before?.Attributes?.SentTimestamp))
    const startedAt = Date.now()
    const { TaskHandle } = await move(dead)
    expect(TaskHandle).toEqual(expect.any(String))
    expect(await ended(dead)).toEqual({
      Status: 'COMPLETED',
      SourceArn: dead.arn,
      ApproximateNumberOfMessagesMoved: 1,
      ApproximateNumberOfMessagesToMove: 1,
      StartedTimestamp: expect.toSatisfy((time: number) => time >= startedAt && time <= Date.now()),
    })
    expect(await waiting(dead)).toBe(0)
    const [after] = await receive(source)
    expect(after).toMatchObject({
      Body: 'hello',
      MessageAttributes,
      Attributes: { ApproximateReceiveCount: '1' },
    })
    expect(after?.MessageId).not.toBe(before?.MessageId)
    expect(Number(after?.Attributes?.SentTimestamp)).toBeGreaterThanOrEqual(startedAt)
  })

  it('sends the dead letters of two queues back to each', async () => {
    const dead = await newQueue()
    const [one, two] = [await sourceOf(dead), await sourceOf(dead)]
    await send(one, '1')
    await send(two, '2')
    await kill(two)
    await kill(one)
    await move(dead)
    expect(await ended(dead)).toMatchObject({ Status: 'COMPLETED', ApproximateNumberOfMessagesMoved: 2 })
    expect(await bodies(one)).toEqual(['1'])
    expect(await bodies(two)).toEqual(['2'])
  })

  it('gives up on a message that can have come from either of two queues', async () => {
    const dead = await newQueue()
    await sourceOf(dead)
    await sourceOf(dead)
    await send(dead, 'from nowhere')
    await move(dead)
    expect(await ended(dead)).toMatchObject({
      Status: 'FAILED',
      FailureReason: 'CouldNotDetermineMessageSource',
      ApproximateNumberOfMessagesMoved: 0,
    })
    expect(await waiting(dead)).toBe(1)
  })

  it('sends every message to the queue that is named, and leaves what is in flight', async () => {
    const [dead, other] = [await newQueue(), await newQueue()]
    const source = await sourceOf(dead)
    await send(dead, 'in flight')
    expect(await receive(dead)).toHaveLength(1)
    // More than are moved at once.
    const texts = Array.from({ length: 25 }, (_, index) => `${index}`)
    for (const text of texts) await send(dead, text)
    await move(dead, { DestinationArn: other.arn })
    expect(await ended(dead)).toMatchObject({
      Status: 'COMPLETED',
      DestinationArn: other.arn,
      ApproximateNumberOfMessagesMoved: 25,
    })
    const moved = [...(await bodies(other)), ...(await bodies(other)), ...(await bodies(other))]
    expect(moved).toEqual(texts)
    expect(await waiting(source)).toBe(0)
  })

  it('moves no more messages in a second than it may', async () => {
    const waits: { ms: number; end: () => void }[] = []
    const sleep = (ms: number) => new Promise<void>((end) => waits.push({ ms, end }))
    const on = await start(newFolder(), { clock: { elapsed: () => 0, sleep } })
    onTestFinished(on.stop)
    const dead = await newQueue({}, on)
    const source = await sourceOf(dead, on)
    for (const text of ['1', '2', '3']) await send(dead, text, on)
    await move(dead, { MaxNumberOfMessagesPerSecond: 5 }, on)
    // A fifth of a second for each, and then it sees that there are no more.
    for (const moved of [0, 1, 2, 3]) {
      await expect.poll(() => waits.length).toBeGreaterThan(moved)
      expect(await list(dead, 1, on)).toMatchObject([
        { Status: 'RUNNING', ApproximateNumberOfMessagesMoved: moved, MaxNumberOfMessagesPerSecond: 5 },
      ])
      waits[moved]?.end()
    }
    expect(await ended(dead, on)).toMatchObject({ Status: 'COMPLETED', ApproximateNumberOfMessagesMoved: 3 })
    expect(waits.map(({ ms }) => ms)).toEqual([200, 400, 600, 800])
    expect(await bodies(source, on)).toEqual(['1', '2', '3'])
  })

  it('is cancelled once, while it runs, and what has not been moved stays', async () => {
    const dead = await newQueue()
    await sourceOf(dead)
    for (const text of ['1', '2', '3']) await send(dead, text)
    const { TaskHandle = '' } = await move(dead, { MaxNumberOfMessagesPerSecond: 1 })
    expect((await list(dead))[0]?.TaskHandle).toBe(TaskHandle)
    await expect(move(dead)).rejects.toMatchObject({
      name: 'InvalidParameterValue',
      message: expect.stringContaining('There is already a task running.'),
    })
    const cancel = () => aws.sqs.send(new CancelMessageMoveTaskCommand({ TaskHandle }))
    expect(await cancel()).toMatchObject({ ApproximateNumberOfMessagesMoved: 0 })
    const [task] = await list(dead)
    expect(task).toMatchObject({ Status: 'CANCELLED', ApproximateNumberOfMessagesToMove: 3 })
    expect(task).not.toHaveProperty('TaskHandle')
    await expect(cancel()).rejects.toMatchObject({ name: 'UnsupportedOperation' })

    // Long enough for the cancelled task to move something if it still could: the next one has a higher rate.
    await move(dead, { MaxNumberOfMessagesPerSecond: 2, DestinationArn: (await newQueue()).arn })
    expect(await ended(dead)).toMatchObject({ Status: 'COMPLETED', ApproximateNumberOfMessagesMoved: 3 })
    expect((await list(dead, 10)).map(({ Status }) => Status)).toEqual(['COMPLETED', 'CANCELLED'])
    expect(await list(dead)).toHaveLength(1)
  })

  it('leaves what becomes a dead letter after it has begun', async () => {
    const dead = await newQueue()
    const source = await sourceOf(dead)
    for (const text of ['1', '2']) await send(dead, text)
    await move(dead, { MaxNumberOfMessagesPerSecond: 10 })
    await send(dead, '3')
    expect(await ended(dead)).toMatchObject({ Status: 'COMPLETED', ApproximateNumberOfMessagesMoved: 2 })
    expect(await bodies(source)).toEqual(['1', '2'])
    expect(await bodies(dead)).toEqual(['3'])
  })

  it('fails, and says why, when the queue to move to is deleted meanwhile', async () => {
    const [dead, other] = [await newQueue(), await newQueue()]
    await sourceOf(dead)
    await send(dead, '1')
    await move(dead, { DestinationArn: other.arn, MaxNumberOfMessagesPerSecond: 5 })
    await aws.sqs.send(new DeleteQueueCommand({ QueueUrl: other.url }))
    expect(await ended(dead)).toMatchObject({
      Status: 'FAILED',
      FailureReason: 'AWS.SimpleQueueService.NonExistentQueue',
    })
    expect(await waiting(dead)).toBe(1)
  })

  it('is kept over a restart', async () => {
    const folder = newFolder()
    const first = await start(folder)
    const dead = await newQueue({}, first)
    const source = await sourceOf(dead, first)
    await send(source, 'hello', first)
    await kill(source, first)
    await move(dead, {}, first)
    await ended(dead, first)
    await first.stop()

    const second = await start(folder)
    expect(await bodies(source, second)).toEqual(['hello'])
    expect(await bodies(dead, second)).toEqual([])
    await second.stop()
  })

  const gone = `arn:aws:sqs:${region}:000000000000:gone`
  it.each([
    [
      'a source that is not there',
      { SourceArn: gone },
      'ResourceNotFoundException',
      /the SourceArn parameter/,
    ],
    [
      'a source that is no ARN',
      { SourceArn: 'dead' },
      'InvalidParameterValue',
      /this format to specify the SourceArn/,
    ],
    ['no source', { SourceArn: undefined }, 'MissingParameter', /SourceArn/],
    [
      'a destination that is not there',
      { DestinationArn: gone },
      'ResourceNotFoundException',
      /the DestinationArn parameter/,
    ],
    ['a rate of 0', { MaxNumberOfMessagesPerSecond: 0 }, 'InvalidParameterValue', /between 1 and 500/],
    ['a rate of 501', { MaxNumberOfMessagesPerSecond: 501 }, 'InvalidParameterValue', /between 1 and 500/],
  ])('is refused for %s', async (_, input, name, message) => {
    const dead = await newQueue()
    await sourceOf(dead)
    const refusal = { name, message: expect.stringMatching(message) }
    await expect(move(dead, input)).rejects.toMatchObject(refusal)
    expect(await list(dead)).toEqual([])
  })

  it('is refused in the JSON of SQS, with the name of the error in a header too', async () => {
    const response = await askSqs(aws.endpoint, 'StartMessageMoveTask', { SourceArn: gone })
    expect(response.status).toBe(404)
    expect(response.headers.get('content-type')).toBe('application/x-amz-json-1.0')
    expect(response.headers.get('x-amzn-query-error')).toBe('ResourceNotFoundException;Sender')
    expect(await response.json()).toMatchObject({ __type: 'ResourceNotFoundException' })
  })

  it('is refused for a queue without dead letters, to itself, and for FIFO queues by name', async () => {
    const dead = await newQueue()
    const source = await sourceOf(dead)
    await expect(move(source)).rejects.toMatchObject({
      name: 'InvalidParameterValue',
      message: 'Source queue must be configured as a Dead Letter Queue.',
    })
    await expect(move(dead, { DestinationArn: dead.arn })).rejects.toMatchObject({
      name: 'InvalidParameterValue',
      message: 'Source queue arn and destination queue arn cannot be the same.',
    })
    const fifo = await newFifoQueue()
    await expect(move(dead, { DestinationArn: fifo.arn })).rejects.toMatchObject({
      name: 'InvalidParameterValue',
      message: 'The source queue and destination queue must be of the same queue type.',
    })
    const RedrivePolicy = JSON.stringify({ deadLetterTargetArn: fifo.arn, maxReceiveCount: 1 })
    await newFifoQueue({ RedrivePolicy })
    await expect(move(fifo)).rejects.toMatchObject({
      name: 'UnsupportedOperation',
      message: expect.stringContaining('FIFO'),
    })
  })

  it.each([
    ['bm8gaGFuZGxl', 'InvalidParameterValue', 'Value for parameter TaskHandle is invalid.'],
    [{ taskId: '1', sourceArn: gone }, 'ResourceNotFoundException', /the SourceArn parameter/],
    [{ taskId: '1', sourceArn: '' }, 'ResourceNotFoundException', 'Task does not exist.'],
  ])('cannot be cancelled by the handle %j', async (handle, name, message) => {
    const dead = await newQueue()
    const TaskHandle =
      typeof handle === 'string'
        ? handle
        : Buffer.from(JSON.stringify({ ...handle, sourceArn: handle.sourceArn || dead.arn })).toString(
            'base64',
          )
    await expect(aws.sqs.send(new CancelMessageMoveTaskCommand({ TaskHandle }))).rejects.toMatchObject({
      name,
      message: expect.stringMatching(message),
    })
  })
})
