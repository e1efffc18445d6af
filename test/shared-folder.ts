import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { leftBehind } from './left-behind.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** A folder for what is costly to make and then never changes. */
    sharedFolder: string
  }
}

/** Where pyenv brings the AWS CLI, its own look for it takes as long as a call of the CLI: so it looks once, here. */
function leavePyenvOut(): void {
  const { status, stdout } = spawnSync('pyenv', ['which', 'aws'], { encoding: 'utf8' })
  if (status === 0) process.env['PATH'] = `${dirname(stdout.trim())}${delimiter}${process.env['PATH']}`
}

export default function setUp(project: TestProject): () => void {
  leavePyenvOut()
  const folder = mkdtempSync(join(tmpdir(), 'image-analyzer-shared-'))
  project.provide('sharedFolder', folder)
  process.env['TEST_RUN'] = folder
  return () => {
    rmSync(folder, { recursive: true, force: true })
    const left = leftBehind(`TEST_RUN=${folder}`)
    if (left.length > 0) throw new Error(`Tests have left programs running: ${left.join(', ')}`)
  }
}
