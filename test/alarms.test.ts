import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { missing } from '../build/terraform.ts'
import { FAILURE_CODES } from '../shared/image.ts'
import { METRICS } from '../shared/log.ts'
import { ALARMS, goesOff, type Point, pointsOf } from './simulation/alarms.ts'
import { play, preparePictures, type Scenario } from './simulation/scenario.ts'
import { renderPlans } from './terraform.ts'
import { skipped } from './tools.ts'

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
  const run = await play({ seed: 1, images, faults: [], ...more }, prepared, undefined, (at, service, line) =>
    points.push(...pointsOf(at, service, line)),
  )
  expect(run.ended).toBe(true)
  const begun = Date.UTC(2026, 0, 1)
  for (const at of run.world.sweeps) {
    const dimensions = { FunctionName: 'simulated-sweeper' }
    points.push({ at, namespace: 'AWS/Lambda', name: 'Invocations', dimensions, value: 1 })
  }
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

  it('goes off where Lambda throttles the worker in three of five minutes, and not in two', () => {
    const alarm = ALARMS['worker-throttles']
    if (alarm === undefined) throw new Error('There is no such alarm.')
    const off = (minutes: number[], value = 1): number[] => {
      const dimensions = { FunctionName: 'simulated-worker' }
      const points = minutes.map((minute) => ({
        ...{ at: minute * MINUTE, namespace: 'AWS/Lambda', name: 'Throttles', dimensions, value },
      }))
      return goesOff(alarm, points, 0, 20 * MINUTE).map((at) => at / MINUTE)
    }
    expect(off([0, 2, 4])).toEqual([5])
    expect(off([0, 2, 5])).toEqual([])
    expect(off([0, 4])).toEqual([])
    expect(off([0, 1, 2, 3, 4], 0)).toEqual([])
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

  it('of alarms are metrics that a function writes', () => {
    const own = Object.values(ALARMS).flatMap(({ metrics }) =>
      Object.values(metrics).filter(({ namespace }) => namespace === 'simulated'),
    )
    expect(own.filter(({ name }) => !Object.hasOwn(METRICS, name))).toEqual([])
  })

  it('are at most 40 to pay for', () => {
    // One for each function that writes it, and of failures one for each code.
    expect(Object.keys(METRICS).length + 1 + 7).toBeLessThanOrEqual(40)
  })

  it('each alarm has its line in the runbook', () => {
    const runbook = readFileSync(join(import.meta.dirname, '../infrastructure/README.md'), 'utf8')
    expect(Object.keys(ALARMS).filter((name) => !runbook.includes(`| ${name} |`))).toEqual([])
  })
})

const lacking = missing()
describe.skipIf(lacking.length > 0)(`the dashboard${skipped(lacking)}`, () => {
  it('draws metrics that a function writes, every failure’s code, and every alarm', async () => {
    const plans = await renderPlans()
    const { dashboard_body } = plans.defaults.get('aws_cloudwatch_dashboard.images[0]')
    const { widgets } = JSON.parse(dashboard_body as string) as {
      widgets: { type: string; properties: { metrics?: string[][]; alarms?: string[] } }[]
    }
    const drawn = widgets.flatMap(({ properties }) => properties.metrics ?? [])
    const own = drawn.filter(([namespace]) => namespace === 'image-analyzer')
    expect(own.length).toBeGreaterThan(10)
    expect(own.filter(([, name = '']) => !Object.hasOwn(METRICS, name))).toEqual([])
    expect(own.map((metric) => metric[5]).filter((code) => typeof code === 'string')).toEqual([
      ...FAILURE_CODES,
    ])
    const others = drawn.filter(([namespace]) => namespace !== 'image-analyzer')
    expect(new Set(others.map(([namespace, name]) => `${namespace} ${name}`))).toEqual(
      new Set([
        ...['ApproximateNumberOfMessagesVisible', 'ApproximateNumberOfMessagesNotVisible'].map(
          (name) => `AWS/SQS ${name}`,
        ),
        ...['AWS/SQS ApproximateAgeOfOldestMessage', 'AWS/Lambda Errors', 'AWS/Lambda Duration'],
        ...['Count', '4XXError', '5XXError'].map((name) => `AWS/ApiGateway ${name}`),
      ]),
    )
    const alarms = plans.defaults.ofType('aws_cloudwatch_metric_alarm')
    expect(widgets[0]?.properties.alarms).toHaveLength(alarms.length)
    expect(alarms.length).toBeGreaterThan(9)
  })
})
