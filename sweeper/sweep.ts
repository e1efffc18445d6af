import { SendMessageBatchCommand, type SQSClient } from '@aws-sdk/client-sqs'
import { type DynamoDBDocumentClient, paginateQuery } from '@aws-sdk/lib-dynamodb'
import * as z from 'zod'
import { imageIdSchema, UNFINISHED_SHARDS } from '../shared/image.ts'
import type { Job } from '../shared/job.ts'

export interface SweeperDeps {
  dynamo: DynamoDBDocumentClient
  sqs: SQSClient
  table: string
  jobQueueUrl: string
  now: () => Date
}

/** What SQS takes in one call (Amazon SQS quotas). */
const MAX_ENTRIES = 10

const unfinishedSchema = z.object({ imageId: imageIdSchema, epoch: z.int() })

/**
 * Gives a new job to every image that has not changed for a while and is not finished: its own job was never sent,
 * or is in the dead-letter queue. A job too many is harmless; and the worker, which counts attempts, ends an image
 * that has had them all.
 *
 * @param staleSeconds longer than any job may rest in the queue between two attempts
 * @returns how many images got a job
 */
export async function sweep(deps: SweeperDeps, staleSeconds: number): Promise<number> {
  const before = new Date(deps.now().getTime() - staleSeconds * 1000).toISOString()
  let swept = 0
  for (const shard of UNFINISHED_SHARDS) {
    const pages = paginateQuery(
      { client: deps.dynamo },
      {
        TableName: deps.table,
        IndexName: 'unfinished',
        KeyConditionExpression: 'unfinished = :shard AND updatedAt < :before',
        ExpressionAttributeValues: { ':shard': shard, ':before': before },
      },
    )
    for await (const { Items = [] } of pages) {
      const jobs = unfinishedSchema.array().parse(Items)
      for (let from = 0; from < jobs.length; from += MAX_ENTRIES) {
        await send(deps, jobs.slice(from, from + MAX_ENTRIES))
      }
      swept += jobs.length
    }
  }
  return swept
}

async function send({ sqs, jobQueueUrl }: SweeperDeps, images: Omit<Job, 'version'>[]): Promise<void> {
  const { Failed = [] } = await sqs.send(
    new SendMessageBatchCommand({
      QueueUrl: jobQueueUrl,
      Entries: images.map(({ imageId, epoch }, index) => {
        const job: Job = { version: 1, imageId, epoch }
        return { Id: String(index), MessageBody: JSON.stringify(job) }
      }),
    }),
  )
  // The next sweep finds them again; that it fails again and again must be seen, though.
  const [first] = Failed
  if (first !== undefined) throw new Error(`SQS refused ${Failed.length} jobs: ${first.Code}.`)
}
