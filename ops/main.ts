import { sleep } from '../shared/aws.ts'
import { main } from './commands.ts'

process.stdout.on('error', ({ code, message }: NodeJS.ErrnoException) => {
  // The reader has gone (… | head): 128 and the number of SIGPIPE, as shells have it. Another run resumes what was begun.
  if (code === 'EPIPE') process.exit(141)
  process.stderr.write(`The results cannot be written: ${message}\n`)
  process.exit(1)
})
// Remarks that have no reader are no reason to stop.
process.stderr.on('error', () => {})

process.exitCode = await main(process.argv.slice(2), {
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  canAsk: process.stdin.isTTY,
  sleep,
})
