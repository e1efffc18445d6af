import { facesOf } from '../packages/vision/index.ts'
import { type Corners, type Labelled, type Result, row } from './labelled.ts'

/** Pixels of height in the picture as the models get it. */
export const LARGE_FACE = 40
/** A face that is found is the one in the picture where they agree by so much; boxes drawn by hand are rough. */
const SAME_FACE = 0.3

interface MatchedFace {
  label?: NonNullable<Labelled['faces']>[number]
  /** What is found. */
  face?: ReturnType<typeof facesOf>[number]
  height: number
  is: 'right' | 'wrong' | 'missed'
}

/** Each face that is found with the one in the picture that it agrees with; those of which it is unclear are left out. */
export function matchedFaces({ labelled: { faces = [], unclearFaces = [] }, sight }: Result): MatchedFace[] {
  const open = new Set(faces)
  const matched: MatchedFace[] = []
  for (const face of facesOf(sight, ['ALL'])) {
    const { Left, Top, Width, Height } = face.BoundingBox
    const found: Corners = [Left, Top, Left + Width, Top + Height]
    const [best] = [...open]
      .map((label) => ({ label, agreement: agreement(label.box, found) }))
      .filter(({ agreement }) => agreement >= SAME_FACE)
      .sort((a, b) => b.agreement - a.agreement)
    const height = Height * sight.height
    if (best !== undefined) {
      open.delete(best.label)
      matched.push({ height, is: 'right', face, label: best.label })
    } else if (!unclearFaces.some((box) => agreement(box, found) >= SAME_FACE))
      matched.push({ height, is: 'wrong' })
  }
  for (const { box } of open) matched.push({ height: (box[3] - box[1]) * sight.height, is: 'missed' })
  return matched
}

export function faceScore(results: Result[], leastHeight: number) {
  const faces = results.flatMap(matchedFaces).filter(({ height }) => height >= leastHeight)
  const [right = 0, wrong = 0, missed = 0] = (['right', 'wrong', 'missed'] as const).map(
    (what) => faces.filter(({ is }) => is === what).length,
  )
  const what = leastHeight > 0 ? `faces from ${leastHeight} px of height on` : 'all faces'
  return row(what, results.length, right, wrong, right + missed)
}

function agreement(a: Corners, b: Corners): number {
  const shared =
    Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0])) *
    Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]))
  const area = ([left, top, right, bottom]: Corners): number => (right - left) * (bottom - top)
  return shared / (area(a) + area(b) - shared)
}

/** What is said of the faces whose expression is plain: a row for each expression, a column for what is said. */
export function confusion(results: Result[]): Record<string, Record<string, number>> {
  const table: Record<string, Record<string, number>> = {}
  for (const { label, face } of results.flatMap(matchedFaces)) {
    const [expression, said] = [label?.expression, face?.Emotions?.[0]?.Type]
    if (expression === undefined || said === undefined) continue
    table[expression] = { ...table[expression], [said]: (table[expression]?.[said] ?? 0) + 1 }
  }
  return table
}

/** Of the faces whose mouth was judged by eye, and of which it is said: a row for each, a column for what is said. */
export function mouths(results: Result[]): object {
  const count = (is: string, open: boolean): number =>
    results
      .flatMap(matchedFaces)
      .filter(({ label, face }) => label?.mouth === is && face?.MouthOpen?.Value === open).length
  const columns = (is: string) => ({ 'said open': count(is, true), 'said closed': count(is, false) })
  return { open: columns('open'), closed: columns('closed') }
}

export const isMouthWrong = ({ label, face }: MatchedFace): boolean =>
  label?.mouth !== undefined &&
  face?.MouthOpen !== undefined &&
  face.MouthOpen.Value !== (label.mouth === 'open')
