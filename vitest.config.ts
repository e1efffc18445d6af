import { basename } from 'node:path'
import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'
import { LONGEST_MS } from './test/until.ts'

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
if (major < 22 || (major === 22 && minor < 18))
  throw new Error(
    `The tests need Node 22.18 or newer, and this is ${process.versions.node}. "npm test -- test/x.test.ts" brings its own.`,
  )

/**
 * Only the last net: what a test waits for, it waits for by `until`, which fails when nothing moves and says what did
 * not come. Ten minutes are more than any of them takes on a machine that has ten times as much to do as it can.
 */
const LAST_NET_MS = 600_000

/** The files that take longest begin first, so that the run does not end with one of them and an idle core. */
const SLOWEST = [
  ...['terraform', 'simulation', 'page', 'start', 'cli', 'backlog', 'build', 'artefact', 'permissions'],
  ...[
    'worker',
    'worker-again',
    'worker-analyses',
    'text',
    'vision',
    'pipeline',
    'corpus',
    'uploads',
    'overload',
    'crash',
    'rules',
    'ports',
    'disk',
  ],
  ...['bench', 'runbook', 'ops', 'worker-process', 'idempotency', 'analyses', 'alarms', 'limiter'],
  ...['package', 'examples', 'isolation', 'docs', 'added-models', 'rekognition-alone', 'thread', 'lambda'],
  ...['aws-cli', 'api-destinations', 'data-folder', 'sight', 'heic', 'api', 'sweeper', 'labels'],
]
class SlowestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const found = SLOWEST.indexOf(basename(moduleId, '.test.ts'))
      return found === -1 ? SLOWEST.length : found
    }
    return (await super.sort(files)).toSorted((a, b) => rank(a) - rank(b))
  }
}

/**
 * For the processes of the tests alone (test/setup.ts): glibc takes memory for pictures in pages of 2 MB. With pages of 4 KB
 * the first touch of each of 350,000 is a fifth of the processor's time of two files about pictures, on a virtual machine.
 */
process.env['GLIBC_TUNABLES'] ??= 'glibc.malloc.hugetlb=1'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts', 'packages/*/test/**/*.test.ts'],
    testTimeout: LAST_NET_MS,
    hookTimeout: LAST_NET_MS,
    teardownTimeout: LAST_NET_MS,
    expect: { poll: { timeout: LONGEST_MS } },
    // Processes, not threads: sharp's settings and blocked loaders belong to a whole process.
    pool: 'forks',
    // One process runs many files: what they import is loaded once, a fifth of the CPU time of the whole run.
    isolate: false,
    // Also on two cores: the longest files mostly wait, for Terraform and its emulator, for browsers and for programs.
    maxWorkers: 4,
    sequence: { sequencer: SlowestFirst },
    globalSetup: 'test/shared-folder.ts',
    setupFiles: 'test/setup.ts',
    execArgv: [
      '--disable-warning=ExperimentalWarning',
      // Simulations make much that is soon forgotten: with more room for it, a tenth less of the processor.
      '--max-semi-space-size=64',
      // As Node 24 does by default: one hook less for each promise, a twentieth of the processor. The zips run without.
      ...(major < 24 ? ['--experimental-async-context-frame'] : []),
    ],
  },
})
