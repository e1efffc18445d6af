import { beforeAll, describe, expect, it } from 'vitest'
import { PAID_ANALYSES, type PaidAnalysis } from '../../shared/image.ts'
import { judge } from '../simulation/judge.ts'
import { play, preparePictures, type Run, type Scenario } from '../simulation/scenario.ts'
import type { Prepared } from '../simulation/schedules.ts'

let prepared: Prepared
beforeAll(async () => {
  prepared = await preparePictures()
})

interface Case {
  images: number
  /** What is asked for, of one image after the other. */
  analyses: PaidAnalysis[][]
  /** Calls a second that Rekognition takes of each operation; without it, all. */
  quota?: number
  /** Calls a second of each operation in the settings of a worker. */
  share?: number
  workers: number
  /** Images in a batch. */
  batch?: number | undefined
}

const OPERATIONS: Record<PaidAnalysis, string> = {
  labels: 'worker DetectLabels',
  faces: 'worker DetectFaces',
  moderation: 'worker DetectModerationLabels',
  text: 'worker DetectText',
}

/** Plays a backlog through, and looks that every image is completed, and none is paid for twice or given up. */
async function workOff({ images, analyses, quota, share, workers, batch = 10 }: Case): Promise<Run> {
  const scenario: Scenario = {
    seed: 1,
    images: Array.from({ length: images }, (_, index) => ({
      picture: (['good', 'other', 'third'] as const)[index % 3] ?? 'good',
      analyses: analyses[index % analyses.length],
      at: index,
      key: false,
      distinct: true,
    })),
    faults: [],
    quota,
    share,
    settings: { concurrency: workers, batchSize: batch },
  }
  const run = await play(scenario, prepared)
  expect(judge(scenario, run)).toEqual([])
  expect(run.world.sqs.dead).toEqual([])
  const records = [...run.world.dynamo.items.values()].filter(({ original }) => original !== undefined)
  expect(records.filter(({ status }) => status === 'completed')).toHaveLength(images)
  const paid = [...run.world.rekognition.paid.values()].reduce((sum, count) => sum + count)
  const least = scenario.images.reduce((sum, image) => sum + (image.analyses?.length ?? 0), 0)
  expect(paid / least).toBeLessThanOrEqual(1.02)
  return run
}

/** Milliseconds at which calls of an operation began, in order. */
const callsOf = ({ world }: Run, analysis: PaidAnalysis): number[] =>
  world.calls.flatMap(({ name, at }) => (name === OPERATIONS[analysis] ? at : [])).sort((a, b) => a - b)

/** Calls a second, from the first of so many to the last. */
const rateOf = (calls: number[], count = calls.length): number =>
  (1_000 * (count - 1)) / ((calls[count - 1] ?? 0) - (calls[0] ?? 0))

/** By how many calls the busiest stretch of time had more than the share lets through in it. */
const mostOver = (calls: number[], share: number): number =>
  Math.max(
    ...calls.flatMap((from, first) =>
      calls.slice(first).map((to, further) => further + 1 - ((to - from) / 1_000) * share),
    ),
  )

describe("a worker at Terraform's computed share of the quota of each operation", () => {
  const upTo = (count: number): PaidAnalysis[] => PAID_ANALYSES.slice(0, count)
  // The limiter of an operation knows its share alone: each kind of work, and each kind of share with the most work.
  it.each<[string, number, PaidAnalysis[][], { images: number; batch?: number }]>([
    ['labels only', 5, [upTo(1)], { images: 100 }],
    ['all four', 5, [upTo(4)], { images: 100 }],
    ['more than labels of some', 5, [upTo(1), upTo(4), upTo(1), ['labels', 'text']], { images: 100 }],
    ['all four', 2.5, [upTo(4)], { images: 80 }],
    ['all four', 0.25, [upTo(4)], { images: 40, batch: 5 }],
  ])('keeps to it and leaves no more than 3 of 100 unused, with %s at %d a second', async (...given) => {
    const [, share, analyses, { images, batch }] = given
    const run = await workOff({ images, analyses, share, batch, workers: 1 })
    for (const analysis of new Set(analyses.flat())) {
      const calls = callsOf(run, analysis)
      // What it saves while it has nothing to do, and the call that begins the stretch.
      expect(mostOver(calls, share)).toBeLessThanOrEqual(Math.max(1, share) + 1)
      if (calls.length === images) expect(rateOf(calls) / share).toBeGreaterThan(0.97)
    }
  })
})

describe('a backlog of all four analyses drains at the quota of each operation', () => {
  it.each<[string, Omit<Case, 'analyses'>, { used: number; throttled: number }]>([
    [
      '50 calls a second, shared as Terraform does',
      { images: 400, quota: 50, share: 5, workers: 10 },
      { used: 0.96, throttled: 0.01 },
    ],
    [
      '5 calls a second, shared as Terraform does',
      { images: 100, quota: 5, share: 2.5, workers: 2 },
      { used: 0.97, throttled: 0.01 },
    ],
    // What is not set is learned, and that costs time, and calls that are throttled.
    ['50 calls a second, learned', { images: 300, quota: 50, workers: 10 }, { used: 0.95, throttled: 0.25 }],
    ['5 calls a second, learned', { images: 200, quota: 5, workers: 2 }, { used: 0.85, throttled: 0.35 }],
  ])('of %s', async (_name, given, { used, throttled }) => {
    const run = await workOff({ ...given, analyses: [[...PAID_ANALYSES]] })
    const { rekognition } = run.world
    expect(rekognition.throttled / rekognition.calls).toBeLessThan(throttled)
    for (const analysis of PAID_ANALYSES) {
      // Of the last tenth, not every worker has something left.
      const answers = rekognition.answered[analysis]
      expect(rateOf(answers, Math.floor(0.9 * given.images)) / Number(given.quota)).toBeGreaterThan(used)
    }
  })
})

