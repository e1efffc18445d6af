import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { bundle, ROOT } from '../build/bundle.ts'
import { restEvent } from '../build/events.ts'
import { labelTable } from '../shared/table.ts'
import { distinct } from '../test/pictures/pictures.ts'
import { deploy } from './deployed.ts'
import { round } from './figures.ts'
import { type Counted, Wire } from './wire.ts'

/**
 * Requests of the built functions for an image, as they pass by, and the units that DynamoDB bills for them: for images
 * that are posted one by one and worked on in full batches. The service's own poller and Rekognition's calls, one for each
 * analysis, are not among them.
 */
const IMAGES = 30

/** What stands in for Lambda: works through the events in a file, a line each. */
const INVOKE = `
import { readFileSync } from 'node:fs'
const [index, file] = process.argv.slice(-2)
const { handler } = await import(process.env.FUNCTION ?? index)
for (const line of readFileSync(file, 'utf8').split('\\n')) {
  const end = performance.now() + 600_000
  const answer = await handler(JSON.parse(line), { getRemainingTimeInMillis: () => end - performance.now() })
  if (answer.batchItemFailures?.length > 0 || answer.statusCode > 299) throw new Error(JSON.stringify(answer))
}
console.log('{}')
process.exit()
`
const ARGS = ['--input-type=module', '--eval', INVOKE]

export interface Share {
  by: Map<string, Counted>
  images: number
  /** Calls of Rekognition. */
  asked: number
}

/** @returns what the API and the worker do for images whose bytes are new, and for the same once more, by operation */
export async function countRequests(
  picture: { labels: number; faces?: number } = { labels: 20 },
  images = IMAGES,
  faces: 'always' | 'when-person' = 'always',
  packed: 'on' | 'off' = 'off',
): Promise<{ api: Share; worker: Share; again: Share }> {
  const deployed = await deploy(picture)
  const wire = new Wire(deployed.endpoint)
  const folder = mkdtempSync(join(ROOT, 'dist', 'api-'))
  try {
    for (const [name, bytes] of Object.entries((await bundle('api')).files)) {
      mkdirSync(dirname(join(folder, name)), { recursive: true })
      writeFileSync(join(folder, name), bytes)
    }
    const env = {
      FACES: faces,
      PACK_RESULTS: packed,
      AWS_ENDPOINT_URL: await wire.start([deployed.table, labelTable(deployed.table)]),
      AUTH: 'none',
    }
    const share = async (work: () => Promise<unknown>): Promise<Share> => {
      wire.counted.clear()
      const before = deployed.asked
      await work()
      return { by: structuredClone(wire.counted), images, asked: deployed.asked - before }
    }
    const post = async (from: number, count: number): Promise<unknown> => {
      const bytes = await Promise.all(Array.from({ length: count }, (_, at) => distinct(from + at)))
      const events = bytes.map((body) => restEvent('POST', '/images', 'image/png', body))
      return deployed.run(ARGS, events, { ...env, FUNCTION: pathToFileURL(join(folder, 'index.mjs')).href })
    }
    const work = async (count: number): Promise<unknown> =>
      deployed.run(ARGS, await deployed.batches(count), env)
    // The names of labels are written once, by the first image.
    await post(0, 1)
    await work(1)
    const api = await share(() => post(1, images))
    const worker = await share(() => work(images))
    await post(1, images)
    return { api, worker, again: await share(() => work(images)) }
  } finally {
    wire.stop()
    await deployed.stop()
    rmSync(folder, { recursive: true })
  }
}

export async function requests(): Promise<object[]> {
  const packed = rowsOf(await countRequests(undefined, IMAGES, 'always', 'on')).slice(-1)
  return [
    ...rowsOf(await countRequests()),
    ...packed.map((all) => ({ ...all, operation: 'all, with PACK_RESULTS=on' })),
  ]
}

export function rowsOf({ api, worker }: Record<'api' | 'worker', Share>): object[] {
  const rows = Object.entries({ api, worker }).flatMap(([by, { by: operations, images }]) =>
    [...operations].map(([operation, { requests, writeUnits, readUnits }]) => ({
      by,
      operation,
      'requests an image': round(requests / images),
      'write units': round(writeUnits / images),
      'read units': round(readUnits / images),
    })),
  )
  const sum = (name: 'requests an image' | 'write units' | 'read units'): number =>
    round(rows.reduce((total, row) => total + row[name], 0))
  return [
    ...rows,
    {
      by: 'both',
      operation: 'all',
      'requests an image': sum('requests an image'),
      'write units': sum('write units'),
      'read units': sum('read units'),
    },
  ]
}
