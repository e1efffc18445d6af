import { sleep } from '../shared/aws.ts'
import { main } from './commands.ts'

process.exitCode = await main(process.argv.slice(2), {
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  canAsk: process.stdin.isTTY,
  sleep,
})
