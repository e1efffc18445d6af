import * as z from 'zod'
import { checkQuota } from '../errors.ts'
import { operation } from '../operation.ts'
import { name64, ruleOfBus } from '../schemas.ts'
import { findRule } from '../state.ts'
import { checkTarget, targetSchema } from '../targets.ts'

/** A default quota of the user guide. */
const MAX_TARGETS_PER_RULE = 5

/** A target with a known Id replaces the old one. */
export const putTargets = operation(
  z.strictObject({ Rule: name64, ...ruleOfBus, Targets: z.array(targetSchema).min(1).max(100) }),
  (input, { store }) =>
    store.change((draft) => {
      const rule = findRule(store.findBus(draft, input.EventBusName), input.Rule)
      for (const target of input.Targets) {
        checkTarget(target)
        rule.Targets = [...rule.Targets.filter(({ Id }) => Id !== target.Id), target]
      }
      checkQuota(rule.Targets.length, MAX_TARGETS_PER_RULE)
      return { FailedEntryCount: 0, FailedEntries: [] }
    }),
)
