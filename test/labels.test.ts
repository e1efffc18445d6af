import { paginateScan } from '@aws-sdk/lib-dynamodb'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { indexLabels, unindexLabels } from '../shared/labels.ts'
import { sweep } from '../sweeper/sweep.ts'
import { processBatch } from '../worker/batch.ts'
import { lambdaContext, startTestSystem, type TestSystem, type Watcher, watchCalls } from './context.ts'
import { distinct } from './pictures.ts'

type Labels = { Name: string; Confidence: number }[]

let system: TestSystem
let watcher: Watcher
/** The commands to DynamoDB, with what the index had to be read for them. */
let calls: { command: string; scanned: number | undefined }[]
beforeAll(async () => {
  system = await startTestSystem()
  watcher = watchCalls(system)
})
afterAll(() => system.stop())
beforeEach(() => {
  calls = []
  delete watcher.before
  watcher.after = (command, { ScannedCount }) => {
    calls.push({ command, scanned: ScannedCount as number | undefined })
  }
})

let pictures = 0
const submit = async (owner: string) => {
  pictures += 1
  return system.submit(await distinct(pictures), { 'x-test-owner': owner })
}
/** Made-up labels in place of what the stand-in measures. */
const answering = (Labels: Labels) => {
  watcher.after = (command, output) => {
    if (command === 'DetectLabelsCommand') Object.assign(output, { Labels })
  }
}
const analysed = async (owner: string, labels: Labels): Promise<string> => {
  const imageId = await submit(owner)
  answering(labels)
  await system.work()
  delete watcher.after
  return imageId
}
const label = (Name: string, Confidence = 90) => ({ Name, Confidence })

interface Page {
  items: { imageId: string; labels: string[] }[]
  cursor?: string
}
const search = async (owner: string, query: string): Promise<Page> => {
  const response = await system.app.request(`/images?${query}`, { headers: { 'x-test-owner': owner } })
  expect(response.status).toBe(200)
  return (await response.json()) as Page
}
const found = async (owner: string, query: string) =>
  (await search(owner, query)).items.map(({ imageId }) => imageId)
const entries = async (imageId: string): Promise<Record<string, unknown>[]> => {
  const all = []
  const pages = paginateScan(
    { client: system.worker.dynamo },
    { TableName: system.names.table, IndexName: 'byLabel' },
  )
  for await (const { Items = [] } of pages) all.push(...Items)
  return all.filter(({ target }) => target === imageId)
}
const remove = (owner: string, imageId: string) =>
  system.app.request(`/images/${imageId}`, { method: 'DELETE', headers: { 'x-test-owner': owner } })
const sweepLater = () =>
  sweep({
    ...system.worker,
    now: () => new Date(Date.now() + 2 * system.worker.sweepAfterMs),
    giveUpMs: 14 * 86_400_000,
  })

