import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { promisify } from 'node:util'
import { zipSync } from 'fflate'
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { type Built, tryOut, withPackages } from '../../build/build.ts'
import { FUNCTIONS, type FunctionName, loadedAtStart, ROOT } from '../../build/bundle.ts'
import { checkBinaries, startFunction } from '../../build/check.ts'
import { notesOf, releaseFiles } from '../../build/release.ts'
import { type Arch, sharpFor } from '../../build/sharp.ts'
import { unzip } from '../../build/zip.ts'
import { copyProject } from '../copy.ts'
import { builtZips, bundleOf, HERE } from './zips.ts'

const OTHER: Arch = HERE === 'x64' ? 'arm64' : 'x64'

let built: Built[]

const find = (name: FunctionName): Built => {
  const found = built.find((one) => one.name === name)
  if (found === undefined) throw new Error(`${name} is not built.`)
  return found
}

describe('npm run build', () => {
  beforeAll(async () => {
    built = await builtZips()
  })

  it('makes a zip of every function', () => {
    expect(built.map(({ name }) => name)).toEqual([...FUNCTIONS])
    for (const one of built) expect(Object.keys(unzip(one.zip))).toContain('index.mjs')
  })

  it('stays within its budgets', () => {
    expect(find('api').zip.length).toBeLessThan(400_000)
    expect(find('worker').zip.length).toBeLessThan(12_000_000)
    expect(find('sweeper').zip.length).toBeLessThan(260_000)
    expect(find('subscriber').zip.length).toBeLessThan(150_000)
  })

  it('makes zips that load outside of the repository and answer events, of the same bytes from another folder in another time zone', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'build-test-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    const copy = join(folder, 'a copy')
    copyProject(copy)
    // With the binaries of sharp, so that they need not be fetched again.
    cpSync(join(ROOT, 'dist'), join(copy, 'dist'), {
      recursive: true,
      filter: (path) => path.endsWith('dist') || relative(join(ROOT, 'dist'), path).startsWith('sharp-'),
    })
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--disable-warning=ExperimentalWarning', join(copy, 'build/build.ts'), '--arch', HERE],
      { env: { ...process.env, TZ: 'Pacific/Auckland' } },
    )
    for (const { name, zip } of built) {
      expect(stdout).toContain(`checking ${name}.zip`)
      expect(readFileSync(join(copy, 'dist', `${name}.zip`)).equals(zip), name).toBe(true)
    }
  })

  // Another processor is AWS's usual one, and musl is in the container of MiniStack, which is made of Alpine.
  it('takes binaries of another processor and C library along and says that it cannot load them', async () => {
    // Stored as they are: to compress them takes seconds.
    const decoding = { arch: OTHER, libc: 'musl', heic: false } as const
    const zip = zipSync(await withPackages(await bundleOf('worker'), decoding, () => {}), { level: 0 })
    const said: string[] = []
    await tryOut('worker', zip, OTHER, 'musl', (line) => said.push(line))
    expect(said).toEqual([`not loading worker.zip: its binaries are for linuxmusl-${OTHER}`])
    await expect(tryOut('worker', zip, HERE, 'musl', () => {})).rejects.toThrow(
      `is not made for linuxmusl-${HERE}`,
    )
    expect(() => checkBinaries(zip, OTHER, 'glibc')).toThrow(`is not made for linux-${OTHER}`)

    const forLambda = zipSync((await sharpFor(OTHER, 'glibc', () => {})).files, { level: 0 })
    checkBinaries(forLambda, OTHER, 'glibc')
    expect(() => checkBinaries(forLambda, OTHER, 'musl')).toThrow(`is not made for linuxmusl-${OTHER}`)
  })

  it('names the licence of every package that has code in a zip, with its text and notices', () => {
    const plain = (text: string): string => text.replaceAll(/\s+/g, ' ').trim()
    for (const { name, zip, metafile } of built) {
      const files = unzip(zip)
      const said = plain(Buffer.from(files['THIRD-PARTY'] ?? []).toString())
      const inputs = Object.values(metafile.outputs).flatMap((output) => Object.keys(output.inputs))
      const folders = new Set(
        [...inputs, ...Object.keys(files)].flatMap(
          (file) => /^.*node_modules\/(@[^/]+\/)?[^/]+(?=\/)/.exec(file)?.[0] ?? [],
        ),
      )
      expect(folders.size, name).toBeGreaterThan(20)
      for (const folder of folders) {
        // Binaries for another machine than this one are in the zip alone.
        const path = join(ROOT, folder)
        const manifest = JSON.parse(
          Buffer.from(files[`${folder}/package.json`] ?? readFileSync(join(path, 'package.json'))).toString(),
        )
        expect(said).toContain(`${manifest.name} ${manifest.version} (${manifest.license})`)
        const own = (existsSync(path) ? readdirSync(path) : []).filter((file) =>
          /licen[cs]e|notice/i.test(file),
        )
        const stored = join(ROOT, 'build/licences', `${manifest.license}.txt`)
        const texts = own.map((file) => join(path, file))
        if (existsSync(stored)) texts.push(stored)
        else if (texts.length === 0) texts.push(join(ROOT, 'node_modules/@aws-sdk/core/LICENSE'))
        for (const text of texts) {
          for (const paragraph of readFileSync(text, 'utf8').split(/\n\s*\n/)) {
            // Those of authors have moved to the names of their packages.
            if (/^\s*Copyright /.test(paragraph)) {
              for (const line of own.length > 0 ? paragraph.split('\n') : [])
                expect(said).toContain(plain(line))
            } else expect(said, text).toContain(plain(paragraph))
          }
        }
      }
      if (name === 'api') expect(said).toContain('@see https://github.com/mscdex/streamsearch')
      if (name === 'worker') {
        expect(said).toMatch(
          /https:\/\/github\.com\/lovell\/sharp-libvips\/tree\/v\d+\.\d+\.\d+ fetch and build/,
        )
        expect(said).toMatch(/ vips 8\.\d+\.\d+ /)
        expect(said).toContain('| librsvg | LGPLv3 |')
        expect(said).toContain('GNU LESSER GENERAL PUBLIC LICENSE Version 3')
        expect(said).toContain('GNU GENERAL PUBLIC LICENSE Version 3')
      }
    }
  })

  it('makes all files of a release, of one commit the same', async () => {
    const asked: string[] = []
    const make = () =>
      releaseFiles(
        undefined,
        async (arch, names) => {
          asked.push(`${arch} ${names}`)
          return names.map((name) => ({ name, zip: arch === HERE ? find(name).zip : Buffer.from(arch) }))
        },
        // test/system/package.test.ts packs it, in a copy.
        async () => ({ 'image-analyzer-client.tgz': Buffer.from('packed') }),
      )
    const files = await make()
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
    expect(Object.keys(files).sort()).toEqual([
      ...['Dockerfile.worker', 'NOTES.md', 'SHA256SUMS', 'api-arm64.zip', 'api-x64.zip', 'code.zip'],
      'image-analyzer-client.tgz',
      ...['sbom.cdx.json', 'sweeper-arm64.zip', 'sweeper-x64.zip', 'worker-arm64.zip', 'worker-x64.zip'],
    ])
    expect(asked).toEqual(['arm64 api,worker,sweeper', 'x64 worker'])
    const file = (name: string) => Buffer.from(files[name] ?? '')
    const sums = file('SHA256SUMS').toString().trim().split('\n')
    expect(sums).toHaveLength(Object.keys(files).length - 1)
    for (const line of sums) {
      const [sum, name = ''] = line.split('  ')
      expect(createHash('sha256').update(file(name)).digest('hex'), name).toBe(sum)
    }
    expect(Object.keys(unzip(file('code.zip'))).filter((name) => /index|sharp|\.map/.test(name))).toEqual([
      ...['api/index.mjs', 'sweeper/index.mjs', 'worker/index.mjs'],
    ])

    const bill = JSON.parse(file('sbom.cdx.json').toString())
    expect(bill).toMatchObject({
      bomFormat: 'CycloneDX',
      metadata: { component: { name: 'image-analyzer' } },
    })
    const named = new Set(bill.components.map((component: { name: string }) => component.name))
    const { dependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
    expect(Object.keys(dependencies).filter((name) => !named.has(name))).toEqual([])
    expect(['vitest', '@biomejs/biome'].filter((name) => named.has(name))).toEqual([])

    const again = (await make())['SHA256SUMS'] ?? ''
    expect(Buffer.from(again).toString().split('\n')).toEqual(file('SHA256SUMS').toString().split('\n'))

    const changelog = readFileSync(join(ROOT, 'CHANGELOG.md'), 'utf8')
    expect(changelog).toContain(file('NOTES.md').toString().trim())
    expect(() => notesOf(changelog, '9.9.9')).toThrow('CHANGELOG.md has no text under "## 9.9.9"')
    await expect(releaseFiles('v9.9.9', async () => [])).rejects.toThrow(`the tag must be v${version}`)
  })

  it('packs nothing that is not needed at run time', () => {
    const names = built.flatMap((one) => Object.keys(unzip(one.zip)))
    expect(names.filter((name) => /\.([cm]?ts|md|h|cc|gyp|d\.[cm]ts)$|README|LICENSE/.test(name))).toEqual([])
  })

  // What leaves them out recognises the SDK's files; a new version of it could have others, and only this test would say so.
  it('loads neither credential providers nor operations that no function uses, nor what is asked for now and then', () => {
    for (const { metafile } of built) {
      const inputs = [...loadedAtStart(metafile).inputs]
      const providers = /credential-provider-(sso|ini|login|process|web-identity)|nested-clients/
      expect(inputs.filter(([file, bytes]) => bytes > 0 && providers.test(file))).toEqual([])
      expect(inputs.filter(([file]) => /^api\/(openapi|examples)\.ts$|busboy|jose/.test(file))).toEqual([])
      const schemas = inputs.filter(([file]) => /client-s3\/dist-es\/schemas\//.test(file))
      for (const [, bytes] of schemas) expect(bytes).toBeLessThan(20_000)
    }
  })

  it('reads what is needed of node:http by name, so that calls of AWS do not load undici', () => {
    for (const { zip } of built) {
      const code = Object.entries(unzip(zip))
        .filter(([file]) => /^[^/]+\.mjs$/.test(file))
        .map(([, bytes]) => Buffer.from(bytes).toString())
        .join('\n')
      expect(code).toContain('process.getBuiltinModule("node:http")')
      expect(code).not.toMatch(/\b(from|import)\s*\(?\s*["'](node:)?http["']/)
    }
  })

  // MiniStack loads functions so; an entry with a top-level await, of its own or of a package, cannot be required.
  it('makes entries that CommonJS can require', async () => {
    for (const { name, zip } of built) {
      const folder = mkdtempSync(join(tmpdir(), 'build-test-'))
      onTestFinished(() => rmSync(folder, { recursive: true }))
      for (const [file, bytes] of Object.entries(unzip(zip))) {
        mkdirSync(dirname(join(folder, file)), { recursive: true })
        writeFileSync(join(folder, file), bytes)
      }
      const env = {
        AWS_REGION: 'eu-central-1',
        AWS_ACCESS_KEY_ID: 'test',
        AWS_SECRET_ACCESS_KEY: 'test',
        IMAGE_BUCKET: 'image-analyzer',
        IMAGE_TABLE: 'image-analyzer-images',
        JOB_QUEUE_URL: 'http://127.0.0.1/123456789012/image-analyzer-jobs',
        EVENT_BUS_NAME: 'image-analyzer',
        AUTH: 'none',
        SEEN_TABLE: 'seen',
      }
      const script = "process.stdout.write(typeof require('./index.mjs').handler)"
      const required = promisify(execFile)(process.execPath, ['--input-type=commonjs', '--eval', script], {
        cwd: folder,
        env,
      })
      await expect(required, name).resolves.toMatchObject({ stdout: 'function' })
    }
  })

  it('names lines of the TypeScript in stack traces', async () => {
    for (const one of built) {
      const running = await startFunction(one.zip, {})
      onTestFinished(running.stop)
      await expect(running.call({})).rejects.toThrow(
        /(shared[\\/]config|subscribers[\\/]handler)\.ts:\d+:\d+/,
      )
    }
  })
})
