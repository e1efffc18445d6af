import { channel } from 'node:diagnostics_channel'
import type { clientOptions } from './aws.ts'
import type { Log, Metric } from './log.ts'

/** What programs share that are no functions: how they fail to start, end, count what they do, and ask AWS. */

/** Trouble at the start that a person can mend, in one sentence. */
export class StartError extends Error {}

/** @throws StartError with what is wrong, where the work fails */
export function orStartError<T>(work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw new StartError((error as Error).message)
  }
}

/** What parseArgs of node:util cannot take: its first sentence, without the full stop. Undefined for another error. */
export function wrongOption(error: unknown): string | undefined {
  const { code, message }: NodeJS.ErrnoException = Object(error)
  return code?.startsWith('ERR_PARSE_ARGS_') ? message.split(/\.\s|\.$/, 1)[0] : undefined
}

/** Shorter names have neighbours of other programs, such as OAUTH and WORKERS. */
const LEAST_LETTERS = 8

/** Whether a letter is wrong, missing or too many, or two have changed places. */
function isNear(name: string, setting: string): boolean {
  const same = [...setting, ''].findIndex((letter, at) => letter !== name[at])
  const [is, meant] = [name.slice(same), setting.slice(same)]
  const isSwapped = `${is[1]}${is[0]}${is.slice(2)}` === meant
  return isSwapped || is.slice(1) === meant.slice(1) || is.slice(1) === meant || is === meant.slice(1)
}

/**
 * @param settings the names of all that the program reads
 * @returns a sentence about each variable that was probably meant to be one of them, or that is one without effect
 */
export const warningsOf = (settings: readonly string[], env: NodeJS.ProcessEnv): string[] => [
  ...(settings.includes('BUDGET_ACTION') && env['BUDGET_ACTION'] && !env['MONTHLY_BUDGET_USD']
    ? ['BUDGET_ACTION has no effect without MONTHLY_BUDGET_USD: there is no budget.']
    : []),
  // `npm start` has one endpoint for all of these; other programs leave them to the SDK.
  ...['S3', 'SQS', 'DYNAMODB', 'EVENTBRIDGE']
    .map((service) => `AWS_ENDPOINT_URL_${service}`)
    .filter((name) => settings.includes('DATA_DIR') && env[name])
    .map((name) => `${name} is ignored: AWS_ENDPOINT_URL names one endpoint of all services.`),
  ...Object.keys(env)
    .filter((name) => env[name] !== '' && !settings.includes(name) && !/^AWS_|\d/.test(name))
    .flatMap((name) => {
      const meant = settings.find((setting) => setting.length >= LEAST_LETTERS && isNear(name, setting))
      // LOGLEVEL and DATADIR are settings of other programs.
      if (meant === undefined || meant.replaceAll('_', '') === name.replaceAll('_', '')) return []
      return [`${name} is not a setting and is ignored. Did you mean ${meant}?`]
    }),
]

/**
 * @param wanted the port that could not be had
 * @param another how to choose another one
 */
export const portTrouble =
  (wanted: number, another: (port: number) => string) =>
  (error: NodeJS.ErrnoException): never => {
    if (error.code === 'EADDRINUSE') {
      throw new StartError(
        `Port ${wanted} is in use, perhaps by another image-analyzer; choose another with ${another(wanted + 1)}.`,
      )
    }
    if (error.code === 'EACCES') {
      throw new StartError(
        `Port ${wanted} needs rights that you do not have; choose one above 1023, as with ${another(wanted + 8_000)}.`,
      )
    }
    throw new StartError(error.message)
  }

/** What to do about a certificate whose issuer Node does not know: an emulator's own, or that of a company's proxy. */
export const hintOf = (error: unknown): string =>
  /^UNABLE_TO_|SELF_SIGNED/.test(Object(error).code ?? '')
    ? ' Name the file of its issuer in NODE_EXTRA_CA_CERTS.'
    : ''

/** Names each request of this thread that has no answer after 5 seconds, as long as the work lasts. */
export function namingSilence<T>(say: (sentence: string) => void, work: () => Promise<T>): Promise<T> {
  const requests = channel('http.client.request.start')
  const heed = (begun: unknown): void => {
    const { request } = Object(begun)
    const call = request.getHeader('x-amz-target') ?? `${request.method} ${request.path}`
    const timer = setTimeout(say, 5_000, `${request.getHeader('host')} has not answered ${call} yet.`).unref()
    for (const end of ['response', 'close']) request.once(end, () => clearTimeout(timer))
  }
  requests.subscribe(heed)
  return work().finally(() => requests.unsubscribe(heed))
}

