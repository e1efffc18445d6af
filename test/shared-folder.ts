import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { onPath } from '../build/terraform.ts'
import { leftBehind } from './left-behind.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** A folder for what is costly to make and then never changes. */
    sharedFolder: string
  }
}

/**
 * Finds the AWS CLI once for all tests. Where pyenv brings the first on the path, its own look for it takes as long as a
 * call of the CLI. Versions before 1.29 and 2.13, as in Debian 12, know no AWS_ENDPOINT_URL and ask AWS itself.
 */
function findAwsCli(): void {
  if (/[\\/]shims[\\/]/.test(onPath('aws') ?? '')) {
    const { status, stdout } = spawnSync('pyenv', ['which', 'aws'], { encoding: 'utf8' })
    if (status === 0) process.env['PATH'] = `${dirname(stdout.trim())}${delimiter}${process.env['PATH']}`
    return
  }
  const { stdout } = spawnSync('aws', ['--version'], { encoding: 'utf8' })
  const [, major, minor] = /^aws-cli\/(\d+)\.(\d+)/.exec(stdout ?? '') ?? []
  if (Number(minor) < (major === '1' ? 29 : 13)) process.env['TOO_OLD'] = 'aws'
}

export default function setUp(project: TestProject): () => void {
  findAwsCli()
  const folder = mkdtempSync(join(tmpdir(), 'image-analyzer-shared-'))
  project.provide('sharedFolder', folder)
  process.env['TEST_RUN'] = folder
  return () => {
    rmSync(folder, { recursive: true, force: true })
    const left = leftBehind(`TEST_RUN=${folder}`)
    if (left.length > 0) throw new Error(`Tests have left programs running: ${left.join(', ')}`)
  }
}
