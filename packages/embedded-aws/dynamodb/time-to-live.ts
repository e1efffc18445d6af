import { setImmediate as nextTurn } from 'node:timers/promises'
import * as z from 'zod'
import { readIfThere, type writeWhole } from '../files.ts'
import { AwsError, type JsonService } from '../json.ts'

/**
 * DynamoDB's time to live, which the emulator has not: developer guide, "Using time to live (TTL)". What is a matter of
 * days there is done here at the next look; and nobody has to wait an hour between two changes.
 */
const FIVE_YEARS_SECONDS = 5 * 365 * 86_400

const tableName = z.string().regex(/^[a-zA-Z0-9_.-]{3,255}$/)
const describeSchema = z.object({ TableName: tableName })
const updateSchema = z.object({
  TableName: tableName,
  TimeToLiveSpecification: z.object({ AttributeName: z.string().min(1).max(255), Enabled: z.boolean() }),
})

/** By table: a table that is made anew has another time of creation, and none of the old one's settings. */
const stateSchema = z.record(z.string(), z.strictObject({ attribute: z.string(), created: z.string() }))

/** What is read here of the answers of DescribeTable and Scan. */
interface Table {
  TableName?: string
  /** Seconds since 1970. */
  CreationDateTime?: number
  KeySchema?: { AttributeName: string }[]
}
type Key = Record<string, object>
interface Page {
  Items?: Key[]
  LastEvaluatedKey?: Key
}

const isNamed = (error: unknown, name: string): boolean =>
  error instanceof AwsError && error.name.split('#').at(-1) === name

const validation = (message: string) => new AwsError('ValidationException', message)

export interface TimeToLive {
  service: JsonService
  operations: ReadonlySet<string>
  /** Deletes what has expired by now, until the signal is aborted. */
  expire: (signal?: AbortSignal) => Promise<void>
}

/**
 * @param options.file where it is remembered which tables have a time to live
 * @throws Error when the file of an earlier run cannot be read
 */
export function createTimeToLive(options: {
  dynamoDb: JsonService
  file: string
  write: typeof writeWhole
  now: () => Date
}): TimeToLive {
  const { dynamoDb, file, write, now } = options
  let state = readState(file)

  async function describe(TableName: string): Promise<Table> {
    const answer: { Table?: Table } = await dynamoDb('DescribeTable', { TableName })
    return answer.Table ?? {}
  }
  const creation = ({ CreationDateTime }: Table): string =>
    CreationDateTime === undefined ? '' : new Date(Math.round(CreationDateTime * 1_000)).toISOString()
  function attributeOf(table: Table): string | undefined {
    const known = state.get(table.TableName ?? '')
    return known?.created === creation(table) ? known.attribute : undefined
  }

  async function update(input: z.infer<typeof updateSchema>): Promise<object> {
    const { TableName, TimeToLiveSpecification } = input
    const { AttributeName, Enabled } = TimeToLiveSpecification
    const table = await describe(TableName)
    const current = attributeOf(table)
    if (current === undefined && !Enabled) throw validation('TimeToLive is already disabled')
    if (current !== undefined && current !== AttributeName)
      throw validation(
        `TimeToLive is active on a different AttributeName: current AttributeName is ${current}`,
      )
    if (current !== undefined && Enabled) throw validation('TimeToLive is already enabled')
    const draft = new Map(state)
    if (Enabled) draft.set(TableName, { attribute: AttributeName, created: creation(table) })
    else draft.delete(TableName)
    write(file, Object.fromEntries(draft))
    state = draft
    return { TimeToLiveSpecification }
  }

  async function show({ TableName }: z.infer<typeof describeSchema>): Promise<object> {
    const AttributeName = attributeOf(await describe(TableName))
    return {
      TimeToLiveDescription:
        AttributeName === undefined
          ? { TimeToLiveStatus: 'DISABLED' }
          : { TimeToLiveStatus: 'ENABLED', AttributeName },
    }
  }

  /** By ordinary calls, so that indexes follow. */
  async function expireTable(
    TableName: string,
    table: Table,
    attribute: string,
    signal?: AbortSignal,
  ): Promise<void> {
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

  const operation =
    <T>(schema: z.ZodType<T>, act: (input: T) => Promise<object>) =>
    (input: unknown): Promise<object> => {
      const { success, data, error } = schema.safeParse(input)
      if (success) return act(data)
      const [issue] = error.issues
      throw validation(`Value at '${issue?.path.join('.')}' failed to satisfy constraint: ${issue?.message}`)
    }
  const operations = new Map([
    ['UpdateTimeToLive', operation(updateSchema, update)],
    ['DescribeTimeToLive', operation(describeSchema, show)],
  ])

  return {
    operations: new Set(operations.keys()),
    service: async (name, input) => (await operations.get(name)?.(input)) ?? {},
    expire: async (signal) => {
      for (const name of [...state.keys()]) {
        const table = await describe(name).catch((error) => {
          if (isNamed(error, 'ResourceNotFoundException')) return {}
          throw error
        })
        const attribute = attributeOf(table)
        if (attribute !== undefined) await expireTable(name, table, attribute, signal)
      }
    },
  }
}

function readState(file: string): Map<string, z.infer<typeof stateSchema>[string]> {
  try {
    return new Map(Object.entries(stateSchema.parse(JSON.parse(readIfThere(file) ?? '{}'))))
  } catch (cause) {
    if (!(cause instanceof SyntaxError || cause instanceof z.ZodError)) throw cause
    throw new Error(`The times to live in ${file} cannot be read; delete the file, or restore it.`, { cause })
  }
}
