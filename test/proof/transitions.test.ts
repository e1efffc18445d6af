import { PutCommand } from '@aws-sdk/lib-dynamodb'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type FinishedImage, type Image, imageIdSchema, imageSchema, objectKeys } from '../../shared/image.ts'
import {
  claimImage,
  closeIdempotencyKey,
  commitImage,
  deferSweep,
  deleteObjects,
  getImage,
  giveUpImage,
  markAnnounced,
  moveSweep,
  type Outcome,
  type Records,
  releaseImage,
  removeRecord,
  retryImage,
  settleOriginal,
  sweepAt,
} from '../../shared/lifecycle.ts'
import { inRounds } from '../../shared/table.ts'
import { bytesOf, findSameBytes } from '../../worker/results.ts'
import { startTestSystem, type TestSystem, type Watcher, watchCalls } from '../context.ts'

/** What each change of a record makes of the stored item, whole; and what it is refused for. */

const NOW = Date.parse('2026-11-27T12:34:56.000Z')
const LATER = NOW + 1_020_000
const now = new Date(NOW).toISOString()
const imageId = imageIdSchema.parse('0199c0de-0000-7000-8000-00000000000a')
const THEN = '2026-11-26T00:00:00.000Z'
const pending = {
  ...{ imageId, owner: 'o', createdAt: THEN, updatedAt: THEN, attempts: 1, epoch: 2, submittedAt: 0 },
  original: { bucket: 'b', key: 'k', contentType: 'image/png', bytes: 1, sha256: '0'.repeat(64) },
  ...{
    analyses: ['labels'],
    status: 'pending',
    statusKey: `open#${imageId}`,
    unfinished: '2',
    sweepAt: 1,
  },
}
const processing = {
  ...{ ...pending, status: 'processing', leaseId: 'mine' },
  leaseUntil: NOW + 5,
}
const thumbnail = { bucket: 'b', key: 't', contentType: 'image/jpeg', bytes: 1, width: 1, height: 1 }
const { statusKey: _open, ...unlisted } = pending
const completed = { ...unlisted, status: 'completed', completedAt: THEN, thumbnail }
const failure = { code: 'CORRUPT_IMAGE' as const, message: 'm' }
const exhaustion = { code: 'EXHAUSTED', message: 'm' } as const
const failed = {
  ...{ ...pending, status: 'failed', statusKey: `failed#${imageId}`, completedAt: THEN, failure },
}
const { unfinished: _, sweepAt: _due, ...announcedFailure } = { ...failed, announced: 2 }

let system: TestSystem
let watcher: Watcher
let records: Records
let results: Parameters<typeof bytesOf>[0]
beforeAll(async () => {
  system = await startTestSystem()
  watcher = watchCalls(system)
  records = { ...system.worker, now: () => new Date(NOW) }
  results = { ...records, analysisSource: 'source', read: system.worker.read }
})
afterAll(() => system.stop())
beforeEach(() => {
  delete watcher.before
})

const put = (Item: Record<string, unknown>) =>
  system.worker.dynamo.send(new PutCommand({ TableName: system.names.table, Item }))
const stored = () => system.item(imageId)
const read = (item: object): Image => imageSchema.parse(item)
const finished = (item: object) => read(item) as FinishedImage

it('an image is due after its time, which doubles with each sweep up to 64 times, or when its job is due', () => {
  const due = (rest?: Parameters<typeof sweepAt>[1]) => sweepAt(records, rest) - NOW
  expect(due()).toBe(1_020_000)
  expect([1, 2, 3, 6, 7, 100].map((swept) => due({ swept }) / 1_020_000)).toEqual([2, 4, 8, 64, 64, 64])
  expect(due({ waitMs: 5 })).toBe(1_020_005)
  expect(due({ swept: 1, waitMs: 5 })).toBe(2_040_000)
  expect(due({ swept: 1, waitMs: 1_020_001 })).toBe(2_040_001)
})

