import { paginateScan } from '@aws-sdk/lib-dynamodb'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { indexLabels, unindexLabels } from '../../shared/labels.ts'
import { labelTable } from '../../shared/table.ts'
import { sweep } from '../../sweeper/sweep.ts'
import { processBatch } from '../../worker/batch.ts'
import {
  ELSEWHERE,
  lambdaContext,
  skippedElsewhere,
  startTestSystem,
  type TestSystem,
  type Watcher,
  watchCalls,
} from '../context.ts'
import { distinct } from '../pictures/pictures.ts'

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
  watcher.after = (command, { ScannedCount }) =>
    void calls.push({ command, scanned: ScannedCount as number | undefined })
})

let pictures = 0
const submit = async (owner: string) => system.submit(await distinct(++pictures), { 'x-test-owner': owner })
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
  items: { imageId: string; createdAt: string; labels: string[] }[]
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
  const pages = paginateScan({ client: system.worker.dynamo }, { TableName: labelTable(system.names.table) })
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
    // As programs write a sum.
    expect(await found(owner, 'label=dog&minConfidence=79.99999999999999')).toEqual([ids[2], ids[0]])
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

  it.skipIf(ELSEWHERE)(`reads what it finds, and none of the other images${skippedElsewhere}`, async () => {
    await search(owner, 'label=cat')
    // Of the sure labels, of the unsure, and of those of the version before.
    expect(calls).toEqual([1, 0, 0].map((scanned) => ({ command: 'QueryCommand', scanned })))
  })
})

describe('a search by several labels', () => {
  const owner = 'several'
  const ids: string[] = []
  beforeAll(async () => {
    // Dog, Cat and Tree by the bits of a number; the confidence of each falls with it.
    for (let number = 0; number < 8; number += 1) {
      const names = ['Dog', 'Cat', 'Tree'].filter((_, bit) => number & (1 << bit))
      ids.push(await analysed(owner, [label('Photo'), ...names.map((name) => label(name, 99 - number))]))
    }
    await analysed('somebody else', [label('Dog'), label('Cat')])
  })
  const numbers = async (query: string) => (await found(owner, query)).map((imageId) => ids.indexOf(imageId))

  it('finds what has all of them, newest first, in whatever order they are named', async () => {
    expect(await numbers('label=Dog&label=cat')).toEqual([7, 3])
    expect(await numbers('label=cat&label=Dog')).toEqual([7, 3])
    expect(await numbers('label=tree&label=dog')).toEqual([7, 5])
    expect(await numbers('label=tree&label=dog&label=CAT')).toEqual([7])
    expect(await numbers('label=dog&label=dog')).toEqual([7, 5, 3, 1])
    expect(await numbers('label=dog&label=Bird')).toEqual([])
  })

  it('asks the least confidence of each of them', async () => {
    expect(await numbers('label=Dog&label=Cat&minConfidence=93')).toEqual([3])
    expect(await numbers('label=Dog&label=Photo&minConfidence=90.5')).toEqual([])
    expect(await numbers('label=Dog&label=Photo&minConfidence=90')).toEqual([7, 5, 3, 1])
  })

  it('goes on page by page', async () => {
    const first = await search(owner, 'label=photo&label=dog&limit=3')
    expect(first.items.map(({ imageId }) => ids.indexOf(imageId))).toEqual([7, 5, 3])
    const second = await search(owner, `label=photo&label=dog&limit=3&cursor=${first.cursor}`)
    expect(second).toEqual({ items: [expect.objectContaining({ imageId: ids[1] })] })
  })

  it('reads no more of a frequent label than shows that another is rarer', async () => {
    const { after } = watcher
    const all: string[] = []
    for (let index = 0; index < 20; index += 1) {
      const sky = label('Sky', index % 2 === 0 ? 95 : 60)
      all.unshift(await analysed('flyer', [sky, ...(index % 7 === 0 ? [label('Kite')] : [])]))
    }
    Object.assign(watcher, { after })
    // Of sure and unsure ones by turns.
    expect(await found('flyer', 'label=sky&limit=50')).toEqual(all)
    for (const query of ['label=sky&label=kite', 'label=kite&label=sky']) {
      calls = []
      expect(await found('flyer', query)).toHaveLength(3)
      expect(calls.map(({ scanned }) => scanned).sort()).toEqual([0, 0, 0, 3, 7, 7])
    }
  })

  it('takes five of them', async () => {
    const five = Array.from({ length: 5 }, () => 'label=dog').join('&')
    expect(await numbers(five)).toEqual([7, 5, 3, 1])
    const response = await system.app.request(`/images?${five}&label=cat`)
    expect(await response.json()).toMatchObject({
      code: 'INVALID_PARAMETER',
      detail: 'Query parameter `label` may be given at most 5 times.',
    })
  })
})

