import { openBackground } from '../local/background.ts'
import { readSettings } from '../local/environment.ts'
import * as local from '../local/system.ts'
import type { Log } from '../shared/log.ts'

export type { System } from '../local/system.ts'

/** All of `npm start` in this thread: what a test does to its clock holds for AWS and the worker too. */
export const startSystem = async (env: NodeJS.ProcessEnv, log: Log): Promise<local.System> =>
  local.startSystem(readSettings(env), log, openBackground)
