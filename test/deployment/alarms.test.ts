import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { missing } from '../../build/terraform.ts'
import { FAILURE_CODES, PAID_ANALYSES } from '../../shared/image.ts'
import type { METRICS } from '../../shared/log.ts'
import { ALARMS, type Alarm, goesOff, type Point, series } from '../simulation/alarms.ts'
import { play, preparePictures, type Scenario } from '../simulation/scenario.ts'
import { skipped } from '../tools.ts'
import { renderPlans } from './terraform.ts'

/** The project's own functions in virtual time; CloudWatch's metrics from the lines that they really write. */

const MINUTE = 60_000
const HOUR = 60 * MINUTE

let prepared: Awaited<ReturnType<typeof preparePictures>>
beforeAll(async () => {
  prepared = await preparePictures()
})

type Image = Scenario['images'][number]
const good = (at: number, more: Partial<Image> = {}): Image => ({
  ...{ picture: 'good', at, key: false, distinct: true, ...more },
})
const many = (count: number, everyMs: number, more: Partial<Image> = {}): Image[] =>
  Array.from({ length: count }, (_, index) => good(index * everyMs, more))

/** The names of alarms that go off, each with the minutes after the beginning at which it does. */
async function watch(images: Image[], more: Partial<Scenario> = {}) {
  const points: Point[] = []
  const run = await play({ seed: 1, images, faults: [], ...more }, prepared, undefined, (more) =>
    points.push(...more),
  )
  expect(run.ended).toBe(true)
  const begun = Date.UTC(2026, 0, 1)
  const off = Object.entries(ALARMS).flatMap(([name, alarm]) => {
    const times = goesOff(alarm, points, begun, run.world.clock.time)
    return times.length > 0 ? [[name, times.map((at) => (at - begun) / MINUTE)] as const] : []
  })
  const total = (name: keyof typeof METRICS) =>
    points
      .filter((one) => one.name === name && Object.keys(one.dimensions).join() === 'service')
      .reduce((sum, { value }) => sum + value, 0)
  return { off: Object.fromEntries(off), total, points, run }
}

