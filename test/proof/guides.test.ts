import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { readAuth, readSettings, SETTINGS } from '../../local/environment.ts'
import { DEFAULT_SWEEP_AFTER_SECONDS, GIVE_UP_DAYS } from '../../shared/config.ts'
import { STATUSES } from '../../shared/image.ts'

const root = join(import.meta.dirname, '../..')
const read = (path: string): string => readFileSync(join(root, path), 'utf8')
const pages = globSync(
  [
    ...['*.md', 'llms.txt', 'docs/**/*.md', 'examples/**/*.md', 'infrastructure/**/*.md'],
    ...['packages/*/*.md', 'bench/*.md', 'local/samples/*.md', 'test/fixtures/*.md'],
  ],
  { cwd: root },
)

it('what people read links only to files that there are', () => {
  expect(pages.length).toBeGreaterThan(20)
  const dead = pages.flatMap((page) =>
    [...read(page).matchAll(/\]\((?!https?:|#)([^)\s#]+)[^)]*\)/g)].flatMap(([, link = '']) =>
      existsSync(join(root, dirname(page), decodeURI(link))) ? [] : [`${page}: ${link}`],
    ),
  )
  expect(dead).toEqual([])
})

/** As GitHub makes them: without punctuation, and with hyphens for spaces. */
const anchorsOf = (page: string): string[] => {
  const text = read(page).replaceAll(/^```[\s\S]*?^```/gm, '')
  return [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading
      .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}_ -]/gu, '')
      .replaceAll(' ', '-'),
  )
}

it('what people read links only to headings that there are', () => {
  const links = pages.flatMap((page) =>
    [...read(page).matchAll(/\]\((?!https?:)([^)\s#]*)#([^)\s]+)\)/g)].map(([link, file, heading = '']) => ({
      ...{ link: `${page}: ${link}`, heading },
      target: file ? join(dirname(page), file) : page,
    })),
  )
  expect(links.length).toBeGreaterThan(20)
  const dead = links.filter(({ target, heading }) => !anchorsOf(target).includes(heading))
  expect(dead.map(({ link }) => link)).toEqual([])
})

it('llms.txt names every page of docs/', () => {
  const docs = globSync('docs/**/*.md', { cwd: root, exclude: ['docs/decisions/**'] })
  expect(docs.length).toBeGreaterThan(10)
  expect(docs.filter((page) => !read('llms.txt').includes(`](${page})`))).toEqual([])
})

it('npm pack is said of the client, and not of the whole repository', () => {
  const said = pages.flatMap((page) =>
    [...read(page).matchAll(/`(npm pack[^`]*)`/g)].map(([, command]) => command),
  )
  expect(said.length).toBeGreaterThan(1)
  expect(said.filter((command) => command !== 'npm pack --workspace packages/client')).toEqual([])
})

it('the days after which the runbook has each image ended are those of the bound', () => {
  const bound = /`GIVE_UP` \((\d+) days\) \+ (\d+) × `SWEEP_AFTER`/.exec(read('docs/nothing-is-lost.md'))
  const [giveUp, stretch] = [Number(bound?.[1]), Number(bound?.[2])]
  expect(giveUp).toBe(GIVE_UP_DAYS.parse(undefined))
  const [, days] = /ends as `completed` or `failed` within (\d+) days/.exec(read('docs/runbook.md')) ?? []
  expect(Number(days)).toBe(Math.ceil(giveUp + (stretch * DEFAULT_SWEEP_AFTER_SECONDS) / 86_400))
})

it('the diagram of states has every status that a record may have', () => {
  const [, diagram = ''] =
    /```mermaid\nstateDiagram-v2\n([\s\S]*?)```/.exec(read('docs/nothing-is-lost.md')) ?? []
  const entered = [...diagram.matchAll(/--> (\w+)/g)].map(([, state]) => state)
  expect([...new Set(entered)].sort()).toEqual([...STATUSES, 'deleted'].sort())
})

it('docs/settings.md has every setting of npm start, and its default', () => {
  // What npm and the AWS SDK say.
  const others =
    /^(INIT_CWD|AWS_(REGION|DEFAULT_REGION|PROFILE|SHARED_CREDENTIALS_FILE|ACCESS_KEY_ID|SECRET_ACCESS_KEY))$/
  const rows = new Map(
    [...read('docs/settings.md').matchAll(/^\| `([A-Z_]+)` \| (.*?) \| /gm)].map(
      ([, name = '', value = '']) => [name, value],
    ),
  )
  expect(SETTINGS.filter((name) => !others.test(name) && !rows.has(name))).toEqual([])
  // Words, such as "no limit", are no value.
  const given = [...rows].filter(([name, value]) => SETTINGS.includes(name) && /^[\d,]+$|^`.*`$/.test(value))
  expect(given.length).toBeGreaterThan(20)
  const asTaken = ([name, value]: [string, string]) => [name, value.replaceAll(/`|(?<=\d),/g, '')]
  expect(readSettings(Object.fromEntries(given.map(asTaken)))).toMatchObject(readSettings({}))
})

