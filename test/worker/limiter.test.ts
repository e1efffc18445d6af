import { describe, expect, it } from 'vitest'
import { counting } from '../../shared/machine.ts'
import { sayingRates } from '../../worker/deps.ts'
import { type Ends, Limiter, TurnTooLate } from '../../worker/limiter.ts'
import { seeded } from '../random.ts'
import { type Point, pointsOf } from '../simulation/alarms.ts'
import { VirtualClock } from '../simulation/clock.ts'

class TooMany extends Error {}
const isThrottled = (error: unknown): boolean => error instanceof TooMany
const BATCH = 10
const NEVER: Ends = { until: Number.POSITIVE_INFINITY }

/** Ways to count calls against a quota that may change with time; they answer whether there is room for one more. */
type Quota = (secondsFromStart: number) => number
const bucket =
  (holdsSeconds: number) =>
  (clock: VirtualClock, quota: Quota): (() => boolean) => {
    const start = clock.time
    let at = clock.time
    let tokens = Math.max(1, quota(0) * holdsSeconds)
    return () => {
      const perSecond = quota((clock.time - start) / 1_000)
      tokens = Math.min(
        tokens + ((clock.time - at) / 1_000) * perSecond,
        Math.max(1, perSecond * holdsSeconds),
      )
      at = clock.time
      if (tokens < 1) return false
      tokens -= 1
      return true
    }
  }
const fixedWindow = (clock: VirtualClock, quota: Quota): (() => boolean) => {
  const start = clock.time
  let second = -1
  let used = 0
  return () => {
    const now = Math.floor((clock.time - start) / 1_000)
    if (now !== second) used = 0
    second = now
    used += 1
    return used <= quota(now)
  }
}

interface Case {
  /** calls a second: what the service takes of each operation */
  quota: number | Quota
  processes: number
  share?: number
  seconds: number
  counts?: typeof fixedWindow
  /** The service counts both operations together. */
  together?: boolean
  /** ms until a served answer; a throttled one takes 50 */
  latency?: [number, number]
}

/**
 * Processes that work on batches of ten: each image makes a call of both operations side by side, and the next batch
 * begins when all ten are done. All processes begin at the same moment.
 */
async function simulate({
  quota,
  processes,
  share,
  seconds,
  counts = bucket(1),
  together = false,
  latency = [150, 1_000],
}: Case) {
  const random = seeded(1)
  const clock = new VirtualClock(random)
  const between = ([least, most]: [number, number]) => least + random() * (most - least)
  const quotaAt: Quota = typeof quota === 'number' ? () => quota : quota
  const start = clock.time
  const answers: { second: number; process: number; served: boolean }[] = []
  const labels = counts(clock, quotaAt)
  const hasRoom = [labels, together ? labels : counts(clock, quotaAt)]
  let stopped = false
  let running = 0

  const work = async (index: number): Promise<void> => {
    running += 1
    const create = () =>
      new Limiter({
        ...(share === undefined ? {} : { callsPerSecond: share }),
        elapsed: () => clock.time,
        sleep: clock.sleep,
        random,
      })
    const limiters = hasRoom.map((takes) => ({ limiter: create(), takes }))
    const call = (takes: () => boolean) => async (): Promise<void> => {
      await clock.sleep(20)
      const served = takes()
      answers.push({ second: (clock.time - start) / 1_000, process: index, served })
      await clock.sleep(served ? between(latency) - 20 : 30)
      if (!served) throw new TooMany()
    }
    while (!stopped) {
      await Promise.allSettled(
        Array.from({ length: BATCH }, () =>
          Promise.all(limiters.map(({ limiter, takes }) => limiter.run(call(takes), isThrottled, NEVER))),
        ),
      )
      await clock.sleep(between([50, 300]))
    }
    running -= 1
  }
  for (let index = 0; index < processes; index++) void work(index)
  await clock.run(() => false, start + seconds * 1_000)
  const seen = answers.slice()
  stopped = true
  await clock.run(() => running === 0, clock.time + 600_000)

  const within = (from: number, to: number) => seen.filter(({ second }) => second >= from && second < to)
  const servedWithin = (from: number, to: number) => within(from, to).filter(({ served }) => served)
  return {
    stoppedAll: running === 0,
    /** Served calls a second; per operation, unless they are counted together. */
    served: (from = 0, to = seconds) => servedWithin(from, to).length / (to - from) / (together ? 1 : 2),
    /** The same of all calls. */
    asked: (from = 0, to = seconds) => within(from, to).length / (to - from) / (together ? 1 : 2),
    /** The part of all calls. */
    throttled: (from = 0, to = seconds) => 1 - servedWithin(from, to).length / within(from, to).length,
    /** What the process with the fewest served calls has, as a part of the mean. */
    poorest: () => {
      const each = Array.from({ length: processes }, (_, index) =>
        servedWithin(0, seconds).reduce((count, answer) => count + Number(answer.process === index), 0),
      )
      return (Math.min(...each) * processes) / each.reduce((sum, count) => sum + count)
    },
  }
}

