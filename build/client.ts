import { copyFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { build } from 'esbuild'
import { ROOT } from './bundle.ts'
import { thirdParty } from './third-party.ts'

/**
 * Client and command line as JavaScript for the package, with what signs requests in a file that is loaded when it is
 * needed: a package that depends on nothing. The client is a file of its own, for browsers too: nothing of Node is in
 * it. Types come from `tsc -p packages/client`.
 */
export async function buildClient(outdir: string): Promise<void> {
  await rm(outdir, { recursive: true, force: true })
  const common = { absWorkingDir: ROOT, outdir, bundle: true, target: 'node22', format: 'esm' } as const
  await build({
    ...common,
    entryPoints: ['packages/client/index.ts'],
    platform: 'neutral',
    target: 'es2022',
  })
  const { metafile } = await build({
    ...common,
    entryPoints: ['packages/client/main.ts'],
    platform: 'node',
    mainFields: ['module', 'main'],
    splitting: true,
    legalComments: 'none',
    metafile: true,
    // Bundled CommonJS packages call require, which an ES module has not.
    banner: {
      js: "import { createRequire } from 'node:module';const require = createRequire(import.meta.url)",
    },
  })
  await writeFile(join(outdir, 'THIRD-PARTY'), await thirdParty(metafile, []))
  await copyFile(join(ROOT, 'LICENSE'), join(outdir, 'LICENSE'))
  await copyFile(join(ROOT, 'shared/event.schema.json'), join(outdir, 'event.schema.json'))
}

if (process.argv[1] === import.meta.filename) await buildClient(join(ROOT, 'packages/client/dist'))
