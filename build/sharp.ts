import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type Files, ROOT } from './bundle.ts'

/** As Node and npm name them. AWS says x86_64 for x64. */
export const ARCHITECTURES = ['arm64', 'x64'] as const
export type Arch = (typeof ARCHITECTURES)[number]
/** Lambda has glibc; emulators that run functions as processes may be in a container of Alpine, which has musl. */
export const LIBCS = ['glibc', 'musl'] as const
export type Libc = (typeof LIBCS)[number]

/** What sharp's binaries are made for, as its packages name it. */
export const platformOf = (arch: Arch, libc: Libc): string =>
  `${libc === 'musl' ? 'linuxmusl' : 'linux'}-${arch}`

interface LockedPackage {
  version: string
  dependencies?: Record<string, string>
  optionalDependencies?: Record<string, string>
}

/** What this machine runs, in the same words. */
export function platformHere(): string {
  if (process.platform !== 'linux') return `${process.platform}-${process.arch}`
  // Node's report names the version of glibc where that is what it runs on.
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } }
  return `${header.glibcVersionRuntime === undefined ? 'linuxmusl' : 'linux'}-${process.arch}`
}

/** npm could not fetch the binaries. */
export class InstallFailed extends Error {
  constructor(platform: string, code: string, summary: string) {
    super(
      `npm could not install sharp for ${platform} (${code}): ${summary}\n` +
        'Is the npm registry within reach? Try `npm ping`.',
    )
  }
}

/** What a process that imports sharp reads: no types, headers or sources, and not the CommonJS twins of sharp's modules. */
const NEEDED = /(\.([cm]?js|json|node)|\.so(\.\d+)*)$/
const NOT_NEEDED = /(^|\/)(\.package-lock\.json$|sharp\/(src|install|dist\/.+\.cjs$)|semver\/bin\/)/

export interface Sharp {
  files: Files
  /** The folders of the packages that the files are from. */
  packages: string[]
}

/**
 * sharp with the binaries of Lambda's Linux, on any machine: the versions that the project's lockfile names,
 * checked against its hashes, in a folder of their own, which is kept for the next build.
 *
 * @throws InstallFailed
 */
export async function sharpFor(arch: Arch, libc: Libc, say: (line: string) => void): Promise<Sharp> {
  const { packages: locked } = JSON.parse(await readFile(join(ROOT, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, LockedPackage>
  }
  const version = locked['node_modules/sharp']?.version ?? ''
  const folder = join(ROOT, 'dist', `sharp-${version}-${platformOf(arch, libc)}`)
  if (!existsSync(folder)) {
    say(`installing sharp ${version} for ${platformOf(arch, libc)}`)
    const root = { name: 'sharp-for-lambda', version: '0.0.0', dependencies: { sharp: version } }
    const lock = { lockfileVersion: 3, packages: { '': root, ...neededBy('node_modules/sharp', locked) } }
    // It gets its place when it is whole, so that neither a build that broke off nor one at the same time can harm it.
    await mkdir(join(ROOT, 'dist', 'unfinished'), { recursive: true })
    const unfinished = await mkdtemp(join(ROOT, 'dist', 'unfinished', 'sharp-'))
    await writeFile(join(unfinished, 'package.json'), JSON.stringify(root))
    await writeFile(join(unfinished, 'package-lock.json'), JSON.stringify(lock))
    try {
      await install(unfinished, arch, libc)
      await rename(unfinished, folder)
    } catch (error) {
      await rm(unfinished, { recursive: true, force: true })
      // Another build was faster.
      if (error instanceof InstallFailed || !existsSync(folder)) throw error
    }
  }
  const modules = join(folder, 'node_modules')
  const files: Files = {}
  for (const entry of await readdir(modules, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    const name = path.slice(folder.length + 1).replaceAll('\\', '/')
    if (entry.isFile() && NEEDED.test(name) && !NOT_NEEDED.test(name)) files[name] = await readFile(path)
  }
  const packages = new Set(
    Object.keys(files).map((name) => /^node_modules\/(@[^/]+\/)?[^/]+/.exec(name)?.[0] ?? ''),
  )
  return { files, packages: [...packages].map((name) => join(folder, name)) }
}

/** The lockfile's entries of a package and of all that it depends on, on every platform: npm picks. */
function neededBy(name: string, packages: Record<string, LockedPackage>): Record<string, LockedPackage> {
  const needed: Record<string, LockedPackage> = {}
  const add = (path: string): void => {
    const entry = packages[path]
    if (entry === undefined || path in needed) return
    needed[path] = entry
    for (const dependency of Object.keys({ ...entry.dependencies, ...entry.optionalDependencies })) {
      const nested = `${path}/node_modules/${dependency}`
      add(nested in packages ? nested : `node_modules/${dependency}`)
    }
  }
  add(name)
  return needed
}

async function install(folder: string, arch: Arch, libc: Libc): Promise<void> {
  const platform = ['--os=linux', `--cpu=${arch}`, `--libc=${libc}`]
  const quiet = ['--omit=dev', '--ignore-scripts', '--no-audit', '--no-fund', '--json', '--fetch-retries=1']
  try {
    // --prefix, because npm names the outer project in the environment of its scripts. A shell, because npm is a .cmd on Windows.
    await promisify(execFile)('npm', ['ci', '--prefix', '.', ...platform, ...quiet], {
      cwd: folder,
      shell: process.platform === 'win32',
    })
  } catch (error) {
    const { stdout = '', message } = error as { stdout?: string; message: string }
    const report = stdout.startsWith('{')
      ? (JSON.parse(stdout) as { error?: { code?: string; summary?: string } })
      : {}
    throw new InstallFailed(
      platformOf(arch, libc),
      report.error?.code ?? 'unknown',
      report.error?.summary ?? message,
    )
  }
}
