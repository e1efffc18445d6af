import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as z from 'zod'
import { ROOT } from './bundle.ts'
import { EMULATORS, type EmulatorName } from './emulators.ts'

/** What the last `npm run deploy-check -- --note` has seen of each emulator, and the table that follows from it. */
const SEEN = 'infrastructure/emulators/seen.json'

const seenSchema = z.object({
  /** YYYY-MM-DD */
  date: z.string(),
  version: z.string(),
  passed: z.int(),
  failed: z.int(),
  /** Names of steps, by the reason that they have in common. */
  skipped: z.record(z.string(), z.string()),
  /** What failed, and why. */
  refused: z.record(z.string(), z.string()),
  secondPlan: z.string().optional(),
})
type Seen = z.infer<typeof seenSchema>
const allSchema = z.partialRecord(z.enum(Object.keys(EMULATORS) as [EmulatorName]), seenSchema)

const readSeen = () => allSchema.parse(JSON.parse(readFileSync(join(ROOT, SEEN), 'utf8')))

/** How a step of the check has ended. */
export interface Step {
  name: string
  end: 'passed' | 'failed' | 'skipped'
  /** What the step has found, why it was skipped, or how it failed. */
  said: string
}

export function seenOf(date: string, version: string, steps: Step[]): Seen {
  const ended = (end: Step['end']) => steps.filter((step) => step.end === end)
  const skipped: Seen['skipped'] = {}
  for (const { name, said } of ended('skipped'))
    skipped[said] = said in skipped ? `${skipped[said]}, ${name}` : name
  const secondPlan = ended('passed').find(({ name }) => name === 'second plan')?.said
  return {
    date,
    version,
    passed: ended('passed').length,
    failed: ended('failed').length,
    skipped,
    refused: Object.fromEntries(ended('failed').map(({ name, said }) => [name, said.split('\n')[0] ?? ''])),
    ...(secondPlan === undefined ? {} : { secondPlan }),
  }
}

/** Writes down what was seen, in place of what was seen of this emulator before. */
export function noteSeen(emulator: EmulatorName, seen: Seen): void {
  writeFileSync(join(ROOT, SEEN), `${JSON.stringify({ ...readSeen(), [emulator]: seen }, undefined, 2)}\n`)
}

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ')

export function rowOf(title: string, seen: Seen | undefined): string {
  if (seen === undefined) return `| ${title} | not seen yet | | | |`
  const { date, version, passed, failed, skipped, refused, secondPlan = '' } = seen
  const steps = passed + failed + Object.values(skipped).flatMap((names) => names.split(', ')).length
  const lacks = [
    ...Object.entries(skipped).map(([why, names]) => `${names}: ${why}`),
    ...Object.entries(refused).map(([name, why]) => `**${name}** failed: ${why}`),
  ]
  const cells = [`${title} ${version}`, date, `${passed} of ${steps}`, lacks.join('; '), secondPlan]
  return `| ${cells.map(cell).join(' | ')} |`
}

/** The table of infrastructure/README.md. */
export function seenTable(): string {
  const all = readSeen()
  return [
    '| emulator | seen on | steps passed | lacks or refuses | second plan |',
    '|---|---|---|---|---|',
    ...(Object.keys(EMULATORS) as EmulatorName[]).map((name) => rowOf(EMULATORS[name].title, all[name])),
    '',
  ].join('\n')
}
