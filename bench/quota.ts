import { monitorEventLoopDelay } from 'node:perf_hooks'
import { RekognitionClient } from '@aws-sdk/client-rekognition'
import { AwsError, startService } from '../packages/embedded-aws/index.ts'
import { createRekognition } from '../rekognition/service.ts'
import { clientOptions, elapsed, sleep } from '../shared/aws.ts'
import { PAID_ANALYSES } from '../shared/image.ts'
import { distinct } from '../test/pictures/pictures.ts'
import { analyse } from '../worker/analysis.ts'
import { limitersFor } from '../worker/limiter.ts'
import { BATCH } from './deployed.ts'
import { round } from './figures.ts'

interface Case {
  analyses: number
  /** Each with limiters and connections of its own, as a process has; all in this one, to cost less. */
  workers: number
  /** Calls a second of each operation. */
  quota: number
  /** Whether each worker is given its part of the quota; without that it learns. */
  share: boolean
}

/** At 50 a second the fewest and the most processes: each of these cases has the machine for itself. */
const CASES: Case[] = [5, 50].flatMap((quota) =>
  [1, 4].flatMap((analyses) =>
    (quota === 5 ? [1, 3, 10] : [1, 10]).flatMap((workers) =>
      [true, false].map((share) => ({ quota, analyses, workers, share })),
    ),
  ),
)

/** Cases that ask for little. */
const SIDE_BY_SIDE = 6
/** Milliseconds until Rekognition answers. */
const LATENCY_MS = 150

/**
 * How much of Rekognition's quota a backlog uses, in real time and over the wire, and how many calls are throttled: the
 * stand-in counts the calls of each operation, as Amazon does. Learning is in it. A process that gets too little of the
 * machine naps for longer than it asks for, and uses less: how much longer is beside it.
 */
export async function quota(seconds = 40, cases = CASES): Promise<object[]> {
  const rows: object[] = []
  const few = cases.filter((one) => one.quota < 10)
  for (let from = 0; from < few.length; from += SIDE_BY_SIDE)
    rows.push(
      ...(await Promise.all(few.slice(from, from + SIDE_BY_SIDE).map((one) => useQuota(one, seconds)))),
    )
  for (const one of cases.filter((one) => !few.includes(one))) rows.push(await useQuota(one, seconds / 3))
  return rows
}

async function useQuota({ analyses: count, workers, quota, share }: Case, seconds: number): Promise<object> {
  const analyses = PAID_ANALYSES.slice(0, count)
  const images = await Promise.all(Array.from({ length: BATCH }, (_, number) => distinct(number)))
  const late = monitorEventLoopDelay()
  late.enable()
  let [calls, served, throttled, inHalf] = [0, 0, 0, 0]
  const takes = createRekognition({ readObject: async () => undefined, tps: quota, latencyMs: LATENCY_MS })
  const { endpoint, stop } = await startService({
    port: 0,
    name: 'RekognitionService',
    service: async (name, input) => {
      calls += 1
      const isLate = elapsed() > stopped - seconds * 500
      try {
        const answer = await takes(name, input)
        if (elapsed() < stopped) served += 1
        if (isLate) inHalf += 1
        return answer
      } catch (error) {
        if (error instanceof AwsError && isLate) [throttled, inHalf] = [throttled + 1, inHalf + 1]
        throw error
      }
    },
  })
  const stopped = elapsed() + seconds * 1_000
  const work = async (): Promise<void> => {
    const deps = {
      rekognition: new RekognitionClient({
        ...clientOptions({
          endpoint,
          region: 'us-east-1',
          credentials: { accessKeyId: 'a', secretAccessKey: 'b' },
        }),
        maxAttempts: 1,
      }),
      limiters: limitersFor({
        elapsed,
        sleep,
        random: Math.random,
        ...(share ? { callsPerSecond: quota / workers } : {}),
      }),
      minConfidence: 70,
      maxLabels: 10,
      elapsed,
      paid: () => {},
    }
    const signal = AbortSignal.timeout(Math.ceil(seconds * 1_000) + 5_000)
    const time = { until: stopped, stopped, signal, ending: signal }
    while (elapsed() < stopped)
      await Promise.all(
        images.map((Bytes) => analyse(deps, { first: async () => ({ Bytes }) }, analyses, {}, time)),
      )
    deps.rekognition.destroy()
  }
  await Promise.all(Array.from({ length: workers }, work))
  await stop()
  late.disable()
  const most = quota * count * seconds
  const percent = (part: number, whole: number): number => Math.round((part / whole) * 1_000) / 10
  return {
    'calls/s': quota,
    analyses: count,
    workers,
    'told its share': share,
    calls,
    'used %': percent(served, most),
    'throttled % (second half)': percent(throttled, inHalf),
    'naps longer by ms': round(late.mean / 1e6 - 10),
  }
}
