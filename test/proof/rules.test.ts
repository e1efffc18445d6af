import { beforeAll, describe, expect, it } from 'vitest'
import { judge } from '../simulation/judge.ts'
import { play, preparePictures, type Run, type Scenario } from '../simulation/scenario.ts'
import type { Prepared } from '../simulation/schedules.ts'

/**
 * What AWS does by its own rules, without any fault: for each rule a story in which it matters. `npm run mutants` demands
 * that each of them kills a mutant, and that the mutant lives where the rule is switched off (RULES in world.ts).
 */
let prepared: Prepared
beforeAll(async () => {
  prepared = await preparePictures()
})

/** So many that each story has gone wrong in some of them without what makes it right. */
const SEEDS = 10
const MINUTE = 60_000
const HOUR = 60 * MINUTE
const BEGUN = Date.UTC(2026, 0, 1)

type Image = Scenario['images'][number]
const image = (more: Partial<Image> = {}): Image => ({ picture: 'good', at: 0, key: false, ...more })

/** Plays it with several seeds, since a seed decides what comes first of what happens at once. */
async function told(
  scenario: Omit<Scenario, 'seed' | 'faults'> & Partial<Scenario>,
  look: (run: Run) => void = () => {},
): Promise<void> {
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const whole: Scenario = { faults: [], ...scenario, seed }
    const run = await play(whole, prepared)
    expect(judge(whole, run), `seed ${seed}`).toEqual([])
    look(run)
  }
}
/** Each once: the same event may be sent again. */
const outcomes = ({ world }: Run) => [
  ...new Set(world.bus.events.map(({ detail }) => detail.eventId.slice(37))),
]
const records = ({ world }: Run) => [...world.dynamo.items.values()].filter((item) => 'epoch' in item)
const lastEvent = ({ world }: Run) => Math.max(...world.bus.events.map(({ at }) => at)) - BEGUN

describe('reads may be stale', () => {
  const settings = { staleReads: 1 }

  it('and who has just been given an id finds its image', () => told({ images: [image()], settings }))
  it('and of two requests with one key at once, the second finds what the first has made', () =>
    told({ images: [image({ twin: true })], settings }))
  it('and a request that is repeated after a deletion finds that', () =>
    told({ images: [image({ key: true, deleteAfter: 100, again: true })], settings }))
})

describe('messages may come back after they were deleted', () => {
  it('and an event that was acknowledged is not sent again', () =>
    told({ images: [image()], settings: { comesBack: 1 } }, (run) =>
      expect(run.world.bus.events).toHaveLength(1),
    ))
})

describe('S3 may tell of an upload twice, late or not at all', () => {
  it('and two workers that hear of it at once do not both pay', () =>
    told({ images: [image({ posts: 1, told: [0, 0] })], settings: { batchSize: 1 } }, ({ world }) =>
      expect([...world.rekognition.paid.values()]).toEqual([2]),
    ))
  it.each([
    ['hours late', [3 * HOUR]],
    ['not at all', []],
  ])('%s, and the sweeper finds it', (_name, told_) =>
    told({ images: [image({ posts: 1, told: told_ })] }, (run) => {
      expect(outcomes(run)).toEqual(['1:completed'])
      expect(lastEvent(run)).toBeLessThan(HOUR)
    }),
  )
})

describe('two sweeps may run at once', () => {
  it('and an image that both give up ends once', () =>
    told(
      {
        images: [image()],
        outages: [{ name: 'worker *', from: 0, to: 6 * HOUR, fault: 'death before' }],
        settings: { twinSweeps: 1, giveUpMs: HOUR },
      },
      (run) => expect(outcomes(run)).toEqual(['1:failed']),
    ))
})

describe('one request may be sent twice at once', () => {
  it('and the second does not undo what a worker has done for the first', () =>
    told({ images: [image({ twin: true })] }, (run) =>
      expect(records(run)).toMatchObject([{ status: 'completed', attempts: 1 }]),
    ))
})

