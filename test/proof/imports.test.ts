import { globSync, readFileSync } from 'node:fs'
import { dirname, relative, resolve } from 'node:path'
import { parseAst } from 'vite'
import { expect, it } from 'vitest'

const root = resolve(import.meta.dirname, '../..')

/** The names of formats: one file without imports, which page and client have too. */
const FORMATS = 'packages/image-guard/format.ts'
/** The doors of packages that have more than one: files that import no heavy code. */
const MORE_DOORS = [
  FORMATS,
  ...['position', 'budget'].map((name) => `packages/image-guard/${name}.ts`),
  // The thread of the API in npm start needs them, and nothing that the other thread has.
  ...['gateway/index', 'storage'].map((name) => `packages/embedded-aws/${name}.ts`),
]

/** What each folder may import, in addition to itself. The tree is the data flow, and this keeps it one. */
const MAY_IMPORT: Record<string, string[]> = {
  packages: [],
  shared: [FORMATS],
  api: ['shared', 'packages/image-guard'],
  worker: ['shared', 'packages/image-guard'],
  sweeper: ['shared'],
  ops: ['shared'],
  infrastructure: ['shared'],
  rekognition: ['shared', 'packages'],
  local: [
    ...['shared', 'packages', 'api', 'worker', 'sweeper', 'rekognition'],
    ...['infrastructure/resources.ts', 'build/page.ts'],
  ],
}

const isTest = (file: string): boolean => /(^|\/)test\//.test(file)
/** Of the page, which has its types there. */
const COMMENTS = /\/\*\*[\s\S]*?\*\//g
const importsOf = (file: string): string[] => {
  const source = readFileSync(resolve(root, file), 'utf8')
  const code = file.startsWith('web/') ? source.replaceAll(COMMENTS, '') : source
  return [...code.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)].map(([, path = '']) =>
    relative(root, resolve(root, dirname(file), path)),
  )
}

it.each(Object.entries(MAY_IMPORT))('%s imports itself and %j only', (folder, allowed) => {
  const files = globSync(`${folder}/**/*.ts`, { cwd: root }).filter((file) => !isTest(file))
  expect(files.length).toBeGreaterThan(0)
  const wrong = files.flatMap((file) =>
    importsOf(file)
      .filter((path) => ![folder, ...allowed].some((one) => path === one || path.startsWith(`${one}/`)))
      .filter((path) => !(file.startsWith('packages/client/') && path === FORMATS))
      .map((path) => `${file} → ${path}`),
  )
  expect(wrong).toEqual([])
})

it('docs/architecture.md has the same of each folder', () => {
  const text = readFileSync(resolve(root, 'docs/architecture.md'), 'utf8')
  const rows = new Map(
    [...text.matchAll(/^\| `([a-z]+)\/` \|.*\| ([^|]+) \|$/gm)].map(([, folder = '', named = '']) => [
      folder,
      named.replaceAll('`', '').split(', '),
    ]),
  )
  const nameOf = (path: string) => (path === FORMATS ? 'formats' : path.replace('packages/', ''))
  for (const [folder, allowed] of Object.entries(MAY_IMPORT))
    if (folder !== 'packages') expect(rows.get(folder), folder).toEqual(allowed.map(nameOf))
})

/** What the page's state may import: words and small tools. All other modules of the page may import the state. */
const BELOW_STORE = ['web/words.js', 'web/tools.js']

it('the page’s store imports no view, and no module of the page imports itself by way of others', () => {
  const modules = globSync('web/*.js', { cwd: root })
  expect(modules).toContain('web/store.js')
  const reached = (from: string, found = new Set<string>()): Set<string> => {
    for (const path of importsOf(from)) if (!found.has(path)) reached(path, found.add(path))
    return found
  }
  expect([...reached('web/store.js')].filter((path) => !BELOW_STORE.includes(path))).toEqual([])
  expect(modules.filter((file) => reached(file).has(file))).toEqual([])
  // Types apart, the page shares the names of formats with the rest.
  const outside = modules.flatMap((file) => [...reached(file)]).filter((path) => !path.startsWith('web/'))
  expect([...new Set(outside)]).toEqual([FORMATS])
})

