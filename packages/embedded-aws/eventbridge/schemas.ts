import * as z from 'zod'

/** What inputs of several operations have in common, by the patterns of the API reference. */

export const name64 = z
  .string()
  .max(64)
  .regex(/^[.\-_A-Za-z0-9]+$/)
export const named = z.strictObject({ Name: name64 })
export const arn = z.string().min(1).max(1600)
export const description = z.string().max(512).optional()
export const tags = z.array(z.strictObject({ Key: z.string().min(1).max(128), Value: z.string().max(256) }))
export const page = {
  Limit: z.int().min(1).max(100).default(100),
  /** How many were listed before. */
  NextToken: z.string().regex(/^\d+$/).default('0'),
}

export const busName = z
  .string()
  .max(256)
  .regex(/^[/.\-_A-Za-z0-9]+$/)
export const busNameOrArn = z
  .string()
  .max(1600)
  .regex(/^(arn:aws[\w-]*:events:[a-z]+-[a-z]+-[\w-]+:\d{12}:event-bus\/)?[/.\-_A-Za-z0-9]+$/)
export const ruleOfBus = { EventBusName: busNameOrArn.optional() }
export const namedRule = z.strictObject({ Name: name64, ...ruleOfBus })

/** The characters of a header's name and value (RFC 9110, field names and values). */
export const headerName = z
  .string()
  .min(1)
  .max(512)
  .regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/)
export const headerValue = z
  .string()
  .min(1)
  .max(512)
  .regex(/^[\t\x20-\x7e\x80-\xff]+$/)
