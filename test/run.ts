import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

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
try {
  const result = JSON.parse(readFileSync(report, 'utf8')) as {
    numPassedTests: number
    numFailedTests: number
    numPendingTests: number
    testResults: { assertionResults: { status: string; fullName: string }[] }[]
  }
  passed += result.numPassedTests
  failed += result.numFailedTests
  skipped += result.numPendingTests
  const names = result.testResults
    .flatMap((file) => file.assertionResults)
    .filter((test) => test.status === 'skipped' || test.status === 'pending')
    .map((test) => test.fullName)
  if (names.length > 0) console.log(`\nSkipped:\n  ${names.join('\n  ')}`)
  // A file that cannot be loaded, or an error outside any test, fails the run without failing a test.
  if (!green && result.numFailedTests === 0) failed += 1
} catch {
  failed += 1
}
rmSync(folder, { recursive: true })
console.log(`\n${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
process.exitCode = failed === 0 && green ? 0 : 1
