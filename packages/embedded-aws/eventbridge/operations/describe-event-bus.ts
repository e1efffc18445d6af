import * as z from 'zod'
import { operation } from '../operation.ts'
import { busNameOrArn } from '../schemas.ts'
import { busView } from '../views.ts'

export const describeEventBus = operation(
  z.strictObject({ Name: busNameOrArn.optional() }),
  ({ Name }, { store }) => busView(store, store.findBus(store.state(), Name)),
)