it('a record is read as it is now, and what a deletion has left is none', async () => {
  const reads: unknown[] = []
  watcher.before = (_command, { ConsistentRead }) => {
    reads.push(ConsistentRead)
  }
  await expect(getImage(records, 'x')).resolves.toBeUndefined()
  expect(reads).toEqual([true])
  await put(pending)
  await expect(getImage(records, imageId)).resolves.toEqual(read(pending))
  await put({ imageId, status: 'deleted', unfinished: '2', sweepAt: 1 })
  await expect(getImage(records, imageId)).resolves.toBeUndefined()
})

it('a change says what it sets, removes and adds, and nothing else', async () => {
  const updates: unknown[] = []
  watcher.before = (_command, { UpdateExpression }) => {
    if (UpdateExpression !== undefined) updates.push(UpdateExpression)
  }
  await put({ ...pending, swept: 1 })
  const claim = await claimImage(records, { version: 1, imageId, epoch: 2 }, { id: 'mine', until: NOW + 9 })
  if (claim.kind !== 'claimed') throw new Error(claim.kind)
  expect(claim.image).toMatchObject({ swept: 1, attempts: 2 })
  const outcome = { status: 'failed', failure: exhaustion } as const
  await commitImage(records, claim.image, outcome)
  // As it is documented; the embedded DynamoDB needs fewer spaces.
  const list = (...names: string[]) => names.map((name) => `#${name} = :${name}`).join(', ')
  const claimed = list('status', 'statusKey', 'leaseId', 'leaseUntil', 'updatedAt', 'dueAt')
  const ended = list('status', 'failure', 'statusKey', 'updatedAt', 'completedAt', 'dueAt')
  expect(updates).toEqual([
    `SET ${claimed} REMOVE waits, rates ADD #attempts :attempts`,
    `SET ${ended} REMOVE leaseId, leaseUntil, waits, rates, parked, throttled, swept, trouble`,
  ])
})

describe('what DynamoDB leaves of a batch', () => {
  const run = async (all: number[], most: number, left: (waiting: number[]) => number[]) => {
    const steps: unknown[] = []
    const sleep = async (ms: number) => {
      await Promise.resolve()
      steps.push(ms)
    }
    const outcome = await inRounds(sleep, { most, firstPauseMs: 50 }, all, async (waiting) => {
      steps.push(waiting)
      return left(waiting)
    }).catch(String)
    return { steps, outcome }
  }
  it('is sent again after a pause, each twice the one before', async () => {
    expect(await run([1, 2, 3], 3, (waiting) => waiting.slice(1))).toEqual({
      steps: [[1, 2, 3], 50, [2, 3], 100, [3]],
      outcome: undefined,
    })
    expect((await run([1, 2, 3, 4], 4, (waiting) => waiting.slice(1))).steps.at(-2)).toBe(200)
    expect(await run([], 3, () => [])).toEqual({ steps: [], outcome: undefined })
  })
  it('is an error when it is left in every round', async () => {
    expect(await run([1, 2], 2, (waiting) => waiting)).toEqual({
      ...{ steps: [[1, 2], 50, [1, 2]], outcome: 'Error: DynamoDB leaves 2 parts of a batch undone.' },
    })
  })
})

describe('a claim', () => {
  const job = { version: 1 as const, imageId, epoch: 2 }
  const claim = (id = 'mine') => claimImage(records, job, { id, until: NOW + 9 })
  const taken = {
    ...{ ...processing, attempts: 2, leaseUntil: NOW + 9, updatedAt: now, dueAt: LATER },
  }

  it.each<[string, object]>([
    ['waits', pending],
    ['waits for its upload', { ...pending, status: 'awaiting_upload' }],
    ['waits since the version before', { ...pending, statusKey: `pending#${imageId}` }],
    ['is held no longer', { ...processing, leaseId: 'other', leaseUntil: NOW - 1 }],
    ['is held by the same worker', processing],
  ])('takes an image that %s', async (_name, item) => {
    await put(item as Record<string, unknown>)
    await expect(claim()).resolves.toEqual({ kind: 'claimed', image: read(taken) })
    expect(await stored()).toEqual(taken)
  })

  it.each<[string, Record<string, unknown>, object]>([
    ['held', processing, { leaseUntil: NOW + 5, image: read(processing) }],
    [
      'held',
      { ...processing, leaseUntil: NOW },
      { leaseUntil: NOW, image: read({ ...processing, leaseUntil: NOW }) },
    ],
    ['finished', completed, { image: read(completed) }],
    ['finished', failed, { image: read(failed) }],
    ['replaced', { ...pending, epoch: 3 }, {}],
    ['early', { ...failed, epoch: 1 }, { image: read({ ...failed, epoch: 1 }) }],
    ['deleted', { imageId, status: 'deleted' }, {}],
  ])('does not take one that is %s', async (kind, item, more) => {
    await put(item)
    await expect(claim('another')).resolves.toEqual({ kind, ...more })
    expect(await stored()).toEqual(item)
  })

  it('of an image that has just been let go may be tried again at once', async () => {
    await put(processing)
    watcher.before = async (command) => {
      if (command !== 'GetItemCommand') return
      delete watcher.before
      await put(pending)
    }
    await expect(claim('another')).resolves.toMatchObject({ kind: 'held', leaseUntil: NOW })
  })
})

