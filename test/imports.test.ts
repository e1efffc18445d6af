import { globSync, readFileSync } from 'node:fs'
import { dirname, relative, resolve } from 'node:path'
import { expect, it } from 'vitest'

const root = resolve(import.meta.dirname, '..')

/** What each folder may import besides itself. The tree is the data flow, and this keeps it one. */
const MAY_IMPORT: Record<string, string[]> = {
  packages: [],
  shared: [],
  api: ['shared', 'packages'],
  worker: ['shared', 'packages'],
  sweeper: ['shared'],
  local: ['shared', 'packages', 'api', 'worker', 'sweeper'],
}

const importsOf = (file: string): string[] =>
  [...readFileSync(resolve(root, file), 'utf8').matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)].map(
    ([, path = '']) => relative(root, resolve(root, dirname(file), path)),
  )

it.each(Object.entries(MAY_IMPORT))('%s imports itself and %j only', (folder, allowed) => {
  const files = globSync(`${folder}/**/*.ts`, { cwd: root })
  expect(files.length).toBeGreaterThan(0)
  const wrong = files.flatMap((file) =>
    importsOf(file)
      .filter((path) => ![folder, ...allowed].includes(path.split('/')[0] ?? ''))
      .map((path) => `${file} → ${path}`),
  )
  expect(wrong).toEqual([])
})

it('a package is entered by its index.ts only', () => {
  const files = globSync('{api,worker,sweeper,local,test,bench,packages}/**/*.ts', { cwd: root })
  const packageOf = (path: string): string | undefined => /^packages\/[^/]+\//.exec(path)?.[0]
  const wrong = files.flatMap((file) =>
    importsOf(file)
      .filter((path) => packageOf(path) !== undefined && packageOf(path) !== packageOf(file))
      .filter((path) => path !== `${packageOf(path)}index.ts`)
      .map((path) => `${file} → ${path}`),
  )
  expect(wrong).toEqual([])
})

it('only one file decodes images on AWS, and only two more do so locally', () => {
  const users = globSync('{shared,api,worker,sweeper,local}/**/*.ts', { cwd: root }).filter((file) =>
    /from 'sharp'/.test(readFileSync(resolve(root, file), 'utf8')),
  )
  expect(users.sort()).toEqual(['local/measure.ts', 'worker/thumbnail.ts'])
})

it.each(['api/handler.ts', 'worker/handler.ts', 'sweeper/handler.ts'])(
  '%s reaches at most 19 files, 4 deep or less, with the doors of packages',
  (entry) => {
    const depth = new Map([[entry, 0]])
    for (const [file, level] of depth) {
      if (file.startsWith('packages/')) continue
      for (const path of importsOf(file)) if (!depth.has(path)) depth.set(path, level + 1)
    }
    expect(depth.size).toBeLessThanOrEqual(19)
    expect(Math.max(...depth.values())).toBeLessThanOrEqual(4)
  },
)

/** The names of formats: one file without imports, which the page has too. */
const FORMATS = 'shared/format.ts'

it.each(['cli', 'examples'])('%s imports itself, formats, and types of shared and api only', (folder) => {
  expect(importsOf(FORMATS)).toEqual([])
  const files = globSync(`${folder}/**/*.ts`, { cwd: root })
  expect(files.length).toBeGreaterThan(0)
  const wrong = files.flatMap((file) => {
    const source = readFileSync(resolve(root, file), 'utf8')
    const types = [...source.matchAll(/import type [^']*'(\.[^']+)'/g)].map(([, path = '']) =>
      relative(root, resolve(root, dirname(file), path)),
    )
    return importsOf(file)
      .filter((path) => !path.startsWith(`${folder}/`) && path !== FORMATS)
      .filter((path) => !(/^(shared|api)\//.test(path) && types.includes(path)))
      .map((path) => `${file} → ${path}`)
  })
  expect(wrong).toEqual([])
})
