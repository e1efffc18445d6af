import type { Moderation, Sight } from '../packages/vision/index.ts'

/** One line of packages/vision/quality/labels.jsonl. */
export interface Labelled {
  sha256: string
  from: string
  path: string
  seen?: true
  /** Kinds that are plainly in the picture, and how many of each. */
  kinds: Record<string, number>
  /** Kinds that may be said or not: small, cut off, or a matter of words. */
  unclear?: string[]
  faces?: { box: Corners; expression?: string; mouth?: 'open' | 'closed' }[]
  unclearFaces?: Corners[]
}

/** Left, top, right and bottom as fractions of the picture's sides. */
export type Corners = [number, number, number, number]

export interface Result {
  labelled: Labelled
  sight: Sight
  /** Where its model is installed. */
  moderation?: Moderation
}

export const row = (what: string, pictures: number, right: number, wrong: number, present: number) => ({
  what,
  pictures,
  right,
  wrong,
  precision: share(right, right + wrong),
  present,
  recall: share(right, present),
})
const share = (part: number, whole: number): number | string =>
  whole === 0 ? '–' : Number((part / whole).toFixed(3))
