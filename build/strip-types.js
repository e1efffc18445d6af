import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import * as module from 'node:module'
import { fileURLToPath } from 'node:url'
import { threadId } from 'node:worker_threads'

/**
 * Keeps what Node makes of TypeScript files. To strip types, each process and each thread loads a compiler: a fifth of the
 * processor time in which `npm start` starts, and an eighth of its memory then. (Node's own compile cache does not keep it.)
 */
const FOLDER = new URL('../node_modules/.cache/image-analyzer/', import.meta.url)
const hash = (text) => createHash('sha256').update(text).digest('hex')

// Not in Node 23 before 23.5.
module.registerHooks?.({
  load: (url, context, next) => {
    if (!/^file:.*\.ts$/.test(url) || url.includes('/node_modules/')) return next(url, context)
    const source = strip(url)
    return source === undefined ? next(url, context) : { format: 'module', source, shortCircuit: true }
  },
})

function strip(url) {
  const code = readFileSync(fileURLToPath(url), 'utf8')
  const kept = new URL(hash(url), FOLDER)
  // At the end, so that half a file is not taken for a whole one.
  const mark = `\n//${hash(process.version + code)}`
  try {
    const source = readFileSync(kept, 'utf8')
    if (source.endsWith(mark)) return source
  } catch {
    // Not there yet.
  }
  const source = stripped(code)
  if (source === undefined) return undefined
  try {
    mkdirSync(FOLDER, { recursive: true })
    const written = new URL(`${kept.href}.${process.pid}.${threadId}`)
    writeFileSync(written, source + mark)
    renameSync(written, kept)
  } catch {
    // A folder that cannot be written, or a full disk: the next start takes longer, and is the same.
  }
  return source
}

/** @returns undefined where it is wrong, which Node itself says with the name of the file */
function stripped(code) {
  try {
    return module.stripTypeScriptTypes(code)
  } catch {
    return undefined
  }
}
