import { DeleteCommand, PutCommand, paginateScan, UpdateCommand } from '@aws-sdk/lib-dynamodb'
import { type SweeperDeps, sweep } from '../sweeper/sweep.ts'
import type { EmbeddedAws } from './embedded-aws.ts'
import type { ResourceNames } from './resources.ts'

/**
 * After a restart no worker of the process before is alive, whatever its leases say: they end now, and everything that
 * is unfinished is looked after at once. (On AWS leases run out by themselves, and the sweeper comes when it is time.)
 */
export async function recover(embedded: EmbeddedAws, names: ResourceNames, deps: SweeperDeps): Promise<void> {
  await mendIndexes(deps)
  embedded.recoverQueue(names.jobQueue)
  const held = paginateScan(
    { client: deps.dynamo },
    {
      TableName: names.table,
      FilterExpression: '#status = :processing',
      ProjectionExpression: 'imageId',
      ExpressionAttributeNames: { '#status': 'status' },
      ExpressionAttributeValues: { ':processing': 'processing' },
    },
  )
  for await (const { Items = [] } of held) {
    for (const { imageId } of Items) {
      await deps.dynamo.send(
        new UpdateCommand({
          TableName: names.table,
          Key: { imageId },
          UpdateExpression: 'SET leaseUntil = :over',
          ConditionExpression: 'attribute_exists(imageId)',
          ExpressionAttributeValues: { ':over': 0 },
        }),
      )
    }
  }
  await sweep(deps, Number.MAX_SAFE_INTEGER)
}

/** Attributes that an index has for a key. */
const KEYS = ['owner', 'statusKey', 'unfinished', 'sweepAt', 'ownerLabel', 'target']

/**
 * The DynamoDB emulator writes an item's index entries before the item. Killed in between it leaves entries of an item
 * that is not there, or not so: such an entry goes when the item is written with the entry's keys, and then as it is.
 */
async function mendIndexes({ dynamo, table: TableName }: SweeperDeps): Promise<void> {
  const items = new Map<string, Record<string, unknown>>()
  for await (const { Items = [] } of paginateScan({ client: dynamo }, { TableName })) {
    for (const item of Items) items.set(item['imageId'], item)
  }
  for (const IndexName of ['byOwner', 'byStatus', 'unfinished', 'byLabel']) {
    for await (const { Items = [] } of paginateScan({ client: dynamo }, { TableName, IndexName })) {
      for (const entry of Items) {
        const { imageId } = entry
        const item = items.get(imageId)
        const keys = Object.fromEntries(Object.entries(entry).filter(([name]) => KEYS.includes(name)))
        if (Object.entries(keys).every(([name, value]) => item?.[name] === value)) continue
        await dynamo.send(new PutCommand({ TableName, Item: { ...item, ...keys, imageId } }))
        if (item !== undefined) await dynamo.send(new PutCommand({ TableName, Item: item }))
        else await dynamo.send(new DeleteCommand({ TableName, Key: { imageId } }))
      }
    }
  }
}
