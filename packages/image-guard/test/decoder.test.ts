import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { skipped, without } from '../../../test/tools.ts'

const noPrlimit = without('prlimit')

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

  it.skipIf(noPrlimit.length > 0)(
    `does not blame an image for want of memory${skipped(noPrlimit)}`,
    async () => {
      const { stdout } = await run(`
        import { execFileSync } from 'node:child_process'
        import { readFileSync } from 'node:fs'
        import sharp from 'sharp'
        import { createDecoder, createRender } from ${guard}
        const render = createRender(createDecoder())
        // All of its coefficients are held in memory: 144 MB.
        const plain = sharp({ create: { width: 8_000, height: 6_000, channels: 3, background: 'teal' } })
        const image = await plain.jpeg({ progressive: true }).toBuffer()
        await render(readFileSync('test/fixtures/grace-hopper.jpg'), 's3')
        const [, kilobytes] = /VmSize:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))
        const limit = (bytes) => execFileSync('prlimit', ['--pid', String(process.pid), '--as=' + bytes + ':'])
        const attempt = () => render(image, 's3').then(() => 'done', (error) => error.name + ': ' + error.message)
        limit(kilobytes * 1_024 + 30_000_000)
        const refused = await attempt()
        limit('unlimited')
        console.log(refused + '\\n' + (await attempt()))
      `)
      expect(stdout.trim().split('\n')).toEqual([
        expect.stringMatching(/^Error: .*(out of memory|Insufficient memory|creating thread)/),
        'done',
      ])
    },
  )
})
