import * as z from 'zod'
import { isObject, parseJson } from '../../json.ts'
import { invalid } from '../errors.ts'
import { compileEventPattern } from '../event-pattern.ts'
import { operation } from '../operation.ts'

export const testEventPattern = operation(
  z.strictObject({ EventPattern: z.string(), Event: z.string() }),
  ({ EventPattern, Event }) => {
    const matches = compileEventPattern(EventPattern)
    const event = parseJson(Event)
    const required = ['id', 'account', 'source', 'time', 'region', 'detail-type']
    if (!isObject(event) || !required.every((key) => Object.hasOwn(event, key)))
      throw invalid(`Parameter Event is not valid. Reason: it must have ${required.join(', ')}.`)
    return { Result: matches(event) }
  },
)
