import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import {
  createVision,
  hasModeration,
  labelsOf,
  moderationLabelsOf,
  type Sight,
  type Vision,
} from '../packages/vision/index.ts'
import { filesIn, type Labelled, linesOf, pictureReader, type Result, row } from './labelled.ts'
import { confusion, faceScore, isMouthWrong, LARGE_FACE, matchedFaces, mouths } from './quality-faces.ts'

/**
 * `npm run bench -- quality --pictures FOLDER`: how often labels and faces are right, against what was seen by eye in the
 * pictures of packages/vision/quality/labels.jsonl. The pictures are not in the repository; they are found in the folders
 * by their SHA-256. Those that the curves of `models.json` were laid on (`seen`) are reported apart, and of the others
 * those by which they were mended (`fit`: the digest begins with an even digit) from the rest (`test`).
 */
const LABELS = join(import.meta.dirname, '../packages/vision/quality/labels.jsonl')
const CONFIDENCES = [55, 80]
/** 50 is where DetectModerationLabels begins if it is not asked for more or less. */
const MODERATION_CONFIDENCES = [50, 80]

export async function quality(
  folders: readonly string[],
  labels = LABELS,
  vision: Pick<Vision, 'see' | 'moderate' | 'stop'> = createVision(),
): Promise<object[]> {
  const labelled = linesOf<Labelled>(labels)
  const files = filesIn(folders, labelled)
  const results: Result[] = []
  const pictureOf = pictureReader()
  const see = async (bytes: Buffer): Promise<Sight> => vision.see(await pictureOf(bytes))
  if (!hasModeration()) console.log('nsfwjs is not installed, so moderation is not measured.')
  try {
    for (const one of labelled) {
      const file = files.get(one.sha256)
      if (file === undefined) continue
      const picture = await pictureOf(readFileSync(file))
      const sight = await vision.see(picture)
      results.push({
        labelled: one,
        sight,
        ...(hasModeration() && { moderation: await vision.moderate(picture) }),
      })
    }
    if (results.length === 0) return []
    const sets: Record<string, Result[]> = {
      'held out': results.filter(({ labelled }) => labelled.seen !== true),
      'held out, fit': results.filter(({ labelled }) => setOf(labelled) === 'fit'),
      'held out, test': results.filter(({ labelled }) => setOf(labelled) === 'test'),
      seen: results.filter(({ labelled }) => setOf(labelled) === 'seen'),
    }
    const rows = Object.entries(sets).flatMap(([set, own]) => [
      ...CONFIDENCES.flatMap((confidence) => [
        { set, ...labelScore(own, confidence) },
        { set, ...labelScore(own, confidence, (kind) => kind === 'Person') },
        { set, ...labelScore(own, confidence, (kind) => kind !== 'Person') },
      ]),
      { set, ...faceScore(own, 0) },
      { set, ...faceScore(own, LARGE_FACE) },
    ])
    console.table(confusion(results))
    for (const [set, own] of Object.entries(sets)) {
      console.log(`Mouths, ${set}:`)
      console.table(mouths(own))
    }
    console.log(
      `Wrong labels from ${CONFIDENCES[0]} on, for a moderator from ${MODERATION_CONFIDENCES[0]} on, and faces:`,
    )
    for (const result of results) for (const line of wrongIn(result)) console.log(`  ${line}`)
    return [...rows, ...(await emptyScores(results, see)), ...(hasModeration() ? falseAlarms(results) : [])]
  } finally {
    await vision.stop()
  }
}

const setOf = ({ seen, sha256 }: Labelled): 'seen' | 'fit' | 'test' =>
  seen ? 'seen' : Number.parseInt(sha256.slice(0, 1), 16) % 2 === 0 ? 'fit' : 'test'

/** The kinds that are said; what they are kinds of has no instances, and is as right as they are. */
const kindsAbove = (sight: Sight, confidence: number) =>
  labelsOf(sight).filter((label) => label.Instances.length > 0 && label.Confidence >= confidence)

const isWrong = ({ kinds, unclear = [] }: Labelled, kind: string): boolean =>
  !(kind in kinds) && !unclear.includes(kind)

