import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { readReport } from './report.ts'

/** Types, lint and all tests, and one line that says how many passed: what `npm test` and continuous integration run. */
const root = fileURLToPath(new URL('..', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'image-analyzer-report-'))
const report = join(folder, 'report.json')
const bin = (name: string): string => join(root, 'node_modules', '.bin', name)

let passed = 0
let failed = 0
let skipped = 0

const running = new Set<ChildProcess>()
let isBrokenOff = false
// A second one ends this process at once.
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => {
    isBrokenOff = true
    for (const child of running) child.kill(signal)
  })

/** Prints what a check says when it ends, so that those which run beside it do not mix with it; or as it comes. */
async function check(name: string, command: string, args: string[], asItComes = false): Promise<boolean> {
  const child = spawn(command, args, {
    cwd: root,
    stdio: ['ignore', asItComes ? 'inherit' : 'pipe', asItComes ? 'inherit' : 'pipe'],
    shell: process.platform === 'win32',
  })
  running.add(child)
  let said = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding('utf8').on('data', (text) => {
      said += text
    })
  const [status] = await once(child, 'close')
  running.delete(child)
  if (isBrokenOff) return false
  console.log(`\n— ${name}: ${status === 0 ? 'passed' : 'failed'}\n${said}`)
  return status === 0
}

const checks = [
  // Four checkers at once, as by default, take twice the time of the processor, which the tests need meanwhile.
  check('types', bin('tsc'), ['--singleThreaded']),
  check('types of the page', bin('tsc'), ['-p', 'web', '--singleThreaded']),
  check('lint', bin('biome'), ['check', '--error-on-warnings', '.']),
]
const tests = [
  'run',
  '--reporter=default',
  '--reporter=json',
  `--outputFile.json=${report}`,
  ...process.argv.slice(2),
]
const green = await check('tests', bin('vitest'), tests, true)
for (const isGreen of await Promise.all(checks)) {
  if (isGreen) passed += 1
  else failed += 1
}
if (isBrokenOff) {
  rmSync(folder, { recursive: true })
  console.log('\nThe tests were broken off.')
  process.exit(130)
}
const list = (what: string, names: string[]): void => {
  if (names.length > 0) console.log(`\n${what}:\n  ${names.join('\n  ')}`)
}
try {
  const tests = readReport(
    report,
    green,
    process.argv.some((argument) => /^(-t|--testNamePattern)/.test(argument)),
  )
  passed += tests.passed
  failed += tests.failed
  skipped += tests.skipped.length
  list('Skipped', tests.skipped)
  list('Not run, which is a failure', tests.lost)
} catch (error) {
  console.error((error as Error).message)
  failed += 1
}
rmSync(folder, { recursive: true })
console.log(`\n${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
process.exitCode = failed === 0 ? 0 : 1
