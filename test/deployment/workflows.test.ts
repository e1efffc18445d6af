import { spawnSync } from 'node:child_process'
import { existsSync, globSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { delimiter, join } from 'node:path'
import { build } from 'esbuild'
import { expect, it } from 'vitest'
import { newFolder } from '../started.ts'
import { skipped, without } from '../tools.ts'

const root = join(import.meta.dirname, '../..')

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

const PARSER = '@actions/workflow-parser'
/** `npm install --no-save @actions/workflow-parser` brings it: GitHub's own, 7 MB. */
const lacking = existsSync(join(root, 'node_modules', PARSER)) ? [] : [PARSER]

/** The part of it that is asked. */
interface Parser {
  NoOperationTraceWriter: new () => object
  parseWorkflow: (
    file: { name: string; content: string },
    trace: object,
  ) => { context: { errors: { getErrors: () => { message: string }[] } }; value?: object }
  /** Adds errors to the context. */
  convertWorkflowTemplate: (context: object, value: object) => Promise<unknown>
}

/** It imports JSON as bundlers do, which Node refuses. */
async function parserOfGitHub(): Promise<Parser> {
  const stdin = { contents: `export * from "${PARSER}"`, resolveDir: root }
  const outfile = join(newFolder(), 'parser.cjs')
  await build({ stdin, bundle: true, format: 'cjs', platform: 'node', outfile })
  return createRequire(import.meta.url)(outfile)
}

it.skipIf(lacking.length > 0)(`workflows are such to the parser of GitHub${skipped(lacking)}`, async () => {
  const { convertWorkflowTemplate, NoOperationTraceWriter, parseWorkflow } = await parserOfGitHub()
  async function faultsOf(content: string): Promise<string[]> {
    const { context, value } = parseWorkflow({ name: 'w', content }, new NoOperationTraceWriter())
    if (value !== undefined) await convertWorkflowTemplate(context, value)
    return context.errors.getErrors().map(({ message }) => message)
  }
  for (const { name, text } of workflows) expect(await faultsOf(text), name).toEqual([])
  const [{ text } = { text: '' }] = workflows.filter(({ name }) => name.startsWith('examples/'))
  for (const [part, wrong, fault] of [
    ['timeout-minutes:', 'timeout:', /Unexpected value 'timeout'/],
    ['event_name ==', 'event_name =', /Unexpected symbol: '='/],
    ['vars.RELEASE', 'variables.RELEASE', /Unrecognized named-value: 'variables'/],
  ] as const) {
    expect(text).toContain(part)
    expect(await faultsOf(text.replace(part, wrong)), wrong).toContainEqual(expect.stringMatching(fault))
  }
})

it('workflows run only scripts that there are', () => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const called = workflows.flatMap(({ text }) =>
    [...text.matchAll(/npm run ([\w-]+)/g)].map(([, script = '']) => script),
  )
  expect(called).toContain('deploy-check')
  expect(called.filter((script) => !(script in scripts))).toEqual([])
})

it('all tests run on Node 24 and 26 too, without npm, whose scripts would take Node 22', () => {
  const [{ text } = { text: '' }] = workflows.filter(({ name }) => name.endsWith('/ci.yml'))
  const [, job = ''] = text.split(/^ {2}newer-node:$/m)
  expect(job).toMatch(/^\s+strategy:[\s\S]*?node: \[24, 26\]$/m)
  expect(job).toMatch(
    /matrix\.node \}\}" \}\n {6}- run: npm ci .*\n {6}- run: node .*run\.js test\/run\.ts$/m,
  )
})

const { text: workflow } = workflows.find(({ name }) => name.startsWith('examples/')) ?? { text: '' }

it('the roles of examples/pipeline let in the jobs that are to have them', () => {
  const terraform = readFileSync(join(root, 'examples/pipeline/main.tf'), 'utf8')
  // As GitHub makes a token's subject (OpenID Connect reference).
  const subjects = workflow
    .split(/^ {2}(?=\w+:$)/m)
    .filter((job) => job.includes('id-token: write'))
    .map((job) => {
      const [, environment] = /^ {4}environment: (\S+)$/m.exec(job) ?? []
      const [, event] = /^ {4}if: github\.event_name == '(\w+)'$/m.exec(job) ?? []
      const run = event === 'push' ? 'ref:refs/tags/v*' : event
      return `"repo:\${var.repository}:${environment === undefined ? run : `environment:${environment}`}"`
    })
  expect(workflow).toContain('push: { tags: ["v*.*.*"] }')
  expect(subjects).toHaveLength(2)
  expect(subjects.filter((subject) => !terraform.includes(subject))).toEqual([])
})

const shell = without('bash', 'jq')
it.skipIf(shell.length > 0)(
  `a job of examples/pipeline has a session of AWS, since its token lasts five minutes${skipped(shell)}`,
  () => {
    const [, step = ''] = /- &credentials\n.*\n {8}run: \|\n((?: {10}.*\n)+)/.exec(workflow) ?? []
    const folder = newFolder()
    const session = { AccessKeyId: 'a', SecretAccessKey: 'b', SessionToken: 'c' }
    for (const [name, script] of [
      ['curl', `echo '{"value":"of-github"}'`],
      ['aws', `case "$*" in *"file://${folder}/token"*) echo '${JSON.stringify(session)}' ;; esac`],
    ] as const)
      writeFileSync(join(folder, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
    const PATH = [folder, process.env['PATH']].join(delimiter)
    const given = join(folder, 'env')
    const env = { PATH, GITHUB_ENV: given, RUNNER_TEMP: folder, AWS_REGION: 'eu-west-1', ROLE: 'r' }
    const { stdout, stderr } = spawnSync('bash', ['--norc', '-e', '-c', step], { env, encoding: 'utf8' })
    expect({ stdout, stderr }).toEqual({ stdout: '::add-mask::b\n::add-mask::c\n', stderr: '' })
    expect(readFileSync(given, 'utf8').trim().split('\n')).toEqual([
      ...['AWS_ACCESS_KEY_ID=a', 'AWS_SECRET_ACCESS_KEY=b', 'AWS_SESSION_TOKEN=c', 'AWS_REGION=eu-west-1'],
    ])
    expect(readFileSync(join(folder, 'token'), 'utf8')).toBe('of-github')
  },
)