/**
 * Ends this process in order at the first Ctrl-C or SIGTERM, and at once at the second; and where its terminal is closed, or its
 * output has no reader any more.
 *
 * @param say tells the person
 * @returns whether it is ending
 */
export function endInOrder(stop: () => Promise<void>, say: (line: string) => void): () => boolean {
  let stopping = 0
  async function end(signal?: string): Promise<void> {
    // One Ctrl-C can arrive twice: from the terminal, and passed on by the process that started this one.
    if (stopping > 0 && signal && performance.now() - stopping > 500) process.exit(130)
    if (stopping > 0) return
    stopping = performance.now()
    say('Stopping …')
    // The contract gives 5 seconds. What a busy machine does not finish by then stays in the queue, as after a crash.
    setTimeout(() => process.exit(0), 4_500).unref()
    await stop()
    process.exit(0)
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, end)
  whenUnread(end)
  return () => stopping > 0
}

/** Where the reader of the output is gone: Ctrl-C ends all programs of a pipe at once. A full disk is another matter. */
export function whenUnread(end: () => unknown): void {
  for (const output of [process.stdout, process.stderr])
    output.on('error', ({ code }: NodeJS.ErrnoException) => code === 'EPIPE' && end())
}

/** What ends a part of a program. */
export type Undo = (() => Promise<void> | void)[]

/**
 * Opens what can be stopped: its parts end in reverse order, also where the last of them cannot be opened.
 *
 * @param open adds what ends each part
 */