describe('an alarm', () => {
  it('goes off within 45 minutes where the quota lets nothing through', async () => {
    const outages: Scenario['outages'] = [
      { name: 'worker Detect*', from: 0, to: 2 * HOUR, fault: 'throttle' },
    ]
    const { off, total } = await watch(many(3, 1_000), { outages })
    expect(off['images-wait']?.[0]).toBeLessThanOrEqual(45)
    expect(off['sweeper-silent']).toBeUndefined()
    expect(total('Throttled')).toBeGreaterThan(20)
    expect(total('Completed')).toBe(3)
  })

  it('goes off within 15 minutes where Rekognition answers with errors only', async () => {
    const outages: Scenario['outages'] = [{ name: 'worker Detect*', from: 0, to: HOUR, fault: 'fail' }]
    const { off, total } = await watch(many(10, 1_000), { outages })
    expect(off['nothing-completes']?.[0]).toBe(15)
    expect(total('AttemptsFailed')).toBeGreaterThan(10)
  })

  it('goes off within 10 minutes where Rekognition refuses every image, though each is told so at once', async () => {
    const { off, total, run } = await watch(many(60, 10_000, { picture: 'refused', distinct: false }))
    expect(off['failure-ratio']?.[0]).toBe(10)
    expect(run.world.sqs.dead).toEqual([])
    expect(total('AttemptsFailed')).toBe(0)
  })

  it('goes off where the sweeper is not called', async () => {
    const { off } = await watch([good(0), good(HOUR)], { settings: { sweepEveryMs: 24 * HOUR } })
    expect(off['sweeper-silent']?.[0]).toBe(15)
  })

  it('goes off where nothing takes the jobs', async () => {
    const outages: Scenario['outages'] = [
      { name: 'lambda ReceiveMessage', from: 0, to: HOUR, fault: 'refuse' },
    ]
    const { off } = await watch(many(3, 1_000), { outages })
    expect(off['oldest-job']?.[0]).toBe(15)
    expect(off['worker-errors']).toBeUndefined()
  })

  it('goes off where images are given up', async () => {
    const outages: Scenario['outages'] = [{ name: 'worker Detect*', from: 0, to: 2 * HOUR, fault: 'fail' }]
    const { off } = await watch(many(3, 1_000), { outages, settings: { maxAttempts: 2 } })
    expect(off['dead-letters-jobs']).toBeDefined()
  })

  it('goes off within 15 minutes where EventBridge takes no events, for one image too', async () => {
    const outages: Scenario['outages'] = [{ name: 'worker PutEvents', from: 0, to: HOUR, fault: 'fail' }]
    const { off, total, run } = await watch([good(0)], { outages })
    expect(off['events-refused']?.[0]).toBeLessThanOrEqual(15)
    // The image has its outcome all the same, and at the end its event.
    expect(total('Completed')).toBe(1)
    expect(run.world.bus.events.length).toBeGreaterThan(0)
  })

  it.each<[string, string, string]>([
    ['a worker that dies', 'worker-errors', 'worker PutObject'],
    ['an API that gets no answer in its time', 'api-errors', 'api PutObject'],
  ])('goes off for %s', async (_, name, call) => {
    const firsts: Scenario['firsts'] = [
      { name: call, from: 1, count: 1, fault: call.startsWith('api') ? 'hang' : 'death after' },
    ]
    const { off } = await watch([good(0), good(10 * MINUTE)], { firsts })
    expect(off[name]?.[0]).toBe(5)
  })

  it('goes off where a day’s calls cost more than they may, and not for results that are used again', async () => {
    const day = [good(0), good(24 * HOUR + MINUTE)]
    const analyses = [...PAID_ANALYSES]
    const copies = many(30, MINUTE, { distinct: false, analyses })
    const { off, total } = await watch([...day, ...copies])
    expect(off['cost-today']).toBeUndefined()
    expect(total('PaidCalls')).toBeLessThan(20)
    const dear = await watch([...day, ...many(270, MINUTE, { analyses })])
    expect(dear.off['cost-today']).toEqual([24 * 60])
    expect(dear.total('PaidCalls')).toBe(
      [...dear.run.world.rekognition.paid.values()].reduce((sum, paid) => sum + paid),
    )
  })

  it.each([
    ['alarm', 0.004],
    ['park', 0.012],
  ] as const)('goes off where the month’s budget is spent (%s)', async (budgetAction, monthlyBudgetUsd) => {
    const settings = { monthlyBudgetUsd, budgetAction }
    const clockSteps = [{ at: 0, byMs: Date.UTC(2026, 1, 1) - HOUR - Date.UTC(2026, 0, 1) }]
    const { off, total, run } = await watch([...many(7, 1_000), good(10 * MINUTE)], { settings, clockSteps })
    expect(off['budget-spent']?.[0]).toBe(5)
    const last = Math.max(...run.world.bus.events.map(({ at }) => at)) - Date.UTC(2026, 0, 1)
    // Calls go on, or wait for the next month.
    expect(last > HOUR - MINUTE).toBe(budgetAction === 'park')
    expect(total('OverBudget') > 0).toBe(budgetAction === 'park')
    expect(total('Throttled')).toBe(0)
  })

  it('goes off for the budget alone while images wait for the next month, and when they are taken up then', async () => {
    const settings = { monthlyBudgetUsd: 0.05, budgetAction: 'park' as const }
    const clockSteps = [{ at: 0, byMs: Date.UTC(2026, 1, 1) - 2 * HOUR - Date.UTC(2026, 0, 1) }]
    // Within what two months may cost: some are taken up when it is spent already.
    const images = many(30, 1_000).map((image, index) => ({
      ...image,
      at: image.at + (index < 25 ? 0 : 30 * MINUTE),
    }))
    const { off, total } = await watch(images, { settings, clockSteps })
    expect(total('OverBudget')).toBeGreaterThan(40)
    expect(total('Completed')).toBe(30)
    expect(Object.keys(off)).toEqual(['budget-spent'])
  })

  it('goes off where sweeps meet trouble', async () => {
    const outages: Scenario['outages'] = [
      { name: 'lambda ReceiveMessage', from: 0, to: HOUR, fault: 'refuse' },
      { name: 'sweeper SendMessage', from: 0, to: HOUR, fault: 'fail' },
    ]
    const { off } = await watch([good(0)], { outages })
    expect(off['sweeper-errors']).toBeDefined()
  })

  it('goes off where the API fails, and where it is slow', async () => {
    const failing: Scenario['outages'] = [{ name: 'api PutObject', from: 0, to: MINUTE, fault: 'fail' }]
    expect((await watch([good(0)], { outages: failing })).off).toMatchObject({ 'api-5xx': [5] })
    const slow: Scenario['outages'] = [{ name: 'api PutObject', from: 0, to: HOUR, fault: 'slow' }]
    const { off } = await watch(many(4, 4 * MINUTE), { outages: slow })
    expect(off['api-latency']?.[0]).toBe(10)
    expect(off['api-5xx']).toBeUndefined()
  })

  it('does not go off in a day of ordinary work, with bursts, bad images, copies and some trouble', async () => {
    const later = (image: Image, ms: number): Image => ({ ...image, at: image.at + ms })
    const bad = many(5, 4 * HOUR, { picture: 'corrupt' })
    const images = [
      ...many(48, 30 * MINUTE),
      ...many(60, 50).map((image) => later(image, 6 * HOUR)),
      ...many(24, HOUR, { distinct: false }),
      // Two each for itself: all that is taken up in that quarter of an hour, and in two periods of five minutes.
      ...bad.flatMap((image) => [later(image, 16 * MINUTE), later(image, 21 * MINUTE)]),
      ...many(4, 5 * HOUR, { posts: 1, told: [0] }),
    ]
    const outages: Scenario['outages'] = [
      { name: 'worker Detect*', from: 10 * HOUR, to: 10 * HOUR + MINUTE, fault: 'fail' },
      { name: 'worker Detect*', from: 20 * HOUR, to: 20 * HOUR + 20 * MINUTE, fault: 'throttle' },
    ]
    const { off, total, run } = await watch(images, { outages })
    expect(off).toEqual({})
    expect(run.world.clock.time - Date.UTC(2026, 0, 1)).toBeGreaterThan(23 * HOUR)
    // Each image that was accepted has ended once, and each end is counted once.
    expect(total('Accepted')).toBe(142)
    expect(total('Completed') + total('Failed')).toBe(146)
    expect(total('Failed')).toBe(10)
  })
})