it('what commands leave in a checkout is no concern of git, nor of the linter, which asks git', () => {
  const left = pages.flatMap((page) =>
    [...read(page).matchAll(/^```sh[^\n]*\n([\s\S]*?)^```/gm)].flatMap(([, text = '']) =>
      [...text.matchAll(/ > (\w+\.json)|--log (\w+\/)/g)].map(([, file, folder]) => `/${file ?? folder}`),
    ),
  )
  expect(new Set(left)).toEqual(new Set(['/data/', '/record.json']))
  expect(read('.gitignore').split('\n')).toEqual(expect.arrayContaining(left))
})

describe('commands of guides', () => {
  const guides = ['docs/on-aws.md', ...globSync('docs/guides/*.md', { cwd: root })]
  const all = guides
    .flatMap((guide) => [...read(guide).matchAll(/^```sh[^\n]*\n([\s\S]*?)^```/gm)])
    .map(([, text]) => text)
    .join('\n')
  const named = (pattern: RegExp): string[] => [...all.matchAll(pattern)].map(([, name = '']) => name)

  it('name only scripts, settings, outputs and files that there are', () => {
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> }
    const known = {
      scripts: Object.keys(scripts),
      settings: [...read('infrastructure/variables.tf').matchAll(/^variable "(\w+)"/gm)].map(
        ([, name]) => name,
      ),
      outputs: [...read('infrastructure/outputs.tf').matchAll(/^output "(\w+)"/gm)].map(([, name]) => name),
    }
    const scriptNames = named(/npm run ([\w-]+)/g)
    const settings = named(/-var='?(\w+)/g)
    const outputs = named(/output -raw (\w+)/g)
    expect([scriptNames.length, settings.length, outputs.length]).toEqual([9, 11, 2])
    expect(scriptNames.filter((name) => !known.scripts.includes(name))).toEqual([])
    expect(settings.filter((name) => !known.settings.includes(name))).toEqual([])
    expect(outputs.filter((name) => !known.outputs.includes(name))).toEqual([])
    expect(named(/^sh (\S+)/gm).filter((file) => !existsSync(join(root, file)))).toEqual([])
  })

  it('subscribe to what the photo of the guide has, by the local models as by the stand-in', () => {
    const [, labels = '[]'] = /"labels":(\[[^\]]*\])/.exec(read('docs/guides/events.md')) ?? []
    // A person, by the models that npm ci brings along; sharp by the stand-in, which test/system/start.test.ts follows the guide with.
    expect(JSON.parse(labels)).toEqual(['Person', 'Sharp'])
  })

  it('start with settings that are taken', () => {
    const starts = named(/^((?:[A-Z_]+=\S+ )+)npm start$/gm)
    expect(starts).toHaveLength(2)
    for (const start of starts) {
      const settings = readSettings(
        Object.fromEntries(
          start
            .trim()
            .split(' ')
            .map((one) => one.split('=')),
        ),
      )
      expect(settings.CORS_ORIGINS).toEqual(['http://localhost:5173'])
      expect(readAuth(settings).AUTH).toBe(settings.AUTH)
    }
  })
})
