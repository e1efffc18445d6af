import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Metafile } from 'esbuild'
import { ROOT } from './bundle.ts'

/** A package of which a zip, or our own package, has code. */
interface Package {
  folder: string
  name: string
  version: string
  /** By its SPDX identifier. */
  license: string
  source: string
  /** Licences and notices. */
  texts: string[]
}

const LICENCE_FILE = /^(licen[cs]e|copying|notice)(\.(md|txt))?$/i
/** A comment that has a notice of its own, because its file is from another project. */
const NOTICE_COMMENT = /\/\*(?:(?!\*\/)[\s\S])*?^[\s*]*Copyright [\s\S]*?\*\//gm
const PACKAGE_FOLDER = /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//
const RULE = '='.repeat(80)

/**
 * What the file THIRD-PARTY of a zip or a package says: every package whose code is in it, with its licence and notices. A text that
 * packages share, but for the names of their authors, is there once.
 *
 * @param metafile says what esbuild has put into the bundle
 * @param folders of packages that are in the zip as they are
 * @throws Error that names a package whose licence has no text
 */
export async function thirdParty({ outputs }: Metafile, folders: string[]): Promise<string> {
  const inputs = Object.values(outputs).flatMap((output) => Object.keys(output.inputs))
  const files = new Map<string, string[]>(folders.map((folder) => [folder, []]))
  for (const input of new Set(inputs)) {
    const folder = PACKAGE_FOLDER.exec(input)?.[1]
    if (folder === undefined) continue
    const path = join(ROOT, folder)
    files.set(path, [...(files.get(path) ?? []), join(ROOT, input)])
  }
  const packages = await Promise.all([...files].map(([folder, of]) => read(folder, of)))
  packages.sort((a, b) => order(`${a.name} ${a.version}`, `${b.name} ${b.version}`))

  // Texts by what they say; and of each package that has it, who holds the copyright.
  const texts = new Map<string, { license: string; text: string; holders: string[] }>()
  for (const { name, version, license, texts: own } of packages) {
    // Where a package only names its licence, the text is another's, and its authors are not this one's.
    const all =
      own.length > 0 ? own.map(split) : [{ ...split(await textOf(license, name, packages)), authors: [] }]
    for (const { text, authors } of all) {
      const key = text.replaceAll(/\s+/g, ' ')
      const entry = texts.get(key) ?? { license, text, holders: [] }
      entry.holders.push([`${name} ${version}`, ...authors].join('\n    '))
      texts.set(key, entry)
    }
  }
  return [
    'In here is code of the packages below. Their licences and notices follow.',
    packages
      .map(({ name, version, license, source }) => `${name} ${version} (${license}) ${source}`)
      .join('\n'),
    ...(await Promise.all(packages.filter(({ license }) => license.startsWith('LGPL')).map(lgplNotice))),
    ...[...texts.values()]
      .sort((a, b) => order(a.license, b.license))
      .map(({ text, holders }) => `${RULE}\n${holders.join('\n')}\n\n${text}`),
  ].join('\n\n')
}

/** By code units, which are the same in every locale. */
const order = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

async function read(folder: string, files: string[]): Promise<Package> {
  const { name, version, license, repository } = JSON.parse(
    await readFile(join(folder, 'package.json'), 'utf8'),
  )
  const url = String(repository?.url ?? repository ?? `https://www.npmjs.com/package/${name}`)
  const texts = new Set<string>()
  for (const place of placesOf(folder, files)) {
    for (const file of (await readdir(place)).filter((entry) => LICENCE_FILE.test(entry)).sort(order)) {
      texts.add(await readFile(join(place, file), 'utf8'))
    }
  }
  for (const file of files.filter((path) => /\.[cm]?js$/.test(path)).sort(order)) {
    for (const [comment] of (await readFile(file, 'utf8')).matchAll(NOTICE_COMMENT)) texts.add(comment)
  }
  const source = url.replace(/^git\+|\.git$/g, '').replace(/^git:/, 'https:')
  return { folder, name, version, license, source, texts: [...texts] }
}

/** The folders from the files up to the package itself: what is vendored in between has licences of its own. */
function placesOf(folder: string, files: string[]): string[] {
  const places = new Set([folder])
  for (const file of files) {
    for (let place = dirname(file); place.length > folder.length; place = dirname(place)) places.add(place)
  }
  return [...places].sort(order)
}

/** The text of a licence that a package only names. */
async function textOf(license: string, name: string, packages: Package[]): Promise<string> {
  const file = join(import.meta.dirname, 'licences', `${license}.txt`)
  if (existsSync(file)) return readFile(file, 'utf8')
  const same = packages.find((other) => other.license === license && other.texts.length > 0)
  if (same?.texts[0] === undefined) throw new Error(`${name} has no licence text: add ${file}.`)
  return same.texts[0]
}

/** A text without the lines that say who holds the copyright, if they stand in one place; and these lines. */
function split(whole: string): { text: string; authors: string[] } {
  const [found, another] = whole.match(/^[ \t]*Copyright .*(?:\r?\n[ \t]*Copyright .*)*$/gm) ?? []
  const isOne = found !== undefined && another === undefined
  return {
    text: (isOne ? whole.replace(found, '') : whole).trim().replaceAll(/(\r?\n){3,}/g, '\n\n'),
    authors: isOne ? found.split('\n').map((line) => line.trim()) : [],
  }
}

/** What the LGPL asks for in addition to its text (sections 4 and 5): that it is used, what is built in, and where its source is. */
async function lgplNotice({ folder, name, version, source }: Package): Promise<string> {
  if (name === 'libheif-js') {
    return [
      `${name} is libheif ${version} with libde265, as WebAssembly, in files of its own under node_modules/`,
      'of this zip: you may change it and put yours in its place. Its source are',
      `${source}/tree/v${version}, whose scripts fetch it,`,
      'https://github.com/strukturag/libheif and https://github.com/strukturag/libde265; the licence',
      'of the two is in libheif-wasm/LICENSE.',
    ].join('\n')
  }
  const built = JSON.parse(await readFile(join(folder, 'versions.json'), 'utf8')) as Record<string, string>
  const readme = await readFile(join(folder, 'README.md'), 'utf8')
  return [
    `${name} is a shared library, in a file of its own under node_modules/ of this zip: you may`,
    'change it and put yours in its place. Its source are the versions below, which the scripts at',
    `${source}/tree/v${version} fetch and build; libvips itself is at`,
    'https://github.com/libvips/libvips.',
    '',
    ...Object.entries(built).map(([library, of]) => `${library} ${of}`),
    '',
    readme.slice(readme.indexOf('This software contains')).trim(),
  ].join('\n')
}