// Throughput is over the whole time, learning included; throttled answers are counted in its second half.
describe('a backlog is worked off at the quota', () => {
  const quick: [number, number] = [150, 300]
  const slow: [number, number] = [1_000, 1_000]
  it.each<[string, Omit<Case, 'seconds'> & { seconds?: number }, { served?: number; throttled?: number }?]>([
    ['1/s, alone', { quota: 1, processes: 1 }, { served: 0.9 }],
    ['2.5/s, alone', { quota: 2.5, processes: 1 }],
    ['5/s, alone', { quota: 5, processes: 1 }],
    ['5/s, by two', { quota: 5, processes: 2 }],
    ['5/s, by ten', { quota: 5, processes: 10, seconds: 600 }],
    ['20/s, by two', { quota: 20, processes: 2, latency: quick }],
    ['50/s, by five', { quota: 50, processes: 5, latency: quick, seconds: 100 }],
    ['50/s, by ten', { quota: 50, processes: 10, seconds: 100 }],
    ['200/s, by ten', { quota: 200, processes: 10, latency: [150, 150], seconds: 60 }],

    ['1/s, alone with all of it', { quota: 1, processes: 1, share: 1 }],
    ['2.5/s, alone with all of it', { quota: 2.5, processes: 1, share: 2.5 }],
    ['5/s, alone with all of it', { quota: 5, processes: 1, share: 5 }],
    ['5/s, by two with 2.5/s', { quota: 5, processes: 2, share: 2.5 }],
    ['5/s, by ten with 0.5/s', { quota: 5, processes: 10, share: 0.5 }],
    ['50/s, by ten with 5/s', { quota: 50, processes: 10, share: 5, seconds: 50 }],
    ['50/s, by twenty with 2.5/s', { quota: 50, processes: 20, share: 2.5, seconds: 50 }],
    ['200/s, by ten with 20/s', { quota: 200, processes: 10, share: 20, latency: [150, 150], seconds: 30 }],
    ['5/s, by two with ten times their share', { quota: 5, processes: 2, share: 25 }, { throttled: 0.06 }],

    [
      '5/s of slow calls, by two',
      { quota: 5, processes: 2, latency: slow },
      { served: 0.9, throttled: 0.06 },
    ],
    ['5/s of slow calls, by two with 2.5/s', { quota: 5, processes: 2, share: 2.5, latency: slow }],
    ['5/s of slow calls, by ten with 0.5/s', { quota: 5, processes: 10, share: 0.5, latency: slow }],

    ['5/s of both operations, alone', { quota: 5, processes: 1, together: true }],
    ['5/s of both operations, by two with 1.25/s', { quota: 5, processes: 2, share: 1.25, together: true }],
    [
      '50/s of both operations, by ten',
      { quota: 50, processes: 10, together: true, seconds: 100 },
      { throttled: 0.06 },
    ],

    ['5/s, three seconds held, by two', { quota: 5, processes: 2, counts: bucket(3) }, { throttled: 0.07 }],
    [
      '5/s, three seconds held, by ten with 0.5/s',
      { quota: 5, processes: 10, share: 0.5, counts: bucket(3) },
    ],
    ['50/s, half a second held, by ten', { quota: 50, processes: 10, counts: bucket(0.5), seconds: 100 }],
    // A call that meets an empty bucket or the end of a window comes back later than it might have: that is lost here.
    [
      '5/s, half a second held, by ten with 0.5/s',
      { quota: 5, processes: 10, share: 0.5, counts: bucket(0.5) },
      { served: 0.75, throttled: 0.15 },
    ],
    [
      '5/s in fixed windows, by two',
      { quota: 5, processes: 2, counts: fixedWindow },
      { served: 0.75, throttled: 0.06 },
    ],
    [
      '5/s in fixed windows, by ten with 0.5/s',
      { quota: 5, processes: 10, share: 0.5, counts: fixedWindow },
      { served: 0.93 },
    ],
    [
      '50/s in fixed windows, by ten with 5/s',
      { quota: 50, processes: 10, share: 5, counts: fixedWindow, seconds: 50 },
      { served: 0.85 },
    ],
  ])('%s', async (_name, given, { served = 0.95, throttled = 0.05 } = {}) => {
    const seconds = given.seconds ?? 240
    const seen = await simulate({ ...given, seconds })
    expect(seen.stoppedAll).toBe(true)
    expect(seen.served() / Number(given.quota)).toBeGreaterThan(served)
    expect(seen.throttled(seconds / 2)).toBeLessThan(throttled)
    expect(seen.poorest()).toBeGreaterThan(0.3)
  })
})

