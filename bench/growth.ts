import { BatchWriteCommand } from '@aws-sdk/lib-dynamodb'
import { newImageId } from '../api/submit.ts'
import { indexLabels } from '../shared/labels.ts'
import { getImage } from '../shared/lifecycle.ts'
import { startTestSystem, type TestSystem, watchCalls } from '../test/context.ts'
import { distinct } from '../test/pictures/pictures.ts'
import { round } from './figures.ts'

/** What a page of a list costs while the table grows: the queries and reads, items that were looked at, and read units. */
const IMAGES = [100, 1_000, 20_000]
/** Amazon DynamoDB quotas, BatchWriteItem. */
const AT_ONCE = 25
const PARALLEL = 4
/** One image in so many has the rare label. */
const RARE = 100

const QUERIES = {
  'newest 25': '/images?limit=25',
  'completed, 25': '/images?limit=25&status=completed',
  'failed, of none': '/images?limit=25&status=failed',
  'a label of all, 25': '/images?limit=25&label=Common',
  'a label of one in a hundred, 25': '/images?limit=25&label=Rare',
  'two labels, 25': '/images?limit=25&label=Common&label=Rare',
  'a label at 90 %, 25': '/images?limit=25&label=Common&minConfidence=90',
  'names of labels': '/labels?prefix=c',
  'one image': '/images/<id>',
} as const

export async function growth(sizes: readonly number[] = IMAGES): Promise<object[]> {
  const system = await startTestSystem()
  try {
    const id = await system.submit(await distinct(0))
    await system.work()
    const counted = { requests: 0, items: 0, units: 0 }
    const watcher = watchCalls(system)
    const costs = new Map<string, Record<string, unknown>>()
    let images = 1
    for (const size of sizes) {
      await grow(system, id, size - images)
      images = size
      for (const [what, path] of Object.entries(QUERIES)) {
        Object.assign(counted, { requests: 0, items: 0, units: 0 })
        watcher.before = (command, input) => {
          if (/Query|Get/.test(command)) Object.assign(input, { ReturnConsumedCapacity: 'TOTAL' })
        }
        watcher.after = (command, output) => {
          if (!/Query|Get/.test(command)) return
          const { ScannedCount, Responses, ConsumedCapacity } = output as Looked
          counted.requests += 1
          counted.items += ScannedCount ?? (Responses ? Object.values(Responses).flat().length : 1)
          // DynamoDB bills half a unit at least; the emulator says nothing where nothing was found.
          for (const { CapacityUnits = 0 } of [ConsumedCapacity ?? {}].flat())
            counted.units += Math.max(CapacityUnits, 0.5)
        }
        const answer = await system.app.request(path.replace('<id>', id))
        if (answer.status !== 200) throw new Error(`${path} is answered with ${answer.status}.`)
        const { requests, items, units } = counted
        costs.set(what, {
          ...costs.get(what),
          [`${size}`]: `${requests} requests, ${items} items, ${round(units)} units`,
        })
      }
      Object.assign(watcher, { before: undefined, after: undefined })
    }
    return [...costs].map(([what, cost]) => ({ what, ...cost }))
  } finally {
    await system.stop()
  }
}

interface Looked {
  ScannedCount?: number
  Responses?: Record<string, unknown[]>
  ConsumedCapacity?: { CapacityUnits?: number } | { CapacityUnits?: number }[]
}

/** Writes more images like one that is there, each with its labels. */
async function grow(system: TestSystem, like: string, more: number): Promise<void> {
  const { worker, names } = system
  const [item, image] = [await system.item(like), await getImage(worker, like)]
  if (image?.status !== 'completed') throw new Error('The first image is not completed.')
  let left = more
  const write = async (): Promise<void> => {
    while (left > 0) {
      const some = Array.from({ length: Math.min(AT_ONCE, left) }, (_, at) => ({
        imageId: newImageId(new Date()),
        at: left - at,
      }))
      left -= some.length
      const puts = some.map(({ imageId }) => ({
        PutRequest: { Item: { ...item, imageId } },
      }))
      await worker.dynamo.send(new BatchWriteCommand({ RequestItems: { [names.table]: puts } }))
      for (const { imageId, at } of some) {
        const rekognitionLabels = [
          { Name: 'Common', Confidence: 55 + (at % 45) },
          ...(at % RARE === 0 ? [{ Name: 'Rare', Confidence: 80 }] : []),
        ]
        const faceless = { rekognitionFaces: [], rekognitionLabels }
        await indexLabels(worker, { ...image, imageId, ...faceless }, worker.knownNames)
      }
    }
  }
  await Promise.all(Array.from({ length: PARALLEL }, write))
}