/** Values of metrics, period by period; a period may have none. */
type Series = Record<string, (number | undefined)[]>
const none = undefined
const simple = (
  metric: string,
  threshold: number,
  periods: number,
  breaching: number,
): [on: Series[], off: Series[]] => {
  const [over, at] = [threshold + 1, threshold]
  const [gap, rest] = [Array(periods - breaching).fill(at), Array(breaching - 1).fill(over)]
  return [
    [{ [metric]: [over, ...gap, ...rest] }],
    [
      { [metric]: Array(periods + 2).fill(at) },
      { [metric]: Array(periods + 2).fill(none) },
      // One too few, and one too many between.
      { [metric]: [over, ...gap, at, ...rest].slice(breaching === 1 ? 1 : 0) },
    ],
  ]
}
/** For each alarm, what it goes off for, and what it just does not. */
const EDGES: Record<string, [on: Series[], off: Series[]]> = {
  'dead-letters-jobs': simple('dead', 0, 1, 1),
  'dead-letters-subscriber': simple('dead', 0, 1, 1),
  'dead-letters-webhook': simple('dead', 0, 1, 1),
  'oldest-job': simple('age', 360, 2, 2),
  'images-wait': simple('age', 1_800, 3, 2),
  'nothing-completes': [
    [{ claimed: [10], completed: [0] }],
    [
      { claimed: [9, 9, 9], completed: [0, 0, 0] },
      { claimed: [10, 100], completed: [1, 1] },
      { claimed: [none], completed: [none] },
    ],
  ],
  'failure-ratio': [
    [
      { failed: [51, 0, 51], completed: [49, 0, 49] },
      { failed: [11, 11], completed: [9, 9] },
    ],
    [
      { failed: [10, 10, 10], completed: [10, 10, 10] },
      { failed: [19, 19, 19], completed: [0, 0, 0] },
      { failed: [51, 0, 0, 51], completed: [49, 0, 0, 49] },
      { failed: [none, none], completed: [none, none] },
    ],
  ],
  'events-refused': simple('refused', 0, 3, 2),
  'cost-today': [[{ calls: [1_001] }], [{ calls: [1_000, 1_000] }, { calls: [none, none] }]],
  'budget-spent': simple('spent', 0, 1, 1),
  'events-lost-subscriber': simple('lost', 0, 1, 1),
  'events-lost-webhook': simple('lost', 0, 1, 1),
  'sweeper-silent': [[{ calls: [1, none] }, { calls: [0] }], [{ calls: [1, 1, 1] }]],
  'api-errors': simple('errors', 0, 1, 1),
  'worker-errors': simple('errors', 0, 1, 1),
  'sweeper-errors': simple('errors', 0, 1, 1),
  'worker-throttles': simple('throttles', 0, 5, 3),
  'api-5xx': simple('errors', 0, 1, 1),
  'api-latency': simple('accept', 5_000, 3, 2),
}