export async function stoppable<T>(
  open: (undo: Undo) => Promise<T>,
): Promise<T & { stop: () => Promise<void> }> {
  const undo: Undo = []
  const stop = async (): Promise<void> => {
    for (const step of undo.splice(0).reverse()) await step()
  }
  try {
    return { ...(await open(undo)), stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** Connections to each service: at least three for each image in flight (two batches of ten). */
export const SOCKETS = 64
/** For a turn at a socket and for an answer, where AWS is another endpoint; for 5 MB a line at home needs some seconds. */
export const ELSEWHERE_TIMEOUT_MS = 30_000
/** Of a receive there, whose end Ctrl-C waits for. With two at a time, SQS bills about a dollar a month. */
export const RECEIVE_SECONDS = 2

/**
 * Options of a client whose emulator is in the same process: what it waits for is its own turn, and for one of its
 * sockets, which the SDK counts as the time to connect. With the usual second for that, the 65th request at a time would
 * fail as soon as the first ones take longer.
 *
 * @param ms to wait for a turn, and for an answer
 */
export const patient = <Options extends ReturnType<typeof clientOptions>>(
  options: Options,
  ms = 300_000,
): Options => ({
  ...options,
  requestHandler: { ...options.requestHandler, connectionTimeout: ms, requestTimeout: ms, socketTimeout: ms },
})

/** As Prometheus names it (its documentation, "Metric and label naming"): seconds rather than milliseconds. */
const nameOf = (metric: string): string =>
  `image_analyzer_${metric.replace(/Ms$/, '').replaceAll(/([a-z])([A-Z])/g, '$1_$2')}`.toLowerCase()
const UNITS: Record<string, string> = { Milliseconds: 'seconds', Seconds: 'seconds', Bytes: 'bytes' }

/** What each counts, for `# HELP` of Prometheus's text format; docs/log.md has the same. */
export const HELP: Record<Metric, string> = {
  Accepted: 'Images that were stored and whose job was sent.',
  AcceptMs: 'From the body of a request until the job of its image is sent.',
  BytesIn: 'Bytes of accepted images.',
  Refused: 'Requests that were answered with a problem, by its code.',
  RequestsFailed: 'Requests that met an unexpected error.',
  Retried: 'Failed images whose next run a caller has begun.',
  Claimed: 'Attempts: images that a worker has taken up.',
  ImageAge: 'For how long an image had waited when a worker took it up.',
  WorkMs: 'Work on an image until its outcome was committed.',
  TotalMs: 'From the submission of an image until its outcome was committed.',
  Completed: 'Images whose results were committed.',
  Reused: 'Completed images that have the results of the same bytes.',
  Failed: 'Images whose failure was committed, by its code.',
  PaidCalls: 'Calls of Rekognition that were answered, each of which is billed.',
  LimiterRate: 'Calls a second that the worker allows itself, by the analysis.',
  Throttled: 'Attempts that ended because Rekognition throttled their calls.',
  OverBudget: 'Attempts that ended because the budget of the month is spent.',
  BudgetSpent: 'How often the budget of the month was found spent.',
  Held: 'Jobs whose image another worker held.',
  OutOfTime: 'Attempts that the time of the worker has ended.',
  AttemptsFailed: 'Attempts that met an error which may pass.',
  NotAnnounced: 'Events that EventBridge did not take, and that are sent again.',
  NoJob: 'Messages that are no job.',
  Requeued: 'Images whose job the sweeper has sent again.',
  Exhausted: 'Images that the sweeper has given up.',
  NotSwept: 'Images that the sweeper could not look after.',
}

/** @returns a log whose lines are counted from now on, and these counts in Prometheus's text format */
export async function counting(log: Log): Promise<{ log: Log; text: () => string }> {
  // Loaded late: `npm start` begins its thread before.
  const { BY, countsOf, METRICS } = await import('./log.ts')
  const families = new Map<string, { metric: Metric; kind: string; series: Map<string, number> }>()
  const seriesOf = (family: string, metric: Metric, kind: string): Map<string, number> => {
    const { series } = families.get(family) ?? { series: new Map() }
    families.set(family, { metric, kind, series })
    return series
  }
  const add = (series: Map<string, number>, name: string, value: number): void =>
    void series.set(name, (series.get(name) ?? 0) + value)
  const count = (facts: Record<string, unknown>): void => {
    for (const [name, value = 0] of Object.entries(countsOf(facts))) {
      const metric = name as Metric
      const unit = METRICS[metric]
      const by = metric in BY ? BY[metric as keyof typeof BY] : undefined
      const label = by === undefined ? '' : `{${by}="${facts[by]}"}`
      if (unit === 'Count/Second') seriesOf(nameOf(metric), metric, 'gauge').set(label, value)
      else if (unit === 'Count') {
        // The noughts are for CloudWatch's alarms.
        if (value > 0) add(seriesOf(`${nameOf(metric)}_total`, metric, 'counter'), label, value)
      } else {
        const series = seriesOf(`${nameOf(metric)}_${UNITS[unit]}`, metric, 'summary')
        add(series, '_sum', unit === 'Milliseconds' ? value / 1_000 : value)
        add(series, '_count', 1)
      }
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
      [...families]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([family, { metric, kind, series }]) => {
          const lines = [...series].map(([name, value]) => `${family}${name} ${value}\n`).sort()
          return `# HELP ${family} ${HELP[metric]}\n# TYPE ${family} ${kind}\n${lines.join('')}`
        })
        .join(''),
  }
}

/** The content type of Prometheus's text (its documentation, "Exposition formats"). */
export const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

type App = { fetch: (request: Request, env?: object) => Response | Promise<Response> }
/** An app with what a deployed one has elsewhere or not at all: answers by path, which are only read. */
export const withReadable = (app: App, read: (path: string) => Response | undefined): App => ({
  fetch: (request, env) => {
    const { pathname } = new URL(request.url)
    const answer = read(pathname)
    if (answer === undefined) return app.fetch(request, env)
    if (/^(GET|HEAD)$/.test(request.method)) return answer
    const allow = 'GET, HEAD'
    if (request.method === 'OPTIONS') return new Response(null, { status: 204, headers: { allow } })
    return Response.json(
      {
        type: 'urn:image-analyzer:problem:method-not-allowed',
        title: 'The method is not allowed here',
        status: 405,
        code: 'METHOD_NOT_ALLOWED',
        detail: `GET and HEAD are allowed at ${pathname}.`,
        instance: `urn:uuid:${crypto.randomUUID()}`,
      },
      { status: 405, headers: { allow, 'content-type': 'application/problem+json' } },
    )
  },
})

/** An app with its metrics at `/metrics`; a deployed one leaves these to CloudWatch. */
export const withMetrics = (app: App, text: () => string): App =>
  withReadable(app, (path) =>
    path === '/metrics'
      ? new Response(text(), { headers: { 'content-type': METRICS_TYPE, 'cache-control': 'no-store' } })
      : undefined,
  )
