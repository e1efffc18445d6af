import { operation } from '../operation.ts'
import { named } from '../schemas.ts'
import { findDestination } from '../state.ts'
import { destinationView } from '../views.ts'

export const describeApiDestination = operation(named, ({ Name }, { store }) => {
  const destination = findDestination(store.state(), Name)
  return { ...destinationView(store, destination), Description: destination.Description }
})