describe('a search by label', () => {
  const owner = 'searcher'
  const ids: string[] = []
  beforeAll(async () => {
    for (const confidence of [99, 60, 80]) ids.push(await analysed(owner, [label('Dog', confidence)]))
    ids.push(await analysed(owner, [label('Cat')]))
    await analysed('somebody else', [label('Dog')])
  })

  it('finds the images of its owner with this label, newest first, in any case', async () => {
    const dogs = [ids[2], ids[1], ids[0]]
    expect(await found(owner, 'label=Dog')).toEqual(dogs)
    expect(await found(owner, 'label=dOG')).toEqual(dogs)
    expect(await found(owner, 'label=Do')).toEqual([])
    expect(await found('nobody', 'label=Dog')).toEqual([])
    const [shown] = (await search(owner, 'label=Cat')).items
    expect(shown).toMatchObject({ status: 'completed', labels: ['Cat'], thumbnail: { width: 128 } })
  })

  it('goes on page by page, and says when there is no more', async () => {
    const first = await search(owner, 'label=dog&limit=2')
    expect(first.items.map(({ imageId }) => imageId)).toEqual([ids[2], ids[1]])
    const second = await search(owner, `label=dog&limit=2&cursor=${first.cursor}`)
    expect(second).toEqual({ items: [expect.objectContaining({ imageId: ids[0] })] })
  })

  it('leaves out what is less sure than asked', async () => {
    expect(await found(owner, 'label=dog&minConfidence=80')).toEqual([ids[2], ids[0]])
    expect(await found(owner, 'label=dog&minConfidence=80.01')).toEqual([ids[0]])
    expect(await found(owner, 'label=dog&minConfidence=100')).toEqual([])
    for (const wrong of ['101', '-1', 'x', '']) {
      const response = await system.app.request(`/images?label=dog&minConfidence=${wrong}`)
      expect(await response.json(), wrong).toMatchObject({ status: 400, code: 'INVALID_PARAMETER' })
    }
  })

  it('finds completed images only, as no others have labels', async () => {
    expect(await found(owner, 'label=cat&status=completed')).toEqual([ids[3]])
    expect(await found(owner, 'label=cat&status=failed')).toEqual([])
  })

  it('reads what it finds, and none of the other images', async () => {
    await search(owner, 'label=cat')
    expect(calls).toEqual([
      { command: 'QueryCommand', scanned: 1 },
      { command: 'BatchGetItemCommand', scanned: undefined },
    ])
  })
})

