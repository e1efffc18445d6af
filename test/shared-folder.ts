import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { leftBehind } from './left-behind.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** A folder for what is costly to make and then never changes. */
    sharedFolder: string
  }
}

export default function setUp(project: TestProject): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'image-analyzer-shared-'))
  project.provide('sharedFolder', folder)
  return () => {
    rmSync(folder, { recursive: true, force: true })
    const left = leftBehind()
    if (left.length > 0) throw new Error(`Tests have left programs running: ${left.join(', ')}`)
  }
}
