import { expect, it } from 'vitest'
import { growth } from '../bench/growth.ts'
import { peers } from '../bench/peers.ts'
import { pipeline } from '../bench/pipeline.ts'
import { post } from '../bench/post.ts'
import { requests } from '../bench/requests.ts'

/** Each benchmark at its smallest, so that it still runs when its figures are needed. */

it('the pipeline is measured beside sharp alone', async () => {
  const rows = (await pipeline(1, { width: 200, height: 150 })) as Record<string, unknown>[]
  expect(rows.map((row) => row['what'])).toContain('worker, one batch')
  for (const row of rows) expect(row['cpu of sharp alone']).toBeGreaterThan(0)
})

it('a POST is measured beside the bare calls', async () => {
  const rows = (await post(1)) as Record<string, unknown>[]
  expect(rows.map((row) => row['what'])).toContain('JSON')
  for (const row of rows) expect(row['cpu ÷ bare']).toBeGreaterThan(0)
})

it('requests are counted where they pass, with the units that DynamoDB bills', async () => {
  const rows = (await requests(1)) as Record<string, unknown>[]
  const of = (operation: string) => rows.find((row) => row['operation'] === operation)
  expect(of('S3 PUT originals')).toMatchObject({ by: 'api', 'requests an image': 1 })
  // Each label is an item and an entry in an index.
  expect(of('DynamoDB BatchWriteItem')?.['write units']).toBeGreaterThanOrEqual(20)
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
