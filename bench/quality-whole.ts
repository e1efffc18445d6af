import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createVision, type Label, labelsOf, type Sight, type Vision } from '../packages/vision/index.ts'
import { filesIn, linesOf, pictureReader } from './labelled.ts'

/** One line of packages/vision/quality/whole.jsonl: the names that the classifier had for a picture, judged by eye. */
interface Judged {
  sha256: string
  from: string
  path: string
  /** Judged when all else was settled, so that nothing was chosen by it. */
  test?: true
  /** No photo: a screenshot, drawing, painting, document, map or collage. */
  odd?: true
  right: string[]
  wrong: string[]
  unclear: string[]
}

/** Rising, in per cent; the last one is beyond what is said. */
const BANDS = [55, 60, 65, 70, 75, 80]

/**
 * `npm run bench -- quality-whole --pictures FOLDER`: how often the names of whole pictures are right, by what was judged by eye in
 * packages/vision/quality/whole.jsonl. The pictures are found as those of `quality` are.
 */
export async function qualityWhole(
  folders: readonly string[],
  file = join(import.meta.dirname, '../packages/vision/quality/whole.jsonl'),
  vision: Pick<Vision, 'see' | 'stop'> = createVision(),
): Promise<object[]> {
  const all = linesOf<Judged>(file)
  const files = filesIn(folders, all)
  const pictureOf = pictureReader()
  const results: Seen[] = []
  try {
    for (const judged of all) {
      const found = files.get(judged.sha256)
      if (found !== undefined)
        results.push({ judged, said: saidIn(await vision.see(await pictureOf(readFileSync(found)))) })
    }
  } finally {
    await vision.stop()
  }
  if (results.length === 0) return []
  for (const line of wrongNames(results)) console.log(`  ${line}`)
  return scores(results)
}

/** What is said of the picture as a whole, with how sure it is. */
const saidIn = (sight: Sight): Label[] =>
  labelsOf({ ...sight, things: [], faces: [], added: [] }).filter(
    ({ Confidence }) => Confidence >= (BANDS[0] ?? 0),
  )

type Seen = { judged: Judged; said: Label[] }

/** How often the names of whole pictures are right, from each confidence on; what was not judged is counted apart. */
function scores(results: Seen[]): object[] {
  const setOf = ({ odd, test }: Judged): string => (odd ? 'no photos' : test ? 'photos, test' : 'photos, fit')
  const sets = Map.groupBy(results, ({ judged }) => setOf(judged))
  return [...sets].flatMap(([set, own]) =>
    BANDS.slice(0, -1).map((from, at) => {
      const to = BANDS[at + 1] ?? 100
      let [right, wrong, unjudged, named] = [0, 0, 0, 0]
      for (const { judged, said } of own) {
        const above = said.filter(({ Confidence }) => Confidence >= from)
        if (above.some(({ Name }) => judged.right.includes(Name))) named += 1
        for (const { Name, Confidence } of above) {
          if (Confidence >= to) continue
          if (judged.right.includes(Name)) right += 1
          else if (judged.wrong.includes(Name)) wrong += 1
          else if (!judged.unclear.includes(Name)) unjudged += 1
        }
      }
      const precision = right + wrong === 0 ? '–' : Number((right / (right + wrong)).toFixed(3))
      const rightly = { 'pictures rightly named from here on': named }
      return {
        set,
        confidence: `${from} – ${to}`,
        pictures: own.length,
        right,
        wrong,
        precision,
        unjudged,
        ...rightly,
      }
    }),
  )
}

/** Each wrong name that is said, with its picture. */
const wrongNames = (results: Seen[]): string[] =>
  results.flatMap(({ judged, said }) =>
    said
      .filter(({ Name }) => judged.wrong.includes(Name))
      .map(({ Name, Confidence }) => `${judged.from} ${judged.path}: ${Name} ${Confidence.toFixed(0)}`),
  )
