import { defineConfig } from 'vitest/config'
import { LONGEST_MS } from './test/until.ts'

/**
 * Only the last net: what a test waits for, it waits for by `until`, which fails when nothing moves and says what did
 * not come. Ten minutes are more than any of them takes on a machine that has ten times as much to do as it can.
 */
const LAST_NET_MS = 600_000

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: LAST_NET_MS,
    hookTimeout: LAST_NET_MS,
    teardownTimeout: LAST_NET_MS,
    expect: { poll: { timeout: LONGEST_MS } },
    // Processes, not threads: sharp's settings and blocked loaders belong to a whole process.
    pool: 'forks',
    // Also on two cores: the longest file mostly waits for Terraform, and Terraform for its emulator.
    maxWorkers: 3,
    execArgv: ['--disable-warning=ExperimentalWarning'],
  },
})
