import { operation } from '../operation.ts'
import { namedRule } from '../schemas.ts'
import { findRule, type Rule } from '../state.ts'

const setState = (State: Rule['State']) =>
  operation(namedRule, ({ Name, EventBusName }, { store }) =>
    store.change((draft) => {
      findRule(store.findBus(draft, EventBusName), Name).State = State
      return {}
    }),
  )

export const enableRule = setState('ENABLED')
export const disableRule = setState('DISABLED')
