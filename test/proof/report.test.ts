import { execFile } from 'node:child_process'
import { globSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { readReport } from '../report.ts'

const root = resolve(import.meta.dirname, '../..')
const folder = mkdtempSync(join(tmpdir(), 'image-analyzer-report-test-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** What a run of vitest over a file leaves. */
async function runOf(name: string, file: string): Promise<[report: string, green: boolean]> {
  writeFileSync(
    join(folder, `${name}.test.ts`),
    `import { beforeAll, describe, expect, it } from 'vitest'\n${file}`,
  )
  const report = join(folder, `${name}.json`)
  const args = ['run', name, '--root', folder, '--reporter=json', `--outputFile=${report}`]
  const run = promisify(execFile)(process.execPath, [join(root, 'node_modules/vitest/vitest.mjs'), ...args])
  const green = await run.then(
    () => true,
    () => false,
  )
  return [report, green]
}

let mixed: [string, boolean]
let unloadable: [string, boolean]
beforeAll(async () => {
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'), 'dir')
  ;[mixed, unloadable] = await Promise.all([
    runOf(
      'mixed',
      `
      describe('set-up', () => {
        beforeAll(() => { throw new Error('no such thing') })
        it('is missing', () => {})
      })
      describe.skipIf(true)('a tool (skipped: lacking terraform)', () => it('plans', () => {}))
      it.skip('was forgotten', () => {})
      it('passes', () => {})
      it('is refuted', () => expect(1).toBe(2))
      it('is refuted later', () => expect(Promise.resolve(1)).resolves.toBe(2))
      it('differs from its snapshot', () => expect(1).toMatchInlineSnapshot('2'))
      it('takes too long', { timeout: 1 }, () => new Promise(() => {}))
      it('is broken itself', () => { throw new TypeError('expected 1 to be 2') })`,
    ),
    runOf('unloadable', `it('passes', () => {})\nvoid Promise.reject(new Error('outside of any test'))`),
  ])
})

it('a test whose set-up fails is a failure, and so is one that is skipped without saying what it lacks', () => {
  expect(readReport(...mixed)).toMatchObject({
    ...{ passed: 1, failed: 5 + 2, skipped: ['a tool (skipped: lacking terraform) plans'] },
    lost: ['set-up is missing', 'was forgotten'],
  })
})

it('no test finds out only while it runs that it lacks something, or says it in other words', () => {
  const files = globSync(['test/**/*.test.ts', 'packages/*/test/*.test.ts'], { cwd: root })
  const others = files.filter((file) =>
    /\{ skip \}|\bskip\(['"`]|\(skipped (?!lacking)\w/.test(readFileSync(join(root, file), 'utf8')),
  )
  expect(files.length).toBeGreaterThan(100)
  // This one has a test that was forgotten, for the report.
  expect(others).toEqual(['test/proof/report.test.ts'])
})

it('only an assertion refutes: no time-out, no other error, no set-up', () => {
  expect(readReport(...mixed).refuted).toEqual([
    'is refuted',
    'is refuted later',
    'differs from its snapshot',
  ])
})

it('an error outside of any test is a failure', () => {
  expect(readReport(...unloadable)).toMatchObject({ passed: 1, failed: 1, lost: [], refuted: [] })
})

it('tests that were not chosen are no failures', () => {
  expect(readReport(...mixed, true)).toMatchObject({ failed: 5, lost: [], skipped: [] })
})

it('a report that is missing or cut off is told of in a sentence', () => {
  const cut = join(folder, 'cut.json')
  writeFileSync(cut, '{"testResults":[')
  for (const path of [cut, join(folder, 'none.json')])
    expect(() => readReport(path, false)).toThrow(
      'The tests have no whole report, so they ended early or could not start.',
    )
})
