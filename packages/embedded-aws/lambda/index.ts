import { join } from 'node:path'
import type { writeWhole } from '../files.ts'
import { AwsError, type JsonService } from '../json.ts'
import type { Operation } from './operation.ts'
import { getEventSourceMapping } from './operations/get-event-source-mapping.ts'
import { listEventSourceMappings } from './operations/list-event-source-mappings.ts'
import { updateEventSourceMapping } from './operations/update-event-source-mapping.ts'
import { type Mappings, openMappings } from './state.ts'

/**
 * Of AWS Lambda, the event source mappings of the program's pollers (API reference, 2015-03-31): they are listed, looked at,
 * paused and resumed. The program makes them, by `mapEventSource`; functions are neither made nor called here.
 */
const OPERATIONS = new Map<string, Operation>(
  Object.entries({
    'GET /': listEventSourceMappings,
    'GET /{UUID}': getEventSourceMapping,
    'PUT /{UUID}': updateEventSourceMapping,
  }),
)

const PATH = /^\/2015-03-31\/event-source-mappings\/?([^/?]*)$/

/** Lambda's operations are a method and a path. @returns the operation's name here, and the input that is in the URL */
export function lambdaRequest(method = '', url = ''): [operation: string, input: Record<string, string>] {
  // By hand: a path that begins with two slashes is a host to `URL`, and may be none.
  const [pathname = '', search] = url.split('?', 2)
  const searchParams = new URLSearchParams(search)
  const UUID = PATH.exec(pathname)?.[1]
  if (UUID === undefined) return [`${method} ${pathname}`, {}]
  return UUID === ''
    ? [`${method} /`, Object.fromEntries(searchParams)]
    : [`${method} /{UUID}`, { ...Object.fromEntries(searchParams), UUID }]
}

export interface Lambda {
  service: JsonService
  mapEventSource: Mappings['add']
}

/** @throws Error when the file of an earlier run cannot be read */
export function createLambda(options: {
  region: string
  accountId: string
  folder: string
  write: typeof writeWhole
  now: () => Date
}): Lambda {
  const { region, accountId, folder, write, now } = options
  const mappings = openMappings(join(folder, 'lambda.json'), write, now)
  return {
    service: async (name, input) => {
      const run = OPERATIONS.get(name)
      if (run === undefined)
        throw new AwsError(
          'UnknownOperationException',
          `${name} is not supported by the embedded Lambda, which lists, shows, pauses and resumes event source mappings.`,
          404,
        )
      return run(input, { region, accountId, mappings })
    },
    mapEventSource: mappings.add,
  }
}
