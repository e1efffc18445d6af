import { operation } from '../operation.ts'
import { namedRule } from '../schemas.ts'
import { findRule } from '../state.ts'
import { ruleView } from '../views.ts'

export const describeRule = operation(namedRule, ({ Name, EventBusName }, { store, accountId }) => {
  const bus = store.findBus(store.state(), EventBusName)
  return { ...ruleView(store, bus, findRule(bus, Name)), CreatedBy: accountId }
})
