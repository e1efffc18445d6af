import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Files, ROOT } from './bundle.ts'

const PACKAGE = 'node_modules/libheif-js'
/** What the thread of the decoder reads, and the licences. Unchanged: so another libheif may be put in their place. */
const NEEDED = ['package.json', 'LICENSE', 'README.md'].concat(
  ...['libheif.js', 'libheif.wasm', 'LICENSE'].map((name) => `libheif-wasm/${name}`),
)

/**
 * The decoder of HEIC for worker.zip.
 *
 * @throws Error where the package is not installed
 */
export async function heicFiles(): Promise<{ files: Files; packages: string[] }> {
  if (!existsSync(join(ROOT, PACKAGE))) {
    throw new Error('--heic needs the package libheif-js: run "npm ci --include=optional".')
  }
  const files: Files = {
    // The bundle stands in this folder (ESBUILD of bundle.ts), and finds it beside itself.
    'bundle/heic-thread.mjs': await readFile(join(ROOT, 'packages/image-guard/heic-thread.mjs')),
  }
  for (const name of NEEDED) files[`${PACKAGE}/${name}`] = await readFile(join(ROOT, PACKAGE, name))
  return { files, packages: [join(ROOT, PACKAGE)] }
}