it('a worker lets go of an image that it holds, and of no other', async () => {
  const kept = { labels: { rekognitionLabels: [], labelModelVersion: '1' } }
  const release = (leaseId: string, swept?: number) => {
    const image = read({ ...processing, leaseId, ...(swept === undefined ? {} : { swept }) })
    if (image.status !== 'processing') throw new Error(image.status)
    const left = { throttled: 3, kept, paidCalls: { labels: 1 } }
    return releaseImage(records, image, left, { for: 'budget', waitMs: 7 })
  }
  await put(processing)
  await expect(release('another')).resolves.toBeUndefined()
  expect(await stored()).toEqual(processing)
  await release('mine')
  const rested = {
    ...processing,
    leaseUntil: 0,
    throttled: 3,
    kept,
    paidCalls: { labels: 1 },
    waits: { for: 'budget', until: new Date(NOW + 7).toISOString() },
    dueAt: LATER + 7,
  }
  expect(await stored()).toEqual(rested)
  await release('mine', 2)
  expect(await stored()).toEqual({ ...rested, dueAt: NOW + 4 * 1_020_000 })
  await put(pending)
  await release('mine')
  expect(await stored()).toEqual(pending)
})

it('the original of an upload is settled by the worker that holds the image, and by no other', async () => {
  const original = { ...processing.original, contentType: 'image/jpeg' as const, sha256: '1'.repeat(64) }
  const settle = (leaseId: string) => {
    const image = read({ ...processing, leaseId })
    if (image.status !== 'processing') throw new Error(image.status)
    return settleOriginal(records, image, original)
  }
  await put(processing)
  await expect(settle('another')).resolves.toBe(false)
  expect(await stored()).toEqual(processing)
  await expect(settle('mine')).resolves.toBe(true)
  expect(await stored()).toEqual({ ...processing, original })
  await put(pending)
  await expect(settle('mine')).resolves.toBe(false)
  expect(await stored()).toEqual(pending)
})

