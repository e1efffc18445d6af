import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DynamoDBClient, ListTablesCommand } from '@aws-sdk/client-dynamodb'
import { ListApiDestinationsCommand, ListRulesCommand } from '@aws-sdk/client-eventbridge'
import { GetQueueUrlCommand, ListQueuesCommand, ReceiveMessageCommand } from '@aws-sdk/client-sqs'
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import * as z from 'zod'
import type { ImageEvent } from '../../examples/subscribers/event.ts'
import { buildHandler } from '../../examples/subscribers/lambda.ts'
import { type Subscriber, startSubscribers } from '../../examples/subscribers/local.ts'
import { startWebhook } from '../../examples/subscribers/webhook.ts'
import { imageIdSchema } from '../../shared/image.ts'
import { type EventDetail, eventDetail, putEvents } from '../../shared/messages.ts'
import { outcome } from '../commands.ts'
import { startTestSystem, type TestSystem, until } from '../context.ts'

const root = join(import.meta.dirname, '../..')
const photo = readFileSync(join(root, 'test/fixtures/grace-hopper.jpg'))
const region = 'us-east-1'
const credentials = { accessKeyId: 'test', secretAccessKey: 'test' }
const published = z.fromJSONSchema(JSON.parse(readFileSync(join(root, 'shared/event.schema.json'), 'utf8')))

let system: TestSystem
beforeAll(async () => {
  system = await startTestSystem()
})
afterAll(() => system.stop())

let events = 0
/** The event of an image that was never sent: the stand-in sees no dogs. */
const madeUp = (labels: string[]): EventDetail => {
  const imageId = imageIdSchema.parse(`0199c0de-0000-7000-8000-${String(++events).padStart(12, '0')}`)
  const at = '2026-11-22T00:00:01.000Z'
  return eventDetail({
    ...{
      imageId,
      owner: 'anonymous',
      status: 'completed',
      attempts: 1,
      epoch: 1,
      submittedAt: Date.parse(at),
    },
    ...{ createdAt: at, updatedAt: at, completedAt: at, analyses: ['labels'] },
    original: { bucket: 'b', key: 'o', contentType: 'image/jpeg', bytes: 1, sha256: '0'.repeat(64) },
    thumbnail: { bucket: 'b', key: 't', contentType: 'image/jpeg', bytes: 1, width: 128, height: 128 },
    ...{
      rekognitionLabels: labels.map((Name) => ({ Name, Confidence: 99 })),
      labels,
      labelModelVersion: '3.0',
    },
  })
}
const tell = async (...details: EventDetail[]): Promise<void> => {
  expect(
    await putEvents(
      system.worker,
      details.map((detail) => ({ detail })),
    ),
  ).toEqual(details.map(() => undefined))
}

/** The three of them, and what each has reacted to. */
async function subscribe(
  labels: string[],
  react: (subscriber: Subscriber, event: ImageEvent) => void = () => {},
) {
  const heard: Record<Subscriber, ImageEvent[]> = { lambda: [], queue: [], webhook: [] }
  const errors: string[] = []
  const { stop } = await startSubscribers({
    ...{ endpoint: system.endpoint, region, credentials, eventBus: system.names.eventBus, labels },
    react: async (subscriber, event) => {
      react(subscriber, event)
      heard[subscriber].push(event)
    },
    onError: (subscriber, error) => errors.push(`${subscriber} ${error}`),
    retrySeconds: 1,
  })
  const ids = (subscriber: Subscriber) => heard[subscriber].map(({ detail }) => detail.eventId).sort()
  return { heard, ids, errors, stop }
}

