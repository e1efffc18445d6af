import { readFileSync } from 'node:fs'
import { ProvisionedThroughputExceededException } from '@aws-sdk/client-rekognition'
import { DeleteObjectCommand } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type SweeperDeps, sweep } from '../sweeper/sweep.ts'
import { processBatch } from '../worker/batch.ts'
import { lambdaContext, startTestSystem, type TestSystem } from './context.ts'

const photo = readFileSync(new URL('fixtures/grace-hopper.jpg', import.meta.url))
const DAY = 86_400_000
const NOTHING = { requeued: 0, exhausted: 0, announced: 0, removed: 0, failed: 0 }

let system: TestSystem
beforeAll(async () => {
  system = await startTestSystem()
})
afterAll(() => system.stop())

/** Milliseconds by which the sweeper is ahead of the clock. */
let ahead: number
let errors: string[]
beforeEach(async () => {
  await system.work()
  ahead = system.worker.sweepAfterMs + 1_000
  errors = []
  await sweep(sweeper())
  await system.receiveJobs()
  await system.events()
  await system.deadLetters()
})
const sweeper = (other: Partial<SweeperDeps> = {}): SweeperDeps => ({
  ...system.worker,
  now: () => new Date(Date.now() + ahead),
  giveUpMs: 14 * DAY,
  log: { error: (_message, { error }) => errors.push(String(error)) },
  ...other,
})
/** An image whose job is gone. */
const lose = async (): Promise<string> => {
  const imageId = await system.submit(photo)
  expect((await system.receiveJobs()).Records).toHaveLength(1)
  return imageId
}
/** What is received stays hidden from the next test, whatever a worker makes of it. */
const receiveForGood = async () => {
  const { Records } = await system.receiveJobs()
  return { Records: Records.map((record) => ({ ...record, receiptHandle: 'gone' })) }
}
const eventIds = async () => (await system.events()).map((event) => event.eventId)

describe('an image that has lost its job', () => {
  it('gets a new one, when it has rested for long enough', async () => {
    const imageId = await lose()
    ahead = system.worker.sweepAfterMs - 5_000
    expect(await sweep(sweeper())).toEqual(NOTHING)
    ahead = system.worker.sweepAfterMs + 1_000
    expect(await sweep(sweeper())).toEqual({ ...NOTHING, requeued: 1 })
    await system.work()
    expect((await system.record(imageId)).status).toBe('completed')
    ahead = 100 * DAY
    expect(await sweep(sweeper())).toEqual(NOTHING)
  })
  it('is looked after again after twice the time, and so on, so that a backlog does not fill with copies', async () => {
    const imageId = await lose()
    const waits: number[] = []
    for (let time = 0; time < 9; time += 1) {
      expect(await sweep(sweeper())).toEqual({ ...NOTHING, requeued: 1 })
      expect(await sweep(sweeper())).toEqual(NOTHING)
      const due = Number((await system.item(imageId))['sweepAt'])
      waits.push(Math.round((due - Date.now() - ahead) / system.worker.sweepAfterMs))
      ahead = due - Date.now() + 1_000
    }
    expect(waits).toEqual([2, 4, 8, 16, 32, 64, 64, 64, 64])
    await system.work()
    expect((await system.record(imageId)).status).toBe('completed')
  })
  it('and has had all its attempts ends as EXHAUSTED, with its event', async () => {
    const imageId = await lose()
    await system.setItem(imageId, { attempts: 12 })
    await system.setItem(imageId, { throttled: 2 })
    expect(await sweep(sweeper())).toMatchObject({ exhausted: 1 })
    expect(await system.record(imageId)).toMatchObject({ status: 'failed', failure: { code: 'EXHAUSTED' } })
    expect(await eventIds()).toEqual([`${imageId}:1:failed`])
    expect(await system.deadLetters()).toEqual([`{"version":1,"imageId":"${imageId}","epoch":2}`])
    expect(await sweep(sweeper())).toEqual(NOTHING)
  })
  it('and then waits for the quota again is left alone for as long as before', async () => {
    const imageId = await lose()
    expect(await sweep(sweeper())).toEqual({ ...NOTHING, requeued: 1 })
    const event = await receiveForGood()
    const busy = new ProvisionedThroughputExceededException({ message: 'no', $metadata: {} })
    const rekognition = { send: () => Promise.reject(busy) } as never
    const worker = { ...system.worker, rekognition, analysisSource: 'another' }
    await processBatch(worker, event, lambdaContext(1_500))
    const { sweepAt, throttled } = await system.item(imageId)
    expect(throttled).toBe(1)
    // Not one sweep later, as after a first job: the copies of a job would add up while it waits.
    expect(Number(sweepAt) - Date.now()).toBeGreaterThan(1.9 * system.worker.sweepAfterMs)
    await processBatch(system.worker, event, lambdaContext())
    expect((await system.record(imageId)).status).toBe('completed')
  })
  it('is not given up for throttled attempts, but for its age at last', async () => {
    const imageId = await lose()
    await system.setItem(imageId, { attempts: 12 })
    await system.setItem(imageId, { throttled: 3 })
    expect(await sweep(sweeper())).toMatchObject({ requeued: 1 })
    ahead = 14 * DAY + 60_000
    expect(await sweep(sweeper())).toMatchObject({ exhausted: 1 })
    expect((await system.record(imageId)).failure?.code).toBe('EXHAUSTED')
  })
  it('is not given up while a worker holds it, nor when one has taken it up since the sweeper looked', async () => {
    const imageId = await lose()
    await system.setItem(imageId, { attempts: 10 })
    await system.setItem(imageId, { status: 'processing' })
    await system.setItem(imageId, { leaseId: 'somebody' })
    await system.setItem(imageId, { leaseUntil: Date.now() + ahead + 60_000 })
    expect(await sweep(sweeper())).toEqual(NOTHING)
    expect((await system.item(imageId))['status']).toBe('processing')

    await system.setItem(imageId, { leaseUntil: 0 })
    const stack = system.worker.dynamo.middlewareStack
    stack.add(
      (next, context) => async (args) => {
        const isCommit = context.commandName === 'UpdateItemCommand'
        // Between the sweeper's look and its write.
        if (isCommit) {
          stack.remove('taken up')
          await system.setItem(imageId, { sweepAt: Date.now() + ahead + 999_999 })
        }
        return next(args)
      },
      { step: 'initialize', name: 'taken up' },
    )
    expect(await sweep(sweeper())).toEqual(NOTHING)
    expect((await system.item(imageId))['status']).toBe('processing')
    expect(await eventIds()).toEqual([])
    ahead = 15 * DAY
    expect(await sweep(sweeper())).toMatchObject({ exhausted: 1 })
  })
})

