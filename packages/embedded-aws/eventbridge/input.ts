import * as z from 'zod'
import { AwsError } from '../json.ts'

/** What operations of the embedded EventBridge have in common: names, pages, and how they refuse an input. */

export const name64 = z
  .string()
  .max(64)
  .regex(/^[.\-_A-Za-z0-9]+$/)
export const arn = z.string().min(1).max(1600)
export const description = z.string().max(512).optional()
export const page = {
  Limit: z.int().min(1).max(100).default(100),
  /** How many were listed before. */
  NextToken: z.string().regex(/^\d+$/).default('0'),
}

export const invalid = (message: string) => new AwsError('ValidationException', message)
export const notFound = (message: string) => new AwsError('ResourceNotFoundException', message)

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

export type Operation = (input: Record<string, unknown>) => object | Promise<object>
export const operation =
  <T extends z.ZodType>(schema: T, run: (input: z.infer<T>) => object | Promise<object>): Operation =>
  (input) =>
    run(parse(schema, input))

export function checkQuota(count: number, most: number): void {
  if (count > most)
    throw new AwsError(
      'LimitExceededException',
      `The requested resource exceeds the maximum number allowed: ${most}.`,
    )
}

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
