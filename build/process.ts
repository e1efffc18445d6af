import { mkdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { oneOf } from './build.ts'
import { bundle, ROOT } from './bundle.ts'
import { heicFiles } from './heic.ts'
import { ARCHITECTURES, type Arch, LIBCS, type Libc, sharpFor } from './sharp.ts'
import { thirdParty } from './third-party.ts'

/**
 * The worker outside Lambda as a folder that needs nothing but Node: `node index.mjs` is `npm run worker`. The Dockerfile
 * makes an image of it.
 *
 * @param say gets a line for every step that may take a while
 * @throws InstallFailed where sharp's binaries cannot be fetched
 */
export async function buildProcess(
  folder: string,
  { arch, libc, heic }: { arch: Arch; libc: Libc; heic: boolean },
  say: (line: string) => void,
): Promise<void> {
  const { files, metafile } = await bundle('worker', 'main')
  const sharp = await sharpFor(arch, libc, say)
  const libheif = heic ? await heicFiles() : { files: {}, packages: [] }
  const all = {
    ...{ ...files, ...sharp.files, ...libheif.files },
    'THIRD-PARTY': Buffer.from(await thirdParty(metafile, [...sharp.packages, ...libheif.packages])),
  }
  await rm(folder, { recursive: true, force: true })
  for (const [path, bytes] of Object.entries(all)) {
    await mkdir(dirname(join(folder, path)), { recursive: true })
    await writeFile(join(folder, path), bytes)
  }
}

if (process.argv[1] === import.meta.filename) {
  const { arch, libc, heic } = parseArgs({
    options: {
      arch: { type: 'string', default: process.arch },
      libc: { type: 'string', default: 'glibc' },
      heic: { type: 'boolean', default: false },
    },
  }).values
  const folder = join(ROOT, 'dist', 'worker')
  const platform = { arch: oneOf('--arch', ARCHITECTURES, arch), libc: oneOf('--libc', LIBCS, libc), heic }
  await buildProcess(folder, platform, (line) => void process.stdout.write(`${line}\n`))
  process.stdout.write(`${folder}\n`)
}
