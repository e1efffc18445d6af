import * as z from 'zod'
import { listed, operation } from '../operation.ts'
import { name64, page, ruleOfBus } from '../schemas.ts'
import { ruleView } from '../views.ts'

export const listRules = operation(
  z.strictObject({ NamePrefix: name64.optional(), ...ruleOfBus, ...page }),
  (input, { store }) => {
    const bus = store.findBus(store.state(), input.EventBusName)
    const { items, ...more } = listed(bus.Rules, input)
    return { Rules: items.map((rule) => ruleView(store, bus, rule)), ...more }
  },
)
