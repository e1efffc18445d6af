import { AwsError } from '../json.ts'

/** The message says as little as the real one, also for a picture that is too small. */
export const invalidParameters = () =>
  new AwsError('InvalidParameterException', 'Request has invalid parameters')
export const invalidFormat = () =>
  new AwsError('InvalidImageFormatException', 'Request has invalid image format')
export const tooLarge = (message = 'Image size is too large.') =>
  new AwsError('ImageTooLargeException', message)

/** Why an image is not to be looked at, by what decodes it. */
export class Unreadable extends Error {
  readonly why: 'format' | 'too small' | 'too many pixels'
  constructor(why: Unreadable['why']) {
    super(why)
    this.why = why
  }
}
