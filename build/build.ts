import { createHash } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  type Bundle,
  bundle,
  type Files,
  FUNCTIONS,
  type FunctionName,
  loadedAtStart,
  ROOT,
} from './bundle.ts'
import { check, checkBinaries } from './check.ts'
import { oneOf, readOptions, runCommand } from './command.ts'
import { heicFiles } from './heic.ts'
import { ARCHITECTURES, type Arch, LIBCS, type Libc, platformHere, platformOf, sharpFor } from './sharp.ts'
import { thirdParty } from './third-party.ts'
import { makeZip } from './zip.ts'

export interface Built {
  name: FunctionName
  zip: Uint8Array
  metafile: Bundle['metafile']
}

/** The most bytes of each zip. Lambda unpacks it at every cold start, so growth has to be noticed. */
const MAX_ZIP_BYTES: Record<FunctionName, number> = {
  api: 400_000,
  worker: 12_000_000,
  // With the clients of S3 and EventBridge.
  sweeper: 260_000,
  subscriber: 150_000,
}

/** Of the machine that runs a worker, and whether it can be set to take HEIC. */
export interface Decoding {
  arch: Arch
  libc: Libc
  heic: boolean
}

/**
 * A bundle with what cannot be bundled, and the licences of both.
 *
 * @param decoding what a worker decodes with; none where nothing is decoded
 * @param say gets a line for every step that may take a while
 * @throws InstallFailed where sharp's binaries cannot be fetched
 */
export async function withPackages(
  { files, metafile }: Bundle,
  decoding: Decoding | undefined,
  say: (line: string) => void,
): Promise<Files> {
  const none = { files: {}, packages: [] }
  const sharp = decoding === undefined ? none : await sharpFor(decoding.arch, decoding.libc, say)
  const libheif = decoding?.heic ? await heicFiles() : none
  const licences = await thirdParty(metafile, [...sharp.packages, ...libheif.packages])
  return { ...files, ...sharp.files, ...libheif.files, 'THIRD-PARTY': Buffer.from(licences) }
}

/**
 * One function's zip, ready for Lambda (`index.handler`), but not tried out.
 *
 * @param say gets a line for every step that may take a while
 * @param libc of the machine that runs it: Lambda has glibc
 * @param heic whether the worker can be set to take HEIC
 * @throws InstallFailed where sharp's binaries cannot be fetched; Error where the zip is too large
 */
export async function buildFunction(
  name: FunctionName,
  arch: Arch,
  say: (line: string) => void,
  libc: Libc = 'glibc',
  heic = false,
): Promise<Built> {
  say(`bundling ${name}`)
  const bundled = await bundle(name)
  const { metafile } = bundled
  const zip = makeZip(await withPackages(bundled, name === 'worker' ? { arch, libc, heic } : undefined, say))
  if (zip.length > MAX_ZIP_BYTES[name]) {
    throw new Error(`${name}.zip has ${zip.length} bytes; ${MAX_ZIP_BYTES[name]} is the limit.`)
  }
  return { name, zip, metafile }
}

/**
 * Sends a function events, if its zip can be loaded on this machine.
 *
 * @throws Error where the zip does not do what it has to
 */
export async function tryOut(
  name: FunctionName,
  zip: Uint8Array,
  arch: Arch,
  libc: Libc,
  say: (line: string) => void,
): Promise<void> {
  if (name === 'worker') checkBinaries(zip, arch, libc)
  if (name === 'worker' && platformHere() !== platformOf(arch, libc)) {
    say(`not loading worker.zip: its binaries are for ${platformOf(arch, libc)}`)
  } else {
    say(`checking ${name}.zip`)
    await check(name, zip)
  }
}

/**
 * The zips of all functions, or of some, tried out.
 *
 * @throws as buildFunction, and Error where a zip does not do what it has to
 */
export async function buildAll(
  arch: Arch,
  say: (line: string) => void,
  libc: Libc = 'glibc',
  heic = false,
  names: readonly FunctionName[] = FUNCTIONS,
): Promise<Built[]> {
  const built: Built[] = []
  for (const name of names) {
    const one = await buildFunction(name, arch, say, libc, heic)
    await tryOut(name, one.zip, arch, libc, say)
    built.push(one)
  }
  return built
}

/** Sizes of the zips and of what a cold start loads of them, and which packages that is. */
export function report(built: Built[]): string {
  const kilobytes = (bytes: number): string => `${(bytes / 1000).toFixed(0)} KB`.padStart(9)
  const lines = [`${'zip'.padEnd(12)}${'zipped'.padStart(9)}${'loaded'.padStart(9)}  most of it`]
  for (const { name, zip, metafile } of built) {
    const { bytes, inputs } = loadedAtStart(metafile)
    const packages = new Map<string, number>()
    for (const [file, size] of inputs) {
      const of = /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(file)?.[1] ?? 'our own code'
      packages.set(of, (packages.get(of) ?? 0) + size)
    }
    const largest = [...packages].sort(([, a], [, b]) => b - a).slice(0, 5)
    const named = largest.map(([of, size]) => `${of} ${(size / 1000).toFixed(0)}`).join(', ')
    lines.push(`${`${name}.zip`.padEnd(12)}${kilobytes(zip.length)}${kilobytes(bytes)}  ${named}`)
  }
  return lines.join('\n')
}

const USAGE = `npm run build -- [options]

Makes dist/api.zip, dist/worker.zip and dist/sweeper.zip for Lambda, tries out what this machine can run of them, and prints
their SHA-256, which the setting zips of Terraform takes.

  --arch A    of the functions: ${ARCHITECTURES.join(' or ')} (arm64)
  --libc L    of the functions: ${LIBCS.join(' or ')} (glibc, which Lambda has)
  --heic      with the decoder that HEIC=on needs (docs/heic.md)
  -h, --help`

async function main(): Promise<void> {
  const { arch, libc, heic } = readOptions('npm run build', USAGE, {
    options: {
      arch: { type: 'string', default: 'arm64' },
      libc: { type: 'string', default: 'glibc' },
      heic: { type: 'boolean', default: false },
    },
  }).values
  const print = (line: string): boolean => process.stdout.write(`${line}\n`)
  const built = await buildAll(
    oneOf('--arch', ARCHITECTURES, arch),
    print,
    oneOf('--libc', LIBCS, libc),
    heic,
  )
  print(`\n${report(built)}\n`)
  // All or none: after a failure the zips of the build before are still there, and fit each other.
  await mkdir(join(ROOT, 'dist'), { recursive: true })
  for (const { name, zip } of built) {
    await writeFile(join(ROOT, 'dist', `${name}.zip`), zip)
    print(`${createHash('sha256').update(zip).digest('hex')}  dist/${name}.zip`)
  }
}

if (process.argv[1] === import.meta.filename) await runCommand(main)
