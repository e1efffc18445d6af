import * as z from 'zod'
import { listed, operation } from '../operation.ts'
import { arn, name64, page } from '../schemas.ts'
import { destinationView } from '../views.ts'

export const listApiDestinations = operation(
  z.strictObject({ NamePrefix: name64.optional(), ConnectionArn: arn.optional(), ...page }),
  (input, { store }) => {
    const { items, ...more } = listed(
      store
        .state()
        .apiDestinations.filter(
          ({ ConnectionArn }) => input.ConnectionArn === undefined || ConnectionArn === input.ConnectionArn,
        ),
      input,
    )
    return { ApiDestinations: items.map((destination) => destinationView(store, destination)), ...more }
  },
)
