import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 30_000,
    hookTimeout: 30_000,
    // Processes, not threads: sharp's settings and blocked loaders belong to a whole process.
    pool: 'forks',
    // Also on two cores: the longest file mostly waits for Terraform, and Terraform for its emulator.
    maxWorkers: 3,
    execArgv: ['--disable-warning=ExperimentalWarning'],
  },
})
