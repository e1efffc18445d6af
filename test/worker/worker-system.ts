import { ListObjectsV2Command } from '@aws-sdk/client-s3'
import type { SQSEvent } from 'aws-lambda'
import { afterEach, beforeEach } from 'vitest'
import { sweep } from '../../sweeper/sweep.ts'
import { processBatch } from '../../worker/batch.ts'
import {
  eventOf as batchOf,
  lambdaContext,
  startTestSystem,
  type TestSystem,
  type Watcher,
  watchCalls,
} from '../context.ts'

/** What the tests of the worker have in common: a system for each test, and what the worker asks of AWS. */

export let system: TestSystem
/** Names of the commands that the worker has sent to AWS, in order. */
export let calls: string[]
/** Seconds for which each message that is not done is hidden. */
export let waits: number[]
/** What to do with each command; a test sets it. */
export let watch: Required<Watcher>

/** To be called once by each file: hooks of a module count only for the first file that imports it. */
export function eachWithSystem(): void {
  beforeEach(async () => {
    system = await startTestSystem()
    calls = []
    waits = []
    watch = { before: () => {}, after: () => {} }
    Object.assign(watchCalls(system), {
      before: async (name: string, input: Record<string, unknown>) => {
        await watch.before(name, input)
        if (name === 'ChangeMessageVisibilityCommand') waits.push(Number(input['VisibilityTimeout']))
        calls.push(name)
      },
      after: (name: string, output: Record<string, unknown>) => watch.after(name, output),
    })
  })
  afterEach(() => system.stop())
}

export const count = (name: string): number => calls.filter((call) => call === name).length
export const run = (event: SQSEvent, remainingMs?: number) =>
  processBatch(system.worker, event, lambdaContext(remainingMs))
export const eventOf = (...imageIds: string[]): SQSEvent =>
  batchOf(...imageIds.map((imageId) => JSON.stringify({ version: 1, imageId, epoch: 1 })))
/** Milliseconds in which a batch can work an image off, but not wait out a throttling. */
export const SHORT = 1_500
export const NOTHING = { requeued: 0, exhausted: 0, announced: 0, removed: 0, failed: 0 }
/** A sweep at a time when everything is due, for the second time where it is to be removed. */
export const sweepLater = (look = 1) => {
  const log = {
    ...system.worker.log,
    error: (message: string, { error }: Record<string, unknown>) =>
      system.trouble.push(`${message} ${error}`),
  }
  const now = () => new Date(Date.now() + (look * 4 - 2) * system.worker.sweepAfterMs)
  return sweep({ ...system.worker, now, log, giveUpMs: 14 * 86_400_000 })
}
export const objects = async (): Promise<string[]> => {
  const { Contents = [] } = await system.worker.s3.send(
    new ListObjectsV2Command({ Bucket: system.names.bucket }),
  )
  return Contents.map(({ Key = '' }) => Key)
}
export const failedIds = async (batch: ReturnType<typeof run>) =>
  (await batch).batchItemFailures.map((failure) => failure.itemIdentifier)
export const eventIds = async () => (await system.events()).map((event) => event.eventId).sort()
