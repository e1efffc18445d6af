import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { MODERATION_MODEL_VERSION } from '../answers.ts'
import { type BuiltInName, builtIn, builtIns, filesOf, folderOf } from '../built-in.ts'
import { builtInsSchema, titleOf } from '../manifest.ts'

const read = (name: string): string => readFileSync(join(import.meta.dirname, '..', name), 'utf8')
const { models } = builtIns()
/** Those whose classes are labels. */
const IN_ONE_WORLD = ['nanodet-g', 'blazeface', 'efficientnet-lite0']

it('models.json describes each model once, and says the version of what installs it', () => {
  const names: BuiltInName[] = [
    ...(['nanodet-g', 'efficientnet-lite0', 'blazeface', 'facemesh', 'iris', 'mini-xception'] as const),
    ...(['ppocr-detection', 'ppocr-recognition', 'nsfwjs'] as const),
  ]
  expect(models.map(({ name }) => name)).toEqual(names)
  const { dependencies } = JSON.parse(read('package.json')) as { dependencies: Record<string, string> }
  for (const { package: from } of models)
    if (from.entry === './models.json')
      expect(from.install).toBe(`git checkout packages/vision/${from.folder}`)
    else if (from.install === 'npm ci') expect(dependencies[from.name], from.name).toBe(from.version)
    else expect(from.install).toMatch(new RegExp(` ${from.name}@${from.version}$`))
  expect(MODERATION_MODEL_VERSION).toBe(`local-1 (${titleOf(builtIn('nsfwjs'))})`)
})

it('is read as strictly as the manifest of a model that people add', () => {
  const all = JSON.parse(read('models.json')) as { models: object[]; broader: object[] }
  const isRead = (change: object): boolean =>
    builtInsSchema.safeParse({ ...all, models: [{ ...all.models[0], ...change }] }).success
  expect(isRead({})).toBe(true)
  for (const change of [
    ...[{ run: 'x' }, { files: [{ file: '../x', sha256: '0'.repeat(64) }] }],
    ...[{ files: [{ file: 'x', sha256: '0' }] }, { source: 'http://example.com' }, { format: 'pickle' }],
    ...[{ classFile: '../x' }, { classes: [{ name: 'x', silent: 'yes' }] }],
    ...[
      {
        curve: [
          [0.5, 90],
          [0.9, 50],
        ],
      },
      { classes: [{ name: '<b>' }] },
    ],
  ])
    expect(isRead(change), JSON.stringify(change)).toBe(false)
})

it('what a class is a kind of is described, and whatever is above that as well', () => {
  const classes = models.flatMap((model) => (IN_ONE_WORLD.includes(model.name) ? model.classes : []))
  const { broader } = builtIns()
  const described = new Map([...classes, ...broader].map(({ name, parents }) => [name, parents]))
  const said = [...classes.filter(({ silent }) => !silent), ...broader]
  for (const { name, parents } of said) {
    expect(parents, `${name}, which another model has as well`).toEqual(described.get(name))
    for (const parent of parents) {
      expect(described.has(parent), `${name} → ${parent}`).toBe(true)
      expect(parents, name).toEqual(expect.arrayContaining(described.get(parent) ?? []))
    }
  }
  const above = new Set(said.flatMap(({ parents }) => parents))
  for (const { name } of broader) expect(above.has(name), `${name}, of which nothing is a kind`).toBe(true)
  expect(builtIn('nanodet-g').classes).toHaveLength(80)
  expect(builtIn('efficientnet-lite0').classes).toHaveLength(1_000)
})

it.each(models)('MODELS.md says of $name what models.json says', (model) => {
  const page = read('MODELS.md')
  const rows = page.split('\n').filter((line) => line.startsWith(`| \`${model.name}\``))
  expect(rows).toHaveLength(1)
  const [first, , source, licence] = (rows[0] ?? '').slice(2).split(' | ')
  if (model.input.size !== undefined) expect(first).toContain(`${model.input.size} px`)
  expect(source).toContain(`](${model.source})`)
  expect(licence).toBe(model.licence)
  const { name, version } = model.package
  const linked = `[\`${name}\`](https://www.npmjs.com/package/${name})`
  expect(page.replaceAll('\n', ' ')).toContain(`${linked} ${version}`)
})

const isThere = (model: (typeof models)[number]): boolean => folderOf(model) !== undefined
for (const model of models)
  it.skipIf(!isThere(model))(
    `the files of ${model.name} are those that models.json means${isThere(model) ? '' : ` (skipped: ${model.package.name} is not installed)`}`,
    () => {
      expect(filesOf(model, folderOf(model))).toHaveLength(model.files.length)
    },
  )
