import { readFileSync } from 'node:fs'

/** What vitest's JSON reporter writes, as far as it is read here. */
interface Report {
  testResults: {
    name: string
    message: string
    assertionResults: { status: string; fullName: string; failureMessages: string[] }[]
  }[]
}

export interface Outcome {
  passed: number
  failed: number
  /** Tests that lack a tool, which their names say. */
  skipped: string[]
  /** Tests that did not run and do not say why: their set-up has failed, or they were forgotten. */
  lost: string[]
  /** Tests of which an assertion failed. A time-out, or an error of a set-up or of the test itself, is none. */
  refuted: string[]
}

/** The reporter leaves the name of what `resolves` and `rejects` have found out; snapshots have errors of their own. */
const ASSERTION = /^AssertionError|^Error: Snapshot .* mismatched|^\s+at .*__VITEST_(RESOLVES|REJECTS)__/m
export const isAssertion = (stack: string): boolean => ASSERTION.test(stack)

function reportAt(path: string): Report {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch (error) {
    const why = 'The tests have no whole report, so they ended early or could not start.'
    throw new Error(`${why} ${(error as Error).message}`)
  }
}

/**
 * @param green whether the run ended well: a file that cannot be loaded, or an error outside of any test, fails it without
 *   failing a test
 * @param chosen whether tests were chosen by their names, so that the others are skipped
 */
export function readReport(path: string, green: boolean, chosen = false): Outcome {
  const { testResults } = reportAt(path)
  const tests = testResults.flatMap((file) => file.assertionResults)
  const names = (those: typeof tests): string[] => those.map((test) => test.fullName)
  const failed = tests.filter((test) => test.status === 'failed')
  const left = chosen ? [] : tests.filter(({ status }) => status !== 'passed' && status !== 'failed')
  const lost = left.filter(({ fullName }) => !fullName.includes('(skipped: '))
  const failures = failed.length + lost.length
  return {
    passed: tests.filter((test) => test.status === 'passed').length,
    failed: failures === 0 && !green ? 1 : failures,
    skipped: names(left.filter((test) => !lost.includes(test))),
    lost: names(lost),
    refuted: names(failed.filter((test) => test.failureMessages.some(isAssertion))),
  }
}
