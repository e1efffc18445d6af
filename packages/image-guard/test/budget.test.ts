import { afterEach, expect, it, vi } from 'vitest'
import { Budget, within } from '../index.ts'

afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

it('work that is given up keeps its share of the budget until it ends', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  let microseconds = 0
  vi.spyOn(process, 'cpuUsage').mockImplementation((before) => ({
    user: microseconds - (before?.user ?? 0),
    system: 0,
  }))
  const budget = new Budget(10, 2)
  let end = (): void => {}
  const endless = new Promise<void>((resolve) => {
    end = resolve
  })
  const given = budget.run(10, () => endless, {
    inTime: (work) => within(1, () => new Error('late'), work),
  })
  await new Promise(setImmediate)
  microseconds += 1_000_000
  vi.advanceTimersByTime(1_000)
  await expect(given).rejects.toThrow('late')
  let begun = false
  const next = budget.run(1, async () => {
    begun = true
  })
  await new Promise(setImmediate)
  expect(begun).toBe(false)
  end()
  await next
  expect(begun).toBe(true)
})

it('a heavy piece of work is not overtaken by light ones that came later, and one that leaves lets them begin', async () => {
  const budget = new Budget(10)
  const begun: string[] = []
  let end = (): void => {}
  const first = budget.run(6, () => new Promise<void>((resolve) => (end = resolve)))
  const leave = new AbortController()
  const work = (name: string) => async () => {
    begun.push(name)
  }
  const heavy = budget.run(9, work('heavy'), { signal: leave.signal })
  const light = budget.run(1, work('light'))
  await new Promise(setImmediate)
  expect(begun).toEqual([])
  leave.abort(new Error('too late'))
  await expect(heavy).rejects.toThrow('too late')
  await light
  expect(begun).toEqual(['light'])
  end()
  await first
})

it('a piece of work heavier than the whole budget runs alone', async () => {
  const budget = new Budget(10)
  const most: number[] = []
  const work = async () => {
    most.push(budget.running)
    await new Promise(setImmediate)
  }
  await Promise.all([budget.run(1, work), budget.run(99, work), budget.run(1, work)])
  expect(most).toEqual([1, 1, 1])
})
