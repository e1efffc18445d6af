import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  ChangeMessageVisibilityCommand,
  CreateQueueCommand,
  GetQueueAttributesCommand,
  QueueDoesNotExist,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  SendMessageCommand,
  SQSClient,
} from '@aws-sdk/client-sqs'
import type { SQSEvent } from 'aws-lambda'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { type EmbeddedAws, startEmbeddedAws } from '../../packages/embedded-aws/index.ts'
import { type EventSourceMapping, failedMessages } from '../../worker/invocation.ts'
import { type BatchHandler, type Poller, startPoller } from '../../worker/poller.ts'

describe('a batch response', () => {
  const ids = ['a', 'b', 'c']
  it.each<[string, unknown]>([
    ['nothing', undefined],
    ['null', null],
    ['an empty object', {}],
    ['a list that is null', { batchItemFailures: null }],
    ['an empty list', { batchItemFailures: [] }],
  ])('of %s means that every message succeeded', (_name, response) => {
    expect(failedMessages(response, ids)).toEqual(new Set())
  })
  it.each<[string, unknown]>([
    ['an unknown identifier', { batchItemFailures: [{ itemIdentifier: 'a' }, { itemIdentifier: 'x' }] }],
    ['an empty identifier', { batchItemFailures: [{ itemIdentifier: '' }] }],
    ['an identifier that is null', { batchItemFailures: [{ itemIdentifier: null }] }],
    ['an identifier under another name', { batchItemFailures: [{ messageId: 'a' }] }],
    ['a failure that is null', { batchItemFailures: [null] }],
    ['failures that are no list', { batchItemFailures: 'a' }],
    ['something else than an object', 'OK'],
  ])('with %s means that every message failed', (_name, response) => {
    expect(failedMessages(response, ids)).toEqual(new Set(ids))
  })
  it('names exactly the messages that failed', () => {
    const response = { batchItemFailures: [{ itemIdentifier: 'b' }, { itemIdentifier: 'b' }] }
    expect(failedMessages(response, ids)).toEqual(new Set(['b']))
  })
})

/** Polls a queue that is no more than a function, and notes what the poller says. */
function pollFake(
  send: (command: { input: { Entries?: object[] } }, how?: { abortSignal?: AbortSignal }) => Promise<unknown>,
  handler: BatchHandler = async () => null,
  options: Partial<EventSourceMapping> = {},
): { poller: Poller; said: string[] } {
  const said: string[] = []
  const mapping: EventSourceMapping = {
    ...{ queueUrl: 'q', queueArn: 'q', functionName: 'f', functionTimeoutMs: 60_000 },
    ...{ batchSize: 10, maximumBatchingWindowInSeconds: 0, maximumConcurrency: 1, functionResponseTypes: [] },
    ...options,
  }
  const sqs = { middlewareStack: { add: () => {} }, send } as unknown as SQSClient
  return { poller: startPoller(sqs, mapping, handler, (message) => void said.push(message)), said }
}

