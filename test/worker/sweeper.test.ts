import { readFileSync } from 'node:fs'
import { ProvisionedThroughputExceededException } from '@aws-sdk/client-rekognition'
import { DeleteObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { DeleteCommand, PutCommand, paginateScan } from '@aws-sdk/lib-dynamodb'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { newImageId } from '../../api/submit.ts'
import { objectKeys } from '../../shared/image.ts'
import type { SweeperDeps } from '../../sweeper/deps.ts'
import { queuedRuns, sweep } from '../../sweeper/sweep.ts'
import { processBatch } from '../../worker/batch.ts'
import { lambdaContext, startTestSystem, type TestSystem, type Watcher, watchCalls } from '../context.ts'

const photo = readFileSync(new URL('../fixtures/grace-hopper.jpg', import.meta.url))
const DAY = 86_400_000
const NOTHING = { requeued: 0, exhausted: 0, announced: 0, removed: 0, failed: 0 }

let system: TestSystem
let watcher: Watcher
beforeAll(async () => {
  system = await startTestSystem()
  watcher = watchCalls(system)
})
afterAll(() => system.stop())

/** Milliseconds by which the sweeper is ahead of the clock. */
let ahead: number
let errors: string[]
beforeEach(async () => {
  delete watcher.before
  await system.work()
  ahead = system.worker.sweepAfterMs + 1_000
  errors = []
  // What other tests have left is nothing to this one, however late it is there.
  const TableName = system.names.table
  for await (const { Items = [] } of paginateScan({ client: system.worker.dynamo }, { TableName }))
    for (const { imageId } of Items)
      await system.worker.dynamo.send(new DeleteCommand({ TableName, Key: { imageId } }))
  await system.receiveJobs()
  await system.events()
  await system.deadLetters()
})
const sweeper = (other: Partial<SweeperDeps> = {}): SweeperDeps => ({
  ...system.worker,
  now: () => new Date(Date.now() + ahead),
  giveUpMs: 14 * DAY,
  log: { ...system.worker.log, error: (_message, { error }) => errors.push(String(error)) },
  ...other,
})
/** An image whose job is gone. */
const lose = async (): Promise<string> => {
  const imageId = await system.submit(photo)
  expect((await system.receiveJobs()).Records).toHaveLength(1)
  return imageId
}
/** What is received stays hidden from the next test, finished or not. */
const receiveForGood = async () => {
  const { Records } = await system.receiveJobs()
  return { Records: Records.map((record) => ({ ...record, receiptHandle: 'gone' })) }
}
const removeOriginal = (imageId: string) =>
  system.worker.s3.send(new DeleteObjectCommand({ Bucket: system.names.bucket, Key: `originals/${imageId}` }))
/** A presigned form, for which nothing has come yet. */
const announceUpload = async (): Promise<string> => {
  const response = await system.app.request('/uploads', {
    ...{ method: 'POST', headers: { 'content-type': 'application/json' } },
    body: JSON.stringify({ contentType: 'image/jpeg', bytes: photo.length }),
  })
  return ((await response.json()) as { imageId: string }).imageId
}
/** What a deletion has left for the sweeper, who has seen it once before. */
const deleted = async (headers: Record<string, string> = {}): Promise<string> => {
  const imageId = await system.submit(photo, headers)
  await system.work()
  expect((await system.app.request(`/images/${imageId}`, { method: 'DELETE' })).status).toBe(204)
  await system.setItem(imageId, { swept: 1 })
  return imageId
}
/** Something happens just before the next call of this kind. */
const beforeNext = (wanted: string, happen: () => Promise<unknown>) => {
  watcher.before = async (command) => {
    if (command !== wanted) return
    delete watcher.before
    await happen()
  }
}
const eventIds = async () => (await system.events()).map((event) => event.eventId)

describe('an image that has lost its job', () => {
  it('gets a new one, when it has rested for long enough', async () => {
    const imageId = await lose()
    ahead = system.worker.sweepAfterMs - 5_000
    await expect(sweep(sweeper())).resolves.toEqual(NOTHING)
    ahead = system.worker.sweepAfterMs + 1_000
    await expect(sweep(sweeper())).resolves.toEqual({ ...NOTHING, requeued: 1 })
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
  it('and has changed since is left alone until it is due, and not looked at again before', async () => {
    const imageId = await lose()
    const { sweepAt } = await system.item(imageId)
    const dueAt = Number(sweepAt) + 60_000
    await system.setItem(imageId, { dueAt })
    const reads: unknown[] = []
    watcher.before = (command, { Key }) => {
      if (command === 'GetItemCommand') reads.push(Key)
    }
    const sweepOnce = async () => {
      reads.splice(0)
      return { ...(await sweep(sweeper())), reads: reads.length }
    }
    await expect(sweepOnce()).resolves.toEqual({ ...NOTHING, reads: 1 })
    expect(await system.item(imageId)).toMatchObject({ sweepAt: dueAt })
    await expect(sweepOnce()).resolves.toEqual({ ...NOTHING, reads: 0 })
    ahead += 60_000
    await expect(sweepOnce()).resolves.toEqual({ ...NOTHING, requeued: 1, reads: 1 })
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
  it('ends with its last attempt and not before, and with its time and not before', async () => {
    const imageId = await lose()
    const { submittedAt } = await system.item(imageId)
    await system.setItem(imageId, { attempts: 9 })
    expect(await sweep(sweeper())).toEqual({ ...NOTHING, requeued: 1 })
    const at = (age: number) => sweep(sweeper({ now: () => new Date(Number(submittedAt) + age) }))
    expect(await at(14 * DAY)).toEqual({ ...NOTHING, requeued: 1 })
    await system.setItem(imageId, { sweepAt: 1 })
    expect(await at(14 * DAY + 1)).toEqual({ ...NOTHING, exhausted: 1 })
    const message = 'The image could not be analysed in time; try again later.'
    expect((await system.record(imageId)).failure).toEqual({ code: 'EXHAUSTED', message })

    await system.receiveJobs()
    const [other, killed] = [await lose(), await lose()]
    const trouble = { attempt: 10, name: 'AccessDenied', message: 'You may not.' }
    await system.setItem(other, { attempts: 10, trouble })
    // Its eleventh attempt has ended with its worker, of which nothing is known.
    await system.setItem(killed, { attempts: 11, trouble })
    system.lines.splice(0)
    expect(await sweep(sweeper())).toEqual({ ...NOTHING, exhausted: 2 })
    const said = async (imageId: string) => [
      (await system.record(imageId)).failure?.message,
      (await system.item(imageId))['trouble'],
      system.lines.find((line) => line['event'] === 'exhausted' && line['imageId'] === imageId)?.['error'],
    ]
    const met =
      'The image could not be analysed in time (the last attempt met AccessDenied); try again later.'
    expect(await said(other)).toEqual([met, trouble, trouble])
    expect(await said(killed)).toEqual([message, undefined, undefined])
  })
  it('and has been taken up, or been asked for once more, is not looked for in the bucket', async () => {
    const [taken, again] = [await lose(), await lose()]
    for (const imageId of [taken, again]) await removeOriginal(imageId)
    await system.setItem(taken, { attempts: 1 })
    await system.setItem(again, { epoch: 2 })
    expect(await sweep(sweeper())).toEqual({ ...NOTHING, requeued: 2 })
  })
  it('is left alone when it has changed since the index was read', async () => {
    const imageId = await lose()
    const { worker, names } = system
    const before = Date.now() + ahead
    beforeNext('GetItemCommand', () => system.setItem(imageId, { sweepAt: before }))
    expect(await sweep(sweeper(), before)).toEqual(NOTHING)
    await system.setItem(imageId, { sweepAt: 1 })
    beforeNext('GetItemCommand', () =>
      worker.dynamo.send(new DeleteCommand({ TableName: names.table, Key: { imageId } })),
    )
    expect(await sweep(sweeper(), before)).toEqual(NOTHING)

    const done = await system.submit(photo)
    const away = { send: () => Promise.reject(new Error('EventBridge is away')) } as never
    const { Records } = await receiveForGood()
    await processBatch({ ...worker, eventBridge: away }, { Records }, lambdaContext())
    expect(await eventIds()).toEqual([])
    // By the worker.
    beforeNext('GetItemCommand', () => processBatch(worker, { Records }, lambdaContext()))
    expect(await sweep(sweeper())).toEqual(NOTHING)
    expect(await eventIds()).toEqual([`${done}:1:completed`])
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

describe('a sweeper that knows the jobs in the queue', () => {
  it('sends none of them again, and the jobs of other runs', async () => {
    const imageId = await system.submit(photo)
    const [body = ''] = (await system.receiveJobs()).Records.map((record) => record.body)
    const knowing = (...bodies: string[]) => sweeper({ isQueued: queuedRuns(bodies) })
    expect(await sweep(knowing(body))).toEqual(NOTHING)
    const later = JSON.stringify({ ...JSON.parse(body), epoch: 2 })
    expect(await sweep(knowing(later, 'no job', '{}'))).toEqual({ ...NOTHING, requeued: 1 })
    expect((await system.receiveJobs()).Records.map((record) => record.body)).toEqual([body])
    expect(await system.item(imageId)).toMatchObject({ status: 'pending' })
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
  it('is not removed where the bucket is not there, of which S3 says the same', async () => {
    const imageId = await lose()
    await system.setItem(imageId, { swept: 1 })
    expect(await sweep(sweeper({ bucket: 'another-bucket' }))).toEqual({ ...NOTHING, failed: 1 })
    expect(await system.item(imageId)).toMatchObject({ status: 'pending' })
  })
  it('is removed at first sight by a sweeper that is alone, be it due or not', async () => {
    const imageId = await lose()
    await removeOriginal(imageId)
    ahead = 0
    const alone = { isAlone: true }
    expect(await sweep(sweeper(alone), Number.MAX_SAFE_INTEGER)).toEqual({ ...NOTHING, removed: 1 })
    expect(await system.item(imageId)).toEqual({})
  })
  it('and is sent again at the last moment is not removed', async () => {
    const imageId = await lose()
    await removeOriginal(imageId)
    await system.setItem(imageId, { swept: 1 })
    beforeNext('DeleteItemCommand', () => system.setItem(imageId, { sweepAt: Date.now() + 2 * DAY }))
    expect(await sweep(sweeper())).toEqual(NOTHING)
    expect(await system.item(imageId)).toMatchObject({ imageId })
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
      'Error: The event bus image-analyzer did not take the event: ThrottlingException.',
    ])
    expect(await sweep(sweeper())).toEqual({ ...NOTHING, announced: 1 })
    expect(await eventIds()).toEqual([`${imageId}:1:completed`])
    expect(await sweep(sweeper())).toEqual(NOTHING)
  })
})

describe('an upload', () => {
  it('that may still come is left, and one that cannot is removed', async () => {
    const imageId = await announceUpload()
    const { sweepAt } = await system.item(imageId)
    const last = Number(sweepAt)
    const at = (now: number) =>
      sweep(sweeper({ isAlone: true, now: () => new Date(now) }), Number.MAX_SAFE_INTEGER)
    expect(await at(last)).toEqual(NOTHING)
    expect(await system.item(imageId)).toMatchObject({ status: 'awaiting_upload' })
    expect(await at(last + 1)).toEqual({ ...NOTHING, removed: 1 })
  })
  it('that has come without a word of S3 gets a job', async () => {
    const imageId = await announceUpload()
    const object = { Bucket: system.names.bucket, Key: `uploads/${imageId}` }
    await system.worker.s3.send(new PutObjectCommand({ ...object, Body: photo, ContentType: 'image/jpeg' }))
    await system.receiveJobs()
    ahead = DAY
    expect(await sweep(sweeper())).toEqual({ ...NOTHING, requeued: 1 })
    await system.work()
    expect((await system.record(imageId)).status).toBe('completed')
  })
})

describe('a deleted image', () => {
  const sweptWith = async (): Promise<[commands: string[], swept: Awaited<ReturnType<typeof sweep>>]> => {
    const commands: string[] = []
    watcher.before = (command) => {
      if (command !== 'QueryCommand') commands.push(command.replace('Command', ''))
    }
    return [commands, await sweep(sweeper())]
  }
  const objects = objectKeys(newImageId(new Date())).map(() => 'DeleteObject')

  it('is forgotten with its objects, its labels and its key, at second sight', async () => {
    await deleted()
    const [commands, swept] = await sweptWith()
    expect(swept).toEqual({ ...NOTHING, removed: 1 })
    expect(commands).toEqual(['GetItem', ...objects, 'BatchWriteItem', 'DeleteItem'])

    const imageId = await deleted({ 'idempotency-key': 'deleted' })
    await system.setItem(imageId, { labels: [], swept: 0 })
    expect(await sweptWith()).toEqual([['GetItem', ...objects, 'UpdateItem', 'UpdateItem'], NOTHING])
  })
  it('is looked after beside nine others, and once', async () => {
    const ids = Array.from({ length: 20 }, (_, at) => `0199c0de-0000-7000-8000-0000000000${at + 10}`)
    for (const imageId of ids) {
      const note = { imageId, status: 'deleted', unfinished: '0', sweepAt: 1, swept: 1 }
      await system.worker.dynamo.send(new PutCommand({ TableName: system.names.table, Item: note }))
    }
    let begun = 0
    let ended = 0
    let most = 0
    watcher.before = (command) => {
      if (command === 'GetItemCommand') begun += 1
      if (command === 'DeleteItemCommand') ended += 1
      most = Math.max(most, begun - ended)
    }
    expect(await sweep(sweeper())).toEqual({ ...NOTHING, removed: 20 })
    expect({ begun, ended, most }).toEqual({ begun: 20, ended: 20, most: 10 })
  })
})

describe('trouble with one image', () => {
  it.each<[string, () => Promise<unknown>, Partial<typeof NOTHING>]>([
    ['has lost its job', lose, { requeued: 1 }],
    // As soon as it has its outcome, it has only to be announced.
    ['has had its attempts', async () => system.setItem(await lose(), { attempts: 10 }), { announced: 1 }],
    [
      'has not been announced',
      async () => {
        await system.submit(photo)
        const away = { send: () => Promise.reject(new Error('EventBridge is away')) } as never
        await processBatch({ ...system.worker, eventBridge: away }, await receiveForGood(), lambdaContext())
      },
      { announced: 1 },
    ],
    [
      'was given up, but not announced',
      async () => {
        await system.setItem(await lose(), { attempts: 10 })
        const away = { send: () => Promise.reject(new Error('EventBridge is away')) } as never
        expect(await sweep(sweeper({ eventBridge: away }))).toEqual({ ...NOTHING, failed: 1 })
        ahead += 2 * system.worker.sweepAfterMs
      },
      { announced: 1 },
    ],
    ['was deleted just now', async () => system.setItem(await deleted(), { swept: 0 }), {}],
    ['was deleted', () => deleted({ 'idempotency-key': 'trouble' }), { removed: 1 }],
    [
      'has never come',
      async () => {
        const imageId = await lose()
        await removeOriginal(imageId)
        await system.setItem(imageId, { swept: 1 })
      },
      { removed: 1 },
    ],
  ])('that %s is seen at every step, and the next sweep begins again', async (_, make, done) => {
    await make()
    for (let failing = 0; failing < 20; failing += 1) {
      let calls = 0
      watcher.before = (command) => {
        if (command === 'QueryCommand') return
        calls += 1
        if (calls === failing + 1) throw new Error('AWS is away')
      }
      const swept = await sweep(sweeper())
      if (calls <= failing) {
        expect(failing).toBeGreaterThan(2)
        expect(swept).toEqual({ ...NOTHING, ...done })
        return
      }
      expect({ swept, calls }).toEqual({ swept: { ...NOTHING, failed: 1 }, calls: failing + 1 })
      ahead += 2 * system.worker.sweepAfterMs
    }
    expect.fail('It never ends.')
  })
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
