import * as z from 'zod'
import { readIfThere, type writeWhole } from '../files.ts'
import type { JsonService } from '../json.ts'

/** By table. One that is deleted and created again has another creation time, and none of the old settings. */
const stateSchema = z.record(z.string(), z.strictObject({ attribute: z.string(), created: z.string() }))
type State = Map<string, z.infer<typeof stateSchema>[string]>

/** What is read here of an answer of DescribeTable. */
export interface Table {
  TableName?: string
  /** Seconds since 1970. */
  CreationDateTime?: number
  KeySchema?: { AttributeName: string }[]
}

/** What the operations of time to live work on. */
export interface Context {
  dynamoDb: JsonService
  now: () => Date
  times: TimesToLive
}

/** Which tables have a time to live. */
export type TimesToLive = ReturnType<typeof openTimesToLive>

/** @throws Error when the file of an earlier run cannot be read */
export function openTimesToLive(file: string, write: typeof writeWhole) {
  let state = readState(file)
  const creation = ({ CreationDateTime }: Table): string =>
    CreationDateTime === undefined ? '' : new Date(Math.round(CreationDateTime * 1_000)).toISOString()
  return {
    tables: (): string[] => [...state.keys()],
    attributeOf: (table: Table): string | undefined => {
      const known = state.get(table.TableName ?? '')
      return known?.created === creation(table) ? known.attribute : undefined
    },
    /** @param attribute undefined for a table that has no time to live any more */
    set: (name: string, table: Table, attribute: string | undefined): void => {
      const draft: State = new Map(state)
      if (attribute === undefined) draft.delete(name)
      else draft.set(name, { attribute, created: creation(table) })
      write(file, Object.fromEntries(draft))
      state = draft
    },
  }
}

/** @throws AwsError ResourceNotFoundException */
export async function describe(dynamoDb: JsonService, TableName: string): Promise<Table> {
  const answer: { Table?: Table } = await dynamoDb('DescribeTable', { TableName })
  return answer.Table ?? {}
}

function readState(file: string): State {
  try {
    return new Map(Object.entries(stateSchema.parse(JSON.parse(readIfThere(file) ?? '{}'))))
  } catch (cause) {
    if (!(cause instanceof SyntaxError || cause instanceof z.ZodError)) throw cause
    throw new Error(`The times to live in ${file} cannot be read; delete the file, or restore it.`, { cause })
  }
}
