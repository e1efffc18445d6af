import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { transformSync } from 'esbuild'
import { expect, it } from 'vitest'
import { EQUIVALENT } from '../mutants/equivalent.ts'
import { mutantsOf } from '../mutants/made.ts'
import { MUTANTS } from '../mutants/mutants.ts'
import { TESTS_OF } from '../mutants/mutate-made.ts'

const root = resolve(import.meta.dirname, '../..')

it.each(MUTANTS)('the mutant "$name" can be made of the code as it is', ({ file, from, to, tests = [] }) => {
  const parts = readFileSync(join(root, file), 'utf8').split(from)
  expect(parts.length - 1, `times that what it replaces stands in ${file}`).toBe(1)
  // A property that stands there twice, for example: the second would undo the mutant.
  const { warnings } = transformSync(parts.join(to), { loader: 'ts' })
  expect(warnings.map(({ text }) => text)).toEqual([])
  expect(tests.filter((test) => !existsSync(join(root, test)))).toEqual([])
})

it('no two mutants are called the same', () => {
  const names = MUTANTS.map(({ name }) => name)
  expect(names.filter((name, at) => names.indexOf(name) !== at)).toEqual([])
})

it('every file of shared/ and sweeper/ has tests that kill its made mutants', () => {
  const files = ['shared', 'sweeper'].flatMap((folder) =>
    readdirSync(join(root, folder))
      .filter((name) => name.endsWith('.ts'))
      .map((name) => `${folder}/${name}`),
  )
  expect(files.filter((file) => TESTS_OF[file] === undefined)).toEqual([])
  const tests = Object.values(TESTS_OF).flat()
  expect(tests.filter((name) => !existsSync(join(root, `test/${name}.test.ts`)))).toEqual([])
})

it('what test/mutants/equivalent.ts gives a reason for can be made of the code as it is', () => {
  const made = new Set(
    Object.keys(TESTS_OF).flatMap((file) =>
      mutantsOf(file).mutants.map(({ line, of, to }) => JSON.stringify([file, line, of, to])),
    ),
  )
  const stale = EQUIVALENT.filter(({ file, line, of, to }) => !made.has(JSON.stringify([file, line, of, to])))
  expect(stale).toEqual([])
})
