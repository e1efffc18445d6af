import type * as api from '../../api/schemas.ts'
import type * as client from '../../packages/client/index.ts'
import type { AnalysisName } from '../../shared/image.ts'

/**
 * The client's types are written by hand, so that its package depends on nothing. Here the compiler compares them with the
 * API's own: what the one has, the other must have too.
 */

/** Without the brand that ids have in the API, and with all that is optional, which the compiler would not miss. */
type Plain<T> = T extends string
  ? T extends object
    ? string
    : T
  : T extends readonly (infer Item)[]
    ? Plain<Item>[]
    : T extends object
      ? { [Name in keyof T]-?: Plain<T[Name]> }
      : T
type Same<A, B> = [Plain<A>] extends [Plain<B>] ? ([Plain<B>] extends [Plain<A>] ? true : never) : never

export const same: [
  Same<client.Image, api.ImageView>,
  Same<client.ListedImage, api.ListedView>,
  Same<client.UploadForm, api.UploadForm>,
  Same<client.Event, api.Event>,
  Same<client.ApiErrorCode, api.ApiErrorCode>,
  Same<client.AnalysisName, AnalysisName>,
] = [true, true, true, true, true, true]
