import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { coldStart } from '../../bench/cold-start.ts'
import { cost, readMonth } from '../../bench/cost.ts'
import { decodeMemory, VARIANTS } from '../../bench/decode-memory.ts'
import { growth } from '../../bench/growth.ts'
import { durability, overload } from '../../bench/overload.ts'
import { page } from '../../bench/page.ts'
import { peers } from '../../bench/peers.ts'
import { pipeline } from '../../bench/pipeline.ts'
import { post } from '../../bench/post.ts'
import { preview } from '../../bench/preview.ts'
import { quality } from '../../bench/quality.ts'
import { qualityWhole } from '../../bench/quality-whole.ts'
import { quota } from '../../bench/quota.ts'
import { countRequests, rowsOf } from '../../bench/requests.ts'
import { startMemory } from '../../bench/start-memory.ts'
import { type Start, type Started, startAnew } from '../../bench/started.ts'
import { vision } from '../../bench/vision.ts'
import { memoryOverTime, workerMemory } from '../../bench/worker-memory.ts'
import { ROOT } from '../../build/bundle.ts'
import { CHROMIUM, skippedWithoutBrowser } from '../browser.ts'
import { NODE, noLinux, skipped } from '../tools.ts'

const PHOTO = join(import.meta.dirname, '../fixtures/grace-hopper.jpg')

/** Each benchmark at its smallest, so that it still runs when its figures are needed. */

/** One `npm start` for those that need no other: it takes longer than what they do with it. */
let kept: Started
let end: () => Promise<void>
const start: Start = (env) => (env?.['DATA_DIR'] ? startAnew(env) : kept)
beforeAll(() => {
  kept = startAnew({ DATA_DIR: '' })
  end = kept.stop
  kept.stop = async () => {}
})
afterAll(() => end.call(kept))

it('the pipeline is measured beside sharp alone', async () => {
  const rows = (await pipeline(1, { width: 200, height: 150 }, 0)) as Record<string, unknown>[]
  expect(rows.map((row) => row['what'])).toContain('worker, one batch')
  for (const row of rows) expect(row['cpu of sharp alone']).toBeGreaterThan(0)
})

it('a POST is measured beside the bare calls', async () => {
  const rows = (await post(1, start)) as Record<string, unknown>[]
  expect(rows.map((row) => row['what'])).toContain('JSON')
  for (const row of rows) expect(row['cpu ÷ bare']).toBeGreaterThan(0)
})

it('a list is measured while the table grows', async () => {
  const rows = (await growth([5, 30])) as Record<string, unknown>[]
  const newest = rows.find((row) => row['what'] === 'newest 25')
  expect(newest).toMatchObject({ 5: expect.stringMatching(/^1 requests, 5 items/) })
  expect(newest).toMatchObject({ 30: expect.stringMatching(/^1 requests, 26 items/) })
})

it('other programs are measured where they are installed', async () => {
  const rows = (await peers(1, { width: 200, height: 150 }, 2)) as Record<string, unknown>[]
  expect(rows[0]).toMatchObject({ what: 'sharp alone', 'cpu ms': expect.any(Number) })
  expect(rows).toHaveLength(4)
})

it('the use of a quota is measured, and what is throttled', async () => {
  const rows = await quota(0.5, [{ quota: 50, analyses: 2, workers: 2, share: false }])
  // How many calls come through in this time is the machine's.
  expect(rows).toEqual([expect.objectContaining({ workers: 2, calls: expect.any(Number) })])
})

it('requests are counted where they pass, and billed by list prices', async () => {
  const counts = await countRequests({ labels: 3, faces: 1 }, 2)
  const rows = rowsOf(counts) as Record<string, unknown>[]
  const count = (operation: string) => rows.find((row) => row['operation'] === operation)
  expect(count('S3 PUT originals')).toMatchObject({ by: 'api', 'requests an image': 1 })
  // The worker's own, with one of the ledger for both; that of the API, before and after, is not among them.
  expect(rows).toContainEqual(
    expect.objectContaining({ by: 'worker', operation: 'DynamoDB UpdateItem', 'requests an image': 3.5 }),
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

it('benchmarks stay on this machine, whatever endpoint the environment names', async () => {
  const { VITEST: _, ...env }: NodeJS.ProcessEnv = { ...process.env, AWS_ENDPOINT_URL: 'http://127.0.0.1:1' }
  const script = "console.log((await import('./test/context.ts')).ELSEWHERE)"
  const args = [...NODE, '--input-type=module', '--eval', script]
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: ROOT, env })
  expect(stdout).toBe('undefined\n')
})

it('a cold start is measured, bundled in several ways', async () => {
  const rows = await coldStart(1, (name) => /^(unbundled|chosen$)/.test(name))
  expect(rows.map(({ api }) => api)).toContain('chosen')
  for (const row of rows) expect(row['of TypeScript']).toBeGreaterThan(0)
})

it('what a preview costs is measured', async () => {
  const rows = (await preview({ width: 200, height: 150 }, 1)) as Record<string, unknown>[]
  expect(rows[1]).toMatchObject({ name: 'render with', bytes: expect.any(Number) })
})

it('labels and faces are judged by what was seen by eye', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'image-analyzer-quality-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const sha256 = createHash('sha256').update(readFileSync(PHOTO)).digest('hex')
  const labels = join(folder, 'labels.jsonl')
  writeFileSync(labels, JSON.stringify({ sha256, from: 'here', path: PHOTO, kinds: { Person: 1 } }))
  const person = { kind: 0, score: 0.9, box: { left: 10, top: 10, right: 60, bottom: 60 } }
  const rows = (await quality([dirname(PHOTO)], labels, {
    // A person in every picture: what the models see is for test/rekognition/vision.test.ts.
    see: async ({ width, height }) => ({ width, height, things: [person], whole: [], faces: [] }),
    moderate: async () => ({}),
    stop: async () => {},
  })) as Record<string, unknown>[]
  expect(rows[0]).toMatchObject({ set: 'held out', pictures: 1, right: 1, wrong: 0, present: 1 })
  const nothing = rows.find(({ what }) => what === 'flat and noise')
  expect(nothing).toMatchObject({ pictures: 10, 'with a label ≥ 55': 10, 'with a face': 0 })
})

