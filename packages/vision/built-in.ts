import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import type * as z from 'zod'
import { type BuiltIn, builtInClassSchema, builtInsSchema, NotUsable } from './manifest.ts'

/** The models that come along, as models.json describes them. */
export type BuiltInName =
  | 'nanodet-g'
  | 'efficientnet-lite0'
  | 'blazeface'
  | 'facemesh'
  | 'iris'
  | 'mini-xception'
  | 'ppocr-detection'
  | 'ppocr-recognition'
  | 'nsfwjs'

let read: z.infer<typeof builtInsSchema> | undefined

export function builtIns(): z.infer<typeof builtInsSchema> {
  if (read === undefined) {
    read = builtInsSchema.parse(JSON.parse(textOf('models.json')))
    for (const model of read.models)
      if (model.classFile !== undefined)
        model.classes = textOf(model.classFile)
          .trim()
          .split('\n')
          .map((line) => builtInClassSchema.parse(JSON.parse(line)))
  }
  return read
}

const textOf = (file: string): string => readFileSync(new URL(`./${file}`, import.meta.url), 'utf8')

export function builtIn(named: BuiltInName): BuiltIn {
  const found = builtIns().models.find(({ name }) => name === named)
  if (found === undefined) throw new Error(`models.json has no ${named}.`)
  return found
}

/** @returns the folder of its files; undefined where its package is not installed */
export function folderOf({ package: { entry, folder } }: BuiltIn): string | undefined {
  try {
    return join(dirname(createRequire(import.meta.url).resolve(entry)), folder)
  } catch {
    return undefined
  }
}

/** @returns the folder of the models that see; undefined where they, or the runtime, are not installed */
export function modelFolder(): string | undefined {
  try {
    createRequire(import.meta.url).resolve('onnxruntime-web')
    return folderOf(builtIn('nanodet-g'))
  } catch {
    return undefined
  }
}
/** @returns the folder of the models that read; undefined where they are not installed */
export const textFolder = (): string | undefined => folderOf(builtIn('ppocr-detection'))
/** @returns the folder of the model that moderates; undefined where it is not installed */
export const moderationFolder = (): string | undefined => folderOf(builtIn('nsfwjs'))

/**
 * @param folder of its files, where its package is installed
 * @throws NotUsable where they are not those that were chosen
 */
export function filesOf(
  { package: { name, install }, files }: BuiltIn,
  folder: string | undefined,
): Buffer[] {
  if (folder === undefined)
    throw new NotUsable(`${name} is not installed; install it by "${install}" and start again.`)
  return files.map(({ file, sha256 }) => {
    const path = join(folder, file)
    let bytes: Buffer
    try {
      bytes = readFileSync(path)
    } catch (error) {
      throw new NotUsable(
        `${path} cannot be read (${(error as Error).message}); "${install}" installs it again.`,
      )
    }
    if (createHash('sha256').update(bytes).digest('hex') !== sha256)
      throw new NotUsable(
        `${path} is damaged or another file: its SHA-256 is not the expected one; "${install}" installs it again.`,
      )
    return bytes
  })
}
