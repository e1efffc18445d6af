import { randomUUID } from 'node:crypto'
import * as z from 'zod'
import { isObject, parseJson } from '../../json.ts'
import { invalid } from '../errors.ts'
import { type Context, operation } from '../operation.ts'
import { busNameOrArn } from '../schemas.ts'

/**
 * 1 MiB for all entries together: 256 KB until January 2026, "less than 1MB" in the API reference since; exactly
 * 1,048,576 bytes were measured to pass.
 */
const MAX_REQUEST_BYTES = 1024 * 1024
/** What an entry's Time counts for (user guide, "Calculating PutEvents event entry size"). */
const TIME_BYTES = 14
/** Seconds of the last moment that fits the four-digit year of an event's time. */
const LAST_SECOND = 253_402_300_799

const entrySchema = z.strictObject({
  Source: z.string().optional(),
  DetailType: z.string().optional(),
  Detail: z.string().optional(),
  Resources: z.array(z.string()).optional(),
  /** Seconds since 1970, the timestamp of AWS JSON 1.1. */
  Time: z.number().min(0).max(LAST_SECOND).optional(),
  EventBusName: busNameOrArn.optional(),
  TraceHeader: z.string().min(1).max(500).optional(),
})
type Entry = z.infer<typeof entrySchema>

/** Once this answers, every event is in its queues, if not at its endpoints: a process killed afterwards has lost nothing. */
export const putEvents = operation(
  z.strictObject({ Entries: z.array(entrySchema).min(1).max(10) }),
  async ({ Entries }, context) => {
    if (Entries.reduce((sum, entry) => sum + entryBytes(entry), 0) > MAX_REQUEST_BYTES)
      throw invalid('Total size of the entries in the request is over the limit.')
    const results = []
    for (const entry of Entries) results.push(entryProblem(entry) ?? (await publish(entry, context)))
    return {
      FailedEntryCount: results.filter((result) => 'ErrorCode' in result).length,
      Entries: results,
    }
  },
)

async function publish(entry: Entry, context: Context): Promise<{ EventId: string }> {
  const time = entry.Time === undefined ? context.now() : new Date(entry.Time * 1000)
  const event = {
    version: '0',
    id: randomUUID(),
    'detail-type': entry.DetailType,
    source: entry.Source,
    account: context.accountId,
    time: `${time.toISOString().slice(0, 19)}Z`,
    region: context.region,
    resources: entry.Resources ?? [],
    detail: parseVerbatim(entry.Detail ?? ''),
  }
  await context.publish(event, entry.EventBusName)
  return { EventId: event.id }
}

/** Parsed JSON whose numbers are written again as they came: a 64-bit id is more than a double holds. */
function parseVerbatim(text: string): unknown {
  // Not yet in TypeScript's library: proposal "JSON.parse source text access".
  const { rawJSON } = JSON as JSON & { rawJSON: (text: string) => object }
  return JSON.parse(text, (_key, value: unknown, context?: { source: string }) =>
    typeof value === 'number' ? rawJSON(context?.source ?? String(value)) : value,
  )
}

function entryBytes(entry: Entry): number {
  const texts = [entry.Source, entry.DetailType, entry.Detail, ...(entry.Resources ?? [])]
  return texts.reduce(
    (sum, text) => sum + Buffer.byteLength(text ?? ''),
    entry.Time === undefined ? 0 : TIME_BYTES,
  )
}

/**
 * What is wrong with one entry, as PutEvents answers it in the entry's place. The API reference says that the
 * whole call fails when no entry is complete; recorded answers show that even then each entry is answered.
 */
function entryProblem({ Source = '', DetailType = '', Detail = '' }: Entry) {
  const problem = (ErrorCode: string, ErrorMessage: string) => ({ ErrorCode, ErrorMessage })
  const required = { Source, DetailType, Detail }
  for (const [name, value] of Object.entries(required))
    if (value === '')
      return problem(
        'InvalidArgument',
        `Parameter ${name} is not valid. Reason: ${name} is a required argument.`,
      )
  if (DetailType.length > 128)
    return problem('InvalidArgument', 'Parameter DetailType is not valid. Reason: over 128 characters.')
  if (Source.startsWith('aws.'))
    return problem('NotAuthorizedForSourceException', 'Not authorized for the source.')
  if (!isObject(parseJson(Detail))) return problem('MalformedDetail', 'Detail is malformed.')
  return undefined
}
