import { type ChildProcess, spawn } from 'node:child_process'
import {
  createWriteStream,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { finished } from 'node:stream/promises'
import { copyProject } from '../copy.ts'
import { EQUIVALENT } from './equivalent.ts'
import { type MadeMutant, mutantsOf } from './made.ts'

const root = resolve(import.meta.dirname, '../..')

/** The files that have mutants, and the tests that are near to each, which have to kill them, the quickest first. */
export const TESTS_OF: Record<string, string[]> = {
  'api/deps.ts': ['api/auth', 'api/api', 'deployment/lambda', 'api/isolation', 'proof/rules'],
  'shared/aws.ts': ['system/config', 'worker/in-place'],
  'shared/config.ts': ['system/config'],
  'packages/image-guard/format.ts': ['worker/format'],
  'shared/image.ts': ['api/record', 'api/event'],
  'shared/messages.ts': ['api/record', 'api/event'],
  'shared/labels.ts': ['api/labels', 'proof/transitions'],
  'shared/table.ts': [
    'proof/transitions',
    'api/record',
    'api/labels',
    'deployment/version-before',
    'api/quota',
    'api/idempotency',
    'api/analyses',
  ],
  'shared/log.ts': ['worker/log', 'system/config'],
  'shared/machine.ts': ['worker/log', 'rekognition/rekognition-alone', 'system/start'],
  'shared/lifecycle.ts': ['proof/transitions', 'worker/sweeper'],
  'sweeper/deps.ts': ['deployment/lambda'],
  'sweeper/handler.ts': ['deployment/lambda'],
  'sweeper/sweep.ts': ['worker/sweeper', 'api/labels'],
  'packages/embedded-aws/gateway/admission.ts': ['../packages/embedded-aws/test/admission'],
  'packages/embedded-aws/gateway/one-by-one.ts': ['../packages/embedded-aws/test/one-by-one'],
  'packages/embedded-aws/gateway/port.ts': [
    '../packages/embedded-aws/test/port',
    '../packages/embedded-aws/test/slow-bodies',
  ],
  'packages/embedded-aws/gateway/signature.ts': ['system/gateway'],
  'packages/embedded-aws/gateway/slow-bodies.ts': ['../packages/embedded-aws/test/slow-bodies'],
  'packages/embedded-aws/gateway/strangers.ts': ['../packages/embedded-aws/test/strangers'],
}
const TESTS = [...new Set(Object.values(TESTS_OF).flat())]

/** Mutants that are asked of one test in one run of vitest. */
const AT_ONCE = 40
/** A loop that never ends lets no time-out through: so long does a run go on without any answer. */
const PATIENCE_MS = 300_000

/**
 * `npm run mutants -- --made [file | file:line …]`: makes mutants by rule, and demands of each that an assertion fails, or
 * a reason in test/mutants/equivalent.ts why it is none. Ends with `… killed, … equivalent, 0 survived`. TESTS=api/auth,api/labels asks
 * these instead of those that are near.
 */
export async function mutateMade(given: string[]): Promise<void> {
  const wanted = given.map((name) => name.split(':') as [file: string, line?: string])
  const files = given.length > 0 ? [...new Set(wanted.map(([file]) => file))] : Object.keys(TESTS_OF)
  const isWanted = ({ file, number }: MadeMutant): boolean =>
    given.length === 0 ||
    wanted.some(([name, line]) => name === file && (line === undefined || Number(line) === number))
  const chosen = process.env['TESTS']?.split(',')
  const testsOf = (file: string): string[] => chosen ?? TESTS_OF[file] ?? TESTS
  const tests = (chosen ?? TESTS).filter((test) => files.some((file) => testsOf(file).includes(test)))

  const copy = mkdtempSync(join(tmpdir(), 'image-analyzer-made-'))
  let running: ChildProcess | undefined
  process.on('exit', () => {
    if (running !== undefined) end(running)
    rmSync(copy, { recursive: true, force: true })
  })
  process.on('SIGINT', () => process.exit(130))
  copyProject(copy)
  const folder = join(copy, 'test', 'made')
  const marks = join(copy, 'marks')
  const talk = join(copy, 'vitest.log')

  /** Runs wrappers, which are test files of their own and leave marks. @returns the marks, and whether all was well */
  const run = async (
    wrappers: Map<string, string>,
    env: Record<string, string> = {},
  ): Promise<{ left: Set<string>; green: boolean }> => {
    for (const path of [folder, marks]) {
      rmSync(path, { recursive: true, force: true })
      mkdirSync(path)
    }
    for (const [name, code] of wrappers) writeFileSync(join(folder, `${name}.test.ts`), code)
    const log = createWriteStream(talk)
    const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs')
    const child = spawn(
      process.execPath,
      [vitest, 'run', '--config', 'test/mutants/made.config.ts', 'test/made/'],
      {
        cwd: copy,
        stdio: ['ignore', 'pipe', 'pipe'],
        // A group of its own, which ends as a whole.
        detached: true,
        env: {
          SCHEDULES: '60',
          PART: '20',
          NO_COLOR: '1',
          ...process.env,
          MADE: files.join(','),
          MARKS: marks,
          ...env,
        },
      },
    )
    running = child
    child.stdout.pipe(log, { end: false })
    child.stderr.pipe(log, { end: false })
    let answers = 0
    let since = performance.now()
    const watch = setInterval(() => {
      const now = readdirSync(marks).length
      if (now !== answers) since = performance.now()
      answers = now
      if (performance.now() - since > PATIENCE_MS) end(child)
    }, 5_000)
    const status = await new Promise((ended) => child.once('close', ended))
    clearInterval(watch)
    running = undefined
    log.end()
    await finished(log)
    return { left: new Set(readdirSync(marks)), green: status === 0 }
  }
  const lastWords = (): string => readFileSync(talk, 'utf8').slice(-3_000)

  const mutants = files.flatMap((file) => mutantsOf(file).mutants).filter(isWanted)
  const key = ({ file, line, of, to }: Omit<MadeMutant, 'id' | 'number'>): string =>
    JSON.stringify([file, line, of, to])
  const reasons = new Map(EQUIVALENT.map((one) => [key(one), one.why]))
  const made = new Set(files.flatMap((file) => mutantsOf(file).mutants).map(key))
  const stale = EQUIVALENT.filter((one) => files.includes(one.file) && !made.has(key(one)))
  for (const { file, of, to } of stale)
    console.log(`NO MUTANT  ${file}  ${of} → ${to} (test/mutants/equivalent.ts)`)
  let alive = mutants.filter((mutant) => !reasons.has(key(mutant)))
  const equivalent = mutants.length - alive.length
  console.log(`${mutants.length} mutants of ${files.join(', ')}; ${equivalent} of them equivalent`)

  // Without any of them on: which test meets which, and whether all are green.
  const { green } = await run(
    new Map(
      tests.map((test) => [
        flat(test),
        `import { afterAll } from 'vitest'
import { writeFileSync } from 'node:fs'
const met = () => [...(globalThis.madeMutants?.met ?? [])]
let imported = []
afterAll(() => {
  writeFileSync(\`\${process.env['MARKS']}/${flat(test)}\`, JSON.stringify({ imported, met: met() }))
})
await import('../${test}.test.ts')
imported = met()`,
      ]),
    ),
  )
  if (!green) throw new Error(`Without a mutant these are not green: ${tests.join(', ')}\n${lastWords()}`)
  const reached = new Map(
    tests.map((test) => {
      const { imported, met } = JSON.parse(readFileSync(join(marks, flat(test)), 'utf8')) as Reached
      return [test, { imported: new Set(imported), met: new Set(met) }]
    }),
  )

  const unasked = new Set<MadeMutant>()
  /** @returns those that live on */
  const ask = async (
    test: string,
    part: MadeMutant[],
    env: Record<string, string>,
  ): Promise<MadeMutant[]> => {
    if (part.length === 0) return []
    const { left } = await run(new Map(part.map((mutant) => [nameOf(mutant), wrapper(test, mutant)])), env)
    const silent = part.filter((mutant) => !left.has(`${nameOf(mutant)}.begun`))
    for (const mutant of part) unasked.delete(mutant)
    for (const mutant of silent) unasked.add(mutant)
    if (silent.length > 0) console.log(`vitest has ended before ${silent.length} were asked. ${lastWords()}`)
    return part.filter((mutant) => !left.has(`${nameOf(mutant)}.refuted`))
  }
  for (const test of tests) {
    const { imported, met } = reached.get(test) ?? {}
    const here = alive.filter(({ file, id }) => testsOf(file).includes(test) && met?.has(`${file}:${id}`))
    for (let from = 0; from < here.length; from += AT_ONCE) {
      const part = here.slice(from, from + AT_ONCE)
      // What runs on import has run, in a process that another has used before.
      const early = part.filter(({ file, id }) => imported?.has(`${file}:${id}`))
      const late = part.filter((mutant) => !early.includes(mutant))
      const left = await ask(test, late, { SHARED: '1' })
      const survivors = new Set(await ask(test, [...early, ...left], {}))
      alive = alive.filter((mutant) => !part.includes(mutant) || survivors.has(mutant))
      console.log(`${test}: ${from + part.length} of ${here.length} asked; ${alive.length} are left of all`)
    }
  }
  for (const mutant of alive) {
    const { file, number, of, to } = mutant
    const verdict = unasked.has(mutant) ? 'NOT ASKED' : 'SURVIVED'
    console.log(`${verdict}  ${file}:${number}  ${oneLine(of)} → ${oneLine(to)}`)
  }
  const killed = mutants.length - equivalent - alive.length
  console.log(`${killed} killed, ${equivalent} equivalent, ${alive.length} survived`)
  if (process.env['MADE_REPORT']) writeFileSync(process.env['MADE_REPORT'], JSON.stringify(alive, null, 2))
  process.exitCode = alive.length + stale.length === 0 ? 0 : 1
}

function end({ pid = 0 }: ChildProcess): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // It has ended.
  }
}

