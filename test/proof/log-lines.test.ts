import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { LINES, METRICS, type Metric } from '../../shared/log.ts'
import { HELP } from '../../shared/machine.ts'

const root = join(import.meta.dirname, '../..')

describe('a line of the log', () => {
  it('is written by one function', () => {
    // The worker's own process says that it begins and ends, and counts the lines.
    const ofTheProcess = ['shared/machine.ts', 'worker/main.ts']
    const files = globSync('{api,worker,sweeper,shared}/**/*.ts', { cwd: root })
    const functions = files.filter((file) => !ofTheProcess.includes(file))
    const others = functions.filter((file) =>
      /\blog\.(info|warn|error|debug)\((?!'')|\bconsole\./.test(readFileSync(join(root, file), 'utf8')),
    )
    expect(others).toEqual([])
  })

  it('has what the saved queries ask for', () => {
    const text = readFileSync(join(root, 'infrastructure/modules/image-analyzer/queries.tf'), 'utf8')
    const queries = [...text.matchAll(/<<-EOT\n([\s\S]*?)EOT/g)].map(([, query = '']) => query)
    expect(queries).toHaveLength(5)
    const known = new Set<string>(Object.values(LINES).flatMap(({ has }): string[] => [...has]))
    const own = ['timestamp', 'service', 'event', 'message', 'images', 'example', 'times']
    const words = 'fields filter sort limit stats count latest max as by in or desc'.split(' ')
    const names = queries.flatMap((query) => query.replaceAll(/"[^"]*"/g, '').match(/[a-z]\w*/gi) ?? [])
    expect(names.filter((name) => !known.has(name) && !own.includes(name) && !words.includes(name))).toEqual(
      [],
    )
    const events = queries.flatMap(
      (query) => /event in \[(.*)\]/.exec(query)?.[1]?.match(/[a-z][a-z ]+/g) ?? [],
    )
    expect(events.filter((name) => !Object.hasOwn(LINES, name))).toEqual([])
    expect(events.length).toBeGreaterThan(7)
  })

  it('is in docs/log.md as it is in the code', () => {
    const rows = Object.entries(LINES).map(
      ([name, { by, level, when, has }]) =>
        `| \`${name}\` | ${by} | ${level} | ${when} | ${has.map((fact) => `\`${fact}\``).join(' ')} |`,
    )
    const documented = readFileSync(join(root, 'docs/log.md'), 'utf8')
    const unitOf = (unit: string): string => (unit === 'Count' ? '' : ` (${unit.toLowerCase()})`)
    const metrics = Object.entries(METRICS).map(
      ([name, unit]) => `| \`${name}\`${unitOf(unit)} | ${HELP[name as Metric]} |`,
    )
    expect(documented.split('\n').filter((row) => row.startsWith('| `'))).toEqual([...rows, ...metrics])
  })
})