describe('the subscribers, at the embedded AWS', () => {
  it('hear of real images as the published schema has it: each of its own, once, however often it comes', async () => {
    const { heard, ids, errors, stop } = await subscribe(['Dog', 'High Contrast'])
    try {
      const [good, bad] = [
        await system.submit(photo),
        await system.submit(Buffer.from('\xff\xd8\xffno', 'latin1')),
      ]
      await system.work()
      const real = await until('the real events', async () =>
        heard.queue.length === 2 && heard.webhook.length === 2 ? heard.queue : undefined,
      )
      const dog = madeUp(['Dog', 'Person'])
      const cat = madeUp(['Cat'])
      // A repetition has another envelope, and the same eventId.
      await tell(...real.map(({ detail }) => detail), dog, cat, dog)
      // When this has arrived everywhere, all before it has been taken up.
      const last = madeUp(['Dog'])
      await until('the last dog', async () => {
        await tell(last)
        return Object.values(heard).every((some) =>
          some.some(({ detail }) => detail.eventId === last.eventId),
        )
          ? true
          : undefined
      })

      const withLabels = [`${good}:1:completed`, dog.eventId, last.eventId].sort()
      const all = [...withLabels, `${bad}:1:failed`, cat.eventId].sort()
      await until('all of them', async () => (ids('queue').length >= all.length ? true : undefined))
      expect({ lambda: ids('lambda'), queue: ids('queue'), webhook: ids('webhook') }).toEqual({
        lambda: withLabels,
        queue: all,
        webhook: all,
      })
      for (const { detail } of Object.values(heard).flat()) expect(published.parse(detail)).toEqual(detail)
      expect(published.safeParse({ ...dog, eventId: undefined }).success).toBe(false)
      expect(errors.filter((error) => !/in hand/.test(error))).toEqual([])
    } finally {
      await stop()
    }
  })

  it('are told again of what they failed at: the function twice more, and then its event is a dead letter', async () => {
    const [never, once] = [madeUp(['Dog']), madeUp(['Dog'])]
    const tries: string[] = []
    const { ids, stop } = await subscribe(['Dog'], (subscriber, { detail }) => {
      tries.push(`${subscriber} ${detail.eventId}`)
      const fails = subscriber === 'lambda' && detail.eventId === never.eventId
      if (fails || (subscriber === 'queue' && tries.filter((one) => one === tries.at(-1)).length === 1))
        throw new Error('not now')
    })
    try {
      await tell(never, once)
      const { QueueUrl } = await system.worker.sqs.send(
        new GetQueueUrlCommand({ QueueName: 'image-analyzer-example-dead' }),
      )
      const letter = await until('the dead letter', async () => {
        const received = await system.worker.sqs.send(new ReceiveMessageCommand({ QueueUrl }))
        return received.Messages?.[0]
      })
      expect(JSON.parse(letter.Body ?? '')).toMatchObject({ detail: { eventId: never.eventId } })
      expect(tries.filter((one) => one === `lambda ${never.eventId}`)).toHaveLength(3)
      expect(ids('lambda')).toEqual([once.eventId])
      expect(ids('queue')).toEqual([never.eventId, once.eventId].sort())
    } finally {
      await stop()
    }
  })

  it('leave nothing on this machine where the emulator has ended first', async () => {
    const ended = await startTestSystem()
    const folder = mkdtempSync(join(tmpdir(), 'subscribers-'))
    vi.stubEnv('TMPDIR', folder)
    onTestFinished(() => {
      vi.unstubAllEnvs()
      rmSync(folder, { recursive: true })
    })
    const { stop } = await startSubscribers({
      ...{ endpoint: ended.endpoint, region, credentials, eventBus: ended.names.eventBus, labels: ['Dog'] },
      react: async () => {},
      onError: () => {},
    })
    await ended.stop()
    await expect(stop()).rejects.toThrow(/ECONNREFUSED/)
    expect(readdirSync(folder)).toEqual([])
  })

  it('start by one command, print what arrives, and at Ctrl-C remove what they have created', async () => {
    const { AWS_PROFILE: _, ...env } = process.env
    const child = spawn(
      process.execPath,
      ['--disable-warning=ExperimentalWarning', 'examples/subscribers/local.ts', 'Dog', 'Sharp'],
      {
        cwd: root,
        env: {
          ...env,
          AWS_ENDPOINT_URL: system.endpoint,
          EVENT_BUS_NAME: system.names.eventBus,
          // As in a profile for AWS, which alone has such endpoints.
          AWS_USE_DUALSTACK_ENDPOINT: 'true',
          NO_COLOR: '1',
        },
      },
    )
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (text) => {
        output += text
      })
    const says = (what: RegExp) => until(String(what), async () => (what.test(output) ? true : undefined))
    const left = async (): Promise<string[]> => {
      const { eventBridge, sqs } = system.worker
      const dynamoDb = new DynamoDBClient({ endpoint: system.endpoint, region, credentials })
      const [rules, destinations, queues, tables] = [
        await eventBridge.send(new ListRulesCommand({ EventBusName: system.names.eventBus })),
        await eventBridge.send(new ListApiDestinationsCommand({})),
        await sqs.send(new ListQueuesCommand({})),
        await dynamoDb.send(new ListTablesCommand({})),
      ]
      const named = [...(rules.Rules ?? []), ...(destinations.ApiDestinations ?? [])].map(({ Name }) => Name)
      return [...named, ...(queues.QueueUrls ?? []), ...(tables.TableNames ?? [])].filter(
        (name): name is string => /example/.test(name ?? ''),
      )
    }
    try {
      await says(/lambda +waits for images with: Dog, Sharp[\s\S]+Ready/)
      expect(await left()).toHaveLength(8)
      const dog = madeUp(['Dog'])
      await tell(dog)
      for (const subscriber of ['lambda', 'queue', 'webhook'])
        await says(new RegExp(`^${subscriber} +completed +${dog.imageId} +Dog$`, 'm'))
      child.kill('SIGINT')
      await until('the end', async () => child.exitCode ?? undefined)
      expect({ code: child.exitCode, left: await left() }).toEqual({ code: 0, left: [] })
    } finally {
      child.kill('SIGKILL')
    }
  })
})

