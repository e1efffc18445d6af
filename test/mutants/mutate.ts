import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { copyProject } from '../copy.ts'
import { type Outcome, readReport } from '../report.ts'
import { MUTANTS, type Mutant, simulation } from './mutants.ts'
import { mutateMade } from './mutate-made.ts'

/**
 * `npm run mutants [-- name …]`: takes each guard out of the code, one at a time in a copy, and demands that an assertion
 * fails. A time-out, or an error of a set-up or of a test itself, kills nothing: it says that nothing was asked.
 * Ends with `M of M killed`, and exit code 1 if one is not. `--made` has mutants of its own: see mutate-made.ts.
 */
const root = resolve(import.meta.dirname, '../..')
/** Two, because a test file is one process and hardly waits. */
const AT_ONCE = 2
const KILLED = 'killed  '

if (process.argv[2] === '--help' || process.argv[2] === '-h') {
  console.log(`npm run mutants [-- name …]
npm run mutants -- --made [file | file:line …]

Takes each guard of test/mutants/mutants.ts out of a copy of the code, or those with such names, and demands that a test fails.
--made makes mutants by rule, of these files.`)
  process.exit(0)
}
const wanted = process.argv.slice(2)
if (wanted[0] === '--made') {
  const given = wanted.slice(1)
  const missing = given.find((one) => !existsSync(one.split(':')[0] ?? ''))
  if (missing !== undefined) {
    console.error(`There is no file ${missing}: --made takes paths from the folder of the project.`)
    process.exit(2)
  }
  await mutateMade(given)
  process.exit()
}
const unknown = wanted.find((part) => !MUTANTS.some(({ name }) => name.includes(part)))
if (unknown !== undefined) {
  console.error(
    `No mutant has "${unknown}" in its name: npm run mutants takes names of test/mutants/mutants.ts, or --made.`,
  )
  process.exit(2)
}
const mutants = MUTANTS.filter(
  ({ name }) => wanted.length === 0 || wanted.some((part) => name.includes(part)),
)
const left: string[] = []
const copies: string[] = []
let healthy: Promise<Outcome> | undefined
const waiting = [...mutants]
process.setMaxListeners(0)
process.on('exit', () => {
  for (const copy of copies) rmSync(copy, { recursive: true, force: true })
})
process.on('SIGINT', () => process.exit(130))

await Promise.all(Array.from({ length: Math.min(AT_ONCE, mutants.length) }, work))
for (const line of left) console.log(line)
console.log(`${mutants.length - left.length} of ${mutants.length} killed`)
process.exitCode = left.length === 0 ? 0 : 1

async function work(): Promise<void> {
  const copy = mkdtempSync(join(tmpdir(), 'image-analyzer-mutant-'))
  copies.push(copy)
  copyProject(copy)
  // Red tests prove nothing where they are red anyway.
  const tests = [...new Set(mutants.flatMap((mutant) => mutant.tests ?? simulation))]
  healthy ??= run(copy, tests)
  if ((await healthy).failed > 0) {
    console.error(`Without a mutant these are not green: ${tests.join(' ')}`)
    process.exit(1)
  }
  for (let mutant = waiting.shift(); mutant !== undefined; mutant = waiting.shift()) {
    const began = performance.now()
    const verdict = await judge(copy, mutant)
    const seconds = ((performance.now() - began) / 1000).toFixed(0)
    const line = `${verdict}  ${mutant.name}`
    console.log(`${line} (${seconds} s)`)
    if (verdict !== KILLED) left.push(line)
  }
}

async function judge(copy: string, { file, from, to, tests = simulation, rule }: Mutant): Promise<string> {
  const path = join(copy, file)
  const original = readFileSync(path, 'utf8')
  writeFileSync(
    path,
    original.replace(from, () => to),
  )
  try {
    const first = await run(copy, tests, ['--bail=1'])
    if (first.failed === 0) return 'SURVIVED'
    const refuted = first.refuted.length > 0 || (await run(copy, tests)).refuted.length > 0
    if (!refuted) return 'ERROR   '
    if (rule === undefined) return KILLED
    // Only the rule kills it, and no other part of these tests.
    return (await run(copy, tests, [], { WITHOUT: rule })).failed === 0 ? KILLED : 'NOT BY IT'
  } finally {
    writeFileSync(path, original)
  }
}

async function run(cwd: string, tests: string[], more: string[] = [], env = {}): Promise<Outcome> {
  const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs')
  const report = join(cwd, 'report.json')
  // That of a run before is none of this one.
  rmSync(report, { force: true })
  const args = [vitest, 'run', '--reporter=json', `--outputFile=${report}`, ...more, ...tests]
  const child = spawn(process.execPath, args, {
    cwd,
    stdio: 'ignore',
    // Fewer schedules than in `npm test` show the faults that are looked for, but every single fault may be needed.
    env: { SCHEDULES: '400', PART: '1', ...process.env, ...env },
  })
  const kill = (): boolean => child.kill()
  process.once('exit', kill)
  const status = await new Promise((ended) => child.once('exit', ended))
  process.off('exit', kill)
  return readReport(report, status === 0, more.length > 0)
}