/** Seconds of a period, where they are not 300. */
const PERIODS: Record<string, number> = {
  ...{ 'nothing-completes': 900, 'cost-today': 86_400, 'sweeper-silent': 900, 'worker-throttles': 60 },
}
/** Values of which the statistic is so much, and another statistic is not. */
const SPREAD: Record<string, (value: number) => number[]> = {
  Sum: (value) => [value / 2, value / 2],
  Maximum: (value) => [...Array.from({ length: 199 }, () => value / 2), value],
  p99: (value) => Array.from({ length: 200 }, (_, index) => (index < 198 ? value : 10 * value)),
}
const STATS: Record<string, string> = {
  ...{ claimed: 'Sum', completed: 'Sum', failed: 'Sum', refused: 'Sum', lost: 'Sum', calls: 'Sum' },
  ...{ spent: 'Sum', errors: 'Sum', throttles: 'Sum', dead: 'Maximum', age: 'Maximum', accept: 'p99' },
}

function isRight(name: string, alarm: Alarm, [on, off]: [on: Series[], off: Series[]]): boolean {
  const ms = (PERIODS[name] ?? 300) * 1_000
  const ringsFor = (series: Series): boolean => {
    const points = Object.entries(alarm.metrics).flatMap(([id, { stat: _, ...metric }]) =>
      (series[id] ?? []).flatMap((value, period) => {
        const values = value === undefined ? [] : (SPREAD[STATS[id] ?? '']?.(value) ?? [])
        return values.map((one, index) => ({
          ...{ ...metric, value: one, at: (period + index / values.length) * ms },
        }))
      }),
    )
    const [first = []] = Object.values(series)
    return goesOff(alarm, points, 0, first.length * ms).length > 0
  }
  return on.every(ringsFor) && !off.some(ringsFor)
}

/** Of a sum or a maximum that is to be more than nothing, it is the same which of them it is. */
const isSame = ({ expression, threshold, comparison }: Alarm): boolean =>
  expression === null && threshold === '0' && comparison === 'GreaterThanThreshold'
const withStat = (alarm: Alarm, stat: string): Alarm => ({
  ...alarm,
  metrics: Object.fromEntries(Object.entries(alarm.metrics).map(([id, metric]) => [id, { ...metric, stat }])),
})

const mutantsOf = (alarm: Alarm): Alarm[] => [
  { ...alarm, period: Number(alarm.period) * 2 },
  ...['Sum', 'Maximum', 'p99']
    .filter((stat) => !isSame(alarm) && Object.values(alarm.metrics).some((metric) => metric.stat !== stat))
    .map((stat) => withStat(alarm, stat)),
  ...[-1, 1].map((step) => ({ ...alarm, threshold: String(Number(alarm.threshold) + step) })),
  ...(alarm.periods > 1 ? [-1, 1].map((step) => ({ ...alarm, breaching: alarm.breaching + step })) : []),
  ...(alarm.periods > alarm.breaching
    ? [-1, 1].map((step) => ({ ...alarm, periods: alarm.periods + step }))
    : []),
  { ...alarm, missing: alarm.missing === 'breaching' ? 'notBreaching' : 'breaching' },
]

describe('the table of alarms', () => {
  it.each(Object.entries(ALARMS))('has %s go off at its limits and not before', (name, alarm) => {
    expect(EDGES).toHaveProperty([name])
    const edges = EDGES[name] as [Series[], Series[]]
    expect(isRight(name, alarm, edges)).toBe(true)
    // An alarm with another limit would be found by this.
    expect(mutantsOf(alarm).filter((mutant) => isRight(name, mutant, edges))).toEqual([])
  })
})