it('a package is entered by its index.ts, and two of them also by light files', () => {
  const files = globSync(
    '{api,worker,sweeper,ops,local,rekognition,infrastructure,test,bench,packages}/**/*.ts',
    { cwd: root },
  )
  const packageOf = (path: string): string | undefined => /^packages\/[^/]+\//.exec(path)?.[0]
  const wrong = files.flatMap((file) =>
    importsOf(file)
      .filter((path) => packageOf(path) !== undefined && packageOf(path) !== packageOf(file))
      .filter((path) => path !== `${packageOf(path)}index.ts` && !MORE_DOORS.includes(path))
      .map((path) => `${file} → ${path}`),
  )
  expect(wrong).toEqual([])
})

it('a light door of a package is in its README', () => {
  const unsaid = MORE_DOORS.filter((path) => {
    const [, folder = '', name = ''] = /^(packages\/[^/]+)\/(.+)$/.exec(path.replace(/(\.ts)?$/, '.ts')) ?? []
    return !readFileSync(resolve(root, folder, 'README.md'), 'utf8').includes(`\`${name}\``)
  })
  expect(unsaid).toEqual([])
})

/** The embedded Rekognition answers by the models, in the shapes that their package gives them. */
const BETWEEN_PACKAGES = { from: 'packages/embedded-aws/rekognition/', to: 'packages/vision/index.ts' }

it('a package imports no other package', () => {
  const wrong = globSync('packages/*', { cwd: root }).flatMap((folder) =>
    globSync(`${folder}/**/*.ts`, { cwd: root }).flatMap((file) =>
      importsOf(file)
        .filter((path) => path.startsWith('packages/') && !path.startsWith(`${folder}/`))
        .filter((path) => path !== FORMATS)
        .filter((path) => !(file.startsWith(BETWEEN_PACKAGES.from) && path === BETWEEN_PACKAGES.to))
        .map((path) => `${file} → ${path}`),
    ),
  )
  expect(wrong).toEqual([])
})

it('only the lifecycle says under which condition a record changes', () => {
  const files = globSync('{shared,api,worker,sweeper,ops,local,rekognition,infrastructure}/**/*.ts', {
    cwd: root,
  })
  const conditions = files.flatMap((file) => {
    const [, ...found] = readFileSync(resolve(root, file), 'utf8').split(/\bConditionExpression\b:? ?/)
    return found.map((text) => `${file} ${text.split('\n')[0]}`)
  })
  expect(conditions.filter((found) => found.startsWith('shared/lifecycle.ts ')).length).toBeGreaterThan(0)
  expect(conditions.filter((found) => !found.startsWith('shared/lifecycle.ts '))).toEqual([
    // Of a month, of an owner's day, and of an idempotency key: items without states.
    "api/records.ts 'attribute_not_exists(images) OR images < :quota',",
    "api/records.ts 'attribute_not_exists(imageId) OR expiresAt <= :now',",
    "shared/table.ts 'attribute_not_exists(reserved) OR reserved <= :most',",
  ])
})

it('only one file decodes images on AWS, and only one more does so locally', () => {
  const users = globSync('{packages/image-guard,shared,api,worker,sweeper,local,rekognition}/**/*.ts', {
    cwd: root,
  }).filter((file) => /^import sharp/m.test(readFileSync(resolve(root, file), 'utf8')))
  expect(users.sort()).toEqual(['packages/image-guard/libvips.ts', 'rekognition/service.ts'])
})

/**
 * How many files each entry reaches, and how deep, with the doors of packages and not what is behind them. These figures
 * only go down: a reader of an entry reads all of these. Raising one needs a reason in the commit.
 */
const REACH: Record<string, { files: number; depth: number }> = {
  'api/handler.ts': { files: 20, depth: 3 },
  'worker/handler.ts': { files: 19, depth: 3 },
  'worker/main.ts': { files: 22, depth: 3 },
  'sweeper/handler.ts': { files: 12, depth: 3 },
  'local/main.ts': { files: 33, depth: 4 },
  'local/background-main.ts': { files: 36, depth: 4 },
  'packages/client/main.ts': { files: 12, depth: 2 },
}

