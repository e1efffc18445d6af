import { execFile } from 'node:child_process'
import {
  copyFileSync,
  cpSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:http'
import { isBuiltin } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { build } from 'esbuild'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { listen } from '../../packages/embedded-aws/gateway/index.ts'
import { copyProject } from '../copy.ts'
import { newFolder } from '../started.ts'
import { startSystem } from '../system.ts'
import { SILENT } from '../tools.ts'
import { until } from '../until.ts'

const root = join(import.meta.dirname, '../..')
const project = mkdtempSync(join(tmpdir(), 'image-analyzer-package-'))
const inProject = (...names: string[]) => join(project, ...names)
const installed = inProject('node_modules/@image-analyzer/client')
const run = (file: string, args: string[], env: Record<string, string> = {}) =>
  promisify(execFile)(file, args, { cwd: project, env: { ...process.env, ...env } })
const [, EXAMPLE = ''] =
  /```ts\n([^`]*@image-analyzer\/client[^`]*)```/.exec(readFileSync(join(root, 'README.md'), 'utf8')) ?? []
const MISTAKES = `import { ApiError, createClient, type Image } from '@image-analyzer/client'
const client = createClient({ endpoint: 'http://127.0.0.1:3000' })
const image: Image = await client.get('id')
// @ts-expect-error: only a failed image has one
image.failure
if (image.status === 'failed') image.failure.code satisfies string
// @ts-expect-error: there is no such state
if (image.status === 'done') image
const code = new ApiError('NOT_FOUND', 404, '').code
// @ts-expect-error: there is no such code
if (code === 'TEAPOT') code
`
let types: Promise<{ stdout: string }> | undefined
/** What the compiler says of both: most of its work is the types that both take along. */
const typesOf = async (file: string): Promise<string[]> => {
  types ??= run(join(root, 'node_modules', '.bin', 'tsc'), [
    ...['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2024', '--types', 'node'],
    ...['example.ts', 'mistakes.ts'],
  ]).catch((error) => ({ stdout: error.stdout || String(error) }))
  const said = (await types).stdout.split('\n').filter((line) => line !== '')
  return said.filter((line) => !/^\w+\.ts\(/.test(line) || line.startsWith(file))
}

// An empty project with the package in it, as npm makes it.
beforeAll(async () => {
  const checkout = mkdtempSync(join(tmpdir(), 'image-analyzer-checkout-'))
  copyProject(checkout)
  const pack = ['pack', '--workspace', 'packages/client', '--pack-destination', project]
  await promisify(execFile)('npm', pack, { cwd: checkout })
  rmSync(checkout, { recursive: true })
  await run('tar', ['-xzf', readdirSync(project)[0] ?? ''])
  for (const scope of ['@types', '@image-analyzer'])
    mkdirSync(inProject('node_modules', scope), { recursive: true })
  renameSync(inProject('package'), installed)
  // Those of Node itself, which are not ours.
  for (const name of ['@types/node', 'undici-types'])
    symlinkSync(join(root, 'node_modules', name), inProject('node_modules', name), 'junction')
  writeFileSync(inProject('package.json'), '{"type":"module"}')
  writeFileSync(inProject('example.ts'), EXAMPLE)
  writeFileSync(inProject('mistakes.ts'), MISTAKES)
})
afterAll(() => rmSync(project, { recursive: true }))

it('the example of the README is right as it stands, in types and in what it does', async () => {
  expect(EXAMPLE.split('\n').length).toBeLessThanOrEqual(12)
  copyFileSync(join(root, 'test/fixtures/grace-hopper.jpg'), inProject('photo.jpg'))
  expect(await typesOf('example.ts')).toEqual([])
  const system = await startSystem({ REKOGNITION: 'stand-in', PORT: '0', AWS_PORT: '0' }, SILENT)
  try {
    const env = { IMAGE_ANALYZER_ENDPOINT: system.url }
    // An image is found by its labels a moment after it is completed, and another one then, where that was too late.
    const stdout = await until('an image that is found by its label', async () => {
      const { stdout } = await run(process.execPath, ['example.ts'], env)
      return /[0-9a-f-]{36} completed/.test(stdout) ? stdout : undefined
    })
    expect(stdout).toContain("'Sharp'")
    const bin = [join(installed, 'bin.js'), 'list', '--json']
    const list = await run(process.execPath, bin, env)
    expect(JSON.parse(list.stdout.split('\n')[0] ?? '')).toMatchObject({
      status: 'completed',
      original: { filename: 'photo.jpg' },
    })
    expect(list.stderr).toBe('')
  } finally {
    await system.stop()
  }
})

it('the package depends on nothing, has less than a megabyte, and names whose code is in it', () => {
  const manifest = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'))
  for (const kind of ['dependencies', 'peerDependencies', 'optionalDependencies'])
    expect(manifest[kind] ?? {}).toEqual({})
  const files = readdirSync(installed, { recursive: true, encoding: 'utf8' }).map((name) =>
    join(installed, name),
  )
  const bytes = files.reduce((sum, file) => sum + statSync(file).size, 0)
  expect(bytes).toBeLessThan(1_000_000)
  const imported = files
    .filter((file) => file.endsWith('.js'))
    .flatMap((file) => [
      ...readFileSync(file, 'utf8').matchAll(/import(?:[\w$*{},\s]+from\s*|\()"([^."][^"]*)"/g),
    ])
    .map(([, name = '']) => name)
    .filter((name) => !isBuiltin(name))
  expect(imported).toEqual([])
  expect(readFileSync(join(installed, 'dist/THIRD-PARTY'), 'utf8')).toContain('@smithy/signature-v4 ')
  expect(readFileSync(join(installed, 'dist/LICENSE'), 'utf8')).toContain('MIT License')
})

it('is found without `exports` too, as older tools look for it, and by any Node that runs its client', () => {
  const { main, types, exports, engines } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'))
  expect({ types, default: main }).toEqual(exports['.'])
  for (const file of [main, types]) expect(statSync(join(installed, file)).isFile()).toBe(true)
  // The command line says itself that it needs a newer one.
  expect(engines).toEqual({ node: '>=20' })
})

it('has a client that bundlers take for browsers: nothing of Node is in it', async () => {
  writeFileSync(
    inProject('browser.ts'),
    "import { createClient } from '@image-analyzer/client'\ncreateClient({ endpoint: location.origin })",
  )
  const { errors, outputFiles } = await build({
    ...{ absWorkingDir: project, entryPoints: ['browser.ts'], platform: 'browser', bundle: true },
    ...{ write: false, logLevel: 'silent' },
  }).catch(({ errors }) => ({ errors, outputFiles: [] }))
  expect(errors.map(({ text }: { text: string }) => text)).toEqual([])
  expect(outputFiles?.[0]?.text).not.toMatch(/node:|createRequire/)
})

it('signs requests with the credentials of the environment, by the code that it brings along', async () => {
  const headers: string[] = []
  const server = createServer((request, response) => {
    headers.push(String(request.headers.authorization))
    response.setHeader('content-type', 'application/json').end('{"items":[]}')
  })
  const port = await listen(server, 0)
  const args = [join(installed, 'bin.js'), 'list', '--sign', '--endpoint', `http://127.0.0.1:${port}`]
  await run(process.execPath, args, {
    ...{ AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE', AWS_SECRET_ACCESS_KEY: 'secret', AWS_REGION: 'eu-west-1' },
    ...{ AWS_CONFIG_FILE: '/nowhere', AWS_SHARED_CREDENTIALS_FILE: '/nowhere', AWS_PROFILE: '' },
  })
  server.close()
  expect(headers[0]).toMatch(
    /^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE\/\d{8}\/eu-west-1\/execute-api\/aws4_request/,
  )
})

it("has the schema of an event's detail", async () => {
  const code = `import schema from '@image-analyzer/client/event.schema.json' with { type: 'json' }
console.log(JSON.stringify(schema))`
  const { stdout } = await run(process.execPath, ['--no-warnings', '--input-type=module', '--eval', code])
  const published = readFileSync(join(root, 'shared/event.schema.json'), 'utf8')
  expect(JSON.parse(stdout)).toEqual(JSON.parse(published))
})

it("the client's types are the API's own", async () => {
  expect(await typesOf('mistakes.ts')).toEqual([])
})

it('npm ci brings what npm start and npm run build need, also with NODE_ENV=production and omit=optional', async () => {
  const checkout = newFolder()
  const manifests = globSync('packages/*/package.json', { cwd: root })
  for (const name of ['.npmrc', 'package.json', 'package-lock.json', ...manifests])
    cpSync(join(root, name), join(checkout, name))
  const { stdout } = await promisify(execFile)('npm', ['ci', '--dry-run', '--offline', '--no-audit'], {
    cwd: checkout,
    env: { ...process.env, NODE_ENV: 'production', npm_config_omit: 'optional' },
  })
  const brought = new Set([...stdout.matchAll(/^add (\S+) /gm)].map(([, name]) => name))
  const used = globSync('{api,build,local,packages,shared,worker}/**/*.ts', {
    cwd: root,
    exclude: (name) => ['node_modules', 'test', 'dist'].includes(name),
  }).flatMap((file) =>
    [
      ...readFileSync(join(root, file), 'utf8').matchAll(
        /^(?:import(?! type)|\} from) [^'\n]*'(@[^'/]+\/[^'/]+|[^'./@][^'/]*)/gm,
      ),
    ].map(([, name = '']) => name),
  )
  const wanted = [...used, `@img/sharp-${process.platform}-${process.arch}`]
  expect([...new Set(wanted)].filter((name) => !isBuiltin(name) && !brought.has(name))).toEqual([])
})