it('a process with a share asks for no more, however much the service takes', async () => {
  const seen = await simulate({ quota: 50, processes: 1, share: 5, latency: [150, 300], seconds: 240 })
  expect(seen.throttled()).toBe(0)
  expect(seen.asked(10)).toBeGreaterThan(4.75)
  expect(seen.asked(10)).toBeLessThanOrEqual(5.01)
})

it('ten processes that begin together find half a call a second for each, and are not throttled for most of it', async () => {
  const seen = await simulate({ quota: 5, processes: 10, seconds: 120 })
  expect(seen.throttled(0, 40)).toBeLessThan(0.4)
  expect(seen.throttled(40, 120)).toBeLessThan(0.12)
  expect(seen.served() / 5).toBeGreaterThan(0.95)
})

describe('a quota that is not what it was', () => {
  const latency: [number, number] = [150, 300]
  it('is found also when it is a hundredth of the first rate', async () => {
    const seen = await simulate({ quota: 0.1, processes: 1, seconds: 300 })
    expect(seen.served(10) / 0.1).toBeGreaterThan(0.7)
    // Calls a second, of which 0.1 can be served.
    expect(seen.asked(0, 10)).toBeLessThan(3)
    expect(seen.asked(60)).toBeLessThan(0.4)
  })
  it('is used within a minute or so when it has grown', async () => {
    const seen = await simulate({ quota: (s) => (s < 60 ? 5 : 10), processes: 1, latency, seconds: 200 })
    expect(seen.served(0, 60) / 5).toBeGreaterThan(0.95)
    expect(seen.served(120) / 10).toBeGreaterThan(0.95)
  })
  it('is kept to within half a minute when it has shrunk to a quarter', async () => {
    const seen = await simulate({ quota: (s) => (s < 60 ? 20 : 5), processes: 2, latency, seconds: 200 })
    expect(seen.served(60) / 5).toBeGreaterThan(0.95)
    expect(seen.asked(60, 70)).toBeLessThan(4 * 5)
    expect(seen.asked(80, 90)).toBeLessThan(1.7 * 5)
    expect(seen.throttled(90)).toBeLessThan(0.08)
  })
  it('is asked for every ten seconds or so while nothing is served, and used again when it is back', async () => {
    const quota = (s: number) => (s >= 60 && s < 240 ? 0 : 5)
    const seen = await simulate({ quota, processes: 2, latency, seconds: 400 })
    // Each process, in ten seconds.
    expect((seen.asked(120, 240) * 10) / 2).toBeGreaterThan(0.7)
    expect((seen.asked(120, 240) * 10) / 2).toBeLessThan(2)
    expect(seen.served(250, 310) / 5).toBeGreaterThan(0.5)
    expect(seen.served(310) / 5).toBeGreaterThan(0.9)
  })
  it('is not given up by a process that begins while nothing is served', async () => {
    const quota = (s: number) => (s < 180 ? 0 : 5)
    const seen = await simulate({ quota, processes: 2, latency, seconds: 300 })
    expect(seen.served(240) / 5).toBeGreaterThan(0.8)
  })
  it('is asked for every ten seconds or so also when far less is served', async () => {
    const seen = await simulate({ quota: 0.005, processes: 1, seconds: 20_000 })
    expect(seen.asked(15_000)).toBeGreaterThan(0.05)
    expect(seen.asked(15_000)).toBeLessThan(0.2)
  })
})

