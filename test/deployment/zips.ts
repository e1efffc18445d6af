import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Built, buildFunction } from '../../build/build.ts'
import { type Bundle, FUNCTIONS, type FunctionName } from '../../build/bundle.ts'
import type { Arch } from '../../build/sharp.ts'
import { unzip } from '../../build/zip.ts'
import { madeOnce } from '../once.ts'

/** The only one whose worker can be loaded here. */
export const HERE: Arch = process.arch === 'arm64' ? 'arm64' : 'x64'

/**
 * The zips for this machine, built once for all test files, and not tried out.
 *
 * @throws InstallFailed where sharp's binaries cannot be fetched
 */
export async function builtZips(): Promise<Built[]> {
  const print = (line: string): boolean => process.stdout.write(`build: ${line}\n`)
  const folder = await madeOnce('zips', async (folder) => {
    const built: Built[] = []
    for (const name of FUNCTIONS) built.push(await buildFunction(name, HERE, print))
    for (const { name, zip } of built) writeFileSync(join(folder, `${name}.zip`), zip)
    const rest = built.map(({ name, metafile }) => ({ name, metafile }))
    writeFileSync(join(folder, 'built.json'), JSON.stringify(rest))
  })
  const built: Omit<Built, 'zip'>[] = JSON.parse(readFileSync(join(folder, 'built.json'), 'utf8'))
  return built.map((one) => ({ ...one, zip: readFileSync(join(folder, `${one.name}.zip`)) }))
}

/** The code in such a zip, without what is packed beside it: to bundle it again takes most of a second. */
export async function bundleOf(name: FunctionName): Promise<Bundle> {
  const built = (await builtZips()).find((one) => one.name === name)
  if (built === undefined) throw new Error(`${name} is not built.`)
  const own = Object.entries(unzip(built.zip)).filter(
    ([file]) => file !== 'THIRD-PARTY' && !file.startsWith('node_modules/'),
  )
  return { files: Object.fromEntries(own), metafile: built.metafile }
}
