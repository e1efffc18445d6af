import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inject } from 'vitest'
import { until } from './until.ts'

/**
 * A folder for what is costly to make and then never changes: made by the first test file that asks for it, in
 * any process, and read by all.
 *
 * @throws Error with the reason, for each that asks, where it could not be made
 */
export async function madeOnce(name: string, make: (folder: string) => Promise<void>): Promise<string> {
  const folder = join(inject('sharedFolder'), name)
  const made = join(folder, 'made')
  const failed = join(folder, 'failed')
  try {
    mkdirSync(folder)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    const isOver = () => existsSync(made) || existsSync(failed)
    await until(`another test file has made the ${name}`, async () => isOver() || undefined, 120_000)
    if (existsSync(failed)) throw new Error(`The ${name} could not be made, as another test file says.`)
    return folder
  }
  try {
    await make(folder)
    writeFileSync(made, '')
  } catch (error) {
    writeFileSync(failed, '')
    throw error
  }
  return folder
}