describe('owners are strangers to each other', () => {
  it('and what one has paid for is not had by the other', () =>
    told({ images: [image({ owner: 'owner' }), image({ owner: 'other owner', at: 5_000 })] }, (run) =>
      expect(records(run).map(({ reused }) => reused)).toEqual([undefined, undefined]),
    ))
})

describe('an image may have four analyses', () => {
  it('and each of them is kept for the next attempt', () =>
    told(
      {
        images: [image({ analyses: ['labels', 'faces', 'moderation', 'text'] })],
        firsts: [{ name: 'worker DetectText', from: 1, count: 1, fault: 'fail' }],
      },
      (run) => {
        expect(records(run)).toMatchObject([{ status: 'completed', attempts: 2 }])
        expect([...run.world.rekognition.paid.values()]).toEqual([4])
      },
    ))
})

describe('an owner has a quota', () => {
  it('of as many images as it says', () =>
    told(
      {
        images: [image(), image({ at: 2_000 }), image({ at: 4_000 })],
        settings: { dailyImageQuota: 2, skewMs: 0 },
      },
      ({ submissions }) => expect(submissions.map(({ answer }) => answer)).toEqual([202, 202, 429]),
    ))
})

describe('what has expired is deleted', () => {
  // Sweeps are most of what a day costs.
  const settings = { retentionDays: 1, sweepEveryMs: HOUR }
  it('and nothing of it stays, in no index either', () =>
    told({ images: [image()], settings }, ({ world }) => {
      if (!world.has('expiry')) return
      expect([...world.s3.objects.keys()]).toEqual([])
      expect([...world.dynamo.items.keys()].filter((id) => id.startsWith('labels#'))).toEqual([])
    }))
  it('days late, and its results are had by no other image meanwhile', () =>
    told({ images: [image(), image({ at: 25 * HOUR })], settings }, ({ world }) =>
      expect(world.rekognition.paid.size).toBe(2),
    ))
})

describe('SQS forgets a message after a while', () => {
  it.each([
    ['sends another, also of an image that a worker has had', 'worker Detect*', 'throttle'],
    ['announces an image whose job is gone before its event is out', 'worker PutEvents', 'fail'],
  ] as const)('and the sweeper %s', (_what, name, fault) =>
    told(
      {
        images: [image()],
        outages: [{ name, from: 0, to: 2 * HOUR, fault }],
        settings: { queueKeepsMs: HOUR, giveUpMs: 5 * HOUR },
      },
      (run) => expect(outcomes(run)).toEqual(['1:completed']),
    ),
  )
})

describe('a process is frozen between its invocations', () => {
  it('and nothing that was promised waits for the next one', () =>
    told({ images: [image()], settings: { warmStarts: 0 } }, (run) =>
      expect(lastEvent(run)).toBeLessThan(MINUTE),
    ))
})

describe('the wall clock of a process may be set', () => {
  // The original takes 20 seconds, and in the middle of them there is a sweep.
  it.each([
    ['of a sweeper ahead', 1, 3 * HOUR],
    ['of the API back', 0, -3 * HOUR],
  ])('%s by hours, and no submission that is under way is removed', (_name, process, byMs) =>
    told(
      {
        images: [image({ at: 5 * MINUTE - 10_000 })],
        firsts: [{ name: 'api PutObject', from: 1, count: 1, fault: 'slow' }],
        wrongClocks: [{ process, after: 0, lasts: MINUTE, byMs }],
      },
      (run) => expect(outcomes(run)).toEqual(['1:completed']),
    ),
  )
  it('of a worker by hours, and it does not wait for others for as long', () =>
    told(
      {
        images: [image({ posts: 1, told: [0, 0] })],
        settings: { batchSize: 1 },
        wrongClocks: [{ process: 2, after: 0, lasts: 5 * HOUR, byMs: -3 * HOUR }],
      },
      (run) => {
        expect(outcomes(run)).toEqual(['1:completed'])
        expect(run.world.sqs.longestHidden).toBeLessThan(HOUR)
      },
    ))
})
