import { readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { decode, encode, type SourceMapSegment } from '@jridgewell/sourcemap-codec'
import { type BuildOptions, build, type Metafile, type Plugin } from 'esbuild'
import { bundlePage, PAGES } from './page.ts'

export const FUNCTIONS = ['api', 'worker', 'sweeper', 'subscriber'] as const
export type FunctionName = (typeof FUNCTIONS)[number]

/** Where a function's handler.ts is. The last one is an example, for examples/subscribers/lambda.tf. */
const folderOf = (name: FunctionName): string => (name === 'subscriber' ? 'examples/subscribers' : name)

/** What goes into a zip: paths with forward slashes, and their bytes. */
export type Files = Record<string, Uint8Array>

export interface Bundle {
  files: Files
  metafile: Metafile
}

export const ROOT = join(import.meta.dirname, '..')

/**
 * The SDK describes every operation of a service in arrays with computed keys. A computed key might have an effect, so
 * esbuild keeps all of them; as the value of a function marked pure, an unused one goes. For S3 that is 60 KB.
 */
const withPureSchemas = (source: string): string =>
  source.replaceAll(
    /^((?:export )?(?:var|const) \S+ = )(\[\d[\s\S]*?\]);$/gm,
    (_, name: string, array: string) => `${name}/* @__PURE__ */ (() => ${array})();`,
  )

/** Leaves our own lines only, if there are any: nine tenths of the maps are about libraries, and would double the zip. */
function ownLinesOf(json: string): string | undefined {
  const map: { sources: string[]; mappings: string } = JSON.parse(json)
  const sources = map.sources.filter((source) => !source.includes('node_modules/'))
  if (sources.length === 0) return undefined
  const indexes = map.sources.map((source) => sources.indexOf(source))
  const lines = decode(map.mappings).map((segments) =>
    segments.flatMap((segment, at): SourceMapSegment[] => {
      const index = indexes[segment[1] ?? -1] ?? -1
      if (index >= 0) return [[segment[0], index, segment[2] ?? 0, segment[3] ?? 0]]
      // Where a library begins, our code ends.
      return at === 0 || (indexes[segments[at - 1]?.[1] ?? -1] ?? -1) >= 0 ? [[segment[0]]] : []
    }),
  )
  return JSON.stringify({ version: 3, sources, names: [], mappings: encode(lines) })
}

const pureSchemas: Plugin = {
  name: 'pure-schemas',
  setup({ onLoad }) {
    onLoad({ filter: /[\\/]client-[a-z0-9]+[\\/]dist-es[\\/]schemas[\\/].+\.js$/ }, async ({ path }) => ({
      contents: withPureSchemas(await readFile(path, 'utf8')),
    }))
  },
}

/**
 * Node reads all that node:http exports when an ES module imports it, and to read WebSocket is to load undici. The SDK needs
 * neither, so what it needs is read by name. That saves a tenth of the processor time until the worker's or the sweeper's first
 * call of AWS (the least of 20 runs each, in turns). The API loads undici in any case, for Request and Response.
 */
const httpByName: Plugin = {
  name: 'http-by-name',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^(node:)?http$/ }, () => ({ path: 'node:http', namespace: 'by-name' }))
    onLoad({ filter: /^node:http$/, namespace: 'by-name' }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule('${path}')`,
    }))
  },
}

/** The best of what bench/cold-start.ts compares. As CommonJS the same code was neither faster nor smaller. */
export const ESBUILD: BuildOptions = {
  bundle: true,
  platform: 'node',
  target: 'node22',
  format: 'esm',
  outExtension: { '.js': '.mjs' },
  // ES modules where a package has them: esbuild can only leave out unused code of those.
  mainFields: ['module', 'main'],
  // What the SDK imports only when needed (how to get credentials from SSO, STS, EC2, …) stays in files of its own,
  // which Lambda never loads. In one file, all that is reachable from there would be wrapped and start slower.
  splitting: true,
  minify: true,
  legalComments: 'none',
  sourcemap: 'external',
  // Stack traces need names and lines; the sources themselves are in the repository.
  sourcesContent: false,
  external: ['sharp'],
  // The names of split files follow from paths, which must not depend on where a linked node_modules really is.
  preserveSymlinks: true,
  plugins: [pureSchemas, httpByName],
  // The bundle stands where api/ stands in the repository, so that '../web/page.html' is the zip's web/page.html.
  define: { 'import.meta.url': 'bundleUrl' },
  banner: {
    js: [
      // Bundled CommonJS packages call require, which an ES module has not.
      "import { createRequire as requireFrom } from 'node:module'",
      'const require = requireFrom(import.meta.url)',
      "const bundleUrl = new URL('bundle/', import.meta.url).href",
    ].join(';'),
  },
}

/** Each is made once: several zips may be of the same code. */
const made = new Map<string, Promise<Bundle>>()

/**
 * One function's code, ready to be loaded from the folder that `files` are written to: `index.mjs` exports `handler`. Or
 * another entry of its folder, to be run.
 */
export function bundle(name: FunctionName, entry = 'handler'): Promise<Bundle> {
  const key = `${name}/${entry}`
  const bundled = made.get(key) ?? makeBundle(name, entry)
  made.set(key, bundled)
  return bundled
}

async function makeBundle(name: FunctionName, entry: string): Promise<Bundle> {
  const { outputFiles, metafile } = await build({
    ...ESBUILD,
    absWorkingDir: ROOT,
    entryPoints: [{ in: `${folderOf(name)}/${entry}.ts`, out: 'index' }],
    outdir: '.',
    write: false,
    metafile: true,
  })
  const files: Files = {}
  for (const { path, text } of outputFiles) {
    if (!path.endsWith('.mjs')) continue
    const file = basename(path)
    const map = ownLinesOf(outputFiles.find((other) => other.path === `${path}.map`)?.text ?? '')
    files[file] = Buffer.from(map === undefined ? text : `${text}//# sourceMappingURL=${file}.map\n`)
    if (map !== undefined) files[`${file}.map`] = Buffer.from(map)
  }
  if (name === 'api') {
    for (const page of PAGES) files[`web/${page}.html`] = Buffer.from(bundlePage(page))
  }
  return { files, metafile }
}

/** What a cold start loads of a bundle: the entry and the files that it imports at once. */
export function loadedAtStart({ outputs }: Metafile): { bytes: number; inputs: Map<string, number> } {
  const reached = new Set(['index.mjs'])
  const inputs = new Map<string, number>()
  let bytes = 0
  // A Set that grows is walked to its end.
  for (const file of reached) {
    const output = outputs[file]
    bytes += output?.bytes ?? 0
    for (const [input, { bytesInOutput }] of Object.entries(output?.inputs ?? {})) {
      inputs.set(input, bytesInOutput)
    }
    for (const { kind, path } of output?.imports ?? []) {
      if (kind === 'import-statement' && path in outputs) reached.add(path)
    }
  }
  return { bytes, inputs }
}
