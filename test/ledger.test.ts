import { afterAll, beforeAll, expect, it } from 'vitest'
import { costOf } from '../ops/images.ts'
import { reserveCalls } from '../shared/table.ts'
import { startTestSystem, type TestSystem } from './context.ts'

/** What operators see of the calls of Rekognition that are paid for. test/quota.test.ts has the budget. */

let system: TestSystem
beforeAll(async () => {
  system = await startTestSystem()
})
afterAll(() => system?.stop())

it('cost foretells nothing of the first moment of a month, of UTC in any time zone', async () => {
  const costAt = (at: string) => costOf({ ...system.worker, now: () => new Date(at) })
  await reserveCalls(system.worker, '2033-02', 28)
  expect(await costAt('2033-01-31T23:59:59.999Z')).toMatchObject({ month: '2033-01', calls: 0 })
  expect(await costAt('2033-02-01T00:00:00.000Z')).toEqual({
    ...{ month: '2033-02', calls: 28, usd: 0.028, forecastUsd: 18.816 },
  })
  expect(await costAt('2033-02-01T01:30:00.000+02:00')).toMatchObject({ month: '2033-01', forecastUsd: 0 })
  expect(await costAt('2033-03-01T00:00:00.000Z')).toMatchObject({ calls: 0, forecastUsd: 0 })
})
