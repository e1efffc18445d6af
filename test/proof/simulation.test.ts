import * as fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import type { AnalysisName } from '../../shared/image.ts'
import { labelId } from '../simulation/dynamo.ts'
import { bound, judge } from '../simulation/judge.ts'
import { play, preparePictures, type Run, type Scenario } from '../simulation/scenario.ts'
import {
  beyondBudget,
  budgeted,
  ordinary,
  type Prepared,
  scenarios,
  singleFaults,
  tell,
  violations,
} from '../simulation/schedules.ts'
import { FAULTS, SENT } from '../simulation/services.ts'
import { SETTINGS } from '../simulation/world.ts'

/** More with SCHEDULES=20000; `npm run simulate` plays 2,000 of them, and every single fault. */
const SCHEDULES = Number(process.env['SCHEDULES'] ?? 100)
const WITH_A_BUDGET = Math.ceil(SCHEDULES / 16)
/** Of the single faults, one in so many: each kind of fault and each call is among them, though not each with each. */
const PART = Number(process.env['PART'] ?? 29)
const SEED = Number(process.env['SEED'] ?? 1)
const MINUTE = 60_000

let prepared: Prepared
beforeAll(async () => {
  prepared = await preparePictures()
})

describe('whatever goes wrong with the calls', () => {
  it('one at a time, and one call again and again, every promise is kept', async () => {
    let count = 0
    for await (const scenario of singleFaults(prepared)) {
      if (count % PART === 0) expect(await tell(scenario, prepared)).toBeUndefined()
      count += 1
    }
    // 11 kinds of fault at each of some hundred calls, and so many times at each of the two dozen kinds of call.
    expect(count).toBeGreaterThan(2_000)
  })

  it(`many at a time, in ${SCHEDULES} schedules, every promise is kept`, async () => {
    const result = await fc.check(
      fc.asyncProperty(scenarios, async (scenario) => (await violations(scenario, prepared)).length === 0),
      { seed: SEED, numRuns: SCHEDULES },
    )
    const shortest = result.counterexample?.[0]
    expect(shortest && (await tell(shortest, prepared)), `seed ${SEED}`).toBeUndefined()
    expect(result.numRuns).toBe(SCHEDULES)
  })

  it(`in ${WITH_A_BUDGET} schedules with a budget, no call is made beyond it`, async () => {
    await fc.assert(
      fc.asyncProperty(budgeted, async (scenario) => {
        expect(await beyondBudget(scenario, prepared)).toBeUndefined()
      }),
      { seed: SEED, numRuns: WITH_A_BUDGET },
    )
  })

  it('everything that the SDK sends twice is told at once, without the sweeper', async () => {
    const { world } = await play(ordinary(1), prepared)
    // Without what Lambda does, which would deliver everything again, and without the one client that has no retries.
    const names = [...new Set(world.calls.map(({ name }) => name))].filter(
      (name) => !/lambda|Detect/.test(name),
    )
    const scenario: Scenario = {
      ...ordinary(1),
      // S3 may lose a notification; that is not the SDK's doing.
      images: ordinary(1).images.filter(({ posts }) => posts === undefined),
      firsts: names.map((name) => ({ name, from: 1, count: 1_000, fault: 'twice' })),
    }
    const run = await play(scenario, prepared)
    expect(judge(scenario, run)).toEqual([])
    const last = Math.max(...run.world.bus.events.map(({ at }) => at))
    expect(last - Date.UTC(2026, 0, 1)).toBeLessThan(2 * MINUTE)
  })

  it('an original that Rekognition refuses is asked about once more as a JPEG, and only an answer is paid for', async () => {
    const images: Scenario['images'] = [
      { picture: 'odd', at: 0, key: true },
      { picture: 'refused', at: 0, key: true },
    ]
    const scenario = { ...ordinary(4), images }
    const run = await play(scenario, prepared)
    expect(judge(scenario, run)).toEqual([])
    const endings = run.world.bus.events.map(({ detail }) => detail.failure?.code ?? detail.status)
    expect(endings.sort()).toEqual(['ANALYSIS_REFUSED', 'completed'])
    expect([...run.world.rekognition.paid]).toEqual([[SENT, 2]])
    // Labels and faces, by reference and in the request, of both.
    expect(run.world.rekognition.calls).toBe(8)
  })

  it('faces that wait for the labels are asked for once, or left out by name', async () => {
    const whenPerson: AnalysisName[] = ['labels', 'faces-when-person']
    const images: Scenario['images'] = (['good', 'other', 'third'] as const).flatMap((picture) => [
      { picture, at: 0, key: true, analyses: whenPerson },
      { picture, at: MINUTE, key: true },
    ])
    const { world, submissions } = await play({ ...ordinary(6), images }, prepared)
    const skipped = submissions
      .flatMap(({ imageIds }) => [...imageIds])
      .map((id) => world.dynamo.items.get(id)?.['facesSkipped'])
    expect(new Set(skipped)).toEqual(new Set([true, undefined]))
    for (const { number, name } of world.calls) {
      if (!name.startsWith('worker Detect')) continue
      // Each fault at each second call, and each call with each second fault.
      for (const fault of FAULTS.filter((_, at) => (at + number) % 2 === 0)) {
        const scenario = { ...ordinary(6), images, faults: [{ call: number, fault }] }
        expect(await tell(scenario, prepared)).toBeUndefined()
      }
    }
  })

  it('the same seed tells the same story', async () => {
    const [scenario] = fc.sample(scenarios, { seed: 5, numRuns: 1 })
    const stories = await Promise.all(
      [0, 1].map(async () => {
        const lines: string[] = []
        await play(scenario as Scenario, prepared, (line) =>
          lines.push(line.replaceAll(/"[0-9a-f-]{36}"/g, '')),
        )
        return lines
      }),
    )
    expect(stories[0]?.length).toBeGreaterThan(10)
    expect(stories[0]).toEqual(stories[1])
  })
})