describe('an outcome', () => {
  const kept = { labels: { rekognitionLabels: [], labelModelVersion: '1' } }
  const waits = { for: 'quota' as const, until: now }
  const trouble = { attempt: 1, name: 'AccessDenied', message: 'm' }
  const worked = {
    ...processing,
    trouble,
    throttled: 1,
    swept: 1,
    kept,
    waits,
    rates: { labels: 3 },
    parked: true,
  }
  const commit = (outcome: Outcome, leaseId = 'mine') => {
    const image = read({ ...worked, leaseId })
    if (image.status !== 'processing') throw new Error(image.status)
    return commitImage(records, image, outcome)
  }
  const done = { completedAt: now, updatedAt: now, dueAt: LATER }
  it.each<[string, Outcome, Record<string, unknown>]>([
    ['completed', { status: 'completed', thumbnail }, { ...completed, ...done, index: 2 }],
    ['failed', { status: 'failed', failure }, { ...failed, ...done }],
    [
      'exhausted, and keeps what was paid for',
      { status: 'failed', failure: exhaustion },
      { ...failed, ...done, failure: exhaustion, kept },
    ],
    [
      'exhausted, and says of what',
      { status: 'failed', failure: exhaustion, trouble },
      { ...failed, ...done, failure: exhaustion, kept, trouble },
    ],
  ])('is %s', async (_name, outcome, expected) => {
    await put(worked)
    await expect(commit(outcome)).resolves.toEqual(read(expected))
    expect(await stored()).toEqual(expected)
  })

  it.each<[string, Record<string, unknown>, FinishedImage | undefined]>([
    ['one of the same run', completed, finished(completed)],
    ['one of a later run', { ...completed, epoch: 3 }, undefined],
    ['none yet', processing, undefined],
    ['none any more', { imageId, status: 'deleted' }, undefined],
  ])('that is refused gives way to what is there: %s', async (_name, item, expected) => {
    await put(item)
    await expect(commit({ status: 'failed', failure }, 'another')).resolves.toEqual(expected)
    expect(await stored()).toEqual(item)
  })

  it('is EXHAUSTED for an image that is as the sweeper has seen it, and whose lease is over', async () => {
    const giveUp = (seen: object) => giveUpImage(records, read(seen), { failure: exhaustion })
    const over = { ...worked, leaseUntil: NOW - 1 }
    const ended = { ...failed, ...done, failure: exhaustion, kept }
    for (const seen of [over, { ...pending, throttled: 1, swept: 1, kept }]) {
      await put(seen)
      await expect(giveUp(seen)).resolves.toEqual(read(ended))
      expect(await stored()).toEqual(ended)
    }
    for (const touched of [
      { ...over, sweepAt: 2 },
      { ...over, dueAt: 2 },
      { ...over, leaseUntil: NOW },
      { ...over, epoch: 3 },
    ]) {
      await put(touched)
      await expect(giveUp(over)).resolves.toBeUndefined()
      expect(await stored()).toEqual(touched)
    }
  })

  it('is announced once for its run', async () => {
    const { unfinished: _unfinished, sweepAt: _sweepAt, ...rest } = completed
    const due = { ...completed, dueAt: LATER }
    for (const other of [{ ...completed, epoch: 3 }, failed]) {
      await put(other)
      await expect(markAnnounced(records, finished(completed))).resolves.toBeUndefined()
      expect(await stored()).toEqual(other)
    }
    await put(due)
    await expect(markAnnounced(records, finished(completed))).resolves.toBeUndefined()
    expect(await stored()).toEqual({ ...rest, announced: 2 })
  })
})

it('the sweeper looks once more, or removes what is left, only where all is as it was seen', async () => {
  const late = { ...pending, dueAt: 7 }
  for (const [seen, touched] of [
    [pending, { ...pending, sweepAt: 2 }],
    [pending, late],
    [late, { ...late, dueAt: 8 }],
    [late, { ...late, sweepAt: 2 }],
    [late, pending],
  ] as const) {
    await put(touched)
    for (const change of [deferSweep, moveSweep, removeRecord])
      await expect(change(records, read(seen))).resolves.toBe(false)
    expect(await stored()).toEqual(touched)
  }
  const once = { ...pending, swept: 1, sweepAt: NOW + 2 * 1_020_000 }
  for (const seen of [pending, late]) {
    await put(seen)
    await expect(deferSweep(records, read(seen))).resolves.toBe(true)
    expect(await stored()).toEqual(once)
  }
  await deferSweep(records, read(once))
  expect(await stored()).toEqual({ ...once, swept: 2, sweepAt: NOW + 4 * 1_020_000 })
  await put(late)
  await expect(moveSweep(records, read(late))).resolves.toBe(true)
  expect(await stored()).toEqual({ ...pending, sweepAt: 7 })
  for (const seen of [pending, late]) {
    await put(seen)
    await expect(removeRecord(records, read(seen))).resolves.toBe(true)
    expect(await stored()).toEqual({})
  }
})

it('a new run of a failed image begins at the start, when its failure is announced', async () => {
  const begin = async (item: Record<string, unknown>) => {
    await put(item)
    return retryImage(records, read(failed))
  }
  const fresh = { updatedAt: now, submittedAt: NOW, sweepAt: LATER, attempts: 0, epoch: 3 }
  await expect(
    begin({ ...announcedFailure, throttled: 1, swept: 1, dueAt: 1, paidCalls: {} }),
  ).resolves.toEqual(read({ ...pending, ...fresh }))
  expect(await stored()).toEqual({ ...pending, ...fresh })
  for (const other of [failed, { ...announcedFailure, epoch: 3 }, completed]) {
    await expect(begin(other)).resolves.toBeUndefined()
    expect(await stored()).toEqual(other)
  }
})

