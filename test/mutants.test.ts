import { existsSync, readFileSync } from 'node:fs'
import { stripTypeScriptTypes } from 'node:module'
import { join, resolve } from 'node:path'
import { expect, it } from 'vitest'
import { MUTANTS } from './mutants.ts'

const root = resolve(import.meta.dirname, '..')

it.each(MUTANTS)('the mutant "$name" can be made of the code as it is', ({ file, from, to, tests = [] }) => {
  const parts = readFileSync(join(root, file), 'utf8').split(from)
  expect(parts.length - 1, `times that what it replaces stands in ${file}`).toBe(1)
  expect(() => stripTypeScriptTypes(parts.join(to)), 'it can be read').not.toThrow()
  expect(tests.filter((test) => !existsSync(join(root, test)))).toEqual([])
})

it('no two mutants are called the same', () => {
  const names = MUTANTS.map(({ name }) => name)
  expect(names.filter((name, at) => names.indexOf(name) !== at)).toEqual([])
})
