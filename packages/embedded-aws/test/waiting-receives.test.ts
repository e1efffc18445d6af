import {
  ChangeMessageVisibilityCommand,
  GetQueueAttributesCommand,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  SendMessageCommand,
} from '@aws-sdk/client-sqs'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { embeddedAws, type TestQueue } from './started.ts'

const { aws, bodies, newFolder, newQueue, receive, send, start } = embeddedAws()

/** A receive that waits, and has begun to when this resolves. */
async function waitAt(queue: TestQueue): Promise<{ received: Promise<(string | undefined)[]> }> {
  const received = aws.sqs
    .send(new ReceiveMessageCommand({ QueueUrl: queue.url, WaitTimeSeconds: 20 }))
    .then(({ Messages = [] }) => Messages.map(({ Body }) => Body))
  // In the same order as it sends them, the embedded AWS takes requests up.
  await aws.sqs.send(new ReceiveMessageCommand({ QueueUrl: queue.url }))
  return { received }
}

/** What it gets, if it gets that long before its time is over: a receive of less time, at an empty queue, is the clock. */
async function early(received: Promise<(string | undefined)[]>): Promise<(string | undefined)[] | 'late'> {
  const { url } = await newQueue()
  const ending = new AbortController()
  const clock = aws.sqs
    .send(new ReceiveMessageCommand({ QueueUrl: url, WaitTimeSeconds: 10 }), { abortSignal: ending.signal })
    .then(
      () => 'late' as const,
      () => 'late' as const,
    )
  return Promise.race([received, clock]).finally(() => ending.abort())
}

describe('a receive that waits', () => {
  it('gets what is sent meanwhile, at once or after a delay', async () => {
    const [soon, later] = [await newQueue(), await newQueue()]
    const [first, second] = [await waitAt(soon), await waitAt(later)]
    await send(soon, 'at once')
    await aws.sqs.send(
      new SendMessageCommand({ QueueUrl: later.url, MessageBody: 'delayed', DelaySeconds: 1 }),
    )
    expect(await early(first.received)).toEqual(['at once'])
    expect(await early(second.received)).toEqual(['delayed'])
  })

  it('gets what another has received and not deleted, when it is visible again', async () => {
    const [ended, changed] = [await newQueue(), await newQueue()]
    await Promise.all([send(ended, 'not deleted'), send(changed, 'given back')])
    await receive(ended, 1)
    const [{ ReceiptHandle } = {}] = await receive(changed, 600)
    const [first, second] = [await waitAt(ended), await waitAt(changed)]
    await aws.sqs.send(
      new ChangeMessageVisibilityCommand({ QueueUrl: changed.url, ReceiptHandle, VisibilityTimeout: 1 }),
    )
    expect(await Promise.all([early(first.received), early(second.received)])).toEqual([
      ['not deleted'],
      ['given back'],
    ])
  })

  it('gets what another has received while it waited', async () => {
    const queue = await newQueue({ VisibilityTimeout: '1' })
    await waitAt(queue)
    await send(queue, 'not deleted')
    const { received } = await waitAt(queue)
    expect(await early(received)).toEqual(['not deleted'])
  })

  it.each([
    ['one by one', 1],
    ['in one batch', 3],
  ])('gets one of the messages that come %s, as each other does that waits', async (_, size) => {
    const queue = await newQueue()
    const waiting = [await waitAt(queue), await waitAt(queue), await waitAt(queue)]
    const Entries = ['1', '2', '3'].map((Id) => ({ Id, MessageBody: Id }))
    for (let first = 0; first < Entries.length; first += size)
      await aws.sqs.send(
        new SendMessageBatchCommand({ QueueUrl: queue.url, Entries: Entries.slice(first, first + size) }),
      )
    const received = await Promise.all(waiting.map((one) => one.received))
    expect(received.toSorted()).toEqual([['1'], ['2'], ['3']])
  })

  it('goes on when another gets the message, and gets it when that one has not deleted it', async () => {
    const queue = await newQueue({ VisibilityTimeout: '1' })
    const [first, second] = [await waitAt(queue), await waitAt(queue)]
    await send(queue, 'not deleted')
    expect(await early(first.received)).toEqual(['not deleted'])
    expect(await early(second.received)).toEqual(['not deleted'])
  })

  it('has the queue looked at only when something is due', async () => {
    const queue = await newQueue()
    const interval = vi.spyOn(globalThis, 'setInterval')
    onTestFinished(() => interval.mockRestore())
    const { received } = await waitAt(queue)
    expect(interval).not.toHaveBeenCalled()
    await send(queue, 'the end')
    expect(await received).toEqual(['the end'])
  })
})

it('a count has what became visible, though nothing is received meanwhile', async () => {
  const { url: QueueUrl } = await newQueue()
  const sent = { QueueUrl, MessageBody: 'x' }
  await aws.sqs.send(new SendMessageCommand(sent))
  await aws.sqs.send(new ReceiveMessageCommand({ QueueUrl, VisibilityTimeout: 1 }))
  await aws.sqs.send(new SendMessageCommand({ ...sent, DelaySeconds: 1 }))
  const counts = async () => {
    const command = new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['All'] })
    const { Attributes } = await aws.sqs.send(command)
    const states = ['', 'NotVisible', 'Delayed'] as const
    return states.map((state) => Attributes?.[`ApproximateNumberOfMessages${state}`])
  }
  expect(await counts()).toEqual(['0', '1', '1'])
  await expect.poll(counts).toEqual(['2', '0', '0'])
})

it('what is hidden at a stop is shown in time, though the wall clock was set back by two days until the start', async () => {
  const folder = newFolder()
  const truth = Date.now
  const ahead = vi.spyOn(Date, 'now').mockImplementation(() => truth() + 2 * 86_400_000)
  onTestFinished(() => ahead.mockRestore())
  const running = await start(folder)
  const queue = await newQueue({}, running)
  for (const [body, seconds] of [
    ['long', 600],
    ['short', 1],
  ] as const) {
    await send(queue, body, running)
    await receive(queue, seconds, running)
  }
  const delayed = { QueueUrl: queue.url, MessageBody: 'delayed', DelaySeconds: 1 }
  await running.sqs.send(new SendMessageCommand(delayed))
  await running.stop()
  ahead.mockRestore()
  // A second start finds the times as the first has left them.
  await (await start(folder)).stop()
  const again = await start(folder)
  onTestFinished(() => again.stop())
  const found: string[] = []
  const look = async () => {
    found.push(...(await bodies(queue, again)))
    return found.toSorted()
  }
  await expect.poll(look, { timeout: 5_000 }).toEqual(['delayed', 'short'])
})
