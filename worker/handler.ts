import type { Context, SQSBatchResponse, SQSEvent } from 'aws-lambda'
import * as z from 'zod'
import { readWorkerConfig } from '../shared/config.ts'
import { createLog } from '../shared/log.ts'
import { passOver } from '../shared/messages.ts'
import { processBatch } from './batch.ts'
import { depsOnAws } from './deps.ts'

const config = readWorkerConfig(process.env)
const log = createLog('worker', config.METRICS_NAMESPACE)
const deps = depsOnAws(config, log)

export const handler = async (event: unknown, context: Context): Promise<SQSBatchResponse> => {
  log.appendKeys({ functionRequestId: context.awsRequestId })
  return isBatch(event) ? processBatch(deps, event, context) : passOver(event, 'a batch of SQS', log)
}

/** What distinguishes a batch from other events, and its records from each other. */
const batchSchema = z.object({
  Records: z.array(z.object({ eventSource: z.literal('aws:sqs'), messageId: z.string(), body: z.string() })),
})
const isBatch = (event: unknown): event is SQSEvent => batchSchema.safeParse(event).success
