import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { copyProject } from './copy.ts'
import { EQUIVALENT } from './equivalent.ts'
import { type MadeMutant, mutantsOf } from './made.ts'
import { readRefuted } from './report.ts'

const root = resolve(import.meta.dirname, '..')
const DEFAULT_FILES = ['api/auth.ts', 'shared', 'sweeper', 'local/gateway.ts'].flatMap((name) =>
  name.endsWith('.ts')
    ? [name]
    : readdirSync(join(root, name))
        .filter((file) => file.endsWith('.ts'))
        .map((file) => `${name}/${file}`),
)
/** Those that run the code in their own process, from the quickest on: most mutants die of the first one that meets them. */
const TESTS = process.env['TESTS']?.split(',') ?? [
  ...['event', 'format', 'models', 'auth', 'labels', 'quota', 'sweeper', 'retention', 'clock', 'lambda'],
  ...['idempotency', 'analyses', 'api', 'worker', 'uploads', 'isolation', 'ports', 'simulation'],
]

/**
 * `npm run mutants -- --made [file …]`: makes mutants by rule, and demands of each that an assertion fails, or a reason in
 * test/equivalent.ts why it is none. Ends with `… killed, … equivalent, 0 survived`. TESTS=auth,isolation asks only these.
 */
export async function mutateMade(given: string[]): Promise<void> {
  const files = given.length > 0 ? given : DEFAULT_FILES
  const copy = mkdtempSync(join(tmpdir(), 'image-analyzer-made-'))
  process.on('exit', () => rmSync(copy, { recursive: true, force: true }))
  process.on('SIGINT', () => process.exit(130))
  copyProject(copy)
  const folder = join(copy, 'test', 'made')
  const met = join(copy, 'met')
  mkdirSync(met)

  /** Runs each of the wrappers, which are test files of their own. @returns those of which an assertion failed */
  const run = async (wrappers: Map<string, string>): Promise<Set<string>> => {
    rmSync(folder, { recursive: true, force: true })
    mkdirSync(folder)
    for (const [name, code] of wrappers) writeFileSync(join(folder, `${name}.test.ts`), code)
    const report = join(copy, 'report.json')
    // That of a run before is none of this one.
    rmSync(report, { force: true })
    const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs')
    const args = [
      'run',
      '--config',
      'test/made.config.ts',
      '--reporter=json',
      `--outputFile=${report}`,
      'test/made/',
    ]
    const child = spawn(process.execPath, [vitest, ...args], {
      cwd: copy,
      stdio: 'ignore',
      env: { SCHEDULES: '60', PART: '20', ...process.env, MADE: files.join(',') },
    })
    const kill = (): boolean => child.kill()
    process.once('exit', kill)
    await new Promise((ended) => child.once('exit', ended))
    process.off('exit', kill)
    const { asked, refuted } = readRefuted(report)
    const left = [...wrappers.keys()].filter((name) => !asked.has(name))
    if (left.length > 0)
      throw new Error(`These were not asked, so nothing is known of them: ${left.join(', ')}`)
    return refuted
  }

  const mutants = files.flatMap((file) => mutantsOf(file).mutants)
  const key = ({ file, line, of, to }: Omit<MadeMutant, 'id' | 'number'>): string =>
    JSON.stringify([file, line, of, to])
  const reasons = new Map(EQUIVALENT.map((one) => [key(one), one.why]))
  const made = new Set(mutants.map(key))
  const stale = EQUIVALENT.filter((one) => files.includes(one.file) && !made.has(key(one)))
  for (const { file, of, to } of stale) console.log(`NO MUTANT  ${file}  ${of} → ${to} (test/equivalent.ts)`)
  let alive = mutants.filter((mutant) => !reasons.has(key(mutant)))
  console.log(
    `${mutants.length} mutants of ${files.length} files, ${mutants.length - alive.length} of them equivalent`,
  )

  // Without any of them on: which test meets which, and whether all are green.
  const red = await run(
    new Map(
      TESTS.map((test) => [
        test,
        `import { afterAll } from 'vitest'
import { writeFileSync } from 'node:fs'
afterAll(() => writeFileSync(${JSON.stringify(join(met, test))}, JSON.stringify([...(globalThis.madeMutants?.met ?? [])])))
await import('../${test}.test.ts')`,
      ]),
    ),
  )
  if (red.size > 0) throw new Error(`Without a mutant these are not green: ${[...red].join(', ')}`)

  for (const test of TESTS) {
    const reached = new Set(JSON.parse(readFileSync(join(met, test), 'utf8')) as string[])
    const here = alive.filter(({ file, id }) => reached.has(`${file}:${id}`))
    if (here.length === 0) continue
    const killed = await run(
      new Map(here.map((mutant) => [nameOf(mutant), wrapper(test, `${mutant.file}:${mutant.id}`)])),
    )
    alive = alive.filter((mutant) => !killed.has(nameOf(mutant)))
    console.log(`${test}: ${killed.size} of ${here.length} killed; ${alive.length} left`)
  }
  for (const { file, number, of, to } of alive) {
    console.log(`SURVIVED  ${file}:${number}  ${oneLine(of)} → ${oneLine(to)}`)
  }
  const equivalent = mutants.length - mutants.filter((mutant) => !reasons.has(key(mutant))).length
  console.log(
    `${mutants.length - equivalent - alive.length} killed, ${equivalent} equivalent, ${alive.length} survived`,
  )
  if (process.env['MADE_REPORT']) writeFileSync(process.env['MADE_REPORT'], JSON.stringify(alive, null, 2))
  process.exitCode = alive.length + stale.length === 0 ? 0 : 1
}

const nameOf = ({ file, id }: MadeMutant): string => `${file.replaceAll(/\W/g, '-')}-${id}`
const oneLine = (code: string): string => code.replace(/\s+/g, ' ').slice(0, 120)

/** A test file with a mutant on, which ends with the first assertion that fails. */
const wrapper = (test: string, id: string): string => `import { beforeEach } from 'vitest'
import { isAssertion } from '../report.ts'
process.env['MUTANT'] = '${id}'
let refuted = false
beforeEach(({ skip, onTestFailed }) => {
  skip(refuted)
  onTestFailed(({ task }) => {
    refuted ||= (task.result?.errors ?? []).some((error) => isAssertion(error.stack ?? ''))
  })
})
await import('../${test}.test.ts')`
