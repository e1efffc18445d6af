import * as z from 'zod'
import { listed, operation } from '../operation.ts'
import { name64, page, ruleOfBus } from '../schemas.ts'
import { findRule } from '../state.ts'

export const listTargetsByRule = operation(
  z.strictObject({ Rule: name64, ...ruleOfBus, ...page }),
  (input, { store }) => {
    const rule = findRule(store.findBus(store.state(), input.EventBusName), input.Rule)
    const { items, ...more } = listed(
      rule.Targets.map((target) => ({ Name: target.Id, target })),
      input,
    )
    return { Targets: items.map(({ target }) => target), ...more }
  },
)
