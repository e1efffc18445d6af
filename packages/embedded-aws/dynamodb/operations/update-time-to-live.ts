import * as z from 'zod'
import { validation } from '../errors.ts'
import { operation, tableName } from '../operation.ts'
import { describe } from '../state.ts'

/** AWS takes one change an hour; here the next one may follow at once. */
export const updateTimeToLive = operation(
  z.object({
    TableName: tableName,
    TimeToLiveSpecification: z.object({ AttributeName: z.string().min(1).max(255), Enabled: z.boolean() }),
  }),
  async ({ TableName, TimeToLiveSpecification }, { dynamoDb, times }) => {
    const { AttributeName, Enabled } = TimeToLiveSpecification
    const table = await describe(dynamoDb, TableName)
    const current = times.attributeOf(table)
    if (current === undefined && !Enabled) throw validation('TimeToLive is already disabled')
    if (current !== undefined && current !== AttributeName)
      throw validation(
        `TimeToLive is active on a different AttributeName: current AttributeName is ${current}`,
      )
    if (current !== undefined && Enabled) throw validation('TimeToLive is already enabled')
    times.set(TableName, table, Enabled ? AttributeName : undefined)
    return { TimeToLiveSpecification }
  },
)