describe('a list with filters', () => {
  const owner = 'filters'
  const ids: Record<string, string> = {}
  const face = (...types: [type: string, confidence: number][]) => ({
    Confidence: 99,
    Emotions: types.map(([Type, Confidence]) => ({ Type, Confidence })),
  })
  beforeAll(async () => {
    const faces: Record<string, object[]> = {
      none: [],
      glad: [face(['CALM', 40], ['HAPPY', 55])],
      both: [face(['HAPPY', 80]), face(['SAD', 70], ['HAPPY', 20])],
      still: [{ Confidence: 95 }],
    }
    for (const [name, FaceDetails] of Object.entries(faces)) {
      pictures += 1
      const headers = {
        'x-test-owner': owner,
        'content-disposition': `attachment; filename="${name}-DSC.PNG"`,
      }
      ids[name] = await system.submit(await distinct(pictures), headers)
      watcher.after = (command, output) => {
        if (command === 'DetectFacesCommand') Object.assign(output, { FaceDetails })
        if (command === 'DetectLabelsCommand') Object.assign(output, { Labels: [label('Photo')] })
      }
      await system.work()
    }
    ids['broken'] = await system.submit(Buffer.from('\x89PNG\r\n\x1a\n broken', 'latin1'), {
      ...{ 'x-test-owner': owner, 'content-disposition': 'attachment; filename="broken.png"' },
    })
    await system.work()
    system.trouble.splice(0)
  })
  const names = async (query: string) =>
    (await found(owner, query)).map((imageId) => Object.keys(ids).find((name) => ids[name] === imageId))

  it('finds images by their faces', async () => {
    expect(await names('faces=true')).toEqual(['still', 'both', 'glad'])
    expect(await names('faces=false')).toEqual(['none'])
    expect(await names('faces=true&status=failed')).toEqual([])
  })

  it('finds images by the strongest emotion of a face, in any case', async () => {
    expect(await names('emotion=HAPPY')).toEqual(['both', 'glad'])
    expect(await names('emotion=sad')).toEqual(['both'])
    expect(await names('emotion=calm')).toEqual([])
    expect(await names('emotion=happy&label=photo&faces=true')).toEqual(['both', 'glad'])
  })

  it('finds failed images by their code', async () => {
    expect(await names('failure=CORRUPT_IMAGE')).toEqual(['broken'])
    expect(await names('failure=EXHAUSTED')).toEqual([])
    expect(await names('failure=CORRUPT_IMAGE&status=completed')).toEqual([])
    expect(await names('failure=CORRUPT_IMAGE&label=photo')).toEqual([])
  })

  it('finds images by a part of their file name, in any case', async () => {
    expect(await names('filename=dsc')).toEqual(['still', 'both', 'glad', 'none'])
    expect(await names('filename=.png&status=failed')).toEqual(['broken'])
    expect(await names('filename=GLAD-d&label=photo')).toEqual(['glad'])
    expect(await names('filename=*')).toEqual([])
  })

  it('finds images by a part of a Greek file name that ends in a sigma', async () => {
    const filename = encodeURIComponent('ΟΔΟΣΑ.png')
    const imageId = await system.submit(await distinct(1), {
      ...{ 'x-test-owner': 'greek', 'content-disposition': `attachment; filename*=UTF-8''${filename}` },
    })
    for (const part of ['ΟΔΟΣ', 'οδοσ', 'οδος'])
      expect(await found('greek', `filename=${encodeURIComponent(part)}`)).toEqual([imageId])
  })

  it('goes on page by page', async () => {
    const first = await search(owner, 'filename=dsc&limit=3')
    expect(first.items).toHaveLength(3)
    const second = await search(owner, `filename=dsc&limit=3&cursor=${first.cursor}`)
    expect(second).toEqual({ items: [expect.objectContaining({ imageId: ids['none'] })] })
  })

  it('finds images by the time at which they were accepted', async () => {
    const times = Object.fromEntries(
      (await search(owner, '')).items.map(({ imageId, createdAt }) => [imageId, createdAt]),
    )
    const [glad = '', both = ''] = [times[ids['glad'] ?? ''], times[ids['both'] ?? '']]
    const day = glad.slice(0, 10)
    expect(await names(`from=${both}`)).toEqual(['broken', 'still', 'both'])
    expect(await names(`to=${both}`)).toEqual(['both', 'glad', 'none'])
    expect(await names(`from=${glad}&to=${both}&faces=true`)).toEqual(['both', 'glad'])
    expect(await names(`from=${glad}&to=${both}&status=completed`)).toEqual(['both', 'glad'])
    expect(await names(`from=${day}&label=photo`)).toHaveLength(4)
    expect(await names(`to=${both.slice(0, 10)}&label=photo`)).toHaveLength(4)
    expect(await names('to=2020-01-01')).toEqual([])
    expect(await names('to=1969-12-31')).toEqual([])
    expect(await names('from=2100-01-01T00:00:00%2B02:00')).toEqual([])
    expect(await names(`from=${both}&to=${both}`)).toEqual(['both'])
    expect(await names(`from=${both.toLowerCase()}&to=${both.toLowerCase()}`)).toEqual(['both'])
    // A cursor of another search.
    const { cursor } = await search(owner, 'limit=1')
    expect(await names(`to=${glad}&cursor=${cursor}`)).toEqual(['glad', 'none'])
    const last = await search(owner, `to=${glad}&limit=1`)
    expect(await names(`from=${both}&cursor=${last.cursor}`)).toEqual([])
  })

  it.each([
    ['faces=yes', 'Query parameter `faces` must be true or false'],
    ['emotion=JOY', 'Query parameter `emotion` must be one of '],
    ['failure=corrupt', 'Query parameter `failure` must be one of CORRUPT_IMAGE, '],
    ['filename=', 'Query parameter `filename` must not be empty'],
    [
      'from=yesterday',
      'Query parameter `from` must be a day like 2026-01-31, or a time like 2026-01-31T12:00:00Z',
    ],
    ['to=2026-02-30', 'Query parameter `to` must be a day'],
    ['to=2026-01-31T12:00:00', 'Query parameter `to` must be a day'],
    ['from=2026-02-01&to=2026-01-31', 'Query parameter `from` is later than `to`.'],
    [
      'from=2026-01-31T12:00:00Z&to=2026-01-31T12:00:00%2B00:01',
      'Query parameter `from` is later than `to`.',
    ],
    ['face=true', 'Query parameter `face` is unknown'],
    ['faces=true&faces=true', 'Query parameter `faces` is repeated.'],
  ])('refuses %s', async (query, detail) => {
    const response = await system.app.request(`/images?${query}`)
    const problem = (await response.json()) as { detail: string }
    expect(problem).toMatchObject({ status: 400, code: 'INVALID_PARAMETER' })
    expect(problem.detail).toContain(detail)
  })
})

