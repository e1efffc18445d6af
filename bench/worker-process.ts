import { readFileSync } from 'node:fs'
import type { Context, SQSEvent } from 'aws-lambda'
import { handler } from '../worker/handler.ts'
import { highestResidentSize } from './decode-memory.ts'

/** The Lambda function by itself: works through the batches in a file, a line each, and tells of its memory. */
const [, , file = ''] = process.argv
const sizes: number[] = []
let returned = 0
for (const line of readFileSync(file, 'utf8').trim().split('\n')) {
  // Longer than a real one, so that a slow machine has its batch's peak seen.
  const end = Date.now() + 600_000
  const context = { getRemainingTimeInMillis: () => end - Date.now() } as Context
  const { batchItemFailures } = await handler(JSON.parse(line) as SQSEvent, context)
  returned += batchItemFailures.length
  sizes.push(process.memoryUsage.rss())
}
process.stdout.write(`${JSON.stringify({ peak: highestResidentSize(), returned, sizes })}\n`)
process.exit()