describe('a submission that broke off', () => {
  it('before its original was stored leaves nothing, but is not removed at first sight', async () => {
    const imageId = await lose()
    await system.worker.s3.send(
      new DeleteObjectCommand({ Bucket: system.names.bucket, Key: `originals/${imageId}` }),
    )
    // By a clock that is wrong it could be under way.
    expect(await sweep(sweeper())).toEqual(NOTHING)
    expect((await system.item(imageId))['status']).toBe('pending')
    expect(await sweep(sweeper())).toEqual(NOTHING)
    ahead += 2 * system.worker.sweepAfterMs + 1_000
    expect(await sweep(sweeper())).toEqual({ ...NOTHING, removed: 1 })
    expect(await system.item(imageId)).toEqual({})
    expect(await eventIds()).toEqual([])
  })
  it('and is sent again with its key is not removed under the hands of that request', async () => {
    const headers = { 'idempotency-key': 'broken-off' }
    const imageId = await system.submit(photo, headers)
    const key = { Bucket: system.names.bucket, Key: `originals/${imageId}` }
    await system.worker.s3.send(new DeleteObjectCommand(key))
    const stack = system.worker.s3.middlewareStack
    stack.add(
      (next, context) => async (args) => {
        const result = next(args)
        if (context.commandName !== 'HeadObjectCommand') return result
        stack.remove('sent again')
        // The sweeper has not found the original; now it comes.
        await result.catch(() => {})
        ahead = 0
        expect(await system.submit(photo, headers)).toBe(imageId)
        ahead = system.worker.sweepAfterMs + 1_000
        return result
      },
      { step: 'initialize', name: 'sent again' },
    )
    expect(await sweep(sweeper())).toEqual(NOTHING)
    await system.work()
    expect((await system.record(imageId)).status).toBe('completed')
  })
})

describe('a finished image', () => {
  it('whose event is not acknowledged is announced by the sweeper, as often as it takes', async () => {
    const imageId = await system.submit(photo)
    const batch = await receiveForGood()
    const away = { send: () => Promise.reject(new Error('EventBridge is away')) } as never
    await processBatch({ ...system.worker, eventBridge: away }, batch, lambdaContext())
    expect(await sweep(sweeper({ eventBridge: away }))).toEqual({ ...NOTHING, failed: 1 })
    const refusing = {
      send: async () => ({ FailedEntryCount: 1, Entries: [{ ErrorCode: 'ThrottlingException' }] }),
    } as never
    expect(await sweep(sweeper({ eventBridge: refusing }))).toEqual({ ...NOTHING, failed: 1 })
    expect(errors).toEqual([
      'Error: EventBridge is away',
      'Error: EventBridge did not take the event: ThrottlingException.',
    ])
    expect(await sweep(sweeper())).toEqual({ ...NOTHING, announced: 1 })
    expect(await eventIds()).toEqual([`${imageId}:1:completed`])
    expect(await sweep(sweeper())).toEqual(NOTHING)
  })
})

describe('trouble with one image', () => {
  it('keeps the sweeper from no other', async () => {
    const ids = [await lose(), await lose(), await lose()]
    let calls = 0
    const sqs = {
      send: (command: never) => {
        calls += 1
        return calls === 2 ? Promise.reject(new Error('SQS is away')) : system.worker.sqs.send(command)
      },
    } as never
    expect(await sweep(sweeper({ sqs }))).toEqual({ ...NOTHING, requeued: 2, failed: 1 })
    expect(await sweep(sweeper())).toEqual({ ...NOTHING, requeued: 1 })
    await system.work()
    for (const id of ids) expect((await system.record(id)).status).toBe('completed')
  })
})