describe('GET /labels', () => {
  const owner = 'namer'
  beforeAll(async () => {
    await analysed(owner, [label('Dog'), label('Doorway'), label('dog house'), label('Épée')])
    await analysed(owner, [label('DOG'), label('Door'), label('Cat')])
    await analysed('somebody else', [label('Dolphin')])
  })
  const ask = async (query: string, of = owner) => {
    const response = await system.app.request(`/labels?${query}`, { headers: { 'x-test-owner': of } })
    return (await response.json()) as { items: { name: string }[]; cursor?: string; detail?: string }
  }
  const names = async (query: string, of = owner) => (await ask(query, of)).items.map(({ name }) => name)

  it('has the names of labels that the owner’s images have, in alphabetical order, each once', async () => {
    expect((await names('')).map((name) => name.toLowerCase())).toEqual([
      ...['cat', 'dog', 'dog house', 'door', 'doorway', 'épée'],
    ])
    expect(await names('', 'nobody')).toEqual([])
  })

  it('has those that begin as is asked, in any case', async () => {
    expect(await names('prefix=DOO')).toEqual(['Door', 'Doorway'])
    expect(await names('prefix=door')).toEqual(['Door', 'Doorway'])
    expect(await names('prefix=doorw')).toEqual(['Doorway'])
    expect(await names(`prefix=${encodeURIComponent('E\u0301')}`)).toEqual(['Épée'])
    expect(await names('prefix=oor')).toEqual([])
    expect(await names('prefix=Dol')).toEqual([])
  })

  it('goes on page by page, and says when there is no more', async () => {
    const first = await ask('prefix=do&limit=3')
    expect(first.items.map(({ name }) => name.toLowerCase())).toEqual(['dog', 'dog house', 'door'])
    expect(await ask(`prefix=do&limit=3&cursor=${first.cursor}`)).toEqual({ items: [{ name: 'Doorway' }] })
    for (const prefix of ['x', 'c'])
      expect(await ask(`prefix=${prefix}&cursor=${first.cursor}`)).toMatchObject({
        ...{
          code: 'INVALID_PARAMETER',
          detail: 'Query parameter `cursor` belongs to a list with another prefix.',
        },
      })
  })

  it.each([
    ['behind every name', '\u{10ffff}a', ''],
    ['behind every name of the prefix', 'd\u{10ffff}a', 'd'],
    ['longer than a key', 'd'.repeat(1_100), 'd'],
  ])('has none behind a cursor that is %s', async (_, cursor, prefix) => {
    const forged = Buffer.from(cursor).toString('base64url')
    expect(await ask(`prefix=${prefix}&cursor=${forged}`)).toEqual({ items: [] })
  })

  it('has no emotion and no face', async () => {
    const imageId = await submit('faced')
    watcher.after = (command, output) => {
      if (command === 'DetectFacesCommand')
        Object.assign(output, { FaceDetails: [{ Emotions: [{ Type: 'HAPPY', Confidence: 90 }] }] })
      if (command === 'DetectLabelsCommand') Object.assign(output, { Labels: [label('Face')] })
    }
    await system.work()
    expect(await found('faced', 'emotion=happy')).toEqual([imageId])
    expect(await names('', 'faced')).toEqual(['Face'])
  })

  it('costs one write for each name and worker, and is not written again', async () => {
    const written: string[] = []
    watcher.before = (command, input) => {
      if (command !== 'BatchWriteItemCommand') return
      const [requests] = Object.values(
        input['RequestItems'] as Record<string, { PutRequest?: { Item: Record<string, unknown> } }[]>,
      )
      for (const { PutRequest } of requests ?? []) {
        written.push(PutRequest?.Item['name'] === undefined ? 'label' : 'name')
      }
    }
    await analysed('frugal', [label('Dog'), label('Cat')])
    expect(written.sort()).toEqual(['label', 'label', 'name', 'name'])
    written.splice(0)
    await analysed('frugal', [label('dog'), label('Bird')])
    expect(written.sort()).toEqual(['label', 'label', 'name'])
    delete watcher.before
  })

  it('has a name no more when the last image with it is gone', async () => {
    const [first, second] = [await analysed('brief', [label('Dog')]), await analysed('brief', [label('Dog')])]
    await remove('brief', first)
    expect(await names('', 'brief')).toEqual(['Dog'])
    await remove('brief', second)
    expect(await names('', 'brief')).toEqual([])
    await analysed('brief', [label('Dog')])
    expect(await names('', 'brief')).toEqual(['Dog'])
  })

  it.each([
    ['prefix=x&prefix=y', 'Query parameter `prefix` is repeated.'],
    ['limit=0', 'Query parameter `limit` must be a whole number from 1 to 100'],
    ['cursor=', 'Query parameter `cursor` was not issued by this API'],
    // Cut, with junk, no UTF-8, and of a list of images.
    ['cursor=Qmx1Z', 'Query parameter `cursor` was not issued by this API'],
    ['cursor=Qmx1ZQ!', 'Query parameter `cursor` was not issued by this API'],
    ['cursor=__4', 'Query parameter `cursor` was not issued by this API'],
    [
      `cursor=${Buffer.from('01a228e6-e9e4-7490-987b-3f4047465f5a').toString('base64url')}`,
      'Query parameter `cursor` was not issued by this API',
    ],
    ['label=dog', 'Query parameter `label` is unknown'],
    [`prefix=${'x'.repeat(257)}`, 'Query parameter `prefix` may have at most 256 characters'],
  ])('refuses %s', async (query, detail) => {
    const problem = await ask(query)
    expect(problem).toMatchObject({ status: 400, code: 'INVALID_PARAMETER' })
    expect(problem.detail).toContain(detail)
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
    // As many names, since none was known; and the bytes.
    expect(batches).toBe(9)
    expect(await entries(imageId)).toHaveLength(100)
    expect(await found('many', 'label=label%2099')).toEqual([imageId])
    expect(await found('many', 'label=label%20100')).toEqual([])
  })

  it('has one entry for labels that differ in case, with the higher confidence', async () => {
    const imageId = await analysed('twins', [label('dog', 70), label('Dog', 95), label('DOG', 60)])
    expect(await entries(imageId)).toHaveLength(1)
    expect(await found('twins', 'label=dog&minConfidence=95')).toEqual([imageId])
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
    const item = { PutRequest: { Item: { ownerLabel: 'late', target: imageId } } }
    watcher.after = async (command, output) => {
      await after?.(command, output)
      if (command !== 'BatchWriteItemCommand') return
      rounds += 1
      const table = labelTable(system.names.table)
      if (rounds !== 2) Object.assign(output, { UnprocessedItems: { [table]: [item] } })
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
    await expect(unindexLabels(records, 'image', ['x'])).rejects.toThrow(
      'DynamoDB leaves 1 parts of a batch undone.',
    )
    expect(pauses).toEqual([50, 100, 200, 400])
  })

  it('has an image until it expires, and nothing of one whose labels were not asked for', async () => {
    const imageId = await submit('expiring')
    const batch = await system.receiveJobs()
    await system.setItem(imageId, { expiresAt: 4_000_000_000 })
    answering([label('Dog')])
    await processBatch(system.worker, batch, lambdaContext())
    expect(await entries(imageId)).toEqual([expect.objectContaining({ expiresAt: 4_000_000_000 })])

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
    // A call that the SDK sent twice.
    const late = { imageId, owner: 'racer', status: 'completed', rekognitionLabels: [label('Dog')] }
    await indexLabels(system.worker, late as unknown as Parameters<typeof indexLabels>[1])
    expect(await sweepLater()).toMatchObject({ failed: 0 })
    expect(await entries(imageId)).toEqual([])
  })

  it('does not show an image that was deleted while a worker put it there', async () => {
    const imageId = await submit('late')
    const batch = await system.receiveJobs()
    answering([label('Dog')])
    let indexing = 0
    watcher.before = async (command) => {
      if (command !== 'BatchWriteItemCommand' || indexing++ > 0) return
      expect((await remove('late', imageId)).status).toBe(204)
    }
    expect((await processBatch(system.worker, batch, lambdaContext())).batchItemFailures).toEqual([])
    expect(indexing).toBeGreaterThan(1)
    expect(await entries(imageId)).toEqual([])
    expect(await found('late', 'label=dog')).toEqual([])
  })
})
