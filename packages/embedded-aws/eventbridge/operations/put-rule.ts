import * as z from 'zod'
import { checkQuota, invalid } from '../errors.ts'
import { compileEventPattern } from '../event-pattern.ts'
import { operation } from '../operation.ts'
import { arn, description, namedRule, tags } from '../schemas.ts'
import type { Rule } from '../state.ts'

/** Default quotas of the user guide, in characters and for each bus. */
const MAX_PATTERN_LENGTH = 2048
const MAX_RULES_PER_BUS = 300

/** Replaces the whole rule, but neither its targets nor its tags. */
export const putRule = operation(
  namedRule.extend({
    EventPattern: z.string().optional(),
    State: z.enum(['ENABLED', 'DISABLED']).default('ENABLED'),
    Description: description,
    RoleArn: arn.optional(),
    Tags: tags.default([]),
  }),
  ({ EventBusName, EventPattern, ...input }, { store }) =>
    store.change((draft) => {
      if (EventPattern === undefined)
        throw invalid('Parameter(s) EventPattern or ScheduleExpression must be specified.')
      const bus = store.findBus(draft, EventBusName)
      if (EventPattern.length > MAX_PATTERN_LENGTH)
        throw invalid(`Parameter EventPattern for rule ${input.Name} exceeds limit of ${MAX_PATTERN_LENGTH}.`)
      compileEventPattern(EventPattern)
      const old = bus.Rules.find((rule) => rule.Name === input.Name)
      const rule: Rule = {
        ...input,
        EventPattern,
        Tags: old?.Tags ?? input.Tags,
        Targets: old?.Targets ?? [],
      }
      bus.Rules = [...bus.Rules.filter((other) => other !== old), rule]
      checkQuota(bus.Rules.length, MAX_RULES_PER_BUS)
      return { RuleArn: store.ruleArn(bus, rule) }
    }),
)