describe('trouble that lasts', () => {
  const lasting = (outages: Scenario['outages'], more: Partial<Scenario> = {}): Scenario => ({
    ...ordinary(2),
    images: [{ picture: 'good', at: 0, key: true }],
    outages: outages ?? [],
    ...more,
  })
  const outcomes = ({ world }: Run) => world.bus.events.map(({ detail }) => detail.eventId.slice(37))

  const objectCalls = ({ world }: Run) =>
    world.calls.flatMap(({ name }) => (/^worker .*Object$/.test(name) ? [name] : [])).sort()
  /** What an image takes, with a thumbnail and a preview. */
  const ONCE = ['worker GetObject', 'worker PutObject', 'worker PutObject']

  it('of Rekognition for three hours ends in EXHAUSTED, once, and costs at most two calls an attempt', async () => {
    const scenario = lasting([{ name: 'worker DetectFaces', from: 0, to: 180 * MINUTE, fault: 'fail' }])
    const run = await play(scenario, prepared)
    expect(judge(scenario, run)).toEqual([])
    expect(outcomes(run)).toEqual(['1:failed'])
    expect([...run.world.dynamo.items.values()]).toContainEqual(
      expect.objectContaining({ failure: expect.objectContaining({ code: 'EXHAUSTED' }), attempts: 11 }),
    )
    // What was paid for is kept: the labels are bought once, not ten times.
    expect([...run.world.rekognition.paid.values()]).toEqual([1])
    // And what was stored: neither fetched nor decoded again.
    expect(objectCalls(run)).toEqual(ONCE)
    const [event] = run.world.bus.events
    const began = Date.UTC(2026, 0, 1)
    // Ten attempts of a minute at most, and the longest pauses after them (worker/outcomes.ts).
    expect((event?.at ?? 0) - began).toBeLessThan(SETTINGS.maxAttempts * SETTINGS.timeoutMs + 3_128_000)
    expect(run.world.sqs.mostReceives).toBe(11)
  })

  it('and then a redrive of the dead-letter queue has the image really analysed', async () => {
    const scenario = lasting([{ name: 'worker Detect*', from: 0, to: 180 * MINUTE, fault: 'fail' }], {
      redriveAt: 200 * MINUTE,
    })
    const run = await play(scenario, prepared)
    expect(judge(scenario, run)).toEqual([])
    expect(run.redrives).toBeGreaterThan(0)
    expect(outcomes(run)).toEqual(['1:failed', '2:completed'])
    expect(run.world.sqs.dead).toEqual([])
    // Not a job more than the one that was redriven.
    expect(run.world.calls.filter(({ name }) => name.endsWith('SendMessage'))).toMatchObject([
      { name: 'api SendMessage' },
      { name: 'worker SendMessage' },
    ])
  })

  it('of a quota that lets nothing through for as long as SQS keeps a job costs no image its job', async () => {
    const days = 13.9 * 24 * 60 * MINUTE
    const scenario = lasting([{ name: 'worker Detect*', from: 0, to: days, fault: 'throttle' }], {
      settings: { sweepEveryMs: 60 * MINUTE },
    })
    const run = await play(scenario, prepared)
    expect(judge(scenario, run)).toEqual([])
    expect(outcomes(run)).toEqual(['1:completed'])
    const { sqs, calls } = run.world
    expect(sqs.mostReceives).toBeGreaterThan(400)
    // 1,000 is where SQS gives a message up; and in the worst case, all pauses at their shortest, it is 805 (worker/outcomes.ts).
    expect(sqs.mostReceives).toBeLessThanOrEqual(805)
    expect(calls.filter(({ name }) => name.endsWith('SendMessage'))).toHaveLength(1)
    expect(objectCalls(run)).toEqual(ONCE)
    // It was not asleep when the quota was there again: it comes at least once an hour.
    const [event] = run.world.bus.events
    expect((event?.at ?? 0) - Date.UTC(2026, 0, 1) - days).toBeLessThan(61 * MINUTE)
  })

  it('of the whole worker is ended by the sweeper after GIVE_UP, without a worker', async () => {
    const day = 24 * 60 * MINUTE
    const settings = { giveUpMs: day }
    const outages: Scenario['outages'] = [{ name: 'worker *', from: 0, to: 2 * day, fault: 'death before' }]
    const scenario = lasting(outages, { settings })
    const run = await play(scenario, prepared)
    expect(outcomes(run)).toEqual(['1:failed'])
    const [event] = run.world.bus.events
    const after = (event?.at ?? 0) - Date.UTC(2026, 0, 1)
    expect(after).toBeGreaterThan(settings.giveUpMs)
    expect(after).toBeLessThan(settings.giveUpMs + 64 * SETTINGS.sweepAfterMs + 2 * SETTINGS.sweepEveryMs)
  })

  it('of the queue leaves a submission with a 503 and no job, which the sweeper then sends', async () => {
    const scenario = lasting([{ name: 'api SendMessage', from: 0, to: MINUTE, fault: 'fail' }], {
      images: [{ picture: 'good', at: 0, key: false }],
    })
    const run = await play(scenario, prepared)
    expect(judge(scenario, run)).toEqual([])
    expect(run.submissions[0]?.answer).toBe(503)
    expect(outcomes(run)).toEqual(['1:completed'])
  })

  it('of S3 leaves a submission with a 503 and no original, of which nothing stays', async () => {
    const scenario = lasting([{ name: 'api PutObject', from: 0, to: MINUTE, fault: 'fail' }], {
      images: [{ picture: 'good', at: 0, key: false }],
    })
    const run = await play(scenario, prepared)
    expect(judge(scenario, run)).toEqual([])
    expect(run.submissions[0]?.answer).toBe(503)
    expect(outcomes(run)).toEqual([])
    expect(run.world.dynamo.items.size).toBe(0)
  })
})

