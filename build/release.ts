import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { buildAll, withPackages } from './build.ts'
import { bundle, type Files, ROOT } from './bundle.ts'
import { readOptions, runCommand, WrongUsage } from './command.ts'
import { ARCHITECTURES, type Arch } from './sharp.ts'
import { makeZip } from './zip.ts'

/**
 * All files of a release, into dist/release: of the same commit the same bytes, so that the checksums of a tag can be had
 * again. docs/versions.md says what each is for.
 */

/** An example's function is no part of a release. */
const RELEASED = ['api', 'worker', 'sweeper'] as const

/** Makes the zips of these functions. */
export type BuildZips = (
  arch: Arch,
  names: readonly (typeof RELEASED)[number][],
) => Promise<{ name: string; zip: Uint8Array }[]>

const npm = async (...args: string[]): Promise<string> => {
  // A shell, because npm is a .cmd on Windows.
  const options = { cwd: ROOT, shell: process.platform === 'win32', maxBuffer: 100_000_000 }
  return (await promisify(execFile)('npm', args, options)).stdout
}

/**
 * @param tag the tag of the release, if it is one: as v1.2.3
 * @throws WrongUsage where tag, package.json and CHANGELOG.md do not say the same version
 */
export async function releaseFiles(
  tag: string | undefined,
  buildZips: BuildZips,
  packClient = clientPackage,
): Promise<Files> {
  const { version } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as { version: string }
  if (tag !== undefined && tag !== `v${version}`)
    throw new WrongUsage(
      `The tag is ${tag}, and package.json has version ${version}: the tag must be v${version}.`,
    )
  const changelog = await readFile(join(ROOT, 'CHANGELOG.md'), 'utf8')
  const files: Files = {
    'NOTES.md': Buffer.from(notesOf(changelog, tag === undefined ? 'Unreleased' : version)),
    'Dockerfile.worker': await readFile(join(ROOT, 'Dockerfile')),
    'sbom.cdx.json': Buffer.from(await billOfMaterials()),
    'code.zip': await codeAlone(),
    ...(await packClient()),
  }
  const [first, ...others] = ARCHITECTURES
  const built = await buildZips(first, RELEASED)
  for (const { name, zip } of built) files[`${name}-${first}.zip`] = zip
  for (const arch of others) {
    // Only the worker has binaries.
    const [worker] = await buildZips(arch, ['worker'])
    for (const { name, zip } of built)
      files[`${name}-${arch}.zip`] = name === 'worker' && worker !== undefined ? worker.zip : zip
  }
  const sums = Object.keys(files)
    .sort()
    .map((name) => `${sha256(files[name] ?? '')}  ${name}\n`)
  return { ...files, SHA256SUMS: Buffer.from(sums.join('')) }
}

const sha256 = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('hex')

/** @throws Error where the changelog has nothing about the version */
export function notesOf(changelog: string, version: string): string {
  const section = changelog.split(/^## /m).find((text) => text.split(/\s/, 1)[0] === version)
  const notes = section?.slice(section.indexOf('\n')).trim()
  if (!notes)
    throw new Error(`CHANGELOG.md has no text under "## ${version}": write there what is new in it.`)
  return `${notes}\n`
}

interface Bill {
  serialNumber: string
  metadata: { timestamp: string; component: { name: string } }
  components: { 'bom-ref': string; properties: { name: string }[] }[]
  dependencies: { ref: string; dependsOn: string[] }[]
}

/**
 * What the lockfile names for use and not for development alone: with `--omit dev`, npm 11 also leaves out what the
 * project uses where a workspace has it for its tests. Nor is there what makes each run of npm another document: an id
 * at random, the time, the name of the folder.
 */
async function billOfMaterials(): Promise<string> {
  const said = await npm('sbom', '--package-lock-only', '--sbom-format', 'cyclonedx')
  const { serialNumber: _, metadata, components, dependencies, ...bill } = JSON.parse(said) as Bill
  const { timestamp: __, ...rest } = metadata
  const isUsed = ({ properties }: Bill['components'][number]) =>
    !properties.some(({ name }) => name === 'cdx:npm:package:development')
  const used = components.filter(isUsed)
  const refs = new Set(used.map((component) => component['bom-ref']))
  const [root, ...others] = dependencies
  const kept = [...(root === undefined ? [] : [root]), ...others.filter(({ ref }) => refs.has(ref))].map(
    ({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter((name) => refs.has(name)) }),
  )
  const component = { ...metadata.component, name: 'image-analyzer' }
  const all = { ...bill, metadata: { ...rest, component }, components: used, dependencies: kept }
  return `${JSON.stringify(all, undefined, 2)}\n`
}

/** The functions without sharp: what a test of the next version has work beside its own (test/deployment/version-before.test.ts). */
async function codeAlone(): Promise<Uint8Array> {
  const all: Files = {}
  for (const name of RELEASED) {
    const files = await withPackages(await bundle(name), undefined, () => {})
    for (const [path, bytes] of Object.entries(files))
      if (!path.endsWith('.map')) all[`${name}/${path}`] = bytes
  }
  return makeZip(all)
}

async function clientPackage(): Promise<Files> {
  const folder = await mkdtemp(join(tmpdir(), 'image-analyzer-client-'))
  try {
    await npm('pack', '--workspace', 'packages/client', '--pack-destination', folder)
    const [name = ''] = await readdir(folder)
    return { [name]: await readFile(join(folder, name)) }
  } finally {
    await rm(folder, { recursive: true })
  }
}

const USAGE = `npm run release-files -- [options]

Makes all files of a release in dist/release, and prints their SHA-256 (docs/versions.md).

  --tag T     such as v1.2.3, which must be the version in package.json
  -h, --help`

async function main(): Promise<void> {
  const { tag } = readOptions('npm run release-files', USAGE, { options: { tag: { type: 'string' } } }).values
  const print = (line: string): boolean => process.stdout.write(`${line}\n`)
  const files = await releaseFiles(tag, (arch, names) => buildAll(arch, print, 'glibc', false, names))
  const folder = join(ROOT, 'dist', 'release')
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder, { recursive: true })
  for (const [name, bytes] of Object.entries(files)) await writeFile(join(folder, name), bytes)
  print(`\n${Buffer.from(files['SHA256SUMS'] ?? '')}`)
}

if (process.argv[1] === import.meta.filename) await runCommand(main)
