import { operation } from '../operation.ts'
import { named } from '../schemas.ts'
import { findConnection } from '../state.ts'
import { connectionView } from '../views.ts'

export const describeConnection = operation(named, ({ Name }, { store }) =>
  connectionView(findConnection(store.state(), Name)),
)
