import * as z from 'zod'
import { operation } from '../operation.ts'
import { name64, ruleOfBus } from '../schemas.ts'
import { findRule } from '../state.ts'

export const removeTargets = operation(
  z.strictObject({
    Rule: name64,
    ...ruleOfBus,
    Ids: z.array(name64).min(1).max(100),
    Force: z.boolean().optional(),
  }),
  (input, { store }) =>
    store.change((draft) => {
      const rule = findRule(store.findBus(draft, input.EventBusName), input.Rule)
      const FailedEntries = input.Ids.filter((id) => !rule.Targets.some(({ Id }) => Id === id)).map(
        (TargetId) => ({
          TargetId,
          ErrorCode: 'ResourceNotFoundException',
          ErrorMessage: `Rule ${rule.Name} does not have a target with the Id ${TargetId}.`,
        }),
      )
      rule.Targets = rule.Targets.filter(({ Id }) => !input.Ids.includes(Id))
      return { FailedEntryCount: FailedEntries.length, FailedEntries }
    }),
)
