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

/** Moves all dead letters to the jobs. @returns how many were moved */
export async function redrive(sqs: SQSClient, from: string, to: string): Promise<number> {
  // Without a destination SQS would ask where each came from, which it knows of what it has moved itself only.
  await sqs.send(new StartMessageMoveTaskCommand({ SourceArn: from, DestinationArn: to }))
  for (;;) {
    const { Results } = await sqs.send(new ListMessageMoveTasksCommand({ SourceArn: from, MaxResults: 1 }))
    const [task] = Results ?? []
    if (task?.Status === 'FAILED') throw new Error(`SQS gave up the redrive: ${task.FailureReason}.`)
    if (task?.Status !== 'RUNNING') return task?.ApproximateNumberOfMessagesMoved ?? 0
    await sleep(LOOK_EVERY_MS)
  }
}

const mappingSchema = z.object({ UUID: z.string(), State: z.string() })
export type Mapping = z.infer<typeof mappingSchema>

/** What Lambda answers, where it is no success. */
export class LambdaError extends Error {
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
      ...{ method, protocol: url.protocol, hostname: url.hostname, path: url.pathname, query },
      headers: { host: url.host, 'content-type': 'application/json' },
      ...content,
    })
    const { host: _, ...signed } = headers
    url.search = new URLSearchParams(query).toString()
    const response = await fetch(url, { method, headers: signed, ...content })
    const answer: { message?: string; Message?: string } = await response.json().catch(() => ({}))
    const { status } = response
    if (!response.ok) throw new LambdaError(`Lambda: ${answer.message ?? answer.Message ?? status}`, status)
    return answer
  }
  return {
    find: async (): Promise<Mapping[]> =>
      z
        .object({ EventSourceMappings: z.array(mappingSchema) })
        .parse(await call('GET', '', { EventSourceArn: queueArn })).EventSourceMappings,
    set: async ({ UUID }: Mapping, Enabled: boolean): Promise<Mapping> => {
      let mapping = mappingSchema.parse(await call('PUT', UUID, {}, { Enabled }))
      while (mapping.State.endsWith('ing')) {
        await sleep(LOOK_EVERY_MS)
        mapping = mappingSchema.parse(await call('GET', UUID, {}))
      }
      return mapping
    },
  }
}
