import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { FAILURE_CODES, PAID_ANALYSES } from '../../shared/image.ts'
import { countsOf, embedded, LINES } from '../../shared/log.ts'

/** The alarms as Terraform makes them, and CloudWatch's rules for them, over metrics of a run in virtual time. */

export interface Point {
  /** Milliseconds since 1970. */
  at: number
  namespace: string
  name: string
  dimensions: Record<string, string>
  value: number
}

export interface Alarm {
  metrics: Record<
    string,
    { namespace: string; name: string; dimensions: Record<string, string>; stat: string }
  >
  expression: string | null
  period: number | string
  comparison: string
  threshold: string
  periods: number
  breaching: number
  missing: string
}

/** As `templatefile` of Terraform fills it in, with the defaults of variables.tf. */
const VALUES: Record<string, string> = {
  name: 'simulated',
  sweep_minutes: '5',
  max_wait_minutes: '30',
  visibility_timeout: '360',
  daily_cost_usd: '1',
  'max_wait_minutes * 60': '1800',
  '3 * sweep_minutes * 60': '900',
}
const file = join(import.meta.dirname, '../../infrastructure/modules/image-analyzer/alarms.json')
export const ALARMS: Record<string, Alarm> = JSON.parse(
  readFileSync(file, 'utf8').replaceAll(/\$\{([^}]+)\}/g, (_, name: string) => VALUES[name] ?? 'unknown'),
)

/** All series that CloudWatch makes of our lines, each by name and dimensions as a dashboard has them. */
export function series(): string[] {
  const told = [
    ...FAILURE_CODES.map((code) => ({ code })),
    ...PAID_ANALYSES.map((analysis) => ({ analysis })),
  ]
  const numbers = { bytes: 1, acceptMs: 1, workMs: 1, totalMs: 1, paidCalls: 1, callsPerSecond: 1 }
  const points = Object.entries(LINES).flatMap(([event, { by }]) =>
    [...told, { reused: true as const }].flatMap((fact) => {
      const facts = { event, ...numbers, analysis: 'labels', code: 'EXHAUSTED', ...fact }
      // The sweeper gives images up, and knows no verdict.
      if (by === 'sweeper' && facts.code !== 'EXHAUSTED') return []
      return pointsOf(0, by.toLowerCase(), { ...facts, ...embedded('image-analyzer', countsOf(facts)) })
    }),
  )
  return [
    ...new Set(points.map(({ name, dimensions }) => [name, ...Object.entries(dimensions).flat()].join(' '))),
  ]
}

/** Of a metric in one line (embedded metric format, specification). */
const MOST_VALUES = 100

/** What CloudWatch takes from a line (the same). */
export function pointsOf(at: number, service: string, line: Record<string, unknown>): Point[] {
  const root: Record<string, unknown> = { service, ...line }
  const { CloudWatchMetrics = [] } = (line['_aws'] ?? {}) as {
    CloudWatchMetrics?: { Namespace: string; Dimensions: string[][]; Metrics: { Name: string }[] }[]
  }
  return CloudWatchMetrics.flatMap(({ Namespace, Dimensions, Metrics }) =>
    Dimensions.flatMap((names) =>
      Metrics.map(({ Name }) => {
        const dimensions = Object.fromEntries(names.map((name) => [name, root[name]]))
        const values = [root[Name]].flat()
        const isTaken = values.every((value) => typeof value === 'number') && values.length <= MOST_VALUES
        if (!isTaken || Object.values(dimensions).some((one) => typeof one !== 'string')) {
          throw new Error(`CloudWatch finds no ${Name} of ${names} in ${JSON.stringify(line)}.`)
        }
        const point = {
          at,
          namespace: Namespace,
          name: Name,
          dimensions: dimensions as Record<string, string>,
        }
        return values.map((value) => ({ ...point, value }))
      }),
    ),
  ).flat()
}

/** Statistics of a metric, by the period: the value of the periods that have one. */
function statistics(
  points: Point[],
  { namespace, name, dimensions, stat }: Alarm['metrics'][string],
  periodMs: number,
): Map<number, number> {
  const key = JSON.stringify(dimensions)
  const values = Map.groupBy(
    points.filter(
      (one) => one.namespace === namespace && one.name === name && JSON.stringify(one.dimensions) === key,
    ),
    ({ at }) => Math.floor(at / periodMs),
  )
  const of: Record<string, (values: number[]) => number> = {
    Sum: (all) => all.reduce((sum, value) => sum + value, 0),
    Maximum: (all) => Math.max(...all),
    p99: (all) => all.toSorted((a, b) => a - b)[Math.ceil(all.length * 0.99) - 1] ?? Number.NaN,
  }
  return new Map(
    [...values].map(([period, all]) => [period, of[stat]?.(all.map(({ value }) => value)) ?? Number.NaN]),
  )
}

/** The little metric math that the alarms have; a metric without a value leaves the expression without one. */
function compute(expression: string, values: Record<string, number | undefined>): number | undefined {
  if (Object.values(values).includes(undefined)) return undefined
  if (!/^[\w\s()+*/<>=,-]+$/.test(expression)) throw new Error(`No metric math: ${expression}`)
  const body = expression.replaceAll('AND', '&&').replaceAll('IF(', 'choose(')
  const choose = (condition: boolean, yes: number, no: number): number => (condition ? yes : no)
  return new Function(...Object.keys(values), 'choose', `return ${body}`)(...Object.values(values), choose)
}

/**
 * When an alarm goes off, in milliseconds since 1970: M of the last N periods have a breaching value. Where values are
 * missing `missing` fills in for them (Amazon CloudWatch user guide, configuring how alarms treat missing data).
 */
export function goesOff(alarm: Alarm, points: Point[], from: number, to: number): number[] {
  const periodMs = Number(alarm.period) * 1_000
  const series = Object.entries(alarm.metrics).map(
    ([id, metric]) => [id, statistics(points, metric, periodMs)] as const,
  )
  const breaches = (period: number): boolean => {
    const values = Object.fromEntries(series.map(([id, byPeriod]) => [id, byPeriod.get(period)]))
    const value = alarm.expression === null ? Object.values(values)[0] : compute(alarm.expression, values)
    if (value === undefined) return alarm.missing === 'breaching'
    return alarm.comparison === 'LessThanThreshold'
      ? value < Number(alarm.threshold)
      : value > Number(alarm.threshold)
  }
  const off: number[] = []
  // Whole periods only: of one that is not over yet, CloudWatch may know too little.
  for (let period = Math.ceil(from / periodMs); (period + 1) * periodMs <= to; period += 1) {
    const last = Array.from({ length: alarm.periods }, (_, back) => period - back).filter(
      (one) => one * periodMs >= from,
    )
    if (last.filter(breaches).length >= alarm.breaching) off.push((period + 1) * periodMs)
  }
  return off
}
