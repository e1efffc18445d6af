import { execFile, spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import manifest from '../../package.json' with { type: 'json' }
import { outcome } from '../commands.ts'
import { launch, newFolder, ready, root } from '../started.ts'
import { NODE, noFull, noSignals, skipped } from '../tools.ts'

const { scripts } = manifest

/** What no command has, and what it says of it: a command that continues without a word is misunderstood for hours. */
const WRONG: [script: string, args: string[], says: RegExp][] = [
  ['build', ['--wrong'], /^Unknown option '--wrong': npm run build takes --arch, --libc, --heic\.$/],
  ['build', ['--arch', 'abacus'], /^--arch must be arm64 or x64, not abacus\.$/],
  ['build', ['--libc', 'bsd'], /^--libc must be glibc or musl, not bsd\.$/],
  ['build', ['--arch'], /^Option '--arch <value>' argument missing: npm run build takes /],
  ['build', ['arm64'], /^Unexpected argument 'arm64'/],
  ['bench', ['--wrong'], /^Unknown option '--wrong': npm run bench takes --pictures, --count\.$/],
  ['bench', ['constructor'], /^There is no benchmark constructor; there are cold-start, /],
  ['bench', ['vision', '--count', 'many'], /^--count must be a whole number, not many\.$/],
  ['cost', ['--wrong'], /^Unknown option '--wrong': npm run cost takes --images, /],
  ['cost', ['--region', 'constructor'], /^bench\/prices\.ts has no prices of constructor; it has us-east-1/],
  ['cost', ['--people', '40'], /^--people must be a number from 0 to 1, not 40\.$/],
  ['crash', ['--wrong'], /^Unknown option '--wrong': npm run crash takes --seconds, --seed, --worker\.$/],
  ['crash', ['--seconds', 'many'], /^--seconds must be a whole number from 1 on, not many\.$/],
  ['crash', ['--seconds', '0'], /^--seconds must be a whole number from 1 on, not 0\.$/],
  ['simulate', ['--wrong'], /^Unknown option '--wrong': npm run simulate takes --schedules, --seed\.$/],
  ['simulate', ['--schedules', 'many'], /^--schedules must be a whole number, not many\.$/],
  ['corpus', ['--wrong'], /^Unknown option '--wrong': npm run corpus takes --json, /],
  ['corpus', [], /^npm run corpus takes <folder> /],
  ['corpus', ['--make', '/dev/null/here'], /^ENOTDIR: not a directory, mkdir '\/dev\/null\/here/],
  ['mutants', ['--wrong'], /^No mutant has "--wrong" in its name: npm run mutants takes /],
  ['inputs', ['--wrong'], /^Unknown option '--wrong': npm run inputs takes no options\.$/],
  ['release-files', ['--wrong'], /^Unknown option '--wrong': npm run release-files takes --tag\.$/],
  ['release-files', ['--tag', 'v0.0.0'], /^The tag is v0\.0\.0, and package\.json has version /],
  ['deploy-check', ['--wrong'], /^Unknown option '--wrong': npm run deploy-check takes --endpoint, /],
  ['deploy-check', ['--endpoint', 'here'], /^--endpoint must be an address such as .*, not here\.$/],
  ['deploy-check', [], /^npm run deploy-check -- --endpoint [\s\S]+ministack, moto, floci, localstack/],
  ['models', ['--wrong'], /^Unknown option '--wrong': see npm run models -- --help\.$/],
  ['rekognition', ['--wrong'], /^Rekognition cannot start: Unknown option '--wrong'\. See npm run /],
  ['rekognition', ['--port', 'any'], /^Rekognition cannot start: --port must be a number from 0 to 65535, /],
  [
    'worker',
    ['--wrong'],
    /^The worker cannot start: There is no option --wrong: the settings are variables /,
  ],
  [
    'ops',
    ['--wrong'],
    /^Unknown option '--wrong'\.\nnpm run ops -- --help lists the commands and options\.$/,
  ],
  [
    'cli',
    ['--wrong'],
    /^Unknown option '--wrong'\.\nimage-analyzer --help lists the commands and options\.$/,
  ],
  ['subscribers', ['--wrong'], /^There is no option --wrong: npm run subscribers takes labels, /],
  [
    'start',
    ['--port', '3001'],
    /^There is no option --port: npm start takes files; .* PORT=3001 npm start\.$/,
  ],
]

function fileOf(script: string): string {
  const [, named = ''] =
    /(\S+\.[tj]s)$/.exec(Object.entries(scripts).find(([name]) => name === script)?.[1] ?? '') ?? []
  // The command line's own start only chooses between sources and what is built of them.
  return named === 'packages/client/bin.js' ? 'packages/client/main.ts' : named
}

it.each(WRONG)(
  'npm run %s %j says in a sentence what is wrong, and is no success',
  async (script, args, says) => {
    const { exit, said } = await outcome(fileOf(script), args)
    expect(said).toMatch(says)
    expect(said).not.toMatch(/^ +at /m)
    expect([1, 2]).toContain(exit)
  },
)

it.each([...new Set(WRONG.map(([script]) => script))])(
  'npm run %s -- --help prints what it is for and each of its options, and -h the same',
  async (script) => {
    const file = fileOf(script)
    const { exit, said, printed } = await outcome(file, ['--help'])
    expect([said, exit ?? 0]).toEqual(['', 0])
    expect(printed).toMatch(script === 'cli' ? /^image-analyzer / : new RegExp(`^npm (run )?${script}\\b`))
    expect((await outcome(file, ['-h'])).printed).toBe(printed)
    const takes = / takes (--.*)\.$/.exec((await outcome(file, ['--wrong'])).said)?.[1]?.split(', ') ?? []
    expect(takes.filter((option) => !printed.includes(` ${option}`))).toEqual([])
  },
)

it('every command that takes options is tried with a wrong one', () => {
  // These hand their options to vitest, TypeScript and Biome.
  const others = ['test', 'types', 'lint', 'format']
  const tried = new Set([...WRONG.map(([script]) => script), ...others])
  expect([...tried].sort()).toEqual(Object.keys(scripts).sort())
})

it.each([
  ['Bun', 'bun'],
  ['Deno', 'deno'],
])('%s, which says that it is Node too, is refused by name and with the way out', async (name, key) => {
  const versions = `Object.defineProperty(process,'versions',{value:{...process.versions,${key}:'9.8.7'}})`
  const args = ['--import', `data:text/javascript,${versions}`, 'run.js', 'local/main.ts', '--wrong']
  await expect(promisify(execFile)(process.execPath, args, { cwd: root })).rejects.toMatchObject({
    code: 1,
    stderr: `This is ${name} 9.8.7, and local/main.ts runs on Node only: start it with npm, or with "node run.js local/main.ts".\n`,
  })
})

describe.skipIf(noSignals.length > 0)(`SIGTERM to npm${skipped(noSignals)}`, () => {
  const ENDS = `process.on('SIGTERM', () => process.exit(console.log('ended')))
    setTimeout(() => console.log('left alone'), 20_000)
    console.log('here')`

  // run.js starts the first in place of itself, and runs the other itself.
  it.each(['local/main.ts', 'other.ts'])('ends %s, though the shell between them does not', async (file) => {
    const folder = newFolder()
    mkdirSync(join(folder, 'local'))
    writeFileSync(join(folder, file), ENDS)
    const script = `"${process.execPath}" "${join(root, 'run.js')}" ${file}; :`
    const env = { ...process.env, npm_lifecycle_event: 'start' }
    const shell = spawn('sh', ['-c', script], { cwd: folder, env, stdio: ['ignore', 'pipe', 'inherit'] })
    let said = ''
    for await (const chunk of shell.stdout) {
      said += chunk
      if (said === 'here\n') shell.kill('SIGTERM')
    }
    expect(said).toBe('here\nended\n')
  })
})

describe.skipIf(noSignals.length > 0)(
  `a program whose output has no reader any more${skipped(noSignals)}`,
  () => {
    it.each([
      ['local/main.ts', []],
      ['rekognition/main.ts', ['--port', '0']],
    ])('%s ends in order, as after Ctrl-C in a pipe', async (file, args) => {
      const program = await ready(launch({}, args, file))
      program.process.stdout?.destroy()
      expect(await program.end('SIGINT'), program.output()).toBe(0)
      expect(program.output()).not.toContain('EPIPE')
    })
  },
)

it.skipIf(noFull.length > 0)(
  `a program that runs on goes on where the disk of its log is full${skipped(noFull)}`,
  async () => {
    const code = `const { whenUnread } = await import('./shared/machine.ts')
      whenUnread(() => process.exit(7))
      console.log('one')
      setTimeout(() => console.log('two'), 10)
      setTimeout(() => process.exit(0), 20)`
    const command = [process.execPath, ...NODE, '--input-type=module', '--eval', code]
    const full = spawn('sh', ['-c', '"$@" > /dev/full', 'sh', ...command], { cwd: root })
    expect(await new Promise((resolve) => full.once('exit', resolve))).toBe(0)
  },
)
