import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { join, resolve } from 'node:path'
import { readOptions, runCommand, WrongUsage, wholeNumber } from '../build/command.ts'

interface Wanted {
  count: number
  folders: string[]
}
/** Those that a change of speed or of cost shows in: ten minutes on two cores. */
const USUAL: Record<string, (wanted: Wanted) => Promise<object[]>> = {
  'cold-start': async () => (await import('./cold-start.ts')).coldStart(),
  pipeline: async () => (await import('./pipeline.ts')).pipeline(),
  requests: async () => (await import('./requests.ts')).requests(),
  quota: async () => (await import('./quota.ts')).quota(),
  growth: async () => (await import('./growth.ts')).growth(),
  peers: async () => (await import('./peers.ts')).peers(),
  post: async () => (await import('./post.ts')).post(),
  memory: async () => (await import('./worker-memory.ts')).memoryOverTime(),
}
const BENCHMARKS: typeof USUAL = {
  ...USUAL,
  preview: async () => (await import('./preview.ts')).preview(),
  page: async () => (await import('./page.ts')).page(),
  'decode-memory': async () => (await import('./decode-memory.ts')).decodeMemory(),
  'worker-memory': async () => (await import('./worker-memory.ts')).workerMemory(),
  'start-memory': async () => (await import('./start-memory.ts')).startMemory(),
  overload: async () => (await import('./overload.ts')).overload(),
  vision: async ({ count, folders }) => (await import('./vision.ts')).vision(count, folders),
  quality: async ({ folders }) => (await import('./quality.ts')).quality(folders),
  'quality-whole': async ({ folders }) => (await import('./quality-whole.ts')).qualityWhole(folders),
  durability: async () => (await import('./overload.ts')).durability(),
}

const USAGE = `npm run bench -- [name …] [options]

Runs the benchmarks that are named, prints a table of each, and keeps it in bench/results/latest.json.
bench/README.md says what each measures. There are
${Object.keys(BENCHMARKS).join(' ')}.
Without a name, the first ${Object.keys(USUAL).length} run: ten minutes on two cores.

  --pictures FOLDER  with the pictures of quality, quality-whole and vision; may come several times
  --count N          pictures that vision sends (1000)
  -h, --help`

/**
 * `npm run bench` runs the usual benchmarks, `npm run bench -- NAME …` some; prints a table for each and keeps
 * it in `bench/results/latest.json`. Each compares alternatives in one run and gives ratios or sizes: figures of two runs,
 * or of two machines, are not comparable.
 */
async function main(): Promise<void> {
  const { values: options, positionals: wanted } = readOptions('npm run bench', USAGE, {
    allowPositionals: true,
    options: {
      pictures: { type: 'string', multiple: true, default: [] },
      count: { type: 'string', default: '1000' },
    },
  })
  // npm runs scripts in the package's folder; a relative path is meant from where the person stands.
  const folders = options.pictures.map((folder) => resolve(process.env['INIT_CWD'] ?? '.', folder))
  const count = wholeNumber('--count', options.count)
  const unknown = wanted.filter((name) => !Object.hasOwn(BENCHMARKS, name))
  if (unknown.length > 0)
    throw new WrongUsage(
      `There is no benchmark ${unknown.join(', ')}; there are ${Object.keys(BENCHMARKS).join(', ')}.`,
    )
  const machine = {
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
    cores: cpus().length,
  }
  const folder = join(import.meta.dirname, 'results')
  const file = join(folder, 'latest.json')
  mkdirSync(folder, { recursive: true })
  for (const name of wanted.length > 0 ? wanted : Object.keys(USUAL)) {
    console.log(name)
    const rows = (await BENCHMARKS[name]?.({ count, folders })) ?? []
    console.table(rows)
    // The others stay as they were when they last ran.
    const results = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {}
    const all = { ...results, [name]: { at: new Date().toISOString(), machine, rows } }
    writeFileSync(file, `${JSON.stringify(all, null, 2)}\n`)
  }
}

await runCommand(main)
