import { execFile } from 'node:child_process'
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { newFolder, root } from '../started.ts'

const WITHOUT_WARNING = ['--disable-warning=ExperimentalWarning']

/** A project with nothing else in it. */
function newProject(): string {
  const folder = newFolder()
  for (const part of ['build', 'local']) mkdirSync(join(folder, part))
  for (const file of ['run.js', 'build/strip-types.js']) copyFileSync(join(root, file), join(folder, file))
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
  return folder
}

it('what Node makes of TypeScript is kept, used, and made again when it does not fit', async () => {
  const folder = newProject()
  const [file, hook] = [join(folder, 'main.ts'), join(folder, 'build/strip-types.js')]
  const run = async (code: string): Promise<string> => {
    writeFileSync(file, code)
    const options = [...WITHOUT_WARNING, '--import', pathToFileURL(hook).href]
    return (await promisify(execFile)(process.execPath, [...options, file])).stdout.trim()
  }
  const one = "const text: string = 'one'\nconsole.log(text)"
  expect(await run(one)).toBe('one')
  const cache = join(folder, 'node_modules/.cache/image-analyzer')
  const [name = '', ...more] = readdirSync(cache)
  expect(more).toEqual([])
  const kept = join(cache, name)
  const whole = readFileSync(kept, 'utf8')
  writeFileSync(kept, whole.replace("'one'", "'kept'"))
  expect(await run(one)).toBe('kept')
  writeFileSync(kept, whole.slice(0, -1))
  expect(await run(one)).toBe('one')
  expect(readFileSync(kept, 'utf8')).toBe(whole)
  expect(await run(one.replace('one', 'two'))).toBe('two')
  expect(readdirSync(cache)).toEqual([name])

  // What is wrong with a file, Node says itself, with its name.
  await expect(run('enum No { Way }')).rejects.toThrow(/main\.ts[\s\S]+enum is not supported/)
  rmSync(cache, { recursive: true })
  writeFileSync(cache, 'no folder')
  expect(await run(one)).toBe('one')
})

it.each(['local/main.ts', 'main.ts'])('a second start of %s by run.js loads no compiler', async (file) => {
  const folder = newProject()
  const code = "const loaded: string[] = process.moduleLoadList\nconsole.log(loaded.join().includes('amaro'))"
  writeFileSync(join(folder, file), code)
  const { MALLOC_ARENA_MAX: _, ...env } = process.env
  const options = { cwd: folder, env }
  const start = async () =>
    (await promisify(execFile)(process.execPath, [...WITHOUT_WARNING, 'run.js', file], options)).stdout.trim()
  expect([await start(), await start()]).toEqual(['true', 'false'])
})
