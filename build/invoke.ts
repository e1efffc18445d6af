import { registerHooks } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

/** What the child process says of each event: what the function answered or how it failed, and what it has loaded since. */
export interface Answer {
  answered?: unknown
  error?: string
  loaded: string[]
}

/** The child process in which build/check.ts runs a function: loads it, and answers events as they come. */
const folder = process.argv[2] ?? ''
let loaded: string[] = []
registerHooks({
  load: (url, context, next) => {
    if (url.startsWith(pathToFileURL(folder).href)) loaded.push(fileURLToPath(url).slice(folder.length + 1))
    return next(url, context)
  },
})

async function handle(event: unknown): Promise<unknown> {
  const { handler } = await import(pathToFileURL(join(folder, 'index.mjs')).href)
  if (typeof handler !== 'function') throw new Error('index.mjs exports no handler.')
  return handler(event, { awsRequestId: 'check', getRemainingTimeInMillis: () => 30_000 })
}

process.on('message', async ({ event }: { event: unknown }) => {
  const answer: Answer = await handle(event).then(
    (answered) => ({ answered: answered ?? null, loaded }),
    (error) => ({ error: String(error?.stack ?? error), loaded }),
  )
  loaded = []
  process.send?.(answer)
})
process.on('disconnect', () => process.exit())
