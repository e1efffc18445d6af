import { randomUUID } from 'node:crypto'
import {
  ChangeMessageVisibilityCommand,
  CreateQueueCommand,
  ReceiveMessageCommand,
  SendMessageCommand,
} from '@aws-sdk/client-sqs'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { buildApp } from '../../api/app.ts'
import { startTestSystem, type TestSystem, until } from '../context.ts'
import { distinct } from '../pictures/pictures.ts'
import { judge } from '../simulation/judge.ts'
import { play, preparePictures, type Scenario } from '../simulation/scenario.ts'
import type { Prepared } from '../simulation/schedules.ts'

const HOUR_MS = 3_600_000

describe('a wall clock that is set while work is under way', () => {
  let prepared: Prepared
  beforeAll(async () => {
    prepared = await preparePictures()
  })

  // Forty images need 80 calls, of which one worker may make two a second: they are in its hands for 40 seconds.
  it.each([
    ['back by two hours', -2],
    ['back by a day', -24],
    ['forward by two hours', 2],
    ['forward by a day', 24],
  ])('%s stops neither the limiter nor a batch', async (_name, hours) => {
    const images: Scenario['images'] = Array.from({ length: 40 }, (_, at) => ({
      ...{ picture: 'good', at, key: false, distinct: true },
    }))
    const scenario: Scenario = {
      seed: 1,
      images,
      faults: [],
      quota: 1,
      share: 1,
      settings: { concurrency: 1 },
      clockSteps: [{ at: 7_000, byMs: hours * HOUR_MS }],
    }
    const run = await play(scenario, prepared)
    expect(judge(scenario, run)).toEqual([])
    expect(run.world.sqs.dead).toEqual([])
    const attempts = [...run.world.dynamo.items.values()].flatMap((item) => item['attempts'] ?? [])
    expect(attempts).toEqual(images.map(() => 1))
    const seconds = run.world.bus.events.map(({ at }) => (at - Date.UTC(2026, 0, 1)) / 1_000)
    expect(seconds).toHaveLength(images.length)
    expect(Math.max(...seconds)).toBeLessThan(120)
  })
})

describe('a queue of the embedded SQS', () => {
  let system: TestSystem
  beforeAll(async () => {
    system = await startTestSystem()
  })
  afterAll(() => system.stop())
  it.each([
    ['back', -2],
    ['forward', 2],
  ])(
    'hides messages as long as it is asked to, though the wall clock is set %s by two hours, again and again',
    async (_direction, hours) => {
      const { sqs } = system.worker
      /** A queue, and what hides a message in it for so many seconds. */
      const prepare = async (how: 'received' | 'given back' | 'delayed', seconds: number) => {
        const { QueueUrl = '' } = await sqs.send(new CreateQueueCommand({ QueueName: randomUUID() }))
        const send = (DelaySeconds: number) =>
          sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: how, DelaySeconds }))
        const receive = (VisibilityTimeout: number) =>
          sqs.send(new ReceiveMessageCommand({ QueueUrl, VisibilityTimeout }))
        if (how === 'delayed') return { QueueUrl, hide: () => send(seconds) }
        await send(0)
        if (how === 'received') return { QueueUrl, hide: () => receive(seconds) }
        const { Messages } = await receive(600)
        const ReceiptHandle = Messages?.[0]?.ReceiptHandle
        const back = { QueueUrl, ReceiptHandle, VisibilityTimeout: seconds }
        return { QueueUrl, hide: () => sqs.send(new ChangeMessageVisibilityCommand(back)) }
      }
      const prepareEach = async (seconds: number) => [
        await prepare('received', seconds),
        await prepare('given back', seconds),
        await prepare('delayed', seconds),
      ]
      const bodies = async (QueueUrl: string) =>
        (await sqs.send(new ReceiveMessageCommand({ QueueUrl }))).Messages?.map(({ Body }) => Body)

      const before = { short: await prepareEach(1), long: await prepareEach(600) }
      const after = { short: await prepareEach(1), long: await prepareEach(600) }
      for (const { hide } of [...before.short, ...before.long]) await hide()
      const truth = Date.now
      let steps = 0
      const wallClock = vi.spyOn(Date, 'now').mockImplementation(() => truth() + steps * hours * HOUR_MS)
      try {
        for (const { hide } of [...after.short, ...after.long]) {
          steps += 1
          await hide()
        }
        const shown = [...before.short, ...after.short].map(({ QueueUrl }) => QueueUrl)
        const found = await Promise.all(shown.map((url) => until('the message', () => bodies(url))))
        expect(found.flat()).toEqual([
          'received',
          'given back',
          'delayed',
          'received',
          'given back',
          'delayed',
        ])
        for (const { QueueUrl } of [...before.long, ...after.long])
          expect(await bodies(QueueUrl)).toBeUndefined()
      } finally {
        wallClock.mockRestore()
      }
    },
  )
})

describe('a client that waits for an image', () => {
  let system: TestSystem
  beforeAll(async () => {
    system = await startTestSystem()
  })
  afterAll(() => system.stop())

  it.each([
    ['back by two hours', -2],
    ['forward by two hours', 2],
  ])('has its answer in time though the wall clock is set %s', async (_name, hours) => {
    const imageId = await system.submit(await distinct(1))
    let waitedMs = 0
    let offsetMs = 0
    const app = buildApp({
      ...system.api,
      now: () => new Date(Date.UTC(2026, 0, 1) + waitedMs + offsetMs),
      elapsed: () => waitedMs,
      sleep: async (ms) => {
        waitedMs += ms
        if (waitedMs >= 1_000) offsetMs = hours * HOUR_MS
        if (waitedMs > 60_000) throw new Error('The wait does not end.')
      },
    })
    const answer = await app.request(`/images/${imageId}?wait=5`)
    expect(answer.status).toBe(200)
    expect(waitedMs).toBe(5_000)
  })
})
