import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'

describe('a decoder', () => {
  const guard = JSON.stringify(new URL('../index.ts', import.meta.url).href)
  /** In a process of its own, because what libvips blocks is blocked for a whole process. */
  const run = (script: string) =>
    promisify(execFile)(
      process.execPath,
      ['--disable-warning=ExperimentalWarning', '--input-type=module', '--eval', script],
      { cwd: join(import.meta.dirname, '../../..') },
    )

  it('changes nothing in its process until it is created, and then only the first one does', async () => {
    const { stdout } = await run(`
      import { runInNewContext } from 'node:vm'
      import sharp from 'sharp'
      import { createDecoder } from ${guard}
      const svg = Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
      const opens = () => sharp(svg).metadata().then(() => 'opens', () => 'refuses')
      const before = await opens()
      createDecoder()
      const after = await opens()
      sharp.block = () => console.log('blocks again')
      createDecoder()
      console.log(before, after, runInNewContext('typeof gc'))
    `)
    // The worker's own leave to collect garbage (`createGarbageCollection`) is no part of it.
    expect(stdout).toBe('opens refuses undefined\n')
  })

  it('decodes nothing where libvips would read other formats', async () => {
    // What a sharp would do that knows the loaders by other names: it blocks nothing, and says nothing.
    const { stdout } = await run(`
      import { readFileSync } from 'node:fs'
      import sharp from 'sharp'
      import { createDecoder } from ${guard}
      sharp.block = () => {}
      const { appraise } = createDecoder()
      const photo = readFileSync('test/fixtures/grace-hopper.jpg')
      for (const _ of [1, 2, 3]) {
        console.log(await appraise(photo).then(() => 'done', (error) => error.name + ': ' + error.message))
      }
    `)
    const refusal =
      /^Error: libvips .* would read more formats than this program allows \(SVG, TIFF\).*npm ci/
    expect(stdout.trim().split('\n')).toEqual(Array(3).fill(expect.stringMatching(refusal)))
  })
})