/** Which mutants a test reaches: at import, and later. */
interface Reached {
  imported: string[]
  met: string[]
}

const nameOf = ({ file, id }: MadeMutant): string => `${file.replaceAll(/\W/g, '-')}-${id}`
/** The name of a test as that of a file. */
const flat = (test: string): string => test.replaceAll('/', '-')
const oneLine = (code: string): string => code.replace(/\s+/g, ' ').slice(0, 120)

/** A test file with a mutant on, which ends with the first assertion that fails, or the second test that comes to no end. */
const wrapper = (test: string, mutant: MadeMutant): string => `import { beforeEach } from 'vitest'
import { writeFileSync } from 'node:fs'
import { isAssertion } from '../report.ts'
const on = '${mutant.file}:${mutant.id}'
process.env['MUTANT'] = on
globalThis.madeMutants = { met: new Set(), on, times: 0 }
const mark = (name) => writeFileSync(\`\${process.env['MARKS']}/${nameOf(mutant)}.\${name}\`, '')
mark('begun')
let refuted = false
let late = 0
beforeEach(({ skip, onTestFailed }) => {
  skip(refuted || late > 1)
  onTestFailed(({ task }) => {
    // That of a property is the cause of what fast-check throws.
    const stacks = (task.result?.errors ?? []).flatMap(({ stack, cause }) => [stack ?? '', cause?.stack ?? ''])
    if (stacks.some((stack) => /timed out|OutOfPatience/.test(stack))) late += 1
    if (!stacks.some(isAssertion)) return
    refuted = true
    mark('refuted')
  })
})
await import('../${test}.test.ts?${mutant.id}')`
