import { type IncomingMessage, request, type ServerResponse } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { expect, onTestFinished } from 'vitest'
import { openBackground } from '../local/background.ts'
import { readSettings } from '../local/environment.ts'
import * as local from '../local/system.ts'
import type { Log } from '../shared/log.ts'
import { StartError } from '../shared/machine.ts'
import { SILENT } from './tools.ts'

export type System = local.System

/** All of `npm start` in this thread: what a test does to its clock holds for AWS and the worker too. */
export const startSystem = async (env: NodeJS.ProcessEnv, log: Log): Promise<System> =>
  local.startSystem(readSettings(env), log, openBackground)

/** The same on free ports until the end of the test: a tenth of the work of `npm start`, since all is loaded. */
export async function startHere(env: Record<string, string> = {}, log = SILENT): Promise<System> {
  const system = await startSystem({ REKOGNITION: 'stand-in', PORT: '0', AWS_PORT: '0', ...env }, log)
  onTestFinished(system.stop)
  return system
}

/** The same, and what it says of trouble. */
export async function startQuietly(
  env: Record<string, string> = {},
): Promise<{ system: System; said: string[] }> {
  const said: string[] = []
  const say = (message: string): void => void said.push(message)
  return { system: await startHere(env, { info: () => {}, warn: say, error: say }), said }
}

/** Why the system does not start with these settings: what `npm start` prints after "cannot start: ". */
export async function refusal(env: Record<string, string>): Promise<string> {
  const why = await startHere(env).then(
    () => 'It started.',
    (error) => error,
  )
  expect(why).toBeInstanceOf(StartError)
  return why.message
}

/** Answers a request as the server at an address does: for an emulator that differs from the embedded AWS in one thing. */
export async function passOn(sent: IncomingMessage, answer: ServerResponse, address: string): Promise<void> {
  const body = await buffer(sent)
  const headers = { ...sent.headers, host: new URL(address).host }
  // A connection for each: one that was kept may be closed just as it is used, and the answer would be lost.
  const options = { method: sent.method, headers, agent: false }
  request(new URL(sent.url ?? '', address), options, (from) =>
    from.pipe(answer.writeHead(from.statusCode ?? 500, from.headers)),
  )
    .on('error', () => answer.destroy())
    .end(body)
}
