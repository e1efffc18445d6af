import { ReceiveMessageCommand } from '@aws-sdk/client-sqs'
import { describe, expect, it } from 'vitest'
import { awsCli, noCli } from '../../../test/aws-cli.ts'
import { skipped } from '../../../test/tools.ts'
import type { EventSourceMapping } from '../../../worker/invocation.ts'
import { startPoller } from '../../../worker/poller.ts'
import { embeddedAws, type Running, region, signed, type TestQueue } from './started.ts'

const { aws, newFolder, newQueue, receive, send, start, waiting } = embeddedAws()

const mappingOf = (queue: TestQueue): EventSourceMapping => ({
  queueUrl: queue.url,
  queueArn: queue.arn,
  batchSize: 10,
  maximumBatchingWindowInSeconds: 0,
  maximumConcurrency: 2,
  functionName: 'resize',
  functionTimeoutMs: 5_000,
  functionResponseTypes: ['ReportBatchItemFailures'],
})

/** A queue whose messages a handler takes, by a mapping that Lambda knows. */
async function mapped(on: Running = aws, queue?: TestQueue) {
  const of = queue ?? (await newQueue({}, on))
  const mapping = mappingOf(of)
  const handled: string[] = []
  /** What the handler waits for before it ends. */
  const held = { until: Promise.resolve() }
  const enabled = on.mapEventSource(mapping, (wanted) => poller.enable(wanted))
  const onError = (message: string) => handled.push(message)
  const poller: ReturnType<typeof startPoller> = startPoller(
    on.sqs,
    mapping,
    async ({ Records }) => {
      handled.push(...Records.map(({ body }) => body))
      await held.until
      return null
    },
    onError,
    enabled,
  )
  const { EventSourceMappings } = await call(`?EventSourceArn=${encodeURIComponent(of.arn)}`, {}, on)
  const uuid: string = EventSourceMappings[0].UUID
  const state = async (): Promise<string> => (await call(uuid, {}, on)).State
  const set = (Enabled: boolean) => call(uuid, { method: 'PUT', body: JSON.stringify({ Enabled }) }, on)
  return { queue: of, uuid, handled, held, poller, state, set }
}

async function call(path: string, init: RequestInit = {}, on: Running = aws) {
  const response = await fetch(`${on.endpoint}/2015-03-31/event-source-mappings/${path}`, {
    ...init,
    headers: { ...signed('lambda'), ...init.headers },
  })
  return {
    status: response.status,
    error: response.headers.get('x-amzn-errortype'),
    ...(await response.json()),
  }
}

