import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'

const root = join(import.meta.dirname, '..')
const read = (path: string): string => readFileSync(join(root, path), 'utf8')
const pages = globSync(['*.md', 'llms.txt', 'docs/**/*.md', 'examples/**/*.md', 'infrastructure/**/*.md'], {
  cwd: root,
})

it('what people read links only to files that there are', () => {
  expect(pages.length).toBeGreaterThan(20)
  const dead = pages.flatMap((page) =>
    [...read(page).matchAll(/\]\((?!https?:|#)([^)\s#]+)[^)]*\)/g)].flatMap(([, link = '']) =>
      existsSync(join(root, dirname(page), decodeURI(link))) ? [] : [`${page}: ${link}`],
    ),
  )
  expect(dead).toEqual([])
})

describe('docs/on-aws.md', () => {
  const commands = [...read('docs/on-aws.md').matchAll(/^```sh\n([\s\S]*?)^```/gm)].map(([, text]) => text)
  const all = commands.join('\n')
  const named = (pattern: RegExp): string[] => [...all.matchAll(pattern)].map(([, name = '']) => name)

  it('names only scripts, settings, outputs and files that there are', () => {
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> }
    const known = {
      scripts: Object.keys(scripts),
      settings: [...read('infrastructure/variables.tf').matchAll(/^variable "(\w+)"/gm)].map(
        ([, name]) => name,
      ),
      outputs: [...read('infrastructure/outputs.tf').matchAll(/^output "(\w+)"/gm)].map(([, name]) => name),
    }
    const scriptNames = named(/npm run ([\w-]+)/g)
    const settings = named(/-var=(\w+)/g)
    const outputs = named(/output -raw (\w+)/g)
    expect([scriptNames.length, settings.length, outputs.length]).toEqual([4, 2, 1])
    expect(scriptNames.filter((name) => !known.scripts.includes(name))).toEqual([])
    expect(settings.filter((name) => !known.settings.includes(name))).toEqual([])
    expect(outputs.filter((name) => !known.outputs.includes(name))).toEqual([])
    expect(named(/^sh (\S+)/gm).filter((file) => !existsSync(join(root, file)))).toEqual([])
  })
})
