import { beforeAll, describe, expect, it } from 'vitest'
import { judge } from './simulation/judge.ts'
import { play, preparePictures, type Run, type Scenario } from './simulation/scenario.ts'
import type { Prepared } from './simulation/schedules.ts'

const IMAGES = 2_000
const CALLS = 2 * IMAGES

let prepared: Prepared
beforeAll(async () => {
  prepared = await preparePictures()
})

/** What came of a backlog: how much of the quota was used from the first call to the last, and at what price. */
const summary = ({ world }: Run, quota: number) => {
  const calls = world.calls.filter(({ name }) => name.includes('Detect')).map(({ at }) => at)
  const seconds = (Math.max(...calls) - Math.min(...calls)) / 1000
  const paid = [...world.rekognition.paid.values()].reduce((sum, count) => sum + count, 0)
  return {
    usedOfQuota: (paid - quota) / seconds / quota,
    throttled: world.rekognition.throttled / world.rekognition.calls,
    paidOfLeast: paid / CALLS,
    dead: world.sqs.dead.length,
    exhausted: [...world.dynamo.items.values()].filter(({ status }) => status === 'failed').length,
    jobsSent: world.calls.filter(({ name }) => name.endsWith('SendMessage')).length,
  }
}

const backlog = (quota: NonNullable<Scenario['quota']>, concurrency: number, share?: number): Scenario => ({
  seed: 1,
  images: Array.from({ length: IMAGES }, (_, index) => ({
    picture: (['good', 'other', 'third'] as const)[index % 3] ?? 'good',
    at: index,
    key: false,
    distinct: true,
  })),
  faults: [],
  quota,
  share,
  settings: { concurrency },
})

describe('a backlog of 2,000 images drains at the quota, and none is lost or paid for twice', () => {
  it.each([
    ['50 calls a second over all, not told to the workers', 50, false, 10, undefined],
    ['50 calls a second of each operation, shared as Terraform does', 50, true, 10, 5],
    ['5 calls a second over all, not told to the workers', 5, false, 2, undefined],
    ['5 calls a second of each operation, shared as Terraform does', 5, true, 2, 2.5],
  ])('of %s', async (_name, callsPerSecond, perOperation, concurrency, share) => {
    const scenario = backlog({ callsPerSecond, perOperation }, concurrency, share)
    const run = await play(scenario, prepared)
    const found = summary(run, callsPerSecond * (perOperation ? 2 : 1))
    expect(judge(scenario, run)).toEqual([])
    expect(found).toMatchObject({ dead: 0, exhausted: 0 })
    expect(found.usedOfQuota).toBeGreaterThan(0.95)
    expect(found.paidOfLeast).toBeLessThanOrEqual(1.02)
  })
})
