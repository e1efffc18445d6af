import * as z from 'zod'
import { validation } from './errors.ts'
import type { Context } from './state.ts'

export type Operation = (input: unknown, context: Context) => Promise<object>

/** An operation whose input is parsed first. */
export const operation =
  <T>(schema: z.ZodType<T>, act: (input: T, context: Context) => Promise<object>): Operation =>
  (input, context) => {
    const { success, data, error } = schema.safeParse(input)
    if (success) return act(data, context)
    const [issue] = error.issues
    throw validation(`Value at '${issue?.path.join('.')}' failed to satisfy constraint: ${issue?.message}`)
  }

export const tableName = z.string().regex(/^[a-zA-Z0-9_.-]{3,255}$/)