it('names of whole pictures are judged by what was seen by eye, and what was not judged counts as neither', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'image-analyzer-quality-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const sha256 = createHash('sha256').update(readFileSync(PHOTO)).digest('hex')
  const judged = join(folder, 'whole.jsonl')
  const names = { right: ['Flower'], wrong: ['Daisy'], unclear: ['Plant'] }
  writeFileSync(judged, JSON.stringify({ sha256, from: 'here', path: PHOTO, test: true, ...names }))
  const whole = ['Flower', 'Daisy', 'Plant', 'Rose Hip'].map((name) => ({ name, score: 0.95 }))
  const rows = (await qualityWhole([dirname(PHOTO)], judged, {
    see: async ({ width, height }) => ({ width, height, things: [], whole, faces: [] }),
    stop: async () => {},
  })) as Record<string, unknown>[]
  const counts = { set: 'photos, test', pictures: 1, right: 1, wrong: 1, precision: 0.5, unjudged: 1 }
  expect(rows.at(-1)).toMatchObject(counts)
  expect(rows[0]).toMatchObject({
    right: 0,
    wrong: 0,
    precision: '–',
    'pictures rightly named from here on': 1,
  })
})

it.skipIf(CHROMIUM === undefined)(`the page is measured${skippedWithoutBrowser}`, async () => {
  const rows = (await page(1, 2)) as Record<string, unknown>[]
  expect(rows.map((row) => row['photos'])).toEqual([1, 2])
  for (const row of rows) expect(row['all tasks, ms of the processor']).toBeGreaterThan(0)
})

describe.skipIf(noLinux.length > 0)(`memory and processors${skipped(noLinux)}`, () => {
  it('of npm start are measured while it works', async () => {
    const [row] = (await startMemory(8, start)) as Record<string, number>[]
    expect(row?.['images']).toBe(8)
    expect(row?.['last third MB']).toBeGreaterThan(50)
  })

  it('of a decode and of a batch are measured', async () => {
    const kind = 'progressive jpeg cmyk'
    const rows = await decodeMemory(
      { [kind]: VARIANTS[kind] as (typeof VARIANTS)[string] },
      [200, 400],
      2,
      400,
    )
    expect(rows).toEqual([expect.objectContaining({ variant: kind, 'within 700 MB': true })])
  })

  it('of the built worker are measured over a batch of the worst, and over many', async () => {
    const rows = await workerMemory('80 high', 1_000_000, 1)
    expect(rows).toEqual([expect.objectContaining({ outcome: 'completed', returned: 0 })])
    const [row] = (await memoryOverTime(10, 0)) as Record<string, unknown>[]
    expect(row).toMatchObject({ images: 10, returned: 0, 'peak MB': expect.any(Number) })
  })

  it('of npm start are measured where too much comes at once, and with the disk', async () => {
    const [posted, waiting] = (await overload(2, 2, start)) as Record<string, unknown>[]
    expect(posted).toMatchObject({ answers: '2 × 202', completed: 2 })
    expect(waiting).toMatchObject({ answers: '2 × 200' })
    const rows = (await durability(1, 2, start)) as Record<string, unknown>[]
    expect(rows[0]).toMatchObject({ round: 1, "processor's time": expect.any(Number) })
  })

  it('of models are measured', async () => {
    const ways = [{ what: 'stand-in', rekognition: 'stand-in', options: [] }]
    const rows = (await vision(2, [], ways, 1, start)) as Record<string, unknown>[]
    expect(rows[0]).toMatchObject({ what: 'stand-in', 'CPU a picture ÷ stand-in': 1 })
  })
})
