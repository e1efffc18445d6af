import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { readWorkerProcessConfig } from '../../shared/config.ts'
import { skipped, without } from '../tools.ts'

const folder = join(import.meta.dirname, '../../examples/kubernetes')
const lacking = without('kubectl')

describe.skipIf(lacking.length > 0)(`examples/kubernetes${skipped(lacking)}`, () => {
  const rendered = (): string => execFileSync('kubectl', ['kustomize', folder], { encoding: 'utf8' })

  it('has settings that the worker takes, and gives it the time that it drains for', () => {
    const text = rendered()
    const [, data = ''] = /^apiVersion: v1\ndata:\n((?: {2}.*\n)+)kind: ConfigMap/m.exec(text) ?? []
    const env = Object.fromEntries(
      [...data.matchAll(/^ {2}(\w+): "?(.*?)"?$/gm)].map(([, name = '', value = '']) => [name, value]),
    )
    const port = /name: HEALTH_PORT\n +value: "(\d+)"/.exec(text)?.[1]
    const config = readWorkerProcessConfig({ ...env, HEALTH_PORT: port })
    expect(Object.keys(config)).toEqual(
      expect.arrayContaining(Object.keys(env).filter((name) => name !== 'AWS_REGION')),
    )
    expect(text).toContain(`containerPort: ${config.HEALTH_PORT}\n`)
    expect(Number(/terminationGracePeriodSeconds: (\d+)/.exec(text)?.[1])).toBeGreaterThan(
      config.DRAIN_SECONDS,
    )
    expect(Number(/queueLength: "(\d+)"/.exec(text)?.[1])).toBe(config.BATCH_SIZE * config.WORKER_CONCURRENCY)
  })

  it('asks what the worker answers, keeps it from rights, and counts jobs that wait', () => {
    const text = rendered()
    const health = readFileSync(join(folder, '../../worker/main.ts'), 'utf8')
    const paths = [...text.matchAll(/path: (\S+)/g)].map(([, path = '']) => path)
    expect(paths.sort()).toEqual(['/live', '/ready'])
    expect(paths.filter((path) => !health.includes(`'${path}'`))).toEqual([])
    for (const line of [
      'runAsNonRoot: true',
      'readOnlyRootFilesystem: true',
      'allowPrivilegeEscalation: false',
    ])
      expect(text).toContain(line)
    for (const name of ['scaleOnInFlight', 'scaleOnDelayed']) expect(text).toContain(`${name}: "true"`)
  })
})