it.each(Object.entries(REACH))('%s reaches %o at most', (entry, { files, depth }) => {
  const depths = new Map([[entry, 0]])
  for (const [file, level] of depths) {
    if (file.startsWith('packages/') && file.split('/')[1] !== entry.split('/')[1]) continue
    for (const path of importsOf(file)) if (!depths.has(path)) depths.set(path, level + 1)
  }
  expect(depths.size).toBeLessThanOrEqual(files)
  expect(Math.max(...depths.values())).toBeLessThanOrEqual(depth)
})

/** These are taken as a whole, by what has them in a list. */
const TAKEN_WHOLE = ['api/openapi.ts']

it('what a file exports is used in another one', () => {
  const sources = new Map(
    globSync(
      [
        '{*,web/**/*}.js',
        `{${[...Object.keys(MAY_IMPORT), 'build,bench,examples,test'].join()}}/**/*.{ts,js,mjs}`,
      ],
      {
        cwd: root,
        exclude: (name) => name === 'node_modules' || name === 'dist',
      },
    ).map((file) => [file, readFileSync(resolve(root, file), 'utf8')]),
  )
  const filesWith = new Map<string, Set<string>>()
  for (const [file, source] of sources)
    for (const word of source.match(/\w+/g) ?? []) {
      const files = filesWith.get(word) ?? new Set()
      filesWith.set(word, files.add(file))
    }
  const dead = [...sources]
    .filter(([file]) => !TAKEN_WHOLE.includes(file))
    .flatMap(([file, source]) =>
      [...source.matchAll(/^export (?:async )?(?:function|const|class)\*? (\w+)/gm)]
        .filter(([, name = '']) => filesWith.get(name)?.size === 1)
        .map(([, name]) => `${file} ${name}`),
    )
  expect(sources.size).toBeGreaterThan(400)
  expect(dead).toEqual([])
})

/** Where these rules hold; tests have more lines, and the page has rules of its own. */
const FOLDERS =
  '{packages,shared,api,worker,sweeper,ops,local,rekognition,infrastructure,build,bench,examples}'

it('no file imports itself by way of others', () => {
  const circles: string[] = []
  const done = new Set<string>()
  const visit = (file: string, way: string[]): void => {
    const start = way.indexOf(file)
    if (start >= 0) circles.push([...way.slice(start), file].join(' → '))
    if (start >= 0 || done.has(file)) return
    for (const path of importsOf(file).filter((name) => name.endsWith('.ts'))) visit(path, [...way, file])
    done.add(file)
  }
  const files = globSync(`${FOLDERS}/**/*.ts`, { cwd: root })
  expect(files.length).toBeGreaterThan(200)
  for (const file of files) visit(file, [])
  expect(circles).toEqual([])
})

it('a package that has a package.json names there what it imports', () => {
  const wrong = globSync('packages/*/package.json', { cwd: root }).flatMap((manifest) => {
    const { dependencies } = JSON.parse(readFileSync(resolve(root, manifest), 'utf8'))
    const files = globSync(`${dirname(manifest)}/**/*.ts`, { cwd: root })
    return files
      .filter((file) => !file.includes('/test/'))
      .flatMap((file) =>
        [
          ...readFileSync(resolve(root, file), 'utf8').matchAll(
            /^(?:import (?!type).*|\}) from '([^.'][^']*)'/gm,
          ),
        ]
          .map(([, name = '']) => /^(@[^/]+\/)?[^/]+/.exec(name)?.[0] ?? '')
          .filter((name) => !name.startsWith('node:') && !Object.hasOwn(dependencies, name))
          .map((name) => `${file} → ${name}`),
      )
  })
  expect(wrong).toEqual([])
})

