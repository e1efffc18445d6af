import * as z from 'zod'
import { operation } from '../operation.ts'
import { arn, tags } from '../schemas.ts'

export const tagResource = operation(
  z.strictObject({ ResourceARN: arn, Tags: tags }),
  ({ ResourceARN, Tags }, { store }) =>
    store.change((draft) => {
      const resource = store.findTagged(draft, ResourceARN)
      const kept = resource.Tags.filter((old) => !Tags.some(({ Key }) => Key === old.Key))
      resource.Tags = [...kept, ...Tags]
      return {}
    }),
)
