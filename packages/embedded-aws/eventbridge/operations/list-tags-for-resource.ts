import * as z from 'zod'
import { operation } from '../operation.ts'
import { arn } from '../schemas.ts'

export const listTagsForResource = operation(
  z.strictObject({ ResourceARN: arn }),
  ({ ResourceARN }, { store }) => ({ Tags: store.findTagged(store.state(), ResourceARN).Tags }),
)
