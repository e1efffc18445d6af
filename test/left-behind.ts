import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs'
import { resolve } from 'node:path'

/** What a test has started and made. All of it is ended and removed after the test (setup.ts). */
export const children: ChildProcess[] = []
export const folders: string[] = []

export async function clear(): Promise<void> {
  for (const child of children.splice(0)) {
    if (child.kill('SIGKILL')) await once(child, 'exit')
  }
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
}

/**
 * Programs of this checkout that the tests of this run have started and that still run; where there is no /proc, none is seen.
 * @param mark what their environment has, and that of no other run
 */
export function leftBehind(mark: string): string[] {
  const root = resolve(import.meta.dirname, '..')
  if (!existsSync('/proc/self/environ')) return []
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
    .flatMap((pid) => {
      try {
        const [program, environment] = ['cmdline', 'environ'].map((part) =>
          readFileSync(`/proc/${pid}/${part}`, 'utf8').split('\0'),
        )
        const isOurs = environment?.includes(mark) && readlinkSync(`/proc/${pid}/cwd`) === root
        return isOurs && program?.some((part) => /^(local|rekognition|worker|ops)\/.*\.ts$/.test(part))
          ? [program.join(' ')]
          : []
      } catch {
        return [] // it has ended, or belongs to another user
      }
    })
}