describe('a limiter', () => {
  const setUp = (callsPerSecond?: number) => {
    const random = seeded(1)
    const clock = new VirtualClock(random)
    let sleeping = 0
    const limiter = new Limiter({
      ...(callsPerSecond === undefined ? {} : { callsPerSecond }),
      elapsed: () => clock.time,
      sleep: async (ms) => {
        sleeping += 1
        await clock.sleep(ms)
        sleeping -= 1
      },
      random,
    })
    const start = clock.time
    const begun: { call: number; ms: number }[] = []
    /** A call that is served after 100 ms, unless `fails` gives an error for it. */
    const call = (number: number, ends = NEVER, fails: () => Error | undefined = () => undefined) =>
      limiter.run(
        async () => {
          begun.push({ call: number, ms: clock.time - start })
          const error = fails()
          if (error !== undefined) throw error
          await clock.sleep(100)
          return number
        },
        isThrottled,
        ends,
      )
    const finish = async <T>(calls: Promise<T>[]): Promise<PromiseSettledResult<T>[]> => {
      let results: PromiseSettledResult<T>[] | undefined
      void Promise.allSettled(calls).then((settled) => {
        results = settled
      })
      await clock.run(() => results !== undefined)
      return results ?? []
    }
    return { clock, start, limiter, begun, call, finish, sleeping: () => sleeping }
  }
  const many = <T>(count: number, make: (number: number) => T): T[] =>
    Array.from({ length: count }, (_, n) => make(n))

  it('begins calls in order of arrival, and a throttled one keeps its place', async () => {
    const { begun, call, finish } = setUp(1)
    let refusals = 0
    const refuses = () => (++refusals < 3 ? new TooMany() : undefined)
    const results = await finish(many(8, (n) => call(n, NEVER, n === 3 ? refuses : undefined)))
    expect(begun.map((each) => each.call)).toEqual([0, 1, 2, 3, 3, 3, 4, 5, 6, 7])
    expect(results).toEqual(many(8, (value) => ({ status: 'fulfilled', value })))
  })

  it('does not count a throttled call against its share', async () => {
    const { begun, call, finish } = setUp(5)
    await finish(
      many(11, (n) => {
        let refusals = 0
        return call(n, NEVER, () => (++refusals === 1 ? new TooMany() : undefined))
      }),
    )
    // Ten more at 5/s take 2 s, and a little longer for a rate that falls by 2 % each time; twice as long otherwise.
    expect((begun.at(-1)?.ms ?? 0) - (begun[0]?.ms ?? 0)).toBeLessThan(3_000)
  })

  it('takes the throttled answers of calls that were under way together for one', async () => {
    const { clock, limiter, call, begun, finish } = setUp(50)
    let refusals = 0
    const refusedTogether = () =>
      limiter.run(
        async () => {
          await clock.sleep(200)
          if (++refusals <= 10) throw new TooMany()
        },
        isThrottled,
        NEVER,
      )
    await finish([...many(10, refusedTogether), ...many(60, (n) => call(n).then(() => {}))])
    expect(refusals).toBe(20)
    // 70 calls at 49/s take 1.4 s, at 41/s (0.98 ^ 10) 1.7 s.
    expect(begun.at(-1)?.ms).toBeLessThan(1_650)
  })

  it('passes any other error on at once, and goes on with the next call', async () => {
    const { begun, call, finish } = setUp(1)
    const denied = new Error('denied')
    const results = await finish([call(0, NEVER, () => denied), call(1)])
    expect(results).toEqual([
      { status: 'rejected', reason: denied },
      { status: 'fulfilled', value: 1 },
    ])
    expect(begun.map((each) => each.call)).toEqual([0, 1])
  })

  it('gives up a call whose turn does not come in time, and its place with it', async () => {
    const { clock, start, begun, call, finish } = setUp(1)
    const late = [call(0), ...many(5, (n) => call(n + 1, { until: start + 1_500 })), call(6)]
    const results = await finish(late)
    const given = results.flatMap((each) => (each.status === 'rejected' ? [each.reason] : []))
    expect(given.length).toBeGreaterThanOrEqual(4)
    expect(given.every((reason) => reason instanceof TurnTooLate)).toBe(true)
    expect(begun.at(-1)?.call).toBe(6)
    expect(clock.time - start).toBeLessThan(3_500)
  })

  it('does not make a call that comes too late, nor let it wait', async () => {
    const { clock, start, begun, call, finish } = setUp(0.1)
    const before = call(0)
    const [late] = await finish([call(1, { until: clock.time })])
    expect(late).toMatchObject({ status: 'rejected', reason: expect.any(TurnTooLate) })
    expect(clock.time).toBe(start)
    await finish([before])
    expect(begun.map((each) => each.call)).toEqual([0])
  })

  it('lets a call wait until its time is over, and no longer', async () => {
    const { clock, start, call, finish } = setUp(0.1)
    await finish([call(0, { until: start + 345 })])
    expect(clock.time - start).toBe(345)
  })

  it('notices within a second that a caller who came later has less time', async () => {
    const { clock, start, call, finish } = setUp(0.1)
    const patient = call(0)
    await finish([call(1, { until: start + 500 })])
    expect(clock.time - start).toBeLessThanOrEqual(1_500)
    await finish([patient])
  })

  it('notices within a second that what a caller works for ends', async () => {
    const { clock, start, begun, call, finish } = setUp(0.1)
    const patient = call(0)
    const ending = new AbortController()
    const { signal } = ending
    const waiting = [call(1, { ...NEVER, signal }), call(2, { ...NEVER, signal })]
    clock.after(300, () => ending.abort())
    const late = { status: 'rejected', reason: expect.any(TurnTooLate) }
    expect(await finish(waiting)).toEqual([late, late])
    expect(clock.time - start).toBeLessThanOrEqual(1_300)
    expect(await finish([call(3, { ...NEVER, signal })])).toEqual([late])
    await finish([patient])
    expect(begun.map((each) => each.call)).toEqual([0])
  })

  it('throws the last throttling error when the time of a throttled call is over', async () => {
    const { clock, start, begun, call, finish } = setUp(5)
    const errors: TooMany[] = []
    const refuses = () => {
      const error = new TooMany()
      errors.push(error)
      return error
    }
    const [result] = await finish([call(0, { until: start + 60_000 }, refuses)])
    expect(result).toEqual({ status: 'rejected', reason: errors.at(-1) })
    expect(clock.time - start).toBeGreaterThanOrEqual(60_000)
    expect(clock.time - start).toBeLessThan(61_000)
    expect(begun.length).toBeLessThan(20)
  })

  it('leaves no timer behind when nobody waits', async () => {
    const { start, call, finish, sleeping } = setUp(2)
    await finish(
      many(20, (n) => call(n, { until: start + 3_000 }, n % 3 === 0 ? () => new TooMany() : undefined)),
    )
    expect(sleeping()).toBe(0)
  })

  it('makes no burst of the time for which its process was frozen', async () => {
    const { clock, begun, call, finish } = setUp(5)
    await finish(many(5, call))
    clock.time += 3_600_000
    const woken = begun.length
    await finish(many(40, call))
    const first = begun[woken]?.ms ?? 0
    // The savings of a second, spent at three times the rate, and what comes in that time.
    expect(begun.slice(woken).filter(({ ms }) => ms <= first + 1_000).length).toBeLessThanOrEqual(5 + 5 + 1)
    expect((begun.at(-1)?.ms ?? 0) - first).toBeGreaterThan(((40 - 1 - 5) / 5) * 1_000 - 500)
  })

  it('neither gains nor loses speed while little is asked of it', async () => {
    const { clock, begun, call, finish } = setUp()
    for (let n = 0; n < 300; n++) {
      await finish([call(n), call(n)])
      clock.time += 2_000
    }
    const before = begun.length
    await finish(many(40, call))
    // Ten a second, of which a second is saved: the other thirty take three seconds.
    const took = (begun.at(-1)?.ms ?? 0) - (begun[before]?.ms ?? 0)
    expect(took).toBeGreaterThan(2_000)
    expect(took).toBeLessThan(3_200)
  })

  it('begins at another moment than those that were started with it', async () => {
    const random = seeded(1)
    const clock = new VirtualClock(random)
    const begun = new Set<number>()
    let left = 10
    for (let n = 0; n < 10; n++) {
      const limiter = new Limiter({
        callsPerSecond: 0.5,
        elapsed: () => clock.time,
        sleep: clock.sleep,
        random,
      })
      const first = limiter.run(async () => begun.add(clock.time), isThrottled, NEVER)
      void first.then(() => {
        left -= 1
      })
    }
    await clock.run(() => left === 0)
    expect(begun.size).toBe(10)
    expect(Math.max(...begun) - Math.min(...begun)).toBeGreaterThan(1_000)
  })
})

