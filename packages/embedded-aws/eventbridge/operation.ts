import type * as z from 'zod'
import { invalid } from './errors.ts'
import type { Store } from './state.ts'

/** What operations work on. */
export interface Context {
  region: string
  accountId: string
  now: () => Date
  store: Store
  /** Sends an event to what the rules of a bus say; one for a bus that does not exist goes nowhere. */
  publish: (event: { id: string }, busNameOrArn: string | undefined) => Promise<void>
}

export type Operation = (input: Record<string, unknown>, context: Context) => object | Promise<object>

/** An operation whose input is parsed first: what its schema does not have is refused by name. */
export const operation =
  <T extends z.ZodType>(
    schema: T,
    run: (input: z.infer<T>, context: Context) => object | Promise<object>,
  ): Operation =>
  (input, context) =>
    run(parse(schema, input), context)

function parse<T extends z.ZodType>(schema: T, input: unknown): z.infer<T> {
  const result = schema.safeParse(input)
  if (result.success) return result.data
  const problems = result.error.issues.map((issue) =>
    issue.code === 'unrecognized_keys'
      ? `${[...issue.path, issue.keys].join('.')} is not supported by the embedded EventBridge`
      : `Value at '${issue.path.join('.')}' failed to satisfy constraint: ${issue.message}`,
  )
  const errors = problems.length === 1 ? '1 validation error' : `${problems.length} validation errors`
  throw invalid(`${errors} detected: ${problems.join('; ')}`)
}

/** One page of a list, in the order of names. */
export function listed<T extends { Name: string }>(
  items: T[],
  input: { NamePrefix?: string | undefined; Limit: number; NextToken: string },
): { items: T[]; NextToken?: string } {
  const all = items
    .filter(({ Name }) => Name.startsWith(input.NamePrefix ?? ''))
    .sort((a, b) => (a.Name < b.Name ? -1 : 1))
  const from = Number(input.NextToken)
  const to = from + input.Limit
  return { items: all.slice(from, to), ...(to < all.length && { NextToken: String(to) }) }
}
