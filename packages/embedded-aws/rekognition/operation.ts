import * as z from 'zod'
import type { Moderation, Reading, Sight } from '../../vision/index.ts'
import { AwsError } from '../json.ts'
import { invalidParameters } from './errors.ts'
import type { ImageInput } from './images.ts'
import type { Measurements } from './measure.ts'

/** Where no model has answered: what is said was measured. */
export const MODEL_VERSION = 'stand-in'

export const percent = z.number().min(0).max(100)
export const ratio = z.number().min(0).max(1)
/** What there is to see in an image. */
export interface Seen {
  width: number
  height: number
  measured: Measurements
  /** By models, where there are any, and where what is asked for takes them. */
  sight?: Sight | undefined
  reading?: Reading | undefined
  moderation?: Moderation | undefined
}
/** What an operation asks the models for. */
export type Asks = 'sight' | 'reading' | 'moderation' | undefined

/** A request that has been found valid: the image it means and the answer it gets for what is seen there. */
export interface Request {
  image: ImageInput
  asks: Asks
  respond: (seen: Seen) => object
}

export const operation =
  <T extends { Image: ImageInput }>(
    schema: z.ZodType<T>,
    respond: (input: T, seen: Seen) => object,
    asks: (input: T) => Asks = () => undefined,
  ) =>
  (input: unknown): Request => {
    const { success, data, error } = schema.safeParse(input)
    if (success) return { image: data.Image, asks: asks(data), respond: (seen) => respond(data, seen) }
    const refused = error.issues.find((issue) => issue.code === 'invalid_type' && issue.expected === 'never')
    throw refused ? new AwsError('InvalidParameterException', refused.message) : invalidParameters()
  }