/** Files that are longer than they are to be. The list only gets shorter: split a file rather than add it. */
const LONG_FILES = [
  'api/app.ts',
  'api/list.ts',
  'api/openapi.ts',
  'api/schemas.ts',
  'api/upload.ts',
  'packages/client/index.ts',
  'packages/client/main.ts',
  'packages/client/upload.ts',
  'shared/lifecycle.ts',
]
const LONG_TESTS = [
  'packages/client/test/cli.test.ts',
  'test/api/api.test.ts',
  'test/api/isolation.test.ts',
  'test/api/uploads.test.ts',
  'test/crash.ts',
  'test/mutants/mutants.ts',
  'test/pictures/corpus.ts',
  'test/pictures/picture-cases.ts',
  'test/simulation/world.ts',
  'test/system/ports.test.ts',
  'test/web/page.test.ts',
]
const lengthOf = (file: string): number => readFileSync(resolve(root, file), 'utf8').split('\n').length - 1

it.each([
  {
    what: 'a file',
    most: 300,
    known: LONG_FILES,
    files: () => globSync(`${FOLDERS}/**/*.ts`, { cwd: root }).filter((file) => !isTest(file)),
  },
  {
    what: 'a file of tests',
    most: 600,
    known: LONG_TESTS,
    files: () => globSync('{test,packages/*/test}/**/*.ts', { cwd: root }),
  },
])('$what has at most $most lines, unless it is known to be longer', ({ most, known, files }) => {
  expect(
    files()
      .filter((file) => lengthOf(file) > most)
      .sort(),
  ).toEqual(known)
})

/** Lines that a function may have, with what is declared in it. */
const MOST_LINES = 79

/** Each function of a file that has a name, and its lines. */
function functionsOf(file: string): [name: string, lines: number][] {
  const source = readFileSync(resolve(root, file), 'utf8')
  const found: [string, number][] = []
  const visit = (node: unknown, name: string): void => {
    if (Array.isArray(node)) for (const one of node) visit(one, name)
    if (!(node instanceof Object) || !('type' in node)) return
    const { type, start, end, id, key, ...parts } = node as Record<string, unknown>
    const own = (id as { name?: string } | undefined)?.name ?? (key as { name?: string } | undefined)?.name
    if (/Function/.test(String(type)))
      found.push([own ?? name, source.slice(Number(start), Number(end)).split('\n').length])
    for (const part of Object.values(parts)) visit(part, own ?? name)
  }
  visit(parseAst(source, { lang: file.endsWith('.ts') ? 'ts' : 'js' }, file).body, '')
  return found
}

it(`a function has at most ${MOST_LINES} lines`, () => {
  const files = [
    ...globSync(`${FOLDERS}/**/*.{ts,mjs}`, { cwd: root }),
    ...globSync('web/*.js', { cwd: root }),
  ]
  const functions = files
    .filter((file) => !isTest(file))
    .flatMap((file) => functionsOf(file).map(([name, lines]) => [`${file} ${name}`, lines] as const))
  expect(functions.length).toBeGreaterThan(1_000)
  expect(functions.filter(([, lines]) => lines > MOST_LINES)).toEqual([])
})

it('what composes the local system has at most 1,000 lines', () => {
  const lengths = globSync('local/*.ts', { cwd: root }).map(lengthOf)
  expect(lengths.length).toBeGreaterThan(5)
  expect(lengths.reduce((all, length) => all + length, 0)).toBeLessThanOrEqual(1_000)
})

it.each(['packages/client', 'examples'])(
  '%s imports itself, formats, and types of shared and api only',
  (folder) => {
    expect(importsOf(FORMATS)).toEqual([])
    const files = globSync(`${folder}/**/*.ts`, { cwd: root }).filter((file) => !isTest(file))
    expect(files.length).toBeGreaterThan(0)
    const wrong = files.flatMap((file) => {
      const source = readFileSync(resolve(root, file), 'utf8')
      const types = [...source.matchAll(/import type [^']*'(\.[^']+)'/g)].map(([, path = '']) =>
        relative(root, resolve(root, dirname(file), path)),
      )
      return importsOf(file)
        .filter((path) => !path.startsWith(`${folder}/`) && path !== FORMATS)
        .filter((path) => !(/^(shared|api)\//.test(path) && types.includes(path)))
        .map((path) => `${file} → ${path}`)
    })
    expect(wrong).toEqual([])
  },
)
