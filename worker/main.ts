import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { PutEventsCommand } from '@aws-sdk/client-eventbridge'
import { HeadBucketCommand } from '@aws-sdk/client-s3'
import { GetQueueAttributesCommand } from '@aws-sdk/client-sqs'
import { GetCommand } from '@aws-sdk/lib-dynamodb'
import { readWorkerProcessConfig, VISIBILITY_FACTOR, WORKER_SETTINGS } from '../shared/config.ts'
import { createLog } from '../shared/log.ts'
import {
  counting,
  hintOf,
  METRICS_TYPE,
  namingSilence,
  portTrouble,
  StartError,
  warningsOf,
  whenUnread,
} from '../shared/machine.ts'
import { processBatch } from './batch.ts'
import { depsOnAws, endSilence, type WorkerDeps } from './deps.ts'
import { mappingOfJobs } from './invocation.ts'
import { startPoller } from './poller.ts'

/**
 * `npm run worker`: the work of the Lambda function as a process that reads the queue itself, for ECS, Kubernetes or a
 * machine of one's own. It has the function's settings, and those of `workerProcessSchema` (shared/config.ts).
 */

/** Milliseconds before the end of DRAIN_SECONDS at which batches are broken off: as many as a batch on Lambda has. */
const BREAK_OFF_MS = 6_000
/** Milliseconds: more than the limits that requests have of their own. */
const SILENCE_MS = 40_000
/** Milliseconds for which an answer of queue and table is good for /ready. */
const READY_MS = 10_000

async function reach<T>(what: string, work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    const { name, message } = error as Error
    // S3 answers a HEAD without words, and the SDK has a name for 404 alone.
    const parts = [name, message].filter((part) => !/^(Error|Unknown(Error\b.*)?)?$/.test(part))
    const said = [...new Set(parts)].join(': ')
    throw new StartError(
      `${what} cannot be used: ${said.replace(/\.$/, '')}.${hintOf(error)} docs/worker.md has the settings.`,
    )
  }
}

/** By calls that the function's policy allows. */
async function reachQueue({
  sqs,
  jobQueueUrl,
}: WorkerDeps): Promise<{ arn: string; visibilitySeconds: number; deadLettersArn?: string }> {
  const { Attributes } = await reach(
    `The queue of JOB_QUEUE_URL, ${jobQueueUrl},`,
    sqs.send(
      new GetQueueAttributesCommand({
        QueueUrl: jobQueueUrl,
        AttributeNames: ['QueueArn', 'VisibilityTimeout', 'RedrivePolicy'],
      }),
    ),
  )
  const { deadLetterTargetArn: deadLettersArn } = JSON.parse(Attributes?.RedrivePolicy || '{}')
  const visibilitySeconds = Number(Attributes?.VisibilityTimeout)
  return { arn: Attributes?.QueueArn ?? '', visibilitySeconds, deadLettersArn }
}
const reachTable = ({ dynamo, table }: WorkerDeps): Promise<unknown> =>
  reach(
    `The table of IMAGE_TABLE, ${table},`,
    dynamo.send(new GetCommand({ TableName: table, Key: { imageId: 'ready' } })),
  )
const reachBucket = ({ s3, bucket }: WorkerDeps): Promise<unknown> =>
  reach(`The bucket of IMAGE_BUCKET, ${bucket},`, s3.send(new HeadBucketCommand({ Bucket: bucket })))
/**
 * By an entry without an event, which EventBridge refuses. Before that IAM refuses a bus that the
 * function's policy does not name. Of a caller who may use any bus, AWS takes what is sent to one that is not there.
 */
const reachBus = ({ eventBridge, eventBus }: WorkerDeps): Promise<unknown> =>
  reach(
    `The event bus of EVENT_BUS_NAME, ${eventBus},`,
    eventBridge.send(new PutEventsCommand({ Entries: [{ EventBusName: eventBus }] })).then(
      ({ Entries: [{ ErrorCode = '', ErrorMessage } = {}] = [] }) => {
        if (NO_BUS.test(ErrorCode)) throw Object.assign(new Error(ErrorMessage), { name: ErrorCode })
      },
      (error) => {
        if (NO_BUS.test(error.name) || error.$metadata?.httpStatusCode === undefined) throw error
      },
    ),
  )
const NO_BUS = /AccessDenied|NotAuthorized|NotFound/

/**
 * What a worker says of itself, over HTTP.
 *
 * @param trouble why the worker cannot take jobs; nothing where it can
 * @returns the port
 * @throws StartError where it cannot be had
 */
function startHealth(
  port: number,
  trouble: () => Promise<string | undefined>,
  metrics: () => string,
): Promise<number> {
  const server: Server = createServer(async ({ url: asked = '', method }, response) => {
    const [url] = asked.split('?')
    const answer = (status: number, body: object): void =>
      void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    if (method !== 'GET' && method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD')
      return answer(405, { status: 'GET only' })
    }
    if (url === '/live') return answer(200, { status: 'live' })
    if (url === '/ready') {
      const reason = await trouble()
      return reason === undefined
        ? answer(200, { status: 'ready' })
        : answer(503, { status: 'not ready', reason })
    }
    if (url !== '/metrics') return answer(404, { status: 'There are /live, /ready and /metrics.' })
    response.writeHead(200, { 'content-type': METRICS_TYPE }).end(metrics())
  })
  const listening = new Promise<number>((resolve, reject) => {
    server.once('error', reject)
    // At every address: a probe comes from outside of a container.
    server.listen(port, () => resolve((server.address() as AddressInfo).port))
  })
  return listening.catch(portTrouble(port, (free) => `HEALTH_PORT=${free}`))
}

