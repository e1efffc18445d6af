import { operation } from '../operation.ts'
import { named } from '../schemas.ts'
import { findConnection } from '../state.ts'
import { times } from '../views.ts'

/** What its destinations still have to deliver fails from now on, as on AWS. */
export const deleteConnection = operation(named, ({ Name }, { store }) =>
  store.change((draft) => {
    const connection = findConnection(draft, Name)
    draft.connections = draft.connections.filter((other) => other !== connection)
    return { ConnectionArn: connection.Arn, ConnectionState: 'DELETING', ...times(connection) }
  }),
)
