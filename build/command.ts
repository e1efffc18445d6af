import { type ParseArgsConfig, parseArgs } from 'node:util'
import { wrongOption } from '../shared/machine.ts'

/** In one sentence, what a command cannot be asked for, and what it can. */
export class WrongUsage extends Error {}

/** What a command is for and takes, to a person who asked for that only. */
class Help extends Error {}

/**
 * @param command as a person types it
 * @param usage what --help says
 * @throws WrongUsage; Help, which runCommand prints
 */
export function readOptions<T extends ParseArgsConfig>(command: string, usage: string, config: T) {
  const args = config.args ?? process.argv.slice(2)
  if (args.some((argument) => argument === '--help' || argument === '-h')) throw new Help(usage)
  try {
    return parseArgs(config)
  } catch (error) {
    const what = wrongOption(error)
    if (what === undefined) throw error
    const names = Object.keys(config.options ?? {}).map((name) => `--${name}`)
    throw new WrongUsage(`${what}: ${command} takes ${names.join(', ') || 'no options'}.`)
  }
}

/** @throws WrongUsage that names what there is to choose from */
export function oneOf<T extends string>(option: string, choices: readonly T[], given: string): T {
  const chosen = choices.find((choice) => choice === given)
  if (chosen === undefined) throw new WrongUsage(`${option} must be ${choices.join(' or ')}, not ${given}.`)
  return chosen
}

/** @throws WrongUsage */
export function wholeNumber(option: string, given: string, least = 0): number {
  if (/^\d{1,15}$/.test(given) && Number(given) >= least) return Number(given)
  const from = least === 0 ? '' : ` from ${least} on`
  throw new WrongUsage(`${option} must be a whole number${from}, not ${given || 'empty'}.`)
}

/**
 * What a file that is started does: wrong usage ends it with exit code 2 and a sentence, without a stack; what the system
 * refuses, as on a full disk or in another user's folder, ends it with 1 and the system's words; --help with 0.
 */
export async function runCommand(main: () => Promise<void>): Promise<void> {
  try {
    await main()
  } catch (error) {
    if (error instanceof Help) {
      process.stdout.write(`${error.message}\n`)
      return
    }
    const isRefused = error instanceof Error && 'syscall' in error
    if (!isRefused && !(error instanceof WrongUsage)) throw error
    process.stderr.write(`${error.message}\n`)
    process.exitCode = isRefused ? 1 : 2
  }
}
