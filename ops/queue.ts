import { setTimeout as sleep } from 'node:timers/promises'
import {
  GetQueueAttributesCommand,
  ListMessageMoveTasksCommand,
  type SQSClient,
  StartMessageMoveTaskCommand,
} from '@aws-sdk/client-sqs'
import { SignatureV4 } from '@smithy/signature-v4'
import * as z from 'zod'

/** What operators do with the queue of jobs and what feeds the worker from it. */

/** The queue's ARN, and how many messages it has, with those that are hidden for a time. */
export async function queueFacts(
  sqs: SQSClient,
  QueueUrl: string,
): Promise<{ arn: string; messages: number }> {
  const { Attributes: { QueueArn = '', ...counts } = {} } = await sqs.send(
    new GetQueueAttributesCommand({
      QueueUrl,
      AttributeNames: ['QueueArn', 'ApproximateNumberOfMessages', 'ApproximateNumberOfMessagesNotVisible'],
    }),
  )
  return { arn: QueueArn, messages: Object.values(counts).reduce((sum, count) => sum + Number(count), 0) }
}

const LOOK_EVERY_MS = 500

/**
 * Moves all dead letters to the jobs.
 *
 * @param progress gets how many were moved so far
 * @param ending ends the waiting for it
 * @returns how many were moved
 */
export async function redrive(
  sqs: SQSClient,
  from: string,
  to: string,
  progress: (moved: number) => void,
  ending: AbortSignal,
): Promise<number> {
  // Without a destination SQS would ask where each came from, which it knows of what it has moved itself only.
  await sqs.send(new StartMessageMoveTaskCommand({ SourceArn: from, DestinationArn: to }))
  for (;;) {
    const { Results } = await sqs.send(new ListMessageMoveTasksCommand({ SourceArn: from, MaxResults: 1 }))
    const [task] = Results ?? []
    if (task?.Status === 'FAILED') throw new Error(`SQS gave up the redrive: ${task.FailureReason}.`)
    const moved = task?.ApproximateNumberOfMessagesMoved ?? 0
    if (task?.Status !== 'RUNNING') return moved
    progress(moved)
    await sleep(LOOK_EVERY_MS)
    ending.throwIfAborted()
  }
}

const mappingSchema = z.object({ UUID: z.string(), State: z.string() })
export type Mapping = z.infer<typeof mappingSchema>
const pageSchema = z.object({
  EventSourceMappings: z.array(mappingSchema),
  NextMarker: z.string().nullish(),
})

/** The longest that Lambda may take to answer. */
const ANSWER_MS = 15_000
/** Requests for one answer, where Lambda throttles or fails. */
const MOST_TRIES = 4

/** What Lambda answers, where it is no success. */
export class LambdaError extends Error {
  override readonly name = 'Lambda'
  readonly status: number
  constructor(message: string, status: number) {
    super(message)
    this.status = status
  }
}

/** Lambda's event source mappings of one queue, without an SDK of their own. */
export function eventSource(sqs: SQSClient, queueArn: string) {
  async function call(
    method: string,
    path: string,
    query: Record<string, string>,
    body?: object,
  ): Promise<unknown> {
    const region = await sqs.config.region()
    const endpoint =
      process.env['AWS_ENDPOINT_URL_LAMBDA'] ??
      process.env['AWS_ENDPOINT_URL'] ??
      `https://lambda.${region}.amazonaws.com${region.startsWith('cn-') ? '.cn' : ''}`
    const url = new URL(`/2015-03-31/event-source-mappings/${path}`, endpoint)
    const { credentials, sha256 } = sqs.config
    const signer = new SignatureV4({ credentials, region, service: 'lambda', sha256 })
    const content = body === undefined ? {} : { body: JSON.stringify(body) }
    const { headers } = await signer.sign({
      method,
      protocol: url.protocol,
      hostname: url.hostname,
      path: url.pathname,
      query,
      headers: { host: url.host, 'content-type': 'application/json' },
      ...content,
    })
    const { host: _, ...signed } = headers
    url.search = new URLSearchParams(query).toString()
    for (let tries = 1; ; tries += 1) {
      const signal = AbortSignal.timeout(ANSWER_MS)
      const response = await fetch(url, { method, headers: signed, signal, ...content })
      const answer: { message?: string; Message?: string } = await response.json().catch(() => ({}))
      const { ok, status } = response
      if (ok) return answer
      if (tries === MOST_TRIES || !(status === 429 || status >= 500))
        throw new LambdaError(answer.message ?? answer.Message ?? String(status), status)
      await sleep(LOOK_EVERY_MS * 2 ** (tries - 1))
    }
  }
  /** Lambda changes no mapping that is changing. @param looking gets the state that it waits in */
  async function settled(mapping: Mapping, looking: (state: string) => void): Promise<Mapping> {
    let now = mapping
    while (now.State.endsWith('ing')) {
      if (now === mapping) looking(now.State)
      await sleep(LOOK_EVERY_MS)
      now = mappingSchema.parse(await call('GET', now.UUID, {}))
    }
    return now
  }
  return {
    find: async (): Promise<Mapping[]> => {
      const found: Mapping[] = []
      let Marker: string | undefined
      do {
        const query = { EventSourceArn: queueArn, ...(Marker === undefined ? {} : { Marker }) }
        const page: z.infer<typeof pageSchema> = pageSchema.parse(await call('GET', '', query))
        found.push(...page.EventSourceMappings)
        Marker = page.NextMarker || undefined
      } while (Marker !== undefined)
      return found
    },
    set: async (mapping: Mapping, Enabled: boolean, looking: (state: string) => void): Promise<Mapping> => {
      const { UUID } = await settled(mapping, looking)
      return settled(mappingSchema.parse(await call('PUT', UUID, {}, { Enabled })), looking)
    },
  }
}