it('results are found by their bytes, owner, analyses and source, for thirty days', async () => {
  const image = finished({ ...completed, analyses: ['labels', 'faces'] })
  const at = (ms: number) => ({ ...results, now: () => new Date(NOW + ms) })
  await expect(findSameBytes(results, image)()).resolves.toBeUndefined()
  const [item = {}, ...more] = bytesOf(results, image)
  expect(item).toMatchObject({ imageId: expect.stringMatching(/^bytes#[0-9a-f]{64}$/) })
  expect(more).toEqual([])
  await put(item)
  const days = 30 * 86_400_000
  const same = { ...image, imageId: imageIdSchema.parse(imageId.replace('a', 'b')) }
  const fewer = { ...image, analyses: image.analyses.slice(1) }
  for (const found of [image, same, { ...image, analyses: image.analyses.toReversed() }, fewer])
    await expect(findSameBytes(at(days), found)()).resolves.toBe(imageId)
  await expect(findSameBytes(at(days + 1), image)()).resolves.toBeUndefined()
  for (const other of [
    { ...image, owner: 'another' },
    { ...image, analyses: [...image.analyses, 'text' as const] },
    { ...image, original: { ...image.original, sha256: '1'.repeat(64) } },
  ])
    await expect(findSameBytes(results, other)()).resolves.toBeUndefined()
  await expect(findSameBytes({ ...results, analysisSource: 'another' }, image)()).resolves.toBeUndefined()
  // Nothing was paid for these.
  for (const free of [{ ...completed, reused: true }, failed, { ...completed, analyses: ['metadata'] }])
    expect(bytesOf(results, finished(free))).toEqual([])
})

it('a key is closed for the image that it stands for, and for no other', async () => {
  const key = (more: object) => ({ imageId: 'idempotency#k', target: imageId, ...more })
  const close = () => closeIdempotencyKey(records, 'k', imageId)
  await expect(close()).resolves.toBeUndefined()
  expect(await system.item('idempotency#k')).toEqual({})
  await put(key({ target: 'another' }))
  await expect(close()).resolves.toBeUndefined()
  expect(await system.item('idempotency#k')).toEqual(key({ target: 'another' }))
  await put(key({}))
  await expect(close()).resolves.toBeUndefined()
  expect(await system.item('idempotency#k')).toEqual(key({ deleted: true }))
})

it('trouble with AWS is an error of whoever asks', async () => {
  await put(processing)
  watcher.before = () => {
    throw new Error('AWS is away')
  }
  const image = read(processing)
  if (image.status !== 'processing') throw new Error(image.status)
  const all = await Promise.allSettled([
    getImage(records, imageId),
    retryImage(records, read(failed)),
    claimImage(records, { version: 1, imageId, epoch: 2 }, { id: 'mine', until: NOW }),
    releaseImage(records, image, { throttled: 0, kept: {}, paidCalls: {} }, { for: 'retry', waitMs: 0 }),
    commitImage(records, image, { status: 'failed', failure }),
    giveUpImage(records, image, { failure: exhaustion }),
    deferSweep(records, image),
    removeRecord(records, image),
    markAnnounced(records, finished(completed)),
    findSameBytes(results, image)(),
    closeIdempotencyKey(records, 'k', imageId),
    deleteObjects({ ...system.worker, bucket: system.names.bucket }, imageId),
  ])
  expect(all.map(({ status }) => status)).toEqual(all.map(() => 'rejected'))
})

it('the objects of an image are removed one after the other', async () => {
  const keys: unknown[] = []
  let under = 0
  watcher.before = (command, { Key }) => {
    expect(command).toBe('DeleteObjectCommand')
    expect(under).toBe(0)
    under += 1
    keys.push(Key)
  }
  watcher.after = () => {
    under -= 1
  }
  await deleteObjects({ ...system.worker, bucket: system.names.bucket }, imageId)
  expect(keys).toEqual(objectKeys(imageId))
  delete watcher.after
})