describe('what a limiter allows', () => {
  it('is a metric of its analysis, once a minute and where it has changed', async () => {
    const points: Point[] = []
    const take = (_: string, line: Record<string, unknown>) => points.push(...pointsOf(0, 'worker', line))
    const { log, text } = await counting({ info: take, warn: take, error: take, namespace: 'image-analyzer' })
    let [now, rate] = [0, 3]
    const limiter = {
      run: async <T>(call: () => Promise<T>): Promise<T> => call(),
      get rate() {
        return rate
      },
    }
    const each = { labels: limiter, faces: limiter, moderation: limiter, text: limiter }
    const limiters = sayingRates(each, { elapsed: () => now, log })
    const calls = [
      ['labels', 59_999, 2],
      ['labels', 60_000, 2.5],
      ['labels', 200_000, 2.5],
      ['labels', 200_001, 2],
      ['labels', 200_002, 1.9],
      ['faces', 200_003, 0.1],
    ] as const
    for (const [name, at, allowed] of calls) {
      ;[now, rate] = [at, allowed]
      await limiters[name].run(
        async () => {},
        () => false,
        NEVER,
      )
    }
    expect(points.map(({ name, dimensions, value }) => [name, dimensions, value])).toEqual([
      ['LimiterRate', { service: 'worker', analysis: 'labels' }, 2.5],
      ['LimiterRate', { service: 'worker', analysis: 'labels' }, 2],
      ['LimiterRate', { service: 'worker', analysis: 'faces' }, 0.1],
    ])
    // Prometheus asks for what is.
    expect(text().split('\n')).toEqual([
      '# HELP image_analyzer_limiter_rate Calls a second that the worker allows itself, by the analysis.',
      '# TYPE image_analyzer_limiter_rate gauge',
      'image_analyzer_limiter_rate{analysis="faces"} 0.1',
      'image_analyzer_limiter_rate{analysis="labels"} 2',
      '',
    ])
  })
})
