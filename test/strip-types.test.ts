import { execFile } from 'node:child_process'
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { newFolder, root } from './started.ts'

it('what Node makes of TypeScript is kept, used, and made again when it does not fit', async () => {
  const folder = newFolder()
  const [file, hook] = [join(folder, 'main.ts'), join(folder, 'build/strip-types.js')]
  mkdirSync(join(folder, 'build'))
  copyFileSync(join(root, 'build/strip-types.js'), hook)
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
  const run = async (code: string): Promise<string> => {
    writeFileSync(file, code)
    const options = ['--disable-warning=ExperimentalWarning', '--import', pathToFileURL(hook).href]
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