describe('an event source mapping', () => {
  it('is paused, so that messages wait, and resumed, so that they are handled', async () => {
    const { queue, handled, poller, state, set } = await mapped()
    await send(queue, 'before')
    await expect.poll(() => handled).toEqual(['before'])
    expect(await set(false)).toMatchObject({ State: 'Disabling', EventSourceArn: queue.arn })
    await expect.poll(state).toBe('Disabled')
    await send(queue, 'during')
    // Also a receive of before, which the emulator had waiting, takes none.
    expect(await waiting(queue)).toBe(1)
    expect(handled).toEqual(['before'])
    expect(await set(true)).toMatchObject({ State: 'Enabling' })
    await expect.poll(() => handled).toEqual(['before', 'during'])
    expect(await state()).toBe('Enabled')
    await poller.stop(1_000)
  })

  it('is listed by its queue and by its function', async () => {
    const { uuid, poller } = await mapped()
    const listed = async (query: string): Promise<string[]> =>
      (await call(`?${query}`)).EventSourceMappings.map(({ UUID }: { UUID: string }) => UUID)
    expect(await listed('FunctionName=resize')).toContain(uuid)
    expect(await listed('FunctionName=other')).toEqual([])
    expect(await listed('EventSourceArn=other')).toEqual([])
    await poller.stop(1_000)
  })

  it('is disabled when what it had taken is settled, and not changed before that', async () => {
    const { queue, handled, held, poller, state, set } = await mapped()
    const { promise, resolve } = Promise.withResolvers<void>()
    held.until = promise
    await send(queue, 'slow')
    await expect.poll(() => handled).toEqual(['slow'])
    await set(false)
    const refused = { status: 400, error: 'ResourceInUseException', Message: expect.any(String) }
    expect(await set(true)).toMatchObject(refused)
    expect(await state()).toBe('Disabling')
    resolve()
    await expect.poll(state).toBe('Disabled')
    await poller.stop(1_000)
  })

  it('is still paused after a restart, under the same id', async () => {
    const folder = newFolder()
    const first = await start(folder)
    const before = await mapped(first)
    await before.set(false)
    await expect.poll(before.state).toBe('Disabled')
    await send(before.queue, 'hello', first)
    await first.stop()
    const second = await start(folder)
    const after = await mapped(second, {
      ...before.queue,
      url: before.queue.url.replace(first.endpoint, second.endpoint),
    })
    expect(after.uuid).toBe(before.uuid)
    expect(await after.state()).toBe('Disabled')
    // The poller's own receives would have been there before.
    expect(await receive(after.queue, 0, second)).toHaveLength(1)
    await after.set(true)
    await expect.poll(() => after.handled).toEqual(['hello'])
    await after.poller.stop(1_000)
    await second.stop()
  })

  it.each([
    ['an id that is not there', 'none', {}, 404, 'ResourceNotFoundException'],
    [
      'a setting that is not supported',
      '',
      { method: 'PUT', body: '{"BatchSize":5}' },
      400,
      'InvalidParameterValueException',
    ],
    [
      'another type than a boolean',
      '',
      { method: 'PUT', body: '{"Enabled":"no"}' },
      400,
      'InvalidParameterValueException',
    ],
    ['an operation that is not supported', '', { method: 'DELETE' }, 404, 'UnknownOperationException'],
    ['a web page', '', { headers: { origin: 'http://localhost:1' } }, 403, 'AccessDeniedException'],
  ] as const)('refuses %s', async (_, id, init, status, error) => {
    const { uuid, poller, state } = await mapped()
    // Where the SDK for Go looks for it: the API's model has both.
    const member = error.startsWith('Resource') ? 'Message' : 'message'
    expect(await call(id || uuid, init)).toMatchObject({ status, error, [member]: expect.any(String) })
    expect(await state()).toBe('Enabled')
    await poller.stop(1_000)
  })

  describe.skipIf(noCli.length > 0)(`by the AWS CLI${skipped(noCli)}`, () => {
    const run = awsCli()
    const cli = async (...args: string[]) =>
      JSON.parse(await run('--endpoint-url', aws.endpoint, 'lambda', ...args))

    it('is listed, paused and resumed, and its errors have their names', async () => {
      const { queue, uuid, poller, state } = await mapped()
      const name = `arn:aws:lambda:${region}:000000000000:function:resize`
      const listed = await cli(
        ...['list-event-source-mappings', '--function-name', 'resize'],
        ...['--event-source-arn', queue.arn],
      )
      expect(listed.EventSourceMappings).toMatchObject([
        { UUID: uuid, FunctionArn: name, BatchSize: 10, State: 'Enabled' },
      ])
      const ofUuid = ['--uuid', uuid]
      expect(await cli('update-event-source-mapping', ...ofUuid, '--no-enabled')).toMatchObject({
        State: 'Disabling',
      })
      await expect.poll(state).toBe('Disabled')
      expect(await cli('update-event-source-mapping', ...ofUuid, '--enabled')).toMatchObject({
        State: 'Enabling',
      })
      await expect(cli('get-event-source-mapping', '--uuid', 'none')).rejects.toThrow(
        /\(ResourceNotFoundException\).*The resource you requested does not exist/,
      )
      await poller.stop(1_000)
    })
  })
})

it('a message is not taken by a receive whose caller has gone', async () => {
  const queue = await newQueue()
  const gone = new AbortController()
  const receiving = aws.sqs.send(new ReceiveMessageCommand({ QueueUrl: queue.url, WaitTimeSeconds: 20 }), {
    abortSignal: gone.signal,
  })
  // It has come to the queue when a later request is answered.
  await waiting(queue)
  gone.abort()
  await expect(receiving).rejects.toThrow('aborted')
  await waiting(queue)
  await send(queue, 'hello')
  expect(await waiting(queue)).toBe(1)
})

it.each(['//', '//[', '//a:b', '/%'])(
  'the path %s is none of Lambda’s, and ends no process',
  async (path) => {
    const signal = AbortSignal.timeout(2_000)
    const answered = await fetch(`${aws.endpoint}${path}`, { headers: signed('lambda'), signal }).then(
      ({ status }) => status,
      ({ name }) => name,
    )
    expect(answered).toBe(404)
  },
)