describe('metrics', () => {
  it('are counted once an outcome, also where workers die and jobs are delivered again', async () => {
    const images = many(12, 500)
    const faults = [60, 90, 130, 170, 210].map((call) => ({ call, fault: 'death after' as const }))
    const { total, run } = await watch(images, { faults })
    expect(run.world.faults).toBeGreaterThan(0)
    const outcomes = new Set(run.world.bus.events.map(({ detail }) => detail.eventId)).size
    expect(total('Completed') + total('Failed')).toBeLessThanOrEqual(outcomes)
    expect(total('Completed') + total('Failed')).toBeGreaterThanOrEqual(outcomes - faults.length)
  })

  it.each(['worker DetectLabels', 'worker PutEvents'])(
    'are those of all that had come about where the first %s of a batch kills the worker',
    async (name) => {
      const firsts: Scenario['firsts'] = [{ name, from: 1, count: 1, fault: 'death before' }]
      const images = [...many(9, 0), good(0, { picture: 'corrupt' })]
      // So that one batch takes them all.
      const outages: Scenario['outages'] = [
        { name: 'lambda ReceiveMessage', from: 0, to: 5_000, fault: 'refuse' },
      ]
      // A share at which the batch's calls, and so its events, come within the time that the first of them waits for the others.
      const { total } = await watch(images, { firsts, outages, share: 10 })
      // What was claimed is claimed once more where there was no outcome, and each outcome comes once.
      expect([total('Claimed') > 10, total('Completed')]).toEqual([name.includes('Detect'), 9])
    },
  )

  it('of alarms are metrics that a function writes', () => {
    const own = Object.values(ALARMS).flatMap(({ metrics }) =>
      Object.values(metrics).filter(({ namespace }) => namespace === 'simulated'),
    )
    const named = own.map(({ name, dimensions }) => [name, ...Object.entries(dimensions).flat()].join(' '))
    expect(named.filter((name) => !series().includes(name))).toEqual([])
  })

  it('are at most 40 to pay for, as many as the documents say', () => {
    const most = series().length
    expect(most).toBeLessThanOrEqual(40)
    const read = (path: string) => readFileSync(join(import.meta.dirname, '../..', path), 'utf8')
    // $0.30 for each of the first 10,000 (us-east-1).
    const dollars = Math.round(most * 0.3)
    expect(read('infrastructure/modules/image-analyzer/variables.tf')).toContain(
      `up to ${most} of them, for up to $${dollars} a month`,
    )
    expect(read('docs/guides/costs.md')).toContain(`own metrics, up to $${dollars},`)
  })

  it('that alarms are made of are named where metrics can be switched off', () => {
    const own = Object.entries(ALARMS).flatMap(([name, { metrics }]) =>
      Object.values(metrics).some(({ namespace }) => namespace === 'simulated') ? [name] : [],
    )
    const variables = readFileSync(
      join(import.meta.dirname, '../../infrastructure/modules/image-analyzer/variables.tf'),
      'utf8',
    )
    const [, said = ''] = /there are no alarms by them: ([^."]+)\./.exec(variables) ?? []
    expect(said.split(/, | and /)).toEqual(own)
  })

  it('of each alarm are explained in the runbook, and named in infrastructure/README.md', () => {
    const [runbook, list] = ['docs/runbook.md', 'infrastructure/README.md'].map((file) =>
      readFileSync(join(import.meta.dirname, '../..', file), 'utf8'),
    )
    expect(Object.keys(ALARMS).filter((name) => !runbook?.includes(`\n### ${name}\n`))).toEqual([])
    expect(Object.keys(ALARMS).filter((name) => !list?.includes(`(../docs/runbook.md#${name})`))).toEqual([])
  })
})

/** What AWS measures, by which dimensions (the CloudWatch pages of the services' guides). */
const MEASURED: Record<string, string> = {
  'AWS/SQS ApproximateNumberOfMessagesVisible': 'QueueName',
  'AWS/SQS ApproximateAgeOfOldestMessage': 'QueueName',
  'AWS/Lambda Invocations': 'FunctionName',
  'AWS/Lambda Errors': 'FunctionName',
  'AWS/Lambda Throttles': 'FunctionName',
  'AWS/ApiGateway 5XXError': 'ApiName, Stage',
  'AWS/Events InvocationsFailedToBeSentToDlq': 'EventBusName, RuleName',
}

const lacking = missing()
describe.skipIf(lacking.length > 0)(`the alarms of a deployment${skipped(lacking)}`, () => {
  it('watch metrics that AWS has, of queues, functions, rules and a gateway that are there', async () => {
    const { everything } = await renderPlans()
    const named = (type: string, key: string) => everything?.ofType(type).map(({ after }) => after[key]) ?? []
    const rules = everything?.ofType('aws_cloudwatch_event_rule').map(({ after }) => after) ?? []
    const there: Record<string, unknown[]> = {
      QueueName: named('aws_sqs_queue', 'name'),
      FunctionName: named('aws_lambda_function', 'function_name'),
      EventBusName: named('aws_cloudwatch_event_bus', 'name'),
      // Of the bus; the schedule's rule is on the default one.
      RuleName: rules.flatMap(({ name, event_pattern }) => (event_pattern ? [name] : [])),
      ApiName: named('aws_api_gateway_rest_api', 'name'),
      Stage: named('aws_api_gateway_stage', 'stage_name'),
      service: ['api', 'worker', 'sweeper'],
    }
    const [namespace] = there['EventBusName'] ?? []
    const alarms = everything?.ofType('aws_cloudwatch_metric_alarm') ?? []
    expect(alarms.length).toBeGreaterThan(15)
    for (const { address, after } of alarms) {
      const queries = after['metric_query'] as { metric: Watched[] }[]
      for (const metric of queries.flatMap(({ metric }) => metric)) {
        const dimensions = Object.entries(metric.dimensions)
        const measured = `${metric.namespace} ${metric.metric_name}`
        const known = metric.namespace === namespace ? 'service' : MEASURED[measured]
        expect(dimensions.map(([key]) => key).join(', '), `${address} ${measured}`).toBe(known)
        for (const [key, value] of dimensions) expect(there[key], `${address} ${key}`).toContain(value)
      }
    }
  })
})
interface Watched {
  namespace: string
  metric_name: string
  dimensions: Record<string, string>
}

describe.skipIf(lacking.length > 0)(`the dashboard${skipped(lacking)}`, () => {
  it('draws metrics that a function writes, every failure’s code, every analysis, and every alarm', async () => {
    const plans = await renderPlans()
    const { dashboard_body } = plans.defaults.get('aws_cloudwatch_dashboard.images[0]')
    const { widgets } = JSON.parse(dashboard_body as string) as {
      widgets: {
        type: string
        properties: { title: string; metrics?: string[][]; alarms?: string[] } & Limits
      }[]
    }
    const drawn = widgets
      .flatMap(({ properties }) => properties.metrics ?? [])
      // An expression is an object.
      .filter(([namespace]) => typeof namespace === 'string')
    const own = drawn.filter(([namespace]) => namespace === 'image-analyzer')
    expect(own.length).toBeGreaterThan(10)
    const there = series()
    const named = own.map(([, ...names]) => names.filter((name) => typeof name === 'string').join(' '))
    expect(named.filter((name) => !there.includes(name))).toEqual([])
    expect(own.map((metric) => metric[5]).filter((value) => typeof value === 'string')).toEqual([
      ...FAILURE_CODES,
      ...PAID_ANALYSES,
    ])
    const others = drawn.filter(([namespace]) => namespace !== 'image-analyzer')
    expect(new Set(others.map(([namespace, name]) => `${namespace} ${name}`))).toEqual(
      new Set([
        ...['ApproximateNumberOfMessagesVisible', 'ApproximateNumberOfMessagesNotVisible'].map(
          (name) => `AWS/SQS ${name}`,
        ),
        ...['AWS/SQS ApproximateAgeOfOldestMessage', 'AWS/Lambda Errors', 'AWS/Lambda Duration'],
        ...['AWS/Lambda ConcurrentExecutions', 'AWS/Lambda Throttles'],
        ...['Count', '4XXError', '5XXError'].map((name) => `AWS/ApiGateway ${name}`),
      ]),
    )
    const alarms = plans.defaults.ofType('aws_cloudwatch_metric_alarm')
    expect(widgets[0]?.properties.alarms).toHaveLength(alarms.length)
    expect(alarms.length).toBeGreaterThan(9)
    // What a graph is to stay below.
    const limits = widgets.flatMap(({ properties: { title, annotations } }) =>
      (annotations?.horizontal ?? []).map(({ value }) => [title.replace(/[ ,].*/, ''), value]),
    )
    const worker = plans.defaults.get('aws_lambda_event_source_mapping.jobs')
    const [scaling] = worker['scaling_config'] as { maximum_concurrency: number }[]
    expect(limits).toEqual([
      ...[29, 60, 300].map((seconds) => ['Duration', seconds * 1_000]),
      ['Functions', scaling?.maximum_concurrency],
    ])
  })
})
interface Limits {
  annotations?: { horizontal: { label: string; value: number }[] }
}