describe('the index of labels', () => {
  it('has an image before its event is sent', async () => {
    const imageId = await submit('indexed')
    const known: number[] = []
    watcher.before = async (command) => {
      if (command === 'PutEventsCommand') known.push((await entries(imageId)).length)
    }
    answering([label('Dog'), label('Cat')])
    await system.work()
    expect(known).toEqual([2])
  })

  it('costs an image a hundred entries at most, those of its surest labels', async () => {
    const labels = Array.from({ length: 300 }, (_, index) => label(`Label ${index}`, 99 - index / 10))
    const imageId = await submit('many')
    let batches = 0
    watcher.before = (command) => {
      if (command === 'BatchWriteItemCommand') batches += 1
    }
    answering(labels.toReversed())
    await system.work()
    expect(batches).toBe(4)
    expect(await entries(imageId)).toHaveLength(100)
    expect(await found('many', 'label=label%2099')).toEqual([imageId])
    expect(await found('many', 'label=label%20100')).toEqual([])
  })

  it('has one entry for labels that differ in case, with the higher confidence', async () => {
    const imageId = await analysed('twins', [label('dog', 70), label('Dog', 95), label('DOG', 60)])
    expect(await entries(imageId)).toEqual([expect.objectContaining({ confidence: 95 })])
  })

  it('is filled by the next attempt when DynamoDB is away', async () => {
    const imageId = await submit('unlucky')
    const batch = await system.receiveJobs()
    watcher.before = (command) => {
      if (command === 'BatchWriteItemCommand') throw new Error('DynamoDB is away')
    }
    answering([label('Dog')])
    const run = () => processBatch(system.worker, batch, lambdaContext())
    expect((await run()).batchItemFailures).toHaveLength(1)
    expect((await system.events()).filter((event) => event.imageId === imageId)).toEqual([])
    delete watcher.before
    expect((await run()).batchItemFailures).toEqual([])
    expect(await found('unlucky', 'label=dog')).toEqual([imageId])
    expect((await system.events()).filter((event) => event.imageId === imageId)).toHaveLength(1)
    system.trouble.splice(0)
  })

  it('is filled by the sweeper, where no worker comes back for it', async () => {
    const imageId = await submit('left')
    const batch = await system.receiveJobs()
    watcher.before = (command) => {
      if (command === 'BatchWriteItemCommand') throw new Error('DynamoDB is away')
    }
    answering([label('Dog')])
    await processBatch(system.worker, batch, lambdaContext())
    delete watcher.before
    expect(await entries(imageId)).toEqual([])
    expect(await sweepLater()).toMatchObject({ announced: 1, failed: 0 })
    expect(await found('left', 'label=dog')).toEqual([imageId])
    system.trouble.splice(0)
  })

  it('is sent again what DynamoDB leaves of a batch', async () => {
    const imageId = await submit('partly')
    const batch = await system.receiveJobs()
    answering([label('Dog'), label('Cat')])
    const { after } = watcher
    let rounds = 0
    const item = {
      PutRequest: { Item: { imageId: `label#${imageId}#late`, ownerLabel: 'x', target: imageId } },
    }
    watcher.after = async (command, output) => {
      await after?.(command, output)
      if (command !== 'BatchWriteItemCommand') return
      rounds += 1
      if (rounds !== 2) Object.assign(output, { UnprocessedItems: { [system.names.table]: [item] } })
    }
    const run = () => processBatch(system.worker, batch, lambdaContext())
    expect((await run()).batchItemFailures).toEqual([])
    expect(rounds).toBe(2)
    expect(await entries(imageId)).toHaveLength(3)
  })

  it('is given up after five rounds, with twice the pause before each', async () => {
    const pauses: number[] = []
    const undone = { [system.names.table]: [{ DeleteRequest: { Key: { imageId: 'x' } } }] }
    const records = {
      ...system.worker,
      sleep: async (ms: number) => {
        pauses.push(ms)
      },
      dynamo: { send: async () => ({ UnprocessedItems: undone }) } as never,
    }
    await expect(unindexLabels(records, ['x'])).rejects.toThrow('DynamoDB leaves 1 parts of a batch undone.')
    expect(pauses).toEqual([50, 100, 200, 400])
  })

  it('has an image until it expires, and nothing of one whose labels were not asked for', async () => {
    const imageId = await submit('expiring')
    const batch = await system.receiveJobs()
    await system.setItem(imageId, { expiresAt: 4_000_000_000 })
    answering([label('Dog')])
    await processBatch(system.worker, batch, lambdaContext())
    const [entry] = await entries(imageId)
    expect(await system.item(String(entry?.['imageId']))).toMatchObject({ expiresAt: 4_000_000_000 })

    await system.events()
    const faces = await system.app.request('/images?analyses=faces', {
      ...{ method: 'POST', headers: { 'content-type': 'image/png', 'x-test-owner': 'faces' } },
      body: new Uint8Array(await distinct(++pictures)),
    })
    const faceless = ((await faces.json()) as { imageId: string }).imageId
    await system.work()
    expect(await entries(faceless)).toEqual([])
    expect((await system.events()).map((event) => event.imageId)).toEqual([faceless])
  })

  it('forgets an image with its deletion', async () => {
    const imageId = await analysed('forgetful', [label('Dog'), label('Cat')])
    expect((await remove('forgetful', imageId)).status).toBe(204)
    expect(await entries(imageId)).toEqual([])
    expect(await found('forgetful', 'label=dog')).toEqual([])
  })

  it('forgets what was completed while it was deleted, and what a worker wrote late', async () => {
    const imageId = await submit('racer')
    const batch = await system.receiveJobs()
    answering([label('Dog')])
    let raced = false
    watcher.before = async (command, input) => {
      const { status } = (input['Item'] ?? {}) as { status?: unknown }
      const note = typeof status === 'string' ? status : (status as { S?: string } | undefined)?.S
      if (raced || command !== 'PutItemCommand' || note !== 'deleted') return
      raced = true
      await processBatch(system.worker, batch, lambdaContext())
      expect(await entries(imageId)).toHaveLength(1)
    }
    expect((await remove('racer', imageId)).status).toBe(204)
    expect(raced).toBe(true)
    expect(await entries(imageId)).toEqual([])
    // A worker that was slow, or a call that the SDK sent twice.
    const late = { imageId, owner: 'racer', status: 'completed', rekognitionLabels: [label('Dog')] }
    await indexLabels(system.worker, late as unknown as Parameters<typeof indexLabels>[1])
    expect(await found('racer', 'label=dog')).toEqual([])
    expect(await sweepLater()).toMatchObject({ failed: 0 })
    expect(await entries(imageId)).toEqual([])
  })
})
