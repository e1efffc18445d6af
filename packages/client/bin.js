#!/usr/bin/env node
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

// npm runs scripts in the package's folder; a relative path is meant from where the person stands.
const { INIT_CWD, npm_lifecycle_event } = process.env
if (npm_lifecycle_event === 'cli' && INIT_CWD) process.chdir(INIT_CWD)

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
const source = fileURLToPath(new URL('main.ts', import.meta.url))
if (process.argv[2] === '--version') {
  const { version } = JSON.parse(readFileSync(new URL('package.json', import.meta.url), 'utf8'))
  console.log(`image-analyzer ${version}`)
} else if (existsSync(source)) {
  // Node warns that running TypeScript is experimental, which means nothing to a user; other warnings stay.
  const printers = process.listeners('warning')
  process.removeAllListeners('warning')
  process.on('warning', (warning) => {
    if (warning.name !== 'ExperimentalWarning') for (const print of printers) print(warning)
  })
  process.argv.splice(2, 0, source)
  await import('../../run.js')
} else if (major < 22 || (major === 22 && minor < 18)) {
  console.error(`image-analyzer needs Node 22.18 or newer, and this is ${process.versions.node}.`)
  process.exitCode = 2
} else {
  // A package has JavaScript only, because Node runs no TypeScript below node_modules.
  await import('./dist/main.js')
}
