import { createHash } from 'node:crypto'
import { globSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { MOST_SIDE, type Moderation, type Picture, type Sight } from '../packages/vision/index.ts'
import { imageOpener } from '../rekognition/service.ts'

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

/** The files of pictures that are described, by digest; the log says where those are that no folder has. */
export function filesIn(
  folders: readonly string[],
  described: readonly { sha256: string; from: string }[],
): Map<string, string> {
  const wanted = new Set(described.map(({ sha256 }) => sha256))
  const found = new Map<string, string>()
  for (const folder of folders)
    for (const name of globSync('**/*.{jpg,jpeg,JPG,png,webp,avif}', { cwd: folder })) {
      const file = join(folder, name)
      if (!statSync(file).isFile()) continue
      const digest = createHash('sha256').update(readFileSync(file)).digest('hex')
      if (wanted.has(digest)) found.set(digest, file)
    }
  const lacking = described.filter(({ sha256 }) => !found.has(sha256))
  if (lacking.length > 0) {
    const repositories = [...new Set(lacking.map(({ from }) => from))].join(', ')
    console.log(
      `${lacking.length} of the ${described.length} labelled pictures are in no folder of --pictures. ` +
        `They are in these repositories on GitHub: ${repositories}.`,
    )
  }
  return found
}

/** One object a line. */
export const linesOf = <T>(file: string): T[] =>
  readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))

/** Reads pictures as the models get them. */
export function pictureReader(): (bytes: Buffer) => Promise<Picture> {
  const open = imageOpener()
  return async (bytes) => (await open(bytes)).pixels(MOST_SIDE)
}