describe('the function', () => {
  it('takes no event without an eventId for a repetition of another', async () => {
    const seen = new Set<string>()
    const handler = buildHandler(
      async (eventId, work) => {
        if (seen.has(eventId)) return 'repeated'
        seen.add(eventId)
        await work()
        return 'done'
      },
      async () => {},
    )
    const strange = [undefined, {}, { source: 'image-analyzer' }, { source: 'image-analyzer', detail: {} }]
    const empty = { source: 'image-analyzer', detail: { ...madeUp([]), eventId: '' } }
    for (const event of [...strange, ...strange, empty])
      await expect(handler(event as ImageEvent)).rejects.toThrow('no event of a finished image')
    expect([...seen]).toEqual([])
  })
})

describe('the programs, outside of a laptop', () => {
  it.each([
    ['webhook.ts', { WEBHOOK_KEY: '' }, 'WEBHOOK_KEY must be the key'],
    ['consumer.ts', { QUEUE_URL: 'http://127.0.0.1:1/q', SEEN_TABLE: '' }, 'must be set'],
  ])('%s does not start with a setting that is empty', async (program, settings, message) => {
    const env = { PORT: '0', INBOX: ':memory:', ...settings }
    expect(await outcome(`examples/subscribers/${program}`, [], env)).toEqual({
      exit: 1,
      said: expect.stringContaining(message),
      printed: '',
    })
  })
})

describe('the webhook', () => {
  const key = 'the-key'
  const folder = mkdtempSync(join(tmpdir(), 'image-analyzer-webhook-test-'))
  afterAll(() => rmSync(folder, { recursive: true }))
  const start = (
    name: string,
    react: (event: ImageEvent) => Promise<void>,
    errors: unknown[] = [],
    more: { retryMs?: number } = {},
  ) =>
    startWebhook({
      ...{ port: 0, key, inbox: join(folder, name), react, onError: (error) => errors.push(error) },
      ...more,
    })
  const post = async (url: string, body: string, headers: Record<string, string> = { 'x-api-key': key }) =>
    (await fetch(url, { method: 'POST', headers, body })).status
  const event = () => JSON.stringify({ source: 'image-analyzer', detail: madeUp([]) })

  it('lets nobody in without its key, and takes nothing but events', async () => {
    const seen: ImageEvent[] = []
    const { url, stop } = await start('key.db', async (one) => void seen.push(one))
    try {
      expect([
        await post(url, event(), {}),
        await post(url, event(), { 'x-api-key': 'the-ke' }),
        await post(url, event(), { authorization: key }),
      ]).toEqual([401, 401, 401])
      expect((await fetch(url, { headers: { 'x-api-key': key } })).status).toBe(405)
      const other = JSON.stringify({ source: 'aws.s3', detail: { eventId: '1' } })
      const large = JSON.stringify({ ...JSON.parse(event()), more: 'x'.repeat(64 * 1024) })
      expect([
        await post(url, 'no json'),
        await post(url, 'null'),
        await post(url, other),
        await post(url, large),
      ]).toEqual([400, 400, 400, 400])
      expect(seen).toEqual([])
    } finally {
      await stop()
    }
  })

  it('answers before it is done, and goes on after a restart with what it had not done, once for each event', async () => {
    const [first, second] = [event(), event()]
    const errors: unknown[] = []
    const before = await start(
      'inbox.db',
      async () => {
        throw new Error('not now')
      },
      errors,
    )
    expect([await post(before.url, first), await post(before.url, second)]).toEqual([204, 204])
    await until('the failures', async () => (errors.length >= 2 ? true : undefined))
    await before.stop()

    const seen: ImageEvent[] = []
    let finish = (): void => {}
    const slow = new Promise<void>((resolve) => {
      finish = resolve
    })
    const after = await start('inbox.db', async (one) => {
      seen.push(one)
      await slow
    })
    await until('what was left', async () => (seen.length === 1 ? true : undefined))
    expect([await post(after.url, first), await post(after.url, second)]).toEqual([204, 204])
    finish()
    await until('both', async () => (seen.length === 2 ? true : undefined))
    await after.stop()
    expect(seen.map((one) => JSON.stringify(one))).toEqual([first, second])
    const again = await start('inbox.db', async (one) => void seen.push(one))
    await again.stop()
    expect(seen).toHaveLength(2)
  })

  it('tries what fails again, after a pause that doubles, and not whenever another event comes', async () => {
    const impossible = event()
    const tries: number[] = []
    const react = async (one: ImageEvent) => {
      if (JSON.stringify(one) !== impossible) return
      tries.push(performance.now())
      throw new Error('never')
    }
    const patient = await start('patient.db', react, [], { retryMs: 3_600_000 })
    for (const body of [impossible, event(), event(), event()])
      expect(await post(patient.url, body)).toBe(204)
    await patient.stop()
    expect(tries).toHaveLength(1)

    const quick = await start('patient.db', react, [], { retryMs: 20 })
    await until('four tries more', async () => (tries.length >= 5 ? true : undefined))
    await quick.stop()
    const [, first = 0, second = 0, third = 0, fourth = 0] = tries
    // A timer is late on a busy machine, and never early, but for what the two clocks round.
    expect(second - first).toBeGreaterThan(18)
    expect(third - second).toBeGreaterThan(38)
    expect(fourth - third).toBeGreaterThan(78)
  })
})
