import * as z from 'zod'
import { operation, tableName } from '../operation.ts'
import { describe } from '../state.ts'

export const describeTimeToLive = operation(
  z.object({ TableName: tableName }),
  async ({ TableName }, { dynamoDb, times }) => {
    const AttributeName = times.attributeOf(await describe(dynamoDb, TableName))
    return {
      TimeToLiveDescription:
        AttributeName === undefined
          ? { TimeToLiveStatus: 'DISABLED' }
          : { TimeToLiveStatus: 'ENABLED', AttributeName },
    }
  },
)
