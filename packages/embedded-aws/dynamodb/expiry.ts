import { setImmediate as nextTurn } from 'node:timers/promises'
import { isNamed } from './errors.ts'
import type { Context, Table } from './state.ts'

/** What expired longer ago is kept, as on AWS (developer guide, "Using time to live (TTL)"). */
const FIVE_YEARS_SECONDS = 5 * 365 * 86_400

type Key = Record<string, object>
/** What is read here of an answer of Scan. */
interface Page {
  Items?: Key[]
  LastEvaluatedKey?: Key
}

/**
 * Deletes the items of a table whose time to live has passed, until the signal is aborted. By ordinary calls, so that
 * indexes follow.
 *
 * @param attribute of an item, which has the second in which it expires
 */
export async function expireTable(
  { dynamoDb, now }: Pick<Context, 'dynamoDb' | 'now'>,
  table: Table,
  attribute: string,
  signal?: AbortSignal,
): Promise<void> {
  const { TableName } = table
  const seconds = Math.floor(now().getTime() / 1_000)
  const expired = {
    TableName,
    ExpressionAttributeValues: {
      ':now': { N: String(seconds) },
      ':oldest': { N: String(seconds - FIVE_YEARS_SECONDS) },
    },
  }
  // No text and no set is less or more than a number.
  const condition = '#ttl < :now AND #ttl >= :oldest'
  const keys = (table.KeySchema ?? []).map(({ AttributeName = '' }) => AttributeName)
  const names = Object.fromEntries(keys.map((name, index) => [`#key${index}`, name]))
  let page: Page = {}
  do {
    page = await dynamoDb('Scan', {
      ...expired,
      FilterExpression: condition,
      ProjectionExpression: Object.keys(names).join(', '),
      ExpressionAttributeNames: { ...names, '#ttl': attribute },
      ...(page.LastEvaluatedKey && { ExclusiveStartKey: page.LastEvaluatedKey }),
    })
    for (const Key of page.Items ?? []) {
      // Requests have their turn in between.
      await nextTurn()
      if (signal?.aborted) return
      await remove(Key)
    }
    await nextTurn()
  } while (page.LastEvaluatedKey !== undefined && signal?.aborted !== true)

  async function remove(Key: Key): Promise<void> {
    try {
      // What has been given more time since is left.
      await dynamoDb('DeleteItem', {
        ...expired,
        Key,
        ConditionExpression: condition,
        ExpressionAttributeNames: { '#ttl': attribute },
      })
    } catch (error) {
      if (!isNamed(error, 'ConditionalCheckFailedException')) throw error
    }
  }
}
