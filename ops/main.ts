import { sleep } from '../shared/aws.ts'
import { namingSilence } from '../shared/machine.ts'
import { main } from './commands.ts'

process.stdout.on('error', ({ code, message }: NodeJS.ErrnoException) => {
  // The reader has gone (… | head): 128 and the number of SIGPIPE, as shells have it. Another run resumes what was begun.
  if (code === 'EPIPE') process.exit(141)
  process.stderr.write(`The results cannot be written: ${message}\n`)
  process.exit(1)
})
// Remarks that have no reader are no reason to stop.
process.stderr.on('error', () => {})

const err = (text: string): void => void process.stderr.write(text)
const run = () =>
  main(process.argv.slice(2), {
    out: (text) => void process.stdout.write(text),
    err,
    canAsk: process.stdin.isTTY,
    sleep,
  })
process.exitCode = await namingSilence((sentence) => err(`${sentence}\n`), run)
