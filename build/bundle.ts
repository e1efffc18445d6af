import { readFileSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type BuildOptions, build, type Metafile, type Plugin } from 'esbuild'

export const FUNCTIONS = ['api', 'worker', 'sweeper'] as const
export type FunctionName = (typeof FUNCTIONS)[number]

/** What goes into a zip: paths with forward slashes, and their bytes. */
export type Files = Record<string, Uint8Array>

export interface Bundle {
  files: Files
  metafile: Metafile
}

export const ROOT = join(import.meta.dirname, '..')

/**
 * Lambda finds `index.handler` here. The code itself is CommonJS, which loads in five sixths of the time that the
 * same code takes as an ES module (`npm run bench -- cold-start`).
 */
const ENTRY = `import { createRequire } from 'node:module'
export const { handler } = createRequire(import.meta.url)('./main.cjs')
`

/** Files that the code reads beside itself, by function. */
const ASSETS: Partial<Record<FunctionName, string>> = { api: 'web' }

/**
 * On Lambda credentials are in the environment, or behind a URL that the environment names. The SDK's default chain
 * asks there too, but carries SSO, STS, profiles and EC2 along: 130 KB that no function uses.
 */
const CREDENTIALS = `
import { fromEnv } from '@aws-sdk/credential-provider-env'
import { fromHttp } from '@aws-sdk/credential-provider-http'
import { credentialsTreatedAsExpired } from './defaultProvider'
import { memoizeChain } from './runtime/memoize-chain'
export const defaultProvider = (init) =>
  memoizeChain([fromEnv(init), (properties) => fromHttp(init)(properties)], credentialsTreatedAsExpired)
`

/**
 * The SDK describes every operation of a service in arrays with computed keys. A computed key might have an effect, so
 * esbuild keeps all of them; as the value of a function marked pure, an unused one goes. For S3 that is 60 KB.
 */
const withPureSchemas = (source: string): string =>
  source.replaceAll(
    /^((?:export )?(?:var|const) \S+ = )(\[\d[\s\S]*?\]);$/gm,
    (_, name: string, array: string) => `${name}/* @__PURE__ */ (() => ${array})();`,
  )

/** An empty map: the bundle's map then has our own lines only, and Node reads it all at each start. */
const WITHOUT_MAP = `\n//# sourceMappingURL=data:application/json;base64,${btoa('{"version":3,"sources":[""],"mappings":"A"}')}`

const slim: Plugin = {
  name: 'slim',
  setup({ onLoad }) {
    onLoad({ filter: /node_modules.+\.[cm]?js$/ }, ({ path }) => {
      const file = path.replaceAll('\\', '/')
      if (file.endsWith('/credential-provider-node/dist-es/index.js'))
        return { contents: CREDENTIALS + WITHOUT_MAP }
      const source = readFileSync(path, 'utf8')
      const contents = /\/client-[a-z0-9]+\/dist-es\/schemas\//.test(file) ? withPureSchemas(source) : source
      return { contents: contents + WITHOUT_MAP }
    })
  },
}

export const ESBUILD: BuildOptions = {
  bundle: true,
  platform: 'node',
  target: 'node22',
  format: 'cjs',
  // ES modules where a package has them: esbuild can only leave out unused code of those.
  mainFields: ['module', 'main'],
  minify: true,
  sourcemap: 'linked',
  // Stack traces need names and lines; the sources themselves are in the repository.
  sourcesContent: false,
  legalComments: 'none',
  external: ['sharp'],
  plugins: [slim],
  // The bundle stands where api/ stands in the repository: '../web/page.html' is in the zip's folder web/.
  define: { 'import.meta.url': 'bundleUrl' },
  banner: { js: `const bundleUrl = require('node:url').pathToFileURL(__dirname + '/bundle/').href` },
}

/** One function's code, ready to be loaded from the folder that `files` are written to. */
export async function bundle(name: FunctionName): Promise<Bundle> {
  const { outputFiles, metafile } = await build({
    ...ESBUILD,
    absWorkingDir: ROOT,
    entryPoints: [`${name}/handler.ts`],
    outfile: 'main.cjs',
    write: false,
    metafile: true,
  })
  const files: Files = { 'index.mjs': Buffer.from(ENTRY) }
  for (const { path, contents } of outputFiles) files[path.slice(ROOT.length + 1)] = contents
  const assets = ASSETS[name]
  for (const file of assets === undefined ? [] : await readdir(join(ROOT, assets))) {
    if (/\.(html|css|js)$/.test(file)) files[`${assets}/${file}`] = await readFile(join(ROOT, `${assets}/${file}`))
  }
  return { files, metafile }
}
