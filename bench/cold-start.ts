import { execFile } from 'node:child_process'
import { cp, mkdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { type BuildOptions, build } from 'esbuild'
import { bundle, ESBUILD, ROOT } from '../build/bundle.ts'
import { httpEvent } from '../build/events.ts'

/**
 * How long the API takes to be imported, and to its first answer, each time in a new process: as it is in the
 * repository, and bundled in several ways. They take turns, so that a busy moment of the machine hits all of them.
 */
const RUNS = 15

/** Within the repository, since what is not bundled has to find node_modules. */
const FOLDER = join(ROOT, 'dist', 'cold-start')

const DEFAULTS: BuildOptions = {
  bundle: true,
  platform: 'node',
  format: 'esm',
  outExtension: { '.js': '.mjs' },
  banner: ESBUILD.banner ?? {},
}

interface Variant {
  name: string
  file: string
  flags?: string[]
}

async function variants(isMeant: (name: string) => boolean): Promise<Variant[]> {
  // Each in a folder beside web/, where the page's files are read.
  await cp(join(ROOT, 'web'), join(FOLDER, 'web'), { recursive: true })
  const make = async (name: string, folder: string, options: BuildOptions): Promise<Variant> => {
    const outdir = join(FOLDER, folder)
    const entryPoints = [{ in: 'api/handler.ts', out: 'index' }]
    if (isMeant(name)) await build({ ...options, absWorkingDir: ROOT, entryPoints, outdir })
    return { name, file: pathToFileURL(join(outdir, 'index.mjs')).href }
  }
  const { files } = await bundle('api')
  for (const [name, bytes] of Object.entries(files)) {
    const file = join(FOLDER, 'chosen', name)
    await mkdir(dirname(file), { recursive: true })
    await writeFile(file, bytes)
  }
  const chosen = pathToFileURL(join(FOLDER, 'chosen', 'index.mjs')).href
  return [
    { name: 'unbundled TypeScript', file: pathToFileURL(join(ROOT, 'api', 'handler.ts')).href },
    await make('unbundled JavaScript', 'packages', { ...DEFAULTS, packages: 'external' }),
    await make('esbuild defaults', 'defaults', DEFAULTS),
    await make('module,main and minified', 'minified', {
      ...DEFAULTS,
      mainFields: ['module', 'main'],
      minify: true,
    }),
    await make('and splitting', 'splitting', { ...ESBUILD, plugins: [], define: {} }),
    { name: 'chosen', file: chosen },
    { name: 'chosen, with source maps', file: chosen, flags: ['--enable-source-maps'] },
  ]
}

/** What one process does: the times of the import, and from its beginning to the first answer. */
const PROBE = `
const [file, event] = process.argv.slice(1)
const begin = performance.now()
const { handler } = await import(file)
const imported = performance.now() - begin
const { statusCode } = await handler(JSON.parse(event), {})
console.log(JSON.stringify([statusCode, imported, performance.now() - begin]))
process.exit()
`

async function measure({ file, flags = [] }: Variant): Promise<{ imported: number; answered: number }> {
  const args = ['--disable-warning=ExperimentalWarning', ...flags, '--input-type=module', '--eval', PROBE]
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [...args, file, JSON.stringify(httpEvent('GET', '/health'))],
    {
      env: {
        AWS_REGION: 'eu-central-1',
        AWS_ACCESS_KEY_ID: 'test',
        AWS_SECRET_ACCESS_KEY: 'test',
        AUTH: 'none',
        IMAGE_BUCKET: 'image-analyzer',
        IMAGE_TABLE: 'image-analyzer-images',
        JOB_QUEUE_URL: 'http://127.0.0.1:9/123456789012/image-analyzer-jobs',
      },
    },
  )
  const [status, imported = 0, answered = 0] = JSON.parse(stdout) as number[]
  if (status !== 200) throw new Error(`${file} answered ${status} to GET /health.`)
  return { imported, answered }
}

const median = (values: number[]): number => values.sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0

export interface ColdStart {
  api: string
  importMs: number
  'of TypeScript': number
  'of JavaScript': number
  firstAnswerMs: number
}

/** @param isMeant whether a way of bundling is measured; the first is, since the others are compared with it */
export async function coldStart(
  runs = RUNS,
  isMeant: (name: string) => boolean = () => true,
): Promise<ColdStart[]> {
  try {
    const all = (await variants(isMeant)).filter(({ name }) => isMeant(name))
    const times = new Map(
      all.map((variant) => [variant, { imported: [] as number[], answered: [] as number[] }]),
    )
    // The first turn brings the files into the machine's cache and does not count.
    for (let run = 0; run <= runs; run += 1) {
      for (const [variant, { imported, answered }] of times) {
        const time = await measure(variant)
        if (run === 0) continue
        imported.push(time.imported)
        answered.push(time.answered)
      }
    }
    const rows = [...times].map(([{ name }, { imported, answered }]) => ({
      name,
      imported: median(imported),
      answered: median(answered),
    }))
    const share = (time: number, of: number): number => Number((time / (rows[of]?.imported ?? 0)).toFixed(2))
    return rows.map(({ name, imported, answered }) => ({
      api: name,
      importMs: Math.round(imported),
      'of TypeScript': share(imported, 0),
      'of JavaScript': share(imported, 1),
      firstAnswerMs: Math.round(answered),
    }))
  } finally {
    await rm(FOLDER, { recursive: true })
  }
}

if (process.argv[1] === import.meta.filename) console.table(await coldStart())
