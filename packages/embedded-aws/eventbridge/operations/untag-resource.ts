import * as z from 'zod'
import { operation } from '../operation.ts'
import { arn } from '../schemas.ts'

export const untagResource = operation(
  z.strictObject({ ResourceARN: arn, TagKeys: z.array(z.string()) }),
  ({ ResourceARN, TagKeys }, { store }) =>
    store.change((draft) => {
      const resource = store.findTagged(draft, ResourceARN)
      resource.Tags = resource.Tags.filter(({ Key }) => !TagKeys.includes(Key))
      return {}
    }),
)