const USAGE = `npm run worker

The worker as a process that reads the queue itself, until SIGTERM. It takes no options: its settings are variables of the
environment, and docs/worker.md has them. IMAGE_BUCKET, IMAGE_TABLE, JOB_QUEUE_URL and EVENT_BUS_NAME must be set.
`

/** @returns says why queue or table cannot be used; nothing where they can */
function watch(deps: WorkerDeps): () => Promise<string | undefined> {
  let reachedAt = Number.NEGATIVE_INFINITY
  return async () => {
    if (deps.elapsed() - reachedAt < READY_MS) return undefined
    try {
      await Promise.all([reachQueue(deps), reachTable(deps)])
      reachedAt = deps.elapsed()
      return undefined
    } catch (error) {
      return (error as Error).message
    }
  }
}

type Config = ReturnType<typeof readWorkerProcessConfig>

const nameOf = (queue: string): string => queue.replace(/.*[:/]/, '')
/** @throws StartError where what is given up would not be found with what SQS has given up */
function demandDeadLetters(deadLettersArn: string | undefined, { DEAD_LETTER_QUEUE_URL: url }: Config): void {
  if (deadLettersArn !== undefined && nameOf(deadLettersArn) !== nameOf(url))
    throw new StartError(
      `DEAD_LETTER_QUEUE_URL is ${url}, and the dead-letter queue of the jobs is ${nameOf(deadLettersArn)}: set DEAD_LETTER_QUEUE_URL to the URL of that.`,
    )
}

/** @throws StartError where a job would come again while a batch is at it */
function demandVisibility(
  visibilitySeconds: number,
  { JOB_QUEUE_URL, WORKER_TIMEOUT_SECONDS }: Config,
): void {
  const least = VISIBILITY_FACTOR * WORKER_TIMEOUT_SECONDS
  if (visibilitySeconds < least)
    throw new StartError(
      `The visibility timeout of ${JOB_QUEUE_URL} is ${visibilitySeconds} s and must be at least ${VISIBILITY_FACTOR} × WORKER_TIMEOUT_SECONDS, which is ${least} s: raise it, or lower WORKER_TIMEOUT_SECONDS.`,
    )
}

async function main(): Promise<void> {
  const [argument] = process.argv.slice(2)
  if (argument === '--help' || argument === '-h') {
    process.stdout.write(USAGE)
    return
  }
  if (argument !== undefined)
    throw new StartError(
      `There is no option ${argument}: the settings are variables of the environment, see docs/worker.md.`,
    )
  const warn = (sentence: string): boolean => process.stderr.write(`warning: ${sentence}\n`)
  for (const sentence of warningsOf(WORKER_SETTINGS, process.env)) warn(sentence)
  const config = readWorkerProcessConfig(process.env)
  const { log, text } = await counting(createLog('worker', config.METRICS_NAMESPACE))
  endSilence(SILENCE_MS)
  const deps = depsOnAws(config, log)
  const reachAll = () => Promise.all([reachQueue(deps), reachTable(deps), reachBucket(deps), reachBus(deps)])
  const [queue] = await namingSilence(warn, reachAll)
  demandVisibility(queue.visibilitySeconds, config)
  demandDeadLetters(queue.deadLettersArn, config)
  const drainMs = config.DRAIN_SECONDS * 1_000 - BREAK_OFF_MS
  let isEnding = false
  const unusable = watch(deps)
  const trouble = async () => (isEnding ? 'The worker is shutting down.' : unusable())
  const { HEALTH_PORT } = config
  const port = HEALTH_PORT === undefined ? undefined : await startHealth(HEALTH_PORT, trouble, text)
  const poller = startPoller(
    deps.sqs,
    mappingOfJobs({
      queueUrl: config.JOB_QUEUE_URL,
      queueArn: queue.arn,
      batchSize: config.BATCH_SIZE,
      maximumConcurrency: config.WORKER_CONCURRENCY,
      functionTimeoutMs: config.WORKER_TIMEOUT_SECONDS * 1_000,
      // A receive ends before batches are broken off.
      waitTimeSeconds: Math.min(20, Math.floor(drainMs / 1_000)),
    }),
    (event, context, ending) => processBatch(deps, event, context, ending),
    (message, error) => log.error(message, { error }),
  )
  const end = async (): Promise<void> => {
    if (isEnding) return
    isEnding = true
    log.info('the worker is shutting down and takes no more jobs', { seconds: config.DRAIN_SECONDS })
    // What hangs is left to the queue's visibility timeout.
    setTimeout(() => process.exit(1), config.DRAIN_SECONDS * 1_000 - 500).unref()
    await poller.drain(drainMs)
    process.exit(0)
  }
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, end)
  whenUnread(end)
  log.info('the worker takes jobs', { queue: config.JOB_QUEUE_URL, ...(port === undefined ? {} : { port }) })
}

await main().catch((error: Error) => {
  process.stderr.write(`The worker cannot start: ${error.message}\n`)
  process.exit(1)
})
