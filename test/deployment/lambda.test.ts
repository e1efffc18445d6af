import { afterAll, vi } from 'vitest'
import { lambdaContext } from '../context.ts'
import { lambdaCases } from './lambda-cases.ts'

afterAll(() => {
  vi.unstubAllEnvs()
})

/** The entries from their source; each import reads the environment again. */
lambdaCases(async (name, environment) => {
  // As a function has them, without those of another one.
  vi.unstubAllEnvs()
  for (const [variable, value] of Object.entries(environment)) vi.stubEnv(variable, value)
  vi.resetModules()
  const { handler } = await import(`../../${name}/handler.ts`)
  return async (event) => handler(event, lambdaContext())
})
