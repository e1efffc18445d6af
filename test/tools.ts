import { onPath } from '../build/terraform.ts'

/** Those of the programs that this machine lacks. */
export const without = (...programs: string[]): string[] =>
  programs.filter((program) => onPath(program) === undefined)

/**
 * For the name of tests that are skipped: what is lacking for them. `npm test` takes a test that is skipped without this,
 * such as one whose set-up has failed, for a failure.
 */
export const skipped = (lacking: readonly string[]): string =>
  lacking.length > 0 ? ` (skipped: lacking ${lacking.join(', ')})` : ''
