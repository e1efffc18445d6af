import * as fc from 'fast-check'
import { readOptions, runCommand, wholeNumber } from '../../build/command.ts'
import { preparePictures } from './scenario.ts'
import { beyondBudget, budgeted, scenarios, singleFaults, tell, violations } from './schedules.ts'

const USAGE = `npm run simulate -- [options]

Plays API, worker and sweeper in virtual time, with every single fault and then with many at once, and says whether a promise
of docs/nothing-is-lost.md is broken.

  --schedules N  random schedules of faults (2000)
  --seed N       of the schedules: the same seed has the same ones (another each time)
  -h, --help`

/**
 * `npm run simulate -- --schedules 20000 --seed 1`: every single fault, then so many random schedules of many. Ends with
 * exit code 1 at the first broken promise, and prints its seed and its shortest story.
 */
async function main(): Promise<void> {
  const { values } = readOptions('npm run simulate', USAGE, {
    options: {
      schedules: { type: 'string', default: '2000' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    },
  })
  const schedules = wholeNumber('--schedules', values.schedules)
  const seed = wholeNumber('--seed', values.seed)

  const prepared = await preparePictures()
  let last = performance.now()
  const progress = (what: string): void => {
    if (performance.now() - last < 1_000) return
    last = performance.now()
    if (process.stdout.isTTY) process.stdout.write(`\r${what}\u001b[K`)
  }
  const clear = () => process.stdout.isTTY && process.stdout.write('\r\u001b[K')

  let played = 0
  for await (const scenario of singleFaults(prepared)) {
    const story = await tell(scenario, prepared)
    if (story !== undefined) {
      clear()
      console.log(`${story}\n\nA single fault breaks a promise.`)
      process.exit(1)
    }
    played += 1
    progress(`${played} single faults`)
  }
  clear()
  console.log(`${played} single faults, 0 violations`)

  played = 0
  const result = await fc.check(
    fc.asyncProperty(scenarios, async (scenario) => {
      played += 1
      progress(`${played} of ${schedules} schedules`)
      return (await violations(scenario, prepared)).length === 0
    }),
    { seed, numRuns: schedules, endOnFailure: false },
  )
  clear()
  const shortest = result.counterexample?.[0]
  if (result.failed && shortest !== undefined) {
    console.log(await tell(shortest, prepared))
    console.log(
      `\n${result.numRuns} schedules, a violation; again with: npm run simulate -- --schedules ${schedules} --seed ${seed}`,
    )
    process.exit(1)
  }
  console.log(`${schedules} schedules, 0 violations`)

  played = 0
  await fc.assert(
    fc.asyncProperty(budgeted, async (scenario) => {
      played += 1
      progress(`${played} of ${schedules} schedules with a budget`)
      const wrong = await beyondBudget(scenario, prepared)
      if (wrong !== undefined) throw new Error(wrong)
    }),
    { seed, numRuns: schedules },
  )
  clear()
  console.log(`${schedules} schedules with a budget, 0 calls beyond it`)
}

await runCommand(main)
