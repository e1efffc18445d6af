import { expect, it } from 'vitest'
import { cost, readMonth } from '../bench/cost.ts'
import { growth } from '../bench/growth.ts'
import { peers } from '../bench/peers.ts'
import { pipeline } from '../bench/pipeline.ts'
import { post } from '../bench/post.ts'
import { quota } from '../bench/quota.ts'
import { countRequests, rowsOf } from '../bench/requests.ts'
import { startMemory } from '../bench/start-memory.ts'
import { noLinux, skipped } from './tools.ts'

/** Each benchmark at its smallest, so that it still runs when its figures are needed. */

it('the pipeline is measured beside sharp alone', async () => {
  const rows = (await pipeline(1, { width: 200, height: 150 }, 0)) as Record<string, unknown>[]
  expect(rows.map((row) => row['what'])).toContain('worker, one batch')
  for (const row of rows) expect(row['cpu of sharp alone']).toBeGreaterThan(0)
})

it('a POST is measured beside the bare calls', async () => {
  const rows = (await post(1)) as Record<string, unknown>[]
  expect(rows.map((row) => row['what'])).toContain('JSON')
  for (const row of rows) expect(row['cpu ÷ bare']).toBeGreaterThan(0)
})

it('a list is measured while the table grows', async () => {
  const rows = (await growth([20, 60])) as Record<string, unknown>[]
  const newest = rows.find((row) => row['what'] === 'newest 25')
  expect(newest).toMatchObject({ 20: expect.stringMatching(/^1 requests, 20 items/) })
  expect(newest).toMatchObject({ 60: expect.stringMatching(/^1 requests, 26 items/) })
})

it('other programs are measured where they are installed', async () => {
  const rows = (await peers(1, { width: 200, height: 150 }, 2)) as Record<string, unknown>[]
  expect(rows[0]).toMatchObject({ what: 'sharp alone', 'cpu ms': expect.any(Number) })
  expect(rows).toHaveLength(4)
})

it('the use of a quota is measured, and what is throttled', async () => {
  const rows = await quota(0.5, [{ quota: 5, analyses: 2, workers: 2, share: false }])
  // How many calls come through in this time is the machine's.
  expect(rows).toEqual([expect.objectContaining({ workers: 2, calls: expect.any(Number) })])
})

it('requests are counted where they pass, and billed by list prices', async () => {
  const counts = await countRequests({ labels: 3, faces: 1 }, 2)
  const rows = rowsOf(counts) as Record<string, unknown>[]
  const count = (operation: string) => rows.find((row) => row['operation'] === operation)
  expect(count('S3 PUT originals')).toMatchObject({ by: 'api', 'requests an image': 1 })
  // The worker's own; that of the API, before and after, is not among them.
  expect(rows).toContainEqual(
    expect.objectContaining({ by: 'worker', operation: 'DynamoDB UpdateItem', 'requests an image': 3 }),
  )
  // Each label, emotion and face is an item.
  expect(count('DynamoDB BatchWriteItem')?.['write units']).toBeGreaterThanOrEqual(3)

  const month = readMonth(['--images', '1000', '--labels', '3', '--duplicates', '0.5'])
  const bill = cost(month, { with: counts, without: counts }) as {
    $: string
    'this system': number
    synchronous: number
  }[]
  const of = (service: string) => bill.find(({ $ }) => $ === service)
  // Both analyses, for half of the images.
  expect(of('Rekognition')).toMatchObject({ 'this system': 1, synchronous: 2 })
  expect(of('all')?.['this system']).toBeLessThan(of('all')?.synchronous ?? 0)
  expect(() => readMonth(['--region', 'mars'])).toThrow(/no prices of mars; it has us-east-1/)
})

it.skipIf(noLinux.length > 0)(
  `the memory of npm start is looked at while it works${skipped(noLinux)}`,
  async () => {
    const [row] = (await startMemory(8)) as Record<string, number>[]
    expect(row?.['images']).toBe(8)
    expect(row?.['last third MB']).toBeGreaterThan(50)
  },
)
