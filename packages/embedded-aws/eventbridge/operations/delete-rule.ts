import * as z from 'zod'
import { invalid } from '../errors.ts'
import { operation } from '../operation.ts'
import { namedRule } from '../schemas.ts'

/** Deleting what is not there succeeds. */
export const deleteRule = operation(
  namedRule.extend({ Force: z.boolean().optional() }),
  ({ Name, EventBusName }, { store }) =>
    store.change((draft) => {
      const bus = store.findBus(draft, EventBusName)
      const rule = bus.Rules.find((candidate) => candidate.Name === Name)
      if (rule !== undefined && rule.Targets.length > 0)
        throw invalid("Rule can't be deleted since it has targets.")
      bus.Rules = bus.Rules.filter((other) => other !== rule)
      return {}
    }),
)
