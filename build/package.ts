import { join } from 'node:path'
import { build } from 'esbuild'
import { ROOT } from './bundle.ts'

/**
 * Client and command line as JavaScript, for a package: Node runs no TypeScript below node_modules. Their types come
 * from `tsc -p cli`.
 */
await build({
  absWorkingDir: ROOT,
  entryPoints: ['cli/client.ts', 'cli/main.ts'],
  outdir: join(ROOT, 'dist', 'cli'),
  bundle: true,
  platform: 'node',
  target: 'node22',
  format: 'esm',
  // What the package depends on is installed with it.
  packages: 'external',
})
