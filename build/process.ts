import { mkdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type Decoding, withPackages } from './build.ts'
import { bundle, ROOT } from './bundle.ts'
import { oneOf, readOptions, runCommand } from './command.ts'
import { ARCHITECTURES, LIBCS } from './sharp.ts'

/**
 * The worker outside Lambda as a folder that needs nothing but Node: `node index.mjs` is `npm run worker`. The Dockerfile
 * makes an image of it.
 *
 * @param say gets a line for every step that may take a while
 * @throws InstallFailed where sharp's binaries cannot be fetched
 */
export async function buildProcess(
  folder: string,
  decoding: Decoding,
  say: (line: string) => void,
): Promise<void> {
  const files = await withPackages(await bundle('worker', 'main'), decoding, say)
  await rm(folder, { recursive: true, force: true })
  for (const [path, bytes] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true })
    await writeFile(join(folder, path), bytes)
  }
}

const USAGE = `node run.js build/process.ts [options]

Makes dist/worker, a folder with the worker outside Lambda, for the Dockerfile (docs/worker.md).

  --arch A    of the machine that runs it: ${ARCHITECTURES.join(' or ')} (that of this one)
  --libc L    of that machine: ${LIBCS.join(' or ')} (glibc)
  --heic      with the decoder that HEIC=on needs (docs/heic.md)
  -h, --help`

async function main(): Promise<void> {
  const { arch, libc, heic } = readOptions('build/process.ts', USAGE, {
    options: {
      arch: { type: 'string', default: process.arch },
      libc: { type: 'string', default: 'glibc' },
      heic: { type: 'boolean', default: false },
    },
  }).values
  const folder = join(ROOT, 'dist', 'worker')
  const decoding = { arch: oneOf('--arch', ARCHITECTURES, arch), libc: oneOf('--libc', LIBCS, libc), heic }
  await buildProcess(folder, decoding, (line) => void process.stdout.write(`${line}\n`))
  process.stdout.write(`${folder}\n`)
}

if (process.argv[1] === import.meta.filename) await runCommand(main)
