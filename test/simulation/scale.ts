import { play, preparePictures, type Scenario } from './scenario.ts'

/** Prints the table of docs/scale.md: the project's own worker in virtual time, at Terraform's defaults for 50 calls a second. */

type Image = Scenario['images'][number]
const many = (count: number, everyMs: number, more: Partial<Image> = {}): Image[] =>
  Array.from({ length: count }, (_, index) => ({
    ...{ picture: 'good', at: index * everyMs, key: false, distinct: true, ...more },
  }))
const HOUR = 3_600_000
const few = many(20, 100, { owner: 'other owner' }).map((image) => ({ ...image, at: image.at + 2_000 }))
const ten = { quota: 50, share: 5, settings: { concurrency: 10, comesBack: 0 } }

const CASES: [name: string, scenario: Omit<Scenario, 'seed' | 'faults'>][] = [
  ['1 image a second for ten minutes', { ...ten, images: many(600, 1_000) }],
  ['100 a second for 20 seconds', { ...ten, images: many(2_000, 10) }],
  ['the same, with the quota to be learned', { ...ten, share: undefined, images: many(2_000, 10) }],
  ['2,000 of one owner at once, and 20 of another: the 20', { ...ten, images: [...many(2_000, 1), ...few] }],
  [
    'the same without groups: the 20',
    { ...ten, settings: { ...ten.settings, fairQueues: false }, images: [...many(2_000, 1), ...few] },
  ],
  [
    '500 images, and Rekognition throttles all calls for a day',
    {
      ...{ ...ten, images: many(500, 1_000) },
      outages: [{ name: 'worker Detect*', from: 0, to: 24 * HOUR, fault: 'throttle' }],
    },
  ],
]

const prepared = await preparePictures()
const seconds = (ms = 0): string => {
  if (ms >= HOUR) return `${(ms / HOUR).toFixed(1)} h`
  // Clocks differ by up to 2 s, so an end may come before its submission.
  return ms >= 100_000 ? `${Math.round(ms / 60_000)} min` : `${(Math.max(0, ms) / 1_000).toFixed(1)} s`
}
const print = (line: string): void => void process.stdout.write(`${line}\n`)
print(
  '| | images | last end after last submission | wait p50 | wait p99 | requests of the worker per image | of S3 |',
)
print('|---|---|---|---|---|---|---|')
for (const [name, scenario] of CASES) {
  const { world } = await play({ seed: 1, faults: [], ...scenario }, prepared)
  const records = [...world.dynamo.items.values()].filter(({ original }) => original !== undefined)
  const shown = name.endsWith('the 20') ? records.filter(({ owner }) => owner === 'other owner') : records
  const at = (item: Record<string, unknown>, key: string): number => Date.parse(String(item[key]))
  const waits = shown.map((item) => at(item, 'completedAt') - at(item, 'createdAt')).sort((a, b) => a - b)
  const drained =
    Math.max(...records.map((item) => at(item, 'completedAt'))) -
    Math.max(...records.map((item) => at(item, 'createdAt')))
  const quantile = (part: number): string => seconds(waits[Math.ceil(waits.length * part) - 1])
  const perImage = (name: RegExp): string =>
    (world.calls.filter((call) => name.test(call.name)).length / records.length).toFixed(1)
  print(
    `| ${name} | ${records.length} | ${seconds(drained)} | ${quantile(0.5)} | ${quantile(0.99)} | ${perImage(/^worker /)} | ${perImage(/^worker .*Object$/)} |`,
  )
}
