#!/usr/bin/env node
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

// Node says that running TypeScript is experimental, to whoever reads the output of this; other warnings stay.
const printers = process.listeners('warning')
process.removeAllListeners('warning')
process.on('warning', (warning) => {
  if (warning.name !== 'ExperimentalWarning') for (const print of printers) print(warning)
})

// A package has JavaScript only (build/package.ts), because Node runs no TypeScript below node_modules.
const source = fileURLToPath(new URL('main.ts', import.meta.url))
const built = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
process.argv.splice(2, 0, existsSync(source) ? source : built)
await import('../run.js')
