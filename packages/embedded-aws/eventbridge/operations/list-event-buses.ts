import * as z from 'zod'
import { listed, operation } from '../operation.ts'
import { busName, page } from '../schemas.ts'
import { busView } from '../views.ts'

export const listEventBuses = operation(
  z.strictObject({ NamePrefix: busName.optional(), ...page }),
  (input, { store }) => {
    const { items, ...more } = listed(store.state().buses, input)
    return { EventBuses: items.map((bus) => busView(store, bus)), ...more }
  },
)
