import { relative, resolve } from 'node:path'
import { defineConfig } from 'vitest/config'
import { mutantsOf } from './made.ts'

/** For runs in which made mutants may be on: MADE names the files that have them. */
const root = resolve(import.meta.dirname, '../..')
const files = (process.env['MADE'] ?? '').split(',')

export default defineConfig({
  root,
  plugins: [
    {
      name: 'made mutants',
      enforce: 'pre',
      load: (id) => {
        const file = relative(root, id.split('?')[0] ?? '')
        return files.includes(file) ? mutantsOf(file).code : undefined
      },
    },
  ],
  test: {
    include: ['test/**/*.test.ts'],
    // What hangs is no answer.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    pool: 'forks',
    maxWorkers: 2,
    setupFiles: 'test/setup.ts',
    // Where test files share a process, what they import is there already.
    isolate: process.env['SHARED'] === undefined,
    execArgv: ['--disable-warning=ExperimentalWarning'],
  },
})
