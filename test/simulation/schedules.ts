import * as fc from 'fast-check'
import { CALLS_PER_USD } from '../../shared/config.ts'
import { PAID_ANALYSES, type PaidAnalysis } from '../../shared/image.ts'
import { judge } from './judge.ts'
import { play, type preparePictures, type Scenario } from './scenario.ts'
import { FAULTS, type Fault } from './services.ts'
import { SETTINGS, type WrongClock } from './world.ts'

export type Prepared = Awaited<ReturnType<typeof preparePictures>>

const minutes = (count: number): number => count * 60_000

/** Good and bad images, submitted and uploaded, one deleted at once and one later, one with known bytes: every call of the pipeline. */
export const ordinary = (seed: number): Scenario => ({
  seed,
  images: [
    { picture: 'good', at: 0, key: true },
    { picture: 'corrupt', at: 5, key: true, retry: true },
    { picture: 'third', at: 2_000, key: true, deleteAfter: 400 },
    { picture: 'refused', at: 2_000, key: true },
    { picture: 'third', at: 4_000, key: false, posts: 1, deleteAfter: 60_000 },
    { picture: 'good', at: 4_500, key: true, posts: 2 },
    { picture: 'other', at: 4_600, key: false, posts: 0 },
  ],
  faults: [],
})

/** Each call × each fault, one at a time; and each call × each fault × the first so many attempts at it, from any of them. */
export async function* singleFaults(prepared: Prepared): AsyncGenerator<Scenario> {
  const scenario = ordinary(1)
  const { world } = await play(scenario, prepared)
  for (const call of world.calls) {
    for (const fault of FAULTS) yield { ...scenario, faults: [{ call: call.number, fault }] }
  }
  const names = [...new Set(world.calls.map(({ name }) => name))]
  for (const name of [...names, 'sweeper Get', 'sweeper HeadObject', 'worker ChangeMessageVisibility']) {
    for (const fault of FAULTS) {
      for (const [from, count] of [
        [2, 1],
        [2, 4],
        [1, 12],
      ] as const) {
        yield { ...scenario, firsts: [{ name, from, count, fault }] }
      }
    }
  }
}

const SOME_ANALYSES: PaidAnalysis[][] = [['labels', 'faces'], ['labels'], [...PAID_ANALYSES]]

const picture = fc.constantFrom('good', 'other', 'third', 'corrupt', 'small', 'refused', 'odd')
const image: fc.Arbitrary<Scenario['images'][number]> = fc.record(
  {
    picture,
    at: fc.oneof(fc.integer({ min: 0, max: 500 }), fc.integer({ min: 0, max: minutes(20) })),
    key: fc.boolean(),
    posts: fc.option(fc.nat(2), { nil: undefined, freq: 3 }),
    owner: fc.constantFrom('owner', 'other owner'),
    twin: fc.boolean(),
    analyses: fc.constantFrom(...SOME_ANALYSES),
    deleteAfter: fc.option(fc.oneof(fc.nat(2_000), fc.nat(minutes(60))), { nil: undefined, freq: 4 }),
    retry: fc.boolean(),
  },
  { requiredKeys: ['picture', 'at', 'key'] },
)
const fault = fc.constantFrom(...FAULTS)
const wrongClock: fc.Arbitrary<WrongClock> = fc.record({
  process: fc.nat(12),
  after: fc.oneof(fc.constant(0), fc.nat(minutes(2))),
  lasts: fc.oneof(fc.nat(minutes(2)), fc.nat(minutes(40))),
  byMs: fc.oneof(
    fc.integer({ min: -minutes(10), max: minutes(10) }),
    fc.integer({ min: -minutes(180), max: minutes(180) }),
  ),
})

