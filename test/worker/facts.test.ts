import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DetectFacesCommand, InternalServerError } from '@aws-sdk/client-rekognition'
import { UpdateCommand } from '@aws-sdk/lib-dynamodb'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Counts, countsOf, LINES, METRICS } from '../../shared/log.ts'
import { processBatch } from '../../worker/batch.ts'
import type { WorkerDeps } from '../../worker/deps.ts'
import { dropUpload } from '../../worker/original.ts'
import { lambdaContext, startTestSystem, type TestSystem } from '../context.ts'

/** What the log says where something of a worker's own fails, and what each line counts. test/worker/log.test.ts has the rest of it. */

const photo = readFileSync(join(import.meta.dirname, '../fixtures/grace-hopper.jpg'))

let system: TestSystem
beforeAll(async () => {
  system = await startTestSystem()
})
afterAll(() => system?.stop())

const FACTS = {
  ...{ queuedMs: 1_500, workMs: 20, totalMs: 30, acceptMs: 7, paidCalls: 3, bytes: 99, callsPerSecond: 4.5 },
}
const COUNTED: Record<string, Counts> = {
  accepted: { Accepted: 1, AcceptMs: 7, BytesIn: 99 },
  refused: { Refused: 1 },
  'request failed': { RequestsFailed: 1 },
  retried: { Retried: 1 },
  claimed: { Claimed: 1, ImageAge: 1.5, Completed: 0 },
  completed: { Completed: 1, Failed: 0, WorkMs: 20, TotalMs: 30, PaidCalls: 3 },
  failed: { Failed: 1, Completed: 0, WorkMs: 20, TotalMs: 30, PaidCalls: 3 },
  'limiter rate': { LimiterRate: 4.5 },
  'waits for quota': { Throttled: 1 },
  'waits for budget': { OverBudget: 1, Claimed: -1 },
  'budget spent': { BudgetSpent: 1 },
  held: { Held: 1 },
  'out of time': { OutOfTime: 1 },
  'attempt failed': { AttemptsFailed: 1 },
  'not announced': { NotAnnounced: 1 },
  'no job': { NoJob: 1 },
  requeued: { Requeued: 1 },
  exhausted: { Exhausted: 1, Failed: 1 },
  'not swept': { NotSwept: 1 },
}

it.each(Object.keys(LINES))('%s counts what it is about, and nothing else', (event) => {
  expect(countsOf({ event, ...FACTS })).toEqual(COUNTED[event] ?? {})
})

it('every metric is counted by a line, and results that are used again cost nothing', () => {
  const reused = countsOf({ event: 'completed', ...FACTS, reused: true })
  expect(reused).toEqual({ Completed: 1, Failed: 0, WorkMs: 20, TotalMs: 30, Reused: 1 })
  const counted = [...Object.values(COUNTED), reused].flatMap(Object.keys)
  expect([...new Set(counted)].sort()).toEqual(Object.keys(METRICS).sort())
})

it('an outcome counts the calls of all attempts, as the record and the ledger do', async () => {
  const imageId = await system.submit(Buffer.concat([photo, Buffer.from('paid twice')]))
  const { rekognition } = system.worker
  const send = (command: object) =>
    command instanceof DetectFacesCommand
      ? Promise.reject(new InternalServerError({ message: 'no', $metadata: {} }))
      : rekognition.send(command as never)
  const batch = await system.receiveJobs()
  const deps = { ...system.worker, rekognition: { send } } as unknown as WorkerDeps
  await processBatch(deps, batch, lambdaContext())
  await processBatch(system.worker, batch, lambdaContext())
  const completed = system.lines.find((line) => line['imageId'] === imageId && line['event'] === 'completed')
  expect(completed).toMatchObject({ attempt: 2, paidCalls: 2 })
  expect(countsOf(completed ?? {})).toMatchObject({ PaidCalls: 2 })
})

it('a lease that cannot be ended is told of', async () => {
  const imageId = await system.submit(photo)
  const { dynamo } = system.worker
  const send = (command: object) =>
    command instanceof UpdateCommand && JSON.stringify(command.input).includes('"retry"')
      ? Promise.reject(new Error('the table is away'))
      : dynamo.send(command as never)
  const failing = { send: () => Promise.reject(new InternalServerError({ message: 'no', $metadata: {} })) }
  const deps = { ...system.worker, dynamo: { send }, rekognition: failing } as unknown as WorkerDeps
  await processBatch(deps, await system.receiveJobs(), lambdaContext())
  const told = system.lines.filter((line) => line['imageId'] === imageId).map(({ event }) => event)
  expect(told).toEqual(['accepted', 'claimed', 'not released', 'attempt failed'])
})

it('an upload that cannot be deleted is told of, and its image has its outcome', async () => {
  const s3 = { send: () => Promise.reject(new Error('the bucket is away')) }
  const image = { imageId: 'an-image', epoch: 1, attempts: 1, uploaded: true, original: { sha256: 'a' } }
  await dropUpload({ ...system.worker, s3 } as unknown as WorkerDeps, image as never)
  expect(system.lines.at(-1)).toMatchObject({
    ...{
      event: 'not tidy',
      imageId: 'an-image',
      error: expect.objectContaining({ message: 'the bucket is away' }),
    },
  })
})
