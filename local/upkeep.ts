import { DeleteObjectCommand, paginateListObjectsV2 } from '@aws-sdk/client-s3'
import { paginateScan } from '@aws-sdk/lib-dynamodb'
import type { ResourceNames } from '../infrastructure/resources.ts'
import type { EmbeddedAws } from '../packages/embedded-aws/index.ts'
import { sleep } from '../shared/aws.ts'
import { imageIdSchema, UPLOADS } from '../shared/image.ts'
import { endLease } from '../shared/lifecycle.ts'
import type { Undo } from '../shared/machine.ts'
import type { SweeperDeps } from '../sweeper/deps.ts'
import { queuedRuns, sweep } from '../sweeper/sweep.ts'
import type { WorkerDeps } from '../worker/deps.ts'

/**
 * After a restart no worker of the process before is alive, even if its leases still hold: they end now, and what is unfinished
 * without a job in the queue is looked after at once. (On AWS leases run out, and the sweeper comes when it is time.)
 */
export async function recover(embedded: EmbeddedAws, names: ResourceNames, deps: SweeperDeps): Promise<void> {
  const isQueued = queuedRuns(embedded.recoverQueue(names.jobQueue))
  const held = paginateScan(
    { client: deps.dynamo },
    {
      TableName: names.table,
      FilterExpression: '#status = :processing AND leaseUntil > :over',
      ProjectionExpression: 'imageId',
      ExpressionAttributeNames: { '#status': 'status' },
      ExpressionAttributeValues: { ':processing': 'processing', ':over': 0 },
    },
  )
  for await (const { Items = [] } of held) {
    for (const { imageId } of Items) await endLease(deps, imageIdSchema.parse(imageId))
  }
  await sweep({ ...deps, isAlone: true, isQueued }, Number.MAX_SAFE_INTEGER)
}

const CHORES_GRACE_MS = 1_000
const SWEEP_EVERY_MS = 60_000
/** Retention is a matter of days, and to look for what has expired is to read all that is there. */
const EXPIRE_EVERY_MS = 3_600_000

/** What comes by a schedule on AWS: the sweep, and what has expired. */
export function startChores(
  worker: WorkerDeps,
  sweeper: SweeperDeps,
  embedded: EmbeddedAws | undefined,
  retentionDays: number | undefined,
  undo: Undo,
): void {
  const stopping = new AbortController()
  const { signal } = stopping
  /** At once, and then again and again. The next start continues with what is left at the end. */
  const every = async (ms: number, what: string, work: () => Promise<unknown>): Promise<void> => {
    while (!signal.aborted) {
      await work().catch((error) => worker.log.warn(`${what} failed`, { error }))
      await sleep(ms, signal).catch(() => {})
    }
  }
  const chores = Promise.all([
    every(SWEEP_EVERY_MS, 'the sweep', () => sweep(sweeper)),
    every(EXPIRE_EVERY_MS, 'the deletion of expired records', async () => embedded?.expireItems(signal)),
    every(EXPIRE_EVERY_MS, 'the deletion of expired images', () =>
      expireObjects(sweeper, retentionDays, signal),
    ),
  ])
  undo.push(async () => {
    stopping.abort()
    // The emulators must not be gone in the middle of a call.
    await Promise.race([chores, sleep(CHORES_GRACE_MS)])
  })
}

const DAY_MS = 86_400_000
/** An upload whose job waits is the only copy of its image: as long as a queue keeps jobs (14 days), and a day, or longer. */
const UPLOAD_DAYS = 15

/**
 * What the bucket's lifecycle rules do on AWS (storage.tf): objects go by their age, unused uploads
 * as well. Records go by their time to live, a little earlier, since each is made before its objects.
 *
 * @param days of retention; undefined: for ever
 * @param signal aborted when it is to end early
 */
export async function expireObjects(
  { s3, bucket, now, giveUpMs }: Pick<SweeperDeps, 's3' | 'bucket' | 'now' | 'giveUpMs'>,
  days: number | undefined,
  signal?: AbortSignal,
): Promise<void> {
  const uploadDays = Math.max(UPLOAD_DAYS, giveUpMs / DAY_MS + 1)
  const pages = paginateListObjectsV2(
    { client: s3 },
    { Bucket: bucket, Prefix: days === undefined ? UPLOADS : '' },
  )
  for await (const { Contents = [] } of pages) {
    for (const { Key = '', LastModified = now() } of Contents) {
      if (signal?.aborted) return
      const most = Key.startsWith(UPLOADS) ? Math.min(days ?? uploadDays, uploadDays) : days
      if (most !== undefined && LastModified.getTime() + most * DAY_MS < now().getTime()) {
        await s3.send(new DeleteObjectCommand({ Bucket: bucket, Key }))
      }
    }
  }
}
