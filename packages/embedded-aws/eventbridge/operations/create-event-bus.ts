import * as z from 'zod'
import { alreadyExists, checkQuota, invalid } from '../errors.ts'
import { operation } from '../operation.ts'
import { busName, description, tags } from '../schemas.ts'
import type { Bus } from '../state.ts'

/** A default quota of the user guide, for each account and region. */
const MAX_BUSES = 100

export const createEventBus = operation(
  z.strictObject({ Name: busName, Description: description, Tags: tags.default([]) }),
  ({ Name, Description, Tags }, { store }) =>
    store.change((draft) => {
      if (Name.includes('/')) throw invalid("Event bus name must not contain '/'.")
      if (store.lookUpBus(draft, Name) !== undefined) throw alreadyExists(`Event bus ${Name} already exists.`)
      const bus: Bus = { ...store.newBus(Name), Description, Tags }
      checkQuota(draft.buses.push(bus), MAX_BUSES)
      return { EventBusArn: store.busArn(bus), Description }
    }),
)
