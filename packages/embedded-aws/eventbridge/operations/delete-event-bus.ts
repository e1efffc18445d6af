import * as z from 'zod'
import { invalid } from '../errors.ts'
import { operation } from '../operation.ts'
import { busName } from '../schemas.ts'

/** Deleting what is not there succeeds, for a bus as for a rule. */
export const deleteEventBus = operation(z.strictObject({ Name: busName }), ({ Name }, { store }) =>
  store.change((draft) => {
    if (Name === 'default') throw invalid('Cannot delete event bus default.')
    if ((store.lookUpBus(draft, Name)?.Rules.length ?? 0) > 0)
      throw invalid(`Cannot delete event bus ${Name} because it has rules.`)
    draft.buses = draft.buses.filter((bus) => bus.Name !== Name)
    return {}
  }),
)
