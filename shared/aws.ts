import { setTimeout as timer } from 'node:timers/promises'

/** Resolves after so many milliseconds; rejects when the signal is aborted, and then leaves nothing behind. */
export type Sleep = (ms: number, signal?: AbortSignal) => Promise<void>
export const sleep: Sleep = (ms, signal) => timer(ms, undefined, { signal })

/**
 * Milliseconds since some moment, by a clock that nobody can set. Durations and deadlines of this process go by it;
 * the wall clock, which may be set back and forth at any time, is for what is stored or read by others.
 */
export type Elapsed = () => number
export const elapsed: Elapsed = () => performance.now()

/** Both of them, where a test has its own. */
export interface Clock {
  elapsed: Elapsed
  sleep: Sleep
}

/** Where AWS is, when it is not where the SDK would look by itself. Empty on AWS. */
export interface AwsTarget {
  endpoint?: string
  region?: string
  credentials?: { accessKeyId: string; secretAccessKey: string }
}

/** So long may an answer of AWS take, from when the client has the request. */
const AWS_TIMEOUT_MS = 5_000
/**
 * And so long one of an emulator, which is late when this machine is: the embedded one shares even the process with its
 * callers, and five seconds of a busy machine made a second attempt of a good first one.
 */
const EMULATOR_TIMEOUT_MS = 30_000

/**
 * Options that every SDK client gets. Retries and time-outs are bounded, so that one slow service cannot use up
 * a Lambda's whole time: at most 3 tries of at most 5 s each. Connecting has no deadline of its own: the SDK counts
 * the time in which a request waits for one of the sockets, or this process for the processor.
 *
 * @param sockets connections kept open to the service; too few of them halve the worker's speed
 */
export const clientOptions = (target: AwsTarget = {}, sockets = 50) => ({
  ...target,
  maxAttempts: 3,
  requestHandler: {
    requestTimeout: target.endpoint === undefined ? AWS_TIMEOUT_MS : EMULATOR_TIMEOUT_MS,
    throwOnRequestTimeout: true,
    httpAgent: { keepAlive: true, maxSockets: sockets },
    httpsAgent: { keepAlive: true, maxSockets: sockets },
  },
})

/** Emulators answer on one host for all buckets, so the bucket goes into the path there. */
export const s3Options = (target: AwsTarget = {}, sockets?: number) => ({
  ...clientOptions(target, sockets),
  forcePathStyle: Boolean(
    target.endpoint ?? process.env['AWS_ENDPOINT_URL_S3'] ?? process.env['AWS_ENDPOINT_URL'],
  ),
})

/** SQS's own client sends each request to the queue's URL; an emulator may name a host there that is not reachable. */
export const sqsOptions = (target: AwsTarget = {}, sockets?: number) => ({
  ...clientOptions(target, sockets),
  useQueueUrlAsEndpoint: false,
})

export const dynamoTranslation = { marshallOptions: { removeUndefinedValues: true } }
