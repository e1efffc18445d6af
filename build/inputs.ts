import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from './bundle.ts'
import { readOptions, runCommand } from './command.ts'
import { seenTable } from './emulators-seen.ts'
import { MODULE } from './terraform.ts'

/*
 * What infrastructure/modules/image-analyzer takes and gives is written there, once. This writes what follows from it:
 * the root infrastructure/, which passes everything on, and the tables of the module's README; and the table of what
 * was seen of emulators.
 */

const USAGE = `npm run inputs

Writes what follows from the Terraform module's variables and outputs: the root infrastructure/, the tables of the module's
README, and the table of emulators.

  -h, --help`

const WRITTEN = '# Written by `npm run inputs` from modules/image-analyzer; change it there.\n'
const EMULATORS = /(<!-- npm run deploy-check -- --note -->\n)[\s\S]*(<!-- \/npm run deploy-check -->)/
const TABLES = /(<!-- npm run inputs -->\n)[\s\S]*(<!-- \/npm run inputs -->)/

interface Block {
  name: string
  /** Its lines, as `terraform fmt` indents them. */
  text: string
}

const blocksOf = (text: string, kind: 'variable' | 'output'): Block[] =>
  [...text.matchAll(new RegExp(`^${kind} "(\\w+)" \\{\\n([\\s\\S]*?)^\\}`, 'gm'))].map(
    ([, name = '', text = '']) => ({ name, text }),
  )

/** The value of an argument of a block, over all lines that it has. */
const argument = ({ text }: Block, name: string): string | undefined =>
  new RegExp(`^  ${name} += (.*(?:\\n {4}.*|\\n  [\\]})].*)*)`, 'm').exec(text)?.[1]

const cell = (value: string): string => value.replaceAll('|', '\\|').replaceAll('\n', ' ')

/** A type or default in one line, without the comments in it. */
const inLine = (value: string): string =>
  value
    .replaceAll(/^ *#.*\n/gm, '')
    .replaceAll(/(?<![{[(,])\n +(?=\w)/g, ', ')
    .replaceAll(/\s+/g, ' ')
const code = (value: string): string => `\`${cell(inLine(value))}\``

/** A string of HCL, as it is read. */
const unquoted = (value = '""'): string => cell(JSON.parse(value) as string)

function tables(variables: Block[], outputs: Block[]): string {
  const inputs = variables.map(
    (block) =>
      `| \`${block.name}\` | ${code(argument(block, 'type') ?? 'any')} | ${code(argument(block, 'default') ?? 'required')} | ${unquoted(argument(block, 'description'))} |`,
  )
  const given = outputs.map((block) => `| \`${block.name}\` | ${unquoted(argument(block, 'description'))} |`)
  return [
    ...['## Inputs', '', '| name | type | default | |', '|---|---|---|---|', ...inputs, ''],
    ...['## Outputs', '', '| name | |', '|---|---|', ...given, ''],
  ].join('\n')
}

/** The files that follow from the module, by their paths in the repository. */
export function filesThatFollow(): Record<string, string> {
  const read = (file: string): string => readFileSync(join(ROOT, MODULE, file), 'utf8')
  const variables = read('variables.tf')
  const outputs = read('outputs.tf')
  const names = blocksOf(variables, 'variable').map(({ name }) => name)
  const width = Math.max(...names.map((name) => name.length), 'source'.length)
  return {
    // The module validates, and one sentence is enough.
    'infrastructure/variables.tf': `${WRITTEN}\n${variables.replaceAll(/\n*^ {2}validation \{\n[\s\S]*?^ {2}\}/gm, '')}`,
    'infrastructure/deployment.tf': [
      `${WRITTEN}\nmodule "image_analyzer" {\n  source = "./modules/image-analyzer"\n`,
      ...names.map((name) => `  ${name.padEnd(width)} = var.${name}`),
      '}\n',
    ].join('\n'),
    'infrastructure/outputs.tf': `${WRITTEN}\n${outputs.replaceAll(
      /(^output "(\w+)" \{\n[\s\S]*?^ {2}value +=) [\s\S]*?^\}/gm,
      '$1 module.image_analyzer.$2\n}',
    )}`,
    'infrastructure/README.md': readFileSync(join(ROOT, 'infrastructure/README.md'), 'utf8').replace(
      EMULATORS,
      (_, from: string, to: string) => `${from}\n${seenTable()}\n${to}`,
    ),
    // By a function: a description may have a `$1`, of dollars.
    [`${MODULE}/README.md`]: read('README.md').replace(
      TABLES,
      (_, begin: string, end: string) =>
        `${begin}\n${tables(blocksOf(variables, 'variable'), blocksOf(outputs, 'output'))}\n${end}`,
    ),
  }
}

export function writeFollowing(): void {
  for (const [path, text] of Object.entries(filesThatFollow())) writeFileSync(join(ROOT, path), text)
}

if (process.argv[1] === import.meta.filename) {
  await runCommand(async () => {
    readOptions('npm run inputs', USAGE, {})
    writeFollowing()
  })
}
