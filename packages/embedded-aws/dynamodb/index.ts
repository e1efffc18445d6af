import type { writeWhole } from '../files.ts'
import type { JsonService } from '../json.ts'
import type { Storage } from '../storage.ts'
import { createDynalite } from './dynalite.ts'
import { isNamed } from './errors.ts'
import { expireTable } from './expiry.ts'
import type { Operation } from './operation.ts'
import { describeTimeToLive } from './operations/describe-time-to-live.ts'
import { updateTimeToLive } from './operations/update-time-to-live.ts'
import { describe, openTimesToLive } from './state.ts'

export interface DynamoDb {
  service: JsonService
  /** Deletes what has expired by now, until the signal is aborted. */
  expire: (signal?: AbortSignal) => Promise<void>
}

/** What the emulator has not. What is a matter of days on AWS is done at the next call of `expire`. */
const TIME_TO_LIVE = new Map<string, Operation>(
  Object.entries({ UpdateTimeToLive: updateTimeToLive, DescribeTimeToLive: describeTimeToLive }),
)

/**
 * DynamoDB: the emulator's operations, and time to live.
 *
 * @param options.file where it is remembered which tables have a time to live
 * @throws Error when the file of an earlier run cannot be read
 */
export function createDynamoDb(options: {
  region: string
  accountId: string
  storage: Storage
  file: string
  write: typeof writeWhole
  now: () => Date
}): DynamoDb {
  const { region, accountId, storage, file, write, now } = options
  const dynamoDb = createDynalite(storage, region, accountId)
  const times = openTimesToLive(file, write)
  const context = { dynamoDb, now, times }
  return {
    service: async (name, input) => TIME_TO_LIVE.get(name)?.(input, context) ?? dynamoDb(name, input),
    expire: async (signal) => {
      for (const name of times.tables()) {
        const table = await describe(dynamoDb, name).catch((error) => {
          if (isNamed(error, 'ResourceNotFoundException')) return {}
          throw error
        })
        const attribute = times.attributeOf(table)
        if (attribute !== undefined) await expireTable(context, table, attribute, signal)
      }
    },
  }
}