const NAMES = [
  ...['api *', 'worker *', 'sweeper *', 'lambda *'],
  ...['worker Update', 'worker PutEvents', 'worker Detect*', 'worker PutObject', 'worker GetObject'],
  ...['api SendMessage', 'api PutObject', 'api Put', 'worker SendMessage', 'sweeper SendMessage'],
]
const outage = fc
  .record({
    name: fc.constantFrom(...NAMES),
    from: fc.nat(minutes(5)),
    lasts: fc.oneof(fc.nat(minutes(2)), fc.nat(minutes(300))),
    fault: fc.constantFrom<Fault>(
      'fail',
      'lost',
      'throttle',
      'refuse',
      'death before',
      'death after',
      'slow',
    ),
  })
  .map(({ lasts, ...rest }) => ({ ...rest, to: rest.from + lasts }))

/** Any images at any times, with up to eight single faults, or with times in which a service is away. */
export const scenarios: fc.Arbitrary<Scenario> = fc.record(
  {
    seed: fc.integer(),
    images: fc.array(image, { minLength: 1, maxLength: 4 }),
    faults: fc.array(fc.record({ call: fc.nat(120), fault }), { maxLength: 8 }),
    outages: fc.oneof(
      { weight: 3, arbitrary: fc.array(outage, { maxLength: 0 }) },
      { weight: 1, arbitrary: fc.array(outage, { minLength: 1, maxLength: 2 }) },
    ),
    redriveAt: fc.option(fc.nat(minutes(400)), { nil: undefined, freq: 4 }),
    wrongClocks: fc.option(fc.array(wrongClock, { minLength: 1, maxLength: 2 }), { nil: undefined, freq: 1 }),
    settings: fc.record({
      concurrency: fc.integer({ min: 1, max: 3 }),
      batchSize: fc.constantFrom(1, 3, 10),
      maxAttempts: fc.constantFrom(10, 10, 3),
      queueKeepsMs: fc.constantFrom(SETTINGS.queueKeepsMs, SETTINGS.queueKeepsMs, minutes(60)),
      retentionDays: fc.constantFrom(0, 0, 0, 1),
      dailyImageQuota: fc.constantFrom(0, 0, 2),
    }),
  },
  { requiredKeys: ['seed', 'images', 'faults'] },
)

/** The same shortly before a month turns, with a budget of a few calls. */
export const budgeted: fc.Arbitrary<Scenario> = fc
  .record({
    scenario: scenarios,
    // Of the two calls of each of four images, most in this month and the rest in the next.
    calls: fc.integer({ min: 5, max: 7 }),
    budgetAction: fc.constantFrom('park' as const, 'refuse' as const),
  })
  .map(({ scenario, calls, budgetAction }) => ({
    ...scenario,
    clockSteps: [{ at: 0, byMs: Date.UTC(2026, 1, 1) - minutes(60) - Date.UTC(2026, 0, 1) }],
    settings: { ...scenario.settings, monthlyBudgetUsd: calls / CALLS_PER_USD, budgetAction },
  }))

/** @returns what is wrong with a run of those; undefined where no call is beyond its months' budgets and all ends */
export async function beyondBudget(scenario: Scenario, prepared: Prepared): Promise<string | undefined> {
  const { world, ended } = await play(scenario, prepared)
  const items = [...world.dynamo.items.values()]
  const months = items.filter(({ imageId }) => String(imageId).startsWith('spend#'))
  const most = Math.round((scenario.settings?.monthlyBudgetUsd ?? 0) * CALLS_PER_USD)
  const answers = Object.values(world.rekognition.answered).flat().length
  if (!ended) return 'it does not end'
  const over = months.find(({ reserved }) => Number(reserved) > most)
  return over !== undefined || answers > months.length * most
    ? `${answers} calls in ${months.length} months of ${most}, with ${JSON.stringify(over)} reserved`
    : undefined
}

/** @returns the promises broken, with the whole story; undefined where all are kept */
export async function tell(scenario: Scenario, prepared: Prepared): Promise<string | undefined> {
  const broken = await violations(scenario, prepared)
  if (broken.length === 0) return undefined
  const story: string[] = []
  await play(scenario, prepared, (line) => story.push(line))
  return [`${story.slice(0, 400).join('\n')}\n`, JSON.stringify(scenario), ...broken].join('\n')
}

export async function violations(scenario: Scenario, prepared: Prepared): Promise<string[]> {
  return judge(scenario, await play(scenario, prepared))
}
