import { operation } from '../operation.ts'
import { named } from '../schemas.ts'
import { findDestination } from '../state.ts'

export const deleteApiDestination = operation(named, ({ Name }, { store }) =>
  store.change((draft) => {
    const destination = findDestination(draft, Name)
    draft.apiDestinations = draft.apiDestinations.filter((other) => other !== destination)
    return {}
  }),
)