/** Counted once a picture and kind, however many there are of it. */
function labelScore(results: Result[], confidence: number, isMeant: (kind: string) => boolean = () => true) {
  let [right, wrong, present] = [0, 0, 0]
  for (const { labelled, sight } of results) {
    present += Object.keys(labelled.kinds).filter(isMeant).length
    for (const { Name } of kindsAbove(sight, confidence)) {
      if (!isMeant(Name)) continue
      if (Name in labelled.kinds) right += 1
      else if (isWrong(labelled, Name)) wrong += 1
    }
  }
  const which = isMeant('Person') ? (isMeant('Car') ? 'all kinds' : 'people') : 'other kinds'
  return row(`labels ≥ ${confidence}, ${which}`, results.length, right, wrong, present)
}

function wrongIn(result: Result): string[] {
  const { labelled, sight } = result
  const name = `${setOf(labelled)} ${labelled.from} ${labelled.path}`
  const labels = kindsAbove(sight, CONFIDENCES[0] ?? 0)
    .filter(({ Name }) => isWrong(labelled, Name))
    .map(({ Name, Confidence }) => `${name}: ${Name} ${Confidence.toFixed(0)}`)
  const faces = matchedFaces(result)
    .filter(({ is }) => is !== 'right')
    .map(({ is, height }) => `${name}: face ${is}, ${height.toFixed(0)} px`)
  const alarms = alarmsIn(result, MODERATION_CONFIDENCES[0] ?? 0).map(
    ({ Name, Confidence }) => `${name}: ${Name} ${Confidence.toFixed(0)}`,
  )
  const mouths = matchedFaces(result)
    .filter(isMouthWrong)
    .map(({ label, height }) => `${name}: ${label?.mouth} mouth said otherwise, ${height.toFixed(0)} px`)
  return [...labels, ...faces, ...alarms, ...mouths]
}

const alarmsIn = ({ moderation }: Result, confidence: number) =>
  moderation ? moderationLabelsOf(moderation, confidence) : []

/** None of the pictures is one for a moderator. */
function falseAlarms(results: Result[]): object[] {
  const looked = results.filter(({ moderation }) => moderation !== undefined)
  return MODERATION_CONFIDENCES.map((confidence) => ({
    what: `harmless photos with a moderation label ≥ ${confidence}`,
    pictures: looked.length,
    ...Object.fromEntries(
      ['Explicit', 'Suggestive'].map((name) => [
        name,
        looked.filter((one) => alarmsIn(one, confidence).some(({ Name }) => Name === name)).length,
      ]),
    ),
  }))
}

/** Pictures with none of the 80 kinds, and made ones with nothing to see: how many get a label of a kind. */
async function emptyScores(results: Result[], see: (bytes: Buffer) => Promise<Sight>): Promise<object[]> {
  const empty = results.filter(
    ({ labelled: { kinds, unclear = [] } }) => Object.keys(kinds).length + unclear.length === 0,
  )
  const made: Sight[] = []
  for (const background of ['#000', '#777', '#fff', '#c33', '#3c3', '#33c'])
    made.push(await see(await drawn(background)))
  for (const sigma of [10, 30, 60, 120]) made.push(await see(await drawn('#777', sigma)))
  const counted = (what: string, sights: Sight[]) => {
    const said = (confidence: number) =>
      sights.filter((sight) => kindsAbove(sight, confidence).length > 0).length
    const faces = sights.filter((sight) => sight.faces.length > 0).length
    return {
      what,
      pictures: sights.length,
      'with a label ≥ 55': said(55),
      'with a label ≥ 80': said(80),
      'with a face': faces,
    }
  }
  return [
    counted(
      'photos with none of the 80 kinds, held out',
      empty.filter(({ labelled }) => !labelled.seen).map(({ sight }) => sight),
    ),
    counted(
      'photos with none of the 80 kinds, seen',
      empty.filter(({ labelled }) => labelled.seen).map(({ sight }) => sight),
    ),
    counted('flat and noise', made),
  ]
}

const drawn = (background: string, sigma?: number): Promise<Buffer> =>
  sharp({
    create: {
      width: 800,
      height: 600,
      channels: 3,
      background,
      ...(sigma && { noise: { type: 'gaussian', mean: 128, sigma } }),
    },
  })
    .png()
    .toBuffer()
