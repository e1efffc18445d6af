#!/usr/bin/env node
import { fileURLToPath } from 'node:url'

// Node says that running TypeScript is experimental, to whoever reads the output of this; other warnings stay.
const printers = process.listeners('warning')
process.removeAllListeners('warning')
process.on('warning', (warning) => {
  if (warning.name !== 'ExperimentalWarning') for (const print of printers) print(warning)
})

process.argv.splice(2, 0, fileURLToPath(new URL('main.ts', import.meta.url)))
await import('../run.js')