describe('the bound', () => {
  it('of a run without faults is no more than a sweep away', () => {
    const { sweepAfterMs, sweepEveryMs, pauseMs, timeoutMs } = SETTINGS
    expect(bound(0, SETTINGS)).toBe(sweepAfterMs + sweepEveryMs + pauseMs + 2 * timeoutMs)
  })
})

describe('the judge', () => {
  const clean = async (): Promise<{ scenario: Scenario; run: Run }> => {
    const scenario: Scenario = { ...ordinary(3), images: [{ picture: 'good', at: 0, key: true }] }
    const run = await play(scenario, prepared)
    expect(judge(scenario, run)).toEqual([])
    return { scenario, run }
  }
  const spoilt: [string, (run: Run) => void][] = [
    ['a lost event', ({ world }) => world.bus.events.splice(0)],
    [
      'an event that changes',
      ({ world }) => {
        const [event] = structuredClone(world.bus.events)
        if (event !== undefined)
          world.bus.events.push({ ...event, detail: { ...event.detail, faceCount: 7 } })
      },
    ],
    [
      'an event of no outcome',
      ({ world }) => {
        for (const { detail } of world.bus.events)
          detail.eventId = detail.eventId.replace('completed', 'failed')
      },
    ],
    [
      'an event before its commit',
      ({ world }) => {
        for (const event of world.bus.events) event.at = 0
      },
    ],
    ['a lost image', ({ world }) => world.dynamo.items.clear()],
    [
      'an object of nobody',
      ({ world }) => {
        world.s3.put({
          Key: 'thumbnails/019b76da-a670-745f-b8f7-0752693f26b9.jpg',
          Body: Buffer.alloc(1),
          ContentType: '',
        })
      },
    ],
    [
      'a lost thumbnail',
      ({ world }) => {
        for (const key of [...world.s3.objects.keys()])
          if (key.startsWith('thumb')) world.s3.objects.delete(key)
      },
    ],
    [
      'a lost preview',
      ({ world }) => {
        for (const key of [...world.s3.objects.keys()])
          if (key.startsWith('prev')) world.s3.objects.delete(key)
      },
    ],
    [
      'an image that no search finds',
      ({ world }) => {
        for (const [id, item] of world.dynamo.items)
          if (item['ownerLabel'] !== undefined) world.dynamo.items.delete(id)
      },
    ],
    [
      'a label of an image that is gone',
      ({ world }) => {
        world.dynamo.items.set(labelId('dog', 'gone'), { ownerLabel: 'dog', target: 'gone' })
      },
    ],
    [
      'a call too many',
      ({ world }) => {
        for (const key of world.rekognition.paid.keys()) world.rekognition.paid.set(key, 3)
      },
    ],
    [
      'a job that SQS has given up',
      ({ world }) => {
        world.sqs.movedDead += 1
      },
    ],
    [
      'a job that Lambda has taken for a recursion',
      ({ world }) => {
        world.refusals += 1
      },
    ],
    ['a dead letter of no image', ({ world }) => world.sqs.sentDead.push('x')],
    [
      'an image that was given up without a dead letter',
      ({ world }) => {
        const last = world.seen.findLast(({ item }) => item?.['status'] === 'completed')
        if (last?.item !== undefined)
          last.item = { ...last.item, status: 'failed', failure: { code: 'EXHAUSTED' } }
      },
    ],
    [
      'a step back',
      ({ world }) => {
        const [first] = world.seen.filter(({ item }) => item?.['status'] === 'pending')
        if (first !== undefined) world.seen.push(first)
      },
    ],
    [
      'a second outcome',
      ({ world }) => {
        const last = structuredClone(world.seen.findLast(({ item }) => item?.['status'] === 'completed'))
        if (last?.item !== undefined)
          world.seen.push({ ...last, item: { ...last.item, status: 'failed', failure: {} } })
      },
    ],
    [
      'a wait beyond the bound',
      ({ world }) => {
        for (const event of world.bus.events) event.at += 2 * bound(0, SETTINGS)
      },
    ],
    [
      'a run that nobody asked for',
      ({ world }) => {
        for (const item of world.dynamo.items.values()) item['epoch'] = 2
      },
    ],
    [
      'something under way for ever',
      (run) => {
        run.ended = false
      },
    ],
  ]
  it.each(spoilt)('sees %s', async (_name, spoil) => {
    const { scenario, run } = await clean()
    spoil(run)
    expect(judge(scenario, run)).not.toEqual([])
  })
})
