import { spawnSync } from 'node:child_process'
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

function check(name: string, command: string, args: string[]): boolean {
  console.log(`\n— ${name}`)
  const { status } = spawnSync(command, args, {
    cwd: root,
    stdio: 'inherit',
    shell: process.platform === 'win32',
  })
  return status === 0
}

for (const [name, command, args] of [
  ['types', 'tsc', []],
  ['types of the page', 'tsc', ['-p', 'web']],
  ['lint', 'biome', ['check', '--error-on-warnings', '.']],
] as const) {
  if (check(name, bin(command), [...args])) passed += 1
  else failed += 1
}

const green = check('tests', bin('vitest'), [
  'run',
  '--reporter=default',
  '--reporter=json',
  `--outputFile.json=${report}`,
  ...process.argv.slice(2),
])
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
  console.error(error)
  failed += 1
}
rmSync(folder, { recursive: true })
console.log(`\n${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
process.exitCode = failed === 0 ? 0 : 1
