import { paginateScan } from '@aws-sdk/lib-dynamodb'
import type { EmbeddedAws } from '../packages/embedded-aws/index.ts'
import { imageIdSchema } from '../shared/image.ts'
import { endLease } from '../shared/lifecycle.ts'
import type { SweeperDeps } from '../sweeper/deps.ts'
import { sweep } from '../sweeper/sweep.ts'
import type { ResourceNames } from './resources.ts'

/**
 * After a restart no worker of the process before is alive, even if its leases still hold: they end now, and everything that
 * is unfinished is looked after at once. (On AWS leases run out, and the sweeper comes when it is time.)
 */
export async function recover(embedded: EmbeddedAws, names: ResourceNames, deps: SweeperDeps): Promise<void> {
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
    for (const { imageId } of Items) await endLease(deps, imageIdSchema.parse(imageId))
  }
  await sweep({ ...deps, isAlone: true }, Number.MAX_SAFE_INTEGER)
}
