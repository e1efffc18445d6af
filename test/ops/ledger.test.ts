import { afterAll, beforeAll, expect, it } from 'vitest'
import { cost, readMonth } from '../../bench/cost.ts'
import type { Share } from '../../bench/requests.ts'
import { costOf } from '../../ops/images.ts'
import { enterPaid, reserveCalls } from '../../shared/table.ts'
import { processBatch } from '../../worker/batch.ts'
import { ledgerOf, type WorkerDeps } from '../../worker/deps.ts'
import { lambdaContext, startTestSystem, type TestSystem, watchCalls } from '../context.ts'
import { distinct } from '../pictures/pictures.ts'
import { operatorOf } from './operator.ts'

/** What operators see of the calls of Rekognition that are paid for. test/api/quota.test.ts has the budget. */

let system: TestSystem
beforeAll(async () => {
  system = await startTestSystem()
})
afterAll(() => system?.stop())

const { ops } = operatorOf(() => system)

it('cost foretells nothing of the first moment of a month, of UTC in any time zone', async () => {
  const costAt = (at: string) => costOf({ ...system.worker, now: () => new Date(at) })
  await reserveCalls(system.worker, '2033-02', 28)
  expect(await costAt('2033-01-31T23:59:59.999Z')).toMatchObject({ month: '2033-01', calls: 0 })
  expect(await costAt('2033-02-01T00:00:00.000Z')).toMatchObject({
    ...{ month: '2033-02', calls: 28, usd: 0.028, forecastUsd: 18.816 },
  })
  expect(await costAt('2033-02-01T01:30:00.000+02:00')).toMatchObject({ month: '2033-01', forecastUsd: 0 })
  expect(await costAt('2033-03-01T00:00:00.000Z')).toMatchObject({ calls: 0, forecastUsd: 0 })
})

/** A system whose clock is in a month of its own. */
const at = (time: string): WorkerDeps => ({ ...system.worker, now: () => new Date(time) })
/** Works on images of these bytes in one batch. */
async function work(numbers: number[], ...analyses: string[]) {
  for (const number of numbers)
    await system.setItem(await system.submit(await distinct(number)), { analyses })
  await system.work()
}

it('the ledger has what was paid for by day and analysis, with one write a batch, and none for what costs nothing', async () => {
  const writes: unknown[] = []
  watchCalls(system).before = (_, input) => {
    const { imageId } = Object(input['Key'])
    if (String(imageId).startsWith('paid#')) writes.push(input)
  }
  const today = new Date().toISOString().slice(0, 10)
  await work([100, 101, 102], 'labels', 'faces')
  await work([200, 201], 'labels')
  // The same bytes as before.
  await work([100], 'labels', 'faces')
  expect(writes).toHaveLength(2)
  const { paid, days, calls } = await costOf(system.worker)
  expect(days).toEqual([{ day: today, calls: 8, usd: 0.008, labels: 5, faces: 3 }])
  expect(paid).toMatchObject({ calls: 8, usd: 0.008 })
  expect(calls).toBe(0)
  expect((await ops(['cost'])).out).toMatch(
    new RegExp(
      `^8 calls paid for, \\$0.008 this month; .*\\n${today}  8 calls, \\$0.008  labels 5, faces 3\\n$`,
    ),
  )
})

it('an attempt that fails has paid for its answers, and a ledger that is away has them with the next batch', async () => {
  const deps = at('2034-05-06T07:08:09Z')
  const calls = { labels: 2, faces: 1 }
  const trouble: unknown[] = []
  const broken = { send: () => Promise.reject(new Error('the table is away')) } as never
  const log = { ...deps.log, warn: (_: string, facts: object) => trouble.push(facts) }
  let dynamo = broken
  const away = {
    send: (...given: never[]) => (dynamo as { send: (...given: never[]) => unknown }).send(...given),
  }
  const ledger = ledgerOf({ ...deps, log: log as never, dynamo: away as never })
  for (const name of ['labels', 'faces', 'labels'] as const) ledger.paid(name)
  const { signal } = new AbortController()
  await ledger.enterPaid(signal)
  expect(trouble).toMatchObject([{ event: 'not entered', error: { message: 'the table is away' } }])
  dynamo = deps.dynamo as never
  await ledger.enterPaid(signal)
  await ledger.enterPaid(signal)
  expect((await costOf(deps)).days).toEqual([{ day: '2034-05-06', calls: 3, usd: 0.003, ...calls }])

  const imageId = await system.submit(await distinct(300))
  const faces = { send: async () => Promise.reject(new Error('no')) }
  const own = ledgerOf(at('2034-06-07T00:00:00Z'))
  const { rekognition } = system.worker
  const half = {
    send: (command: object, ...rest: never[]) =>
      command.constructor.name === 'DetectFacesCommand'
        ? faces.send()
        : rekognition.send(command as never, ...rest),
  }
  const batch = await system.receiveJobs()
  await processBatch({ ...system.worker, ...own, rekognition: half as never }, batch, lambdaContext())
  expect(await system.item(imageId)).toMatchObject({ paidCalls: { labels: 1 }, status: 'processing' })
  expect((await costOf(at('2034-06-08T00:00:00Z'))).days).toMatchObject([{ day: '2034-06-07', labels: 1 }])
})

it.each([
  ['1000', '0', '2.00'],
  ['123450', '0.1', '222.21'],
  // 1,160,000 calls beyond the first million.
  ['1200000', '0.1', '1928.00'],
])(
  'of %s images ops cost has the dollars of npm run cost, to the cent',
  async (images, duplicates, dollars) => {
    const share = (asked: number): Share => ({ by: new Map(), images: 10, asked })
    const counts = { api: share(0), worker: share(20), again: share(0) }
    const month = readMonth(['--images', images, '--duplicates', duplicates])
    const rows = cost(month, { with: counts, without: counts }) as Record<string, number | string>[]
    const reckoned = rows.find(({ $: service }) => service === 'Rekognition')?.['this system']
    // The same calls, on days of a month: what the last cost falls beyond the first million.
    const paid = Math.round(month.images * (1 - month.duplicates))
    const year = 2040 + images.length
    const parts = [0.5, 0.3, 0.2].map((part) => Math.round(paid * part))
    parts[2] = paid - (parts[0] ?? 0) - (parts[1] ?? 0)
    for (const [index, labels] of parts.entries())
      await enterPaid(system.worker, `${year}-03-0${index + 1}`, { labels, faces: labels })
    const found = await costOf(at(`${year}-03-31T12:00:00Z`))
    expect(found.paid).toMatchObject({ calls: 2 * paid })
    expect(found.paid.usd.toFixed(2)).toBe(dollars)
    expect(found.paid.usd.toFixed(2)).toBe(Number(reckoned).toFixed(2))
    const sum = found.days.reduce((all, { usd }) => all + usd, 0)
    expect(sum.toFixed(2)).toBe(found.paid.usd.toFixed(2))
  },
)