describe("an owner's four images behind another owner's backlog", () => {
  /** Seconds from the submission to the end of the last, where 200 images were there before and 10 a second are worked off. */
  async function waited(fairQueues: boolean): Promise<number> {
    const at = 1_000
    const scenario: Scenario = {
      seed: 1,
      images: [
        ...Array.from({ length: 200 }, (_, index) => ({
          picture: 'good' as const,
          at: index,
          key: false,
          distinct: true,
        })),
        ...Array.from({ length: 4 }, () => ({
          ...{ picture: 'other' as const, at, key: false, owner: 'other owner' as const, distinct: true },
        })),
      ],
      faults: [],
      quota: 10,
      share: 5,
      settings: { concurrency: 2, fairQueues, comesBack: 0 },
    }
    const run = await play(scenario, prepared)
    expect(judge(scenario, run)).toEqual([])
    const others = [...run.world.dynamo.items.values()].filter(({ owner }) => owner === 'other owner')
    expect(others).toHaveLength(4)
    return (
      Math.max(
        ...others.map(
          (image) => Date.parse(String(image['completedAt'])) - Date.parse(String(image['createdAt'])),
        ),
      ) / 1_000
    )
  }

  it('wait two batches at most, since jobs say whose they are, and would wait for a part of the backlog otherwise', async () => {
    // A batch of ten takes two seconds at five calls a second.
    expect(await waited(true)).toBeLessThan(2 * 2 + 1)
    expect(await waited(false)).toBeGreaterThan(10)
  })
})

describe('a budget of 50 calls a month', () => {
  it('is for calls that are billed: throttled ones take nothing from it', async () => {
    const scenario: Scenario = {
      seed: 1,
      images: Array.from({ length: 25 }, (_, index) => ({
        ...{ picture: 'good' as const, at: 1_000 + index, key: false, distinct: true },
      })),
      faults: [],
      firsts: [{ name: 'worker DetectLabels', from: 1, count: 30, fault: 'throttle' }],
      settings: { monthlyBudgetUsd: 0.05, concurrency: 1 },
    }
    const run = await play(scenario, prepared)
    expect(run.ended).toBe(true)
    expect(judge(scenario, run)).toEqual([])
    // All in this month.
    const spent = [...run.world.dynamo.items.values()].filter(({ imageId }) =>
      String(imageId).startsWith('spend#'),
    )
    expect(spent.map(({ imageId, reserved }) => [imageId, reserved])).toEqual([['spend#2026-01', 50]])
  })

  it('is never passed by workers that run together and die, and what it does not allow is completed next month', async () => {
    const turn = Date.UTC(2026, 1, 1)
    const begin = turn - 10 * 60_000
    const scenario: Scenario = {
      seed: 1,
      images: Array.from({ length: 30 }, (_, index) => ({
        picture: 'good' as const,
        at: 1_000 + index,
        key: false,
        distinct: true,
      })),
      faults: [],
      firsts: [{ name: 'worker DetectFaces', from: 5, count: 1, fault: 'death after' }],
      clockSteps: [{ at: 0, byMs: begin - Date.UTC(2026, 0, 1) }],
      settings: { concurrency: 2, monthlyBudgetUsd: 0.05, skewMs: 0 },
    }
    const run = await play(scenario, prepared)
    const answers = Object.values(run.world.rekognition.answered).flat()
    const inJanuary = answers.filter((at) => at + run.world.wallOffsetMs < turn)
    expect(inJanuary.length).toBeLessThanOrEqual(50)
    // Near its end nothing is reserved that is not called, but for what a worker was about to call when it died.
    expect(inJanuary.length).toBeGreaterThanOrEqual(48)
    const items = [...run.world.dynamo.items.values()]
    const reserved = (month: string) =>
      Number(items.find(({ imageId }) => imageId === `spend#${month}`)?.['reserved'])
    expect(reserved('2026-01')).toBe(50)
    const records = items.filter(({ original }) => original !== undefined)
    // No record has the call that was answered to the dead worker, and the ledger has it.
    const recorded = records.flatMap(({ paidCalls }) => Object.values(Object(paidCalls)).map(Number))
    expect(recorded.reduce((sum, calls) => sum + calls, 0)).toBeLessThan(answers.length)
    expect(reserved('2026-01') + reserved('2026-02')).toBeGreaterThanOrEqual(answers.length)
    expect(new Set(records.map(({ status }) => status))).toEqual(new Set(['completed']))
    expect(records).toHaveLength(30)
    expect(run.world.sqs.dead).toEqual([])
  })
})
