import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'

const root = join(import.meta.dirname, '..')

// They run on machines of GitHub only, so here they are read.
const workflows = globSync(['.github/workflows/*.yml', 'examples/pipeline/*.yml'], { cwd: root }).map(
  (name) => ({
    name,
    text: readFileSync(join(root, name), 'utf8'),
  }),
)

it('workflows name the actions of others by the hash of a commit, and may write only to make a release', () => {
  expect(workflows.map(({ name }) => name).sort()).toEqual([
    '.github/workflows/ci.yml',
    '.github/workflows/release.yml',
    'examples/pipeline/deploy.yml',
  ])
  for (const { name, text } of workflows) {
    const used = [...text.matchAll(/uses: *(\S+)/g)].map(([, action = '']) => action)
    expect(used.length).toBeGreaterThan(0)
    expect(
      used.filter((action) => !/^[\w-]+\/[\w-]+@[0-9a-f]{40}$/.test(action)),
      name,
    ).toEqual([])
    expect(text).toMatch(/^permissions: \{ contents: read \}$/m)
    // In what a shell runs, text of a branch or a title would be run too.
    const scripts = [...text.matchAll(/run: (.*(?:\n {10,}.*)*)/g)].map(([, script = '']) => script)
    expect(scripts.filter((script) => script.includes('${{'))).toEqual([])
  }
  const writing = workflows.flatMap(({ text }) => [...text.matchAll(/contents: write/g)])
  expect(writing).toHaveLength(1)
})

it('workflows run only scripts that there are', () => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const called = workflows.flatMap(({ text }) =>
    [...text.matchAll(/npm run ([\w-]+)/g)].map(([, script = '']) => script),
  )
  expect(called).toContain('deploy-check')
  expect(called.filter((script) => !(script in scripts))).toEqual([])
})

it('all tests run on Node 24 too, without npm, whose scripts would take Node 22', () => {
  const [{ text } = { text: '' }] = workflows.filter(({ name }) => name.endsWith('/ci.yml'))
  expect(text).toMatch(/node-version: 24 \}\n {6}- run: npm ci .*\n {6}- run: node .*run\.js test\/run\.ts$/m)
})
