import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

/** The child process in which build/check.ts runs a function: loads it and answers each event in turn. */
process.once('message', async ({ folder, events }: { folder: string; events: unknown[] }) => {
  const { handler } = await import(pathToFileURL(join(folder, 'index.mjs')).href)
  if (typeof handler !== 'function') throw new Error('index.mjs exports no handler.')
  const answers = []
  for (const event of events) {
    answers.push(await handler(event, { awsRequestId: 'check', getRemainingTimeInMillis: () => 30_000 }))
  }
  process.send?.(answers, () => process.exit())
})
