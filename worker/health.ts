import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { countsOf, type Log, METRICS, type Metric } from '../shared/log.ts'

/** What a worker outside Lambda says of itself: whether it lives and can work, and the metrics of docs/log.md. */

/** As Prometheus names it (its documentation, "Metric and label naming"): seconds rather than milliseconds. */
const nameOf = (metric: string): string => {
  const words = metric.replace(/Ms$/, '').replaceAll(/([a-z])([A-Z])/g, '$1_$2')
  return `image_analyzer_${words.toLowerCase()}`
}
const UNITS: Record<string, string> = { Milliseconds: 'seconds', Seconds: 'seconds', Bytes: 'bytes' }

export interface Counting {
  /** A log whose lines are counted. */
  log: Log
  /** In Prometheus's text format 0.0.4. */
  text: () => string
}

/** Counts what the lines of a log say, from the start of the process on. */
export function counting(log: Log): Counting {
  const series = new Map<string, number>()
  const add = (name: string, value: number): void => void series.set(name, (series.get(name) ?? 0) + value)
  const count = (facts: Record<string, unknown>): void => {
    for (const [metric, value = 0] of Object.entries(countsOf(facts))) {
      const unit = METRICS[metric as Metric]
      if (unit === 'Count') {
        const code = metric === 'Failed' ? `{code="${facts['code']}"}` : ''
        // The noughts are for CloudWatch's alarms.
        if (value > 0) add(`${nameOf(metric)}_total${code}`, value)
        continue
      }
      add(`${nameOf(metric)}_${UNITS[unit]}_sum`, unit === 'Milliseconds' ? value / 1_000 : value)
      add(`${nameOf(metric)}_${UNITS[unit]}_count`, 1)
    }
  }
  const counted =
    (write: Log['info']): Log['info'] =>
    (message, extra) => {
      count(extra)
      write(message, extra)
    }
  return {
    log: {
      info: counted((...line) => log.info(...line)),
      warn: counted((...line) => log.warn(...line)),
      error: counted((...line) => log.error(...line)),
      namespace: log.namespace,
    },
    text: () =>
      [...series]
        .map(([name, value]) => `${name} ${value}\n`)
        .sort()
        .join(''),
  }
}

/**
 * @param trouble why the worker cannot take jobs; nothing where it can
 * @returns the port; rejects with the system's own error (EADDRINUSE, EACCES)
 */
export function startHealth(
  port: number,
  trouble: () => Promise<string | undefined>,
  metrics: () => string,
): Promise<number> {
  const server: Server = createServer(async ({ url, method }, response) => {
    const answer = (status: number, body: object): void =>
      void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    if (method !== 'GET' && method !== 'HEAD') return answer(405, { status: 'GET only' })
    if (url === '/live') return answer(200, { status: 'live' })
    if (url === '/ready') {
      const reason = await trouble()
      return reason === undefined
        ? answer(200, { status: 'ready' })
        : answer(503, { status: 'not ready', reason })
    }
    if (url !== '/metrics') return answer(404, { status: 'There are /live, /ready and /metrics.' })
    response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }).end(metrics())
  })
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    // At every address: a probe comes from outside of a container.
    server.listen(port, () => resolve((server.address() as AddressInfo).port))
  })
}