describe('the poller', () => {
  let aws: EmbeddedAws
  let sqs: SQSClient
  const folder = mkdtempSync(join(tmpdir(), 'image-analyzer-poller-'))
  beforeAll(async () => {
    aws = await startEmbeddedAws({
      port: 0,
      region: 'us-east-1',
      folder,
      onDropped: () => {},
    })
    const credentials = { accessKeyId: 'test', secretAccessKey: 'test' }
    const target = { endpoint: aws.endpoint, region: 'us-east-1', credentials }
    sqs = new SQSClient({ ...target, useQueueUrlAsEndpoint: false })
  })
  afterAll(async () => {
    sqs.destroy()
    await aws.stop()
    rmSync(folder, { recursive: true })
  })

  async function feed(
    bodies: string[],
    handler: BatchHandler,
    options: Partial<EventSourceMapping> & { visibilitySeconds?: number; maxReceiveCount?: number } = {},
  ) {
    const name = `q${crypto.randomUUID()}`
    const dead = await sqs.send(new CreateQueueCommand({ QueueName: `${name}-dead` }))
    const { QueueUrl = '' } = await sqs.send(
      new CreateQueueCommand({
        QueueName: name,
        Attributes: {
          VisibilityTimeout: String(options.visibilitySeconds ?? 1),
          RedrivePolicy: JSON.stringify({
            deadLetterTargetArn: `arn:aws:sqs:us-east-1:000000000000:${name}-dead`,
            maxReceiveCount: options.maxReceiveCount ?? 2,
          }),
        },
      }),
    )
    for (let from = 0; from < bodies.length; from += 10) {
      const Entries = bodies
        .slice(from, from + 10)
        .map((MessageBody, Id) => ({ Id: String(Id), MessageBody }))
      await sqs.send(new SendMessageBatchCommand({ QueueUrl, Entries }))
    }
    const batches: SQSEvent['Records'][] = []
    const errors: string[] = []
    const poller = startPoller(
      sqs,
      {
        queueUrl: QueueUrl,
        queueArn: `arn:aws:sqs:us-east-1:000000000000:${name}`,
        batchSize: 10,
        maximumBatchingWindowInSeconds: 0,
        maximumConcurrency: 1,
        functionName: 'worker',
        functionTimeoutMs: 5_000,
        functionResponseTypes: ['ReportBatchItemFailures'],
        ...options,
      },
      (event, ...rest) => {
        batches.push(event.Records)
        return handler(event, ...rest)
      },
      (message) => errors.push(message),
    )
    const left = async (url: string | undefined) => {
      const { Attributes } = await sqs.send(
        new GetQueueAttributesCommand({
          QueueUrl: url,
          AttributeNames: ['ApproximateNumberOfMessages', 'ApproximateNumberOfMessagesNotVisible'],
        }),
      )
      return Object.values(Attributes ?? {}).reduce((sum, number) => sum + Number(number), 0)
    }
    return {
      poller,
      queueUrl: QueueUrl,
      batches,
      errors,
      bodies: () => batches.map((records) => records.map((record) => record.body).sort()),
      empty: () => expect.poll(() => left(QueueUrl)).toBe(0),
      dead: () => left(dead.QueueUrl),
    }
  }

  it('deletes what was not reported, delivers the rest again, and gives it up after its last receive', async () => {
    const fed = await feed(['good', 'bad'], async (event) => ({
      batchItemFailures: event.Records.filter((record) => record.body === 'bad').map((record) => ({
        itemIdentifier: record.messageId,
      })),
    }))
    await fed.empty()
    await fed.poller.stop(1_000)
    expect(fed.bodies()).toEqual([['bad', 'good'], ['bad']])
    expect(fed.batches[1]?.[0]?.attributes.ApproximateReceiveCount).toBe('2')
    expect(await fed.dead()).toBe(1)
  })
  it('says what SQS has not deleted of a batch, which is delivered again', async () => {
    let refused = 0
    const name = 'refuses'
    sqs.middlewareStack.add(
      (next, { commandName }) =>
        async (args) => {
          if (commandName !== 'DeleteMessageBatchCommand' || refused > 0) return next(args)
          refused += 1
          const input = args.input as { Entries: { Id: string }[] }
          const [first, ...Entries] = input.Entries
          const result = await next({ ...args, input: { ...input, Entries } as typeof args.input })
          const failure = { Id: first?.Id, Code: 'InternalError', Message: 'Not now.', SenderFault: false }
          return { ...result, output: { ...result.output, Failed: [failure] } }
        },
      { step: 'initialize', name },
    )
    const fed = await feed(['a', 'b'], async () => {}, { maxReceiveCount: 5 })
    await fed.empty()
    await fed.poller.stop(1_000)
    sqs.middlewareStack.remove(name)
    expect(fed.batches.flat()).toHaveLength(3)
    expect(fed.errors).toEqual(['messages are done and could not be deleted: 1'])
  })
  it('delivers a whole batch again when the function throws', async () => {
    const fed = await feed(['a', 'b'], async () => {
      throw new Error('no')
    })
    await fed.empty()
    await fed.poller.stop(1_000)
    // The two may become visible again a moment apart, and come back in one batch or in two.
    expect(fed.bodies()[0]).toEqual(['a', 'b'])
    expect(fed.bodies().flat().sort()).toEqual(['a', 'a', 'b', 'b'])
    expect(await fed.dead()).toBe(2)
    expect(fed.errors).toHaveLength(fed.batches.length)
  })
  it('delivers a whole batch again when the function does not answer in time', async () => {
    const fed = await feed(['a'], () => new Promise(() => {}), { functionTimeoutMs: 200, maxReceiveCount: 1 })
    await fed.empty()
    await fed.poller.stop(1_000)
    expect(await fed.dead()).toBe(1)
  })
  it('does not look at the response unless ReportBatchItemFailures is on', async () => {
    const all: BatchHandler = async (event) => ({
      batchItemFailures: event.Records.map((record) => ({ itemIdentifier: record.messageId })),
    })
    const fed = await feed(['a'], all, { functionResponseTypes: [] })
    await fed.empty()
    await fed.poller.stop(1_000)
    expect(await fed.dead()).toBe(0)
  })
  it.each([
    [
      'SendMessage',
      (MessageBody: string) => (QueueUrl: string) =>
        sqs.send(new SendMessageCommand({ QueueUrl, MessageBody })),
    ],
    [
      'SendMessageBatch',
      (MessageBody: string) => (QueueUrl: string) =>
        sqs.send(new SendMessageBatchCommand({ QueueUrl, Entries: [{ Id: '0', MessageBody }] })),
    ],
  ])('ends a chain of messages that are sent again by %s, as Lambda does', async (_name, again) => {
    let queueUrl = ''
    let handled = 0
    const fed = await feed(
      ['x'],
      async (event) => {
        handled += 1
        // A chain that nothing ends.
        if (handled > 20) return null
        for (const { body } of event.Records) await again(body)(queueUrl)
        return null
      },
      { maxReceiveCount: 1 },
    )
    queueUrl = fed.queueUrl
    await expect.poll(async () => handled > 20 || (await fed.dead()) === 1).toBe(true)
    await fed.poller.stop(1_000)
    expect(fed.bodies()).toEqual(Array.from({ length: 16 }, () => ['x']))
    expect(fed.errors).toEqual([expect.stringContaining('in one chain of messages')])
  })
  it('delivers one message as often as it takes', async () => {
    let queueUrl = ''
    const fed = await feed(
      ['x'],
      async (event) => {
        const [record] = event.Records
        if (record === undefined || Number(record.attributes.ApproximateReceiveCount) > 20) return null
        const { receiptHandle: ReceiptHandle, messageId: itemIdentifier } = record
        await sqs.send(
          new ChangeMessageVisibilityCommand({ QueueUrl: queueUrl, ReceiptHandle, VisibilityTimeout: 0 }),
        )
        return { batchItemFailures: [{ itemIdentifier }] }
      },
      { maxReceiveCount: 1_000, visibilitySeconds: 30 },
    )
    queueUrl = fed.queueUrl
    await fed.empty()
    await fed.poller.stop(1_000)
    expect(fed.batches).toHaveLength(21)
    expect(fed.errors).toEqual([])
  })
  it('waits its window for a full batch', async () => {
    const bodies = Array.from({ length: 25 }, (_, index) => `${index}`)
    const fed = await feed(bodies, async () => null, {
      batchSize: 25,
      maximumBatchingWindowInSeconds: 2,
      visibilitySeconds: 30,
    })
    await fed.empty()
    await fed.poller.stop(1_000)
    expect(fed.batches.map((records) => records.length)).toEqual([25])
  })
  it('says to the handler which function of the account it is', async () => {
    const seen: object[] = []
    const fed = await feed(
      ['a'],
      async (_, { functionName, invokedFunctionArn, logGroupName }) => {
        seen.push({ functionName, invokedFunctionArn, logGroupName })
        return { batchItemFailures: [] }
      },
      { functionName: 'resize' },
    )
    await fed.empty()
    expect(seen).toEqual([
      {
        functionName: 'resize',
        invokedFunctionArn: 'arn:aws:lambda:us-east-1:000000000000:function:resize',
        logGroupName: '/aws/lambda/resize',
      },
    ])
    await fed.poller.stop(0)
  })

  it('never gives more than the batch size', async () => {
    const bodies = Array.from({ length: 7 }, (_, index) => `${index}`)
    const fed = await feed(bodies, async () => null, { batchSize: 3 })
    await fed.empty()
    await fed.poller.stop(1_000)
    expect(fed.batches.map((records) => records.length)).toEqual([3, 3, 1])
  })

  it('asks less and less often for a queue that is out of reach, and ends all the same', async () => {
    vi.useFakeTimers()
    try {
      let asked = 0
      const { poller, said } = pollFake(async () => {
        asked += 1
        if (asked > 1) throw new Error('connect ECONNREFUSED')
        throw new QueueDoesNotExist({ message: 'It does not exist.', $metadata: {} })
      })
      // After 1, 3, 7, 15, 31 and 61 seconds, and then every 30.
      await vi.advanceTimersByTimeAsync(122_000)
      expect(asked).toBe(9)
      expect(said).toEqual([
        'the queue of the jobs is gone: terraform apply, or a new npm start, makes what is missing',
        ...Array(8).fill('the queue cannot be polled'),
      ])
      const drained = poller.drain(20_000)
      await vi.advanceTimersByTimeAsync(1_000)
      await drained
      expect(asked).toBe(9)
    } finally {
      vi.useRealTimers()
    }
  })

  it('asks once a second where receives are not held open', async () => {
    vi.useFakeTimers()
    try {
      let asked = 0
      const { poller } = pollFake(async () => {
        asked += 1
        // A loop without a pause would keep the test from its end.
        if (asked > 100) throw new Error('asked too often')
        return {}
      })
      await vi.advanceTimersByTimeAsync(9_500)
      expect(asked).toBe(10)
      const drained = poller.drain(0)
      await vi.advanceTimersByTimeAsync(1_000)
      await drained
      expect(asked).toBe(10)
    } finally {
      vi.useRealTimers()
    }
  })

  it('leaves a handler two seconds to give back what it is at', async () => {
    vi.useFakeTimers()
    try {
      const messages = [{ MessageId: '0', Body: '' }]
      const { poller, said: did } = pollFake(
        async ({ input }, { abortSignal } = {}) => {
          if (input.Entries !== undefined) return did.push('deleted')
          const Messages = messages.splice(0)
          if (Messages.length === 0 && abortSignal !== undefined) {
            await once(abortSignal, 'abort')
            throw abortSignal.reason
          }
          return { Messages }
        },
        async (_event, _context, ending) => {
          await once(ending, 'abort')
          did.push('asked')
          await new Promise((resolve) => setTimeout(resolve, 1_900))
          did.push('given back')
          return null
        },
      )
      await vi.advanceTimersByTimeAsync(1)
      const stopped = poller.stop(4_000).then(() => did.push('stopped'))
      await vi.advanceTimersByTimeAsync(1_990)
      expect(did).toEqual([])
      await vi.advanceTimersByTimeAsync(20)
      expect(did).toEqual(['asked'])
      await vi.advanceTimersByTimeAsync(2_000)
      await stopped
      expect(did).toEqual(['asked', 'given back', 'deleted', 'stopped'])
    } finally {
      vi.useRealTimers()
    }
  })

  it('handles what has come where the next receive of a batch fails, and deletes the rest where a deletion fails', async () => {
    const coming = [10, 2]
    const deleted: number[] = []
    let received = 0
    const handled: number[] = []
    const { poller, said } = pollFake(
      async ({ input }) => {
        if (input.Entries !== undefined) {
          deleted.push(input.Entries.length)
          if (input.Entries.length === 10) throw new Error('away')
          return {}
        }
        const count = coming.shift()
        if (count === undefined) throw new Error('away')
        const Messages = Array.from({ length: count }, () => ({ MessageId: String(received++), Body: '' }))
        return { Messages }
      },
      async ({ Records }) => void handled.push(Records.length),
      { batchSize: 20, maximumBatchingWindowInSeconds: 5 },
    )
    await expect.poll(() => said.at(-1)).toBe('the queue cannot be polled')
    await poller.drain(1_000)
    expect({ handled, deleted }).toEqual({ handled: [12], deleted: [10, 2] })
    expect(said).toContain('messages are done and could not be deleted')
  })

  it('that drains gives back at once what a receive still brings, and asks handlers for an end', async () => {
    const ended: boolean[] = []
    const fed = await feed(
      ['first'],
      (_event, _context, ending) =>
        once(ending, 'abort').then(() => {
          ended.push(ending.aborted)
          return null
        }),
      // Two loops: one has the first message, the other waits for a second one.
      { visibilitySeconds: 300, maximumConcurrency: 2 },
    )
    await expect.poll(() => fed.bodies()).toEqual([['first']])
    const drained = fed.poller.drain(500)
    await sqs.send(new SendMessageCommand({ QueueUrl: fed.queueUrl, MessageBody: 'second' }))
    await drained
    expect(ended).toEqual([true])
    expect(fed.bodies()).toEqual([['first']])
    const { Messages = [] } = await sqs.send(new ReceiveMessageCommand({ QueueUrl: fed.queueUrl }))
    expect(Messages.map(({ Body }) => Body)).toEqual(['second'])
  })
})
