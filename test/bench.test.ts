import { expect, it } from 'vitest'
import { pipeline } from '../bench/pipeline.ts'
import { post } from '../bench/post.ts'
import { requests } from '../bench/requests.ts'

/** Each benchmark at its smallest, so that it still runs when somebody wants its figures. */

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
